//! Peers that mean no good, and the real daemon: honest scrapes are answered meanwhile and
//! exact, and nothing stays behind. Needs root and Debian's package `prometheus`.

use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use testkit::certificates::Authority;
use testkit::daemon::{Daemon, configured};
use testkit::http::{Scrape, connect};
use testkit::nuisances::{NUISANCES, Nuisance};
use testkit::programs::{Programs, exec_times};
use testkit::prometheus::Prometheus;
use testkit::tls::Client;
use testkit::web::{TLS, WebDir};

/// How long what is waited for may take before a test fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// Others may execute what they like at the same time: the honest program has its place, and
/// answers are no larger for them.
const VIEW: &str = "[[view]]\nlabels = [\"comm\"]\nmax_series = 50\nalways = [\"honest\"]\n";

/// How often somebody honest scrapes meanwhile.
const SCRAPES: u32 = 5;

/// What the daemon may grow by, whoever comes: 64 connections of an answer each, and buffers.
const MAX_GROWTH_KIB: u64 = 8 << 10;

/// What one failed accept is logged as.
const NOT_ACCEPTED: &str = "accepting a connection failed";

/// A daemon, and somebody honest who scrapes it.
struct Site {
    daemon: Daemon,
    tls: Option<Client>,
    _dir: WebDir,
}

impl Site {
    fn start(over_tls: bool) -> Self {
        let authority = Authority::new("ours");
        let dir = WebDir::tls(if over_tls { TLS } else { "" }, &authority);
        let web_config = dir.web_config();
        let config = format!("[web]\nconfig_file = \"{}\"\n{VIEW}", web_config.display());
        dir.write("config.toml", &config);
        let file = dir.path().join("config.toml");
        Self {
            daemon: Daemon::start(&["--config", file.to_str().unwrap()]),
            tls: over_tls.then(|| Client::trusting(&authority.pem)),
            _dir: dir,
        }
    }

    /// At the first try.
    #[track_caller]
    fn scrape(&self) -> Scrape {
        let address = self.daemon.address;
        match &self.tls {
            None => Scrape::of(address),
            Some(client) => {
                let answer = client.get(address, "/metrics").expect("hands are shaken");
                assert_eq!(answer.status, 200);
                Scrape::parse(&answer.text())
            }
        }
    }
}

#[track_caller]
fn assert_withstood(name: &str) {
    let nuisance = NUISANCES.iter().find(|nuisance| nuisance.name == name);
    let nuisance: &Nuisance = nuisance.expect("there is one of this name");
    let programs = Programs::new();
    let program = programs.named("honest");
    let site = Site::start(nuisance.over_tls);
    let descriptors = site.daemon.descriptors();
    site.scrape();
    let peak = site.daemon.peak_kib();
    let attack = nuisance.start(site.daemon.address);
    for n in 1..=SCRAPES {
        exec_times(&program, 10);
        let scrape = site.scrape();
        assert_eq!(scrape.execs_of("honest"), f64::from(10 * n));
        scrape.assert_ledger_closes();
    }
    drop(attack);
    await_descriptors(&site.daemon, descriptors);
    let execs = site.scrape().execs_of("honest");
    assert_eq!(execs, f64::from(10 * SCRAPES));
    let grown = site.daemon.peak_kib() - peak;
    assert!(grown < MAX_GROWTH_KIB, "grew by {grown} KiB");
    assert_quiet(&site.daemon.stop_logging());
}

#[track_caller]
fn await_descriptors(daemon: &Daemon, number: usize) {
    let deadline = Instant::now() + PATIENCE;
    while daemon.descriptors() != number {
        let now = daemon.descriptors();
        assert!(Instant::now() < deadline, "{now} descriptors, not {number}");
        sleep(Duration::from_millis(10));
    }
}

/// Nothing panicked, and there was nothing to warn of.
#[track_caller]
fn assert_quiet(log: &[String]) {
    for line in log {
        assert!(line.contains("\"level\":\"INFO\""), "{line}");
    }
}

#[test]
fn silent_peers() {
    assert_withstood("a thousand silent peers");
}

#[test]
fn slow_peers() {
    assert_withstood("a thousand slow ones, a byte at a time");
}

#[test]
fn giant_heads() {
    assert_withstood("giant heads, of 1 MB");
}

#[test]
fn endless_heads() {
    assert_withstood("endless heads");
}

#[test]
fn pipelined_garbage() {
    assert_withstood("a request and then garbage");
}

#[test]
fn pipelined_requests() {
    assert_withstood("a hundred requests at once, on 32 connections");
}

#[test]
fn a_flood_of_scrapes() {
    assert_withstood("scrapes of 128, a connection each");
}

#[test]
fn a_flood_of_scrapes_on_connections_that_stay() {
    assert_withstood("scrapes of 128, on connections that stay");
}

#[test]
fn peers_who_read_nothing() {
    assert_withstood("a thousand who ask 100 times and read no answer");
}

#[test]
fn connections_that_are_reset() {
    assert_withstood("connections that are reset");
}

#[test]
fn half_handshakes() {
    assert_withstood("TLS: a thousand ClientHellos and then silence");
}

#[test]
fn garbage_where_tls_is_spoken() {
    assert_withstood("TLS: records of garbage");
}

#[test]
fn a_prometheus_misses_no_scrape_though_its_own_connection_gives_way() {
    let programs = Programs::new();
    let program = programs.named("honest");
    let site = Site::start(false);
    let prometheus = Prometheus::start(&format!(
        "scrape_configs:\n  - job_name: execsnoopd\n    scrape_interval: 2s\n    \
         scrape_timeout: 2s\n    static_configs:\n      - targets: ['{}']\n",
        site.daemon.address
    ));
    prometheus.query_until_there("up == 1");
    let attack = NUISANCES[0].start(site.daemon.address);
    exec_times(&program, 25);
    prometheus.query_until_there(&format!("count_over_time(up[1h]) > {SCRAPES}"));
    let missed = prometheus.query_until_there("count_over_time(up[1h]) - sum_over_time(up[1h])");
    assert!(missed.contains(",\"0\"]"), "{missed}");
    let counted = prometheus.query_until_there("execsnoop_execs_by_comm_total{comm=\"honest\"}");
    assert!(counted.contains(",\"25\"]"), "{counted}");
    drop(attack);
}

#[test]
fn descriptors_that_run_out_cost_no_count_and_no_scrape_and_are_said_once_a_minute() {
    let began = Instant::now();
    let programs = Programs::new();
    let program = programs.named("honest");
    let (mut daemon, _config) = configured(&format!("[web]\nmax_connections = 1000\n{VIEW}"));
    let descriptors = daemon.descriptors();
    // Less than the connections that it may have.
    let limit = Some(descriptors as u64 + 16);
    let limit = Rlimit {
        current: limit,
        maximum: limit,
    };
    let pid = Pid::from_raw(daemon.pid().cast_signed());
    prlimit(pid, Resource::Nofile, limit).expect("limits can be set");
    let peers: Vec<_> = (0..100).map(|_| connect(daemon.address)).collect();
    for n in 1..=SCRAPES {
        exec_times(&program, 5);
        let scrape = daemon.scrape();
        assert_eq!(scrape.execs_of("honest"), f64::from(5 * n));
        scrape.assert_ledger_closes();
    }
    daemon.await_log(NOT_ACCEPTED);
    drop(peers);
    await_descriptors(&daemon, descriptors);
    assert_eq!(daemon.scrape().execs_of("honest"), f64::from(5 * SCRAPES));
    let log = daemon.stop_logging();
    let (again, rest): (Vec<_>, Vec<_>) = log
        .into_iter()
        .partition(|line| line.contains(NOT_ACCEPTED));
    let minutes = began.elapsed().as_secs() / 60;
    assert!(again.len() as u64 <= minutes, "{again:#?}");
    assert_quiet(&rest);
}
