//! Tests of the alerts without `for`, with the unchanged rules and the configuration of the package.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use testkit::cgroups::Cgroup;
use testkit::compiled::ways;
use testkit::daemon::{configured, field};
use testkit::docs::{packaged_config, packaged_jobs, packaged_watches};
use testkit::programs::{Programs, exec, exec_times, go};
use testkit::prometheus::Prometheus;

/// The alerts that this file tests.
pub(crate) const DRIVEN: [&str; 5] = [
    "ExecsnoopSeriesOverflow",
    "ExecsnoopServiceUserShell",
    "ExecsnoopNetworkTool",
    "ExecsnoopSuspiciousExec",
    "ExecsnoopUnexpectedExec",
];

/// A service user, which need not have a name on this host.
const SERVICE_UID: u32 = 33;

/// Selects firing alerts with these labels. Alerts with `for` take longer to fire than this test
/// runs.
fn firing(alerts: &str) -> String {
    format!("ALERTS{{alertstate=\"firing\", {alerts}}}")
}

/// Executes a shell as a service user, from a program with this name.
fn shell_of_a_service_user(parent: &Path) {
    let status = Command::new(parent)
        .args(["posix_spawn", "/bin/sh", "1"])
        .stdin(Stdio::null())
        .uid(SERVICE_UID)
        .gid(SERVICE_UID)
        .status();
    assert!(status.expect("the program can be executed").success());
}

/// Executes a program in a service as its user.
fn run_in(service: &Cgroup, program: &Path, args: &[&str]) {
    let script = "echo 0 >\"$0/cgroup.procs\" && exec setpriv --clear-groups --reuid \"$@\"";
    let status = Command::new("sh")
        .args(["-c", script])
        .arg(service.directory())
        .arg(SERVICE_UID.to_string())
        .arg(program)
        .args(args)
        .stdin(Stdio::null())
        .status();
    assert!(status.expect("sh can be executed").success());
}

#[test]
fn a_storm_and_programs_that_match_watches_fire_the_shipped_alerts_and_no_others() {
    let programs = Programs::new();
    let mut config = packaged_config();
    config.view[0].max_series = 200; // fewer slots than the storm has names
    config.watch.extend(packaged_watches().watch);
    config.watch.extend(packaged_jobs().watch);
    let (mut daemon, _config) = configured(&toml::to_string(&config).unwrap());
    let prometheus = Prometheus::start(&format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}\n\
         rule_files: [rules/execsnoopd.*.yml]\n\
         scrape_configs:\n  - job_name: execsnoopd\n    static_configs:\n      \
         - targets: ['{}']\n",
        daemon.address
    ));
    // Programs that may start a shell: a container runtime, of an exec probe, and sshd.
    for parent in ["runc", "containerd-shim", "conmon", "crun", "sshd-session"] {
        shell_of_a_service_user(&programs.copied(ways(), parent));
    }
    let nginx = programs.copied(ways(), "nginx");
    let service = Cgroup::new("system.slice/nginx.service");
    run_in(&service, &nginx, &["exit", "-", "0"]);
    for watch in [
        "service-user-shell",
        "network-tool",
        "exec-from-memory",
        "nginx-unexpected",
    ] {
        let execs = format!("execsnoop_watch_execs_total{{watch=\"{watch}\"}} == 0");
        prometheus.query_until_there(&execs);
    }
    prometheus.query_until_there("execsnoop_series_overflow_total{view=\"comm\"}");
    let quiet = prometheus.query_until_there(&format!("absent({})", firing("")));
    assert!(quiet.contains(",\"1\"]"), "{quiet}");

    // The view is full of other names by the time of the shell.
    for name in 0..1000 {
        exec_times(&programs.named(format!("storm-{name}")), 2);
    }
    shell_of_a_service_user(&nginx);
    let converter = programs.named("converter");
    let args = ["posix_spawn", converter.to_str().unwrap(), "1"];
    run_in(&service, &nginx, &args);
    exec(&programs.named("ncat"));
    assert!(go("memfd", &programs.named("in-memory"), 50).success());

    let [overflow, shell, tool, suspicious, unexpected] = DRIVEN;
    let overflow = format!("alertname=\"{overflow}\", view=\"comm\", severity=\"info\"");
    prometheus.query_until_there(&firing(&overflow));
    let shell = format!("alertname=\"{shell}\", severity=\"critical\"");
    prometheus.query_until_there(&firing(&shell));
    let tool = format!("alertname=\"{tool}\", severity=\"warning\"");
    prometheus.query_until_there(&firing(&tool));
    let suspicious =
        format!("alertname=\"{suspicious}\", watch=\"exec-from-memory\", severity=\"warning\"");
    prometheus.query_until_there(&firing(&suspicious));
    let unexpected =
        format!("alertname=\"{unexpected}\", watch=\"nginx-unexpected\", severity=\"warning\"");
    prometheus.query_until_there(&firing(&unexpected));
    let others = format!("alertname!~\"{}\"", DRIVEN.join("|"));
    prometheus.query_until_there(&format!("absent({})", firing(&others)));

    let execs = daemon
        .scrape()
        .value("execsnoop_watch_execs_total{watch=\"service-user-shell\"}");
    assert_eq!(execs, 1.0);
    // The reader can read the buffers of other CPUs, with later execs, first.
    let line = daemon.await_log("\"watch\":\"service-user-shell\"");
    assert!(line.contains("matches a watch"), "{line}");
    assert_eq!(field(&line, "parent_comm"), "nginx");
    assert_eq!(field(&line, "uid"), "33");
}
