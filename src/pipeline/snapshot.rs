//! The counts at one flush. The stages after the aggregator see nothing else.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::pipeline::continuity::Continuity;
use crate::pipeline::flush::Flush;
use crate::pipeline::history::History;
use crate::pipeline::per_second::PerSecond;
use crate::pipeline::view::{Exits, Failures, ViewCounts};
use crate::pipeline::watch::WatchCounts;
use crate::record::{Kind, Ledger, WaitStatus};
use crate::sys::clock::Timestamp;

/// All counts at one flush.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// When counting began.
    pub start: Timestamp,
    /// All execs.
    pub execs: u64,
    pub recent: History,
    pub per_second: PerSecond,
    /// Execs in the total whose program, user and cgroup are not known.
    pub unattributed: u64,
    /// Execs whose program and user are known, but not the name of their cgroup.
    pub unknown_cgroup_execs: u64,
    /// Execs of files whose name is in use and not known.
    pub unknown_exe_execs: u64,
    /// The execs among `unattributed` for which the kernel skipped every copy of the program.
    pub missed: u64,
    /// By kind, in the order of [`Kind::ALL`]: the largest number of events for which the kernel
    /// may have skipped every copy of the program. Such failures and exits are not counted.
    pub missed_at_most: [u64; Kind::ALL.len()],
    /// CPU time that is counted without a subject, in nanoseconds.
    pub unattributed_cpu_ns: u64,
    /// Exits that are counted without a subject, if a view counts exits.
    pub unattributed_exits: Exits,
    /// Their lifetimes, in nanoseconds.
    pub unattributed_lifetime_ns: u64,
    /// Exits that are in no count by outcome: those from before any view counted exits, and those that
    /// a killed daemon had received and not saved.
    pub exits_without_outcome: u64,
    /// Failed execs that the kernel side counted without a subject, by error.
    pub unattributed_failures: Failures,
    /// The number of unattributed failed execs, including those that a killed daemon had received and
    /// not saved.
    pub failures_without_subject: u64,
    /// Processes whose CPU time is counted without the name of their parent, although a view asks for
    /// it.
    pub unknown_parents: u64,
    /// By kind, in the order of [`Kind::ALL`]: what the kernel saw minus what is accounted for.
    /// It is 0 unless there is a bug.
    pub differences: [i64; Kind::ALL.len()],
    /// The views in the order of the configuration.
    pub views: Vec<ViewCounts>,
    /// The watches in the order of the configuration.
    pub watches: Vec<WatchCounts>,
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
    /// Returns the number of execs, exits and CPU times whose event was lost, by reason. They are still
    /// counted.
    pub fn lost(&self) -> [(Loss, u64); 4] {
        let after = &self.flush.after;
        let of = |field: fn(&Ledger) -> u64| {
            let kinds = [Kind::Exec, Kind::Exit, Kind::CpuTime];
            kinds.map(|kind| field(&after[kind])).iter().sum()
        };
        [
            (Loss::BufferFull, of(|ledger| ledger.buffer_full)),
            (Loss::NoBuffer, of(|ledger| ledger.no_buffer)),
            (Loss::Other, of(|ledger| ledger.other)),
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
