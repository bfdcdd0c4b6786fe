//! A view: execs and CPU time by a set of labels, with a bounded number of series.
//!
//! `slots` decides which series is evicted for a new one. `returning` counts in how many different
//! seconds each name without a slot was seen. `one_series` and `evicted` make the counts add up for a
//! Prometheus that sees only scrapes.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use crate::names::cgroup::Cgroup;
use crate::pipeline::history::History;
use crate::record::Subject;
use crate::sys::clock::Timestamp;

mod counts;
mod encoding;
mod evicted;
mod key;
mod one_series;
mod returning;
mod saved;
mod slots;

pub use self::counts::{Counts, SeriesCounts, ViewCounts};
pub use self::key::{Key, Label, grouping, is_by_user_alone, key_of, name};
pub use self::saved::SavedView;

use self::evicted::Evicted;
use self::one_series::{NO_USER, Series};
use self::returning::Returning;
use self::slots::{Newcomer, Slots};

/// The label values of a cgroup that is not known. No unit, slice or container has this name.
static UNKNOWN: LazyLock<Cgroup> = LazyLock::new(|| {
    let name: Arc<[u8]> = b"unknown".as_slice().into();
    Cgroup {
        unit: Arc::clone(&name),
        slice: Arc::clone(&name),
        container: name,
    }
});

/// The series of a view and their counts.
#[derive(Debug)]
pub struct View {
    labels: Vec<Label>,
    max_series: usize,
    /// Series that are never evicted.
    reserved: HashMap<Key, Series>,
    /// The other series.
    slots: Slots,
    /// Names without a slot.
    returning: Returning,
    evicted: Evicted,
    overflow: Counts,
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
            labels,
            max_series,
            reserved: HashMap::new(),
            slots: Slots::new(u32::MAX, max_series),
            returning: Returning::default(),
            evicted: Evicted::default(),
            overflow: Counts::default(),
            start: Timestamp::default(),
            flushed: Timestamp::default(),
            yielded: Counts::default(),
            unattributed_before: Counts::default(),
            recent_other: History::default(),
            other_recorded: 0,
        }
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
        let begin = |key| (key, Series::new(Timestamp::default(), NO_USER, 0));
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
            yielded: before,
            unattributed_before,
            ..self
        }
    }

    /// Takes over the counts of `old`, which must group by the same labels. `now` is the time since
    /// the start. If `old` has more series than this view has slots, the next new series evicts
    /// several.
    #[must_use]
    pub fn continuing(self, old: Self, now: Duration) -> Self {
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
            labels: self.labels,
            max_series: self.max_series,
            reserved,
            slots,
            evicted,
            ..old
        }
    }

    pub(super) fn saved(&self) -> SavedView {
        SavedView {
            reserved: self.reserved.iter().map(|(k, v)| (k.clone(), *v)).collect(),
            series: self.slots.iter().map(|(k, v)| (k.clone(), *v)).collect(),
            start: self.start,
            flushed: self.flushed,
            overflow: self.overflow,
            yielded: self.yielded,
            unattributed_before: self.unattributed_before,
            recent_other: self.recent_other.clone(),
            other_recorded: self.other_recorded,
            ..SavedView::without_counts(&self.labels)
        }
    }

    /// Returns the view that was saved, for a new view to [continue](Self::continuing), or None if
    /// this version does not have one of its labels. `now` is the time since the start.
    pub(super) fn resume(saved: SavedView, now: Duration) -> Option<Self> {
        let now = whole_seconds(now);
        let mut view = Self::new(saved.labels()?, 0);
        for (key, series) in saved.series {
            view.slots.insert(key, series.not_after(now));
        }
        Some(Self {
            reserved: saved.reserved.into_iter().collect(),
            start: saved.start,
            flushed: saved.flushed,
            overflow: saved.overflow,
            yielded: saved.yielded,
            unattributed_before: saved.unattributed_before,
            recent_other: saved.recent_other,
            other_recorded: saved.other_recorded,
            ..view
        })
    }

    /// Returns whether a view with these labels has the same metrics and series in Prometheus.
    pub fn has_labels(&self, labels: &[Label]) -> bool {
        let set = |labels: &[Label]| labels.iter().copied().collect::<BTreeSet<_>>();
        name(&self.labels) == name(labels) && set(&self.labels) == set(labels)
    }

    pub fn labels(&self) -> &[Label] {
        &self.labels
    }

    /// Tells the view when the last flush began.
    pub fn flushed(&mut self, began: Timestamp) {
        self.flushed = began;
    }

    /// Adds `more` to the series of a subject, or to the overflow if it has no series and gets no
    /// slot. `now` is the time since the start. `cgroup` is the subject's cgroup, if it is known.
    pub fn add(&mut self, subject: &Subject, cgroup: Option<&Cgroup>, now: Duration, more: Counts) {
        let key = self.key(subject, cgroup);
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
            if seconds == 0 || is_by_user_alone(&self.labels) {
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
        self.slots.insert(key, series);
    }

    fn remove(&mut self, key: &Key, series: &Series) {
        self.evicted.keep(key, series.last_shown());
        let shown = series.shown();
        let unseen = series.counts - shown;
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
            key: key.clone(),
            counts: series.counts,
            start: series.start,
        });
        ViewCounts {
            labels: self.labels.clone(),
            series: series.collect(),
            overflow: self.overflow,
            start: self.start,
            yielded: self.yielded,
            unattributed_before: self.unattributed_before,
            recent_other: self.recent_other.clone(),
            max_series: self.max_series,
        }
    }

    fn key(&self, subject: &Subject, cgroup: Option<&Cgroup>) -> Key {
        let cgroup = cgroup.unwrap_or(&UNKNOWN);
        let mut key = Key::default();
        for label in &self.labels {
            match label {
                Label::Comm => key.comm = subject.comm,
                Label::ParentComm => key.parent_comm = subject.parent_comm,
                Label::Uid | Label::User => key.uid = subject.uid,
                Label::Unit => key.unit = Some(Arc::clone(&cgroup.unit)),
                Label::Slice => key.slice = Some(Arc::clone(&cgroup.slice)),
                Label::Container => key.container = Some(Arc::clone(&cgroup.container)),
            }
        }
        key
    }
}

fn whole_seconds(time: Duration) -> u32 {
    u32::try_from(time.as_secs()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
