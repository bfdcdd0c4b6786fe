//! Two clocks: that of the kernel's events, and that of Prometheus.
//!
//! The kernel's events have the time of `bpf_ktime_get_ns()`: `CLOCK_MONOTONIC` of the initial time
//! namespace. It never jumps.
//!
//! A process in another time namespace reads a `CLOCK_MONOTONIC` with an offset
//! (`time_namespaces(7)`).

use std::fs;
use std::sync::LazyLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// Returns the time since boot, excluding suspend.
pub(crate) fn now() -> Duration {
    static AHEAD_NS: LazyLock<i128> = LazyLock::new(|| {
        // `timens_offsets` shows the offsets for future children. If their namespace is not that
        // of this process, its own offset is unknown. Kernels without time namespaces have none
        // of these files.
        let namespace = |name| fs::read_link(format!("/proc/self/ns/{name}")).ok();
        if namespace("time") != namespace("time_for_children") {
            return 0;
        }
        let offsets = fs::read_to_string("/proc/self/timens_offsets").unwrap_or_default();
        monotonic_offset(&offsets).unwrap_or(0)
    });
    let now = clock_gettime(ClockId::Monotonic);
    let ns = i128::from(now.tv_sec) * NS + i128::from(now.tv_nsec) - *AHEAD_NS;
    // The clock starts at boot, and u64 nanoseconds last for five centuries.
    Duration::from_nanos(u64::try_from(ns).unwrap_or(0))
}

/// A wall-clock time in milliseconds since the Unix epoch, which is Prometheus' resolution.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
pub struct Timestamp(u64);

impl Timestamp {
    /// Returns the first whole millisecond that is not before now. Prometheus truncates the time of a
    /// scrape, and a timestamp that is taken during the scrape has to be later.
    pub fn now() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let ms = now.unwrap_or_default().as_nanos().div_ceil(1_000_000);
        Self(u64::try_from(ms).unwrap_or(u64::MAX))
    }

    pub const fn from_unix_ms(ms: u64) -> Self {
        Self(ms)
    }

    pub const fn unix_ms(self) -> u64 {
        self.0
    }
}

const NS: i128 = 1_000_000_000;

/// Returns how far the namespace's `CLOCK_MONOTONIC` is ahead, in nanoseconds.
fn monotonic_offset(offsets: &str) -> Option<i128> {
    let mut words = offsets.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some("monotonic")).then_some(words)
    })?;
    let mut number = || words.next()?.parse::<i128>().ok();
    Some(number()? * NS + number()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_offset_of_a_time_namespace_is_seconds_and_nanoseconds() {
        let offsets = "monotonic        -20         5\nboottime          70         0\n";
        assert_eq!(monotonic_offset(offsets), Some(-20 * NS + 5));
        assert_eq!(monotonic_offset("boottime  1  0\n"), None);
        assert_eq!(monotonic_offset("monotonic  soon\n"), None);
    }
}
