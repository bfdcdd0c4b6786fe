//! Failed execs by error, as views count them.

use nix::libc;
use serde::{Deserialize, Serialize};

use crate::sys::clock::Timestamp;

/// The errors that views distinguish: those of execve(2) and execveat(2). A file system in user space
/// can return any other error.
const ERRNOS: [i32; 19] = [
    libc::ENOENT,
    libc::EACCES,
    libc::ENOEXEC,
    libc::ENOTDIR,
    libc::EPERM,
    libc::ETXTBSY,
    libc::E2BIG,
    libc::ENOMEM,
    libc::ELOOP,
    libc::ENAMETOOLONG,
    libc::EFAULT,
    libc::EISDIR,
    libc::EINVAL,
    libc::EIO,
    libc::ELIBBAD,
    libc::EAGAIN,
    libc::EMFILE,
    libc::ENFILE,
    libc::EBADF,
];

/// The number of errors: those, and all others together.
const ERRORS: usize = ERRNOS.len() + 1;

/// Numbers of failed execs by error.
#[derive(Debug, Clone, Copy, Default, Deserialize, Serialize)]
pub struct Failures {
    numbers: [u64; ERRORS],
    /// A bit for each error that has occurred. Its number can be 0 in a series that has returned after
    /// its eviction. Prometheus then needs a sample of 0 to detect the counter reset.
    occurred: u32,
}

impl Failures {
    /// Returns this number of failures with one error.
    pub fn of(errno: i32, number: u64) -> Self {
        let index = ERRNOS.iter().position(|of| *of == errno);
        let index = index.unwrap_or(ERRNOS.len());
        let mut numbers = [0; ERRORS];
        numbers[index] = number;
        Self {
            numbers,
            occurred: 1 << index,
        }
    }

    /// Returns the same numbers as if every error had occurred.
    #[must_use]
    pub fn with_every_error(self) -> Self {
        Self {
            occurred: (1 << ERRORS) - 1,
            ..self
        }
    }

    /// Returns the errors that have occurred, with their numbers. None stands for all other errors.
    pub fn iter(&self) -> impl Iterator<Item = (Option<i32>, u64)> {
        let occurred = self.each().filter(|(has_occurred, ..)| *has_occurred);
        occurred.map(|(_, errno, number)| (errno, number))
    }

    /// Returns for each error whether it has occurred, and its number.
    fn each(&self) -> impl Iterator<Item = (bool, Option<i32>, u64)> {
        let errnos = ERRNOS.into_iter().map(Some).chain([None]);
        let numbers = (0..).zip(errnos.zip(self.numbers));
        numbers.map(|(index, (errno, number))| (self.occurred & 1 << index != 0, errno, number))
    }

    /// Returns whether no number is above `largest`, and whether each error with a number has occurred.
    pub(in crate::pipeline) fn is_plausible(&self, largest: u64) -> bool {
        let mut each = self.each();
        self.occurred < 1 << ERRORS
            && each
                .all(|(has_occurred, _, number)| number <= largest && (has_occurred || number == 0))
    }

    pub fn total(&self) -> u64 {
        self.numbers.iter().sum()
    }

    /// Applies `merge` to the numbers of each error.
    fn zip(mut self, other: &Self, merge: impl Fn(u64, u64) -> u64) -> Self {
        for (number, other) in self.numbers.iter_mut().zip(other.numbers) {
            *number = merge(*number, other);
        }
        self.occurred |= other.occurred;
        self
    }

    pub(in crate::pipeline) fn saturating_sub(self, less: &Self) -> Self {
        self.zip(less, u64::saturating_sub)
    }

    /// Returns the sum, or None if one of the numbers overflows.
    pub(super) fn checked_add(self, more: &Self) -> Option<Self> {
        let mut numbers = self.numbers.iter().zip(&more.numbers);
        let fits = numbers.all(|(a, b)| a.checked_add(*b).is_some());
        fits.then(|| self.zip(more, u64::wrapping_add))
    }
}

impl PartialEq for Failures {
    fn eq(&self, other: &Self) -> bool {
        self.numbers == other.numbers
    }
}

impl Eq for Failures {}

impl std::ops::AddAssign<&Self> for Failures {
    fn add_assign(&mut self, more: &Self) {
        *self = self.zip(more, |a, b| a + b);
    }
}

/// Failed execs by error, and when the number of each error was 0 for the last time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct StartedFailures {
    pub numbers: Failures,
    starts: [Timestamp; ERRORS],
}

impl StartedFailures {
    pub fn new(numbers: Failures, start: Timestamp) -> Self {
        Self {
            numbers,
            starts: [start; ERRORS],
        }
    }

    /// Adds failures. `start` is the start of errors that have not occurred before.
    pub(super) fn add(&mut self, more: &Failures, start: Timestamp) {
        let new = more.occurred & !self.numbers.occurred;
        for (index, of_error) in self.starts.iter_mut().enumerate() {
            if new & 1 << index != 0 {
                *of_error = start;
            }
        }
        self.numbers += more;
    }

    /// Adds the failures of another series. Each error starts with the first of them.
    pub(in crate::pipeline) fn merge(&mut self, other: &Self) {
        for (index, start) in self.starts.iter_mut().enumerate() {
            let occurred = |failures: &Failures| failures.occurred & 1 << index != 0;
            *start = match (occurred(&self.numbers), occurred(&other.numbers)) {
                (true, true) => other.starts[index].min(*start),
                (true, false) => *start,
                (false, _) => other.starts[index],
            };
        }
        self.numbers += &other.numbers;
    }

    /// Returns the errors that have occurred, with their numbers and starts, as [`Failures::iter`].
    pub fn iter(&self) -> impl Iterator<Item = (Option<i32>, u64, Timestamp)> {
        let started = self.numbers.each().zip(self.starts);
        let started = started.filter(|((has_occurred, ..), _)| *has_occurred);
        started.map(|((_, errno, number), start)| (errno, number, start))
    }
}

/// The failed execs of a series.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
pub(super) struct OfSeries {
    pub(super) counts: StartedFailures,
    /// The counts in the last scrape that showed a series of this name.
    pub(super) last_shown: Failures,
}

impl OfSeries {
    /// Those of a series that returns after its eviction, and starts now.
    pub(super) fn returning(last_shown: Failures, start: Timestamp) -> Self {
        let counts = last_shown.zip(&last_shown, |_, _| 0);
        Self {
            counts: StartedFailures::new(counts, start),
            last_shown,
        }
    }

    /// Adds `more`, and returns what has to be counted as `other` instead. `is_shown` says whether the
    /// last scrape showed this series. Otherwise, its next counts have to be below those in the last
    /// scrape that showed a series of this name. `start` is the start of errors that are new.
    #[must_use]
    pub(super) fn count(&mut self, more: &Failures, is_shown: bool, start: Timestamp) -> Failures {
        let limit = self.limit(is_shown);
        let room = limit.saturating_sub(&self.counts.numbers);
        let mut added = more.zip(&room, u64::min);
        added.occurred = more.occurred;
        self.counts.add(&added, start);
        more.saturating_sub(&added)
    }

    fn limit(&self, is_shown: bool) -> Failures {
        let mut limit = self.last_shown;
        for number in &mut limit.numbers {
            *number = match number.checked_sub(1) {
                Some(below) if !is_shown => below,
                _ => u64::MAX,
            };
        }
        limit
    }

    /// Returns whether saved failures are within the limits that `count` enforces.
    pub(super) fn is_plausible(&self, is_shown: bool) -> bool {
        let counts = self.counts.numbers;
        let limited = counts.zip(&self.limit(is_shown), u64::min);
        let shown = if is_shown {
            self.last_shown
        } else {
            Failures::default()
        };
        let are_plausible = [&counts, &self.last_shown].map(|of| of.is_plausible(u64::MAX));
        are_plausible == [true; 2] && limited == counts && shown.zip(&counts, u64::min) == shown
    }
}

/// The failed execs of a view that are in no series. The fields are as in
/// [`ViewCounts`](super::ViewCounts).
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct OfView {
    pub overflow: Failures,
    pub filtered: Failures,
    pub yielded: Failures,
    pub unattributed_before: Failures,
}

impl OfView {
    /// Returns what the view shows as `other`. `unattributed` are all unattributed failed execs.
    pub fn other(&self, unattributed: &Failures) -> Failures {
        let mut other = unattributed.saturating_sub(&self.unattributed_before);
        other += &self.overflow;
        other += &self.filtered;
        other.with_every_error()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_of_execve_has_its_own_number_and_all_others_share_one() {
        let mut failures = Failures::default();
        for errno in [
            libc::ENOENT,
            libc::EBADF,
            libc::ESTALE,
            libc::EXDEV,
            libc::ENOENT,
        ] {
            failures += &Failures::of(errno, 2);
        }
        let expected = [(Some(libc::ENOENT), 4), (Some(libc::EBADF), 2), (None, 4)];
        assert_eq!(failures.iter().collect::<Vec<_>>(), expected);
        assert_eq!(failures.total(), 10);
    }

    #[test]
    fn a_series_that_returns_shows_less_than_before_its_eviction() {
        let of = |number| Failures::of(libc::ENOENT, number);
        let [first, second] = [1, 2].map(Timestamp::from_unix_ms);
        let mut failures = OfSeries::returning(of(5), first);
        let shown = |failures: &OfSeries| failures.counts.iter().collect::<Vec<_>>();
        // The sample of 0 shows that the counter begins anew.
        assert_eq!(shown(&failures), [(Some(libc::ENOENT), 0, first)]);
        assert_eq!(failures.count(&of(3), false, second), of(0));
        assert_eq!(failures.count(&of(3), false, second), of(2));
        let others = Failures::of(libc::EACCES, 9);
        assert_eq!(failures.count(&others, false, second), of(0));
        assert!(failures.is_plausible(false));
        failures.last_shown = failures.counts.numbers;
        assert_eq!(failures.count(&of(7), true, second), of(0));
        assert_eq!(
            shown(&failures),
            [
                (Some(libc::ENOENT), 11, first),
                (Some(libc::EACCES), 9, second)
            ]
        );
    }

    #[test]
    fn the_errors_of_several_series_start_with_the_first_of_them() {
        let started = |errno, number, start| {
            let failures = Failures::of(errno, number);
            StartedFailures::new(failures, Timestamp::from_unix_ms(start))
        };
        let mut merged = StartedFailures::default();
        for (errno, number, start) in [(2, 1, 20), (13, 2, 10), (2, 3, 30), (13, 4, 5)] {
            merged.merge(&started(errno, number, start));
        }
        let expected = [(2, 4, 20), (13, 6, 5)]
            .map(|(errno, number, start)| (Some(errno), number, Timestamp::from_unix_ms(start)));
        assert_eq!(merged.iter().collect::<Vec<_>>(), expected);
    }
}
