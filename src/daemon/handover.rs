//! Starts the kernel side, or continues with that of an earlier run of the service.
//!
//! Descriptors have a generation in their names, and the state says to which one it belongs. While
//! programs replace others, the store has both generations: the new one is stored first, then the
//! state names it, and then the old one is removed. So whenever this process is killed, the state
//! belongs to descriptors that are in the store.

use std::io;
use std::os::fd::AsFd;
use std::time::SystemTime;

use tracing::{info, warn};

use super::error::Error;
use super::observed;
use super::store;
use crate::capture::options::FailureHooks;
use crate::capture::{self, Capture, Descriptors, Handover, Refused, Resumed, TransportKind};
use crate::config::{self, Config};
use crate::pipeline::continuity::Continuity;
use crate::pipeline::saved::{Saved, State};
use crate::pipeline::saver::Saver;
use crate::pipeline::view::Metric;
use crate::sys::state_file::StateFile;

/// The name of the descriptor of the saved counts.
const STATE: &str = "state";

/// What the aggregator begins with.
#[derive(Debug, Default)]
pub struct Beginning {
    /// The counts of the earlier run, if this one continues them.
    pub(super) counts: Option<Saved>,
    /// Saves the counts for the next run. None if nothing would keep them.
    pub(super) saver: Option<Saver>,
}

/// The kernel side and the counts of an earlier run.
struct Continued {
    resumed: Resumed,
    file: StateFile,
    state: State,
}

/// Attaches the programs, or continues with those that `stored` descriptors keep attached. Stores
/// what the next run needs to continue in turn.
pub(super) fn start(config: &Config, stored: Descriptors) -> Result<(Capture, Beginning), Error> {
    let options = &options(config);
    let names: Vec<_> = stored.keys().cloned().collect();
    let continued = match continue_with(options, stored) {
        Ok(continued) => continued,
        Err(Refused::Start(error)) => return Err(error.into()),
        Err(Refused::Descriptors(reason)) => {
            warn!(
                reason,
                "cannot continue the counts of the previous run, so they begin at 0"
            );
            None
        }
    };
    let Some(Continued {
        resumed,
        mut file,
        mut state,
    }) = continued
    else {
        let mut capture = Capture::start(options)?;
        store::forget(names);
        let saver = keep_new(&mut capture).unwrap_or_else(|error| {
            warn!(%error, "cannot save the counts, so they begin at 0 after a restart");
            None
        });
        let counts = None;
        return Ok((capture, Beginning { counts, saver }));
    };
    let continuity = &mut state.continuity;
    // These are left if an earlier run was killed while it replaced programs.
    let (current, stale): (Vec<_>, Vec<_>) = names
        .into_iter()
        .filter(|name| name != STATE)
        .partition(|name| without_generation(name, continuity.generation).is_some());
    let (capture, handover, unneeded) = match resumed {
        Resumed::Adopted(capture, unobserved) => (*capture, Handover::Adopted(unobserved), stale),
        Resumed::Prepared(mut replacement) => {
            // The new descriptors may have the same names.
            store::forget(stale);
            continuity.generation = continuity.generation.wrapping_add(1);
            store::keep(&of_generation(replacement.keep(), continuity.generation));
            let (capture, unobserved) = replacement.complete()?;
            (capture, Handover::Replaced(unobserved), current)
        }
    };
    let kernel_side = capture.kernel_side();
    continuity.hand_over(handover, kernel_side.map_err(|e| Error::Other(e.into()))?);
    // Only this process knows for how long nothing was observed, so the state comes first.
    if write(&mut file, &state) {
        store::forget(unneeded);
    }
    let saver = Some(Saver::new(file, state.continuity));
    let counts = Some(state.counts);
    Ok((capture, Beginning { counts, saver }))
}

/// Returns the descriptors under the names that they have in the store.
fn of_generation<T>(descriptors: Vec<(String, T)>, generation: u32) -> Vec<(String, T)> {
    let named = descriptors.into_iter();
    named
        .map(|(name, descriptor)| (format!("{name}@{generation}"), descriptor))
        .collect()
}

/// Returns the name that a descriptor of this generation has in the kernel side, or None if it is of
/// another one.
fn without_generation(name: &str, generation: u32) -> Option<&str> {
    let (name, of) = name.rsplit_once('@')?;
    (of == generation.to_string()).then_some(name)
}

/// Returns what the kernel side has to provide for this configuration.
fn options(config: &Config) -> capture::Options {
    capture::Options {
        transports: match config.capture.transport {
            config::Transport::Auto => vec![TransportKind::Perf, TransportKind::Ring],
            config::Transport::Perf => vec![TransportKind::Perf],
            config::Transport::Ringbuf => vec![TransportKind::Ring],
        },
        buffer_pages: config.capture.buffer_pages,
        inputs: observed::inputs(config),
        with_failures: config.has_failures(),
        with_exits: config.has_exits(),
        cpu_time: config.has_metric(|metric| metric == Metric::CpuSeconds),
        failures: match config.capture.failures {
            config::Failures::Auto => Some(FailureHooks::Fexit),
            config::Failures::Tracepoint => Some(FailureHooks::FexitOrTracepoint),
            config::Failures::Off => None,
        },
        exits: config.capture.exits,
        classic: config.capture.classic,
        ..capture::Options::default()
    }
}

/// Writes a state that the aggregator soon writes again, and then reports errors. Returns whether the
/// file has it now. If not, the store needs the old descriptors, and keeps them until the next start.
fn write(file: &mut StateFile, state: &State) -> bool {
    state.encode().is_ok_and(|bytes| file.write(&bytes).is_ok())
}

/// Continues with what `stored` has. None if it is empty.
fn continue_with(
    options: &capture::Options,
    mut stored: Descriptors,
) -> Result<Option<Continued>, Refused> {
    if stored.is_empty() {
        return Ok(None);
    }
    let refused = |reason: String| Refused::Descriptors(reason);
    let file = stored.remove(STATE);
    let file = file.ok_or_else(|| refused(format!("descriptor {STATE} is missing")))?;
    let file = StateFile::from_fd(file);
    let bytes = file.read();
    let bytes = bytes.map_err(|e| refused(format!("the saved counts cannot be read: {e}")))?;
    let state = State::decode(&bytes);
    let state = state.map_err(|e| refused(format!("the saved counts cannot be used: {e}")))?;
    let generation = state.continuity.generation;
    let current = stored.into_iter().filter_map(|(name, descriptor)| {
        let name = without_generation(&name, generation)?;
        Some((name.to_owned(), descriptor))
    });
    let resumed = Capture::resume(options, current.collect(), &state.continuity.kernel)?;
    Ok(Some(Continued {
        resumed,
        file,
        state,
    }))
}

/// Stores what the next run needs to continue with a new capture.
fn keep_new(capture: &mut Capture) -> io::Result<Option<Saver>> {
    if !store::may_exist() {
        info!("no service manager keeps the counts, so they begin at 0 after a restart");
        return Ok(None);
    }
    let file = StateFile::create()?;
    let continuity = Continuity::new(SystemTime::now(), capture.kernel_side()?);
    let mut kept = vec![(STATE.to_owned(), file.as_fd())];
    kept.extend(of_generation(capture.keep(), continuity.generation));
    store::keep(&kept);
    Ok(Some(Saver::new(file, continuity)))
}
