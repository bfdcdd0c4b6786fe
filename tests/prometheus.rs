//! The real daemon before its real audience: promtool, and a Prometheus that scrapes it.
//! Needs root and Debian's package `prometheus`.

mod common;

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::daemon::Daemon;
use common::http::{get, request};
use common::mounts::with_tracefs;
use common::programs::{Programs, exec_times};
use execsnoopd::config::Config;

const METRICS_PAGE: &str = include_str!("../docs/metrics.md");

/// Types by name, as the `# TYPE` lines of a scrape have them.
fn types_scraped(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .map(|line| line.split_once(' ').expect("a name and a type"))
        .map(|(name, kind)| (name.to_owned(), kind.to_owned()))
        .collect()
}

/// Types by name, as the tables of docs/metrics.md have them.
fn types_documented() -> BTreeMap<String, String> {
    METRICS_PAGE
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .map(|row| {
            let (name, rest) = row.split_once("` | ").expect("a name");
            let kind = rest.split(" |").next().expect("a type");
            (name.to_owned(), kind.to_owned())
        })
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
    assert_eq!(types_scraped(&text), types_documented());
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
    let config = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/packaging/prometheus/prometheus.yml"
    );
    let output = Command::new("promtool")
        .args(["check", "config", config])
        .output()
        .expect("promtool runs");
    assert!(output.status.success(), "{output:?}");
    let target = format!("targets: [\"{}\"]", Config::default().web.listen[0]);
    assert!(std::fs::read_to_string(config).unwrap().contains(&target));
}

#[test]
fn a_prometheus_scrapes_what_was_executed() {
    let programs = Programs::new();
    let daemon = Daemon::start(&[]);
    exec_times(&programs.named("scraped"), 25);
    let prometheus = Prometheus::start(daemon.address);
    let answer = prometheus.query_until_there("execsnoop_execs_by_comm_total{comm=\"scraped\"}");
    assert!(answer.contains(",\"25\"]"), "{answer}");
    let up = prometheus.query_until_there("up{job=\"execsnoopd\"}");
    assert!(up.contains(",\"1\"]"), "{up}");
}

/// Debian's Prometheus on a free port, scraping one target every second.
struct Prometheus {
    child: Child,
    address: SocketAddr,
    _dir: tempfile::TempDir,
}

impl Prometheus {
    fn start(target: SocketAddr) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("prometheus.yml");
        let text = format!(
            "scrape_configs:\n  - job_name: execsnoopd\n    scrape_interval: 1s\n    \
             scrape_timeout: 1s\n    static_configs:\n      - targets: ['{target}']\n"
        );
        std::fs::write(&config, text).unwrap();
        let address = free_address();
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", dir.path().display()))
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("prometheus runs");
        Self {
            child,
            address,
            _dir: dir,
        }
    }

    /// The answer to a query as soon as it has a result.
    fn query_until_there(&self, query: &str) -> String {
        let escaped: String = query
            .bytes()
            .map(|byte| match byte {
                b'a'..=b'z' | b'_' | b'0'..=b'9' => char::from(byte).to_string(),
                _ => format!("%{byte:02X}"),
            })
            .collect();
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            if std::net::TcpStream::connect(self.address).is_ok() {
                let path = format!("/api/v1/query?query={escaped}");
                let answer = request(self.address, "GET", &path, "");
                if answer.status == 200 && answer.text().contains("\"metric\"") {
                    return answer.text();
                }
            }
            assert!(
                Instant::now() < deadline,
                "no result of {query} in a minute"
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
}
