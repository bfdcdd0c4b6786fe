//! What this kernel does with programs, found out by having it run two.

use std::ffi::OsStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::fs::MetadataExt;

use libbpf_rs::btf::Btf;
use libbpf_rs::btf::types::{DataSec, Var};
use libbpf_rs::skel::{OpenSkel, Skel, SkelBuilder};
use libbpf_rs::{Link, ProgramHandle};
use rustix::thread::{gettid, name, set_name};
use tracing::debug;

use super::stats;
use crate::bpf::probe::{OpenProbeSkel, ProbeSkelBuilder, types};

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
pub(super) fn treatment(place: Place) -> Treatment {
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
    let mut open: OpenProbeSkel<'_> = ProbeSkelBuilder::default().open(&mut object)?;
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
    let Some(answers) = &mut probe.maps.bss_data else {
        return Ok(Treatment::unknown(place));
    };
    for _ in 0..ATTEMPTS {
        // To the name it has: both places see that.
        name()
            .and_then(|name| set_name(&name))
            .map_err(io::Error::from)?;
        let asked = match place {
            Place::Tracepoint => &answers.at_tracepoint,
            Place::Fexit => &answers.at_fexit,
        };
        // One of them may have been skipped itself: then it says nothing of the order.
        if asked.ran == 2 {
            // Where tracepoints still switch preemption off, they show whether it is counted.
            let counted = answers.at_tracepoint.disabled > 0;
            return Ok(Treatment {
                may_skip: counts_skips && is_preemptible(asked, counted),
                newest_first: asked.first == 2,
            });
        }
        answers.at_tracepoint = types::answer::default();
        answers.at_fexit = types::answer::default();
    }
    Ok(Treatment::unknown(place))
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
