//! Finds out whether the kernel may skip programs, by running a program at a kind of attach
//! point (`bpf/preemption.bpf.c`).

use std::ffi::OsStr;
use std::io;
use std::mem::{MaybeUninit, offset_of, size_of};
use std::os::unix::fs::MetadataExt;

use libbpf_rs::btf::Btf;
use libbpf_rs::btf::types::{DataSec, Var};
use libbpf_rs::skel::{OpenSkel, Skel, SkelBuilder};
use libbpf_rs::{Link, MapCore, MapFlags, ProgramHandle};
use rustix::thread::{gettid, name, set_name};
use tracing::debug;

use super::hook::AttachPoint;
use super::stats;
use crate::bpf::preemption::{OpenPreemptionSkel, PreemptionSkelBuilder, types};

/// The key of the only entry of the map that holds the global variables of the programs.
const KEY: [u8; 4] = 0_u32.to_ne_bytes();

/// How often the thread triggers the programs before it gives up. Once is not enough, because
/// the kernel may skip these programs, too.
const ATTEMPTS: u32 = 20;

/// The programs that are needed for an answer about this kind of attach point.
fn programs(attach_point: AttachPoint) -> &'static [&'static str] {
    match attach_point {
        AttachPoint::Tracepoint => &["tracepoint"],
        AttachPoint::Fexit => &["tracepoint", "fexit"],
    }
}

/// Returns whether the kernel may preempt a task inside a program at this kind of attach point, and
/// skip the program for other tasks meanwhile. The calling thread triggers the programs of
/// `preemption.bpf.c`, which find this out. Returns true if they give no answer: unnecessary standby
/// copies cost time, but missing ones lose counts.
pub fn may_skip(attach_point: AttachPoint) -> bool {
    let answer = ask(attach_point).unwrap_or_else(|error| {
        debug!(
            ?attach_point,
            error = format!("{error:#}"),
            "cannot find out whether the kernel preempts programs"
        );
        None
    });
    debug!(
        ?attach_point,
        ?answer,
        "whether the kernel may skip programs"
    );
    answer.unwrap_or(true)
}

fn ask(attach_point: AttachPoint) -> libbpf_rs::Result<Option<bool>> {
    let mut object = MaybeUninit::uninit();
    let mut open: OpenPreemptionSkel<'_> = PreemptionSkelBuilder::default().open(&mut object)?;
    let namespace = std::fs::metadata("/proc/self/ns/pid")?;
    if let Some(rodata) = &mut open.maps.rodata_data {
        rodata.namespace_dev = namespace.dev();
        rodata.namespace_ino = namespace.ino();
        rodata.asking_tid = gettid().as_raw_nonzero().get().unsigned_abs();
        rodata.preempt_count_from_rq = preempt_count_from_rq().unwrap_or(0);
    }
    for mut program in open.open_object_mut().progs_mut() {
        let asked = programs(attach_point).iter();
        let is_asked = asked.into_iter().any(|name| program.name() == *name);
        program.set_autoload(is_asked);
    }
    let mut probe = open.load()?;
    let mut counts_skips = false;
    let mut links: Vec<Link> = Vec::new();
    for program in probe.object_mut().progs_mut().filter(|p| p.autoload()) {
        let handle = ProgramHandle::try_from(&program)?;
        counts_skips |= stats::counts_skips(&handle)?;
        links.push(program.attach()?);
    }
    // Read through the map, because the kernel writes concurrently to the memory behind the
    // skeleton's reference.
    let answers = &probe.maps.bss;
    let unasked = answers.value_size() as usize;
    let own_name = name().map_err(io::Error::from)?;
    for _ in 0..ATTEMPTS {
        answers.update(&KEY, &vec![0; unasked], MapFlags::ANY)?;
        // Triggers the programs at both attach points.
        set_name(&own_name).map_err(io::Error::from)?;
        let bytes = answers.lookup(&KEY, MapFlags::ANY)?.unwrap_or_default();
        let tracepoint = answer(&bytes, offset_of!(types::bss, at_tracepoint));
        let asked = match attach_point {
            AttachPoint::Tracepoint => tracepoint,
            AttachPoint::Fexit => answer(&bytes, offset_of!(types::bss, at_fexit)),
        };
        if tracepoint.has_run != 0 && asked.has_run != 0 {
            // A count above 0 at the tracepoint shows that this kernel keeps a preemption count.
            let is_counted = tracepoint.disabled > 0;
            return Ok(Some(counts_skips && is_preemptible(&asked, is_counted)));
        }
    }
    Ok(None)
}

/// An answer as the kernel wrote it; all 0 if there is none.
fn answer(bytes: &[u8], offset: usize) -> types::answer {
    let field = |i: usize| {
        let at = offset + i * size_of::<u32>();
        let bytes = bytes.get(at..at + size_of::<u32>());
        let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
        bytes.map_or(0, u32::from_ne_bytes)
    };
    types::answer {
        has_run: field(0),
        disabled: field(1).cast_signed(),
        disabled_by: field(2).cast_signed(),
    }
}

/// The offset from a CPU's run queue to the variable with its preemption count, on x86
/// (`arch/x86/include/asm/preempt.h`).
fn preempt_count_from_rq() -> Option<i64> {
    let btf = Btf::from_vmlinux().ok()?;
    let variables: DataSec<'_> = btf.type_by_name(".data..percpu")?;
    let offset = |name: &str| {
        let is_it = |var: Var<'_>| var.name() == Some(OsStr::new(name));
        let mut found = variables.iter();
        found
            .find(|info| btf.type_by_id(info.ty).is_some_and(is_it))
            .map(|info| i64::from(info.offset))
    };
    let count = offset("__preempt_count").or_else(|| offset("pcpu_hot"))?;
    Some(count - offset("runqueues")?)
}

/// Whether the kernel may preempt a program that gave this answer.
fn is_preemptible(answer: &types::answer, is_counted: bool) -> bool {
    if answer.disabled < 0 {
        return true; // unknown
    }
    // A kernel that never preempts tasks keeps no preemption count, so its answer is 0 as well.
    answer.disabled == 0 && (answer.disabled_by > 0 || is_counted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_preemptible_where_preemption_is_enabled_and_could_be_disabled() {
        let answer = |disabled, disabled_by| types::answer {
            has_run: 1,
            disabled,
            disabled_by,
        };
        for (answer, is_counted, preemptible) in [
            (answer(1, 2), true, false),
            (answer(0, 1), false, true),
            (answer(0, 0), false, false),
            (answer(0, 0), true, true),
            (answer(-1, 0), false, true),
        ] {
            assert_eq!(
                is_preemptible(&answer, is_counted),
                preemptible,
                "{answer:?}"
            );
        }
    }
}
