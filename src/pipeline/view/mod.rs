//! A view: execs and CPU time by some of a subject's fields, within a budget of series.

use std::collections::{BTreeSet, HashMap};
use std::hash::RandomState;
use std::sync::Arc;
use std::time::Duration;

use lru::LruCache;

use crate::names::cgroup::Cgroup;
use crate::record::Subject;

mod key;

pub use self::key::{Key, Label, comm, grouping, is_by_user_alone, key_of, name, uid};

/// What is counted of each series.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Successful execs.
    pub execs: u64,
    /// CPU time of processes that have ended, in nanoseconds.
    pub cpu_ns: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, more: Self) {
        self.execs += more.execs;
        self.cpu_ns += more.cpu_ns;
    }
}

/// The counts of a view.
#[derive(Debug)]
pub struct View {
    labels: Vec<Label>,
    max_series: usize,
    idle_after: Duration,
    /// Those that keep their place whatever comes.
    reserved: HashMap<Key, Counts>,
    /// The others, in the order of their last use. Hashed with a random seed: whoever
    /// executes chooses the names.
    series: LruCache<Key, Series, RandomState>,
    overflow: Counts,
    /// Of series that have given up their place, and of cgroups whose name is not known.
    nameless: Counts,
}

#[derive(Debug)]
struct Series {
    counts: Counts,
    last_used: Duration,
}

/// A view's counts at a moment.
#[derive(Debug, Clone, Default)]
pub struct ViewCounts {
    /// What it groups by.
    pub labels: Vec<Label>,
    /// Counts by key, in no order.
    pub series: Vec<(Key, Counts)>,
    /// What found no place for a series of its own.
    pub overflow: Counts,
    /// What else has no series: those of idle ones that gave up their place, and of cgroups
    /// whose name is not known.
    pub nameless: Counts,
    /// How many series there may be.
    pub max_series: usize,
}

impl View {
    /// A view without any count yet, none of whose series ever gives up its place.
    pub fn new(labels: Vec<Label>, max_series: usize) -> Self {
        Self {
            labels,
            max_series,
            idle_after: Duration::MAX,
            reserved: HashMap::new(),
            series: LruCache::unbounded_with_hasher(RandomState::new()),
            overflow: Counts::default(),
            nameless: Counts::default(),
        }
    }

    /// For how long a series must have been idle before a new one may take its place.
    #[must_use]
    pub fn idle_after(self, idle_after: Duration) -> Self {
        Self { idle_after, ..self }
    }

    /// Series that are there from the start and keep their place.
    #[must_use]
    pub fn reserve(mut self, keys: impl IntoIterator<Item = Key>) -> Self {
        let counts = keys.into_iter().map(|key| (key, Counts::default()));
        self.reserved.extend(counts);
        self
    }

    /// Begin with these counts, of no series: those from before it was there.
    #[must_use]
    pub fn beginning_with(self, nameless: Counts) -> Self {
        Self { nameless, ..self }
    }

    /// Go on with the counts of `old`, a view of the same grouping, at this time since some
    /// beginning. If it has more series than there may be now, they yield as they idle.
    #[must_use]
    pub fn continuing(mut self, old: Self, now: Duration) -> Self {
        self.overflow = old.overflow;
        self.nameless = old.nameless;
        self.series = old.series;
        for (key, counts) in old.reserved {
            let last_used = now;
            self.series.put(key, Series { counts, last_used });
        }
        for (key, counts) in &mut self.reserved {
            if let Some(series) = self.series.pop(key) {
                *counts = series.counts;
            }
        }
        self
    }

    /// Whether a view of these labels counts the same under other names, if at all.
    pub fn groups_by(&self, labels: &[Label]) -> bool {
        let set = |labels| grouping(labels).collect::<BTreeSet<_>>();
        set(&self.labels) == set(labels)
    }

    /// What it groups by.
    pub fn labels(&self) -> &[Label] {
        &self.labels
    }

    /// Count for the subject, at this time since some beginning, under its own series or,
    /// if there is none and no place for it, as overflow. `cgroup` is what is known of the
    /// subject's.
    pub fn add(&mut self, subject: &Subject, cgroup: Option<&Cgroup>, now: Duration, more: Counts) {
        let Some(key) = self.key(subject, cgroup) else {
            self.nameless += more;
            return;
        };
        if let Some(counts) = self.reserved.get_mut(&key) {
            *counts += more;
        } else if let Some(series) = self.series.get_mut(&key) {
            series.counts += more;
            series.last_used = now;
        } else if self.has_place(now) {
            let series = Series {
                counts: more,
                last_used: now,
            };
            self.series.put(key, series);
        } else {
            self.overflow += more;
        }
    }

    /// Whether there is a place, made by the series that has been idle for longest if need
    /// be; by more than one where there are more than there may be.
    fn has_place(&mut self, now: Duration) -> bool {
        while self.reserved.len() + self.series.len() >= self.max_series {
            // Uids of one name are one series to others: its counts must not go back.
            if is_by_user_alone(&self.labels) {
                return false;
            }
            let is_idle = |series: &Series| now.saturating_sub(series.last_used) >= self.idle_after;
            if !self
                .series
                .peek_lru()
                .is_some_and(|(_, series)| is_idle(series))
            {
                return false;
            }
            if let Some((_, idle)) = self.series.pop_lru() {
                self.nameless += idle.counts;
            }
        }
        true
    }

    /// The counts as they are now.
    pub fn counts(&self) -> ViewCounts {
        let reserved = self.reserved.iter().map(|(k, v)| (k.clone(), *v));
        let others = self.series.iter().map(|(k, v)| (k.clone(), v.counts));
        ViewCounts {
            labels: self.labels.clone(),
            series: reserved.chain(others).collect(),
            overflow: self.overflow,
            nameless: self.nameless,
            max_series: self.max_series,
        }
    }

    /// None if the view is by cgroup and the subject's is not known.
    fn key(&self, subject: &Subject, cgroup: Option<&Cgroup>) -> Option<Key> {
        let mut key = Key::default();
        for label in &self.labels {
            match label {
                Label::Comm => key.comm = subject.comm,
                Label::ParentComm => key.parent_comm = subject.parent_comm,
                Label::Uid | Label::User => key.uid = subject.uid,
                Label::Unit => key.unit = Some(Arc::clone(&cgroup?.unit)),
                Label::Slice => key.slice = Some(Arc::clone(&cgroup?.slice)),
                Label::Container => key.container = Some(Arc::clone(&cgroup?.container)),
            }
        }
        Some(key)
    }
}

#[cfg(test)]
mod tests;
