//! The messages from the reader to the aggregator.

use crate::pipeline::cgroup_cache::Cgroups;
use crate::pipeline::flush::Flush;
use crate::record::{Event, Subject, TallyCount};

#[derive(Debug)]
pub enum Message<O = Event> {
    /// Observations from all CPUs, sorted by time, and their cgroups.
    Events(Vec<O>, Cgroups),
    /// Counts by subject, from the tally, and their cgroups.
    Tally(Vec<(Subject, TallyCount)>, Cgroups),
    /// The messages before this one contain everything observed before the flush began.
    Flushed(Box<Flush>),
    /// Nothing has been observed for a tick.
    Idle,
}
