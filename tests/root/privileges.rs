//! The privileges that the daemon needs, and those that it gives up.

use std::process::Command;

use testkit::confined::{public_copy, unit_capabilities};
use testkit::daemon::{Daemon, code};
use testkit::programs::{Programs, exec_times};

#[test]
fn no_thread_keeps_a_capability_except_what_the_kernel_requires_for_each_use_of_a_map() {
    let daemon = Daemon::start(&[]);
    daemon.scrape();
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
        ] {
            let line = status.lines().find(|line| line.starts_with(set)).unwrap();
            assert!(line.ends_with(left), "{line}");
        }
        assert!(status.contains("NoNewPrivs:\t1"));
        threads += 1;
    }
    assert!(threads >= 3, "reader, aggregator and server");
}

/// Kernels before 5.19 do, unless unprivileged users may call bpf(2).
fn requires_cap_bpf_for_each_use_of_a_map() -> bool {
    let kernel = |name| std::fs::read_to_string(format!("/proc/sys/kernel/{name}"));
    let release = kernel("osrelease").unwrap();
    let mut numbers = release.split('.').map(|part| part.parse::<u32>().ok());
    let version = (numbers.next().flatten(), numbers.next().flatten());
    version < (Some(5), Some(19)) && kernel("unprivileged_bpf_disabled").unwrap().trim() != "0"
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
    // A patch of Debian and Ubuntu refuses perf_event_open(2) to these two capabilities. The daemon
    // then uses the ring buffer.
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
