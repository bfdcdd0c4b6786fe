//! The counts of a series as it keeps them.

use serde::{Deserialize, Serialize};

use super::counts::{Counts, Exits};

/// Counts that need a third of the memory of [`Counts`] as long as none of them is of exits, which
/// most views do not count.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(from = "Counts", into = "Counts")]
pub(super) struct StoredCounts {
    execs: u64,
    cpu_ns: u64,
    of_exits: Option<Box<OfExits>>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct OfExits {
    exits: Exits,
    lifetime_ns: u64,
}

impl StoredCounts {
    pub(super) fn get(&self) -> Counts {
        let of_exits = self.of_exits.as_deref();
        Counts {
            execs: self.execs,
            cpu_ns: self.cpu_ns,
            exits: of_exits.map_or_else(Exits::default, |of| of.exits),
            lifetime_ns: of_exits.map_or(0, |of| of.lifetime_ns),
        }
    }

    pub(super) fn set(&mut self, counts: Counts) {
        self.execs = counts.execs;
        self.cpu_ns = counts.cpu_ns;
        let of_exits = OfExits {
            exits: counts.exits,
            lifetime_ns: counts.lifetime_ns,
        };
        if of_exits == OfExits::default() {
            self.of_exits = None;
        } else {
            **self.of_exits.get_or_insert_default() = of_exits;
        }
    }
}

impl From<Counts> for StoredCounts {
    fn from(counts: Counts) -> Self {
        let mut stored = Self::default();
        stored.set(counts);
        stored
    }
}

impl From<StoredCounts> for Counts {
    fn from(stored: StoredCounts) -> Self {
        stored.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_set_is_returned() {
        let mut stored = StoredCounts::default();
        let of_exits = Counts {
            execs: 1,
            cpu_ns: 2,
            exits: [3, 4, 5, 6, 7],
            lifetime_ns: 8,
        };
        let without_exits = Counts {
            execs: 9,
            cpu_ns: 10,
            ..Counts::default()
        };
        for counts in [of_exits, without_exits, Counts::default(), of_exits] {
            stored.set(counts);
            assert_eq!(stored.get(), counts);
        }
    }
}
