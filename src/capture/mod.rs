//! The kernel side as seen from user space: open, configure, load, attach, and then
//! read what it collects. The only module that talks to BPF.

mod error;
pub mod hooks;
mod perf_buffer;
mod stats;
mod tally;

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;

use libbpf_rs::skel::{OpenSkel, SkelBuilder};
use libbpf_rs::{Link, MapCore, MapFlags, MapHandle, PrintLevel, ProgramHandle};
use tracing::{debug, info, trace, warn};

use self::error::Refusal;
use self::hooks::ExecHook;
use self::perf_buffer::PerfBuffer;
use self::tally::Tally;
use crate::bpf::ExecsnoopSkelBuilder;
use crate::bpf::types::kind;
use crate::event::{self, Ledger};
use crate::privileges;
use crate::source::{ProgramStats, Source};

pub use self::error::Error;

/// What to capture, and by which means.
#[derive(Debug, Clone)]
pub struct Options {
    /// Pages of each CPU's ring, a power of two.
    pub buffer_pages: usize,
    /// Ask the kernel for the parent's name.
    pub with_parent_comm: bool,
    /// The hooks to try, in this order.
    pub exec_hooks: Vec<ExecHook>,
}

/// The chosen means, for people and for `execsnoop_hook_info`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Means {
    /// What observes execs.
    pub exec_hook: ExecHook,
    /// How events cross into user space.
    pub transport: &'static str,
    /// Bytes of the buffers of all CPUs.
    pub buffer_bytes: usize,
}

/// Attached programs and the user's ends of what they write to.
#[derive(Debug)]
pub struct Capture {
    /// Dropping these detaches the programs.
    links: Vec<Link>,
    program: ProgramHandle,
    buffer: PerfBuffer,
    ledgers: MapHandle,
    tally: Tally,
    means: Means,
}

impl Capture {
    /// Load, open the buffers and attach: from the return on, every exec is counted.
    pub fn start(options: &Options) -> Result<Self, Error> {
        libbpf_rs::set_print(Some((PrintLevel::Debug, log_libbpf)));
        let missing = privileges::missing_for_bpf()
            .map_err(|e| Error::setup("reading this process's capabilities", &e))?;
        if !missing.is_empty() {
            return Err(Error::missing_capabilities(&missing));
        }

        let mut refusals = Vec::new();
        for &hook in &options.exec_hooks {
            match Self::start_with(hook, options)? {
                Ok(capture) => {
                    let Means {
                        transport,
                        buffer_bytes,
                        ..
                    } = capture.means;
                    info!(exec = hook.section(), transport, buffer_bytes, "attached");
                    return Ok(capture);
                }
                Err(refusal) => {
                    warn!(
                        hook = hook.section(),
                        step = refusal.step,
                        error = format!("{:#}", refusal.error),
                        "hook refused by the kernel, trying the next"
                    );
                    refusals.push(refusal);
                }
            }
        }
        Err(Error::no_hook(&refusals))
    }

    /// The outer error is final; the inner one says that this hook cannot be had.
    fn start_with(hook: ExecHook, options: &Options) -> Result<Result<Self, Refusal>, Error> {
        let refused = |step| move |error| Refusal { hook, step, error };

        // The object is needed only until all is attached: links, programs and maps
        // live on by their own descriptors.
        let mut object = MaybeUninit::uninit();
        let mut open = ExecsnoopSkelBuilder::default()
            .open(&mut object)
            .map_err(|e| Error::setup("opening the BPF object", &e))?;
        if let Some(rodata) = &mut open.maps.rodata_data {
            rodata.with_parent_comm = u8::from(options.with_parent_comm);
        }
        hook.select(&mut open.progs);
        let mut skel = match open.load().map_err(refused("load")) {
            Ok(skel) => skel,
            Err(refusal) => return Ok(Err(refusal)),
        };

        let own = |map: &libbpf_rs::MapMut<'_>| {
            MapHandle::try_from(map).map_err(|e| Error::setup("opening a BPF map", &e))
        };
        let buffer = PerfBuffer::open(own(&skel.maps.events)?, options.buffer_pages)
            .map_err(|e| Error::perf_buffer(options.buffer_pages, &e))?;
        let ledgers = own(&skel.maps.ledgers)?;
        let tally = Tally::new(
            own(&skel.maps.tally_in_use)?,
            own(&skel.maps.tally_a)?,
            own(&skel.maps.tally_b)?,
        );

        let program = hook.of(&mut skel.progs);
        let handle = ProgramHandle::try_from(&*program)
            .map_err(|e| Error::setup("opening the BPF program", &e))?;
        let link = match program.attach().map_err(refused("attach")) {
            Ok(link) => link,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let means = Means {
            exec_hook: hook,
            transport: "perf",
            buffer_bytes: buffer.bytes(),
        };
        Ok(Ok(Self {
            links: vec![link],
            program: handle,
            buffer,
            ledgers,
            tally,
            means,
        }))
    }

    /// What was chosen at the start.
    pub fn means(&self) -> Means {
        self.means
    }
}

impl Source for Capture {
    fn wakeup_fd(&self) -> BorrowedFd<'_> {
        self.buffer.wakeup_fd()
    }

    fn drain_events(&mut self, event: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        self.buffer.drain(event)
    }

    fn drain_tally(&mut self, entry: &mut dyn FnMut(&[u8], u64)) -> io::Result<()> {
        self.tally.drain(entry)
    }

    fn ledger(&mut self) -> io::Result<Ledger> {
        let key = kind::KIND_EXEC.0.to_ne_bytes();
        let cpus = self
            .ledgers
            .lookup_percpu(&key, MapFlags::ANY)
            .map_err(io::Error::other)?
            .ok_or_else(|| io::Error::other("the ledger has no entry for execs"))?;
        let mut sum = Ledger::default();
        for bytes in &cpus {
            sum += event::ledger(bytes).map_err(io::Error::other)?;
        }
        Ok(sum)
    }

    fn programs(&mut self) -> Vec<ProgramStats> {
        match stats::of(&self.program, self.means.exec_hook.program()) {
            Ok(stats) => vec![stats],
            Err(error) => {
                debug!(%error, "no statistics of the program");
                Vec::new()
            }
        }
    }

    fn detach(&mut self) {
        self.links.clear();
    }
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
