//! Times that adapt to what clients do.

use std::time::Duration;

/// The time that clients get to make progress, within limits. It shrinks with each client that is
/// closed for doing nothing, and grows with each client that makes progress. So idle clients are
/// replaced quickly if there are many, and clients that are slow because the host is busy get more
/// time.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    least: Duration,
    most: Duration,
    now: Duration,
}

impl Patience {
    pub(super) fn new(least_ms: u64, most_ms: u64) -> Self {
        let most = Duration::from_millis(most_ms);
        Self {
            least: Duration::from_millis(least_ms),
            most,
            now: most,
        }
    }

    pub fn always(time: Duration) -> Self {
        Self {
            least: time,
            most: time,
            now: time,
        }
    }

    pub(super) fn now(self) -> Duration {
        self.now
    }

    pub(super) fn most(self) -> Duration {
        self.most
    }

    pub(super) fn shrink(&mut self) {
        self.now = (self.now * 7 / 8).max(self.least);
    }

    pub(super) fn grow(&mut self) {
        self.now = (self.now * 8 / 7).min(self.most);
    }
}
