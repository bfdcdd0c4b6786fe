//! Starts and joins the threads of the reader and the aggregator.

use std::sync::Arc;
use std::thread::{self, JoinHandle};

use anyhow::{Context, anyhow};
use tokio::sync::{mpsc, watch};

use crate::capture::source::Source;
use crate::pipeline::aggregator::Aggregator;
use crate::pipeline::message::Message;
use crate::pipeline::reader::{self, Reader};
use crate::pipeline::snapshot::Snapshot;

/// The running threads and the snapshots that they publish.
#[derive(Debug)]
pub(super) struct Pipeline {
    reader: JoinHandle<Result<(), reader::Error>>,
    aggregator: JoinHandle<Arc<Snapshot>>,
    pub(super) snapshots: watch::Receiver<Arc<Snapshot>>,
}

impl Pipeline {
    pub(super) fn start<S: Source + 'static>(
        reader: Reader<S>,
        messages: mpsc::Receiver<Message>,
        aggregator: Aggregator,
    ) -> anyhow::Result<Self> {
        let (publish, snapshots) = watch::channel(Arc::default());
        Ok(Self {
            reader: thread::Builder::new()
                .name("reader".to_owned())
                .spawn(move || reader.run())
                .context("cannot start the reader thread")?,
            aggregator: thread::Builder::new()
                .name("aggregator".to_owned())
                .spawn(move || aggregator.run(messages, &publish))
                .context("cannot start the aggregator thread")?,
            snapshots,
        })
    }

    /// Waits for both threads. Returns the last counts, or why a thread failed. Call it only after
    /// the reader was told to stop or one of the threads has ended; otherwise it blocks.
    pub(super) fn join(self) -> anyhow::Result<Arc<Snapshot>> {
        // If only the aggregator has ended, the reader ends as well, because it cannot send.
        let totals = self
            .aggregator
            .join()
            .map_err(|_| anyhow!("the aggregator thread panicked"))?;
        self.reader
            .join()
            .map_err(|_| anyhow!("the reader thread panicked"))?
            .context("the reader failed")?;
        Ok(totals)
    }
}
