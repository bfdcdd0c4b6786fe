//! Writes the results into docs/fleet.md, between two marker comments.

use std::collections::BTreeMap;

use anyhow::Result;
use experiments::machine::Machine;
use experiments::marked;

use crate::{HOSTS, SERIES};

const PAGE: &str = "docs/fleet.md";

#[derive(Debug)]
pub(crate) struct Results {
    pub(crate) resident_kib: u64,
    pub(crate) peak_kib: u64,
    /// CPU time of Prometheus in the last minute, as a share of one CPU.
    pub(crate) cpu_share: f64,
    /// CPU time of all other processes in the last minute, as a share of one CPU.
    pub(crate) others_share: f64,
    /// Durations of all scrapes, in seconds.
    pub(crate) scrape_seconds: Vec<f64>,
    /// Size of a compressed scrape, in bytes.
    pub(crate) scrape_bytes: usize,
    /// Evaluation time of the rules by evaluation interval, both in seconds.
    pub(crate) rules: BTreeMap<u64, f64>,
    pub(crate) head_series: f64,
    /// Number of series that belong to views.
    pub(crate) by_name: f64,
    /// Number of series that recording rules make for each host, and for the whole fleet.
    pub(crate) of_hosts: f64,
    pub(crate) of_fleet: f64,
    /// Number of series that a global Prometheus gets by federation, and their size in bytes.
    pub(crate) federated: (usize, usize),
    /// The same without the series of single hosts.
    pub(crate) federated_fleet: (usize, usize),
    pub(crate) version: String,
}

/// Replaces the text between the marker comments.
pub(crate) fn write(results: &Results) -> Result<&'static str> {
    marked::write(PAGE, "bench-fleet", &text(results))?;
    Ok(PAGE)
}

pub(crate) fn text(results: &Results) -> String {
    let machine = Machine::here();
    let mut seconds = results.scrape_seconds.clone();
    seconds.sort_by(f64::total_cmp);
    let at = |percent: usize| seconds[(seconds.len() - 1) * percent / 100] * 1e3;
    let mb = |kib: u64| kib as f64 * 1024.0 / 1e6;
    let kb = |bytes: usize| bytes as f64 / 1e3;
    let (series, bytes) = results.federated;
    let (fleet_series, fleet_bytes) = results.federated_fleet;
    let rules = results.rules.iter();
    let rules = rules.map(|(every, took)| format!("{:.0} ms every {every} s", took * 1e3));
    let rules: Vec<_> = rules.collect();
    let rows = [
        (
            "Prometheus: resident memory; peak",
            format!(
                "{:.0} MB; {:.0} MB",
                mb(results.resident_kib),
                mb(results.peak_kib)
            ),
        ),
        (
            "Prometheus: CPU time",
            format!("{:.0} % of one core", results.cpu_share * 100.0),
        ),
        (
            "scrape duration: median, 99th percentile, longest",
            format!("{:.0} ms, {:.0} ms, {:.0} ms", at(50), at(99), at(100)),
        ),
        (
            "scrape size, compressed",
            format!("{:.1} kB", kb(results.scrape_bytes)),
        ),
        ("rule evaluation", rules.join("; ")),
        (
            "Prometheus: series in the head block",
            results.head_series.to_string(),
        ),
        (
            "– of views, dropped by remote write",
            results.by_name.to_string(),
        ),
        ("– recorded per host", results.of_hosts.to_string()),
        ("– recorded for the fleet", results.of_fleet.to_string()),
        (
            "federated to a global Prometheus, fleet and hosts",
            format!("{series} series, {:.0} kB", kb(bytes)),
        ),
        (
            "federated to a global Prometheus, fleet only",
            format!("{fleet_series} series, {:.0} kB", kb(fleet_bytes)),
        ),
    ];
    let rows = rows.map(|(what, value)| format!("| {what} | {value} |\n"));
    format!(
        "One process simulated {HOSTS} hosts: it ran the daemon's code once for each, with {SERIES} \
         series and 5 synthetic execs per second.\nOne Prometheus {version} with the first \
         configuration above scraped these hosts every 15 s for three minutes.\nBoth ran on the same \
         machine: {cpu}, {cores} CPUs{kind}. Other work used {others:.0} % of its CPU time.\n\n\
         | | |\n|---|---|\n{rows}",
        version = results.version.split('+').next().unwrap_or_default(),
        cpu = machine.cpu,
        cores = machine.cores,
        others = results.others_share / machine.cores as f64 * 100.0,
        kind = if machine.is_virtual {
            " (a virtual machine)"
        } else {
            ""
        },
        rows = rows.concat(),
    )
}
