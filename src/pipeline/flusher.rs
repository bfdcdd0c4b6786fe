//! Fresh counts on demand: requests a flush and waits for the snapshot that answers it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::timeout;

use crate::pipeline::flush::Control;
use crate::pipeline::snapshot::Snapshot;

/// Why there is no fresh snapshot.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no answer from the reader within {0:?}")]
    Deadline(Duration),
    #[error("the aggregator has ended")]
    Closed,
}

/// Requests fresh snapshots. Clones are cheap.
#[derive(Debug, Clone)]
pub struct Flusher {
    control: Control,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    succeeded: Arc<Mutex<Instant>>,
}

impl Flusher {
    /// Requests flushes through `control` and expects the answers in `snapshots`.
    pub fn new(control: Control, snapshots: watch::Receiver<Arc<Snapshot>>) -> Self {
        let succeeded = Arc::new(Mutex::new(Instant::now()));
        Self {
            control,
            snapshots,
            succeeded,
        }
    }

    /// Returns a snapshot that contains every exec that completed before this call. Concurrent
    /// calls share a flush.
    pub async fn flush(&self, deadline: Duration) -> Result<Arc<Snapshot>, Error> {
        let request = self.control.request_flush();
        let mut snapshots = self.snapshots.clone();
        let answered = snapshots.wait_for(|snapshot| snapshot.flush.request >= request);
        match timeout(deadline, answered).await {
            Ok(Ok(snapshot)) => {
                *self.succeeded() = Instant::now();
                Ok(Arc::clone(&snapshot))
            }
            Ok(Err(_)) => Err(Error::Closed),
            Err(_) => Err(Error::Deadline(deadline)),
        }
    }

    /// Does the same for a scrape. The aggregator records what the scrape shows.
    pub async fn flush_for_scrape(&self, deadline: Duration) -> Result<Arc<Snapshot>, Error> {
        let _scrape = self.control.begin_scrape();
        self.flush(deadline).await
    }

    /// Returns the time since the last successful flush, or since the start if there was none.
    pub fn since_success(&self) -> Duration {
        self.succeeded().elapsed()
    }

    fn succeeded(&self) -> MutexGuard<'_, Instant> {
        self.succeeded
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the aggregator has ended. Nothing is counted afterwards.
    pub async fn closed(&self) {
        let mut snapshots = self.snapshots.clone();
        while snapshots.changed().await.is_ok() {}
    }
}
