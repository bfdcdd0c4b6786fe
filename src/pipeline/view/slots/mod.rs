//! The slots of a view: which series have one, and which series is evicted for a new one.
//!
//! If all slots are taken, an exec of a name without a slot evicts a series (in a view of failed execs
//! alone, a failed exec does)
//!
//! - at once, if the series has no execs or has been idle for `idle_after`;
//! - at once, if the user of the series has more than the share of the slots that a user can keep,
//!   and the user of the new name has less;
//! - if the series is at least [`SETTLED`] seconds old and the new name has been seen in more than
//!   twice as many different seconds as the series. The new series keeps these seconds, so that each
//!   eviction from a slot takes twice as long as the one before. Names that are made up to compete
//!   for a slot therefore cannot change its series often.
//!
//! The weakest series is evicted first; [`Rank`] is the order. Among series of the same kind, it is
//! the one seen in the fewest seconds.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::hash::RandomState;
use std::sync::Arc;

use super::key::Key;
use super::one_series::{NO_USER, Series};

/// The age in seconds from which a name that returns can evict a series in use. It is twice the usual
/// scrape interval, so that Prometheus has seen the series by then.
const SETTLED: u32 = 30;

/// How many of the weakest series are listed at a time, if no more of them are needed.
const LISTED: usize = 64;

/// The order in which series are evicted. The least rank is the weakest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    is_in_use: bool,
    is_within_share: bool,
    is_unsettled: bool,
    seconds: u32,
    last_used: u32,
}

/// A name that needs a slot: the user who executes it, and the number of different seconds in which
/// it was seen.
#[derive(Debug, Clone, Copy)]
pub(super) struct Newcomer {
    pub(super) user: u32,
    pub(super) seconds: u32,
}

#[derive(Debug)]
pub(super) struct Slots {
    /// How long a series must be unused to count as idle, in seconds.
    pub(super) idle_after: u32,
    /// The number of slots that a user can keep.
    pub(super) per_user: usize,
    /// The hash has a random seed, because users choose the names. Series are boxed because up to
    /// half of a hash map's memory is unused. Snapshots share the keys.
    series: HashMap<Arc<Key>, Box<Series>, RandomState>,
    /// The number of series by user.
    users: HashMap<u32, usize>,
    /// The weakest series at the time they were listed. The weakest one is last.
    weakest: Vec<(Rank, Arc<Key>)>,
    listed_at: Option<u32>,
    /// Whether any series has left `weakest` since it was listed.
    has_changed: bool,
}

impl Slots {
    pub(super) fn new(idle_after: u32, per_user: usize) -> Self {
        Self {
            idle_after,
            per_user,
            series: HashMap::new(),
            users: HashMap::new(),
            weakest: Vec::new(),
            listed_at: None,
            has_changed: false,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.series.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Arc<Key>, &Series)> {
        self.series.iter().map(|(key, series)| (key, &**series))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Series> {
        self.series.values_mut().map(Box::as_mut)
    }

    pub(super) fn get_mut(&mut self, key: &Key) -> Option<&mut Series> {
        self.series.get_mut(key).map(Box::as_mut)
    }

    pub(super) fn insert(&mut self, key: Arc<Key>, series: Series) {
        if series.user != NO_USER {
            *self.users.entry(series.user).or_default() += 1;
        }
        self.series.insert(key, Box::new(series));
    }

    pub(super) fn remove(&mut self, key: &Key) -> Option<Series> {
        let series = self.series.remove(key)?;
        if let Some(number) = self.users.get_mut(&series.user) {
            *number -= 1;
            if *number == 0 {
                self.users.remove(&series.user);
            }
        }
        Some(*series)
    }

    /// Removes and returns the weakest series if the newcomer can evict it. `needed` is the number of
    /// series that have to be evicted before the newcomer has a slot.
    pub(super) fn evict_for(
        &mut self,
        newcomer: Newcomer,
        needed: usize,
        now: u32,
    ) -> Option<(Arc<Key>, Series)> {
        if newcomer.seconds == 0 {
            return None;
        }
        let rank = self.weakest(needed, now)?;
        let takes_share = !rank.is_within_share && self.number(newcomer.user) < self.per_user;
        let is_weaker = !rank.is_unsettled && newcomer.seconds > rank.seconds.saturating_mul(2);
        let gives_way = !rank.is_in_use || takes_share || is_weaker;
        if !gives_way {
            return None;
        }
        self.has_changed = true;
        let (_, key) = self.weakest.pop()?;
        let series = self.remove(&key)?;
        Some((key, series))
    }

    /// Returns the rank of the weakest series, which is the last one of the list.
    ///
    /// Ranking all series takes too long to be done for each newcomer. They are ranked once per
    /// second, and again if the list is used up.
    fn weakest(&mut self, needed: usize, now: u32) -> Option<Rank> {
        loop {
            let is_used_up = self.weakest.is_empty() && self.has_changed;
            if self.listed_at != Some(now) || is_used_up {
                self.list(needed.max(LISTED), now);
            }
            let (rank, key) = self.weakest.last()?;
            let series = self.series.get(key);
            let is_within_share = |user| self.number(user) <= self.per_user;
            if series.is_some_and(|series| self.rank(series, is_within_share, now) == *rank) {
                return Some(*rank);
            }
            // The series has been used since it was listed, or its user has fewer series now.
            self.weakest.pop();
            self.has_changed = true;
        }
    }

    fn list(&mut self, length: usize, now: u32) {
        let users = self.users.iter();
        let above: HashSet<_> = users
            .filter_map(|(user, number)| (*number > self.per_user).then_some(*user))
            .collect();
        let is_within_share = |user| !above.contains(&user);
        let series = self.series.iter();
        let mut ranked: Vec<_> = series
            .map(|(key, series)| (self.rank(series, is_within_share, now), key))
            .collect();
        if ranked.len() > length {
            ranked.select_nth_unstable_by_key(length, |(rank, _)| *rank);
            ranked.truncate(length);
        }
        ranked.sort_unstable_by_key(|(rank, _)| Reverse(*rank));
        self.weakest = ranked
            .into_iter()
            .map(|(rank, key)| (rank, Arc::clone(key)))
            .collect();
        self.listed_at = Some(now);
        self.has_changed = false;
    }

    fn rank(&self, series: &Series, is_within_share: impl Fn(u32) -> bool, now: u32) -> Rank {
        let age = |since| now.saturating_sub(since);
        Rank {
            is_in_use: series.seconds > 0 && age(series.last_used) < self.idle_after,
            is_within_share: is_within_share(series.user),
            is_unsettled: age(series.created) < SETTLED,
            seconds: series.seconds,
            last_used: series.last_used,
        }
    }

    fn number(&self, user: u32) -> usize {
        self.users.get(&user).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
