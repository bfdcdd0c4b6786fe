//! Feeds systemd's watchdog while every stage makes progress.

use std::future::pending;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{interval, timeout};
use tracing::warn;

use super::notify::notify;
use crate::http::server::Ping;
use crate::pipeline::flusher::Flusher;

/// Feeds the watchdog while every stage makes progress: reader and aggregator must complete a
/// flush, each listener must answer a ping. `note` is appended to the status. Never returns.
pub(super) async fn feed(
    flusher: Flusher,
    listeners: Vec<mpsc::Sender<Ping>>,
    note: watch::Receiver<String>,
) {
    let Some(limit) = sd_notify::watchdog_enabled() else {
        return pending().await;
    };
    let patience = limit / 2;
    let mut ticks = interval(patience);
    loop {
        ticks.tick().await;
        match progress(&flusher, &listeners, patience).await {
            Ok(execs) => {
                let status = format!("Counting: {execs} execs so far{}", *note.borrow());
                notify(&[NotifyState::Watchdog, NotifyState::Status(&status)]);
            }
            Err(stuck) => warn!(stuck, "no progress, the watchdog is not fed"),
        }
    }
}

/// Returns the number of execs counted if all stages answer in time. Otherwise, the error says
/// which one does not.
async fn progress(
    flusher: &Flusher,
    listeners: &[mpsc::Sender<Ping>],
    patience: Duration,
) -> Result<u64, String> {
    let snapshot = flusher.flush(patience).await.map_err(|e| e.to_string())?;
    for listener in listeners {
        let (ping, answer) = oneshot::channel();
        let answered = async { listener.send(ping).await.is_ok() && answer.await.is_ok() };
        if timeout(patience, answered).await != Ok(true) {
            return Err("a listener does not answer".to_owned());
        }
    }
    Ok(snapshot.execs)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::pipeline::flush::Control;
    use crate::pipeline::snapshot::Snapshot;

    const PATIENCE: Duration = Duration::from_millis(20);

    /// A flusher whose requests up to number `answered` have been answered.
    fn flusher(answered: u64) -> (Flusher, watch::Sender<Arc<Snapshot>>) {
        let mut snapshot = Snapshot::default();
        snapshot.flush.request = answered;
        let (publish, snapshots) = watch::channel(Arc::new(snapshot));
        (Flusher::new(Control::new().unwrap(), snapshots), publish)
    }

    #[tokio::test]
    async fn the_watchdog_is_not_fed_when_reader_or_aggregator_do_not_answer() {
        let (silent, publish) = flusher(0);
        assert!(progress(&silent, &[], PATIENCE).await.is_err());
        drop(publish); // as when the aggregator ends
        assert!(progress(&silent, &[], PATIENCE).await.is_err());
    }

    #[tokio::test]
    async fn the_watchdog_is_fed_only_when_every_listener_answers() {
        let (answering, _publish) = flusher(u64::MAX);
        assert_eq!(progress(&answering, &[], PATIENCE).await, Ok(0));

        let (listener, mut pings) = mpsc::channel::<Ping>(1);
        let (silent, _unread) = mpsc::channel::<Ping>(1);
        tokio::spawn(async move {
            while let Some(ping) = pings.recv().await {
                let _ = ping.send(());
            }
        });
        let listeners = [listener.clone()];
        assert_eq!(
            progress(&answering, &listeners, Duration::from_secs(30)).await,
            Ok(0)
        );
        assert!(
            progress(&answering, &[listener, silent], PATIENCE)
                .await
                .is_err()
        );
    }
}
