//! The container image, with the privileges of a pod of the `DaemonSet`. Building the image requires
//! Debian or a derived distribution (`packaging/container/rootfs`).

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::thread::available_parallelism;

use execsnoopd::config;
use rustix::io::Errno;
use serde_json::json;
use testkit::compiled::nop;
use testkit::daemon::{Daemon, code};
use testkit::docs::KUBERNETES;
use testkit::host;
use testkit::http::{Scrape, get};
use testkit::limits::Limited;
use testkit::paths::repository;
use testkit::pod::{Container, Privileges, mebibytes, seccomp_without};
use testkit::programs::{Programs, exec_times};

const TIMES: u32 = 100;

/// The number of CPUs for which the documentation says that the pod's memory limit is sufficient.
const CPUS: usize = 64;

/// Capability sets as `/proc/PID/status` shows them.
const NONE: &str = "0000000000000000";
const BPF_AND_PERFMON: &str = "000000c000000000";
const SYS_ADMIN: &str = "0000000000200000";
const WITH_SETUID_AND_SETGID: &str = "000000c0000000c0";

fn counts_everything(privileges: &Privileges, granted: &str, transport: &str) {
    let programs = Programs::new();
    let pod = Container::of_image(privileges);
    let daemon = Daemon::spawn(pod.run());
    assert_eq!(pod.status("CapBnd"), granted);
    assert_eq!(pod.status("CapPrm"), NONE, "dropped");
    assert_eq!(pod.status("CapEff"), NONE);
    assert_eq!(pod.status("CapInh"), NONE);
    assert_eq!(pod.status("CapAmb"), NONE);
    assert_eq!(pod.status("NoNewPrivs"), "1");
    assert_eq!(pod.status("Seccomp"), "2");
    for probe in ["/-/healthy", "/-/ready"] {
        assert_eq!(pod.within(|at| get(at, probe)).status, 200, "{probe}");
        let port = |at: SocketAddr| SocketAddr::new(at.ip(), 10191);
        assert_eq!(pod.within(|at| get(port(at), probe)).status, 200, "{probe}");
    }

    let process = std::process::id();
    let (on_host, in_container) = (format!("on-{process}"), format!("in-{process}"));
    exec_times(&programs.named(&on_host), TIMES);
    let workload = Container::of_workload(nop(), &in_container, TIMES);
    assert_eq!(code(workload.run().status().unwrap()), 0);

    let scrape = pod.within(Scrape::of);
    assert_eq!(scrape.execs_of(&on_host), f64::from(TIMES));
    let sample = format!(
        "execsnoop_execs_by_container_comm_total{{container=\"{}\",comm=\"{in_container}\"}}",
        workload.short_id()
    );
    assert_eq!(scrape.value(&sample), f64::from(TIMES));
    let transport = format!("execsnoop_transport_info{{transport=\"{transport}\"}}");
    assert_eq!(scrape.value(&transport), 1.0);
    // The daemon reads these values from the container's own /proc.
    assert!(scrape.value("process_start_time_seconds") > 0.0);
    assert!(scrape.value("process_open_fds") > 0.0);
    scrape.assert_ledger_closes();
    daemon.stop();
}

#[test]
fn a_pod_counts_what_the_node_and_other_containers_execute() {
    counts_everything(&Privileges::of_manifest(), BPF_AND_PERFMON, "perf");
}

#[test]
fn docker_grants_the_two_capabilities_or_the_one_that_includes_them() {
    for (added, granted) in [
        (&["CAP_BPF", "CAP_PERFMON"][..], BPF_AND_PERFMON),
        (&["CAP_SYS_ADMIN"], SYS_ADMIN),
    ] {
        counts_everything(&Privileges::of_docker(added), granted, "perf");
    }
}

#[test]
fn without_its_capabilities_the_image_starts_and_says_which_are_missing() {
    let privileges = Privileges::of_docker(&[]);
    let version = Container::of_command(&privileges, &["/usr/bin/execsnoopd", "--version"]);
    let output = version.run().output().unwrap();
    let expected = format!("execsnoopd {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected);

    let _exclusive = host::exclusive();
    for (added, missing) in [
        (&[][..], "CAP_BPF and CAP_PERFMON"),
        (&["CAP_BPF"], "CAP_PERFMON"),
        (&["CAP_PERFMON", "CAP_CHOWN"], "CAP_BPF"),
    ] {
        let pod = Container::of_image(&Privileges::of_docker(added));
        let output = pod.run().output().unwrap();
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(code(output.status), 77, "{message}");
        let expected = format!("needs {missing}, which this process does not have");
        assert!(message.contains(&expected), "{message}");
        assert!(message.contains("add the capabilities BPF and PERFMON, or SYS_ADMIN"));
    }
}

#[test]
fn without_perf_buffers_a_pod_counts_over_the_ring_buffer() {
    for errno in [Errno::PERM, Errno::NOSYS] {
        let privileges = Privileges {
            seccomp: seccomp_without("perf_event_open", errno.raw_os_error()),
            ..Privileges::of_manifest()
        };
        counts_everything(&privileges, BPF_AND_PERFMON, "ringbuf");
    }
}

#[test]
fn a_profile_that_forbids_bpf_is_named_as_the_reason() {
    let _exclusive = host::exclusive();
    // EPERM from the profile looks like a missing permission, ENOSYS like a missing system call.
    for (errno, status) in [(Errno::PERM, 77), (Errno::NOSYS, 69)] {
        let pod = Container::of_image(&Privileges {
            seccomp: seccomp_without("bpf", errno.raw_os_error()),
            ..Privileges::of_manifest()
        });
        let output = pod.run().output().unwrap();
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(code(output.status), status, "{message}");
        assert!(message.contains("seccomp"), "{message}");
    }
}

#[test]
fn a_pod_that_runs_as_root_counts_the_same() {
    // With the last two, root can become another user.
    let added = ["CAP_BPF", "CAP_PERFMON", "CAP_SETUID", "CAP_SETGID"];
    let privileges = Privileges {
        uid: 0,
        capabilities: json!({"bounding": added, "effective": added, "permitted": added}),
        ..Privileges::of_manifest()
    };
    counts_everything(&privileges, WITH_SETUID_AND_SETGID, "perf");
}

/// A daemon with a memory limit and the configuration of a pod. Its ring buffer is as large as on a
/// host with this number of CPUs.
fn with_ring_of(cpus: usize, limited: &Limited, dir: &Path) -> Command {
    let pages = cpus * config::Capture::default().buffer_pages;
    let pages = pages.div_ceil(available_parallelism().unwrap().get());
    let pod = repository().join("packaging/kubernetes/base/config.toml");
    let capture = format!(
        "[capture]\ntransport = \"ringbuf\"\nbuffer_pages = {}\n",
        pages.next_power_of_two()
    );
    let config = dir.join("config.toml");
    fs::write(&config, capture + &fs::read_to_string(pod).unwrap()).unwrap();
    let mut command = limited.command(env!("CARGO_BIN_EXE_execsnoopd"));
    command.arg("--config").arg(config);
    command
}

#[test]
fn the_memory_limit_of_a_pod_is_sufficient_for_the_documented_number_of_cpus() {
    let limit = mebibytes();
    let documented =
        format!("The limit of {limit} MiB is sufficient for nodes with up to {CPUS} CPUs");
    assert!(KUBERNETES.contains(&documented), "{documented}");
    let programs = Programs::new();
    let program = programs.named("in-the-limit");
    let limited = Limited::memory(limit << 20);
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::spawn(with_ring_of(CPUS, &limited, dir.path()));
    exec_times(&program, TIMES);
    let scrape = daemon.scrape();
    assert_eq!(scrape.execs_of("in-the-limit"), f64::from(TIMES));
    scrape.assert_ledger_closes();
    // Full views, and unread answers, which the kernel holds, need the remaining 32 MiB.
    let used = limited.memory_usage() >> 20;
    assert!(used + 32 <= limit, "{used} MiB at the start");
    assert_eq!(limited.oom_kills(), 0);
    daemon.stop();
}

#[test]
fn if_the_buffer_exceeds_the_memory_limit_the_error_names_it() {
    let _exclusive = host::exclusive();
    let limited = Limited::memory(mebibytes() << 20);
    let dir = tempfile::tempdir().unwrap();
    let output = with_ring_of(4 * CPUS, &limited, dir.path())
        .output()
        .unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(code(output.status), 1, "{message}");
    assert!(message.contains("lower capture.buffer_pages"), "{message}");
}
