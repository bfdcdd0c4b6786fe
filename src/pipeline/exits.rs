//! Counts of process exits by status, and their lifetimes.

use std::collections::BTreeMap;

use nix::sys::signal::Signal;

/// Upper bounds of the lifetime histogram's buckets, in seconds: a millisecond to a day.
pub const LIFETIME_BUCKETS: [f64; 15] = [
    0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 60.0, 300.0, 1800.0, 3600.0, 21_600.0,
    86_400.0,
];

/// How a process exited, as `wait(2)` reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum WaitStatus {
    /// The process exited with this status.
    Exited(u8),
    /// This signal killed the process.
    Signaled(u8),
}

impl WaitStatus {
    /// Decodes a status as `wait(2)` returns it. Bits above the low 16 are ignored, so every value
    /// is accepted.
    pub fn of(status: i32) -> Self {
        let [low, code, ..] = status.to_le_bytes();
        match low & 0x7f {
            0 => Self::Exited(code),
            signal => Self::Signaled(signal),
        }
    }

    /// Returns the value of the `reason` label.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Exited(_) => "exited",
            Self::Signaled(_) => "signaled",
        }
    }

    /// Returns the value of the `code` label: the exit status, or the name of the signal.
    pub fn code(self) -> String {
        match self {
            Self::Exited(code) => code.to_string(),
            Self::Signaled(signal) => match Signal::try_from(i32::from(signal)) {
                Ok(signal) => signal.as_str().to_owned(),
                // Real-time signals have no names.
                Err(_) => format!("SIG{signal}"),
            },
        }
    }
}

/// Counts of exits.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Exits {
    /// Exits by status. There are at most 256 exit statuses and 127 signals.
    pub by_status: BTreeMap<WaitStatus, u64>,
    /// The number of lifetimes in each bucket, not cumulative. The last bucket has those above all
    /// bounds.
    pub lifetimes: [u64; LIFETIME_BUCKETS.len() + 1],
    /// The sum of all lifetimes, in nanoseconds.
    pub lifetime_ns: u128,
}

impl Exits {
    /// Counts `count` processes with this status.
    pub fn add(&mut self, wait_status: i32, count: u64) {
        let status = WaitStatus::of(wait_status);
        *self.by_status.entry(status).or_default() += count;
    }

    /// Counts the lifetime of one process.
    pub fn add_lifetime(&mut self, ns: u64) {
        #[allow(clippy::cast_precision_loss)] // rounding matters only within a few ns of a bound
        let seconds = ns as f64 / 1e9;
        let bucket = LIFETIME_BUCKETS.partition_point(|bound| *bound < seconds);
        self.lifetimes[bucket] += 1;
        self.lifetime_ns += u128::from(ns);
    }

    pub fn total(&self) -> u64 {
        self.by_status.values().sum()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_wait_status_has_the_reason_and_the_code_that_wait_reports() {
        for (wait_status, reason, code) in [
            (0, "exited", "0"),
            (3 << 8, "exited", "3"),
            (255 << 8, "exited", "255"),
            (9, "signaled", "SIGKILL"),
            (0x80 + 11, "signaled", "SIGSEGV"),
            (34, "signaled", "SIG34"),
        ] {
            let status = WaitStatus::of(wait_status);
            assert_eq!((status.reason(), status.code().as_str()), (reason, code));
        }
    }

    #[test]
    fn a_lifetime_falls_into_the_first_bucket_that_it_does_not_exceed() {
        let mut exits = Exits::default();
        for ns in [0, 1_000_000, 1_000_001, 86_400_000_000_000, u64::MAX] {
            exits.add_lifetime(ns);
        }
        assert_eq!(exits.lifetimes[0], 2);
        assert_eq!(exits.lifetimes[1], 1);
        assert_eq!(exits.lifetimes[LIFETIME_BUCKETS.len() - 1], 1);
        assert_eq!(exits.lifetimes[LIFETIME_BUCKETS.len()], 1);
    }

    proptest! {
        #[test]
        fn any_status_is_counted_in_a_bounded_number_of_series(statuses in proptest::collection::vec(any::<i32>(), 0..2000)) {
            let mut exits = Exits::default();
            for status in &statuses {
                exits.add(*status, 1);
            }
            prop_assert_eq!(exits.total(), statuses.len() as u64);
            prop_assert!(exits.by_status.len() <= 256 + 127);
        }
    }
}
