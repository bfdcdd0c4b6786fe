//! What programs that are no longer attached have counted. The programs of this daemon go on from
//! there.

use serde::{Deserialize, Serialize};

use crate::record::{ExitCounts, FailureCounts, Ledgers};

/// The sums of everything that replaced programs have counted.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
pub struct Base {
    pub ledgers: Ledgers,
    pub failures: FailureCounts,
    pub exits: ExitCounts,
}

impl Base {
    /// Returns whether no count is above `largest`.
    pub fn is_plausible(&self, largest: u64) -> bool {
        let failures = self.failures.iter().chain(self.failures.unattributed());
        let failures = failures.map(|(_, count)| count);
        let exits = self.exits.by_status().map(|(_, count)| count);
        let lifetimes = self.exits.lifetimes().iter().copied();
        let causes = [self.exits.oom_kills(), self.exits.core_dumps()];
        self.ledgers.is_plausible(largest)
            && causes.into_iter().all(|n| n <= largest)
            && failures.chain(exits).chain(lifetimes).all(|n| n <= largest)
            && self.exits.lifetime_ns() <= u128::MAX / 2
    }
}
