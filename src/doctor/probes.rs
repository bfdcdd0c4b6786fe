//! What is found out by trying, as the daemon does it.

use super::finding::Finding;
use crate::capture::hook::AttachPoint;
use crate::capture::hook::{
    EXEC_RAW_TP, EXEC_SYS_EXIT, EXEC_TP_BTF, EXIT_LIVE, EXIT_TP_BTF, FEXIT, Hook,
};
use crate::capture::preemption::may_skip;
use crate::capture::{Capture, Options, TransportKind, try_out};

/// `permitted`: the capabilities are there; else every refusal would be for their lack.
pub(super) fn findings(permitted: bool) -> Vec<Finding> {
    if !permitted {
        return vec![Finding::missing(
            "hooks and buffers",
            "not tried",
            "without the capabilities the kernel refuses them all",
        )];
    }
    let mut findings = vec![
        group("execs", &[EXEC_TP_BTF], "the first choice"),
        group("execs", &[EXEC_RAW_TP], "the second"),
        group("execs", &EXEC_SYS_EXIT, "the third"),
        group("failed execs", &FEXIT, "the first choice"),
        group(
            "exits",
            &[EXIT_TP_BTF],
            "the first choice, on Linux 6.16 and newer",
        ),
        group("exits", &EXIT_LIVE[..1], "the second"),
        group("exits", &EXIT_LIVE[1..], "the third"),
    ];
    findings.extend([TransportKind::Perf, TransportKind::Ring].map(road));
    findings.push(preemption());
    findings
}

/// Hooks that are for the same.
fn group(check: &'static str, hooks: &[Hook], choice: &str) -> Finding {
    let kind = hooks[0].program_type;
    let names: Vec<_> = hooks.iter().map(|hook| hook.program).collect();
    let names = format!("{} ({kind}), {choice}", names.join(", "));
    let mut refusals = hooks.iter().filter_map(|hook| try_out(*hook).err());
    let Some(refusal) = refusals.next() else {
        return Finding::ok(check, names);
    };
    let found = format!("{names}: {refusal}");
    if hooks == FEXIT {
        Finding::less(
            check,
            found,
            "this kernel refuses fexit programs, whoever asks: failed execs are not counted",
        )
        .fix(
            "capture.failures = \"tracepoint\" counts them, with tracefs mounted; it slows every \
             system call",
        )
    } else if kind == "tracepoint" {
        Finding::less(
            check,
            found,
            "it needs tracefs; not needed where another one is to be had",
        )
    } else {
        Finding::less(check, found, "not needed where another one is to be had")
    }
}

fn road(kind: TransportKind) -> Finding {
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
            "not needed where the other one is to be had",
        ),
    }
}

fn preemption() -> Finding {
    let has_fexit = FEXIT.iter().any(|hook| try_out(*hook).is_ok());
    let at_tracepoints = may_skip(AttachPoint::Tracepoint);
    let of_fexit = has_fexit && may_skip(AttachPoint::Fexit);
    let found = match (at_tracepoints, of_fexit) {
        (false, false) => "none: each program is loaded once",
        (false, true) => "of fexit programs: each of these is loaded three times",
        (true, false) => "of programs at tracepoints: each of these is loaded three times",
        (true, true) => "of all programs: each is loaded three times",
    };
    Finding::ok("preemption", found)
}
