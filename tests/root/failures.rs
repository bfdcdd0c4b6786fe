//! Failed execs, which fexit programs count where the kernel supports them, and tracepoints elsewhere;
//! and the classic mode, which counts attempts.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::thread::scope;

use rustix::process::Signal;
use testkit::compiled::ways;
use testkit::daemon::{Daemon, code};
use testkit::guest::in_a_guest;
use testkit::host;
use testkit::http::Scrape;
use testkit::mounts::{in_mount_namespace, with_tracefs};
use testkit::programs::{Programs, exec_times, set_executable};

fn failures(scrape: &Scrape, errno: &str) -> f64 {
    let sample = format!("execsnoop_exec_failures_total{{errno=\"{errno}\"}}");
    scrape.find(&sample).unwrap_or(0.0)
}

const BY_COMM: &str = "execsnoop_exec_failures_by_comm_total";
const UNATTRIBUTED: &str = "execsnoop_unattributed_exec_failures_total";

/// A configuration with a view that counts failed execs.
const WITH_VIEW: &str = "[capture]\nfailures = \"tracepoint\"\n[[view]]\nlabels = [\"comm\"]\n\
    metrics = [\"execs\", \"failures\"]\n";

/// The failed execs of a program.
fn failures_of(scrape: &Scrape, comm: &str, errno: &str) -> f64 {
    scrape.value(&format!("{BY_COMM}{{comm=\"{comm}\",errno=\"{errno}\"}}"))
}

/// Makes an exec of `program` fail with `errno` this many times, in one process.
fn fail(errno: &str, program: &Path, times: u32) {
    fail_as(ways(), errno, program, times);
}

/// Does the same with a copy of [`ways`], so that the process has the name of the copy.
fn fail_as(ways: &Path, errno: &str, program: &Path, times: u32) {
    let mut command = Command::new(ways);
    let status = command
        .arg(errno)
        .arg(program)
        .arg(times.to_string())
        .status();
    let status = status.expect("the copy can be executed");
    assert!(status.success(), "{errno}: {status}");
}

#[test]
fn every_failure_is_counted_by_its_error() {
    let programs = Programs::new();
    let (daemon, _config) = with_tracefs("[capture]\nfailures = \"tracepoint\"\n");
    let not_a_program = programs.path().join("not-a-program");
    std::fs::write(&not_a_program, "\u{7f}").unwrap();
    set_executable(&not_a_program);
    let busy = programs.copied(testkit::compiled::nop(), "busy");
    let endless = programs.path().join("endless");
    symlink(&endless, &endless).unwrap();
    let errors: [(&str, &Path, u32); 8] = [
        ("ENOENT", &busy, 3),
        ("EACCES", &busy, 5),
        ("ENOEXEC", &not_a_program, 7),
        ("E2BIG", &busy, 11),
        ("ELOOP", &endless, 13),
        ("ENAMETOOLONG", &busy, 17),
        ("EFAULT", &busy, 19),
        ("ETXTBSY", &busy, 23),
    ];
    let before = daemon.scrape();
    for (errno, program, times) in errors {
        fail(errno, program, times);
    }
    // A check (AT_EXECVE_CHECK) executes nothing, so it is no failed exec. Before Linux 6.14 its error
    // is EINVAL.
    fail("failing-check", &endless, 29);
    let after = daemon.scrape();
    assert_eq!(failures(&after, "EINVAL"), failures(&before, "EINVAL"));
    for (errno, _, times) in errors {
        let counted = failures(&after, errno) - failures(&before, errno);
        if matches!(errno, "ENOENT" | "EACCES") && !in_a_guest() {
            // Searching PATH for a program causes the same failures, so other programs may add some.
            assert!(counted >= f64::from(times), "{errno}: {counted}");
        } else {
            assert_eq!(counted, f64::from(times), "{errno}");
        }
    }
    assert_eq!(after.execs_of("not-a-program"), 0.0);
    after.assert_ledger_closes();
}

#[test]
fn no_exec_loses_its_count_or_its_details_in_a_flood_of_failures() {
    const FAILURES: u32 = 1_000_000;
    const EXECS: u32 = 1_000;
    let programs = Programs::new();
    let (daemon, _config) = with_tracefs(WITH_VIEW);
    let program = programs.named("in-the-flood");
    let flooding = programs.copied(ways(), "flooding");
    scope(|scope| {
        scope.spawn(|| fail_as(&flooding, "ENAMETOOLONG", &program, FAILURES));
        scope.spawn(|| exec_times(&program, EXECS));
    });
    let scrape = daemon.scrape();
    assert_eq!(failures(&scrape, "ENAMETOOLONG"), f64::from(FAILURES));
    let of_flooding = failures_of(&scrape, "flooding", "ENAMETOOLONG");
    assert_eq!(of_flooding, f64::from(FAILURES));
    assert_eq!(scrape.value(UNATTRIBUTED), 0.0);
    assert_eq!(scrape.execs_of("in-the-flood"), f64::from(EXECS));
    assert_eq!(scrape.sum("execsnoop_lost_events_total"), 0.0);
    scrape.assert_ledger_closes();
}

#[test]
fn a_view_counts_who_failed_and_with_which_error_while_the_reader_is_stopped() {
    let programs = Programs::new();
    let (daemon, _config) = with_tracefs(WITH_VIEW);
    let program = programs.copied(ways(), "fails");
    let endless = programs.path().join("endless");
    symlink(&endless, &endless).unwrap();
    daemon.signal(Signal::STOP);
    let errors = [
        ("ENOENT", 3),
        ("ELOOP", 5),
        ("ENAMETOOLONG", 7),
        ("EFAULT", 9),
    ];
    for (errno, times) in errors {
        fail_as(&program, errno, &endless, times);
    }
    // An exec that succeeds belongs to the program that it executes.
    let succeeds = programs.named("succeeds");
    exec_times(&succeeds, 2);
    daemon.signal(Signal::CONT);
    let scrape = daemon.scrape();
    for (errno, times) in errors {
        assert_eq!(
            failures_of(&scrape, "fails", errno),
            f64::from(times),
            "{errno}"
        );
    }
    let of_fails = scrape
        .family(BY_COMM)
        .filter(|(sample, _)| sample.contains("comm=\"fails\""));
    assert_eq!(of_fails.count(), errors.len());
    assert_eq!(failures_of(&scrape, "other", "ELOOP"), 0.0);
    assert_eq!(scrape.execs_of("fails"), 4.0);
    assert_eq!(scrape.execs_of("succeeds"), 2.0);
    assert_eq!(scrape.value(UNATTRIBUTED), 0.0);
    scrape.assert_ledger_closes();
}

#[test]
fn failures_under_more_names_than_the_tally_holds_are_other_and_hide_no_exec() {
    // The tally has room for 16 384 names.
    const NAMES: u32 = 20_000;
    let programs = Programs::new();
    let (daemon, _config) = with_tracefs(WITH_VIEW);
    let endless = programs.path().join("endless");
    symlink(&endless, &endless).unwrap();
    let visible = programs.named("not-hidden");
    daemon.signal(Signal::STOP);
    fail("names-that-fail", &endless, NAMES);
    exec_times(&visible, 3);
    daemon.signal(Signal::CONT);
    let scrape = daemon.scrape();
    assert_eq!(failures(&scrape, "ELOOP"), f64::from(NAMES));
    let unattributed = scrape.value(UNATTRIBUTED);
    assert!(
        (3_616.0..=f64::from(NAMES)).contains(&unattributed),
        "{unattributed}"
    );
    let by_comm = scrape
        .family(BY_COMM)
        .filter(|(sample, _)| sample.contains("ELOOP"));
    assert_eq!(by_comm.map(|(_, n)| n).sum::<f64>(), f64::from(NAMES));
    assert_eq!(scrape.execs_of("not-hidden"), 3.0);
    assert_eq!(scrape.value("execsnoop_unattributed_execs_total"), 0.0);
    scrape.assert_ledger_closes();
}

#[test]
fn the_classic_mode_counts_attempts_by_the_beginning_of_their_path() {
    let programs = Programs::new();
    let (daemon, _config) = with_tracefs("[capture]\nclassic = true\n");
    exec_times(&programs.named("classic"), 5);
    for _ in 0..3 {
        assert!(
            Command::new(programs.path().join("absent"))
                .status()
                .is_err()
        );
    }
    let path = programs.path().to_str().unwrap();
    let scrape = daemon.scrape();
    assert_eq!(scrape.execs_of(&path[..15]), 8.0);
    assert_eq!(scrape.execs_of("classic"), 0.0);
    for call in ["execve", "execveat"] {
        let hook = format!(
            "execsnoop_hook_info{{event=\"exec\",program=\"sys_enter_{call}\",type=\"tracepoint\"}}"
        );
        assert_eq!(scrape.value(&hook), 1.0);
    }
    let help = testkit::http::get(daemon.address, "/metrics").text();
    assert!(help.contains("# HELP execsnoop_execs_total Attempts to exec"));
    scrape.assert_ledger_closes();
    daemon.stop();
}

#[test]
fn options_that_need_tracefs_report_how_to_mount_it() {
    let _exclusive = host::exclusive();
    for (config, what) in [
        ("[capture]\nclassic = true\n", "capture.classic"),
        // Where fexit is supported, tracefs is not needed, so nothing is reported.
        ("[capture]\nfailures = \"tracepoint\"\n", "capture.failures"),
    ] {
        let unmount = "for fs in tracing debug; do umount -l /sys/kernel/$fs 2>/dev/null; done";
        let (mut command, _dir) = in_mount_namespace(unmount, config);
        command.args(["--web.listen-address=127.0.0.1:0", "--log.level=error"]);
        let mut child = command
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        if what == "capture.failures" && fexit_is_supported() {
            child.kill().unwrap();
            child.wait().unwrap();
            continue;
        }
        let output = child.wait_with_output().unwrap();
        assert_eq!(code(output.status), 69);
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(message.contains(what), "{message}");
        assert!(
            message.contains("mount -t tracefs nodev /sys/kernel/tracing"),
            "{message}"
        );
    }
}

fn fexit_is_supported() -> bool {
    let daemon = Daemon::start(&[]);
    let scrape = daemon.scrape();
    scrape
        .family("execsnoop_hook_info")
        .any(|(sample, _)| sample.contains("type=\"fexit\""))
}
