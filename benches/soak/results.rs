//! Everything that was seen, and whether it is right.

use std::time::Duration;

use serde::Serialize;

use crate::common::http::Scrape;
use crate::load::{STATUS, Truth};
use crate::machine::Machine;
use crate::quartiles::Quartiles;
use crate::report::mb;
use crate::sample::Sample;
use crate::schedule::{Act, Storm};

/// By how much more memory may be resident in the last quarter than in the second.
const GROWTH_KIB: f64 = 1024.0;

/// Of a run in whose second quarter memory has grown as far as it may: what fills up last are the
/// 8192 cgroups that the daemon remembers, by 12 a second.
const LONG: Duration = Duration::from_secs(46 * 60);

/// The daemon without anybody connected.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rest {
    pub(crate) descriptors: usize,
    pub(crate) threads: usize,
}

/// CPU seconds used meanwhile.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cpu {
    /// By everything on this machine.
    pub(crate) all: f64,
    pub(crate) daemon: f64,
    pub(crate) prometheus: f64,
    /// By the load, and by whoever measures.
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
    /// The load's unit.
    pub(crate) unit: String,
    /// The last of all.
    pub(crate) scrape: Scrape,
    pub(crate) rest_before: Rest,
    pub(crate) rest_after: Rest,
    pub(crate) cpu: Cpu,
    /// How often somebody connected, Prometheus aside.
    pub(crate) connections: u64,
    /// Scrapes of Prometheus, and how many of them were answered in time.
    pub(crate) scrapes: (f64, f64),
    /// Of Prometheus.
    pub(crate) version: String,
}

/// What has to hold, and whether it does.
#[derive(Debug)]
pub(crate) struct Verdict {
    pub(crate) what: String,
    pub(crate) holds: bool,
}

impl Results {
    pub(crate) fn judge(&self) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        let mut has_to_hold = |what: String, holds| verdicts.push(Verdict { what, holds });
        let largest = self.most(|sample| sample.difference);
        has_to_hold(
            format!("the ledger's difference is {largest}"),
            largest == 0.0,
        );
        let largest = self.most(|sample| sample.views_difference);
        has_to_hold(format!("a view's sum differs by {largest}"), largest == 0.0);
        let nameless = self.scrape.value("execsnoop_unattributed_execs_total");
        has_to_hold(format!("{nameless} execs have no name"), nameless == 0.0);
        let (counted, executed) = (self.counted_in_unit(), self.truth.in_unit);
        has_to_hold(
            format!("{counted} of {executed} execs are counted"),
            counted == executed as f64,
        );
        for (name, executed) in &self.truth.by_program {
            let counted = self.scrape.execs_of(name);
            has_to_hold(
                format!("{counted} of {executed} execs of {name} are counted"),
                counted == *executed as f64,
            );
        }
        let (counted, ended) = (self.counted_ends(), self.truth.with_status);
        has_to_hold(
            format!("{counted} of {ended} ends with status {STATUS} are counted"),
            counted == ended as f64,
        );
        let (before, after) = (self.rest_before, self.rest_after);
        has_to_hold(
            format!("{before:?} became {after:?}"),
            before.descriptors == after.descriptors && before.threads >= after.threads,
        );
        if self.length >= LONG {
            let grown = self.in_quarter(4).median - self.in_quarter(2).median;
            has_to_hold(
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

    pub(crate) fn counted_ends(&self) -> f64 {
        let sample = format!("execsnoop_exits_total{{reason=\"exited\",code=\"{STATUS}\"}}");
        self.scrape.find(&sample).unwrap_or(0.0)
    }

    /// Resident memory in one of the quarters, in KiB.
    pub(crate) fn in_quarter(&self, quarter: usize) -> Quartiles {
        let count = self.samples.len();
        let samples = &self.samples[count * (quarter - 1) / 4..count * quarter / 4];
        let resident = samples.iter().map(|sample| sample.resident_kib);
        Quartiles::of(resident).expect("a run has many samples")
    }

    /// The largest that there was of something.
    pub(crate) fn most(&self, of: impl Fn(&Sample) -> f64) -> f64 {
        self.samples.iter().map(of).fold(0.0, f64::max)
    }

    pub(crate) fn last(&self) -> &Sample {
        self.samples.last().expect("a run has many samples")
    }

    /// The share of all CPUs that is not this run's, in percent.
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

    /// What the chart shows.
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

    /// Per second, of a counter, since the sample before. The first sample has none before it: 0.
    fn rates(&self, of: fn(&Sample) -> f64) -> Vec<f64> {
        let pairs = self.samples.windows(2);
        let rates = pairs.map(|pair| (of(&pair[1]) - of(&pair[0])) / (pair[1].at - pair[0].at));
        std::iter::once(0.0).chain(rates).collect()
    }
}

/// A column for each line of the chart, a value in each for each sample; and when what happened,
/// in seconds since the beginning.
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
