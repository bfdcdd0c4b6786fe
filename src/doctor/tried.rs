//! What is found out by trying, as the daemon does it.

use super::Finding;
use crate::capture::hooks::{
    self, EXEC_RAW_TP, EXEC_SYS_EXIT, EXEC_TP_BTF, EXIT_LIVE, EXIT_TP_BTF, FEXIT, Hook,
};
use crate::capture::probe::{Place, treatment};
use crate::capture::{Capture, Options, TransportKind};

pub(super) fn findings() -> Vec<Finding> {
    let mut findings = vec![
        group("execs", &[EXEC_TP_BTF], "seen"),
        group(
            "execs",
            &[EXEC_RAW_TP],
            "seen, if the one above is not to be had",
        ),
        group(
            "execs",
            &EXEC_SYS_EXIT,
            "seen, if neither is to be had; needs tracefs",
        ),
        group("failed execs", &FEXIT, "counted"),
        group("exits", &[EXIT_TP_BTF], "counted, from Linux 6.16 on"),
        group(
            "exits",
            &EXIT_LIVE[..1],
            "counted, if the one above is not to be had",
        ),
        group("exits", &EXIT_LIVE[1..], "counted, if neither is to be had"),
    ];
    findings.extend([TransportKind::Perf, TransportKind::Ring].map(road));
    findings.push(preemption());
    findings
}

/// Hooks that are for the same.
fn group(check: &'static str, hooks: &[Hook], purpose: &str) -> Finding {
    let refused: Vec<String> = hooks
        .iter()
        .filter_map(|hook| hooks::try_out(*hook).err())
        .map(|refusal| refusal.to_string())
        .collect();
    if refused.is_empty() {
        let names: Vec<_> = hooks.iter().map(|h| h.program).collect();
        return Finding::ok(check, format!("{}: {purpose}", names.join(", ")));
    }
    let means = if hooks == FEXIT {
        "failed execs of these kinds are not counted; capture.failures = \"tracepoint\" counts all, \
         but slows every system call"
    } else {
        "another hook may do the same"
    };
    Finding::less(check, refused.join("; "), means)
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
        Ok(capture) => Finding::ok(
            check,
            format!("{} KiB", capture.means().buffer_bytes / 1024),
        ),
        Err(error) => Finding::less(check, error.to_string(), "the other one may do"),
    }
}

fn preemption() -> Finding {
    let has_fexit = FEXIT.iter().any(|hook| hooks::try_out(*hook).is_ok());
    let at_tracepoints = treatment(Place::Tracepoint).may_skip;
    let of_fexit = has_fexit && treatment(Place::Fexit).may_skip;
    let found = match (at_tracepoints, of_fexit) {
        (false, false) => "none: each program is loaded once",
        (false, true) => "of fexit programs: each of these is loaded three times",
        (true, false) => "of programs at tracepoints: each of these is loaded three times",
        (true, true) => "of all programs: each is loaded three times",
    };
    Finding::ok("preemption", found)
}
