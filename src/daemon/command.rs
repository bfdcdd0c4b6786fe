//! Commands to a running daemon, and the order in which it executes them.

use std::fmt;
use std::pin::pin;

use tokio::sync::mpsc;

use crate::config::{self, Resolved};
use crate::daemon::reload::Reloader;

/// Reads a configuration. Runs on a separate thread, because reading can block.
pub type Load = Box<dyn FnOnce() -> Result<Resolved, config::Error> + Send>;

/// A command to a running daemon.
pub enum Command {
    /// Reads a configuration and applies it.
    Reload(Load),
    /// Counts the remaining events and exits. Dropping the last sender of commands means the same.
    Stop,
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reload(_) => "Reload",
            Self::Stop => "Stop",
        })
    }
}

/// Executes reloads one after the other. Returns as soon as a command to stop arrives, even during
/// a reload. A reload that arrives during another one replaces one that is already waiting, so that
/// the newest configuration is always applied and at most one reload waits.
pub(super) async fn obey(mut commands: mpsc::UnboundedReceiver<Command>, reloader: &mut Reloader) {
    let mut waiting = None;
    loop {
        let load = match waiting.take() {
            Some(load) => load,
            None => match commands.recv().await {
                Some(Command::Reload(load)) => load,
                Some(Command::Stop) | None => return,
            },
        };
        let mut reload = pin!(reloader.reload(load));
        loop {
            tokio::select! {
                // Commands first: a reload that has been replaced is not begun.
                biased;
                command = commands.recv() => match command {
                    Some(Command::Reload(load)) => waiting = Some(load),
                    Some(Command::Stop) | None => return,
                },
                () = &mut reload => break,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;
    use crate::config::Config;
    use crate::pipeline::change::Changes;

    fn reload(load: impl FnOnce() -> Config + Send + 'static) -> Command {
        Command::Reload(Box::new(move || Ok(load().resolve()?)))
    }

    fn reloader(changes: &Changes) -> (Reloader, prometheus::Gauge) {
        let successful = prometheus::Gauge::new("successful", "help").unwrap();
        let (changes, status) = (Arc::clone(changes), "Counting".to_owned());
        let reloader = Reloader::new(Config::default(), changes, successful.clone(), status);
        (reloader, successful)
    }

    #[tokio::test]
    async fn a_stop_does_not_wait_for_a_reload() {
        let (mut reloader, successful) = reloader(&Changes::default());
        let (commands, commanded) = mpsc::unbounded_channel();
        let (started, starts) = channel();
        let (release, held) = channel::<()>();
        commands.send(reload(Config::default)).unwrap();
        commands
            .send(reload(move || {
                started.send(()).unwrap();
                let _ = held.recv();
                Config::default()
            }))
            .unwrap();
        let stop = async {
            while starts.try_recv().is_err() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            commands.send(Command::Stop).unwrap();
        };
        let obeyed = async { tokio::join!(obey(commanded, &mut reloader), stop) };
        // This limit is below the 10 s after which a reload that hangs is reported as failed.
        timeout(Duration::from_secs(5), obeyed).await.unwrap();
        assert_eq!(successful.get(), 1.0, "the first one was applied");
        drop(release);
    }

    #[tokio::test]
    async fn of_many_reloads_in_a_row_the_newest_is_applied() {
        let changes = Changes::default();
        let (mut reloader, successful) = reloader(&changes);
        let (commands, commanded) = mpsc::unbounded_channel();
        let loaded = Arc::new(AtomicU32::new(0));
        let (newest, applied) = channel();
        for number in 1..=9 {
            let loaded = Arc::clone(&loaded);
            let newest = newest.clone();
            commands
                .send(reload(move || {
                    loaded.fetch_add(1, Ordering::SeqCst);
                    let mut config = Config::default();
                    config.view[0].max_series = number;
                    if number == 9 {
                        newest.send(()).unwrap();
                    }
                    config
                }))
                .unwrap();
        }
        let stop = async {
            while applied.try_recv().is_err() || successful.get() == 0.0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            // The newest configuration has been read. It is applied during this pause.
            tokio::time::sleep(Duration::from_millis(50)).await;
            commands.send(Command::Stop).unwrap();
        };
        let obeyed = async { tokio::join!(obey(commanded, &mut reloader), stop) };
        timeout(Duration::from_secs(5), obeyed).await.unwrap();
        assert_eq!(loaded.load(Ordering::SeqCst), 2, "the first and the newest");
        let change = changes.lock().unwrap().take().unwrap();
        assert_eq!(change.views[0].counts().max_series, 9);
    }
}
