//! What the last scrape showed of series that have been evicted since.
//!
//! The counts are in a table of fixed size, by hashes of the names. The hash of a name selects a set
//! of four entries, in which a new entry replaces the oldest one. If the hashes of two names collide,
//! one of them is taken for the other. Its series may then begin with a limit that it does not need
//! ([`Series::count`](super::one_series::Series::count)).

use std::hash::{BuildHasher, Hash, RandomState};

use super::counts::Counts;

/// The number of entries in a set.
const WAYS: usize = 4;

/// The number of sets. With entries of 16 bytes, the table has 32 KiB. It is allocated when it is
/// first needed.
const SETS: usize = 512;

#[derive(Debug, Clone, Copy, Default)]
struct Entry {
    /// The part of the hash that does not select the set.
    hash: u32,
    /// Execs, at most `u32::MAX`. An entry without execs and CPU time is unused.
    execs: u32,
    cpu_ns: u64,
}

#[derive(Debug, Default)]
pub(super) struct Evicted {
    /// The seed is random, because users choose the names.
    hasher: RandomState,
    /// In each set, the newest entry is first.
    sets: Vec<[Entry; WAYS]>,
}

impl Evicted {
    /// Keeps what the last scrape showed of a series.
    pub(super) fn keep(&mut self, name: &impl Hash, shown: Counts) {
        if shown == Counts::default() {
            return;
        }
        if self.sets.is_empty() {
            self.sets = vec![Default::default(); SETS];
        }
        let (hash, set) = self.find(name);
        set.rotate_right(1);
        set[0] = Entry {
            hash,
            execs: u32::try_from(shown.execs).unwrap_or(u32::MAX),
            cpu_ns: shown.cpu_ns,
        };
    }

    /// Removes and returns what the last scrape showed of a series, or 0 if that is not known.
    pub(super) fn take(&mut self, name: &impl Hash) -> Counts {
        if self.sets.is_empty() {
            return Counts::default();
        }
        let (hash, set) = self.find(name);
        let found = set
            .iter()
            .position(|entry| entry.hash == hash && (entry.execs > 0 || entry.cpu_ns > 0));
        let Some(found) = found else {
            return Counts::default();
        };
        set[found..].rotate_left(1);
        let entry = std::mem::take(&mut set[WAYS - 1]);
        Counts {
            execs: entry.execs.into(),
            cpu_ns: entry.cpu_ns,
        }
    }

    /// Returns the part of a name's hash that identifies it within its set, and the set.
    fn find(&mut self, name: &impl Hash) -> (u32, &mut [Entry; WAYS]) {
        let hash = self.hasher.hash_one(name);
        let [a, b, c, d, rest @ ..] = hash.to_le_bytes();
        let set = u32::from_le_bytes([a, b, c, d]) as usize % SETS;
        (u32::from_le_bytes(rest), &mut self.sets[set])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(n: u64) -> Counts {
        Counts {
            execs: n,
            cpu_ns: 2 * n,
        }
    }

    #[test]
    fn what_was_kept_is_returned_once() {
        let mut evicted = Evicted::default();
        assert_eq!(evicted.take(&"a"), counts(0));
        evicted.keep(&"a", counts(7));
        evicted.keep(&"b", counts(0));
        assert_eq!(evicted.take(&"b"), counts(0));
        assert_eq!(evicted.take(&"a"), counts(7));
        assert_eq!(evicted.take(&"a"), counts(0));
    }

    #[test]
    fn the_newest_names_are_kept_however_many_there_are() {
        let mut evicted = Evicted::default();
        for n in 1..=100_000_u64 {
            evicted.keep(&n, counts(n));
        }
        // Each set of four entries has had 195 names, on average.
        let known = |evicted: &mut Evicted, n: u64| evicted.take(&n) == counts(n);
        let newest = (99_981..=100_000).filter(|n| known(&mut evicted, *n));
        assert_eq!(newest.count(), 20);
        let oldest = (1..=10_000).filter(|n| known(&mut evicted, *n));
        assert_eq!(oldest.count(), 0);
    }

    #[test]
    fn more_execs_than_an_entry_can_hold_count_as_fewer() {
        let mut evicted = Evicted::default();
        evicted.keep(&"a", counts(u64::from(u32::MAX) + 5));
        assert_eq!(evicted.take(&"a").execs, u64::from(u32::MAX));
    }
}
