//! The kernel side as seen from user space: open, configure, load, attach, and then
//! read what it collects. The only module that talks to BPF.

mod error;
pub mod hooks;
mod object;
mod perf_buffer;
pub mod probe;
mod records;
mod ring_buffer;
mod stats;
mod tally;

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;

use libbpf_rs::{Link, MapCore, MapFlags, MapHandle, PrintLevel, ProgramHandle};
use nix::unistd::{SysconfVar, sysconf};
use tracing::{Level, debug, enabled, info, trace};

use self::hooks::{
    EXEC_RAW_TP, EXEC_SYS_EXIT, EXEC_TP_BTF, EXIT_LIVE, EXIT_TP_BTF, Failures, Hook,
};
use self::perf_buffer::PerfBuffer;
use self::probe::AttachPoint;
use self::ring_buffer::Ring;
use self::tally::Tally;
use crate::cgroup;
use crate::event::{self, Comm, FailureCounts, Kind, Ledgers};
use crate::privileges;
use crate::source::{ProgramStats, Source};

pub use self::error::Error;

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
    pub failures: Option<Failures>,
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
    fn is_detailed(&self) -> bool {
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
            failures: Some(Failures::Fexit),
            exits: true,
            exit_hooks: vec![vec![EXIT_TP_BTF], vec![EXIT_LIVE[0]], vec![EXIT_LIVE[1]]],
            classic: false,
            live: Live::default(),
            may_skip: probe::may_skip,
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

/// The same with what the kernel side has to know of it.
#[derive(Debug, Clone, Copy)]
enum Transport {
    Perf,
    Ring { bytes: u32 },
}

/// What each road is to the rest.
trait Road: Send + std::fmt::Debug {
    /// Bytes of the buffers of all CPUs.
    fn bytes(&self) -> usize;
    /// Becomes readable when a buffer is half full.
    fn wakeup_fd(&self) -> BorrowedFd<'_>;
    /// Empty the buffers, calling `sample` with the bytes of each sample.
    fn drain(&mut self, sample: &mut dyn FnMut(&[u8])) -> io::Result<()>;
}

/// The chosen means, for people and for `execsnoop_hook_info`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Means {
    /// What observes execs, failed execs and exits.
    pub hooks: Vec<Hook>,
    /// How events cross into user space.
    pub transport: TransportKind,
    /// Bytes of the buffers of all CPUs.
    pub buffer_bytes: usize,
}

impl Means {
    /// Whether this kind is observed at all.
    pub fn observes(&self, kind: Kind) -> bool {
        self.hooks.iter().any(|hook| hook.kind == kind)
    }

    /// Whether it is attempts that are counted instead of execs.
    pub fn is_classic(&self) -> bool {
        self.hooks.iter().any(|hook| hooks::CLASSIC.contains(hook))
    }

    /// The hooks for one kind, for people.
    pub fn list(&self, kind: Kind) -> Option<String> {
        let of_kind = self.hooks.iter().filter(|hook| hook.kind == kind);
        let names: Vec<_> = of_kind.map(Hook::to_string).collect();
        (!names.is_empty()).then(|| names.join(", "))
    }
}

/// Attached programs and the user's ends of what they write to.
#[derive(Debug)]
pub struct Capture {
    /// Dropping these detaches the programs.
    links: Vec<Link>,
    programs: Vec<(Hook, ProgramHandle)>,
    road: Box<dyn Road>,
    ledgers: MapHandle,
    failures: MapHandle,
    cgroup_names: MapHandle,
    tally: Tally,
    means: Means,
}

impl Capture {
    /// Load, open the buffers and attach: from the return on, every exec is counted.
    pub fn start(options: &Options) -> Result<Self, Error> {
        log_as_we_do();
        let missing = privileges::missing_for_bpf()
            .map_err(|e| Error::setup("reading this process's capabilities", &e))?;
        if !missing.is_empty() {
            return Err(Error::missing_capabilities(&missing));
        }
        let chosen = hooks::choose(options)?;
        let hooks = hooks::with_standbys(chosen, options.may_skip);
        let mut refusals = Vec::new();
        for &kind in &options.transports {
            match Self::start_over(kind, &hooks, options) {
                Err(Error::Buffer(refusal)) => {
                    info!(transport = kind.name(), refused = refusal, "no such buffer");
                    refusals.push(refusal);
                }
                Ok(capture) => {
                    let means = &capture.means;
                    let list = |kind| means.list(kind).unwrap_or_else(|| "off".to_owned());
                    info!(
                        execs = list(Kind::Exec),
                        failures = list(Kind::Failure),
                        exits = list(Kind::Exit),
                        programs = capture.programs.len(),
                        transport = kind.name(),
                        buffer_bytes = means.buffer_bytes,
                        "attached"
                    );
                    return Ok(capture);
                }
                Err(error) => return Err(error),
            }
        }
        Err(Error::NotPermitted(refusals.join("; ")))
    }

    fn start_over(kind: TransportKind, hooks: &[Hook], options: &Options) -> Result<Self, Error> {
        let cpus = online_cpus().map_err(|e| Error::setup("counting CPUs", &e))?;
        let transport = match kind {
            TransportKind::Perf => Transport::Perf,
            TransportKind::Ring => Transport::Ring {
                bytes: ring_bytes(options.buffer_pages, cpus),
            },
        };
        // The object is needed only until all is attached: links, programs and maps
        // live on by their own descriptors.
        let mut place = MaybeUninit::uninit();
        let mut skel = object::load(&mut place, hooks, transport, cpus, options)?;
        let maps = object::maps(&skel)?;
        let road: Box<dyn Road> = match kind {
            TransportKind::Perf => Box::new(
                PerfBuffer::open(maps.events, options.buffer_pages)
                    .map_err(|e| Error::perf_buffer(options.buffer_pages, &e))?,
            ),
            TransportKind::Ring => Box::new(
                Ring::open(&maps.ring).map_err(|e| Error::setup("opening the ring buffer", &e))?,
            ),
        };
        let attached = object::attach(&mut skel, hooks)
            .map_err(|e| Error::setup("attaching the chosen BPF programs", &e))?;
        let mut links = Vec::new();
        let mut programs = Vec::new();
        for (link, hook, program) in attached {
            links.push(link);
            programs.push((hook, program));
        }
        let means = Means {
            hooks: hooks.iter().copied().filter(Hook::is_first_copy).collect(),
            transport: kind,
            buffer_bytes: road.bytes(),
        };
        let [in_use, spare] = maps.tally;
        Ok(Self {
            links,
            programs,
            road,
            ledgers: maps.ledgers,
            failures: maps.failures,
            cgroup_names: maps.cgroup_names,
            tally: Tally::new(maps.tally_in_use, in_use, spare),
            means,
        })
    }

    /// What was chosen at the start.
    pub fn means(&self) -> &Means {
        &self.means
    }
}

/// The ring buffer's size: as much as the perf buffers of all CPUs, to a power of two.
fn ring_bytes(pages: usize, cpus: usize) -> u32 {
    let bytes = (pages * rustix::param::page_size() * cpus).next_power_of_two();
    // The largest ring buffer there is, in a 32-bit size that is a power of two.
    u32::try_from(bytes).unwrap_or(1 << 31)
}

/// CPUs that are online, whichever of them this process may use.
fn online_cpus() -> io::Result<usize> {
    let online = sysconf(SysconfVar::_NPROCESSORS_ONLN)?;
    Ok(online.and_then(|n| usize::try_from(n).ok()).unwrap_or(1))
}

impl Source for Capture {
    fn wakeup_fd(&self) -> BorrowedFd<'_> {
        self.road.wakeup_fd()
    }

    fn drain_events(&mut self, event: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        self.road.drain(event)
    }

    fn drain_tally(&mut self, entry: &mut dyn FnMut(&[u8], &[u8])) -> io::Result<()> {
        self.tally.drain(entry)
    }

    fn ledgers(&mut self) -> io::Result<Ledgers> {
        let mut sums = Ledgers::default();
        for kind in Kind::ALL {
            for bytes in per_cpu(&self.ledgers, kind.index())? {
                sums[kind] += event::ledger(&bytes).map_err(io::Error::other)?;
            }
        }
        Ok(sums)
    }

    fn failures(&mut self) -> io::Result<FailureCounts> {
        let mut sums = FailureCounts::default();
        for bytes in per_cpu(&self.failures, 0)? {
            sums += event::failures(&bytes).map_err(io::Error::other)?;
        }
        Ok(sums)
    }

    fn cgroup_path(&mut self, id: u64) -> io::Result<Option<Vec<u8>>> {
        let names = &self.cgroup_names;
        let path = cgroup::path(id, |id| {
            let name = names.lookup(&id.to_ne_bytes(), MapFlags::ANY);
            let name = name.map_err(io::Error::other)?;
            let decode = |bytes: Vec<u8>| event::cgroup_name(&bytes).map_err(io::Error::other);
            name.map(decode).transpose()
        })?;
        if path.is_none() {
            // A name above it has been crowded out: with its own gone, the next exec or exit
            // there brings them all back. (ENOENT: it was crowded out itself.)
            let _ = names.delete(&id.to_ne_bytes());
        }
        Ok(path)
    }

    fn programs(&mut self) -> Vec<ProgramStats> {
        let stats = self.programs.iter().filter_map(|(hook, program)| {
            stats::of(program, hook)
                .inspect_err(|error| debug!(%error, %hook, "no statistics of the program"))
                .ok()
        });
        stats.collect()
    }

    fn detach(&mut self) {
        self.links.clear();
    }
}

/// Each CPU's value of an entry of a per-CPU array.
fn per_cpu(map: &MapHandle, index: u32) -> io::Result<Vec<Vec<u8>>> {
    map.lookup_percpu(&index.to_ne_bytes(), MapFlags::ANY)
        .map_err(io::Error::other)?
        .ok_or_else(|| io::Error::other(format!("a BPF array has no entry {index}")))
}

/// Have libbpf's messages in our log instead of on standard error.
pub fn log_as_we_do() {
    // libbpf says much at this level, and to format it takes as long as all else here.
    let level = if enabled!(target: "libbpf", Level::TRACE) {
        PrintLevel::Debug
    } else {
        PrintLevel::Info
    };
    libbpf_rs::set_print(Some((level, log_libbpf)));
}

/// libbpf's own messages. What it warns of we report ourselves, with a remedy.
#[allow(clippy::needless_pass_by_value)] // the signature is libbpf-rs's
fn log_libbpf(level: PrintLevel, message: String) {
    let message = message.trim_end();
    match level {
        PrintLevel::Warn | PrintLevel::Info => debug!(target: "libbpf", "{message}"),
        PrintLevel::Debug => trace!(target: "libbpf", "{message}"),
    }
}
