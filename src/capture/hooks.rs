//! Which programs there are, what each observes, and which are chosen: by loading and
//! attaching them one by one, never by the kernel's version.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;

use tracing::{debug, info, warn};

use super::Options;
use super::error::Error;
use super::object;
use super::probe::AttachPoint;
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
    fn attach_point(&self) -> Option<AttachPoint> {
        match self.program_type {
            "tp_btf" | "raw_tp" => Some(AttachPoint::Tracepoint),
            "fexit" => Some(AttachPoint::Fexit),
            _ => None,
        }
    }

    /// The copies that stand by for it where the kernel may skip it.
    fn standbys(&self) -> impl Iterator<Item = Self> {
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

/// Where the kernel describes its tracepoints, if tracefs is mounted.
const TRACEFS: [&str; 2] = [
    "/sys/kernel/tracing/events",
    "/sys/kernel/debug/tracing/events",
];

/// What the kernel answered to a hook.
#[derive(Debug)]
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

/// Load and attach a hook's program by itself, and let go of it.
pub fn try_out(hook: Hook) -> Result<Hook, Refusal> {
    object::try_out(hook)
}

/// The hooks that this kernel lets us have, for what is asked for.
pub(super) fn choose(options: &Options) -> Result<Vec<Hook>, Error> {
    let mut chosen = if options.classic {
        classic()?
    } else {
        exec(options)?
    };
    if let Some(request) = options.failures {
        chosen.extend(failure(request)?);
    }
    if options.exits {
        let groups: Vec<&[Hook]> = options.exit_hooks.iter().map(Vec::as_slice).collect();
        chosen.extend(first_of(&groups).unwrap_or_else(|refusals| {
            warn!(
                refused = list(&refusals),
                "exits of processes are not counted"
            );
            Vec::new()
        }));
    }
    Ok(chosen)
}

/// Adds the standby copies of each hook that the kernel may skip.
pub(super) fn with_standbys(hooks: Vec<Hook>, may_skip: impl Fn(AttachPoint) -> bool) -> Vec<Hook> {
    let mut answers = HashMap::new();
    let mut all = Vec::new();
    for hook in hooks {
        all.push(hook);
        let may_skip_it = hook
            .attach_point()
            .is_some_and(|point| *answers.entry(point).or_insert_with(|| may_skip(point)));
        if may_skip_it {
            all.extend(hook.standbys());
        }
    }
    all
}

/// By which means failed execs may be observed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failures {
    /// fexit or not at all.
    Fexit,
    /// fexit, else the tracepoints that slow every system call.
    FexitOrTracepoint,
}

fn exec(options: &Options) -> Result<Vec<Hook>, Error> {
    let groups: Vec<&[Hook]> = options.exec_hooks.iter().map(Vec::as_slice).collect();
    first_of(&groups).map_err(|refusals| Error::no_hook("execs", &refusals))
}

fn classic() -> Result<Vec<Hook>, Error> {
    need_tracefs("capture.classic")?;
    warn!("classic mode: counts attempts to exec, failed ones too, by the path's first 15 bytes");
    first_of(&[&CLASSIC]).map_err(|refusals| Error::no_hook("attempts to exec", &refusals))
}

fn failure(request: Failures) -> Result<Vec<Hook>, Error> {
    // As on most kernels that have any of them; else each by itself.
    if object::can_have_all(&FEXIT) {
        return Ok(FEXIT.to_vec());
    }
    let (had, refused): (Vec<_>, Vec<_>) = FEXIT
        .iter()
        .map(|hook| object::try_out(*hook))
        .partition(Result::is_ok);
    let had: Vec<Hook> = had.into_iter().flatten().collect();
    let refusals: Vec<Refusal> = refused.into_iter().filter_map(Result::err).collect();
    // On request of every failure, those of the native calls at the least.
    let enough = match request {
        FailureHooks::Fexit => !had.is_empty(),
        FailureHooks::FexitOrTracepoint => FEXIT[..2].iter().all(|hook| had.contains(hook)),
    };
    if enough {
        if !refusals.is_empty() {
            info!(
                refused = list(&refusals),
                "failed execs of some kinds are not counted"
            );
        }
        return Ok(had);
    }
    if request == FailureHooks::FexitOrTracepoint {
        need_tracefs(
            "this kernel refuses fexit programs, and to observe failed execs by tracepoints \
             (capture.failures = \"tracepoint\", trace --failed)",
        )?;
        return first_of(&[&SYS_EXIT])
            .map_err(|refusals| Error::no_hook("failed execs", &refusals));
    }
    debug!(refused = list(&refusals), "fexit");
    info!(
        "failed execs are not counted: this kernel refuses fexit programs, whoever asks; \
         capture.failures = \"tracepoint\" counts them, but slows every system call, and needs \
         tracefs"
    );
    Ok(Vec::new())
}

/// The first group of which this kernel lets us have every hook.
fn first_of(groups: &[&[Hook]]) -> Result<Vec<Hook>, Vec<Refusal>> {
    let mut refusals = Vec::new();
    for group in groups {
        let tried: Result<Vec<Hook>, Refusal> =
            group.iter().map(|hook| object::try_out(*hook)).collect();
        match tried {
            Ok(hooks) => return Ok(hooks),
            Err(refusal) => {
                info!(%refusal, "hook refused by the kernel");
                refusals.push(refusal);
            }
        }
    }
    Err(refusals)
}

fn need_tracefs(what: &str) -> Result<(), Error> {
    let found = TRACEFS.map(|path| Path::new(path).join("syscalls").try_exists());
    if found.iter().any(|found| matches!(found, Ok(true))) {
        return Ok(());
    }
    if let Some(error) = found.into_iter().find_map(Result::err) {
        return Err(Error::NotPermitted(format!(
            "{what} needs tracefs, which this user may not read ({error}): run as root, or \
             `mount -o remount,mode=755 /sys/kernel/tracing`"
        )));
    }
    Err(Error::Unsupported(format!(
        "{what} needs tracefs, which is not mounted here: `mount -t tracefs nodev \
         /sys/kernel/tracing`"
    )))
}

fn list(refusals: &[Refusal]) -> String {
    let refusals: Vec<_> = refusals.iter().map(Refusal::to_string).collect();
    refusals.join("; ")
}
