//! A histogram of the execs per second, from readings of how many execs the kernel side has seen.
//!
//! A second ends when `CLOCK_MONOTONIC` reaches a whole second. The kernel side does not count by
//! second, so the reader reads its count when a second ends, or later if the reader is late. The
//! execs between two readings are taken to be evenly distributed over that time. A late reading
//! therefore flattens a burst, but no exec is missing and none is counted twice.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The upper bounds of the histogram's buckets, in execs per second. Seconds without an exec are on
/// their own.
pub const BUCKETS: [u64; 16] = [
    0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000,
];

/// The execs of each second since counting began, in buckets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct PerSecond {
    /// The number of seconds that have ended, by bucket and not cumulative. The last bucket has those
    /// above all bounds.
    seconds: [u64; BUCKETS.len() + 1],
    /// The execs of the second that has not ended.
    current: u64,
    /// The time and the count of the last reading.
    read: Duration,
    seen: u64,
}

impl PerSecond {
    /// Begins to count at `now`, the time of `CLOCK_MONOTONIC`. The rest of the current second counts
    /// as a second.
    pub(super) fn starting(now: Duration) -> Self {
        Self {
            read: now,
            ..Self::default()
        }
    }

    /// Continues saved counts at `now`. The clock is behind them if they are not from this host's
    /// uptime.
    #[must_use]
    pub(super) fn continuing(mut self, now: Duration) -> Self {
        self.read = self.read.min(now);
        self
    }

    /// Counts the execs since the last reading. `now` is the time of the reading and `seen` the number
    /// of execs that the kernel side has seen.
    pub(super) fn read(&mut self, now: Duration, seen: u64) {
        let now = now.max(self.read);
        let execs = u128::from(seen.saturating_sub(self.seen));
        let elapsed = now.saturating_sub(self.read).as_nanos();
        let second = |time: Duration| time.as_secs();
        let ended = second(now) - second(self.read);
        // The number of execs until the end of the nth of the ended seconds, rounded: a reading is
        // always a little late, and a single exec belongs to the second that has ended.
        let until = |nth: u64| {
            let end = Duration::from_secs(second(self.read) + nth);
            let passed = end.saturating_sub(self.read).as_nanos();
            u64::try_from((execs * passed + elapsed / 2) / elapsed).unwrap_or(u64::MAX)
        };
        if ended > 0 {
            let (first, last) = (until(1), until(ended));
            self.current += first;
            self.observe(self.current, 1);
            let (between, seconds) = (last - first, ended - 1);
            if seconds > 0 {
                // What is left after the division makes some seconds higher by one.
                let higher = between % seconds;
                self.observe(between / seconds + 1, higher);
                self.observe(between / seconds, seconds - higher);
            }
            self.current = 0;
            self.seen += last;
        }
        self.current += seen.saturating_sub(self.seen);
        self.seen = self.seen.max(seen);
        self.read = now;
    }

    /// Records that the last count was still the same at `now`.
    pub(super) fn unchanged(&mut self, now: Duration) {
        self.read(now, self.seen);
    }

    fn observe(&mut self, execs: u64, seconds: u64) {
        let bucket = BUCKETS.partition_point(|bound| *bound < execs);
        self.seconds[bucket] += seconds;
    }

    /// Returns the number of seconds in each bucket, not cumulative. The last bucket has those above
    /// all bounds.
    pub fn seconds(&self) -> &[u64] {
        &self.seconds
    }

    /// Returns the execs of all seconds that have ended.
    pub fn execs(&self) -> u64 {
        self.seen - self.current
    }

    /// Returns whether no count is above `largest`, and the seconds can have had these execs.
    pub(super) fn is_plausible(&self, largest: u64) -> bool {
        let fewest = |bucket: usize| bucket.checked_sub(1).map_or(0, |below| BUCKETS[below] + 1);
        let execs = self.seconds.iter().enumerate();
        let execs = execs.map(|(bucket, n)| u128::from(*n) * u128::from(fewest(bucket)));
        self.seconds.iter().all(|n| *n <= largest)
            && self.seen <= largest
            && self.current <= self.seen
            && execs.sum::<u128>() <= u128::from(self.seen - self.current)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Counts from these readings: milliseconds and execs seen.
    fn counts_of(start_ms: u64, readings: &[(u64, u64)]) -> PerSecond {
        let mut counts = PerSecond::starting(ms(start_ms));
        for (at, seen) in readings {
            counts.read(ms(*at), *seen);
        }
        counts
    }

    /// The buckets that are not empty, by upper bound. None is above all bounds.
    fn buckets(counts: &PerSecond) -> Vec<(Option<u64>, u64)> {
        let bounds = BUCKETS.into_iter().map(Some).chain([None]);
        let buckets = bounds.zip(counts.seconds().iter().copied());
        buckets.filter(|(_, seconds)| *seconds > 0).collect()
    }

    #[test]
    fn each_second_is_counted_when_it_ends_and_seconds_without_an_exec_are_counted_as_zero() {
        let counts = counts_of(5_200, &[(5_900, 3), (6_000, 4), (7_000, 4), (7_999, 30)]);
        // The second in which counting began, and one without an exec.
        assert_eq!(buckets(&counts), [(Some(0), 1), (Some(5), 1)]);
        assert_eq!(counts.execs(), 4);
    }

    #[test]
    fn a_value_falls_into_the_first_bucket_that_it_does_not_exceed() {
        for (execs, bucket) in [
            (0, Some(0)),
            (1, Some(1)),
            (2, Some(2)),
            (3, Some(5)),
            (50_000, Some(50_000)),
            (50_001, None),
            (1 << 60, None),
        ] {
            let counts = counts_of(0, &[(1_000, execs)]);
            assert_eq!(buckets(&counts), [(bucket, 1)]);
            assert_eq!(counts.execs(), execs);
        }
    }

    #[test]
    fn a_storm_of_two_seconds_is_in_the_buckets_of_its_seconds() {
        let mut readings: Vec<_> = (1..=15).map(|second| (1_000 * second, 0)).collect();
        readings[6].1 = 3_000;
        readings[7].1 = 6_500;
        readings[8..].iter_mut().for_each(|(_, seen)| *seen = 6_500);
        let counts = counts_of(0, &readings);
        assert_eq!(buckets(&counts), [(Some(0), 13), (Some(5_000), 2)]);
        assert_eq!(counts.execs(), 6_500);
    }

    #[test]
    fn a_reading_that_is_a_little_late_moves_no_exec() {
        // 1 ms late, one exec in each second; and 100 000 execs in the last one.
        let counts = counts_of(0, &[(1_001, 1), (2_001, 2), (3_001, 3), (4_000, 100_003)]);
        assert_eq!(buckets(&counts), [(Some(1), 3), (None, 1)]);
    }

    #[test]
    fn a_late_reading_spreads_the_execs_evenly_over_the_time_since_the_last_one() {
        // Half of the time is in the first second, a quarter of it in the second that has not ended.
        let counts = counts_of(0, &[(500, 10), (2_500, 410)]);
        assert_eq!(buckets(&counts), [(Some(200), 2)]);
        assert_eq!(counts.execs(), 110 + 200);
        // 7 execs in three seconds: 2, 2 and 3.
        let counts = counts_of(0, &[(3_000, 7)]);
        assert_eq!(buckets(&counts), [(Some(2), 2), (Some(5), 1)]);
    }

    #[test]
    fn what_is_unchanged_until_shortly_before_a_reading_happened_after_that() {
        let mut counts = counts_of(0, &[(1_000, 7)]);
        counts.unchanged(ms(99_990));
        counts.read(ms(100_000), 1_007);
        assert_eq!(
            buckets(&counts),
            [(Some(0), 98), (Some(10), 1), (Some(1_000), 1)]
        );
    }

    #[test]
    fn a_pause_of_any_length_is_counted_at_once() {
        let days = 1 << 40;
        let counts = counts_of(0, &[(days * 1_000, 3)]);
        assert_eq!(buckets(&counts), [(Some(0), days - 3), (Some(1), 3)]);
        assert_eq!(counts.execs(), 3);
    }

    #[test]
    fn a_clock_or_a_count_behind_the_last_reading_counts_nothing() {
        let mut counts = counts_of(0, &[(9_000, 5)]);
        let before = counts.clone();
        counts.read(ms(3_000), 5);
        counts.read(ms(9_000), 2);
        counts.unchanged(Duration::ZERO);
        assert_eq!(counts, before);
        // After a boot, the clock begins again.
        let mut counts = counts.continuing(ms(2_000));
        counts.read(ms(3_000), 6);
        assert_eq!(counts.execs(), 6);
        assert_eq!(counts.seconds().iter().sum::<u64>(), 10);
    }

    proptest! {
        #[test]
        fn there_is_one_value_for_each_second_and_their_sum_is_what_was_seen(
            start in 0..5_000_000_000_u64,
            steps in proptest::collection::vec((0..20_000_000_000_u64, 0..100_000_u64), 0..50),
        ) {
            let (mut at, mut seen) = (start, 0);
            let mut counts = PerSecond::starting(Duration::from_nanos(start));
            for (passed, execs) in steps {
                at += passed;
                seen += execs;
                counts.read(Duration::from_nanos(at), seen);
                prop_assert!(counts.is_plausible(1 << 52));
                prop_assert!(counts.execs() <= seen);
            }
            let ended = at / 1_000_000_000 - start / 1_000_000_000;
            prop_assert_eq!(counts.seconds().iter().sum::<u64>(), ended);
            let end = Duration::from_secs(at / 1_000_000_000 + 1);
            counts.read(end, seen);
            prop_assert_eq!(counts.execs(), seen);
        }
    }
}
