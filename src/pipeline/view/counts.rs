//! What a view counts.

use serde::{Deserialize, Serialize};

use super::key::{Key, Label};
use crate::pipeline::history::History;
use crate::sys::clock::Timestamp;

/// The counts of a series.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Counts {
    /// Successful execs; attempts to exec in classic mode.
    pub execs: u64,
    /// CPU time of processes that have exited, in nanoseconds.
    pub cpu_ns: u64,
}

impl Counts {
    /// Returns the lesser of each count.
    pub(super) fn min(self, other: Self) -> Self {
        Self {
            execs: self.execs.min(other.execs),
            cpu_ns: self.cpu_ns.min(other.cpu_ns),
        }
    }
}

impl std::ops::Sub for Counts {
    type Output = Self;

    fn sub(self, less: Self) -> Self {
        Self {
            execs: self.execs - less.execs,
            cpu_ns: self.cpu_ns - less.cpu_ns,
        }
    }
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, more: Self) {
        self.execs += more.execs;
        self.cpu_ns = self.cpu_ns.wrapping_add(more.cpu_ns);
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

/// The counts of a view at a flush. The total is the sum of the series, `overflow`, `yielded` and what
/// has been unattributed since the view was created.
#[derive(Debug, Clone, Default)]
pub struct ViewCounts {
    pub labels: Vec<Label>,
    /// In no particular order.
    pub series: Vec<SeriesCounts>,
    /// What had no slot when it was counted, or whose series was evicted before a scrape showed it.
    pub overflow: Counts,
    /// When the view, and with it `overflow`, began.
    pub start: Timestamp,
    /// What a scrape has shown under series that have since been evicted, and everything counted
    /// before the view existed.
    pub yielded: Counts,
    /// What is unattributed in `yielded`.
    pub unattributed_before: Counts,
    /// The execs of the last minutes that had no series.
    pub recent_other: History,
    /// The number of slots.
    pub max_series: usize,
}
