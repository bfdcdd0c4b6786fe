//! Counts, for names without a slot, in how many different seconds each was seen.
//!
//! The counts are in a table of fixed size, by hashes of the names. The hash of a name selects a set
//! of four entries. If these are in use, a new name replaces the one that has gone unseen for longest,
//! if that is for at least [`HELD`] seconds. Names that are seen once therefore pass through the
//! table, however many there are, while a name that is seen every second stays once it has an entry.
//! A count is too high only if two hashes collide. It does not include the seconds before the name
//! got its entry.

use std::hash::{BuildHasher, Hash, RandomState};

/// The number of entries in a set.
const WAYS: usize = 4;

/// The number of sets. With entries of 8 bytes, the table has 64 KiB. It is allocated when it is
/// first needed.
const SETS: usize = 2048;

/// The minimum number of seconds that a name stays in the table after it was seen.
const HELD: u16 = 3;

#[derive(Debug, Clone, Copy, Default)]
struct Entry {
    /// The part of the hash that does not select the set.
    hash: u32,
    /// In seconds since the start, modulo 2^16. An entry that has not been seen for 18 hours may
    /// therefore stay for three seconds more.
    last_seen: u16,
    /// In how many different seconds the name was seen; 0 in an unused entry.
    seconds: u16,
}

#[derive(Debug, Default)]
pub(super) struct Returning {
    /// The seed is random, because users choose the names.
    hasher: RandomState,
    sets: Vec<[Entry; WAYS]>,
}

impl Returning {
    /// Records that a name was seen at `now`, in seconds since the start. Returns the number of
    /// different seconds in which it has been seen, including this one.
    pub(super) fn see(&mut self, name: &impl Hash, now: u32) -> u32 {
        if self.sets.is_empty() {
            self.sets = vec![Default::default(); SETS];
        }
        let [low, high, ..] = now.to_le_bytes();
        let now = u16::from_le_bytes([low, high]);
        let (hash, set) = self.find(name);
        if let Some(entry) = set.iter_mut().find(|entry| entry.is(hash)) {
            let is_another_second = entry.last_seen != now;
            entry.seconds = entry.seconds.saturating_add(u16::from(is_another_second));
            entry.last_seen = now;
            return entry.seconds.into();
        }
        let unseen_for = |entry: &Entry| match entry.seconds {
            0 => u16::MAX,
            _ => now.wrapping_sub(entry.last_seen),
        };
        if let Some(entry) = set.iter_mut().max_by_key(|entry| unseen_for(entry))
            && unseen_for(entry) >= HELD
        {
            *entry = Entry {
                hash,
                last_seen: now,
                seconds: 1,
            };
        }
        1
    }

    pub(super) fn forget(&mut self, name: &impl Hash) {
        if self.sets.is_empty() {
            return;
        }
        let (hash, set) = self.find(name);
        if let Some(entry) = set.iter_mut().find(|entry| entry.is(hash)) {
            *entry = Entry::default();
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

impl Entry {
    fn is(self, hash: u32) -> bool {
        self.seconds > 0 && self.hash == hash
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_count_of_a_name_is_never_too_high(
            seen in proptest::collection::vec((0..100_000_u32, 0..3_u32), 0..2000),
            names in 1..100_000_u32,
            forgotten in any::<u32>(),
        ) {
            let mut returning = Returning::default();
            let mut exact = HashMap::<u32, HashSet<u32>>::new();
            let is_exact = names as usize <= WAYS;
            let mut now = 0;
            for (name, passed) in seen {
                let name = name % names;
                now += passed;
                let seconds = returning.see(&name, now);
                let exact = exact.entry(name).or_default();
                exact.insert(now);
                prop_assert!((1..=exact.len()).contains(&(seconds as usize)));
                if is_exact {
                    prop_assert_eq!(seconds as usize, exact.len());
                }
                if name == forgotten % names {
                    returning.forget(&name);
                    exact.clear();
                }
            }
        }
    }

    #[test]
    fn a_name_seen_every_second_is_counted_among_many_names_seen_once() {
        // In each second of a minute, `once` new names and one name that returns are seen. The
        // count of the latter reaches at least `least`.
        for (once, least) in [(0, 60), (5_000, 40), (10_000, 5)] {
            let mut returning = Returning::default();
            let mut seconds = 0;
            for now in 0..60 {
                for n in 0..=once {
                    if n == once / 2 {
                        seconds = returning.see(&u32::MAX, now);
                    } else {
                        returning.see(&(now * (once + 1) + n), now);
                    }
                }
            }
            assert!((least..=60).contains(&seconds), "{once}: {seconds}");
        }
    }

    #[test]
    fn a_second_in_which_a_name_is_seen_several_times_counts_once() {
        let mut returning = Returning::default();
        assert_eq!(
            [7, 7, 8, 9, 9].map(|now| returning.see(&"a", now)),
            [1, 1, 2, 3, 3]
        );
        returning.forget(&"a");
        assert_eq!(returning.see(&"a", 9), 1);
    }
}
