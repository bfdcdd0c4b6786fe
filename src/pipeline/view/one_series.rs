//! One series of a view, and what the last scrape showed of it.
//!
//! Prometheus sees a series only in scrapes. For its `increase()` over a whole view to be that of the
//! total, two rules hold:
//!
//! - Of an evicted series, only what a scrape has shown is yielded. Prometheus has never seen the
//!   rest, which therefore moves to `other`.
//! - The first scrape that shows a series again after its eviction shows less than the last scrape
//!   before the eviction, so that Prometheus detects a counter reset. What is more moves to `other`.
//!   The exception is a series that was shown with one exec, because a program that is executed must
//!   not appear as 0.

use serde::{Deserialize, Serialize};

use super::counts::Counts;
use super::failures::{self, Failures};
use super::metric::Metric;
use super::stored::StoredCounts;
use crate::sys::clock::Timestamp;

/// The `user` of a series that counts towards no user's share. No process has this uid, `(uid_t)-1`.
pub(super) const NO_USER: u32 = u32::MAX;

/// Times are in seconds since the start of the daemon, except for `start`, which is that of
/// [`SeriesCounts`](super::SeriesCounts).
#[derive(Debug, Clone, Deserialize, Serialize)]
pub(super) struct Series {
    counts: StoredCounts,
    pub(super) start: Timestamp,
    /// The counts in the last scrape that showed a series of this name.
    last_shown: StoredCounts,
    /// Failed execs, if there are any.
    pub(super) failures: Option<Box<failures::OfSeries>>,
    /// Whether that scrape showed this series, and not one that has been evicted since.
    is_shown: bool,
    /// The user whose process was counted first.
    pub(super) user: u32,
    /// The number of different seconds with an exec, or with a failed exec in a view of these alone.
    pub(super) seconds: u32,
    pub(super) created: u32,
    pub(super) last_exec: u32,
    pub(super) last_used: u32,
}

impl Series {
    /// A series that has counted nothing.
    pub(super) fn new(start: Timestamp, user: u32, now: u32) -> Self {
        Self {
            counts: StoredCounts::default(),
            start,
            last_shown: StoredCounts::default(),
            failures: None,
            is_shown: false,
            user,
            seconds: 0,
            created: now,
            last_exec: now,
            last_used: now,
        }
    }

    /// Sets the counts in the last scrape before the eviction of an earlier series of this name.
    #[must_use]
    pub(super) fn returning(self, (last_shown, failures): (Counts, Failures)) -> Self {
        let had_failures = failures != Failures::default();
        let failures = had_failures.then(|| failures::OfSeries::returning(failures, self.start));
        Self {
            last_shown: last_shown.into(),
            failures: failures.map(Box::new),
            ..self
        }
    }

    /// Forgets the counts of all other metrics, but not those of execs.
    pub(super) fn keep_only(&mut self, metrics: &[Metric]) {
        self.counts.set(self.counts().only(metrics));
        self.last_shown.set(self.last_shown().only(metrics));
        if !metrics.contains(&Metric::Failures) {
            self.failures = None;
        }
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts.get()
    }

    /// Adds `more`, and returns what has to be counted as `other` instead.
    #[must_use]
    pub(super) fn count(&mut self, more: Counts, now: u32) -> Counts {
        self.note_use(more.execs > 0, now);
        let mut counts = self.counts();
        let added = more.min(self.limit() - counts);
        counts += added;
        self.counts.set(counts);
        more - added
    }

    /// Records that something was counted. Only what `is_use`, such as an exec, makes the series
    /// harder to evict.
    fn note_use(&mut self, is_use: bool, now: u32) {
        if is_use && (self.seconds == 0 || self.last_exec != now) {
            self.seconds = self.seconds.saturating_add(1);
            self.last_exec = now;
        }
        self.last_used = now;
    }

    /// Adds failed execs, and returns what has to be counted as `other` instead. `start` is the start of
    /// errors that are new. `is_use` says whether failed execs keep the slot, as execs do in other views.
    #[must_use]
    pub(super) fn count_failures(
        &mut self,
        more: &Failures,
        now: u32,
        start: Timestamp,
        is_use: bool,
    ) -> Failures {
        self.note_use(is_use, now);
        let failures = self.failures.get_or_insert_default();
        failures.count(more, self.is_shown, start)
    }

    /// Limits the times of a series that was saved. A later time would keep it from becoming idle.
    pub(super) fn not_after(self, now: u32) -> Self {
        Self {
            created: self.created.min(now),
            last_exec: self.last_exec.min(now),
            last_used: self.last_used.min(now),
            ..self
        }
    }

    /// Returns whether a series that was saved keeps the limits of one that has counted.
    pub(super) fn is_plausible(&self) -> bool {
        let (counts, shown) = (self.counts(), self.shown());
        let mut failures = self.failures.iter();
        counts == counts.min(self.limit())
            && shown == shown.min(counts)
            && failures.all(|failures| failures.is_plausible(self.is_shown))
    }

    /// Returns the highest counts that the next scrape can show.
    fn limit(&self) -> Counts {
        let below = |last_shown: u64, exempt| {
            if self.is_shown || last_shown <= exempt {
                u64::MAX
            } else {
                last_shown - 1
            }
        };
        let last_shown = self.last_shown();
        Counts {
            execs: below(last_shown.execs, 1),
            cpu_ns: below(last_shown.cpu_ns, 0),
            exits: last_shown.exits.map(|exits| below(exits, 0)),
            lifetime_ns: below(last_shown.lifetime_ns, 0),
        }
    }

    /// Records that a scrape shows the counts.
    pub(super) fn show(&mut self) {
        self.last_shown.set(self.counts());
        if let Some(failures) = &mut self.failures {
            failures.last_shown = failures.counts.numbers;
        }
        self.is_shown = true;
    }

    /// Returns the failed execs, and the part of them that a scrape has shown.
    pub(super) fn failures(&self) -> (Failures, Failures) {
        match &self.failures {
            Some(failures) if self.is_shown => (failures.counts.numbers, failures.last_shown),
            Some(failures) => (failures.counts.numbers, Failures::default()),
            None => Default::default(),
        }
    }

    /// Returns the part of the counts that a scrape has shown.
    pub(super) fn shown(&self) -> Counts {
        if self.is_shown {
            self.last_shown()
        } else {
            Counts::default()
        }
    }

    /// Returns the counts in the last scrape that showed a series of this name.
    pub(super) fn last_shown(&self) -> Counts {
        self.last_shown.get()
    }

    /// Returns its failed execs in that scrape.
    pub(super) fn failures_last_shown(&self) -> Failures {
        self.failures
            .as_ref()
            .map_or_else(Failures::default, |of| of.last_shown)
    }
}
