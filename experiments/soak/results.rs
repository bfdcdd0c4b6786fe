//! All results of the run, and the checks on them.

use std::time::Duration;

use experiments::machine::Machine;
use experiments::quartiles::Quartiles;
use serde::Serialize;
use testkit::http::Scrape;

use crate::load::{STATUS, Truth};
use crate::report::mb;
use crate::sample::Sample;
use crate::schedule::{Act, Storm};

/// How much resident memory may grow from the second quarter to the last.
const GROWTH_KIB: f64 = 1024.0;

/// The shortest run in which the growth of memory is checked. Its second quarter begins when the
/// caches are about full. The cache of 8192 cgroups fills last, by 12 cgroups per second.
const LONG: Duration = Duration::from_secs(46 * 60);

/// The daemon's figures while it has no connections.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rest {
    pub(crate) descriptors: usize,
    pub(crate) threads: usize,
}

/// CPU seconds used during the run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cpu {
    /// All processes and the kernel.
    pub(crate) all: f64,
    pub(crate) daemon: f64,
    pub(crate) prometheus: f64,
    /// The load and the measurement.
    pub(crate) load: f64,
}

impl Cpu {
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            all: self.all - before.all,
            daemon: self.daemon - before.daemon,
            prometheus: self.prometheus - before.prometheus,
            load: self.load - before.load,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Results {
    pub(crate) machine: Machine,
    pub(crate) length: Duration,
    pub(crate) samples: Vec<Sample>,
    pub(crate) storms: Vec<Storm>,
    pub(crate) acts: Vec<(Duration, Act)>,
    pub(crate) truth: Truth,
    /// The unit of the load.
    pub(crate) unit: String,
    /// The last scrape.
    pub(crate) scrape: Scrape,
    pub(crate) rest_before: Rest,
    pub(crate) rest_after: Rest,
    pub(crate) cpu: Cpu,
    /// Connections other than those of Prometheus.
    pub(crate) connections: u64,
    /// Scrapes by Prometheus: made, and answered in time.
    pub(crate) scrapes: (f64, f64),
    /// The version of Prometheus.
    pub(crate) version: String,
}

/// The result of one check.
#[derive(Debug)]
pub(crate) struct Verdict {
    pub(crate) what: String,
    pub(crate) holds: bool,
}

impl Results {
    pub(crate) fn judge(&self) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        let mut check = |what: String, holds| verdicts.push(Verdict { what, holds });
        let largest = self.most(|sample| sample.difference);
        check(
            format!("largest ledger difference: {largest}"),
            largest == 0.0,
        );
        let largest = self.most(|sample| sample.views_difference);
        check(
            format!("largest difference of the sum of a view: {largest}"),
            largest == 0.0,
        );
        let unattributed = self.scrape.value("execsnoop_unattributed_execs_total");
        check(
            format!("unattributed execs: {unattributed}"),
            unattributed == 0.0,
        );
        let (counted, executed) = (self.counted_in_unit(), self.truth.in_unit);
        check(
            format!("{counted} of {executed} execs counted"),
            counted == executed as f64,
        );
        for (name, executed) in &self.truth.by_program {
            let counted = self.scrape.execs_of(name);
            check(
                format!("{counted} of {executed} execs of {name} counted"),
                counted == *executed as f64,
            );
        }
        let (counted, exited) = (self.counted_exits(), self.truth.with_status);
        check(
            format!("{counted} of {exited} exits with status {STATUS} counted"),
            counted == exited as f64,
        );
        let (before, after) = (self.rest_before, self.rest_after);
        check(
            format!("idle before: {before:?}, after: {after:?}"),
            before.descriptors == after.descriptors && before.threads >= after.threads,
        );
        if self.length >= LONG {
            let grown = self.in_quarter(4).median - self.in_quarter(2).median;
            check(
                format!("memory grew by {grown} KiB from the second quarter to the last"),
                grown <= GROWTH_KIB,
            );
        }
        verdicts
    }

    pub(crate) fn counted_in_unit(&self) -> f64 {
        let labels = format!("unit=\"{}\",container=\"\"", self.unit);
        let sample = format!("execsnoop_execs_by_unit_container_total{{{labels}}}");
        self.scrape.find(&sample).unwrap_or(0.0)
    }

    pub(crate) fn counted_exits(&self) -> f64 {
        let sample = format!("execsnoop_exits_total{{reason=\"exited\",code=\"{STATUS}\"}}");
        self.scrape.find(&sample).unwrap_or(0.0)
    }

    /// Resident memory in one quarter (1 to 4) of the run, in KiB.
    pub(crate) fn in_quarter(&self, quarter: usize) -> Quartiles {
        let count = self.samples.len();
        let samples = &self.samples[count * (quarter - 1) / 4..count * quarter / 4];
        let resident = samples.iter().map(|sample| sample.resident_kib);
        Quartiles::of(resident).expect("a run has many samples")
    }

    /// The largest value of all samples.
    pub(crate) fn most(&self, of: impl Fn(&Sample) -> f64) -> f64 {
        self.samples.iter().map(of).fold(0.0, f64::max)
    }

    pub(crate) fn last(&self) -> &Sample {
        self.samples.last().expect("a run has many samples")
    }

    /// CPU time of processes outside of this run, in percent of all CPUs.
    pub(crate) fn others_percent(&self) -> f64 {
        let Cpu {
            all,
            daemon,
            prometheus,
            load,
        } = self.cpu;
        let others = (all - daemon - prometheus - load).max(0.0);
        others / self.length.as_secs_f64() / self.machine.cores as f64 * 100.0
    }

    /// The data of the chart.
    pub(crate) fn figures(&self) -> Figures<'_> {
        let of = |column: fn(&Sample) -> f64| self.samples.iter().map(column).collect();
        let acts = |act: Act| {
            let acts = self.acts.iter().filter(move |(_, done)| *done == act);
            acts.map(|(at, _)| at.as_secs_f64()).collect()
        };
        let storms = self.storms.iter().map(|storm| storm.at.as_secs_f64());
        Figures {
            machine: self.machine.caption(),
            date: &self.machine.date,
            minutes: self.length.as_secs_f64() / 60.0,
            other_work_percent: self.others_percent(),
            storms_s: storms.collect(),
            stops_s: acts(Act::Stop),
            reloads_s: acts(Act::Reload),
            at_s: of(|sample| sample.at),
            resident_mb: of(|sample| mb(sample.resident_kib)),
            anonymous_mb: of(|sample| mb(sample.anonymous_kib)),
            maps_mb: of(|sample| mb(sample.maps_kib)),
            descriptors: of(|sample| sample.descriptors as f64),
            threads: of(|sample| sample.threads as f64),
            execs_per_second: self.rates(|sample| sample.execs),
            lost_per_second: self.rates(|sample| sample.lost),
            views_difference: of(|sample| sample.views_difference),
            ledger_difference: of(|sample| sample.difference),
        }
    }

    /// The rate per second of a counter since the previous sample: 0 for the first sample.
    fn rates(&self, of: fn(&Sample) -> f64) -> Vec<f64> {
        let pairs = self.samples.windows(2);
        let rates = pairs.map(|pair| (of(&pair[1]) - of(&pair[0])) / (pair[1].at - pair[0].at));
        std::iter::once(0.0).chain(rates).collect()
    }
}

/// The data of the chart: for each line a column with a value per sample, and the times of events in
/// seconds since the beginning.
#[derive(Debug, Serialize)]
pub(crate) struct Figures<'a> {
    machine: String,
    date: &'a str,
    minutes: f64,
    other_work_percent: f64,
    storms_s: Vec<f64>,
    stops_s: Vec<f64>,
    reloads_s: Vec<f64>,
    at_s: Vec<f64>,
    resident_mb: Vec<f64>,
    anonymous_mb: Vec<f64>,
    maps_mb: Vec<f64>,
    descriptors: Vec<f64>,
    threads: Vec<f64>,
    execs_per_second: Vec<f64>,
    lost_per_second: Vec<f64>,
    views_difference: Vec<f64>,
    ledger_difference: Vec<f64>,
}
