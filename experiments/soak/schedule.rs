//! The times of storms, stops and reloads.

use std::iter::successors;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The period of the schedule, with one storm, one stop and one reload. A short run has shorter
/// periods.
const PERIOD: Duration = Duration::from_secs(300);

/// The duration of a storm. A short run has shorter storms.
const STORM: Duration = Duration::from_secs(10);

/// How long the daemon is stopped by SIGSTOP.
pub(crate) const STOP: Duration = Duration::from_secs(2);

/// Delay of a stop after the scheduled beginning of a storm, which may begin up to a second late.
const STOPPED_AFTER: Duration = Duration::from_secs(2);

/// How often a part of the run that waits checks whether another part has failed.
const CHECK_EVERY: Duration = Duration::from_millis(200);

/// What happens when in a run. All times are relative to the beginning of the run.
#[derive(Debug)]
pub(crate) struct Schedule {
    began: Instant,
    pub(crate) length: Duration,
    is_broken: AtomicBool,
}

/// A storm: thousands of execs per second on all CPUs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Storm {
    pub(crate) at: Duration,
    pub(crate) length: Duration,
    /// Whether each exec has a new name, or all have the same.
    pub(crate) has_new_names: bool,
}

/// An action on the daemon.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Act {
    Stop,
    /// Adds or removes a view.
    Reload,
}

impl Schedule {
    pub(crate) fn begin(length: Duration) -> Self {
        Self {
            began: Instant::now(),
            length,
            is_broken: AtomicBool::new(false),
        }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Waits until this time. Returns whether the run is still going on.
    pub(crate) fn wait_until(&self, at: Duration) -> bool {
        loop {
            let now = self.elapsed();
            if now >= self.length || self.is_broken.load(Ordering::Relaxed) {
                return false;
            }
            let left = at.saturating_sub(now);
            if left.is_zero() {
                return true;
            }
            sleep(CHECK_EVERY.min(left));
        }
    }

    /// Runs a part of the run. If it panics, the other parts stop waiting.
    pub(crate) fn part<T>(&self, part: impl FnOnce() -> T) -> T {
        struct Breaks<'a>(&'a AtomicBool);
        impl Drop for Breaks<'_> {
            fn drop(&mut self) {
                if std::thread::panicking() {
                    self.0.store(true, Ordering::Relaxed);
                }
            }
        }
        let _breaks = Breaks(&self.is_broken);
        part()
    }

    /// All storms, in order.
    pub(crate) fn storms(&self) -> Vec<Storm> {
        let period = self.period();
        let storms = self.periods().map(|(start, is_odd)| Storm {
            at: start + period / 4,
            length: STORM.min(period / 6),
            has_new_names: is_odd,
        });
        storms.collect()
    }

    /// All actions, in order. The daemon is stopped during every other storm. In the other periods it
    /// is stopped between two storms.
    pub(crate) fn acts(&self) -> Vec<(Duration, Act)> {
        let period = self.period();
        let acts = self.periods().flat_map(|(start, is_odd)| {
            let reload = (start + period / 2, Act::Reload);
            if is_odd {
                [reload, (start + period * 3 / 4, Act::Stop)]
            } else {
                [(start + period / 4 + STOPPED_AFTER, Act::Stop), reload]
            }
        });
        acts.collect()
    }

    fn period(&self) -> Duration {
        PERIOD.min(self.length / 4)
    }

    /// The beginning of each period, and whether the period's index, counted from 0, is odd.
    fn periods(&self) -> impl Iterator<Item = (Duration, bool)> {
        let period = self.period();
        let starts = successors(Some(Duration::ZERO), move |start| Some(*start + period));
        starts
            .take_while(move |start| *start + period <= self.length)
            .enumerate()
            .map(|(n, start)| (start, n % 2 == 1))
    }
}
