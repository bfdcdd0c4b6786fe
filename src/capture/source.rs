//! What the reader reads from: bytes, and the kernel's account of them.
//!
//! [`Capture`](crate::capture::Capture) is the kernel's; tests put in their own, and so
//! run everything behind it as it is shipped.

use std::io;
use std::os::fd::BorrowedFd;

use crate::record::{FailureCounts, Kind, Ledgers};

/// Where observations come from.
pub trait Source: Send {
    /// Becomes readable when [`drain_events`](Self::drain_events) is due.
    fn wakeup_fd(&self) -> BorrowedFd<'_>;

    /// Take all events out of the buffers, in order for each CPU but not across CPUs.
    /// After an error in one buffer the others are emptied nevertheless.
    fn drain_events(&mut self, event: &mut dyn FnMut(&[u8])) -> io::Result<()>;

    /// Take all counts out of the tally: the bytes of each subject and of its count.
    fn drain_tally(&mut self, entry: &mut dyn FnMut(&[u8], &[u8])) -> io::Result<()>;

    /// The account of all CPUs since the start. `seen` is not older than the rest.
    fn ledgers(&mut self) -> io::Result<Ledgers>;

    /// Failed execs since the start.
    fn failures(&mut self) -> io::Result<FailureCounts>;

    /// The path of a cgroup that an observation named, as it was when it was first seen:
    /// `/` for the root. None if it is not known.
    fn cgroup_path(&mut self, id: u64) -> io::Result<Option<Vec<u8>>>;

    /// What the kernel says of each program.
    fn programs(&mut self) -> Vec<ProgramStats>;

    /// Let nothing new in. What was observed until now can still be drained.
    fn detach(&mut self);
}

/// A program's own account, by the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProgramStats {
    /// As in `bpf/`.
    pub name: &'static str,
    /// What it observes. None for a standby copy: it observes what other copies miss.
    pub observes: Option<Kind>,
    /// Whether each run observes exactly one of that kind. Otherwise a missed run may have
    /// been one that observes nothing, such as for a call that succeeded.
    pub each_run_observes: bool,
    /// How often the kernel skipped the program because a preempted task on that CPU was
    /// inside it. The ledger has the observation only if a standby copy claimed it: see
    /// `recovered`.
    pub missed_runs: u64,
    /// How often it ran, while `kernel.bpf_stats_enabled` was set.
    pub runs: u64,
    /// For how long, in nanoseconds, likewise.
    pub run_time_ns: u64,
}
