//! Measures what a fleet of hosts costs its Prometheus: a real Prometheus with the configuration in
//! docs/fleet.md scrapes 200 hosts, with 1000 series each, every 15 s. The results are written into
//! that page.
//!
//! The hosts are services with synthetic events, all in this process and on loopback.
//! Takes three minutes, and needs Debian's package `prometheus` but not root.

mod hosts;
mod report;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use experiments::prometheus_answer::{family, label, sample_count, values};
use experiments::{busy, process};
use testkit::docs::{FLEET, fenced};
use testkit::http::request;
use testkit::prometheus::{Prometheus, escaped};

use crate::hosts::Hosts;
use crate::report::Results;

const HOSTS: usize = 200;
const SERIES: usize = 1000;

/// Duration of the run: each host is scraped twelve times.
const RUN: Duration = Duration::from_secs(180);

/// The last part of the run, the only one in which CPU time is measured. It lasts four scrape
/// intervals, and begins when Prometheus has scraped all hosts several times.
const STEADY: Duration = Duration::from_secs(60);

fn main() -> Result<()> {
    experiments::require_release_build()?;
    let results = run()?;
    let path = report::write(&results)?;
    println!("{}\nwritten: {path}", report::text(&results));
    Ok(())
}

fn run() -> Result<Results> {
    let mut hosts = Hosts::start(HOSTS, SERIES)?;
    println!("{HOSTS} hosts with {SERIES} series each are up");
    let prometheus = Prometheus::start(&config(&hosts)?);
    let began = Instant::now();
    hosts.execute_until(began + RUN.checked_sub(STEADY).unwrap());
    let (before, steady) = (CpuTime::now(prometheus.pid())?, Instant::now());
    hosts.execute_until(began + RUN);
    let after = CpuTime::now(prometheus.pid())?;
    let share = |used: f64| used / steady.elapsed().as_secs_f64();

    let query = |query: &str| values(&prometheus.query_until_there(query));
    let number = |text: &str| query(text)[0];
    let up = number("sum(min_over_time(up{job=\"execsnoopd\"}[10m]))");
    ensure!(up == HOSTS as f64, "only {up} hosts were always up");
    let samples = query("scrape_samples_scraped{job=\"execsnoopd\"}");
    ensure!(samples.iter().all(|n| *n == SERIES as f64), "{samples:?}");
    let own = prometheus.metrics();
    let count = |name: &str| number(&format!("count({{__name__=~\"{name}\"}})"));
    let federated = |matchers: &[String]| -> Result<(usize, usize)> {
        let matchers = matchers.iter().map(|m| format!("match[]={}", escaped(m)));
        let path = format!("/federate?{}", matchers.collect::<Vec<_>>().join("&"));
        let answer = request(prometheus.address, "GET", &path, "");
        ensure!(answer.status == 200, "{path}: {}", answer.status);
        Ok((sample_count(&answer.text()), answer.body.len()))
    };
    let matchers = federation_matchers()?;
    let status = std::fs::read_to_string(format!("/proc/{}/status", prometheus.pid()))?;
    let kib = |name| process::field(&status, name).context("Prometheus has exited");
    Ok(Results {
        resident_kib: kib("VmRSS")?,
        peak_kib: kib("VmHWM")?,
        cpu_share: share(after.prometheus - before.prometheus),
        others_share: share(after.others - before.others),
        scrape_seconds: query("scrape_duration_seconds{job=\"execsnoopd\"}[10m]"),
        scrape_bytes: hosts.scrape_bytes(),
        rules: rules(&own),
        head_series: family(&own, "prometheus_tsdb_head_series")[0].1,
        by_name: count("execsnoop_(execs|cpu_seconds)_by_.+"),
        of_hosts: count("instance.*:execsnoop_.+"),
        of_fleet: count("job.*:execsnoop_.+"),
        federated: federated(&matchers)?,
        federated_fleet: federated(&matchers[..1])?,
        version: label(family(&own, "prometheus_build_info")[0].0, "version")
            .context("Prometheus has no version")?
            .to_owned(),
    })
}

/// CPU seconds since an arbitrary time.
struct CpuTime {
    prometheus: f64,
    /// Processes other than Prometheus and the hosts.
    others: f64,
}

impl CpuTime {
    fn now(prometheus: u32) -> Result<Self> {
        let prometheus = process::cpu_ns(prometheus)? as f64 / 1e9;
        let hosts = process::cpu_ns(std::process::id())? as f64 / 1e9;
        Ok(Self {
            prometheus,
            others: busy::busy_seconds()? - prometheus - hosts,
        })
    }
}

/// The last evaluation times of the rule groups, summed by evaluation interval, both in seconds.
fn rules(own: &str) -> BTreeMap<u64, f64> {
    let intervals = family(own, "prometheus_rule_group_interval_seconds");
    let durations = family(own, "prometheus_rule_group_last_duration_seconds");
    let mut rules = BTreeMap::new();
    for (group, duration) in durations {
        let interval = intervals.iter().find(|(of, _)| *of == group);
        let interval = Duration::from_secs_f64(interval.map_or(0.0, |(_, interval)| *interval));
        *rules.entry(interval.as_secs()).or_insert(0.0) += duration;
    }
    rules
}

/// The documented configuration of a Prometheus for several hundred hosts, with these hosts as
/// targets and without remote write.
fn config(hosts: &Hosts) -> Result<String> {
    let blocks = fenced(FLEET, "yaml");
    let documented = &blocks[0];
    let config = documented
        .split("remote_write:")
        .next()
        .context("nothing before remote_write")?
        .replace("file_sd_configs:", "static_configs:")
        .replace(
            "- files: [targets/execsnoopd.yml]",
            &format!("- targets: {:?}", hosts.addresses()),
        );
    ensure!(config.contains("targets: [\"127.0.0.1:"), "{config}");
    Ok(config)
}

/// The documented matchers for federation. The first one selects the series of the fleet.
fn federation_matchers() -> Result<Vec<String>> {
    let blocks = fenced(FLEET, "yaml");
    let block = blocks.iter().find(|block| block.contains("match[]"));
    let block = block.context("docs/fleet.md has no configuration for federation")?;
    let matchers = block
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- '")?.strip_suffix('\''));
    Ok(matchers.map(str::to_owned).collect())
}
