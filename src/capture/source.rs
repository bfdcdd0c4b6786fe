//! What the reader thread reads from: the bytes of events, and the kernel's ledgers and counts.
//!
//! [`Capture`](crate::capture::Capture) reads from the kernel. Tests inject other sources,
//! so that they run all later stages unchanged.

use std::io;
use std::os::fd::BorrowedFd;

use crate::record::{ExitCounts, FailureCounts, Kind, Ledgers};

pub trait Source: Send {
    /// Becomes readable when [`drain_events`](Self::drain_events) is due.
    fn wakeup_fd(&self) -> BorrowedFd<'_>;

    /// Takes all events out of the buffers. They are in order for each CPU but not across CPUs.
    /// After an error in one buffer, the others are still drained.
    fn drain_events(&mut self, event: &mut dyn FnMut(&[u8])) -> io::Result<()>;

    /// Takes all counts out of the tallies: the bytes of each subject and of its count.
    fn drain_tally(&mut self, entry: &mut dyn FnMut(&[u8], &[u8])) -> io::Result<()>;

    /// Reads the counts in the tally like [`drain_tally`](Self::drain_tally), except those of failed
    /// execs, and leaves them there.
    fn peek_tally(&mut self, entry: &mut dyn FnMut(&[u8], &[u8])) -> io::Result<()>;

    /// The sums over all CPUs since counting began. `seen` is never older than the other fields.
    fn ledgers(&mut self) -> io::Result<Ledgers>;

    /// The number of failed execs since counting began, by errno.
    fn failures(&mut self) -> io::Result<FailureCounts>;

    /// Exits since the start.
    fn exits(&mut self) -> io::Result<ExitCounts>;

    /// The path of a cgroup as it was when the cgroup was first seen: `/` for the root. None if
    /// it is not known.
    fn cgroup_path(&mut self, id: u64) -> io::Result<Option<Vec<u8>>>;

    /// The name of a file that was executed. None if it is not known.
    fn exe_name(&mut self, id: u64) -> io::Result<Option<Vec<u8>>>;

    fn programs(&mut self) -> Vec<ProgramStats>;

    /// Ends what this process reads: detaches the programs or, if a later daemon may continue with
    /// them, makes them count in the tally. What they have observed can still be drained.
    fn stop(&mut self);
}

/// The kernel's statistics of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProgramStats {
    /// Its name in `bpf/`.
    pub name: &'static str,
    /// What it observes. None for a standby copy, which observes what other copies miss.
    pub observes: Option<Kind>,
    /// Whether each run observes something. Otherwise a missed run may have been one that
    /// observes nothing, such as for a call that succeeded.
    pub each_run_observes: bool,
    /// How often the kernel skipped the program because a preempted task on that CPU was
    /// inside it. The ledger has the observation only if a standby copy claimed it: see
    /// `recovered` in `bpf/execsnoop.h`.
    pub missed_runs: u64,
    /// How often it ran, while `kernel.bpf_stats_enabled` was set.
    pub runs: u64,
    /// How long it ran, in nanoseconds, while `kernel.bpf_stats_enabled` was set.
    pub run_time_ns: u64,
}
