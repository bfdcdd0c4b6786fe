//! Which hooks are used: by loading and attaching them one by one, never by the kernel's
//! version.

use std::collections::HashMap;
use std::path::Path;

use tracing::{debug, info, warn};

use super::error::Error;
use super::hook::AttachPoint;
use super::hook::{CLASSIC, FEXIT, Hook, Refusal, SYS_EXIT};
use super::object;
use super::options::{FailureHooks, Options};

/// Where the kernel describes its tracepoints, if tracefs is mounted.
const TRACEFS: [&str; 2] = [
    "/sys/kernel/tracing/events",
    "/sys/kernel/debug/tracing/events",
];

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

fn exec(options: &Options) -> Result<Vec<Hook>, Error> {
    let groups: Vec<&[Hook]> = options.exec_hooks.iter().map(Vec::as_slice).collect();
    first_of(&groups).map_err(|refusals| Error::no_hook("execs", &refusals))
}

fn classic() -> Result<Vec<Hook>, Error> {
    need_tracefs("capture.classic")?;
    warn!("classic mode: counts attempts to exec, failed ones too, by the path's first 15 bytes");
    first_of(&[&CLASSIC]).map_err(|refusals| Error::no_hook("attempts to exec", &refusals))
}

fn failure(request: FailureHooks) -> Result<Vec<Hook>, Error> {
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
