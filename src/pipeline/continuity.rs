//! What one daemon hands over to the next about the counting, in addition to the counts.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::record::{ExitCounts, FailureCounts, Kind, Ledgers};

/// Since when the counters count, and what has happened to them since.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
pub struct Continuity {
    /// When the counters began at 0, in milliseconds since the epoch.
    pub counting_since_ms: u64,
    /// How often a daemon continued with the attached programs of its predecessor.
    pub adopted: u64,
    /// How often a daemon continued the counts of its predecessor with other programs.
    pub replaced: u64,
    /// For how long no programs were attached since the counters began, in nanoseconds.
    pub unobserved_ns: u64,
    pub kernel: KernelSide,
}

/// What is attached, and what was counted by programs that are not attached any more.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
pub struct KernelSide {
    /// Identifies the object file and the options with which it was loaded.
    pub fingerprint: String,
    pub transport: String,
    /// The attached programs by their names in `bpf/`, standby copies included.
    pub programs: Vec<String>,
    pub base: Base,
}

/// What replaced programs have counted. The counts of the current programs are added to it.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
pub struct Base {
    pub ledgers: Ledgers,
    pub failures: FailureCounts,
    pub exits: ExitCounts,
}

impl Continuity {
    /// Counters that begin at 0.
    pub fn new(counting_since: SystemTime, kernel: KernelSide) -> Self {
        let since = counting_since.duration_since(SystemTime::UNIX_EPOCH);
        let since = since.unwrap_or(Duration::ZERO).as_millis();
        Self {
            counting_since_ms: u64::try_from(since).unwrap_or(u64::MAX),
            kernel,
            ..Self::default()
        }
    }

    /// Returns whether no count is above `largest`.
    pub(super) fn is_plausible(&self, largest: u64) -> bool {
        self.adopted <= largest
            && self.replaced <= largest
            && self.kernel.base.is_plausible(largest)
    }
}

impl Base {
    /// Adds what programs have counted that are being replaced, without what is already in the base.
    pub fn add(&mut self, ledgers: &Ledgers, failures: FailureCounts, exits: ExitCounts) {
        for kind in Kind::ALL {
            self.ledgers[kind] += ledgers[kind];
            // This belongs to statistics of the replaced programs, which end with them.
            self.ledgers[kind].recovered = 0;
        }
        self.failures += failures;
        self.exits += exits;
    }

    fn is_plausible(&self, largest: u64) -> bool {
        let failures = self.failures.iter().map(|(_, count)| count);
        let exits = self.exits.by_status().map(|(_, count)| count);
        let lifetimes = self.exits.lifetimes().iter().copied();
        self.ledgers.is_plausible(largest)
            && failures.chain(exits).chain(lifetimes).all(|n| n <= largest)
            && self.exits.lifetime_ns() <= u128::MAX / 2
    }
}
