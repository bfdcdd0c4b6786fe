//! What to capture, and how.

use crate::capture::hook::AttachPoint;
use crate::capture::hook::{EXEC_RAW_TP, EXEC_SYS_EXIT, EXEC_TP_BTF, EXIT_LIVE, EXIT_TP_BTF, Hook};
use crate::capture::preemption;
use crate::record::Comm;

/// What to capture, and by which means.
#[allow(clippy::struct_excessive_bools)] // switches, each by itself
#[derive(Debug, Clone)]
pub struct Options {
    /// The roads that may be taken, the preferred one first.
    pub transports: Vec<TransportKind>,
    /// Pages of each CPU's buffer, a power of two.
    pub buffer_pages: usize,
    /// Ask the kernel for the parent's name.
    pub with_parent_comm: bool,
    /// Ask the kernel for the cgroup, and for its name.
    pub with_cgroup: bool,
    /// Groups of hooks for execs, the preferred one first.
    pub exec_hooks: Vec<Vec<Hook>>,
    /// Observe failed execs, by these means.
    pub failures: Option<FailureHooks>,
    /// Observe ends of processes.
    pub exits: bool,
    /// Groups of hooks for exits, the preferred one first.
    pub exit_hooks: Vec<Vec<Hook>>,
    /// Count attempts, as the classic execsnoop does, instead of execs.
    pub classic: bool,
    /// What a live stream asks for.
    pub live: Live,
    /// Whether the kernel may skip programs, so that standby copies are needed.
    pub may_skip: fn(AttachPoint) -> bool,
}

/// What a live stream asks for; by default, nothing. Filters are the kernel side's: what
/// they keep out is not observed at all.
#[derive(Debug, Clone, Default)]
pub struct Live {
    /// Only of this real user id.
    pub uid: Option<u32>,
    /// Only of programs of this name.
    pub comm: Option<Comm>,
    /// Only what a program of this name started.
    pub parent_comm: Option<Comm>,
    /// Only in the cgroup of this id or below it.
    pub cgroup_id: Option<u64>,
    /// Failed execs as events, too.
    pub failures: bool,
    /// The path of what is executed. With it or with arguments, the transport has to be the
    /// ring buffer.
    pub path: bool,
    /// Its arguments.
    pub args: bool,
}

impl Live {
    pub(super) fn is_detailed(&self) -> bool {
        self.path || self.args
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            transports: vec![TransportKind::Perf, TransportKind::Ring],
            buffer_pages: 64,
            with_parent_comm: false,
            with_cgroup: false,
            exec_hooks: vec![vec![EXEC_TP_BTF], vec![EXEC_RAW_TP], EXEC_SYS_EXIT.to_vec()],
            failures: Some(FailureHooks::Fexit),
            exits: true,
            exit_hooks: vec![vec![EXIT_TP_BTF], vec![EXIT_LIVE[0]], vec![EXIT_LIVE[1]]],
            classic: false,
            live: Live::default(),
            may_skip: preemption::may_skip,
        }
    }
}

/// How events cross into user space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransportKind {
    /// A perf buffer.
    Perf,
    /// A ring buffer.
    Ring,
}

impl TransportKind {
    /// As in `execsnoop_transport_info`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Perf => "perf",
            Self::Ring => "ringbuf",
        }
    }
}

/// By which means failed execs may be observed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureHooks {
    /// fexit or not at all.
    Fexit,
    /// fexit, else the tracepoints that slow every system call.
    FexitOrTracepoint,
}
