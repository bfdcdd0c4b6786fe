//! Evaluates every query of the Grafana dashboard, on a Prometheus that scraped the daemon while
//! programs ran, failed, crashed and used CPU time.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use testkit::cgroups::Cgroup;
use testkit::compiled::ways;
use testkit::daemon::{Daemon, configured};
use testkit::dashboard::{
    Query, config_text, dashboard, data_panels, no_value, queries_of, substituted, text,
};
use testkit::mounts::with_tracefs;
use testkit::programs::{Programs, exec_as, exec_times};
use testkit::prometheus::Prometheus;

/// The range of the dashboard, in seconds. It is longer than the test.
const RANGE: u64 = 600;

const UNIT: &str = "on-the-dashboard.service";
const CONTAINER: &str = "dadadadadadadadadadadadadadadadadadadadadadadadadadadadadadadada";
const POD: &str = "2d9ab3e4-1c4d-4b2b-8a2f-3a1d8b7d0c11";
const UID: u32 = 47_110;

/// The panels that may show 0: on a healthy host, the first two do. The daemon's CPU time is measured
/// in whole seconds, so the third does if the daemon used little.
const MAY_BE_0: [&str; 3] = [
    "Hosts that stopped answering",
    "Unaccounted for",
    "CPU of the daemon",
];

fn scraping(daemon: &Daemon) -> Prometheus {
    let prometheus = Prometheus::start(&format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\n\
         scrape_configs:\n  - job_name: execsnoopd\n    static_configs:\n      \
         - targets: ['{}']\n",
        daemon.address
    ));
    // A rate needs two scrapes.
    prometheus.query_until_there("rate(execsnoop_execs_total[1m])");
    prometheus
}

/// The samples of the answer to a query, each with its labels.
fn samples(prometheus: &Prometheus, query: &Query<'_>) -> Vec<(String, f64)> {
    let expr = substituted(query.expr, RANGE);
    let over = query.is_range.then_some(Duration::from_secs(60));
    let answer: Value = serde_json::from_str(&prometheus.answer(&expr, over)).unwrap();
    let series = answer["data"]["result"].as_array().expect("series");
    let of_series = |one: &Value| {
        let labels = one["metric"].to_string();
        let values = match &one["values"] {
            Value::Array(values) => values.clone(),
            _ => vec![one["value"].clone()],
        };
        let number = |value: &Value| value[1].as_str().unwrap().parse::<f64>().unwrap();
        let values: Vec<f64> = values.iter().map(number).collect();
        values.into_iter().map(move |value| (labels.clone(), value))
    };
    series.iter().flat_map(of_series).collect()
}

/// Causes everything that the dashboard shows.
fn load(programs: &Programs, names: &[PathBuf], daemon: &Daemon) {
    exec_times(&names[0], 3_000);
    let program = programs.path().join("nop");
    for _ in 0..100 {
        exec_as(&program, Some(UID));
    }
    for path in [
        format!("system.slice/{UNIT}"),
        format!("system.slice/docker-{CONTAINER}.scope"),
        format!("kubepods/pod{POD}"),
    ] {
        Cgroup::new(&path).exec_times(&program, 100);
    }
    Cgroup::new(&format!("system.slice/{UNIT}")).exec_times(Path::new("/bin/false"), 3);
    assert!(
        Command::new(programs.path().join("absent"))
            .status()
            .is_err()
    );
    for (way, argument) in [("signal", "11"), ("exit", "42"), ("burn", "100")] {
        in_a_way(way, &program, argument);
    }
    // More execs than the buffer holds, and more names than a view has series.
    daemon.signal(Signal::STOP);
    for name in names {
        exec_times(name, 1);
    }
    daemon.signal(Signal::CONT);
}

fn in_a_way(way: &str, program: &Path, argument: &str) {
    let status = Command::new(ways())
        .arg(way)
        .arg(program)
        .arg(argument)
        .status();
    status.expect("the program of ways can be executed");
}

#[test]
fn every_panel_shows_what_happened() {
    let programs = Programs::new();
    let names: Vec<_> = (0..1_100)
        .map(|n| programs.named(format!("shown-{n}")))
        .collect();
    let capture = "[capture]\nfailures = \"tracepoint\"\nbuffer_pages = 1\n";
    let watch = format!("[[watch]]\nname = \"on the dashboard\"\nuid = [{UID}]\n");
    let (daemon, _config) = with_tracefs(&format!("{capture}{watch}{}", config_text()));
    let prometheus = scraping(&daemon);
    // In the first round, series begin; in the second, they increase.
    for _ in 0..2 {
        load(&programs, &names, &daemon);
        let execs = daemon.scrape().value("execsnoop_execs_total");
        prometheus.query_until_there(&format!("execsnoop_execs_total >= {execs}"));
    }
    let dashboard = dashboard();
    let mut labels = BTreeSet::new();
    for panel in data_panels(&dashboard) {
        let title = text(panel, "/title");
        let mut values = Vec::new();
        for query in queries_of(panel) {
            let samples = samples(&prometheus, &query);
            assert!(!samples.is_empty(), "{title}: nothing for {}", query.expr);
            for (of, value) in samples {
                labels.insert(format!("{title}: {of}"));
                values.push(value);
            }
        }
        assert!(
            values.iter().any(|value| value.is_finite()),
            "{title}: {values:?}"
        );
        assert!(
            MAY_BE_0.contains(&title) || values.iter().any(|value| *value > 0.0),
            "{title}: nothing but 0"
        );
    }
    for (title, label) in [
        (
            "Busiest hosts",
            format!("\"instance\":\"{}\"", daemon.address),
        ),
        ("Execs by program", "\"comm\":\"shown-0\"".to_owned()),
        ("Programs in the range", "\"comm\":\"shown-0\"".to_owned()),
        ("Execs by user", format!("\"uid\":\"{UID}\"")),
        ("Users in the range", format!("\"uid\":\"{UID}\"")),
        (
            "Execs that match a watch",
            "\"watch\":\"on the dashboard\"".to_owned(),
        ),
        (
            "Watches in the range",
            "\"watch\":\"on the dashboard\"".to_owned(),
        ),
        (
            "Processes of services that did not succeed",
            "\"outcome\":\"error\"".to_owned(),
        ),
        ("Execs by pod", format!("\"pod_uid\":\"{POD}\"")),
        ("Execs by service", format!("\"unit\":\"{UNIT}\"")),
        ("Services in the range", format!("\"unit\":\"{UNIT}\"")),
        (
            "Execs by container",
            format!("\"container\":\"{}\"", &CONTAINER[..12]),
        ),
        ("Failed execs by error", "\"errno\":\"ENOENT\"".to_owned()),
        ("Killed by a signal", "\"code\":\"SIGSEGV\"".to_owned()),
        ("Exits with a non-zero status", "\"code\":\"42\"".to_owned()),
        (
            "CPUs used by processes that exited",
            "\"comm\":\"ways-".to_owned(),
        ),
        ("Unaccounted for", "\"kind\":\"failure\"".to_owned()),
        ("Events lost", "\"reason\":\"buffer_full\"".to_owned()),
        ("Hooks in use", "\"event\":\"failure\"".to_owned()),
    ] {
        let mut shown = labels
            .iter()
            .filter(|at| at.starts_with(&format!("{title}: ")));
        assert!(
            shown.any(|at| at.contains(&label)),
            "{title} without {label}: {labels:#?}"
        );
    }
}

#[test]
fn panels_without_data_name_what_they_need_instead_of_showing_0() {
    let programs = Programs::new();
    let program = programs.named("counted");
    let (daemon, _config) = configured("[capture]\nfailures = \"off\"\nexits = false\n");
    let prometheus = scraping(&daemon);
    // The first exec begins the series; the second increases it.
    for _ in 0..2 {
        exec_as(&program, Some(UID));
        let execs = daemon.scrape().execs_of("counted");
        let seen = format!("execsnoop_execs_by_comm_total{{comm=\"counted\"}} >= {execs}");
        prometheus.query_until_there(&seen);
    }
    let dashboard = dashboard();
    for panel in data_panels(&dashboard) {
        let is_empty = queries_of(panel).all(|query| samples(&prometheus, &query).is_empty());
        let says_so = [
            "Not counted",
            "Needs capture.exits",
            "Needs a view: labels = [\"unit\"]",
            "Needs a view: labels = [\"container\"]",
            "Needs a view: labels = [\"pod_uid\"]",
            "Needs a watch in the configuration",
        ];
        let says_so = says_so
            .iter()
            .any(|missing| no_value(panel).starts_with(missing));
        assert_eq!(
            is_empty,
            says_so,
            "{}: {}",
            text(panel, "/title"),
            no_value(panel)
        );
    }
}
