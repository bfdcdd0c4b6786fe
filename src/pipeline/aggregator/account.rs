//! Compares what the kernel side has seen with what is counted.

use std::collections::BTreeMap;

use crate::sys::clock::Timestamp;

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
