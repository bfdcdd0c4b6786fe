//! Prometheus scrapes the daemon, and promtool checks its metrics.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};

use execsnoopd::config::Config;
use testkit::daemon::Daemon;
use testkit::docs::metric_types;
use testkit::http::get;
use testkit::mounts::with_tracefs;
use testkit::programs::{Programs, exec_times};
use testkit::prometheus::{Prometheus, packaging, promtool};

/// Returns the types of the scraped metrics, by name.
fn types_scraped(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .map(|line| line.split_once(' ').expect("a name and a type"))
        .map(|(name, kind)| (name.to_owned(), kind.to_owned()))
        .collect()
}

/// Sets `kernel.bpf_stats_enabled` until the value is dropped.
struct BpfStats {
    before: String,
}

impl BpfStats {
    const PATH: &str = "/proc/sys/kernel/bpf_stats_enabled";

    fn enable() -> Self {
        let before = std::fs::read_to_string(Self::PATH).unwrap();
        std::fs::write(Self::PATH, "1").expect("kernel.bpf_stats_enabled can be set");
        Self { before }
    }
}

impl Drop for BpfStats {
    fn drop(&mut self) {
        let _ = std::fs::write(Self::PATH, &self.before);
    }
}

#[test]
fn every_metric_is_documented_and_every_documented_metric_exists() {
    let _stats = BpfStats::enable();
    // With tracefs, failed execs can be observed on every host.
    let (daemon, _config) = with_tracefs(
        "[capture]\nfailures = \"tracepoint\"\n\
         [[view]]\nlabels = [\"comm\"]\n\
         metrics = [\"execs\", \"cpu_seconds\", \"exits\", \"lifetime_seconds\", \"failures\"]\n\
         [[view]]\nlabels = [\"uid\", \"user\"]\n\
         [[watch]]\nname = \"any\"\nuid = [0]\n",
    );
    assert!(Command::new("true").status().unwrap().success());
    let text = get(daemon.address, "/metrics").text();
    assert_eq!(types_scraped(&text), metric_types());
}

#[test]
fn promtool_accepts_the_metrics_without_a_warning() {
    let daemon = Daemon::start(&[]);
    let text = get(daemon.address, "/metrics").text();
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool runs");
    promtool
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    let output = promtool.wait_with_output().unwrap();
    let printed = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    assert!(output.status.success(), "{printed:?}");
    assert_eq!(printed, ["", ""]);
}

#[test]
fn promtool_accepts_the_configuration_of_the_package() {
    let printed = promtool(&packaging(), &["check", "config", "prometheus.yml"]);
    assert!(printed.contains("2 rule files found"), "{printed}");
    let config = packaging().join("prometheus.yml");
    let target = format!("targets: [\"{}\"]", Config::default().web.listen[0]);
    assert!(std::fs::read_to_string(config).unwrap().contains(&target));
}

#[test]
fn prometheus_scrapes_the_execs() {
    let programs = Programs::new();
    let daemon = Daemon::start(&[]);
    exec_times(&programs.named("scraped"), 25);
    let prometheus = Prometheus::start(&format!(
        "scrape_configs:\n  - job_name: execsnoopd\n    scrape_interval: 1s\n    \
         scrape_timeout: 1s\n    static_configs:\n      - targets: ['{}']\n",
        daemon.address
    ));
    let answer = prometheus.query_until_there("execsnoop_execs_by_comm_total{comm=\"scraped\"}");
    assert!(answer.contains(",\"25\"]"), "{answer}");
    let up = prometheus.query_until_there("up{job=\"execsnoopd\"}");
    assert!(up.contains(",\"1\"]"), "{up}");
}
