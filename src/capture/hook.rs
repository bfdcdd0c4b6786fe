//! Which programs there are and what each observes.

use std::fmt;

use crate::record::Kind;

/// A program of `bpf/execsnoop.bpf.c` or `bpf/exit.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hook {
    /// What it observes.
    pub kind: Kind,
    /// Its name.
    pub program: &'static str,
    /// Its type.
    pub program_type: &'static str,
    /// What it attaches to.
    pub target: &'static str,
    /// 1, or more for a standby copy: `COPIES` in `bpf/standby.h`.
    pub copy: u8,
}

impl Hook {
    /// Whether each run of the program observes exactly one of its kind. Other programs also
    /// run for threads that exit, and for calls that succeed.
    pub fn each_run_observes(&self) -> bool {
        self.target == "sched_process_exec" || CLASSIC.contains(self)
    }

    /// Whether it is the program that was selected, not a standby copy of it.
    pub fn is_first_copy(&self) -> bool {
        self.copy == 1
    }

    /// Its kind of attach point, if there are standby copies of it.
    pub(super) fn attach_point(&self) -> Option<AttachPoint> {
        match self.program_type {
            "tp_btf" | "raw_tp" => Some(AttachPoint::Tracepoint),
            "fexit" => Some(AttachPoint::Fexit),
            _ => None,
        }
    }

    /// The copies that stand by for it where the kernel may skip it.
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

/// Successful execs, by BTF-typed tracepoint.
pub const EXEC_TP_BTF: Hook = hook(Kind::Exec, "exec_tp_btf", "tp_btf", "sched_process_exec");
/// The same without types.
pub const EXEC_RAW_TP: Hook = hook(Kind::Exec, "exec_raw_tp", "raw_tp", "sched_process_exec");
/// Successful execs at the end of the system calls, by the programs in [`SYS_EXIT`].
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
/// Attempts, as the classic execsnoop counts them.
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
/// Failed execs at the system calls' entries; which of them exist depends on the
/// architecture and on whether the kernel runs 32-bit programs.
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
/// Failed execs by tracepoint, at the cost of every other system call.
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
/// Ends of processes, where the tracepoint says which thread is the last.
pub const EXIT_TP_BTF: Hook = hook(Kind::Exit, "exit_tp_btf", "tp_btf", "sched_process_exit");
/// The same where it does not; with types and without.
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

/// The copies of each program that the kernel may skip, as `FOR_EACH_COPY` in
/// `bpf/standby.h` defines them.
macro_rules! copies {
    ($($name:literal),+ $(,)?) => {
        [$([$name, concat!($name, "_2"), concat!($name, "_3")]),+]
    };
}

const COPIES: [[&str; 3]; 9] = copies![
    "exec_tp_btf",
    "exec_raw_tp",
    "fail_execve",
    "fail_execveat",
    "fail_compat_execve",
    "fail_compat_execveat",
    "exit_tp_btf",
    "exit_live_tp_btf",
    "exit_live_raw_tp",
];

/// The kinds of attach points at which a kernel may preempt programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AttachPoint {
    /// A tracepoint.
    Tracepoint,
    /// The exit of a kernel function.
    Fexit,
}

/// What the kernel answered to a hook.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// The hook that was tried.
    pub hook: Hook,
    /// At which step it was refused.
    pub step: &'static str,
    /// What the kernel, or libbpf in its name, said.
    pub error: String,
    /// It was refused for lack of a permission.
    pub not_permitted: bool,
    /// It was refused for lack of memory.
    pub out_of_memory: bool,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} refused at {}: {}", self.hook, self.step, self.error)
    }
}
