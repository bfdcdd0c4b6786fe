//! The real daemon before its real audience: promtool, and a Prometheus that scrapes it.
//! Needs root and Debian's package `prometheus`.

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

/// Types by name, as the `# TYPE` lines of a scrape have them.
fn types_scraped(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .map(|line| line.split_once(' ').expect("a name and a type"))
        .map(|(name, kind)| (name.to_owned(), kind.to_owned()))
        .collect()
}

/// `kernel.bpf_stats_enabled`, set for as long as the value lives.
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
fn every_metric_is_documented_and_every_documented_metric_is_there() {
    let _stats = BpfStats::enable();
    // So that failures are there on every host.
    let (daemon, _config) = with_tracefs("[capture]\nfailures = \"tracepoint\"\n");
    assert!(Command::new("true").status().unwrap().success());
    let text = get(daemon.address, "/metrics").text();
    assert_eq!(types_scraped(&text), metric_types());
}

#[test]
fn promtool_finds_nothing_to_complain_about() {
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
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    assert!(output.status.success(), "{said:?}");
    assert_eq!(said, ["", ""]);
}

#[test]
fn promtool_accepts_the_configuration_that_we_ship() {
    let said = promtool(&packaging(), &["check", "config", "prometheus.yml"]);
    assert!(said.contains("2 rule files found"), "{said}");
    let config = packaging().join("prometheus.yml");
    let target = format!("targets: [\"{}\"]", Config::default().web.listen[0]);
    assert!(std::fs::read_to_string(config).unwrap().contains(&target));
}

#[test]
fn a_prometheus_scrapes_what_was_executed() {
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
