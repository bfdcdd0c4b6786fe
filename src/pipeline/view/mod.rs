//! A view: execs, CPU time, exits and failed execs by a set of labels, with a bounded number of series.
//!
//! `counting` counts an observation. `naming` decides under which names, and `slots`, which series is
//! evicted for a new one. `returning` counts in how many different seconds each name without a slot was seen.
//! `one_series` and `evicted` make the counts add up for a Prometheus that sees only scrapes.
//! `continuing` keeps the counts across a reload and a restart.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::names::rename::Rules;
use crate::pipeline::history::History;
use crate::pipeline::matcher::Matcher;
use crate::sys::clock::Timestamp;

mod continuing;
mod counting;
mod counts;
mod encoding;
mod evicted;
pub(in crate::pipeline) mod failures;
pub(in crate::pipeline) mod key;
mod metric;
mod naming;
mod one_series;
mod returning;
mod saved;
mod slots;
mod stored;

pub use self::counts::{Counts, Exits, SeriesCounts, ViewCounts};
pub use self::failures::{Failures, OfView as FailuresOfView, StartedFailures};
pub use self::key::{Key, Label, MAX_COMM, grouping, is_by_user_name, key_of, name};
pub use self::metric::{Added, Metric};
pub use self::saved::SavedView;

use self::evicted::Evicted;
use self::naming::Naming;
use self::one_series::{NO_USER, Series};
use self::returning::Returning;
use self::slots::Slots;

/// What was counted before a view existed, or before it had a metric. Unattributed observations are
/// included, and are also given separately.
#[derive(Debug, Clone, Copy, Default)]
pub struct Before {
    pub counts: Counts,
    pub unattributed: Counts,
    pub failures: Failures,
    pub unattributed_failures: Failures,
}

/// The series of a view and their counts.
#[derive(Debug)]
pub struct View {
    naming: Naming,
    /// What an observation must have to be counted in a series.
    filter: Option<Matcher>,
    metrics: Vec<Metric>,
    added: Added,
    max_series: usize,
    /// Series that are never evicted.
    reserved: HashMap<Arc<Key>, Series>,
    /// The other series.
    slots: Slots,
    /// Names without a slot.
    returning: Returning,
    evicted: Evicted,
    overflow: Counts,
    /// What the filter has left out, and all execs in a view of failed execs alone.
    filtered: Counts,
    /// When the view, and with it `overflow`, began.
    start: Timestamp,
    /// The start of a series that begins now: when the last flush began.
    flushed: Timestamp,
    yielded: Counts,
    /// What was unattributed before the view existed, which is in `yielded`.
    unattributed_before: Counts,
    /// Failed execs that are in no series.
    failures: FailuresOfView,
    recent_other: History,
    /// All execs added to `recent_other`, including those too old to be kept there.
    other_recorded: u64,
}

impl View {
    /// A view without counts, in which no series ever counts as idle and a user can keep every slot.
    pub fn new(labels: Vec<Label>, max_series: usize) -> Self {
        Self {
            naming: Naming::by(labels),
            filter: None,
            metrics: Metric::DEFAULT.to_vec(),
            added: Added::default(),
            max_series,
            reserved: HashMap::new(),
            slots: Slots::new(u32::MAX, max_series),
            returning: Returning::default(),
            evicted: Evicted::default(),
            overflow: Counts::default(),
            filtered: Counts::default(),
            start: Timestamp::default(),
            flushed: Timestamp::default(),
            yielded: Counts::default(),
            unattributed_before: Counts::default(),
            failures: FailuresOfView::default(),
            recent_other: History::default(),
            other_recorded: 0,
        }
    }

    /// Sets the metrics of the view, without which it has the default ones.
    #[must_use]
    pub fn with_metrics(self, metrics: Vec<Metric>) -> Self {
        Self { metrics, ..self }
    }

    /// Sets what an observation must have to be counted in a series. All others are counted in `other`.
    #[must_use]
    pub fn only(self, matcher: Matcher) -> Self {
        Self {
            filter: Some(matcher),
            ..self
        }
    }

    /// Sets the rules by which the values of a label are renamed, in the series that begin from now on.
    #[must_use]
    pub fn renaming(mut self, label: Label, rules: Rules) -> Self {
        self.naming.rename(label, rules);
        self
    }

    /// Sets how long a series must have been idle before any new one can evict it.
    #[must_use]
    pub fn idle_after(mut self, idle_after: Duration) -> Self {
        let started = u64::from(idle_after.subsec_nanos() > 0);
        let seconds = idle_after.as_secs().saturating_add(started);
        self.slots.idle_after = u32::try_from(seconds).unwrap_or(u32::MAX);
        self
    }

    /// Sets the share of the slots, from 0 to 1, that a user can keep if others need slots. It is at
    /// least one slot.
    #[must_use]
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // rounded down
    pub fn user_share(mut self, share: f64) -> Self {
        self.slots.per_user = ((self.max_series as f64 * share) as usize).max(1);
        self
    }

    /// Adds series that exist from the start and are never evicted, under their
    /// [new names](Self::renaming).
    #[must_use]
    pub fn reserve(mut self, keys: impl IntoIterator<Item = Key>) -> Self {
        for mut key in keys {
            self.naming.rename_key(&mut key);
            let series = Series::new(Timestamp::default(), NO_USER, 0);
            self.reserved.insert(Arc::new(key), series);
        }
        self
    }

    /// Sets when the view and its reserved series begin, which is when the last flush began.
    #[must_use]
    pub fn starting(mut self, start: Timestamp) -> Self {
        self.start = start;
        self.flushed = start;
        for series in self.reserved.values_mut() {
            series.start = start;
        }
        self
    }

    /// Starts with what was counted before the view existed.
    #[must_use]
    pub fn beginning_with(self, before: &Before) -> Self {
        let mut failures = FailuresOfView::default();
        if self.metrics.contains(&Metric::Failures) {
            failures.yielded = before.failures;
            failures.unattributed_before = before.unattributed_failures;
        }
        Self {
            yielded: before.counts.only(&self.metrics),
            unattributed_before: before.unattributed.only(&self.metrics),
            failures,
            ..self
        }
    }

    /// Returns whether a view with these labels has the same metrics and series in Prometheus.
    pub fn has_labels(&self, labels: &[Label]) -> bool {
        let same = |a: &[Label], b: &[Label]| a.iter().all(|label| b.contains(label));
        let own: &[Label] = &self.naming.labels;
        name(own) == name(labels) && same(own, labels) && same(labels, own)
    }

    pub fn labels(&self) -> &[Label] {
        &self.naming.labels
    }

    /// Returns whether the view depends on such a label.
    pub(super) fn uses(&self, is_such: fn(&Label) -> bool) -> bool {
        let filtered = self.filter.iter().flat_map(Matcher::labels);
        self.labels().iter().chain(filtered).any(is_such)
    }

    /// Tells the view when the last flush began.
    pub fn flushed(&mut self, began: Timestamp) {
        self.flushed = began;
    }

    /// Records that a scrape shows the counts.
    pub fn show(&mut self) {
        let reserved = self.reserved.values_mut();
        reserved.chain(self.slots.iter_mut()).for_each(Series::show);
    }

    /// Records in `recent_other` the execs without a series since the last call. `unattributed` is
    /// the number of unattributed execs so far, and `now` is the time since the start.
    pub fn record_other(&mut self, unattributed: u64, now: Duration) {
        let unattributed = unattributed.saturating_sub(self.unattributed_before.execs);
        let other = self.overflow.execs + unattributed;
        let more = other.saturating_sub(self.other_recorded);
        self.recent_other.add(now, more);
        self.other_recorded += more;
    }

    pub fn counts(&self) -> ViewCounts {
        let series = self.reserved.iter().chain(self.slots.iter());
        let series = series.map(|(key, series)| SeriesCounts {
            key: Arc::clone(key),
            counts: series.counts(),
            failures: series.failures.as_ref().map(|of| of.counts.clone().into()),
            start: series.start,
        });
        ViewCounts {
            labels: self.naming.labels.clone(),
            metrics: self.metrics.clone(),
            added: self.added,
            series: series.collect(),
            overflow: self.overflow,
            filtered: self.filtered,
            start: self.start,
            yielded: self.yielded,
            unattributed_before: self.unattributed_before,
            failures: self.failures.clone(),
            recent_other: self.recent_other.clone(),
            max_series: self.max_series,
        }
    }
}

fn whole_seconds(time: Duration) -> u32 {
    u32::try_from(time.as_secs()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
