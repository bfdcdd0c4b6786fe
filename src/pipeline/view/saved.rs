//! A view as it is saved, so that the next daemon can continue it.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::counts::Counts;
use super::failures::{Failures, OfView as FailuresOfView};
use super::key::{Key, Label};
use super::metric::{Added, Metric};
use super::one_series::Series;
use crate::pipeline::history::History;
use crate::sys::clock::Timestamp;

/// What a view has counted. Its settings are not included: they come from the configuration.
///
/// Nor are the two tables by hashes of names, whose random keys end with the process. A name without
/// a slot needs the seconds in which it was seen to evict a series that is in use, and is counted in
/// `other` until it has them again. A series that was evicted and returns after the restart is not
/// limited to what Prometheus takes for a reset; its start timestamp tells that it is a new one.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub struct SavedView {
    /// By name, so that a label that is added to [`Label`] does not change the others
    /// ([`Label::saved`]).
    pub(super) labels: Vec<String>,
    /// By name, too, and when each was [added](Added).
    pub(super) metrics: Vec<(String, Timestamp)>,
    pub(super) start: Timestamp,
    pub(super) flushed: Timestamp,
    pub(super) reserved: Vec<(Key, Series)>,
    pub(super) series: Vec<(Key, Series)>,
    pub(super) overflow: Counts,
    pub(super) filtered: Counts,
    pub(super) yielded: Counts,
    pub(super) unattributed_before: Counts,
    pub(super) failures: FailuresOfView,
    pub(super) recent_other: History,
    pub(super) other_recorded: u64,
}

impl SavedView {
    pub(super) fn without_counts(labels: &[Label], metrics: &[Metric], added: &Added) -> Self {
        let metrics = metrics.iter();
        let metrics = metrics.map(|metric| (metric.name().to_owned(), added[metric.index()]));
        Self {
            labels: labels.iter().map(Label::saved).collect(),
            metrics: metrics.collect(),
            start: Timestamp::default(),
            flushed: Timestamp::default(),
            reserved: Vec::new(),
            series: Vec::new(),
            overflow: Counts::default(),
            filtered: Counts::default(),
            yielded: Counts::default(),
            unattributed_before: Counts::default(),
            failures: FailuresOfView::default(),
            recent_other: History::default(),
            other_recorded: 0,
        }
    }

    /// Returns the labels, or None if this version does not have one of them.
    pub(super) fn labels(&self) -> Option<Vec<Label>> {
        self.labels.iter().map(|l| Label::from_saved(l)).collect()
    }

    /// Returns the metrics and when they were added, or None if this version does not have one of them.
    pub(super) fn metrics(&self) -> Option<(Vec<Metric>, Added)> {
        let mut metrics = Vec::new();
        let mut added = Added::default();
        for (name, since) in &self.metrics {
            let metric = Metric::named(name)?;
            metrics.push(metric);
            added[metric.index()] = *since;
        }
        Some((metrics, added))
    }

    /// Returns whether a view that counted `attributed`, and of which `unattributed` has no subject,
    /// can have these counts. Then no sum of them overflows. `failures` are failed execs with a subject.
    pub(in crate::pipeline) fn adds_up(
        &self,
        attributed: Counts,
        unattributed: Counts,
        failures: &Failures,
    ) -> bool {
        let keys = || self.reserved.iter().chain(&self.series).map(|(key, _)| key);
        let mut distinct = HashSet::new();
        let labels = self.labels();
        let are_keys =
            keys().all(|key| distinct.insert(key) && labels.as_ref().is_none_or(|l| key.is_of(l)));

        let series = self.reserved.iter().chain(&self.series);
        let mut counts = series.map(|(_, series)| series.counts()).chain([
            self.overflow,
            self.filtered,
            self.yielded,
        ]);
        // Times may overflow: their sums are compared as they wrap around.
        let are_summable = |sum: &Counts, more: &Counts| {
            let exits = sum.exits.iter().zip(&more.exits);
            sum.execs.checked_add(more.execs).is_some()
                && exits.into_iter().all(|(a, b)| a.checked_add(*b).is_some())
        };
        let sum = counts.try_fold(Counts::default(), |mut sum, counts| {
            are_summable(&sum, &counts).then(|| {
                sum += counts;
                sum
            })
        });
        let before = self.unattributed_before;
        let metrics = self.metrics();
        let sum = match &metrics {
            Some(_) => sum,
            // This version does not continue the view, and does not know what else it has counted.
            None => sum.map(|sum| sum.only(&[])),
        };
        let (metrics, _) = metrics.unwrap_or_default();
        let (attributed, before) = (attributed.only(&metrics), before.only(&metrics));
        let expected = are_summable(&attributed, &before).then(|| {
            let mut sum = attributed;
            sum += before;
            sum
        });
        let other = self.overflow.execs.saturating_add(unattributed.execs);
        let mut series = self.reserved.iter().chain(&self.series);
        are_keys
            && series.all(|(_, series)| series.is_plausible())
            && before.execs <= unattributed.execs
            && sum.is_some()
            && sum == expected
            && self.failures_add_up(failures)
            && self.other_recorded <= other - before.execs
            && self.recent_other.is_plausible(self.other_recorded)
    }

    /// Does the same for failed execs.
    fn failures_add_up(&self, attributed: &Failures) -> bool {
        let has_failures = match self.metrics() {
            Some((metrics, _)) => metrics.contains(&Metric::Failures),
            None => return true,
        };
        let series = self.reserved.iter().chain(&self.series);
        let series = series.map(|(_, series)| series.failures().0);
        let of_view = &self.failures;
        let of_view = [
            of_view.overflow,
            of_view.filtered,
            of_view.yielded,
            of_view.unattributed_before,
        ];
        if !of_view.iter().all(|of| of.is_plausible(u64::MAX)) {
            return false;
        }
        let [of_view @ .., unattributed_before] = of_view;
        let mut failures = series.chain(of_view);
        let sum = failures.try_fold(Failures::default(), |sum, more| sum.checked_add(&more));
        let attributed = if has_failures {
            *attributed
        } else {
            Failures::default()
        };
        sum.is_some() && sum == attributed.checked_add(&unattributed_before)
    }
}
