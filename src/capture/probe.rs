//! What this kernel does with programs, found out by having it run two.

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

use super::stats;
use crate::bpf::preemption::{OpenPreemptionSkel, PreemptionSkelBuilder, types};

/// Of the one entry that the variables are in.
const KEY: [u8; 4] = 0_u32.to_ne_bytes();

/// How often it is tried to have both programs run.
const ATTEMPTS: u32 = 20;

/// Where programs are attached to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// A tracepoint.
    Tracepoint,
    /// The end of a kernel function.
    Fexit,
}

impl Place {
    /// The programs that are asked, in the order in which they are attached.
    fn programs(self) -> impl Iterator<Item = &'static str> {
        let fexit: &[_] = match self {
            Self::Tracepoint => &[],
            Self::Fexit => &["fexit_1", "fexit_2"],
        };
        let all = ["tracepoint_1", "tracepoint_2"].iter().chain(fexit);
        all.copied()
    }
}

/// What becomes of programs at one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Treatment {
    /// The kernel may preempt a program, and skip it for whoever comes by meanwhile.
    pub may_skip: bool,
    /// Of several, the one attached last runs first.
    pub newest_first: bool,
}

impl Treatment {
    /// More programs than needed cost time, fewer cost counts.
    fn unknown(place: Place) -> Self {
        Self {
            may_skip: true,
            newest_first: place == Place::Fexit,
        }
    }
}

/// Ask the kernel, from the calling thread.
pub fn treatment(place: Place) -> Treatment {
    let treatment = ask(place).unwrap_or_else(|error| {
        debug!(
            ?place,
            error = format!("{error:#}"),
            "asking how the kernel runs programs"
        );
        Treatment::unknown(place)
    });
    debug!(?place, ?treatment, "how the kernel runs programs");
    treatment
}

fn ask(place: Place) -> libbpf_rs::Result<Treatment> {
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
        let asked = place.programs().any(|name| program.name() == name);
        program.set_autoload(asked);
    }
    let mut probe = open.load()?;
    let mut counts_skips = false;
    // One after the other, as their names say.
    let mut links: Vec<Link> = Vec::new();
    for name in place.programs() {
        for program in probe.object_mut().progs_mut() {
            if program.name() == name {
                let handle = ProgramHandle::try_from(&program)?;
                counts_skips |= stats::counts_skips(&handle)?;
                links.push(program.attach()?);
            }
        }
    }
    // By the map, not by the skeleton's reference: the kernel writes there meanwhile.
    let answers = &probe.maps.bss;
    let unasked = answers.value_size() as usize;
    let own_name = name().map_err(io::Error::from)?;
    for _ in 0..ATTEMPTS {
        answers.update(&KEY, &vec![0; unasked], MapFlags::ANY)?;
        // Both places see that.
        set_name(&own_name).map_err(io::Error::from)?;
        let bytes = answers.lookup(&KEY, MapFlags::ANY)?.unwrap_or_default();
        let tracepoint = answer(&bytes, offset_of!(types::bss, at_tracepoint));
        let asked = match place {
            Place::Tracepoint => tracepoint,
            Place::Fexit => answer(&bytes, offset_of!(types::bss, at_fexit)),
        };
        // One of them may have been skipped itself: then it says nothing of the order.
        if asked.ran == 2 {
            // Where tracepoints still switch preemption off, they show whether it is counted.
            let counted = tracepoint.disabled > 0;
            return Ok(Treatment {
                may_skip: counts_skips && is_preemptible(&asked, counted),
                newest_first: asked.first == 2,
            });
        }
    }
    debug!(?place, "the programs that were to answer did not both run");
    Ok(Treatment::unknown(place))
}

/// An answer as the kernel wrote it; all 0 if it is not there.
fn answer(bytes: &[u8], offset: usize) -> types::answer {
    let field = |i: usize| {
        let at = offset + i * size_of::<u32>();
        let bytes = bytes.get(at..at + size_of::<u32>());
        let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
        bytes.map_or(0, u32::from_ne_bytes)
    };
    types::answer {
        ran: field(0),
        first: field(1),
        disabled: field(2).cast_signed(),
        disabled_by: field(3).cast_signed(),
    }
}

/// How far the variable with a CPU's preemption count is from its run queue, on x86
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

/// Whether a program is preempted where it gave this answer.
fn is_preemptible(answer: &types::answer, counted: bool) -> bool {
    if answer.disabled < 0 {
        return true; // the kernel does not say
    }
    // Off, or on; or it is never counted, on a kernel that preempts nothing.
    answer.disabled == 0 && (answer.disabled_by > 0 || counted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_preemptible_where_preemption_is_on_and_could_be_off() {
        let answer = |disabled, disabled_by| types::answer {
            ran: 2,
            first: 1,
            disabled,
            disabled_by,
        };
        for (answer, counted, preemptible) in [
            (answer(1, 2), true, false),
            (answer(0, 1), false, true),
            (answer(0, 0), false, false),
            (answer(0, 0), true, true),
            (answer(-1, 0), false, true),
        ] {
            assert_eq!(is_preemptible(&answer, counted), preemptible, "{answer:?}");
        }
    }
}
