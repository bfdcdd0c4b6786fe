//! What happens when.

use std::iter::successors;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The longest that everything takes to happen once.
const PERIOD: Duration = Duration::from_secs(300);

/// The longest storm.
const STORM: Duration = Duration::from_secs(10);

/// How long the daemon is stopped.
pub(crate) const STOP: Duration = Duration::from_secs(2);

/// After the beginning of a storm; a storm begins late by at most a second.
const STOPPED_AFTER: Duration = Duration::from_secs(2);

/// How often a part that waits looks whether another one has failed.
const LOOK: Duration = Duration::from_millis(200);

/// Times are those since the beginning.
#[derive(Debug)]
pub(crate) struct Schedule {
    began: Instant,
    pub(crate) length: Duration,
    is_broken: AtomicBool,
}

/// Thousands of execs a second, on all CPUs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Storm {
    pub(crate) at: Duration,
    pub(crate) length: Duration,
    /// Each exec under a name of its own, or all under one.
    pub(crate) has_new_names: bool,
}

/// What is done to the daemon.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Act {
    Stop,
    /// With a view more, or less.
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

    /// Wait until then. Returns whether the run still goes on.
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
            sleep(LOOK.min(left));
        }
    }

    /// A part of the run: if it panics, the others end.
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

    /// In the order of their times.
    pub(crate) fn storms(&self) -> Vec<Storm> {
        let period = self.period();
        let storms = self.periods().map(|(start, is_odd)| Storm {
            at: start + period / 4,
            length: STORM.min(period / 6),
            has_new_names: is_odd,
        });
        storms.collect()
    }

    /// In the order of their times. The daemon is stopped in every other storm, and between
    /// storms where not.
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

    /// The beginning of each, and whether it is the second, the fourth and so on.
    fn periods(&self) -> impl Iterator<Item = (Duration, bool)> {
        let period = self.period();
        let starts = successors(Some(Duration::ZERO), move |start| Some(*start + period));
        starts
            .take_while(move |start| *start + period <= self.length)
            .enumerate()
            .map(|(n, start)| (start, n % 2 == 1))
    }
}
