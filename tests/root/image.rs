//! The image in a pod of the `DaemonSet`: what it needs from a node. The image is built from files that
//! dpkg's database names.

use std::net::SocketAddr;

use rustix::io::Errno;
use serde_json::Value;
use testkit::compiled::nop;
use testkit::daemon::{Daemon, code};
use testkit::host;
use testkit::http::{Scrape, get};
use testkit::pod::{Container, seccomp, seccomp_without, uid};
use testkit::programs::{Programs, exec_times};

const TIMES: u32 = 100;

/// The bits of `CAP_BPF` and `CAP_PERFMON`.
const GRANTED: &str = "000000c000000000";
/// `CAP_SETGID` and `CAP_SETUID` as well.
const GRANTED_TO_ROOT: &str = "000000c0000000c0";
const NONE: &str = "0000000000000000";

fn counts_everything(seccomp: &Value, uid: u32, transport: &str) {
    let programs = Programs::new();
    let pod = Container::of_image(seccomp, uid);
    let daemon = Daemon::spawn(pod.run());
    let granted = if uid == 0 { GRANTED_TO_ROOT } else { GRANTED };
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
    // These come from the container's own /proc.
    assert!(scrape.value("process_start_time_seconds") > 0.0);
    assert!(scrape.value("process_open_fds") > 0.0);
    scrape.assert_ledger_closes();
    daemon.stop();
}

#[test]
fn a_pod_counts_what_the_node_and_other_containers_execute() {
    counts_everything(&seccomp(), uid(), "perf");
}

#[test]
fn without_perf_buffers_a_pod_counts_over_the_ring_buffer() {
    for errno in [Errno::PERM, Errno::NOSYS] {
        let profile = seccomp_without("perf_event_open", errno.raw_os_error());
        counts_everything(&profile, uid(), "ringbuf");
    }
}

#[test]
fn a_profile_that_forbids_bpf_is_named_as_the_reason() {
    let _exclusive = host::exclusive();
    // The error number of the profile tells a missing permission from a missing system call.
    for (errno, status) in [(Errno::PERM, 77), (Errno::NOSYS, 69)] {
        let profile = seccomp_without("bpf", errno.raw_os_error());
        let pod = Container::of_image(&profile, uid());
        let output = pod.run().output().unwrap();
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(code(output.status), status, "{message}");
        assert!(message.contains("seccomp"), "{message}");
    }
}

#[test]
fn without_capabilities_the_image_starts_and_names_what_is_missing() {
    let _exclusive = host::exclusive();
    for (granted, args, status, expected) in [
        (&[][..], &["--version"][..], 0, "execsnoopd "),
        (&[], &[], 77, "needs CAP_BPF and CAP_PERFMON, which"),
        (&["CAP_BPF"], &[], 77, "needs CAP_PERFMON, which"),
    ] {
        let pod = Container::of_image_with(&seccomp(), uid(), granted, args);
        let output = pod.run().output().unwrap();
        let printed = [&output.stdout[..], &output.stderr].concat();
        let printed = String::from_utf8_lossy(&printed);
        assert_eq!(code(output.status), status, "{printed}");
        assert!(printed.contains(expected), "{printed}");
    }
}

#[test]
fn where_the_runtime_does_not_know_the_capabilities_sys_admin_replaces_them() {
    let programs = Programs::new();
    let granted = ["CAP_SYS_ADMIN", "CAP_SETUID", "CAP_SETGID"];
    let pod = Container::of_image_with(&seccomp(), 0, &granted, &["--log.format=json"]);
    let _daemon = Daemon::spawn(pod.run());
    assert_eq!(pod.status("CapPrm"), NONE, "dropped");
    assert!(pod.status("Uid").starts_with("65534\t"));
    let name = format!("sys-{}", std::process::id());
    exec_times(&programs.named(&name), TIMES);
    let scrape = pod.within(Scrape::of);
    assert_eq!(scrape.execs_of(&name), f64::from(TIMES));
}

#[test]
fn a_pod_of_root_counts_the_same() {
    counts_everything(&seccomp(), 0, "perf");
}
