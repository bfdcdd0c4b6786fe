//! Saves the counts to a file that outlives the process.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{info, warn};

use crate::pipeline::continuity::Continuity;
use crate::pipeline::saved::{self, Saved, State};
use crate::sys::state_file::{self, StateFile};

/// The shortest time between two saves while counts change.
const INTERVAL: Duration = Duration::from_secs(1);

/// Why the counts were not saved.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Encode(#[from] saved::Error),
    #[error(transparent)]
    Write(#[from] state_file::Error),
}

/// Decides when to save. A failure ends nothing: the daemon counts on.
#[derive(Debug)]
pub struct Saver {
    file: StateFile,
    continuity: Arc<Continuity>,
    saved: Option<Instant>,
    has_changed: bool,
    is_failing: bool,
}

impl Saver {
    /// `continuity` is saved with the counts.
    pub fn new(file: StateFile, continuity: Continuity) -> Self {
        Self {
            file,
            continuity: Arc::new(continuity),
            saved: None,
            has_changed: true,
            is_failing: false,
        }
    }

    pub(super) fn continuity(&self) -> Arc<Continuity> {
        Arc::clone(&self.continuity)
    }

    /// Records that counts have changed.
    pub(super) fn changed(&mut self) {
        self.has_changed = true;
    }

    /// Saves what `counts` returns, if it has changed and if either the last save was a second ago or
    /// nothing more is to come for now.
    pub(super) fn save_if_due(&mut self, is_idle: bool, counts: impl FnOnce() -> Saved) {
        let is_due = |saved: Instant| saved.elapsed() >= INTERVAL;
        if self.has_changed && (is_idle || self.saved.is_none_or(is_due)) {
            self.save(counts());
        }
    }

    fn save(&mut self, counts: Saved) {
        // After a failure, the next change tries again.
        self.has_changed = false;
        self.saved = Some(Instant::now());
        let state = State {
            continuity: Continuity::clone(&self.continuity),
            counts,
        };
        let written = state
            .encode()
            .map_err(Error::from)
            .and_then(|bytes| Ok(self.file.write(&bytes)?));
        match &written {
            Ok(()) if self.is_failing => info!("the counts are saved again"),
            Err(error) if !self.is_failing => warn!(
                %error,
                "cannot save the counts: after a restart, they would continue from the last time \
                 they were saved"
            ),
            _ => {}
        }
        self.is_failing = written.is_err();
    }
}
