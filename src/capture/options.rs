//! What to capture, and which hooks and transports may be used.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::capture::hook::AttachPoint;
use crate::capture::hook::{
    CPU_RAW_TP, CPU_TP_BTF, EXEC_RAW_TP, EXEC_SYS_EXIT, EXEC_TP_BTF, EXIT_LIVE, EXIT_TP_BTF, Hook,
};
use crate::capture::preemption;
use crate::record::{Comm, Fact, FactValue, Kind};

#[allow(clippy::struct_excessive_bools)] // independent switches
#[derive(Debug, Clone)]
pub struct Options {
    /// The transports that may be used, the preferred one first.
    pub transports: Vec<TransportKind>,
    /// The size of the buffer in pages per CPU, a power of two.
    pub buffer_pages: usize,
    /// What the programs read of each process in addition to its name and user.
    pub inputs: BTreeSet<Input>,
    /// Groups of hooks for execs, the preferred one first.
    pub exec_hooks: Vec<Vec<Hook>>,
    /// The hooks that may be used for failed execs. None: failed execs are not observed.
    pub failures: Option<FailureHooks>,
    /// Count failed execs by subject, too, for the views.
    pub with_failures: bool,
    /// Observe exits of processes.
    pub exits: bool,
    /// Count exits by subject, too, for the views.
    pub with_exits: bool,
    /// Observe the CPU time of processes, too, for the views.
    pub cpu_time: bool,
    /// Groups of hooks for exits, the preferred one first.
    pub exit_hooks: Vec<Vec<Hook>>,
    /// Groups of hooks for CPU time, the preferred one first.
    pub cpu_time_hooks: Vec<Vec<Hook>>,
    /// Count attempts, as the classic execsnoop does, instead of execs.
    pub classic: bool,
    pub live: Live,
    /// Finds out whether the kernel may skip programs at a kind of attach point, so that standby
    /// copies are needed.
    pub may_skip: fn(AttachPoint) -> bool,
}

/// What the programs read of a process only if it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Input {
    /// The name of the parent.
    ParentComm,
    /// The id of the cgroup. The programs keep its name.
    Cgroup,
    /// The id of the name of the file that is executed. The programs keep its name.
    Exe,
    /// The user who logged in.
    Loginuid,
    Fact(Fact),
}

/// The details and filters of the live stream of `execsnoopd trace`; by default none. The programs
/// apply the filters, so the ledger does not count what a filter rejects.
#[allow(clippy::struct_excessive_bools)] // independent switches
#[derive(Debug, Clone, Default)]
pub struct Live {
    /// Only observations of one of these real user ids. At most [`WANTED`]; none: of all.
    pub uids: Vec<u32>,
    /// Only observations of programs with one of these names. At most [`WANTED`]; none: of all.
    pub comms: Vec<Comm>,
    /// Only observations of programs whose parent has this name.
    pub parent_comm: Option<Comm>,
    /// Only observations in the cgroup with this id, or below it.
    pub cgroup_id: Option<u64>,
    /// Only observations of this process and of its descendants.
    pub pid: Option<u32>,
    /// Only observations of processes that this user has started who logged in.
    pub loginuid: Option<u32>,
    /// Only execs of files with one of these names, each at most 255 bytes. At most [`WANTED`]; none: all.
    pub exes: Vec<Vec<u8>>,
    /// Only execs whose file has one of these origins; none: all.
    pub origins: Vec<FactValue>,
    /// Only observations with all of these facts.
    pub facts: Vec<(Fact, FactValue)>,
    /// Send the time, the process and the parent of each observation. Without it, they are 0.
    pub process: bool,
    /// Send failed execs as events, too.
    pub failures: bool,
    /// Send exits as events, with the CPU time that the scheduler has accounted for.
    pub exits: bool,
    /// Only exits of processes that did not succeed.
    pub only_unsuccessful: bool,
    /// Send the path. Path, arguments and family require the ring buffer.
    pub path: bool,
    /// Send the arguments.
    pub args: bool,
    /// Send the names of threads, and the ancestors.
    pub family: bool,
}

/// The most values of a filter: `WANTED` of `bpf/filter.h`.
pub const WANTED: usize = 8;

impl Options {
    /// Describes everything that decides which programs are loaded, and how.
    pub(super) fn fingerprint(&self) -> String {
        let Self {
            transports,
            buffer_pages,
            inputs,
            exec_hooks,
            failures,
            with_failures,
            exits,
            with_exits,
            cpu_time,
            exit_hooks,
            cpu_time_hooks,
            classic,
            live,
            may_skip: _, // the same on each start on this kernel
        } = self;
        let hooks = (exec_hooks, exit_hooks, cpu_time_hooks);
        let failures = (failures, with_failures);
        let switches = (inputs, failures, classic);
        let exits = (exits, with_exits, cpu_time);
        let mut hasher = DefaultHasher::new();
        format!("{transports:?} {buffer_pages} {hooks:?} {switches:?} {exits:?} {live:?}")
            .hash(&mut hasher);
        format!("{}-{:016x}", env!("EXECSNOOP_OBJECT"), hasher.finish())
    }
}

impl Options {
    /// Returns the kinds whose ledgers record what became of each observation.
    pub(super) fn by_subject(&self) -> Vec<Kind> {
        let is_by_subject = |kind: &Kind| match kind {
            Kind::Exec | Kind::CpuTime => true,
            Kind::Exit => self.with_exits || self.live.exits,
            Kind::Failure => self.with_failures || self.live.failures,
        };
        Kind::ALL.into_iter().filter(is_by_subject).collect()
    }
}

impl Live {
    pub fn is_detailed(&self) -> bool {
        self.path || self.args || self.family
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            transports: vec![TransportKind::Perf, TransportKind::Ring],
            buffer_pages: 64,
            inputs: BTreeSet::new(),
            exec_hooks: vec![vec![EXEC_TP_BTF], vec![EXEC_RAW_TP], EXEC_SYS_EXIT.to_vec()],
            failures: Some(FailureHooks::Fexit),
            with_failures: false,
            exits: true,
            with_exits: false,
            cpu_time: true,
            exit_hooks: vec![vec![EXIT_TP_BTF], vec![EXIT_LIVE[0]], vec![EXIT_LIVE[1]]],
            cpu_time_hooks: vec![vec![CPU_TP_BTF], vec![CPU_RAW_TP]],
            classic: false,
            live: Live::default(),
            may_skip: preemption::may_skip,
        }
    }
}

/// How events cross into user space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransportKind {
    Perf,
    Ring,
}

impl TransportKind {
    pub const ALL: [Self; 2] = [Self::Perf, Self::Ring];

    /// The value of the label in `execsnoop_transport_info`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Perf => "perf",
            Self::Ring => "ringbuf",
        }
    }
}

/// The hooks that may be used for failed execs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureHooks {
    /// Only fexit.
    Fexit,
    /// fexit, otherwise the tracepoints that slow every system call.
    FexitOrTracepoint,
}
