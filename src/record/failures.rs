//! Counts of failed execs.

use std::mem::size_of;

use serde::{Deserialize, Serialize};

use super::bytes::{DecodeError, exact};
use crate::bpf::types;

/// Failed execs by errno: `struct failures` of `bpf/execsnoop.h`, or the sum of several.
#[derive(Clone, Copy, Deserialize, Serialize)]
#[serde(from = "Vec<(i32, u64)>", into = "Vec<(i32, u64)>")]
pub struct FailureCounts(types::failures);

impl FailureCounts {
    /// The counts that are not 0, with their errno.
    pub fn iter(&self) -> impl Iterator<Item = (i32, u64)> {
        (0..).zip(self.0.by_errno).filter(|(_, count)| *count > 0)
    }

    pub fn add(&mut self, errno: i32, count: u64) {
        if let Some(sum) = usize::try_from(errno)
            .ok()
            .and_then(|i| self.0.by_errno.get_mut(i))
        {
            *sum = sum.saturating_add(count);
        }
    }

    pub fn total(&self) -> u64 {
        self.0.by_errno.iter().sum()
    }
}

impl Default for FailureCounts {
    fn default() -> Self {
        Self(types::failures {
            by_errno: [0; size_of::<types::failures>() / size_of::<u64>()],
        })
    }
}

impl std::fmt::Debug for FailureCounts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl std::ops::AddAssign for FailureCounts {
    fn add_assign(&mut self, cpu: Self) {
        for (sum, count) in self.0.by_errno.iter_mut().zip(cpu.0.by_errno) {
            *sum += count;
        }
    }
}

impl From<Vec<(i32, u64)>> for FailureCounts {
    fn from(counts: Vec<(i32, u64)>) -> Self {
        let mut failures = Self::default();
        for (errno, count) in counts {
            failures.add(errno, count);
        }
        failures
    }
}

impl From<FailureCounts> for Vec<(i32, u64)> {
    fn from(failures: FailureCounts) -> Self {
        failures.iter().collect()
    }
}

/// Decodes the counts of one CPU.
pub fn decode_failures(bytes: &[u8]) -> Result<FailureCounts, DecodeError> {
    exact(bytes).map(FailureCounts)
}
