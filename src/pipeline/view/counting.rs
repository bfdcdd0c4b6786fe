//! How a view counts an observation: in the series of its subject, in a new one, or in none.

use std::sync::Arc;
use std::time::Duration;

use super::counts::Counts;
use super::failures::Failures;
use super::key::{Key, is_by_user_name};
use super::metric::Metric;
use super::one_series::Series;
use super::slots::Newcomer;
use super::{View, whole_seconds};
use crate::pipeline::name_cache::Named;
use crate::record::Subject;

impl View {
    /// Adds `more` to the series of a subject, or to what has no series if the filter leaves it out or
    /// it gets no slot. `now` is the time since the start. `names` are what the ids in the
    /// subject stand for. Only execs are counted if the view has no metric for them.
    pub fn add(&mut self, subject: &Subject, names: Named<'_>, now: Duration, more: Counts) {
        let more = more.only(&self.metrics);
        if more == Counts::default() {
            return;
        }
        if self.has_failures_only() || self.leaves_out(subject, names) {
            self.filtered += more;
            return;
        }
        let now = whole_seconds(now);
        let count = |series: &mut Series| series.count(more, now);
        let rest = self.with_series(subject, names, now, more.execs > 0, count);
        self.overflow += rest.unwrap_or(more);
    }

    /// Adds failed execs in the same way.
    pub fn add_failures(
        &mut self,
        subject: &Subject,
        names: Named<'_>,
        now: Duration,
        more: &Failures,
    ) {
        if !self.metrics.contains(&Metric::Failures) {
            return;
        }
        if self.leaves_out(subject, names) {
            self.failures.filtered += more;
            return;
        }
        let now = whole_seconds(now);
        let start = self.flushed;
        let is_use = self.has_failures_only();
        let count = |series: &mut Series| series.count_failures(more, now, start, is_use);
        let rest = self.with_series(subject, names, now, is_use, count);
        self.failures.overflow += &rest.unwrap_or(*more);
    }

    /// Returns whether failed execs decide which series keep their slots, instead of execs. Otherwise,
    /// names that are executed and never fail would take the slots, and the view would show nothing.
    pub(super) fn has_failures_only(&self) -> bool {
        self.metrics == [Metric::Failures]
    }

    fn leaves_out(&self, subject: &Subject, names: Named<'_>) -> bool {
        let mut filter = self.filter.iter();
        filter.any(|filter| !filter.matches(subject, names))
    }

    /// Counts in the series of a subject and returns the result of `count`. If the subject has no series,
    /// one begins if there is a slot for it. Only what `is_use`, such as an exec, can evict another
    /// series.
    #[inline]
    fn with_series<T>(
        &mut self,
        subject: &Subject,
        names: Named<'_>,
        now: u32,
        is_use: bool,
        count: impl FnOnce(&mut Series) -> T,
    ) -> Option<T> {
        let key = self.naming.key(subject, names);
        if let Some(series) = self.reserved.get_mut(&key) {
            return Some(count(series));
        }
        if let Some(series) = self.slots.get_mut(&key) {
            return Some(count(series));
        }
        let newcomer = Newcomer {
            user: subject.uid,
            seconds: u32::from(is_use),
        };
        let mut series = self.begin(&key, newcomer, now)?;
        let rest = count(&mut series);
        self.slots.insert(Arc::new(key), series);
        Some(rest)
    }

    /// Returns a new series, after making room for it if necessary, or None if it gets no slot.
    fn begin(&mut self, key: &Key, mut newcomer: Newcomer, now: u32) -> Option<Series> {
        if self.is_full() {
            // In a view by the names of users, IDs with the same name are shown as one series. It would
            // decrease if one of them were evicted.
            if newcomer.seconds == 0 || is_by_user_name(&self.naming.labels) {
                return None;
            }
            newcomer.seconds = self.returning.see(key, now);
            while self.is_full() {
                let needed = self.reserved.len() + self.slots.len() + 1 - self.max_series;
                let (evicted, series) = self.slots.evict_for(newcomer, needed, now)?;
                self.remove(&evicted, &series);
            }
            self.returning.forget(key);
        }
        let mut series = Series::new(self.flushed, newcomer.user, now);
        series.seconds = newcomer.seconds;
        Some(series.returning(self.evicted.take(key)))
    }

    fn remove(&mut self, key: &Key, series: &Series) {
        let failures_last_shown = series.failures_last_shown();
        self.evicted
            .keep(key, series.last_shown(), failures_last_shown);
        let shown = series.shown();
        let unseen = series.counts() - shown;
        self.yielded += shown;
        self.overflow += unseen;
        // They had a series when they happened.
        self.other_recorded += unseen.execs;
        let (failures, shown) = series.failures();
        self.failures.yielded += &shown;
        self.failures.overflow += &failures.saturating_sub(&shown);
    }

    fn is_full(&self) -> bool {
        self.reserved.len() + self.slots.len() >= self.max_series
    }
}
