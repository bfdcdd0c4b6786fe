//! The privileges that the daemon needs, and those that it drops.

use std::fs::Permissions;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use landlock::{ABI, Access, AccessFs, CompatLevel, Compatible, Ruleset, RulesetAttr};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};
use testkit::compiled::inside;
use testkit::confined::{public_copy, unit_capabilities};
use testkit::daemon::{Daemon, code, configured};
use testkit::paths::public_dir;
use testkit::programs::{Programs, exec_times};

#[test]
fn no_thread_keeps_the_user_or_a_capability_of_root() {
    let daemon = Daemon::start(&[]);
    daemon.scrape();
    assert_unprivileged(&daemon);
}

/// Asserts that no thread of the daemon has the user or a capability of root.
#[track_caller]
pub(crate) fn assert_unprivileged(daemon: &Daemon) {
    // Some kernels require CAP_BPF for each use of a map.
    let kept = if requires_cap_bpf_for_each_use_of_a_map() {
        "\t0000008000000000" // CAP_BPF, which is 39
    } else {
        "\t0000000000000000"
    };
    let tasks = std::fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap();
    let mut threads = 0;
    for task in tasks {
        let status = std::fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        for (set, left) in [
            ("CapInh", "\t0000000000000000"),
            ("CapPrm", kept),
            ("CapEff", kept),
            ("CapAmb", "\t0000000000000000"),
            ("Uid", "\t65534\t65534\t65534\t65534"),
            ("Gid", "\t65534\t65534\t65534\t65534"),
            ("Groups", "\t "),
        ] {
            let line = status.lines().find(|line| line.starts_with(set)).unwrap();
            assert_eq!(line.split_once(':').unwrap().1, left, "{line}");
        }
        assert!(status.contains("NoNewPrivs:\t1"));
        threads += 1;
    }
    assert!(threads >= 3, "reader, aggregator and server");
}

/// Kernels before 5.19 require it, unless unprivileged users may call bpf(2).
fn requires_cap_bpf_for_each_use_of_a_map() -> bool {
    let kernel = |name| std::fs::read_to_string(format!("/proc/sys/kernel/{name}"));
    let release = kernel("osrelease").unwrap();
    let mut numbers = release.split('.').map(|part| part.parse::<u32>().ok());
    let version = (numbers.next().flatten(), numbers.next().flatten());
    version < (Some(5), Some(19)) && kernel("unprivileged_bpf_disabled").unwrap().trim() != "0"
}

#[test]
fn the_running_daemon_can_read_no_secret_and_write_nothing() {
    let dir = public_dir();
    let path = |name| dir.path().join(name).display().to_string();
    let (public, new) = (path("public"), path("new"));
    std::fs::write(&public, "everybody can read this").unwrap();
    std::fs::set_permissions(dir.path(), Permissions::from_mode(0o777)).unwrap();
    let made = "/etc/made-by-execsnoopd";
    let mut daemon = Daemon::start_with(&["--config=/dev/null"], |command| {
        command
            .env("LD_PRELOAD", inside())
            .env("READ", format!("/etc/shadow:/etc/passwd:{public}"))
            .env("CREATE", format!("{made}:{new}"));
    });
    daemon.scrape();
    let (denied, allowed) = (Errno::ACCESS.raw_os_error(), 0);
    // Without Landlock, the daemon can access the files that every user can access.
    let landlock = if has_landlock() { denied } else { allowed };
    for (what, path, expected) in [
        ("READ", "/etc/shadow", denied),
        ("READ", "/etc/passwd", allowed),
        ("READ", &public, landlock),
        ("CREATE", made, denied),
        ("CREATE", &new, landlock),
    ] {
        let line = daemon.await_log(&format!("inside {what} {path} "));
        assert!(line.ends_with(&format!(" {expected}")), "{line}");
    }
    assert!(!Path::new(made).exists());
}

fn has_landlock() -> bool {
    let ruleset = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    let ruleset = ruleset.handle_access(AccessFs::from_all(ABI::V1));
    ruleset.and_then(Ruleset::create).is_ok()
}

/// The user and group IDs in `/proc/PID/status`.
fn ids(pid: u32) -> [String; 2] {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    ["Uid:", "Gid:"].map(|set| {
        let line = status.lines().find_map(|line| line.strip_prefix(set));
        line.unwrap().split_whitespace().next().unwrap().to_owned()
    })
}

#[test]
fn root_becomes_the_user_of_the_configuration() {
    for (user, id) in [("12345", "12345"), ("root", "0")] {
        let (daemon, _dir) = configured(&format!("run_as = \"{user}\"\n"));
        daemon.scrape();
        assert_eq!(ids(daemon.pid()), [id, id]);
    }
}

#[test]
fn with_a_user_that_does_not_exist_yet_the_daemon_exits_with_1() {
    let dir = public_dir();
    let file = dir.path().join("config.toml");
    std::fs::write(&file, "run_as = \"no-such-user\"\n").unwrap();
    let daemon = Command::new(env!("CARGO_BIN_EXE_execsnoopd"))
        .arg("--config")
        .arg(&file)
        .output();
    let output = daemon.unwrap();
    assert_eq!(code(output.status), 1);
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.contains("no-such-user"), "{message}");
}

#[test]
fn root_without_the_capabilities_to_become_nobody_exits_with_77_and_names_them() {
    for (lost, missing) in [
        ("-setuid", "needs CAP_SETUID;"),
        ("-setgid,-setuid", "needs CAP_SETUID and CAP_SETGID;"),
    ] {
        let output = Command::new("setpriv")
            .arg(format!("--bounding-set={lost}"))
            .arg("--inh-caps=-all")
            .arg(env!("CARGO_BIN_EXE_execsnoopd"))
            .args(["--config=/dev/null", "--web.listen-address=127.0.0.1:0"])
            .output()
            .expect("setpriv (util-linux) runs");
        assert_eq!(code(output.status), 77);
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(message.contains(missing), "{message}");
    }
}

#[test]
fn a_trace_that_root_starts_does_not_run_as_root() {
    let mut trace = Command::new(env!("CARGO_BIN_EXE_execsnoopd"))
        .arg("trace")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut stderr = BufReader::new(trace.stderr.take().unwrap());
    stderr.read_line(&mut line).unwrap();
    assert!(line.contains("tracing by"), "{line}");
    assert_eq!(ids(trace.id()), ["65534", "65534"]);
    kill_process(Pid::from_child(&trace), Signal::INT).unwrap();
    assert_eq!(code(trace.wait().unwrap()), 0);
}

#[test]
fn a_reload_of_a_file_that_only_root_can_read_fails_and_names_the_user() {
    let (mut daemon, dir) = configured("");
    let config = dir.path().join("config.toml");
    std::fs::set_permissions(&config, Permissions::from_mode(0o600)).unwrap();
    daemon.signal(Signal::HUP);
    let line = daemon.await_log("configuration not reloaded");
    assert!(line.contains("user ID 65534 may not read it"), "{line}");
    std::fs::set_permissions(&config, Permissions::from_mode(0o644)).unwrap();
    daemon.signal(Signal::HUP);
    daemon.await_log("\"message\":\"configuration reloaded\"");
}

#[test]
fn the_two_capabilities_of_the_unit_suffice() {
    let programs = Programs::new();
    let (program, _dir) = public_copy();
    let daemon = Daemon::spawn(unit_capabilities(&program));
    exec_times(&programs.named("by-nobody"), 30);
    let scrape = daemon.scrape();
    assert_eq!(scrape.execs_of("by-nobody"), 30.0);
    scrape.assert_ledger_closes();
    // From level 3 on, which Debian and Ubuntu have added, perf_event_open(2) is refused to a process
    // with these two capabilities. The daemon then uses the ring buffer.
    let paranoid = std::fs::read_to_string("/proc/sys/kernel/perf_event_paranoid").unwrap();
    let transport = match paranoid.trim().parse().unwrap() {
        ..=2 => "perf",
        3.. => "ringbuf",
    };
    let transport = format!("execsnoop_transport_info{{transport=\"{transport}\"}}");
    assert_eq!(scrape.value(&transport), 1.0);
}

#[test]
fn with_one_capability_the_daemon_exits_with_77_and_names_the_other() {
    let (program, _dir) = public_copy();
    for (has, lacks) in [("bpf", "CAP_PERFMON"), ("perfmon", "CAP_BPF")] {
        let output = Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(format!("--inh-caps=-all,+{has}"))
            .arg(format!("--ambient-caps=-all,+{has}"))
            .arg(&program)
            .output()
            .expect("setpriv (util-linux) runs");
        assert_eq!(code(output.status), 77);
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(
            message.contains(&format!("needs {lacks}, which")),
            "{message}"
        );
    }
}
