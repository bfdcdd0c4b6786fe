//! The BPF object: open, configure, load, attach.

use std::collections::HashSet;
use std::fs;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsFd, OwnedFd};

use libbpf_rs::skel::{OpenSkel, Skel, SkelBuilder};
use libbpf_rs::{ErrorKind, Link, OpenObject};

use super::error::Error;
use super::exe_names;
use super::hook::{EXEC_SYS_EXIT, EXIT_LIVE, Hook, Refusal, SYS_EXIT};
use super::options::{Input, Live, Options, WANTED};
use super::shortage;
use crate::bpf::{ExecsnoopSkel, ExecsnoopSkelBuilder, OpenExecsnoopSkel, types};
use crate::record::{Event, Fact, Kind, lifetime_bounds_ns};

/// The name of a step, as in [`Refusal::step`].
const ATTACH: &str = "attach";

/// The kernel's description of its own types.
const BTF: &str = "/sys/kernel/btf/vmlinux";

/// Bytes before each record in the ring buffer (`BPF_RINGBUF_HDR_SZ`).
const RING_HEADER: usize = 8;

/// The number of cgroups whose names are kept, at 264 bytes each.
const CGROUP_NAMES: usize = 8192;

/// The number of files whose names are kept, at 264 bytes each.
const EXE_NAMES: usize = 8192;

/// Slots for what is kept of processes from their exit until the kernel frees them, 32 bytes each. A
/// power of two, and at least the default of `kernel.pid_max`, with which no two processes share a
/// slot.
const AT_EXIT: u32 = 32_768;

/// The transport, with the ring buffer's size.
#[derive(Debug, Clone, Copy)]
pub(super) enum Transport {
    Perf,
    Ring { bytes: u32 },
}

/// Loads and attaches one program, then unloads it.
pub(super) fn try_out(hook: Hook) -> Result<(), Refusal> {
    load_and_attach(&[hook]).map_err(|(step, error)| Refusal {
        hook,
        step,
        not_permitted: error.kind() == ErrorKind::PermissionDenied,
        shortage: if step == ATTACH {
            shortage::limit_of_attaching(&error)
        } else {
            shortage::limit(&error)
        }
        .map(Into::into),
        error: format!("{error:#}"),
    })
}

/// Loads the maps without any program, and returns the limit that was reached if that fails. Every
/// kernel with BPF and BTF can load them, so an error means that a resource is exhausted.
///
/// libbpf may hide a shortage. It reports BTF that it could not read as missing. If it cannot probe
/// the kernel for a feature, it treats the feature as missing until the process ends. Only one
/// such feature is required by the programs: global variables (`rodata`).
pub(super) fn shortage() -> Option<String> {
    let mut object = MaybeUninit::uninit();
    let loaded = open(&mut object).and_then(|mut open| {
        select(&mut open, &[], Transport::Perf, 1)?;
        open.load()
    });
    let error = match loaded {
        Ok(skel) if skel.maps.rodata.autocreate() => return None,
        Ok(_) => return Some("not known: libbpf could not probe the kernel".to_owned()),
        Err(error) => error,
    };
    let is_refused = matches!(
        error.kind(),
        ErrorKind::PermissionDenied | ErrorKind::Unsupported
    );
    let is_final = is_refused || fs::exists(BTF).is_ok_and(|exists| !exists);
    let unknown = || (!is_final).then(|| format!("not known: {error:#}"));
    shortage::limit(&error).or_else(unknown)
}

/// Whether the kernel loads and attaches all of these programs in one object.
pub(super) fn can_have_all(hooks: &[Hook]) -> bool {
    load_and_attach(hooks).is_ok()
}

fn load_and_attach(hooks: &[Hook]) -> Result<(), (&'static str, libbpf_rs::Error)> {
    let at = |step| move |error: libbpf_rs::Error| (step, error);
    let mut object = MaybeUninit::uninit();
    let mut open = open(&mut object).map_err(at("open"))?;
    // Nothing is counted, so the tallies need no room, which takes time to allocate.
    for tally in [&mut open.maps.tally_a, &mut open.maps.tally_b] {
        tally.set_max_entries(1).map_err(at("open"))?;
    }
    select(&mut open, hooks, Transport::Perf, 1).map_err(at("open"))?;
    let mut skel = open.load().map_err(at("load"))?;
    attach(&mut skel, hooks).map_err(at(ATTACH))?;
    Ok(())
}

/// What the variables of a loaded object are in addition to the options.
#[derive(Debug, Clone, Copy)]
pub(super) struct State {
    /// Whether the programs observe nothing yet.
    pub(super) is_paused: bool,
    pub(super) exe_key: exe_names::Key,
}

/// Loads an object without attaching its programs. `object` is the memory for it.
pub(super) fn load<'a>(
    object: &'a mut MaybeUninit<OpenObject>,
    hooks: &[Hook],
    transport: Transport,
    cpus: usize,
    options: &Options,
    state: State,
) -> Result<ExecsnoopSkel<'a>, Error> {
    let failed = |step: &'static str| move |e: libbpf_rs::Error| Error::setup(step, &e);
    let mut open = open(object).map_err(failed("opening the BPF object"))?;
    let reads = |input| options.inputs.contains(&input);
    let observes = |kind| hooks.iter().any(|hook| hook.kind == kind);
    let with_failures = options.with_failures && observes(Kind::Failure);
    if let Some(rodata) = &mut open.maps.rodata_data {
        set_inputs(rodata, options);
        rodata.with_exits = u8::from(options.with_exits);
        rodata.with_failures = u8::from(with_failures);
        rodata.at_exit_mask = AT_EXIT - 1;
        if let Transport::Ring { bytes } = transport {
            rodata.ring_half = u64::from(bytes / 2);
            let record = if options.live.is_detailed() {
                size_of::<types::traced>()
            } else {
                size_of::<Event>()
            };
            rodata.ring_wakeup = ((record + RING_HEADER) * (2 * cpus + 1)) as u64;
        }
        rodata.lifetime_bounds = lifetime_bounds_ns();
        rodata.exe_key = state.exe_key;
        set_live(rodata, &options.live, state.exe_key);
        let at_sys_exit = |hook: &Hook| u8::from(hooks.contains(hook));
        rodata.exec_at_sys_exit = at_sys_exit(&EXEC_SYS_EXIT[0]);
        rodata.failure_at_sys_exit = at_sys_exit(&SYS_EXIT[0]);
        for standby in hooks.iter().filter(|hook| !hook.is_first_copy()) {
            rodata.has_standby[standby.kind.index() as usize] = 1;
        }
    }
    if let Some(bss) = &mut open.maps.bss_data {
        bss.paused_since = u64::from(state.is_paused);
    }
    let configuring = failed("configuring the BPF object");
    if reads(Input::Cgroup) {
        let names = &mut open.maps.cgroup_names;
        let entries = lru_entries(CGROUP_NAMES, cpus);
        names.set_max_entries(entries).map_err(&configuring)?;
    }
    if reads(Input::Exe) {
        let entries = lru_entries(EXE_NAMES, cpus);
        let names = &mut open.maps.exe_names;
        names.set_max_entries(entries).map_err(&configuring)?;
    }
    if with_failures {
        create_failure_tally(&mut open, true).map_err(&configuring)?;
    }
    let is_kept_at_exit = reads(Input::ParentComm) || reads(Input::Fact(Fact::Tty));
    if is_kept_at_exit && observes(Kind::CpuTime) {
        let at_exit = &mut open.maps.at_exit;
        at_exit.set_max_entries(AT_EXIT).map_err(&configuring)?;
    }
    select(&mut open, hooks, transport, cpus).map_err(&configuring)?;
    open.load().map_err(|error| match transport {
        Transport::Ring { bytes } => Error::ring_buffer(bytes, &error),
        Transport::Perf => Error::setup("loading the chosen BPF programs together", &error),
    })
}

/// The size of an LRU map for this many entries. It is at least 256 per CPU, because each CPU keeps
/// up to 128 free entries for itself (`kernel/bpf/bpf_lru_list.c`).
fn lru_entries(entries: usize, cpus: usize) -> u32 {
    u32::try_from(entries.max(256 * cpus)).unwrap_or(u32::MAX)
}

fn set_inputs(rodata: &mut types::rodata, options: &Options) {
    let reads = |input| u8::from(options.inputs.contains(&input));
    rodata.with_parent_comm = reads(Input::ParentComm);
    rodata.with_cgroup = reads(Input::Cgroup);
    rodata.with_exe = reads(Input::Exe);
    rodata.with_loginuid = reads(Input::Loginuid);
    rodata.with_entry = reads(Input::Fact(Fact::Entry));
    rodata.with_origin = reads(Input::Fact(Fact::Origin));
    rodata.with_elevated = reads(Input::Fact(Fact::Elevated));
    rodata.with_tty = reads(Input::Fact(Fact::Tty));
}

fn set_live(rodata: &mut types::rodata, live: &Live, exe_key: exe_names::Key) {
    let Live {
        uids,
        comms,
        parent_comm,
        cgroup_id,
        pid,
        loginuid,
        exes,
        origins,
        facts,
        process,
        failures,
        exits,
        only_unsuccessful,
        path,
        args,
        family,
    } = live;
    rodata.wanted_uids = number(uids);
    for (wanted, uid) in rodata.wanted_uid.iter_mut().zip(uids) {
        *wanted = *uid;
    }
    rodata.wanted_comms = number(comms);
    let wanted_comms = rodata.wanted_comm.as_chunks_mut().0;
    for (wanted, comm) in wanted_comms.iter_mut().zip(comms) {
        *wanted = *comm;
    }
    rodata.only_parent_comm = u8::from(parent_comm.is_some());
    rodata.wanted_parent_comm = parent_comm.unwrap_or_default();
    rodata.only_cgroup = u8::from(cgroup_id.is_some());
    rodata.wanted_cgroup_id = cgroup_id.unwrap_or_default();
    rodata.wanted_pid = pid.unwrap_or_default();
    rodata.only_login = u8::from(loginuid.is_some());
    rodata.wanted_login = loginuid.map_or(0, |uid| uid.wrapping_add(1));
    rodata.wanted_exes = number(exes);
    for (wanted, name) in rodata.wanted_exe.iter_mut().zip(exes) {
        *wanted = exe_names::id(exe_key, name);
    }
    rodata.wanted_origins = origins.iter().fold(0, |bits, origin| bits | 1 << origin);
    let bits = facts.iter().map(|(fact, value)| fact.bit(*value));
    rodata.wanted_facts = bits.fold(0, |all, bit| all | bit);
    rodata.with_process = u8::from(*process);
    rodata.with_failure_events = u8::from(*failures);
    rodata.with_exit_events = u8::from(*exits);
    rodata.only_unsuccessful = u8::from(*only_unsuccessful);
    rodata.with_path = u8::from(*path);
    rodata.with_args = u8::from(*args);
    rodata.with_family = u8::from(*family);
}

/// The number of values of a filter. `trace` refuses more than [`WANTED`].
fn number<T>(values: &[T]) -> u32 {
    u32::try_from(values.len().min(WANTED)).unwrap_or_default()
}

fn open(object: &mut MaybeUninit<OpenObject>) -> libbpf_rs::Result<OpenExecsnoopSkel<'_>> {
    let mut open = ExecsnoopSkelBuilder::default().open(object)?;
    create_failure_tally(&mut open, false)?;
    Ok(open)
}

/// Sets whether the tally of failed execs exists.
fn create_failure_tally(open: &mut OpenExecsnoopSkel<'_>, create: bool) -> libbpf_rs::Result<()> {
    open.maps.failure_tally_a.set_autocreate(create)?;
    open.maps.failure_tally_b.set_autocreate(create)
}

/// Selects the programs to load, and sizes the maps that they need.
fn select(
    open: &mut OpenExecsnoopSkel<'_>,
    hooks: &[Hook],
    transport: Transport,
    cpus: usize,
) -> libbpf_rs::Result<()> {
    // A skeleton creates every map, so maps that are not needed keep their minimal size.
    if let Transport::Ring { bytes } = transport {
        open.maps.ring.set_max_entries(bytes)?;
    }
    let in_flight = lru_entries(4096, cpus);
    if hooks.iter().any(|hook| !hook.is_first_copy()) {
        open.maps.claims.set_max_entries(in_flight)?;
    }
    if hooks.iter().any(|hook| EXIT_LIVE.contains(hook)) {
        open.maps.exited_groups.set_max_entries(in_flight)?;
    }
    let chosen: HashSet<&str> = hooks.iter().map(|hook| hook.program).collect();
    for mut program in open.open_object_mut().progs_mut() {
        let load = program
            .name()
            .to_str()
            .is_some_and(|name| chosen.contains(name));
        program.set_autoload(load);
    }
    Ok(())
}

pub(super) fn attach(
    skel: &mut ExecsnoopSkel<'_>,
    hooks: &[Hook],
) -> libbpf_rs::Result<Vec<(Link, Hook, OwnedFd)>> {
    let mut attached: Vec<(Link, Hook, OwnedFd)> = Vec::new();
    for hook in hooks {
        for program in skel.object_mut().progs_mut() {
            if program.name() == hook.program {
                let descriptor = program.as_fd().try_clone_to_owned()?;
                attached.push((program.attach()?, *hook, descriptor));
            }
        }
    }
    Ok(attached)
}
