//! Tries the hooks and buffers that the daemon can use, with the code that the daemon uses to
//! select them.

use super::finding::Finding;
use crate::capture::facts::{Facts, Host};
use crate::capture::hook::AttachPoint;
use crate::capture::hook::{
    CPU_RAW_TP, CPU_TP_BTF, EXEC_RAW_TP, EXEC_SYS_EXIT, EXEC_TP_BTF, EXIT_LIVE, EXIT_TP_BTF, FEXIT,
    Hook,
};
use crate::capture::select::failures;
use crate::capture::{Capture, FailureHooks, Options, TransportKind};

/// Returns one finding per hook and buffer. If the process lacks the capabilities (`permitted` is
/// false), nothing is tried, because the kernel would refuse everything.
pub(super) fn findings(permitted: bool) -> Vec<Finding> {
    if !permitted {
        return vec![Finding::missing(
            "hooks and buffers",
            "not tried",
            "without the capabilities the kernel refuses all of them",
        )];
    }
    let facts = &mut Host::new(Options::default().may_skip);
    let mut findings = vec![
        group("execs", &[EXEC_TP_BTF], "the first choice", facts),
        group("execs", &[EXEC_RAW_TP], "the second", facts),
        group("execs", &EXEC_SYS_EXIT, "the third", facts),
        group("failed execs", &FEXIT, "the first choice", facts),
        group(
            "exits",
            &[EXIT_TP_BTF],
            "the first choice, on Linux 6.16 and newer",
            facts,
        ),
        group("exits", &EXIT_LIVE[..1], "the second", facts),
        group("exits", &EXIT_LIVE[1..], "the third", facts),
        group("CPU time", &[CPU_TP_BTF], "the first choice", facts),
        group("CPU time", &[CPU_RAW_TP], "the second", facts),
    ];
    findings.extend([TransportKind::Perf, TransportKind::Ring].map(transport));
    findings.push(preemption(facts));
    findings
}

/// Tries hooks that the daemon uses only together.
fn group(check: &'static str, hooks: &[Hook], choice: &str, facts: &mut Host) -> Finding {
    let kind = hooks[0].program_type;
    let names: Vec<_> = hooks.iter().map(|hook| hook.program).collect();
    let names = format!("{} ({kind}), {choice}", names.join(", "));
    let mut refusals = hooks.iter().filter_map(|hook| facts.try_hook(*hook).err());
    let Some(refusal) = refusals.next() else {
        return Finding::ok(check, names);
    };
    let found = format!("{names}: {refusal}");
    if hooks == FEXIT {
        let is_observed =
            failures(FailureHooks::Fexit, facts).is_ok_and(|selection| !selection.hooks.is_empty());
        if is_observed {
            let means = "failed execs of some kinds are not counted";
            return Finding::less(check, found, means);
        }
        Finding::less(
            check,
            found,
            "this kernel does not support fexit programs (this is not a permission problem): \
             failed execs are not counted",
        )
        .fix(
            "capture.failures = \"tracepoint\" counts them, with tracefs mounted; it slows every \
             system call",
        )
    } else if kind == "tracepoint" {
        Finding::less(
            check,
            found,
            "it needs tracefs; optional if another hook is available",
        )
    } else {
        Finding::less(check, found, "optional if another hook is available")
    }
}

fn transport(kind: TransportKind) -> Finding {
    let check = match kind {
        TransportKind::Perf => "perf buffer",
        TransportKind::Ring => "ring buffer",
    };
    let options = Options {
        transports: vec![kind],
        failures: None,
        exits: false,
        ..Options::default()
    };
    match Capture::start(&options) {
        Ok(capture) => Finding::ok(check, format!("{} KiB", capture.info().buffer_bytes / 1024)),
        Err(error) => Finding::less(
            check,
            error.to_string(),
            "optional if the other buffer is available",
        ),
    }
}

fn preemption(facts: &mut Host) -> Finding {
    let has_fexit = FEXIT.iter().any(|hook| facts.try_hook(*hook).is_ok());
    let at_tracepoints = facts.may_skip(AttachPoint::Tracepoint);
    let of_fexit = has_fexit && facts.may_skip(AttachPoint::Fexit);
    let found = match (at_tracepoints, of_fexit) {
        (false, false) => "none: each program is loaded once",
        (false, true) => "of fexit programs: each of these is loaded three times",
        (true, false) => "of programs at tracepoints: each of these is loaded three times",
        (true, true) => "of all programs: each is loaded three times",
    };
    Finding::ok("preemption", found)
}
