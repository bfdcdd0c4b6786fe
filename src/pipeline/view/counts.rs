//! What a view counts.

use serde::{Deserialize, Serialize};

/// The counts of a series.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Counts {
    /// Successful execs; attempts to exec in classic mode.
    pub execs: u64,
    /// CPU time of processes that have exited, in nanoseconds.
    pub cpu_ns: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, more: Self) {
        self.execs += more.execs;
        self.cpu_ns = self.cpu_ns.wrapping_add(more.cpu_ns);
    }
}
