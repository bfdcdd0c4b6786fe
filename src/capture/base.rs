//! What the programs of earlier daemons have counted, and the programs of this one go on from.

use serde::{Deserialize, Serialize};

use crate::record::{ExitCounts, FailureCounts, Kind, Ledger, Ledgers};

/// The sums of everything that programs which are no longer attached have counted.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(from = "Saved", into = "Saved")]
pub struct Base {
    pub ledgers: Ledgers,
    pub failures: FailureCounts,
    pub exits: ExitCounts,
}

/// The form in which a [`Base`] is saved. It does not depend on the records of `bpf/execsnoop.h`,
/// which another version may change.
#[derive(Serialize, Deserialize)]
struct Saved {
    ledgers: Vec<SavedLedger>,
    failures: Vec<(i32, u64)>,
    exits: Vec<(i32, u64)>,
    lifetimes: Vec<u64>,
    lifetime_ns: u128,
}

#[derive(Serialize, Deserialize)]
struct SavedLedger {
    sent: u64,
    tallied: u64,
    unattributed: u64,
    buffer_full: u64,
    no_buffer: u64,
    other: u64,
    recovered: i64,
    unattributed_cpu_ns: u64,
    seen: u64,
}

impl From<Base> for Saved {
    fn from(base: Base) -> Self {
        let ledgers = Kind::ALL.map(|kind| {
            let ledger = base.ledgers[kind];
            SavedLedger {
                sent: ledger.sent,
                tallied: ledger.tallied,
                unattributed: ledger.unattributed,
                buffer_full: ledger.buffer_full,
                no_buffer: ledger.no_buffer,
                other: ledger.other,
                recovered: ledger.recovered,
                unattributed_cpu_ns: ledger.unattributed_cpu_ns,
                seen: ledger.seen,
            }
        });
        let exits = base.exits.by_status();
        Self {
            ledgers: ledgers.into(),
            failures: base.failures.iter().collect(),
            exits: exits.map(|(status, n)| (status.wait_status(), n)).collect(),
            lifetimes: base.exits.lifetimes().to_vec(),
            lifetime_ns: base.exits.lifetime_ns(),
        }
    }
}

impl From<Saved> for Base {
    fn from(saved: Saved) -> Self {
        let mut base = Self::default();
        for (kind, ledger) in Kind::ALL.into_iter().zip(saved.ledgers) {
            base.ledgers[kind] = Ledger {
                sent: ledger.sent,
                tallied: ledger.tallied,
                unattributed: ledger.unattributed,
                buffer_full: ledger.buffer_full,
                no_buffer: ledger.no_buffer,
                other: ledger.other,
                recovered: ledger.recovered,
                unattributed_cpu_ns: ledger.unattributed_cpu_ns,
                seen: ledger.seen,
            };
        }
        for (errno, n) in saved.failures {
            base.failures.add(errno, n);
        }
        for (status, n) in saved.exits {
            base.exits.add(status, n);
        }
        base.exits
            .add_lifetimes(&saved.lifetimes, saved.lifetime_ns);
        base
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_is_the_same_after_it_was_saved() {
        let mut base = Base::default();
        base.ledgers[Kind::CpuTime] = Ledger {
            sent: 1,
            tallied: 2,
            unattributed: 3,
            buffer_full: 4,
            no_buffer: 5,
            other: 6,
            recovered: -7,
            unattributed_cpu_ns: 8,
            seen: 9,
        };
        base.failures.add(2, 10);
        base.exits.add(3 << 8, 11);
        base.exits.add(9, 12);
        base.exits.add_lifetime(1_000_001);
        let again = Base::from(Saved::from(base.clone()));
        assert_eq!(format!("{again:?}"), format!("{base:?}"));
        assert_eq!(again.exits, base.exits);
    }
}
