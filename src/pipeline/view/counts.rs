//! What a view counts.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::failures::{self, StartedFailures};
use super::key::{Key, Label};
use super::metric::{Added, Metric};
use crate::pipeline::history::History;
use crate::record::Outcome;
use crate::sys::clock::Timestamp;

/// The counts of a series.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Counts {
    /// Successful execs; attempts to exec in classic mode.
    pub execs: u64,
    /// CPU time of processes that have exited, in nanoseconds.
    pub cpu_ns: u64,
    /// Processes that have exited, by outcome.
    pub exits: Exits,
    /// Their lifetimes, in nanoseconds.
    pub lifetime_ns: u64,
}

/// Exits in the order of [`Outcome::ALL`].
pub type Exits = [u64; Outcome::ALL.len()];

impl Counts {
    /// Returns what a view with these metrics counts. It always counts execs, because in most views
    /// they decide which series keep their slots.
    #[must_use]
    pub(in crate::pipeline) fn only(self, metrics: &[Metric]) -> Self {
        let mut only = Self {
            execs: self.execs,
            ..Self::default()
        };
        only.set(self, metrics);
        only
    }

    /// Sets the counts of these metrics.
    pub fn set(&mut self, to: Self, metrics: &[Metric]) {
        for metric in metrics {
            match metric {
                Metric::Execs => self.execs = to.execs,
                Metric::CpuSeconds => self.cpu_ns = to.cpu_ns,
                Metric::Exits => self.exits = to.exits,
                Metric::LifetimeSeconds => self.lifetime_ns = to.lifetime_ns,
                Metric::Failures => {} // counted apart, see `Failures`
            }
        }
    }

    /// Applies `merge` to each count.
    fn zip(self, other: Self, merge: impl Fn(u64, u64) -> u64) -> Self {
        let mut exits = self.exits;
        for (count, other) in exits.iter_mut().zip(other.exits) {
            *count = merge(*count, other);
        }
        Self {
            execs: merge(self.execs, other.execs),
            cpu_ns: merge(self.cpu_ns, other.cpu_ns),
            exits,
            lifetime_ns: merge(self.lifetime_ns, other.lifetime_ns),
        }
    }

    /// Returns the lesser of each count.
    pub(super) fn min(self, other: Self) -> Self {
        self.zip(other, u64::min)
    }

    /// Returns the difference of each count, or 0 if `less` is higher.
    pub(in crate::pipeline) fn saturating_sub(self, less: Self) -> Self {
        self.zip(less, u64::saturating_sub)
    }
}

impl std::ops::Sub for Counts {
    type Output = Self;

    fn sub(self, less: Self) -> Self {
        self.zip(less, |count, less| count - less)
    }
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, more: Self) {
        let times = (
            self.cpu_ns.wrapping_add(more.cpu_ns),
            self.lifetime_ns.wrapping_add(more.lifetime_ns),
        );
        (self.cpu_ns, self.lifetime_ns) = times;
        self.execs += more.execs;
        for (sum, exits) in self.exits.iter_mut().zip(more.exits) {
            *sum += exits;
        }
    }
}

/// A series at a flush.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeriesCounts {
    pub key: Arc<Key>,
    pub counts: Counts,
    /// Only if there are any.
    pub failures: Option<Arc<StartedFailures>>,
    /// When the series had not counted anything yet: the beginning of the last flush without it.
    pub start: Timestamp,
}

impl SeriesCounts {
    /// A series without failed execs.
    pub fn new(key: Key, counts: Counts, start: Timestamp) -> Self {
        Self {
            key: Arc::new(key),
            counts,
            failures: None,
            start,
        }
    }
}

/// The counts of a view at a flush. The total is the sum of the series, `overflow`, `filtered`, `yielded`
/// and what has been unattributed since the view was created.
#[derive(Debug, Clone)]
pub struct ViewCounts {
    pub labels: Vec<Label>,
    pub metrics: Vec<Metric>,
    /// When each metric was added, in the order of [`Metric::ALL`].
    pub added: Added,
    /// In no particular order.
    pub series: Vec<SeriesCounts>,
    /// What had no slot when it was counted, or whose series was evicted before a scrape showed it.
    pub overflow: Counts,
    /// What the filter of the view left out, and all execs in a view of failed execs alone.
    pub filtered: Counts,
    /// When the view, and with it `overflow`, began.
    pub start: Timestamp,
    /// What a scrape has shown under series that have since been evicted, and everything counted
    /// before the view existed.
    pub yielded: Counts,
    /// What is unattributed in `yielded`.
    pub unattributed_before: Counts,
    pub failures: failures::OfView,
    /// The execs of the last minutes that had no series.
    pub recent_other: History,
    /// The number of slots.
    pub max_series: usize,
}

impl ViewCounts {
    /// Returns when the counter of a metric began, for a series with this start.
    pub fn start_of(&self, metric: Metric, series: Timestamp) -> Timestamp {
        series.max(self.added[metric.index()])
    }
}

impl Default for ViewCounts {
    fn default() -> Self {
        Self {
            labels: Vec::new(),
            metrics: Metric::DEFAULT.to_vec(),
            added: Added::default(),
            series: Vec::new(),
            overflow: Counts::default(),
            filtered: Counts::default(),
            start: Timestamp::default(),
            yielded: Counts::default(),
            unattributed_before: Counts::default(),
            failures: failures::OfView::default(),
            recent_other: History::default(),
            max_series: 0,
        }
    }
}
