//! Failed execs, which fexit programs count where the kernel supports them, and tracepoints elsewhere;
//! and the classic mode, which counts attempts.

use std::path::Path;
use std::process::Command;
use std::thread::scope;

use testkit::daemon::{Daemon, code};
use testkit::guest::in_a_guest;
use testkit::host;
use testkit::http::Scrape;
use testkit::mounts::{in_mount_namespace, with_tracefs};
use testkit::programs::{Programs, exec_times, go, set_executable};

fn failures(scrape: &Scrape, errno: &str) -> f64 {
    let sample = format!("execsnoop_exec_failures_total{{errno=\"{errno}\"}}");
    scrape.find(&sample).unwrap_or(0.0)
}

/// Makes an exec of `program` fail with `errno` this many times, in one process.
fn fail(errno: &str, program: &Path, times: u32) {
    let status = go(errno, program, times);
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
    std::os::unix::fs::symlink(&endless, &endless).unwrap();
    let ways: [(&str, &Path, u32); 8] = [
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
    for (errno, program, times) in ways {
        fail(errno, program, times);
    }
    // A check (AT_EXECVE_CHECK) executes nothing, so it is no failed exec. Before Linux 6.14 its error
    // is EINVAL.
    fail("failing-check", &endless, 29);
    let after = daemon.scrape();
    assert_eq!(failures(&after, "EINVAL"), failures(&before, "EINVAL"));
    for (errno, _, times) in ways {
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
    let (daemon, _config) = with_tracefs("[capture]\nfailures = \"tracepoint\"\n");
    let program = programs.named("in-the-flood");
    scope(|scope| {
        scope.spawn(|| fail("ENAMETOOLONG", &program, FAILURES));
        scope.spawn(|| exec_times(&program, EXECS));
    });
    let scrape = daemon.scrape();
    assert_eq!(failures(&scrape, "ENAMETOOLONG"), f64::from(FAILURES));
    assert_eq!(scrape.execs_of("in-the-flood"), f64::from(EXECS));
    assert_eq!(scrape.sum("execsnoop_lost_events_total"), 0.0);
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
