//! What a view counts.

use super::key::Key;
use crate::sys::clock::Timestamp;

/// The counts of a series.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Successful execs; attempts to exec in classic mode.
    pub execs: u64,
    /// CPU time of processes that have exited, in nanoseconds.
    pub cpu_ns: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, more: Self) {
        self.execs += more.execs;
        self.cpu_ns += more.cpu_ns;
    }
}

/// A series at a flush.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeriesCounts {
    pub key: Key,
    pub counts: Counts,
    /// When the series had not counted anything yet: the beginning of the last flush without it.
    pub start: Timestamp,
}
