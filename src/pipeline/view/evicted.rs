//! What the last scrape showed of series that have been evicted since.
//!
//! The counts are in a table of fixed size, by hashes of the names. The hash of a name selects a set
//! of four entries, in which a new entry replaces the oldest one. If the hashes of two names collide,
//! one of them is taken for the other. Its series may then begin with a limit that it does not need
//! ([`Series::count`](super::one_series::Series::count)).

use std::hash::{BuildHasher, Hash, RandomState};

use super::counts::Counts;
use super::failures::Failures;
use crate::record::Outcome;

/// The number of entries in a set.
const WAYS: usize = 4;

/// The number of sets. With entries of 16 bytes, the table has 32 KiB, and with those of exits, 96 KiB.
/// Failed execs take 336 KiB more. Each part is allocated when it is first needed.
const SETS: usize = 512;

#[derive(Debug, Clone, Copy, Default)]
struct Entry {
    /// The part of the hash that does not select the set.
    hash: u32,
    /// Execs, at most `u32::MAX`. An entry without counts is unused.
    execs: u32,
    cpu_ns: u64,
}

/// What an entry has of exits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct OfExits {
    lifetime_ns: u64,
    /// Exits by outcome, each at most `u32::MAX`.
    exits: [u32; Outcome::ALL.len()],
}

#[derive(Debug, Default)]
pub(super) struct Evicted {
    /// The seed is random, because users choose the names.
    hasher: RandomState,
    /// In each set, the newest entry is first.
    sets: Vec<[Entry; WAYS]>,
    /// In the same order. Empty if no entry has any.
    of_exits: Vec<[OfExits; WAYS]>,
    /// The same.
    of_failures: Vec<[Failures; WAYS]>,
}

fn counts(entry: Entry, of_exits: OfExits) -> Counts {
    Counts {
        execs: entry.execs.into(),
        cpu_ns: entry.cpu_ns,
        exits: of_exits.exits.map(u64::from),
        lifetime_ns: of_exits.lifetime_ns,
    }
}

impl Evicted {
    /// Keeps what the last scrape showed of a series.
    pub(super) fn keep(&mut self, name: &impl Hash, shown: Counts, failures: Failures) {
        if shown == Counts::default() && failures == Failures::default() {
            return;
        }
        if self.sets.is_empty() {
            self.sets = vec![Default::default(); SETS];
        }
        let limited = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        let of_exits = OfExits {
            lifetime_ns: shown.lifetime_ns,
            exits: shown.exits.map(limited),
        };
        if of_exits != OfExits::default() && self.of_exits.is_empty() {
            self.of_exits = vec![Default::default(); SETS];
        }
        if failures != Failures::default() && self.of_failures.is_empty() {
            self.of_failures = vec![Default::default(); SETS];
        }
        let (hash, set) = self.find(name);
        self.sets[set].rotate_right(1);
        self.sets[set][0] = Entry {
            hash,
            execs: limited(shown.execs),
            cpu_ns: shown.cpu_ns,
        };
        if let Some(entries) = self.of_exits.get_mut(set) {
            entries.rotate_right(1);
            entries[0] = of_exits;
        }
        if let Some(entries) = self.of_failures.get_mut(set) {
            entries.rotate_right(1);
            entries[0] = failures;
        }
    }

    /// Removes and returns what the last scrape showed of a series, or 0 if that is not known.
    pub(super) fn take(&mut self, name: &impl Hash) -> (Counts, Failures) {
        if self.sets.is_empty() {
            return Default::default();
        }
        let (hash, set) = self.find(name);
        let of_exits = |way: usize| {
            self.of_exits
                .get(set)
                .map_or_else(OfExits::default, |of| of[way])
        };
        let failures = |way: usize| {
            self.of_failures
                .get(set)
                .map_or_else(Failures::default, |of| of[way])
        };
        let mut entries = self.sets[set].iter().enumerate();
        let found = entries.find_map(|(way, entry)| {
            let shown = (counts(*entry, of_exits(way)), failures(way));
            (entry.hash == hash && shown != Default::default()).then_some((way, shown))
        });
        let Some((way, shown)) = found else {
            return Default::default();
        };
        // The entry becomes the oldest one, and unused.
        self.sets[set][way..].rotate_left(1);
        self.sets[set][WAYS - 1] = Entry::default();
        if let Some(entries) = self.of_exits.get_mut(set) {
            entries[way..].rotate_left(1);
            entries[WAYS - 1] = OfExits::default();
        }
        if let Some(entries) = self.of_failures.get_mut(set) {
            entries[way..].rotate_left(1);
            entries[WAYS - 1] = Failures::default();
        }
        shown
    }

    /// Returns the part of a name's hash that identifies it within its set, and the index of the set.
    fn find(&self, name: &impl Hash) -> (u32, usize) {
        let hash = self.hasher.hash_one(name);
        let [a, b, c, d, rest @ ..] = hash.to_le_bytes();
        let set = u32::from_le_bytes([a, b, c, d]) as usize % SETS;
        (u32::from_le_bytes(rest), set)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(n: u64) -> (Counts, Failures) {
        let counts = Counts {
            execs: n,
            cpu_ns: 2 * n,
            exits: [0, n / 2, n / 3, n / 5, n / 7].map(|exits| exits.min(u32::MAX.into())),
            lifetime_ns: 3 * n,
        };
        (counts, Failures::of(2, n / 4))
    }

    fn keep(evicted: &mut Evicted, name: &impl Hash, n: u64) {
        let (counts, failures) = shown(n);
        evicted.keep(name, counts, failures);
    }

    #[test]
    fn what_was_kept_is_returned_once() {
        let mut evicted = Evicted::default();
        assert_eq!(evicted.take(&"a"), shown(0));
        keep(&mut evicted, &"a", 7);
        keep(&mut evicted, &"b", 0);
        assert_eq!(evicted.take(&"b"), shown(0));
        assert_eq!(evicted.take(&"a"), shown(7));
        assert_eq!(evicted.take(&"a"), shown(0));
    }

    #[test]
    fn the_newest_names_are_kept_however_many_there_are() {
        let mut evicted = Evicted::default();
        for n in 1..=100_000_u64 {
            keep(&mut evicted, &n, n);
        }
        // Each set of four entries has had 195 names, on average.
        let known = |evicted: &mut Evicted, n: u64| evicted.take(&n) == shown(n);
        let newest = (99_981..=100_000).filter(|n| known(&mut evicted, *n));
        assert_eq!(newest.count(), 20);
        let oldest = (1..=10_000).filter(|n| known(&mut evicted, *n));
        assert_eq!(oldest.count(), 0);
    }

    #[test]
    fn more_execs_than_an_entry_can_hold_count_as_fewer() {
        let mut evicted = Evicted::default();
        keep(&mut evicted, &"a", u64::from(u32::MAX) + 5);
        assert_eq!(evicted.take(&"a").0.execs, u64::from(u32::MAX));
    }
}
