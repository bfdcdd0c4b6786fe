//! Counts observations, and compares what the kernel side has seen with what is counted.

use std::collections::BTreeMap;

use crate::pipeline::view::{Counts, Failures};
use crate::record::{Kind, Outcome, Subject, TallyCount};
use crate::sys::clock::Timestamp;

/// Returns what observations of this kind and subject add to the counts of the views.
pub(super) fn counts_of(kind: Kind, subject: &Subject, of: TallyCount) -> Counts {
    let mut counts = Counts::default();
    match kind {
        Kind::CpuTime => counts.cpu_ns = of.cpu_ns,
        Kind::Exit => {
            if let Some(outcome) = Outcome::of(subject) {
                counts.exits[outcome.index()] = of.count;
                counts.lifetime_ns = of.lifetime_ns;
            }
        }
        Kind::Exec => counts.execs = of.count,
        Kind::Failure => {} // see `Failures`
    }
    counts
}

/// Returns numbers by errno as views count them.
pub(super) fn failures_of(by_errno: impl Iterator<Item = (i32, u64)>) -> Failures {
    let mut failures = Failures::default();
    for (errno, number) in by_errno {
        failures += &Failures::of(errno, number);
    }
    failures
}

/// Sets `start` as the start of what is counted for the first time.
pub(super) fn start_new<K: Ord>(
    starts: &mut BTreeMap<K, Timestamp>,
    counted: impl Iterator<Item = K>,
    start: Timestamp,
) {
    for key in counted {
        starts.entry(key).or_insert(start);
    }
}

/// Returns how many of the observations seen are not accounted for, or a negative number if too many
/// are.
///
/// The kernel side continues to count during a flush. The number accounted for is therefore correct
/// if it is at least what was seen before the flush and at most what was seen after it.
pub(super) fn difference(seen_before: u64, seen_after: u64, accounted: u64) -> i64 {
    let nearest = accounted.clamp(seen_before, seen_after.max(seen_before));
    i64::try_from(i128::from(nearest) - i128::from(accounted)).unwrap_or(i64::MAX)
}
