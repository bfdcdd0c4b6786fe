//! The report of `execsnoopd doctor`, with everything available and with something missing.

use std::process::{Command, Output};

use serde_json::Value;
use testkit::confined::{public_copy, unit_capabilities};
use testkit::daemon::code;

/// Runs `doctor` in a mount namespace after the shell commands in `prepare`. Returns the findings and
/// the exit status.
fn report(prepare: &str) -> (Vec<Value>, i32) {
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c"])
        .arg(format!("{prepare}; exec \"$0\" doctor --json"))
        .arg(env!("CARGO_BIN_EXE_execsnoopd"))
        .output()
        .expect("unshare runs");
    findings(&output)
}

fn findings(output: &Output) -> (Vec<Value>, i32) {
    let findings = serde_json::from_slice(&output.stdout).expect("an array");
    (findings, code(output.status))
}

#[track_caller]
fn of<'a>(findings: &'a [Value], check: &str) -> &'a Value {
    let found = findings.iter().find(|finding| finding["check"] == check);
    found.unwrap_or_else(|| panic!("{check} is not in {findings:?}"))
}

const NO_TRACEFS: &str = "for fs in tracing debug; do umount -l /sys/kernel/$fs 2>/dev/null; done";

#[test]
fn on_a_capable_host_the_report_names_the_hooks_and_possible_improvements() {
    let (report, status) = report(NO_TRACEFS);
    assert_eq!(status, 0);
    for check in [
        "BTF",
        "capabilities",
        "execs",
        "exits",
        "ring buffer",
        "the daemon",
    ] {
        let is_ok = |f: &&Value| f["check"] == check && f["status"] == "ok";
        assert!(report.iter().any(|f| is_ok(&f)), "{check}: {report:?}");
    }
    let daemon = of(&report, "the daemon")["found"].as_str().unwrap();
    assert!(
        daemon.contains("execs by tp_btf/sched_process_exec"),
        "{daemon}"
    );
    let tracefs = of(&report, "tracefs");
    assert_eq!(tracefs["status"], "less");
    assert_eq!(tracefs["fix"], "mount -t tracefs nodev /sys/kernel/tracing");
    for finding in &report {
        assert_eq!(
            finding["status"] == "ok",
            finding["means"].is_null(),
            "{finding}"
        );
    }
}

#[test]
fn every_member_and_every_check_is_documented() {
    let documented = include_str!("../../docs/doctor.md");
    let (report, _) = report("mount -t tracefs nodev /sys/kernel/tracing 2>/dev/null");
    assert_eq!(of(&report, "tracefs")["status"], "ok");
    for finding in &report {
        for key in finding.as_object().unwrap().keys() {
            assert!(documented.contains(&format!("| `{key}` |")), "{key}");
        }
        let check = finding["check"].as_str().unwrap();
        assert!(documented.contains(&format!("| {check} |")), "{check}");
    }
}

#[test]
fn without_capabilities_the_report_names_them_and_exits_like_the_daemon() {
    let (program, _dir) = public_copy();
    let output = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(&program)
        .args(["doctor", "--json"])
        .output()
        .expect("setpriv (util-linux) runs");
    let (report, status) = findings(&output);
    assert_eq!(status, 77);
    let capabilities = of(&report, "capabilities");
    assert_eq!(capabilities["status"], "missing");
    assert_eq!(capabilities["found"], "CAP_BPF and CAP_PERFMON missing");
    assert_eq!(of(&report, "hooks and buffers")["found"], "not tried");
    assert_eq!(of(&report, "the daemon")["status"], "missing");
    assert!(
        report
            .iter()
            .all(|finding| finding["check"] != "preemption")
    );
}

#[test]
fn the_two_capabilities_of_the_unit_suffice() {
    let (program, _dir) = public_copy();
    let mut command = unit_capabilities(&program);
    let (report, status) = findings(&command.args(["doctor", "--json"]).output().unwrap());
    assert_eq!(status, 0, "{report:?}");
    assert_eq!(of(&report, "capabilities")["status"], "ok");
}

#[test]
fn without_btf_the_report_names_it_and_exits_with_69() {
    let (report, status) = report("mount -t tmpfs none /sys/kernel/btf");
    assert_eq!(status, 69);
    let btf = of(&report, "BTF");
    assert_eq!(btf["status"], "missing");
    assert!(
        btf["fix"]
            .as_str()
            .unwrap()
            .contains("CONFIG_DEBUG_INFO_BTF")
    );
}

#[test]
fn if_only_cgroups_of_version_1_are_mounted_the_report_names_the_empty_labels() {
    let only_v1 = "umount -R -l /sys/fs/cgroup && mount -t tmpfs none /sys/fs/cgroup && mkdir /sys/fs/cgroup/v1 && \
                   mount -t cgroup -o none,name=execsnoopd none /sys/fs/cgroup/v1";
    let (report, status) = report(only_v1);
    assert_eq!(status, 0);
    let cgroups = of(&report, "cgroups");
    assert_eq!(cgroups["found"], "version 1 alone");
    let means = cgroups["means"].as_str().unwrap();
    assert!(
        means.contains("unit, slice and container are empty"),
        "{means}"
    );
}

#[test]
fn the_text_report_marks_every_finding() {
    let output = Command::new(env!("CARGO_BIN_EXE_execsnoopd"))
        .arg("doctor")
        .output()
        .unwrap();
    assert_eq!(code(output.status), 0);
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.starts_with("✓ kernel                 Linux "),
        "{text}"
    );
    let last = text.lines().last().unwrap();
    assert!(
        last.starts_with("✓ the daemon             runs: execs by "),
        "{text}"
    );
    for line in text.lines() {
        assert!(
            ["✓ ", "– ", "✗ ", "   "]
                .iter()
                .any(|mark| line.starts_with(mark)),
            "{line}"
        );
    }
}
