//! A view: execs and CPU time by a set of labels, with a bounded number of series.

use std::collections::{BTreeSet, HashMap};
use std::hash::RandomState;
use std::sync::Arc;
use std::time::Duration;

use lru::LruCache;

use crate::names::cgroup::Cgroup;
use crate::record::Subject;

mod key;

pub use self::key::{Key, Label, grouping, is_by_user_alone, key_of, name};

/// The counts of a series.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Successful execs.
    pub execs: u64,
    /// CPU time of processes that have exited, in nanoseconds.
    pub cpu_ns: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, more: Self) {
        self.execs += more.execs;
        self.cpu_ns += more.cpu_ns;
    }
}

/// The series of a view and their counts.
#[derive(Debug)]
pub struct View {
    labels: Vec<Label>,
    max_series: usize,
    idle_after: Duration,
    /// Series that are never evicted.
    reserved: HashMap<Key, Counts>,
    /// The other series in the order of their last use. The hash has a random seed, because users
    /// choose the names.
    series: LruCache<Key, Series, RandomState>,
    overflow: Counts,
    /// The counts of evicted series and of cgroups whose name is not known.
    nameless: Counts,
}

#[derive(Debug)]
struct Series {
    counts: Counts,
    last_used: Duration,
}

/// The counts of a view at a flush.
#[derive(Debug, Clone, Default)]
pub struct ViewCounts {
    pub labels: Vec<Label>,
    /// In no particular order.
    pub series: Vec<(Key, Counts)>,
    /// What has no series for lack of a free slot.
    pub overflow: Counts,
    /// What else has no series: the counts of evicted series and of cgroups whose name is not
    /// known.
    pub nameless: Counts,
    /// The number of slots.
    pub max_series: usize,
}

impl View {
    /// A view without counts, in which no series is evicted.
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

    /// Sets how long a series must have been idle before a new one can evict it.
    #[must_use]
    pub fn idle_after(self, idle_after: Duration) -> Self {
        Self { idle_after, ..self }
    }

    /// Adds series that exist from the start and are never evicted.
    #[must_use]
    pub fn reserve(mut self, keys: impl IntoIterator<Item = Key>) -> Self {
        let counts = keys.into_iter().map(|key| (key, Counts::default()));
        self.reserved.extend(counts);
        self
    }

    /// Starts with these counts, which are from before the view existed and have no series.
    #[must_use]
    pub fn beginning_with(self, nameless: Counts) -> Self {
        Self { nameless, ..self }
    }

    /// Takes over the counts of `old`, a view that groups alike, at this time since the start. If
    /// `old` has more series than there are slots, they are evicted as they become idle.
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

    /// Returns whether a view with these labels has the same series.
    pub fn groups_by(&self, labels: &[Label]) -> bool {
        let set = |labels| grouping(labels).collect::<BTreeSet<_>>();
        set(&self.labels) == set(labels)
    }

    pub fn labels(&self) -> &[Label] {
        &self.labels
    }

    /// Counts for a subject at this time since the start: under its series, or as overflow if it has
    /// none and no slot is free. `cgroup` is the cgroup of the subject, if it is known.
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
        } else if self.has_slot(now) {
            let series = Series {
                counts: more,
                last_used: now,
            };
            self.series.put(key, series);
        } else {
            self.overflow += more;
        }
    }

    /// Returns whether a slot is free, after evicting the series that has been idle longest if
    /// necessary, or several if there are more series than slots.
    fn has_slot(&mut self, now: Duration) -> bool {
        while self.reserved.len() + self.series.len() >= self.max_series {
            // Uids with the same name are shown as one series, which must not decrease.
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

    /// Returns None if a label comes from the cgroup and the cgroup is not known.
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
