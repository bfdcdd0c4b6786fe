//! A value that a dedicated thread recomputes on demand, for callers that must not block.
//!
//! A caller gets a value whose computation began after the call. Callers that wait at the same
//! time share one computation. The thread starts once, not per call, because a busy host may
//! have no thread to spare later.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::timeout;

/// The callers' side. The thread ends when this is dropped.
pub(super) struct Refresher<T> {
    requests: Arc<AtomicU64>,
    /// Holds a token if there may be requests that the thread has not seen yet.
    doorbell: SyncSender<()>,
    latest: watch::Receiver<Computed<T>>,
}

struct Computed<T> {
    value: T,
    /// The computation began after the request with this number and after all earlier ones.
    request: u64,
    finished: Instant,
}

impl<T> fmt::Debug for Refresher<T> {
    /// The value may contain secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refresher").finish_non_exhaustive()
    }
}

impl<T: Clone + Send + Sync + 'static> Refresher<T> {
    /// Starts the thread. `first` is the latest value until the first computation has finished.
    pub(super) fn start(
        thread_name: &str,
        first: T,
        mut compute: impl FnMut() -> T + Send + 'static,
    ) -> io::Result<Self> {
        let requests = Arc::<AtomicU64>::default();
        let (doorbell, bell) = sync_channel(1);
        let (publish, latest) = watch::channel(Computed {
            value: first,
            request: 0,
            finished: Instant::now(),
        });
        let requested = Arc::clone(&requests);
        thread::Builder::new()
            .name(thread_name.to_owned())
            .spawn(move || {
                while bell.recv().is_ok() {
                    let request = requested.load(Ordering::SeqCst);
                    let value = compute();
                    publish.send_replace(Computed {
                        value,
                        request,
                        finished: Instant::now(),
                    });
                }
            })?;
        Ok(Self {
            requests,
            doorbell,
            latest,
        })
    }

    /// Returns a value whose computation began after this call, or `None` if it takes longer
    /// than `patience`.
    pub(super) async fn fresh(&self, patience: Duration) -> Option<T> {
        let request = self.requests.fetch_add(1, Ordering::SeqCst) + 1;
        // If the doorbell is full, its token is enough, because the thread loads the number of
        // requests only after it has taken the token.
        let _ = self.doorbell.try_send(());
        let mut latest = self.latest.clone();
        let computed = latest.wait_for(|computed| computed.request >= request);
        let computed = timeout(patience, computed).await.ok()?.ok()?;
        Some(computed.value.clone())
    }

    /// Returns the latest value and its age.
    pub(super) fn latest(&self) -> (T, Duration) {
        let latest = self.latest.borrow();
        (latest.value.clone(), latest.finished.elapsed())
    }

    /// Returns when the thread has panicked.
    pub(super) async fn ended(&self) {
        let mut latest = self.latest.clone();
        while latest.changed().await.is_ok() {}
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    const A_MINUTE: Duration = Duration::from_secs(60);

    /// A refresher whose values the test supplies. It reports the start of each computation.
    fn supplied() -> (Refresher<u32>, Sender<u32>, Receiver<()>) {
        let (supply, values) = channel();
        let (start, started) = channel();
        let refresher = Refresher::start("test", 0, move || {
            start.send(()).unwrap();
            values.recv().unwrap()
        });
        (refresher.unwrap(), supply, started)
    }

    #[tokio::test]
    async fn a_value_computed_before_the_call_is_not_fresh() {
        let (refresher, supply, started) = supplied();
        assert_eq!(refresher.fresh(Duration::from_millis(1)).await, None);
        started.recv().unwrap();
        // The computation for the first call is still running when the next calls are made.
        let (one, two, ()) = tokio::join!(
            refresher.fresh(A_MINUTE),
            refresher.fresh(A_MINUTE),
            async {
                supply.send(1).unwrap();
                supply.send(2).unwrap();
            }
        );
        assert_eq!((one, two), (Some(2), Some(2)), "both share the second one");
        assert_eq!(refresher.latest().0, 2);
        started.recv().unwrap();
        assert!(started.try_recv().is_err(), "no third computation");
    }

    #[tokio::test]
    async fn a_panic_ends_the_thread_and_no_caller_waits_for_it() {
        let (refresher, supply, _started) = supplied();
        drop(supply);
        let (fresh, ()) = tokio::join!(refresher.fresh(A_MINUTE), refresher.ended());
        assert_eq!(fresh, None);
        assert_eq!(refresher.fresh(A_MINUTE).await, None);
    }
}
