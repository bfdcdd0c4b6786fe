//! A view: execs, CPU time and exits by a set of labels, with a bounded number of series.
//!
//! `naming` decides under which names something is counted, and `slots`, which series is evicted for a
//! new one. `returning` counts in how many different seconds each name without a slot was seen.
//! `one_series` and `evicted` make the counts add up for a Prometheus that sees only scrapes.
//! `continuing` keeps the counts across a reload and a restart.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::names::cgroup::Cgroup;
use crate::names::rename::Rules;
use crate::pipeline::history::History;
use crate::pipeline::matcher::Matcher;
use crate::record::Subject;
use crate::sys::clock::Timestamp;

mod continuing;
mod counts;
mod encoding;
mod evicted;
pub(in crate::pipeline) mod key;
mod metric;
mod naming;
mod one_series;
mod returning;
mod saved;
mod slots;
mod stored;

pub use self::counts::{Counts, Exits, SeriesCounts, ViewCounts};
pub use self::key::{Key, Label, MAX_COMM, grouping, is_by_user_alone, key_of, name};
pub use self::metric::Metric;
pub use self::saved::SavedView;

use self::evicted::Evicted;
use self::naming::Naming;
use self::one_series::{NO_USER, Series};
use self::returning::Returning;
use self::slots::{Newcomer, Slots};

/// The series of a view and their counts.
#[derive(Debug)]
pub struct View {
    naming: Naming,
    /// What an observation must have to be counted in a series.
    filter: Option<Matcher>,
    metrics: Vec<Metric>,
    max_series: usize,
    /// Series that are never evicted.
    reserved: HashMap<Arc<Key>, Series>,
    /// The other series.
    slots: Slots,
    /// Names without a slot.
    returning: Returning,
    evicted: Evicted,
    overflow: Counts,
    /// What the filter has left out.
    filtered: Counts,
    /// When the view, and with it `overflow`, began.
    start: Timestamp,
    /// The start of a series that begins now: when the last flush began.
    flushed: Timestamp,
    yielded: Counts,
    /// What was unattributed before the view existed, which is in `yielded`.
    unattributed_before: Counts,
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

    /// Adds series that exist from the start and are never evicted.
    #[must_use]
    pub fn reserve(mut self, keys: impl IntoIterator<Item = Key>) -> Self {
        let begin = |key| (Arc::new(key), Series::new(Timestamp::default(), NO_USER, 0));
        self.reserved.extend(keys.into_iter().map(begin));
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

    /// Starts with what was counted before the view existed, what is unattributed included.
    #[must_use]
    pub fn beginning_with(self, before: Counts, unattributed_before: Counts) -> Self {
        Self {
            yielded: before.only(&self.metrics),
            unattributed_before: unattributed_before.only(&self.metrics),
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

    /// Returns whether the view depends on the path of the cgroup.
    pub(super) fn is_by_cgroup(&self) -> bool {
        let filtered = self.filter.iter().flat_map(Matcher::labels);
        self.labels()
            .iter()
            .chain(filtered)
            .any(Label::is_of_cgroup)
    }

    /// Tells the view when the last flush began.
    pub fn flushed(&mut self, began: Timestamp) {
        self.flushed = began;
    }

    /// Adds `more` to the series of a subject, or to what has no series if the filter leaves it out or
    /// it gets no slot. `now` is the time since the start. `cgroup` is the subject's cgroup, if it is
    /// known. Does nothing if the view has no metric for it.
    pub fn add(&mut self, subject: &Subject, cgroup: Option<&Cgroup>, now: Duration, more: Counts) {
        let more = more.only(&self.metrics);
        if more == Counts::default() {
            return;
        }
        if let Some(filter) = &self.filter
            && !filter.matches(subject, cgroup)
        {
            self.filtered += more;
            return;
        }
        let key = self.naming.key(subject, cgroup);
        let now = whole_seconds(now);
        if let Some(series) = self.reserved.get_mut(&key) {
            self.overflow += series.count(more, now);
        } else if let Some(series) = self.slots.get_mut(&key) {
            self.overflow += series.count(more, now);
        } else {
            self.add_new(key, subject.uid, now, more);
        }
    }

    /// Records that a scrape shows the counts.
    pub fn show(&mut self) {
        let reserved = self.reserved.values_mut();
        reserved.chain(self.slots.iter_mut()).for_each(Series::show);
    }

    fn add_new(&mut self, key: Key, user: u32, now: u32, more: Counts) {
        let mut seconds = u32::from(more.execs > 0);
        if self.is_full() {
            // In a view by user alone, uids with the same name are shown as one series. It would
            // decrease if one of them were evicted.
            if seconds == 0 || is_by_user_alone(&self.naming.labels) {
                self.overflow += more;
                return;
            }
            seconds = self.returning.see(&key, now);
            let newcomer = Newcomer { user, seconds };
            while self.is_full() {
                let Some((evicted, series)) = self.slots.evict_for(newcomer, now) else {
                    self.overflow += more;
                    return;
                };
                self.remove(&evicted, &series);
            }
            self.returning.forget(&key);
        }
        let mut series = Series::new(self.flushed, user, now).returning(self.evicted.take(&key));
        series.seconds = seconds;
        self.overflow += series.count(more, now);
        self.slots.insert(Arc::new(key), series);
    }

    fn remove(&mut self, key: &Key, series: &Series) {
        self.evicted.keep(key, series.last_shown());
        let shown = series.shown();
        let unseen = series.counts() - shown;
        self.yielded += shown;
        self.overflow += unseen;
        // They had a series when they happened.
        self.other_recorded += unseen.execs;
    }

    fn is_full(&self) -> bool {
        self.reserved.len() + self.slots.len() >= self.max_series
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
            start: series.start,
        });
        ViewCounts {
            labels: self.naming.labels.clone(),
            metrics: self.metrics.clone(),
            series: series.collect(),
            overflow: self.overflow,
            filtered: self.filtered,
            start: self.start,
            yielded: self.yielded,
            unattributed_before: self.unattributed_before,
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
