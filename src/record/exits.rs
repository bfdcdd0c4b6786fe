//! Counts of process exits by status, and their lifetimes.

use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

use super::bytes::{DecodeError, exact};
use crate::bpf::types;

/// Upper bounds of the lifetime histogram's buckets, in seconds: a millisecond to a day.
pub const LIFETIME_BUCKETS: [f64; 15] = [
    0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 60.0, 300.0, 1800.0, 3600.0, 21_600.0,
    86_400.0,
];

/// How a process exited, as `wait(2)` reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
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

/// Exits by status, and their lifetimes: `struct exits` of `bpf/execsnoop.h`, or the sum of several.
#[derive(Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct ExitCounts {
    #[serde(with = "sparse")]
    by_code: [u64; 256],
    #[serde(with = "sparse")]
    by_signal: [u64; 128],
    lifetimes: [u64; LIFETIME_BUCKETS.len() + 1],
    lifetime_ns: u128,
    oom_kills: u64,
    core_dumps: u64,
}

impl ExitCounts {
    /// Returns the counts that are not 0, with their status.
    pub fn by_status(&self) -> impl Iterator<Item = (WaitStatus, u64)> {
        let exited = (0..=255).map(WaitStatus::Exited).zip(self.by_code);
        let signaled = (0..=127).map(WaitStatus::Signaled).zip(self.by_signal);
        exited.chain(signaled).filter(|(_, count)| *count > 0)
    }

    /// Returns the number of lifetimes in each bucket, not cumulative. The last bucket has those above
    /// all bounds.
    pub fn lifetimes(&self) -> &[u64] {
        &self.lifetimes
    }

    /// Returns the sum of all lifetimes, in nanoseconds.
    pub fn lifetime_ns(&self) -> u128 {
        self.lifetime_ns
    }

    /// Returns the number of processes that the kernel's OOM killer has killed.
    pub fn oom_kills(&self) -> u64 {
        self.oom_kills
    }

    /// Returns the number of processes of which the kernel has dumped a core.
    pub fn core_dumps(&self) -> u64 {
        self.core_dumps
    }

    /// Returns the number of exits.
    pub fn total(&self) -> u64 {
        self.by_status().map(|(_, count)| count).sum()
    }

    /// Counts `count` processes with this status.
    pub fn add(&mut self, wait_status: i32, count: u64) {
        match WaitStatus::of(wait_status) {
            WaitStatus::Exited(code) => self.by_code[usize::from(code)] += count,
            WaitStatus::Signaled(signal) => self.by_signal[usize::from(signal)] += count,
        }
    }

    /// Counts processes with the outcome [`Oom`](super::Outcome::Oom), and those with a core dump, which
    /// [`add`](Self::add) counts by status.
    pub fn add_causes(&mut self, oom_kills: u64, core_dumps: u64) {
        self.oom_kills += oom_kills;
        self.core_dumps += core_dumps;
    }

    /// Counts the lifetime of one process.
    pub fn add_lifetime(&mut self, ns: u64) {
        let bucket = lifetime_bounds_ns().partition_point(|bound| *bound < ns);
        self.lifetimes[bucket] += 1;
        self.lifetime_ns += u128::from(ns);
    }
}

impl Default for ExitCounts {
    fn default() -> Self {
        Self {
            by_code: [0; 256],
            by_signal: [0; 128],
            lifetimes: Default::default(),
            lifetime_ns: 0,
            oom_kills: 0,
            core_dumps: 0,
        }
    }
}

impl std::fmt::Debug for ExitCounts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.by_status()).finish()
    }
}

impl std::ops::AddAssign for ExitCounts {
    /// Adds the counts of another CPU.
    fn add_assign(&mut self, cpu: Self) {
        let add = |sums: &mut [u64], counts: &[u64]| {
            sums.iter_mut().zip(counts).for_each(|(sum, n)| *sum += n);
        };
        add(&mut self.by_code, &cpu.by_code);
        add(&mut self.by_signal, &cpu.by_signal);
        add(&mut self.lifetimes, &cpu.lifetimes);
        self.lifetime_ns += cpu.lifetime_ns;
        self.add_causes(cpu.oom_kills, cpu.core_dumps);
    }
}

/// Counts of which most are 0: those that are not, with their index.
mod sparse {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(counts: &[u64], to: S) -> Result<S::Ok, S::Error> {
        let counts = counts.iter().zip(0_u8..=255).map(|(n, index)| (index, *n));
        counts
            .filter(|(_, n)| *n > 0)
            .collect::<Vec<_>>()
            .serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>, const N: usize>(
        from: D,
    ) -> Result<[u64; N], D::Error> {
        let mut counts = [0; N];
        for (index, n) in Vec::<(u8, u64)>::deserialize(from)? {
            let count = counts.get_mut(usize::from(index));
            *count.ok_or_else(|| D::Error::custom("no such status"))? = n;
        }
        Ok(counts)
    }
}

/// The bounds of [`LIFETIME_BUCKETS`] in nanoseconds.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // whole milliseconds
pub fn lifetime_bounds_ns() -> [u64; LIFETIME_BUCKETS.len()] {
    LIFETIME_BUCKETS.map(|seconds| (seconds * 1000.0).round() as u64 * 1_000_000)
}

/// Decodes one CPU's counts of exits.
pub fn decode_exits(bytes: &[u8]) -> Result<ExitCounts, DecodeError> {
    let exits: types::exits = exact(bytes)?;
    Ok(ExitCounts {
        by_code: exits.by_code,
        by_signal: exits.by_signal,
        lifetimes: exits.lifetimes,
        lifetime_ns: exits.lifetime_ns.into(),
        oom_kills: exits.oom_kills,
        core_dumps: exits.core_dumps,
    })
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
        let mut exits = ExitCounts::default();
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
        fn any_status_is_counted_under_what_wait_reports(statuses in proptest::collection::vec(any::<i32>(), 0..2000)) {
            let mut exits = ExitCounts::default();
            for status in &statuses {
                exits.add(*status, 1);
            }
            prop_assert_eq!(exits.total(), statuses.len() as u64);
            for (status, _) in exits.by_status() {
                prop_assert!(statuses.iter().any(|s| WaitStatus::of(*s) == status));
            }
        }
    }
}
