//! Failed execs by error, as views count them.

use serde::{Deserialize, Serialize};

use nix::libc;

/// The errors that views distinguish: those of execve(2) and execveat(2). A file system in user space
/// can return any other one.
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
        let errnos = ERRNOS.into_iter().map(Some).chain([None]);
        let occurred = (0..).zip(errnos.zip(self.numbers));
        let occurred = occurred.filter(|(index, _)| self.occurred & 1 << index != 0);
        occurred.map(|(_, of_error)| of_error)
    }

    pub(in crate::pipeline) fn total(&self) -> u64 {
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

/// The failed execs of a series.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
pub(super) struct OfSeries {
    pub(super) counts: Failures,
    /// The counts in the last scrape that showed a series of this name.
    pub(super) last_shown: Failures,
}

impl OfSeries {
    /// Those of a series that returns after its eviction.
    pub(super) fn returning(last_shown: Failures) -> Self {
        Self {
            counts: last_shown.zip(&last_shown, |_, _| 0),
            last_shown,
        }
    }

    /// Adds `more`, and returns what has to be counted as `other` instead. `is_shown` says whether the
    /// last scrape showed this series. Otherwise, its next counts have to be below those in the last
    /// scrape that showed a series of this name.
    #[must_use]
    pub(super) fn count(&mut self, more: &Failures, is_shown: bool) -> Failures {
        let limit = self.limit(is_shown);
        let room = limit.saturating_sub(&self.counts);
        let added = more.zip(&room, u64::min);
        self.counts += &added;
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

    /// Returns whether failures that were saved keep the limits of those that were counted.
    pub(super) fn is_plausible(&self, is_shown: bool) -> bool {
        let limited = self.counts.zip(&self.limit(is_shown), u64::min);
        let shown = if is_shown {
            self.last_shown
        } else {
            Failures::default()
        };
        limited == self.counts && shown.zip(&self.counts, u64::min) == shown
    }
}

/// The failed execs of a view that no series has, in the terms of
/// [`ViewCounts`](super::ViewCounts).
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct OfView {
    pub overflow: Failures,
    pub filtered: Failures,
    pub yielded: Failures,
    pub unattributed_before: Failures,
}

impl OfView {
    /// Returns what the view shows as `other`, if this is `unattributed`.
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
        let mut failures = OfSeries::returning(of(5));
        // The sample of 0 shows that the counter begins anew.
        let shown = failures.counts.iter().collect::<Vec<_>>();
        assert_eq!(shown, [(Some(libc::ENOENT), 0)]);
        assert_eq!(failures.count(&of(3), false), of(0));
        assert_eq!(failures.count(&of(3), false), of(2));
        assert_eq!(failures.count(&Failures::of(libc::EACCES, 9), false), of(0));
        assert!(failures.is_plausible(false));
        failures.last_shown = failures.counts;
        assert_eq!(failures.count(&of(7), true), of(0));
        assert_eq!(failures.counts.total(), 4 + 9 + 7);
    }
}
