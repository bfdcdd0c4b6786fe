//! The programs: what each of them observes, and what it attaches to.

use std::collections::HashSet;
use std::fmt;

use crate::record::Kind;

/// A program of `bpf/execsnoop.bpf.c`, `bpf/exit.h` or `bpf/cpu.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hook {
    pub kind: Kind,
    pub program: &'static str,
    pub program_type: &'static str,
    /// The tracepoint or function that it attaches to.
    pub target: &'static str,
    /// 1 for the program itself, 2 or more for a standby copy (`bpf/standby.h`).
    pub copy: u8,
}

impl Hook {
    /// Whether each run of the program observes something. Other programs also run when one of
    /// several threads exits, or when a system call succeeds.
    pub fn each_run_observes(&self) -> bool {
        self.shows_file() || CLASSIC.contains(self)
    }

    /// Whether the program sees the file that is executed.
    pub fn shows_file(&self) -> bool {
        self.target == "sched_process_exec"
    }

    /// Whether this is the program itself, not a standby copy of it.
    pub fn is_first_copy(&self) -> bool {
        self.copy == 1
    }

    /// The kind of its attach point. None if the program has no standby copies.
    pub(super) fn attach_point(&self) -> Option<AttachPoint> {
        match self.program_type {
            "tp_btf" | "raw_tp" => Some(AttachPoint::Tracepoint),
            "fexit" => Some(AttachPoint::Fexit),
            _ => None,
        }
    }

    /// The copies that stand by for this program where the kernel may skip it.
    pub(super) fn standbys(&self) -> impl Iterator<Item = Self> {
        let programs = COPIES.iter().find(|[first, ..]| *first == self.program);
        let programs = programs.into_iter().flatten().skip(1);
        (2..).zip(programs).map(|(copy, program)| Self {
            program,
            copy,
            ..*self
        })
    }
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.program_type, self.target)
    }
}

const fn hook(
    kind: Kind,
    program: &'static str,
    program_type: &'static str,
    target: &'static str,
) -> Hook {
    Hook {
        kind,
        program,
        program_type,
        target,
        copy: 1,
    }
}

/// Successful execs, by a tracepoint with BTF types.
pub const EXEC_TP_BTF: Hook = hook(Kind::Exec, "exec_tp_btf", "tp_btf", "sched_process_exec");
/// Successful execs, by the same tracepoint without BTF types.
pub const EXEC_RAW_TP: Hook = hook(Kind::Exec, "exec_raw_tp", "raw_tp", "sched_process_exec");
/// Successful execs when the system calls return. These are the programs of [`SYS_EXIT`].
pub const EXEC_SYS_EXIT: [Hook; 2] = [
    hook(
        Kind::Exec,
        "sys_exit_execve",
        "tracepoint",
        "syscalls/sys_exit_execve",
    ),
    hook(
        Kind::Exec,
        "sys_exit_execveat",
        "tracepoint",
        "syscalls/sys_exit_execveat",
    ),
];
/// Attempts to exec, as the classic execsnoop counts them.
pub const CLASSIC: [Hook; 2] = [
    hook(
        Kind::Exec,
        "sys_enter_execve",
        "tracepoint",
        "syscalls/sys_enter_execve",
    ),
    hook(
        Kind::Exec,
        "sys_enter_execveat",
        "tracepoint",
        "syscalls/sys_enter_execveat",
    ),
];
/// Failed execs when the system calls' entry points return. Which entry points exist depends
/// on the architecture and on whether the kernel runs 32-bit programs.
pub const FEXIT: [Hook; 4] = [
    hook(Kind::Failure, "fail_execve", "fexit", "execve"),
    hook(Kind::Failure, "fail_execveat", "fexit", "execveat"),
    hook(
        Kind::Failure,
        "fail_compat_execve",
        "fexit",
        "compat execve",
    ),
    hook(
        Kind::Failure,
        "fail_compat_execveat",
        "fexit",
        "compat execveat",
    ),
];
/// Failed execs by tracepoints, which slow every system call.
pub const SYS_EXIT: [Hook; 2] = [
    hook(
        Kind::Failure,
        "sys_exit_execve",
        "tracepoint",
        "syscalls/sys_exit_execve",
    ),
    hook(
        Kind::Failure,
        "sys_exit_execveat",
        "tracepoint",
        "syscalls/sys_exit_execveat",
    ),
];
/// Exits, where the tracepoint tells whether a thread is the last of its process (Linux 6.16).
pub const EXIT_TP_BTF: Hook = hook(Kind::Exit, "exit_tp_btf", "tp_btf", "sched_process_exit");
/// Exits on older kernels, where the tracepoint does not tell: with and without BTF types.
pub const EXIT_LIVE: [Hook; 2] = [
    hook(
        Kind::Exit,
        "exit_live_tp_btf",
        "tp_btf",
        "sched_process_exit",
    ),
    hook(
        Kind::Exit,
        "exit_live_raw_tp",
        "raw_tp",
        "sched_process_exit",
    ),
];

/// CPU time of processes, with types.
pub const CPU_TP_BTF: Hook = hook(Kind::CpuTime, "cpu_tp_btf", "tp_btf", "sched_process_free");
/// The same without types.
pub const CPU_RAW_TP: Hook = hook(Kind::CpuTime, "cpu_raw_tp", "raw_tp", "sched_process_free");

/// The copies of each program that the kernel may skip, as `FOR_EACH_COPY` in
/// `bpf/standby.h` defines them.
macro_rules! copies {
    ($($name:literal),+ $(,)?) => {
        [$([$name, concat!($name, "_2"), concat!($name, "_3")]),+]
    };
}

const COPIES: [[&str; 3]; 11] = copies![
    "exec_tp_btf",
    "exec_raw_tp",
    "fail_execve",
    "fail_execveat",
    "fail_compat_execve",
    "fail_compat_execveat",
    "exit_tp_btf",
    "exit_live_tp_btf",
    "exit_live_raw_tp",
    "cpu_tp_btf",
    "cpu_raw_tp",
];

/// Returns all programs of a kind, without standby copies.
fn of_kind(kind: Kind) -> impl Iterator<Item = Hook> {
    let exec = [EXEC_TP_BTF, EXEC_RAW_TP].into_iter().chain(EXEC_SYS_EXIT);
    let failure = FEXIT.into_iter().chain(SYS_EXIT);
    let exit = [EXIT_TP_BTF].into_iter().chain(EXIT_LIVE);
    let cpu_time = [CPU_TP_BTF, CPU_RAW_TP];
    let all = exec.chain(CLASSIC).chain(failure).chain(exit);
    all.chain(cpu_time).filter(move |hook| hook.kind == kind)
}

/// Returns the programs with these names, each of which belongs to a kind, in a fixed order.
pub(super) fn named(wanted: &HashSet<(Kind, String)>) -> Vec<Hook> {
    let all = Kind::ALL.into_iter().flat_map(of_kind);
    let with_copies = all.flat_map(|hook| {
        let standbys: Vec<_> = hook.standbys().collect();
        std::iter::once(hook).chain(standbys)
    });
    let found = with_copies.filter(|hook| wanted.contains(&(hook.kind, hook.program.to_owned())));
    found.collect()
}

/// The kinds of attach points at which a kernel may preempt programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AttachPoint {
    Tracepoint,
    /// The return of a kernel function.
    Fexit,
}

/// Why a hook cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub hook: Hook,
    /// The step that failed: `open`, `load` or `attach`.
    pub step: &'static str,
    /// The error from the kernel or from libbpf.
    pub error: String,
    /// Whether a permission is missing.
    pub not_permitted: bool,
    /// The limit that was reached, if the hook could not be tried for lack of a resource. It is
    /// then unknown whether the kernel supports the hook.
    pub shortage: Option<Box<str>>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} refused at {}: {}", self.hook, self.step, self.error)
    }
}
