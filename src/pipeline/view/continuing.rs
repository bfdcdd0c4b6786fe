//! A view that continues the counts of one with other settings, after a reload or a restart.

use std::sync::Arc;
use std::time::Duration;

use super::failures::OfView as FailuresOfView;
use super::key::Key;
use super::metric::Metric;
use super::one_series::{NO_USER, Series};
use super::saved::SavedView;
use super::{Before, View, whole_seconds};
use crate::sys::clock::Timestamp;

impl View {
    /// Changes the metrics of a view that has counted. A metric that is added begins now, like that of a
    /// [new view](Self::beginning_with).
    fn change_metrics(&mut self, metrics: Vec<Metric>, now: Timestamp, before: &Before) {
        let execs_were_left_out = self.has_failures_only();
        if execs_were_left_out && metrics.contains(&Metric::Execs) {
            // All execs so far are in `filtered`, and happened before the view had the metric.
            self.yielded.execs += self.filtered.execs;
            self.filtered.execs = 0;
        }
        let has_failures_only = metrics == [Metric::Failures];
        for series in self.reserved.values_mut().chain(self.slots.iter_mut()) {
            series.keep_only(&metrics);
            if has_failures_only && !execs_were_left_out {
                // Execs do not keep the slot any more.
                series.seconds = 0;
            }
        }
        for counts in [
            &mut self.overflow,
            &mut self.filtered,
            &mut self.yielded,
            &mut self.unattributed_before,
        ] {
            *counts = counts.only(&metrics);
        }
        let mut added = metrics.clone();
        added.retain(|metric| *metric != Metric::Execs && !self.metrics.contains(metric));
        self.yielded.set(before.counts, &added);
        self.unattributed_before.set(before.unattributed, &added);
        if !metrics.contains(&Metric::Failures) {
            self.failures = FailuresOfView::default();
        } else if added.contains(&Metric::Failures) {
            self.failures.yielded = before.failures;
            self.failures.unattributed_before = before.unattributed_failures;
        }
        for metric in added {
            self.added[metric.index()] = now;
        }
        self.metrics = metrics;
    }

    /// Takes over the counts of `old`, which must group by the same labels. `now` is the time since
    /// the start. `before` is as in [`beginning_with`](Self::beginning_with). Series
    /// that the new filter would leave out, or that have another name now, are kept until they are
    /// evicted. If `old` has more series than this view has slots, the next new series evicts several,
    /// except in a view by user alone, which keeps them all.
    #[must_use]
    pub fn continuing(self, mut old: Self, now: Duration, before: &Before) -> Self {
        old.change_metrics(self.metrics, self.start, before);
        let now = whole_seconds(now);
        let (mut slots, mut evicted) = (old.slots, old.evicted);
        slots.idle_after = self.slots.idle_after;
        slots.per_user = self.slots.per_user;
        for (key, mut series) in old.reserved {
            series.created = now;
            series.last_used = now;
            slots.insert(key, series);
        }
        let mut reserved = self.reserved;
        for (key, series) in &mut reserved {
            *series = match slots.remove(key) {
                Some(so_far) => so_far,
                None => Series::new(self.start, NO_USER, now).returning(evicted.take(key)),
            };
        }
        Self {
            naming: self.naming,
            filter: self.filter,
            metrics: old.metrics,
            max_series: self.max_series,
            reserved,
            slots,
            evicted,
            ..old
        }
    }

    pub(in crate::pipeline) fn saved(&self) -> SavedView {
        SavedView {
            reserved: of_saved(self.reserved.iter()),
            series: of_saved(self.slots.iter()),
            start: self.start,
            flushed: self.flushed,
            overflow: self.overflow,
            filtered: self.filtered,
            yielded: self.yielded,
            unattributed_before: self.unattributed_before,
            failures: self.failures.clone(),
            recent_other: self.recent_other.clone(),
            other_recorded: self.other_recorded,
            ..SavedView::without_counts(&self.naming.labels, &self.metrics, &self.added)
        }
    }

    /// Returns the view that was saved, for a new view to [continue](Self::continuing), or None if
    /// this version does not have one of its labels or metrics. `now` is the time since the start.
    pub(in crate::pipeline) fn resume(saved: SavedView, now: Duration) -> Option<Self> {
        let now = whole_seconds(now);
        let (metrics, added) = saved.metrics()?;
        let mut view = Self::new(saved.labels()?, 0).with_metrics(metrics);
        for (key, series) in saved.series {
            view.slots.insert(Arc::new(key), series.not_after(now));
        }
        Some(Self {
            reserved: saved
                .reserved
                .into_iter()
                .map(|(k, v)| (Arc::new(k), v))
                .collect(),
            added,
            start: saved.start,
            flushed: saved.flushed,
            overflow: saved.overflow,
            filtered: saved.filtered,
            yielded: saved.yielded,
            unattributed_before: saved.unattributed_before,
            failures: saved.failures,
            recent_other: saved.recent_other,
            other_recorded: saved.other_recorded,
            ..view
        })
    }
}

fn of_saved<'a>(series: impl Iterator<Item = (&'a Arc<Key>, &'a Series)>) -> Vec<(Key, Series)> {
    series
        .map(|(key, series)| (Key::clone(key), series.clone()))
        .collect()
}
