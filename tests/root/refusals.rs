//! System calls that the kernel refuses during the start, once or a few times in a row. The daemon then
//! runs with every hook that this kernel supports, or exits with 1 and names the limit.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::thread::scope;

use rustix::process::{Pid, Signal, kill_process};
use testkit::daemon::{code, field};

/// Starts the daemon through this command and stops it as soon as it listens. Returns the hooks in use,
/// or the exit status and the last line of the log.
fn start(mut command: Command) -> Result<[String; 3], (i32, String)> {
    let mut daemon = command
        .arg(env!("CARGO_BIN_EXE_execsnoopd"))
        .args(["--config=/dev/null", "--web.listen-address=127.0.0.1:0"])
        .arg("--log.format=json")
        .stderr(Stdio::piped())
        .spawn()
        .expect("strace and prlimit run");
    let log = BufReader::new(daemon.stderr.take().unwrap());
    let mut hooks = None;
    let mut last = String::new();
    for line in log.lines().map(Result::unwrap) {
        if line.contains("\"message\":\"attached\"") {
            let of = |kind| field(&line, kind).to_owned();
            hooks = Some(["execs", "failures", "exits"].map(of));
        } else if line.contains("\"message\":\"listening\"") {
            let _ = kill_process(Pid::from_child(&daemon), Signal::TERM);
        }
        last = line;
    }
    match (code(daemon.wait().unwrap()), hooks) {
        (0, Some(hooks)) => Ok(hooks),
        (status, _) => Err((status, last)),
    }
}

/// A command that runs the daemon and makes its system calls fail. strace does so, as a separate
/// process (`-D`).
fn injecting(call: &str, error: &str, when: &str) -> Command {
    let mut command = Command::new("strace");
    command
        .args(["-D", "-f", "-qq", "-o", "/dev/null"])
        .arg(format!("--trace={call}"))
        .arg(format!("--inject={call}:error={error}:when={when}"));
    command
}

#[test]
fn if_a_system_call_fails_the_daemon_uses_every_hook_or_exits_with_1() {
    let undisturbed = start(injecting("bpf", "ENOMEM", "60000")).unwrap();
    let mut cases = Vec::new();
    for error in ["ENOMEM", "EMFILE"] {
        // Seven calls in a row, at positions up to the end of the start.
        let rows = (1..300).step_by(13);
        cases.extend(rows.map(|first| ("bpf", error, format!("{first}..{}", first + 6))));
        // libbpf's probes of the kernel, whose results libbpf remembers.
        cases.extend((2..46).step_by(3).map(|n| ("bpf", error, n.to_string())));
    }
    // Errors that would mean that the kernel does not support a hook if they occurred every time.
    for error in ["EINVAL", "EPERM"] {
        cases.extend((20..46).step_by(3).map(|n| ("bpf", error, n.to_string())));
    }
    // Any other error after the choice of the programs: in the last rows of calls, and of the buffer.
    for error in ["EINVAL", "E2BIG", "ENODEV", "EBUSY", "ENOMEM", "EMFILE"] {
        cases.extend((1..=2).map(|n| ("perf_event_open", error, n.to_string())));
    }
    for error in ["E2BIG", "ENOSPC"] {
        cases.extend((1..300).step_by(7).map(|n| ("bpf", error, n.to_string())));
    }
    let halves = cases.split_at(cases.len() / 2);
    let undisturbed = &undisturbed;
    scope(|scope| {
        for half in [halves.0, halves.1] {
            scope.spawn(move || {
                for (call, error, when) in half {
                    match start(injecting(call, error, when)) {
                        Ok(hooks) => assert_eq!(hooks, *undisturbed, "{call} {error} {when}"),
                        Err((status, log)) => {
                            assert_eq!(status, 1, "{call} {error} {when}: {log}");
                            assert!(
                                log.contains("The limit is") || !log.contains("refused"),
                                "{call} {error} {when}: {log}"
                            );
                        }
                    }
                }
            });
        }
    });
}

#[test]
fn with_few_descriptors_the_daemon_runs_with_every_hook_or_names_the_limit() {
    let limited = |descriptors: u32| {
        let mut command = Command::new("prlimit");
        command.arg(format!("--nofile={descriptors}"));
        start(command)
    };
    let undisturbed = limited(1000).unwrap();
    for descriptors in (5..=60).step_by(3).chain([16]) {
        match limited(descriptors) {
            Ok(hooks) => assert_eq!(hooks, undisturbed, "{descriptors}"),
            Err((status, log)) => {
                assert!(descriptors < 45, "{log}");
                assert_eq!(status, 1, "{log}");
                assert!(log.contains("Too many open files"), "{log}");
                let is_named = log.contains(&format!("{descriptors} (RLIMIT_NOFILE"));
                assert!(is_named || !log.contains("refused"), "{log}");
            }
        }
    }
    assert!(limited(16).is_err());
}
