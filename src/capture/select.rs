//! Selects the hooks that are requested, by the kernel's answers and never by its version. A hook
//! is left out only if the kernel does not support it. If it could not be tried for lack of a
//! resource, such as memory, the selection fails.

use super::error::Error;
use super::facts::{Facts, Tracefs};
use super::hook::{CLASSIC, FEXIT, Hook, Refusal, SYS_EXIT};
use super::note::{Note, list};
use super::options::{FailureHooks, Options};

/// The hooks to use, and what the log says about them.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// The hooks, each followed by its standby copies.
    pub hooks: Vec<Hook>,
    pub notes: Vec<Note>,
}

impl Selection {
    fn extend(&mut self, other: Self) {
        self.hooks.extend(other.hooks);
        self.notes.extend(other.notes);
    }
}

/// Selects the hooks for what `options` request.
pub fn select(options: &Options, facts: &mut impl Facts) -> Result<Selection, Error> {
    try_likely(options, facts);
    let mut selection = if options.classic {
        classic(facts)?
    } else {
        first_of(&options.exec_hooks, facts)?.or_error("execs")?
    };
    if let Some(request) = options.failures {
        selection.extend(failures(request, facts)?);
    }
    if options.exits {
        let exits = first_of(&options.exit_hooks, facts)?;
        selection.extend(exits.or_note(Note::ExitsOff));
    }
    // In a live stream, the events of exits contain the CPU time.
    if options.exits && options.cpu_time && !options.live.exits {
        let cpu_time = first_of(&options.cpu_time_hooks, facts)?;
        selection.extend(cpu_time.or_note(Note::CpuTimeOff));
    }
    selection.hooks = with_standbys(selection.hooks, facts);
    Ok(selection)
}

/// Tries hooks together that most kernels support. What they refuse is tried again, one hook at a time.
fn try_likely(options: &Options, facts: &mut impl Facts) {
    let wanted = [
        (!options.classic, &options.exec_hooks),
        (options.exits && options.cpu_time, &options.cpu_time_hooks),
    ];
    let wanted = wanted.iter().filter(|(is_wanted, _)| *is_wanted);
    let first = wanted.filter_map(|(_, groups)| groups.first());
    facts.supports_all(&first.flatten().copied().collect::<Vec<_>>());
}

/// Adds the standby copies of each hook that the kernel may skip.
fn with_standbys(hooks: Vec<Hook>, facts: &mut impl Facts) -> Vec<Hook> {
    let mut all = Vec::new();
    for hook in hooks {
        all.push(hook);
        if hook.attach_point().is_some_and(|at| facts.may_skip(at)) {
            all.extend(hook.standbys());
        }
    }
    all
}

fn classic(facts: &mut impl Facts) -> Result<Selection, Error> {
    require_tracefs("capture.classic", facts)?;
    let mut selection = Selection {
        hooks: Vec::new(),
        notes: vec![Note::Classic],
    };
    let found = first_of(&[CLASSIC.to_vec()], facts)?;
    selection.extend(found.or_error("attempts to exec")?);
    Ok(selection)
}

/// Selects the hooks for failed execs, without standby copies.
pub fn failures(request: FailureHooks, facts: &mut impl Facts) -> Result<Selection, Error> {
    // Most kernels that support any of them support all, and one try is faster than four.
    if facts.supports_all(&FEXIT) {
        return Ok(Selection {
            hooks: FEXIT.to_vec(),
            notes: Vec::new(),
        });
    }
    let mut hooks = Vec::new();
    let mut refusals = Vec::new();
    for hook in FEXIT {
        match facts.try_hook(hook) {
            Ok(()) => hooks.push(hook),
            Err(refusal) => {
                refuse_shortage(&refusal)?;
                refusals.push(refusal);
            }
        }
    }
    if !refusals.is_empty() {
        confirm(facts)?;
    }
    // If tracepoints are an alternative, fexit has to cover at least the native calls.
    let is_enough = match request {
        FailureHooks::Fexit => !hooks.is_empty(),
        FailureHooks::FexitOrTracepoint => FEXIT[..2].iter().all(|hook| hooks.contains(hook)),
    };
    if is_enough {
        let some_off = (!refusals.is_empty()).then(|| Note::SomeFailuresOff(list(&refusals)));
        return Ok(Selection {
            hooks,
            notes: some_off.into_iter().collect(),
        });
    }
    if request == FailureHooks::FexitOrTracepoint {
        require_tracefs(
            "this kernel does not support fexit programs (this is not a permission problem), and \
             observing failed execs by tracepoints (capture.failures = \"tracepoint\", trace \
             --failed)",
            facts,
        )?;
        return first_of(&[SYS_EXIT.to_vec()], facts)?.or_error("failed execs");
    }
    Ok(Selection {
        hooks: Vec::new(),
        notes: vec![Note::FailuresOff(list(&refusals))],
    })
}

/// The first group of which the kernel accepts every hook, if any.
#[derive(Default)]
struct Found {
    hooks: Option<Vec<Hook>>,
    refusals: Vec<Refusal>,
    notes: Vec<Note>,
}

impl Found {
    /// If the kernel refused every group, the error says that `what` cannot be observed.
    fn or_error(self, what: &str) -> Result<Selection, Error> {
        let hooks = self.hooks;
        let hooks = hooks.ok_or_else(|| Error::no_hook(what, &self.refusals))?;
        let notes = self.notes;
        Ok(Selection { hooks, notes })
    }

    /// `off` is the note that says what is not observed if the kernel refuses every group.
    fn or_note(mut self, off: fn(String) -> Note) -> Selection {
        if self.hooks.is_none() {
            self.notes.push(off(list(&self.refusals)));
        }
        Selection {
            hooks: self.hooks.unwrap_or_default(),
            notes: self.notes,
        }
    }
}

/// Tries the groups in their order. Fails if a hook could not be tried for lack of a resource, so
/// if no group is found, the kernel supports none of them.
fn first_of(groups: &[Vec<Hook>], facts: &mut impl Facts) -> Result<Found, Error> {
    let mut found = Found::default();
    for group in groups {
        match group.iter().try_for_each(|hook| facts.try_hook(*hook)) {
            Ok(()) => {
                found.hooks = Some(group.clone());
                return Ok(found);
            }
            Err(refusal) => {
                refuse_shortage(&refusal)?;
                found.notes.push(Note::HookRefused(refusal.to_string()));
                found.refusals.push(refusal);
            }
        }
    }
    confirm(facts)?;
    Ok(found)
}

/// Fails if the hook could not be tried for lack of a resource. The kernel may support such a hook,
/// so the daemon must not start without it.
fn refuse_shortage(refusal: &Refusal) -> Result<(), Error> {
    match &refusal.shortage {
        Some(limit) => Err(Error::shortage(&refusal.to_string(), limit)),
        None => Ok(()),
    }
}

/// Fails if the kernel cannot load anything for lack of a resource. Call this before the daemon
/// starts without a hook or reports a hook as unsupported, because a shortage may look like another
/// error.
fn confirm(facts: &mut impl Facts) -> Result<(), Error> {
    match facts.shortage() {
        Some(limit) => Err(Error::shortage("BPF objects cannot be loaded", &limit)),
        None => Ok(()),
    }
}

fn require_tracefs(what: &str, facts: &mut impl Facts) -> Result<(), Error> {
    match facts.tracefs() {
        Tracefs::Readable(_) => Ok(()),
        Tracefs::NotReadable(error) => Err(Error::NotPermitted(format!(
            "{what} needs tracefs, which this user may not read ({error}): run as root, or \
             `mount -o remount,mode=755 /sys/kernel/tracing`"
        ))),
        Tracefs::NotMounted => Err(Error::Unsupported(format!(
            "{what} needs tracefs, which is not mounted here: `mount -t tracefs nodev \
             /sys/kernel/tracing`"
        ))),
    }
}

#[cfg(test)]
mod tests;
