//! Loads and attaches the programs, and opens the buffer.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use libbpf_rs::{Link, MapHandle};
use nix::unistd::{SysconfVar, sysconf};
use tracing::info;

use super::base::Base;
use super::buffer::Buffer;
use super::buffer::perf::PerfBuffer;
use super::buffer::ring::Ring;
use super::error::Error;
use super::exe_names;
use super::facts::Host;
use super::hook::Hook;
use super::info::CaptureInfo;
use super::libbpf_log;
use super::maps::Maps;
use super::note::Note;
use super::object::{self, Transport};
use super::options::{Input, Options, TransportKind};
use super::select::{Selection, select};
use super::stats;
use super::tally::{Slot, Tally};
use crate::record::Kind;
use crate::sys::privileges;

/// The attached programs and the maps they write to.
#[derive(Debug)]
pub struct Capture {
    pub(super) links: Vec<Attached>,
    pub(super) programs: Vec<stats::Program>,
    pub(super) buffer: Box<dyn Buffer>,
    pub(super) maps: Maps,
    pub(super) tally: Tally,
    /// Only if failed execs are counted by subject.
    pub(super) failure_tally: Option<FailureTally>,
    pub(super) info: CaptureInfo,
    /// What the programs were loaded from.
    pub(super) fingerprint: String,
    /// The kinds that they count by subject.
    pub(super) exe_key: exe_names::Key,
    pub(super) by_subject: Vec<Kind>,
    /// What earlier programs have counted.
    pub(super) base: Base,
    /// What earlier programs have counted and nobody has read yet.
    pub(super) leftover: Leftover,
    /// Whether a later daemon may continue with the programs.
    pub(super) is_kept: bool,
}

/// The tally of failed execs, which is drained only if there are any.
#[derive(Debug)]
pub(super) struct FailureTally {
    pub(super) tally: Tally,
    /// How many failed execs the ledger had as tallied before each of the last two drains. The second
    /// drain takes what an earlier daemon had begun to drain.
    pub(super) tallied: [Option<u64>; 2],
}

/// What replaced programs have counted and nobody has read yet.
#[derive(Debug, Default)]
pub(super) struct Leftover {
    pub(super) events: Vec<Vec<u8>>,
    /// Subjects and their counts.
    pub(super) tally: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) cgroup_names: Option<MapHandle>,
    pub(super) exe_names: Option<(MapHandle, exe_names::Key)>,
}

/// Dropping it detaches the program, if nobody else holds a descriptor of the link.
#[derive(Debug)]
pub(super) enum Attached {
    /// By this process.
    Here(Link),
    /// By an earlier daemon.
    Earlier(OwnedFd),
}

impl FailureTally {
    pub(super) fn new(tally: Tally) -> Self {
        Self {
            tally,
            tallied: [None; 2],
        }
    }
}

impl Attached {
    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Here(link) => link.as_fd(),
            Self::Earlier(link) => link.as_fd(),
        }
    }
}

impl Capture {
    /// Loads the programs, opens the buffer and attaches the programs. Once this returns, every
    /// exec is counted.
    pub fn start(options: &Options) -> Result<Self, Error> {
        prepare()?;
        Self::start_paused(options, false)
    }

    /// Does the same, but if `is_paused`, the programs observe nothing yet.
    pub(super) fn start_paused(options: &Options, is_paused: bool) -> Result<Self, Error> {
        let Selection { hooks, notes } = select(options, &mut Host::new(options.may_skip))?;
        notes.iter().for_each(Note::log);
        let mut refusals = Vec::new();
        for &kind in &options.transports {
            match Self::start_over(kind, &hooks, options, is_paused) {
                Err(Error::Buffer(refusal)) => {
                    info!(
                        transport = kind.name(),
                        refused = refusal,
                        "transport refused by the kernel"
                    );
                    refusals.push(refusal);
                }
                Ok(capture) => {
                    let info = &capture.info;
                    let list = |kind| info.list(kind).unwrap_or_else(|| "off".to_owned());
                    info!(
                        execs = list(Kind::Exec),
                        failures = list(Kind::Failure),
                        exits = list(Kind::Exit),
                        cpu_time = list(Kind::CpuTime),
                        programs = capture.programs.len(),
                        transport = kind.name(),
                        buffer_bytes = info.buffer_bytes,
                        "attached"
                    );
                    return Ok(capture);
                }
                Err(error) => return Err(error),
            }
        }
        Err(Error::NotPermitted(refusals.join("; ")))
    }

    fn start_over(
        kind: TransportKind,
        hooks: &[Hook],
        options: &Options,
        is_paused: bool,
    ) -> Result<Self, Error> {
        let cpus = online_cpus().map_err(|e| Error::setup("counting CPUs", &e))?;
        let transport = match kind {
            TransportKind::Perf => Transport::Perf,
            TransportKind::Ring => Transport::Ring {
                bytes: ring_bytes(options.buffer_pages, cpus),
            },
        };
        // The object is needed only until all programs are attached: links, programs and maps
        // have their own descriptors.
        let mut object = MaybeUninit::uninit();
        let exe_key = exe_names::new_key().map_err(|e| Error::setup("getting a random key", &e))?;
        let state = object::State { is_paused, exe_key };
        let mut skel = object::load(&mut object, hooks, transport, cpus, options, state)?;
        let is_needed = |name: &str| match name {
            "cgroup_names" => options.inputs.contains(&Input::Cgroup),
            "exe_names" => options.inputs.contains(&Input::Exe),
            "failures" => hooks.iter().any(|hook| hook.kind == Kind::Failure),
            _ => skel.maps.failure_tally_a.autocreate(),
        };
        let maps = Maps::of(&skel, kind, is_needed)?;
        let buffer = open_buffer(kind, &maps, options.buffer_pages)?;
        // The programs need the tallies from their first run on.
        let opening = |e| Error::setup("opening the tally", &e);
        let tally = tally_of(&maps).map_err(opening)?;
        let failure_tally = failure_tally_of(&maps).map_err(opening)?;
        let attached = object::attach(&mut skel, hooks)
            .map_err(|e| Error::setup("attaching the chosen BPF programs", &e))?;
        // Closes its descriptors.
        drop(skel);
        let mut links = Vec::new();
        let mut programs = Vec::new();
        for (link, hook, program) in attached {
            links.push(Attached::Here(link));
            let program = stats::Program::new(hook, program);
            programs.push(program.map_err(|e| Error::setup("opening a program's fdinfo", &e))?);
        }
        let info = CaptureInfo {
            hooks: hooks.iter().copied().filter(Hook::is_first_copy).collect(),
            transport: kind,
            buffer_bytes: buffer.bytes(),
        };
        Ok(Self {
            links,
            programs,
            buffer,
            maps,
            tally,
            failure_tally: failure_tally.map(FailureTally::new),
            info,
            fingerprint: options.fingerprint(),
            by_subject: options.by_subject(),
            exe_key,
            base: Base::default(),
            leftover: Leftover::default(),
            is_kept: false,
        })
    }

    pub fn info(&self) -> &CaptureInfo {
        &self.info
    }
}

/// Raises the capabilities that the next steps need.
pub(super) fn prepare() -> Result<(), Error> {
    libbpf_log::redirect();
    let missing = privileges::raise_for_bpf()
        .map_err(|e| Error::setup("reading this process's capabilities", &e))?;
    if missing.is_empty() {
        Ok(())
    } else {
        Err(Error::missing_capabilities(&missing))
    }
}

pub(super) fn open_buffer(
    kind: TransportKind,
    maps: &Maps,
    pages: usize,
) -> Result<Box<dyn Buffer>, Error> {
    let failed = |e: libbpf_rs::Error| Error::setup("opening the ring buffer", &e);
    Ok(match kind {
        TransportKind::Perf => {
            let opened = PerfBuffer::open(Arc::clone(&maps.buffer), pages);
            Box::new(opened.map_err(|e| Error::perf_buffer(pages, &e))?)
        }
        TransportKind::Ring => Box::new(Ring::open(&maps.buffer).map_err(failed)?),
    })
}

pub(super) fn tally_of(maps: &Maps) -> io::Result<Tally> {
    let turns = [&maps.tally_a, &maps.tally_b].map(Arc::clone);
    Tally::new(Arc::clone(&maps.tally_in_use), Slot::Tally, turns)
}

/// Returns the tally of failed execs, if they are counted by subject.
pub(super) fn failure_tally_of(maps: &Maps) -> io::Result<Option<Tally>> {
    let tally = maps.failure_tally.as_ref().map(|turns| {
        let turns = turns.each_ref().map(Arc::clone);
        Tally::new(Arc::clone(&maps.tally_in_use), Slot::FailureTally, turns)
    });
    tally.transpose()
}

/// The number of CPUs up to which the size of the ring buffer grows. All CPUs share the ring buffer and
/// rarely have bursts at the same time. Unlike perf buffers, it is charged to the memory cgroup.
const MAX_RING_CPUS: usize = 64;

/// The size of the ring buffer in bytes: that of the perf buffers of all CPUs (at most
/// [`MAX_RING_CPUS`]) together, rounded up to a power of two.
fn ring_bytes(pages: usize, cpus: usize) -> u32 {
    let cpus = cpus.min(MAX_RING_CPUS);
    let bytes = (pages * rustix::param::page_size() * cpus).next_power_of_two();
    // A map's size has 32 bits; this is the largest power of two that fits.
    u32::try_from(bytes).unwrap_or(1 << 31)
}

/// CPUs that are online, whether or not this process may run on them.
fn online_cpus() -> io::Result<usize> {
    let online = sysconf(SysconfVar::_NPROCESSORS_ONLN)?;
    Ok(online.and_then(|n| usize::try_from(n).ok()).unwrap_or(1))
}

impl Drop for Capture {
    fn drop(&mut self) {
        if self.is_kept {
            // Dropping a link to a tracepoint would disable it for its other holders, too.
            self.links.drain(..).for_each(std::mem::forget);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ring_buffer_does_not_grow_beyond_64_cpus() {
        let pages = Options::default().buffer_pages;
        let per_cpu = u32::try_from(pages * rustix::param::page_size()).unwrap();
        for (cpus, expected) in [
            (1, 1),
            (2, 2),
            (3, 4),
            (33, 64),
            (64, 64),
            (65, 64),
            (4096, 64),
        ] {
            assert_eq!(ring_bytes(pages, cpus), expected * per_cpu, "{cpus} CPUs");
        }
    }
}
