//! The counts at one flush. The stages after the aggregator know nothing else.

use crate::pipeline::flush::Flush;
use crate::pipeline::history::History;
use crate::pipeline::view::ViewCounts;
use crate::record::Kind;

/// All counts at one flush.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// All execs.
    pub execs: u64,
    pub recent: History,
    /// Execs that are counted without a subject.
    pub unattributed: u64,
    /// Execs in cgroups whose name is not known. They have a subject.
    pub unknown_cgroup_execs: u64,
    /// Those among `unattributed` for which the kernel skipped every program.
    pub missed: u64,
    /// An upper bound of the observations for which the kernel skipped every program, by kind in
    /// the order of [`Kind::ALL`]. Such failures and exits are not counted.
    pub missed_at_most: [u64; Kind::ALL.len()],
    /// CPU time that is counted without a subject, in nanoseconds.
    pub unattributed_cpu_ns: u64,
    /// Processes whose CPU time is counted without the name of their parent, although it is in use.
    pub unknown_parents: u64,
    /// What the kernel saw minus what is accounted for, by kind in the order of [`Kind::ALL`]: 0
    /// unless there is a bug.
    pub differences: [i64; Kind::ALL.len()],
    /// The views in the order of the configuration.
    pub views: Vec<ViewCounts>,
    /// The state of the stages before the aggregator.
    pub flush: Flush,
    /// The number of messages that were waiting for the aggregator.
    pub channel_depth: usize,
}

impl Snapshot {
    /// Returns the execs and the CPU times whose event was lost, by reason. They are counted
    /// nevertheless.
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
    /// The reader was not fast enough.
    BufferFull,
    /// The CPU came online after the start.
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
