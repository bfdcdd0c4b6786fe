//! What one daemon hands over to the next about the counting, in addition to the counts.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::capture::{Handover, KernelSide};

/// Since when the counters count, and what has happened to them since.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
pub struct Continuity {
    /// When the counters began at 0, in milliseconds since the epoch.
    pub counting_since_ms: u64,
    /// How often a daemon continued with the attached programs of its predecessor.
    pub adopted: u64,
    /// How often a daemon continued the counts of its predecessor with other programs.
    pub replaced: u64,
    /// For how long no programs observed since the counters began, in nanoseconds.
    pub unobserved_ns: u64,
    /// Which descriptors in the store are those of `kernel`.
    pub generation: u32,
    pub kernel: KernelSide,
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

    /// Records that a daemon has continued with the kernel side of its predecessor, which is now
    /// `kernel`.
    pub fn hand_over(&mut self, handover: Handover, kernel: KernelSide) {
        self.kernel = kernel;
        let unobserved = match handover {
            Handover::Adopted(unobserved) => {
                self.adopted += 1;
                unobserved
            }
            Handover::Replaced(unobserved) => {
                self.replaced += 1;
                unobserved
            }
        };
        let ns = u64::try_from(unobserved.as_nanos()).unwrap_or(u64::MAX);
        self.unobserved_ns = self.unobserved_ns.saturating_add(ns);
    }

    /// Returns whether no count is above `largest`.
    pub(super) fn is_plausible(&self, largest: u64) -> bool {
        self.adopted <= largest && self.replaced <= largest && self.kernel.is_plausible(largest)
    }
}
