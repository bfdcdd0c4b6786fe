//! What crosses the channel from the reader to the aggregator.

use crate::pipeline::cgroup_cache::Cgroups;
use crate::pipeline::flush::Flush;
use crate::record::{Event, Subject, TallyCount};

/// A step of the reader.
#[derive(Debug)]
pub enum Message<O = Event> {
    /// Execs and exits, in the order of their time across all CPUs, and their cgroups.
    Events(Vec<O>, Cgroups),
    /// Execs and exits of which only the count is left, by subject, and their cgroups.
    Tally(Vec<(Subject, TallyCount)>, Cgroups),
    /// All that had been observed when the flush began is before this message.
    Flushed(Box<Flush>),
}
