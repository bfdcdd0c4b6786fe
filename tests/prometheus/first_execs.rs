//! With start timestamps, the first exec of a program counts in Prometheus. Each test runs with two
//! releases of Prometheus, which its messages name.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use execsnoopd::config::{Config, ViewConfig};
use execsnoopd::pipeline::view::Label;
use testkit::bytes::encode;
use testkit::daemon::{Daemon, configured};
use testkit::fake::event;
use testkit::http::{get, request};
use testkit::programs::{Programs, exec, exec_times};
use testkit::prometheus::{Prometheus, RELEASES};
use testkit::protobuf::{ACCEPT, Decoded};
use testkit::service::Service;

const FEATURE: &str = "--enable-feature=created-timestamp-zero-ingestion";

/// A view with a slot for each program, whatever else the host executes.
const ROOM: &str = "[[view]]\nlabels = [\"comm\"]\nmax_series = 100000\n";

/// How long a test waits for Prometheus.
const PATIENCE: Duration = Duration::from_secs(60);

/// Starts each release with these arguments. It scrapes every second.
fn scraping(address: SocketAddr, arguments: &[&str]) -> Vec<(String, Prometheus)> {
    let config = format!(
        "scrape_configs:\n  - job_name: execsnoopd\n    scrape_interval: 1s\n    \
         scrape_timeout: 1s\n    static_configs:\n      - targets: ['{address}']\n"
    );
    let releases = RELEASES.iter();
    let started = releases.map(|release| (release.version(), release.start(&config, arguments)));
    let started: Vec<_> = started.collect();
    for (version, prometheus) in &started {
        eprintln!("with {version}");
        prometheus.query_until_there("up{job=\"execsnoopd\"} == 1");
    }
    started
}

/// Waits until each Prometheus has scraped a sample with this value.
#[track_caller]
fn await_value(all: &[(String, Prometheus)], series: &str, value: u32) {
    for (_, prometheus) in all {
        prometheus.query_until_there(&format!("{series} == {value}"));
    }
}

fn by_comm(comm: &str) -> String {
    format!("execsnoop_execs_by_comm_total{{comm=\"{comm}\"}}")
}

fn values(samples: &[(f64, f64)]) -> Vec<f64> {
    let mut values: Vec<_> = samples.iter().map(|(_, value)| *value).collect();
    values.dedup();
    values
}

#[test]
fn the_first_exec_of_a_program_is_in_the_increase() {
    let programs = Programs::new();
    let (daemon, _config) = configured(ROOM);
    let all = scraping(daemon.address, &[FEATURE]);
    exec(&programs.named("once"));
    exec_times(&programs.named("often"), 57);
    for (comm, execs) in [("once", 1), ("often", 57)] {
        let series = by_comm(comm);
        await_value(&all, &series, execs);
        for (version, prometheus) in &all {
            let samples = prometheus.samples(&format!("{series}[5m]"));
            assert_eq!(
                values(&samples),
                [0.0, f64::from(execs)],
                "{comm} in {version}"
            );
            let increase = prometheus.value(&format!("increase({series}[5m])"));
            assert!(
                increase >= f64::from(execs),
                "{increase} of {comm} in {version}"
            );
        }
    }
}

#[test]
fn a_series_that_was_evicted_and_comes_back_starts_anew() {
    // One slot, so that each program evicts the one before.
    let service = Service::start(&Config {
        view: vec![ViewConfig {
            max_series: 1,
            idle_after: Duration::from_secs(1),
            ..ViewConfig::by(&[Label::Comm])
        }],
        ..Config::default()
    });
    let all = scraping(service.address, &[FEATURE]);
    let execs = |comm: &[u8], number| {
        for _ in 0..number {
            let bytes = encode(&event(comm, 0, 1));
            service.kernel(|kernel| kernel.emit(bytes));
        }
        let name = std::str::from_utf8(comm).unwrap();
        await_value(&all, &by_comm(name), number);
        // The series is idle by then, and scrapes have shown it.
        sleep(Duration::from_millis(2500));
    };
    execs(b"a", 1);
    execs(b"b", 57);
    for (_, prometheus) in &all {
        prometheus.query_until_there(&format!("absent({})", by_comm("a")));
    }
    execs(b"a", 1);
    for (version, prometheus) in &all {
        for (comm, expected) in [("a", &[0.0, 1.0, 0.0, 1.0][..]), ("b", &[0.0, 57.0])] {
            let series = by_comm(comm);
            let samples = prometheus.samples(&format!("{series}[5m]"));
            assert_eq!(values(&samples), expected, "{comm} in {version}");
        }
        let increase = prometheus.value(&format!("increase({}[5m])", by_comm("a")));
        assert!(increase >= 2.0, "{increase} in {version}");
    }
}

#[test]
fn what_was_counted_before_prometheus_started_does_not_count_as_new() {
    let service = Service::start(&Config::default());
    for _ in 0..57 {
        let bytes = encode(&event(b"early", 0, 1));
        service.kernel(|kernel| kernel.emit(bytes));
    }
    let answer = request(service.address, "GET", "/metrics", ACCEPT);
    sleep(Duration::from_secs(5));
    let starting = Instant::now();
    let all = scraping(service.address, &[FEATURE]);
    let decoded = Decoded::of(&answer.body);
    for series in ["execsnoop_execs_total".to_owned(), by_comm("early")] {
        await_value(&all, &series, 57);
        for (version, prometheus) in &all {
            let samples = prometheus.samples(&format!("{series}[5m]"));
            let (start, first) = samples[0];
            assert_eq!(first, 0.0, "{version}");
            // The 0 is as old as the series.
            #[allow(clippy::cast_precision_loss)] // milliseconds of this century
            let expected = decoded.start(&series) as f64 / 1000.0;
            assert_eq!(start, expected, "{series} in {version}");
            assert!(samples[1].0 - start > 5.0, "{samples:?}");
            // Since Prometheus started, nothing has been executed.
            prometheus.query_until_there(&format!("count_over_time({series}[5m]) > 3"));
            let seconds = starting.elapsed().as_secs() + 1;
            let increase = prometheus.value(&format!("increase({series}[{seconds}s])"));
            assert_eq!(increase, 0.0, "{series} in {version}");
        }
    }
}

/// All series of the daemon by name and labels. Prometheus 2 has another notation for bounds that are
/// whole numbers when it scrapes protobuf.
fn series(prometheus: &Prometheus) -> BTreeSet<BTreeMap<String, String>> {
    let series = prometheus.labels("{job=\"execsnoopd\"}").into_iter();
    series
        .map(|mut labels| {
            if let Some(bound) = labels.get_mut("le") {
                *bound = bound.parse::<f64>().unwrap().to_string();
            }
            labels.remove("instance");
            labels
        })
        .collect()
}

#[test]
fn without_the_feature_nothing_changes_and_with_it_no_series_is_added() {
    let programs = Programs::new();
    let (daemon, _config) = configured(ROOM);
    let without = scraping(daemon.address, &[]);
    let with = scraping(daemon.address, &[FEATURE]);
    exec(&programs.named("once"));
    for all in [&without, &with] {
        await_value(all, &by_comm("once"), 1);
    }
    for ((version, without), (_, with)) in without.iter().zip(&with) {
        let samples = without.samples(&format!("{}[5m]", by_comm("once")));
        assert_eq!(values(&samples), [1.0], "{version}");
        let deadline = Instant::now() + PATIENCE;
        // Programs of others may be executed between the scrapes.
        while series(without) != series(with) {
            assert!(Instant::now() < deadline, "{version}: {:#?}", {
                let (without, with) = (series(without), series(with));
                without
                    .symmetric_difference(&with)
                    .cloned()
                    .collect::<Vec<_>>()
            });
            sleep(Duration::from_millis(500));
        }
        assert!(series(with).len() > 50, "{version}");
        let created = with.labels("{__name__=~\".*_created\", job=\"execsnoopd\"}");
        assert_eq!(created, [], "{version}");
    }
}

#[test]
fn prometheus_parses_every_family_of_both_formats() {
    let daemon = Daemon::start(&[]);
    let types = || {
        let text = get(daemon.address, "/metrics").text();
        let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        types.map(str::to_owned).collect::<BTreeSet<_>>()
    };
    for arguments in [&[][..], &[FEATURE]] {
        let before = types();
        for (version, prometheus) in scraping(daemon.address, arguments) {
            let metadata = prometheus.metadata();
            let parsed = metadata.as_object().expect("an object by metric");
            let parsed = parsed.iter().map(|(name, of)| {
                assert_ne!(of[0]["help"].as_str(), Some(""), "{name}");
                format!("{name} {}", of[0]["type"].as_str().expect("a type"))
            });
            let parsed: BTreeSet<_> = parsed.collect();
            let missing: Vec<_> = before.difference(&parsed).collect();
            assert!(missing.is_empty(), "{version} {arguments:?}: {missing:?}");
            // A family can appear between the two scrapes, because another test switches on statistics.
            let after = types();
            let unknown: Vec<_> = parsed.difference(&after).collect();
            assert!(unknown.is_empty(), "{version} {arguments:?}: {unknown:?}");
        }
    }
}
