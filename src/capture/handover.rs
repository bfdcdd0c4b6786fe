//! Continues with what an earlier daemon has left in the kernel.
//!
//! If its programs are those that this daemon would load, they are adopted: nothing is loaded or
//! attached, and no observation is lost. Otherwise they are replaced. The new programs are
//! attached, but paused, so that they can be stored before anything changes. Then the old ones are
//! paused, which the kernel has completed when no program that was running is left, and the new ones
//! observe from then on. So no observation is counted twice, and what happens in between is not
//! counted.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use tracing::info;

use super::attach::{
    Attached, Capture, FailureTally, Leftover, failure_tally_of, open_buffer, prepare, tally_of,
};
use super::base::Base;
use super::buffer::Buffer as _;
use super::buffer::ring::Ring;
use super::error::Error;
use super::hook::Hook;
use super::info::CaptureInfo;
use super::kept::{self, Descriptors, Kept, KernelSide};
use super::options::{Options, TransportKind};
use super::read::{add_exits, add_failures, add_ledgers};
use super::stats::Program;
use super::tally::Tally;
use crate::record::Kind;
use crate::sys::clock;

/// How a daemon has continued with the kernel side of an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handover {
    /// With the same programs. Nothing was observed for this long: 0, unless an earlier daemon was
    /// killed while it replaced them.
    Adopted(Duration),
    /// With other programs. Nothing was observed for this long.
    Replaced(Duration),
}

/// Why there is nothing to continue with.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The descriptors are not those of an earlier daemon.
    #[error("{0}")]
    Descriptors(String),
    /// This daemon cannot start.
    #[error(transparent)]
    Start(#[from] Error),
}

/// How to continue with the kernel side of an earlier daemon.
#[derive(Debug)]
pub enum Resumed {
    /// With its programs. For how long nothing was observed is as in [`Handover::Adopted`].
    Adopted(Box<Capture>, Duration),
    /// With other programs, once the replacement is complete.
    Prepared(Box<Replacement>),
}

/// Programs that are attached, but paused, and those that they replace.
#[derive(Debug)]
pub struct Replacement {
    new: Capture,
    old: Kept,
    base: Base,
}

impl Capture {
    /// Continues with the programs and maps of `descriptors`, which belong to `kernel_side`.
    pub fn resume(
        options: &Options,
        descriptors: Descriptors,
        kernel_side: &KernelSide,
    ) -> Result<Resumed, Refused> {
        prepare()?;
        let kept = Kept::check(descriptors, kernel_side).map_err(Refused::Descriptors)?;
        let base = kernel_side.base.clone();
        if kernel_side.fingerprint == options.fingerprint() {
            let adopted = Self::adopt(options, kept, base);
            let (capture, unobserved) =
                adopted.map_err(|error| Refused::Descriptors(error.to_string()))?;
            return Ok(Resumed::Adopted(Box::new(capture), unobserved));
        }
        Ok(Resumed::Prepared(Box::new(Replacement {
            new: Self::start_paused(options, true)?,
            old: kept,
            base,
        })))
    }

    fn adopt(options: &Options, kept: Kept, base: Base) -> Result<(Self, Duration), Error> {
        let failed = |what: &'static str| move |e: io::Error| Error::setup(what, &e);
        let tally = tally_of(&kept.maps).map_err(failed("opening the tally"))?;
        let failure_tally = failure_tally_of(&kept.maps);
        let failure_tally = failure_tally.map_err(failed("opening the tally of failed execs"))?;
        let failure_tally = failure_tally.map(FailureTally::new);
        let buffer = open_buffer(kept.transport, &kept.maps, options.buffer_pages)?;
        let mut links = Vec::new();
        let mut programs = Vec::new();
        let mut hooks = Vec::new();
        for kept in kept.programs {
            links.push(Attached::Earlier(kept.link));
            let program = Program::new(kept.hook, kept.program);
            programs.push(program.map_err(failed("opening a program's fdinfo"))?);
            hooks.push(kept.hook);
        }
        let unobserved = kept.maps.unpause();
        let unobserved = unobserved.map_err(failed("continuing the BPF programs"))?;
        info!(
            programs = programs.len(),
            transport = kept.transport.name(),
            "continuing with the BPF programs of the previous run"
        );
        let capture = Self {
            links,
            programs,
            info: CaptureInfo {
                hooks: hooks.into_iter().filter(Hook::is_first_copy).collect(),
                transport: kept.transport,
                buffer_bytes: buffer.bytes(),
            },
            buffer,
            maps: kept.maps,
            tally,
            failure_tally,
            fingerprint: options.fingerprint(),
            by_subject: options.by_subject(),
            exe_key: kept.exe_key,
            base,
            leftover: Leftover::default(),
            is_kept: true,
        };
        Ok((capture, unobserved))
    }

    /// Returns the descriptors that a later daemon needs to continue, with their names. From now on,
    /// the programs stay as they are when the capture is dropped.
    pub fn keep(&mut self) -> Vec<(String, BorrowedFd<'_>)> {
        self.is_kept = true;
        self.descriptors()
    }

    /// Returns what these descriptors belong to.
    pub fn kernel_side(&self) -> io::Result<KernelSide> {
        Ok(KernelSide {
            fingerprint: self.fingerprint.clone(),
            transport: self.info.transport.name().to_owned(),
            ids: kept::ids(&self.descriptors())?,
            exe_key: self.exe_key,
            base: self.base.clone(),
        })
    }

    fn descriptors(&self) -> Vec<(String, BorrowedFd<'_>)> {
        let maps = self.maps.descriptors(self.info.transport);
        let maps = maps.map(|(name, descriptor)| (kept::map(name), descriptor));
        let mut descriptors: Vec<_> = maps.collect();
        for (program, link) in self.programs.iter().zip(&self.links) {
            descriptors.push((kept::link(program.hook()), link.as_fd()));
            descriptors.push((kept::program(program.hook()), program.as_fd()));
        }
        descriptors
    }
}

impl Replacement {
    /// Returns the descriptors of the new programs that a later daemon needs to continue, with their
    /// names. It can do so once the replacement is complete.
    pub fn keep(&mut self) -> Vec<(String, BorrowedFd<'_>)> {
        self.new.keep()
    }

    /// Lets the new programs observe instead of the old ones. Returns for how long nothing was
    /// observed.
    pub fn complete(self) -> Result<(Capture, Duration), Error> {
        let Self { mut new, old, base } = self;
        let failed = |e: io::Error| Error::setup("replacing the BPF programs", &e);
        // What can fail comes before the pause, as nothing is observed after an error behind it.
        let mut leftover = Leftover::default();
        let mut tally = tally_of(&old.maps).map_err(failed)?;
        let mut failure_tally = failure_tally_of(&old.maps).map_err(failed)?;
        let mut ring = match old.transport {
            TransportKind::Ring => {
                let ring = Ring::open(&old.maps.buffer);
                Some(ring.map_err(|e| failed(io::Error::other(e)))?)
            }
            TransportKind::Perf => None,
        };
        let paused_since = old.maps.pause().map_err(failed)?;
        let entries = &mut leftover.tally;
        let mut drain = |tally: &mut Tally| {
            tally.drain(&mut |subject, count| entries.push((subject.to_vec(), count.to_vec())))
        };
        // The first drain waits for the programs that were running.
        drain(&mut tally).map_err(failed)?;
        new.maps.unpause().map_err(failed)?;
        let unobserved = clock::now().saturating_sub(paused_since);
        // The second one takes what the earlier daemon had begun to drain.
        drain(&mut tally).map_err(failed)?;
        for _turn in 0..2 {
            if let Some(tally) = &mut failure_tally {
                drain(tally).map_err(failed)?;
            }
        }
        if let Some(ring) = &mut ring {
            let events = &mut leftover.events;
            ring.drain(&mut |event| events.push(event.to_vec()))
                .map_err(failed)?;
        }
        new.base = base_after(&old, base).map_err(failed)?;
        leftover.cgroup_names = old.maps.cgroup_names;
        leftover.exe_names = old.maps.exe_names.map(|names| (names, old.exe_key));
        new.leftover = leftover;
        info!(
            unobserved_us = u64::try_from(unobserved.as_micros()).unwrap_or(u64::MAX),
            "replaced the BPF programs of the previous run"
        );
        Ok((new, unobserved))
    }
}

/// Returns what the programs of `old`, and those before them, have counted.
fn base_after(old: &Kept, base: Base) -> io::Result<Base> {
    let mut sums = base;
    add_ledgers(&old.maps, &mut sums.ledgers)?;
    add_failures(&old.maps, &mut sums.failures)?;
    add_exits(&old.maps, &mut sums.exits)?;
    // No program is running, so an observation that is not accounted for was not counted by subject.
    for kind in Kind::ALL {
        let ledgers = &mut sums.ledgers;
        ledgers.set_only_seen(kind, 0);
        let counted = ledgers.accounted(kind);
        ledgers.set_only_seen(kind, ledgers[kind].seen.saturating_sub(counted));
    }
    // Runs that the kernel has skipped are known by the program, which is gone from now on:
    // see `ProgramStats::missed_runs`.
    for kept in &old.programs {
        let hook = kept.hook;
        if hook.is_first_copy() {
            let missed = Program::new(hook, kept.program.try_clone()?)?
                .stats()?
                .missed_runs;
            let recovered = &mut sums.ledgers[hook.kind].recovered;
            *recovered = recovered.saturating_sub_unsigned(missed);
        }
    }
    Ok(sums)
}
