//! Fresh counts on demand: ask the reader to flush, wait for the aggregator's answer.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use crate::pipeline::flush::Control;
use crate::pipeline::snapshot::Snapshot;

/// Why there is no fresh snapshot.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Reader and aggregator did not answer in time.
    #[error("no answer from the reader within {0:?}")]
    Deadline(Duration),
    /// The aggregator has ended.
    #[error("the aggregator has ended")]
    Closed,
}

/// Asks for snapshots. Cheap to clone, one for each scraper.
#[derive(Debug, Clone)]
pub struct Flusher {
    control: Control,
    snapshots: watch::Receiver<Arc<Snapshot>>,
}

impl Flusher {
    /// Asks the reader behind `control`, expects the answer in `snapshots`.
    pub fn new(control: Control, snapshots: watch::Receiver<Arc<Snapshot>>) -> Self {
        Self { control, snapshots }
    }

    /// Counts with every exec in them that completed before this call. Calls made at the
    /// same time share one flush.
    pub async fn flush(&self, deadline: Duration) -> Result<Arc<Snapshot>, Error> {
        let request = self.control.request_flush();
        let mut snapshots = self.snapshots.clone();
        let answered = snapshots.wait_for(|snapshot| snapshot.flush.request >= request);
        match timeout(deadline, answered).await {
            Ok(Ok(snapshot)) => Ok(Arc::clone(&snapshot)),
            Ok(Err(_)) => Err(Error::Closed),
            Err(_) => Err(Error::Deadline(deadline)),
        }
    }

    /// Returns when the aggregator has ended: nothing will be counted any more.
    pub async fn closed(&self) {
        let mut snapshots = self.snapshots.clone();
        while snapshots.changed().await.is_ok() {}
    }
}
