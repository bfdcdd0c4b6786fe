//! Counts of failed execs.

use serde::{Deserialize, Serialize};

use super::bytes::{DecodeError, exact};
use crate::bpf::types;

/// `ERRNO_MAX` of `bpf/execsnoop.h`.
const ERRNOS: usize = 256;

/// Failed execs by errno: `struct failures` of `bpf/execsnoop.h`, or the sum of several.
#[derive(Clone, Copy, Deserialize, Serialize)]
#[serde(from = "[Sparse; 2]", into = "[Sparse; 2]")]
pub struct FailureCounts(types::failures);

/// The counts that are not 0, with their errno.
type Sparse = Vec<(i32, u64)>;

fn sparse(counts: &[u64]) -> impl Iterator<Item = (i32, u64)> {
    let counts = counts.iter().copied();
    (0..).zip(counts).filter(|(_, count)| *count > 0)
}

fn add(counts: &mut [u64], errno: i32, count: u64) {
    let sum = usize::try_from(errno).ok();
    if let Some(sum) = sum.and_then(|index| counts.get_mut(index)) {
        *sum = sum.saturating_add(count);
    }
}

impl FailureCounts {
    /// The counts that are not 0, with their errno.
    pub fn iter(&self) -> impl Iterator<Item = (i32, u64)> {
        sparse(&self.0.by_errno)
    }

    /// The unattributed counts that are not 0, with their errno.
    pub fn unattributed(&self) -> impl Iterator<Item = (i32, u64)> {
        sparse(&self.0.unattributed)
    }

    pub fn add(&mut self, errno: i32, count: u64) {
        add(&mut self.0.by_errno, errno, count);
    }

    pub fn add_unattributed(&mut self, errno: i32, count: u64) {
        add(&mut self.0.by_errno, errno, count);
        add(&mut self.0.unattributed, errno, count);
    }

    pub fn total(&self) -> u64 {
        self.0.by_errno.iter().sum()
    }
}

impl Default for FailureCounts {
    fn default() -> Self {
        Self(types::failures {
            by_errno: [0; ERRNOS],
            unattributed: [0; ERRNOS],
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
        let add = |sums: &mut [u64], counts: &[u64]| {
            sums.iter_mut().zip(counts).for_each(|(sum, n)| *sum += n);
        };
        add(&mut self.0.by_errno, &cpu.0.by_errno);
        add(&mut self.0.unattributed, &cpu.0.unattributed);
    }
}

impl From<[Sparse; 2]> for FailureCounts {
    fn from([by_errno, unattributed]: [Sparse; 2]) -> Self {
        let mut failures = Self::default();
        for (errno, count) in by_errno {
            failures.add(errno, count);
        }
        for (errno, count) in unattributed {
            add(&mut failures.0.unattributed, errno, count);
        }
        failures
    }
}

impl From<FailureCounts> for [Sparse; 2] {
    fn from(failures: FailureCounts) -> Self {
        [failures.iter().collect(), failures.unattributed().collect()]
    }
}

/// Decodes the counts of one CPU.
pub fn decode_failures(bytes: &[u8]) -> Result<FailureCounts, DecodeError> {
    exact(bytes).map(FailureCounts)
}
