//! Counts, for names without a slot, in how many different seconds each was seen.
//!
//! The counts are in a bounded table of hashes, in sets of four. If a set is full, a new name replaces the one
//! that has not been seen for longest, provided that this is at least [`HELD`]. Names that are
//! seen once therefore pass through the table, however many there are, and a name that is seen
//! every second stays once it is in. A count is too high only if two hashes collide. It does not
//! include the seconds before the name got into the table.

use std::hash::{BuildHasher, Hash, RandomState};

/// Names in a set.
const WAYS: usize = 4;

/// With entries of 8 bytes, the table has 64 KiB. It is allocated when it is first needed.
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
    /// 0 in an unused entry.
    seconds: u16,
}

#[derive(Debug, Default)]
pub(super) struct Returning {
    /// The seed is random, because users choose the names.
    hasher: RandomState,
    sets: Vec<[Entry; WAYS]>,
}

impl Returning {
    /// Returns the number of different seconds in which a name was seen, including `now`, in
    /// seconds since the start.
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

    /// Returns the hash of a name in its set, and the set.
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
        fn a_name_is_never_seen_in_more_seconds_than_it_was(
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
    fn a_name_that_returns_every_second_is_found_among_names_that_come_once() {
        // `once` new names come in each second. The other name is seen in at least `least` seconds
        // of a minute.
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
    fn a_name_seen_often_in_a_second_has_been_seen_in_one() {
        let mut returning = Returning::default();
        assert_eq!(
            [7, 7, 8, 9, 9].map(|now| returning.see(&"a", now)),
            [1, 1, 2, 3, 3]
        );
        returning.forget(&"a");
        assert_eq!(returning.see(&"a", 9), 1);
    }
}
