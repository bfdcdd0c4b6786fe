//! The counts at one flush. The stages after the aggregator see nothing else.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::pipeline::continuity::Continuity;
use crate::pipeline::flush::Flush;
use crate::pipeline::history::History;
use crate::pipeline::view::ViewCounts;
use crate::record::{Kind, WaitStatus};
use crate::sys::clock::Timestamp;

/// All counts at one flush.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// When counting began.
    pub start: Timestamp,
    /// All execs.
    pub execs: u64,
    pub recent: History,
    /// Execs in the total whose program, user and cgroup are not known.
    pub unattributed: u64,
    /// Execs whose program and user are known, but not the name of their cgroup.
    pub unknown_cgroup_execs: u64,
    /// The execs among `unattributed` for which the kernel skipped every copy of the program.
    pub missed: u64,
    /// By kind, in the order of [`Kind::ALL`]: the largest number of events for which the kernel
    /// may have skipped every copy of the program. Such failures and exits are not counted.
    pub missed_at_most: [u64; Kind::ALL.len()],
    /// CPU time that is counted without a subject, in nanoseconds.
    pub unattributed_cpu_ns: u64,
    /// Processes whose CPU time is counted without the name of their parent, although a view asks for
    /// it.
    pub unknown_parents: u64,
    /// By kind, in the order of [`Kind::ALL`]: what the kernel saw minus what is accounted for.
    /// It is 0 unless there is a bug.
    pub differences: [i64; Kind::ALL.len()],
    /// The views in the order of the configuration.
    pub views: Vec<ViewCounts>,
    /// By status of `flush.exits`: the beginning of the last flush without such an exit.
    pub exit_starts: BTreeMap<WaitStatus, Timestamp>,
    /// By errno of `flush.failures`: the beginning of the last flush without such a failure.
    pub failure_starts: BTreeMap<i32, Timestamp>,
    pub continuity: Arc<Continuity>,
    /// The state of the stages before the aggregator.
    pub flush: Flush,
    /// The number of messages that were waiting for the aggregator.
    pub channel_depth: usize,
}

impl Snapshot {
    /// Returns the number of execs and CPU times whose event was lost, by reason. They are still
    /// counted.
    pub fn lost(&self) -> [(Loss, u64); 4] {
        let after = &self.flush.after;
        let (execs, cpu_times) = (&after[Kind::Exec], &after[Kind::CpuTime]);
        [
            (Loss::BufferFull, execs.buffer_full + cpu_times.buffer_full),
            (Loss::NoBuffer, execs.no_buffer + cpu_times.no_buffer),
            (Loss::Other, execs.other + cpu_times.other),
            (Loss::Undecodable, self.flush.undecodable),
        ]
    }
}

/// Why an event was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// The buffer was full because the reader was too slow.
    BufferFull,
    /// The CPU came online after the daemon started, and has no buffer.
    NoBuffer,
    /// The kernel refused the event for another reason.
    Other,
    /// The bytes were not a valid event.
    Undecodable,
}

impl Loss {
    /// Returns the value of the `reason` label.
    pub fn name(self) -> &'static str {
        match self {
            Self::BufferFull => "buffer_full",
            Self::NoBuffer => "no_buffer",
            Self::Other => "other",
            Self::Undecodable => "undecodable",
        }
    }
}
