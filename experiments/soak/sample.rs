//! A sample of the daemon: figures from `/proc` and from its own metrics.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use anyhow::{Context, Result};
use experiments::process;
use testkit::http::{Scrape, get};

#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    /// Seconds since the beginning of the run.
    pub(crate) at: f64,
    pub(crate) resident_kib: f64,
    pub(crate) anonymous_kib: f64,
    /// BPF maps, in kernel memory.
    pub(crate) maps_kib: f64,
    pub(crate) descriptors: usize,
    pub(crate) threads: usize,
    /// CPU time so far.
    pub(crate) cpu_seconds: f64,
    /// Duration of a scrape, as seen by the client.
    pub(crate) scrape_seconds: f64,
    pub(crate) scrape_bytes: usize,
    pub(crate) execs: f64,
    /// Execs and exits that were counted without detail.
    pub(crate) lost: f64,
    pub(crate) unattributed: f64,
    /// Execs under `other` in the view by `comm`, because there was no slot for their series.
    pub(crate) overflow: f64,
    /// Series of all views.
    pub(crate) series: f64,
    /// The largest absolute ledger difference of any kind.
    pub(crate) difference: f64,
    /// The largest absolute difference between the sum of a view and the total.
    pub(crate) views_difference: f64,
}

/// The header for [`Sample::line`].
pub(crate) const COLUMNS: &str = "at,resident_kib,anonymous_kib,maps_kib,descriptors,threads,\
    cpu_seconds,scrape_seconds,scrape_bytes,execs,lost,unattributed,overflow,series,difference,\
    views_difference";

impl Sample {
    pub(crate) fn take(at: f64, pid: u32, address: SocketAddr) -> Result<Self> {
        let began = Instant::now();
        let answer = get(address, "/metrics");
        let scrape_seconds = began.elapsed().as_secs_f64();
        let text = answer.text();
        let scrape = Scrape::parse(&text);
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let field = |name| process::field(&status, name).context("the daemon has exited");
        Ok(Self {
            at,
            resident_kib: field("VmRSS")? as f64,
            anonymous_kib: field("RssAnon")? as f64,
            maps_kib: maps_kib(pid)?,
            descriptors: descriptors(pid)?,
            threads: threads(pid)?,
            cpu_seconds: process::cpu_ns(pid)? as f64 / 1e9,
            scrape_seconds,
            scrape_bytes: text.len(),
            execs: scrape.value("execsnoop_execs_total"),
            lost: scrape.sum("execsnoop_lost_events_total"),
            unattributed: scrape.value("execsnoop_unattributed_execs_total"),
            overflow: scrape.value("execsnoop_series_overflow_total{view=\"comm\"}"),
            series: scrape.sum("execsnoop_series"),
            difference: largest(scrape.family("execsnoop_ledger_difference")),
            views_difference: views_difference(&scrape),
        })
    }

    /// The sample as comma-separated values.
    pub(crate) fn line(&self) -> String {
        let values = [
            self.at,
            self.resident_kib,
            self.anonymous_kib,
            self.maps_kib,
            self.descriptors as f64,
            self.threads as f64,
            self.cpu_seconds,
            self.scrape_seconds,
            self.scrape_bytes as f64,
            self.execs,
            self.lost,
            self.unattributed,
            self.overflow,
            self.series,
            self.difference,
            self.views_difference,
        ];
        values.map(|value| value.to_string()).join(",")
    }
}

pub(crate) fn descriptors(pid: u32) -> io::Result<usize> {
    Ok(fs::read_dir(format!("/proc/{pid}/fd"))?.count())
}

pub(crate) fn threads(pid: u32) -> io::Result<usize> {
    Ok(fs::read_dir(format!("/proc/{pid}/task"))?.count())
}

/// Sums the memory of all open maps, as reported by the kernel (`bpf_map_show_fdinfo()`).
fn maps_kib(pid: u32) -> io::Result<f64> {
    let mut bytes = 0;
    for file in fs::read_dir(format!("/proc/{pid}/fdinfo"))? {
        // The descriptor may have been closed since it was listed.
        let text = fs::read_to_string(file?.path()).unwrap_or_default();
        if process::field(&text, "map_id").is_some() {
            bytes += process::field(&text, "memlock").unwrap_or(0);
        }
    }
    Ok(bytes as f64 / 1024.0)
}

/// The largest absolute value of a family.
fn largest<'a>(samples: impl Iterator<Item = (&'a str, f64)>) -> f64 {
    samples.map(|(_, value)| value.abs()).fold(0.0, f64::max)
}

fn views_difference(scrape: &Scrape) -> f64 {
    let total = scrape.value("execsnoop_execs_total");
    let views = scrape.sums_of_views();
    let differences = views.values().map(|sum| (sum - total).abs());
    differences.fold(0.0, f64::max)
}
