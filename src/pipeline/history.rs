//! The execs of the last minutes, counted in short spans of time.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The length of a span of time.
pub const SPAN: Duration = Duration::from_secs(5);

/// The number of spans that are kept: a quarter of an hour.
pub const SPANS: usize = 180;

/// Execs by the time at which they were counted, which is up to a second after the exec: an event
/// can stay in its buffer for that long.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
pub struct History {
    /// The oldest span is first. The last one has not ended yet.
    counts: VecDeque<u64>,
    /// Time since the start.
    now: Duration,
}

impl History {
    /// Adds execs that are counted at `now`, the time since the start.
    pub fn add(&mut self, now: Duration, execs: u64) {
        let ended = number(now).saturating_sub(number(self.now));
        let ended = usize::try_from(ended).unwrap_or(usize::MAX);
        if self.counts.is_empty() {
            self.counts.push_back(0);
        }
        for _ in 0..ended.min(SPANS) {
            if self.counts.len() == SPANS {
                self.counts.pop_front();
            }
            self.counts.push_back(0);
        }
        self.now = self.now.max(now);
        if let Some(count) = self.counts.back_mut() {
            *count += execs;
        }
    }

    /// Returns the counts by span, the oldest first. The last span has not ended yet.
    pub fn counts(&self) -> impl DoubleEndedIterator<Item = u64> + ExactSizeIterator {
        self.counts.iter().copied()
    }

    /// Returns whether the counts can be those of a history with at most `execs` execs.
    pub(super) fn is_plausible(&self, execs: u64) -> bool {
        let mut counts = self.counts.iter();
        let sum = counts.try_fold(0_u64, |sum, count| sum.checked_add(*count));
        self.counts.len() <= SPANS && sum.is_some_and(|sum| sum <= execs)
    }

    /// Returns the time from the start to the last call of [`add`](Self::add).
    pub fn since_start(&self) -> Duration {
        self.now
    }

    /// Returns the average execs per second in the last `spans` spans that have ended, or None if
    /// none has ended yet.
    pub fn per_second(&self, spans: usize) -> Option<f64> {
        let ended = self.ended().rev().take(spans);
        let spans = ended.len();
        let seconds = SPAN.as_secs_f64() * spans as f64;
        (spans > 0).then(|| ended.sum::<u64>() as f64 / seconds)
    }

    /// Returns the execs per second of the busiest span that has ended, or None if none has ended
    /// yet.
    pub fn peak_per_second(&self) -> Option<f64> {
        let most = self.ended().max()?;
        Some(most as f64 / SPAN.as_secs_f64())
    }

    /// Returns the counts of the spans that have ended, the oldest first.
    fn ended(&self) -> impl DoubleEndedIterator<Item = u64> + ExactSizeIterator {
        self.counts().take(self.counts.len().saturating_sub(1))
    }
}

/// Returns the number of the span that contains `time`.
fn number(time: Duration) -> u64 {
    time.as_secs() / SPAN.as_secs()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn history_of(adds: &[(u64, u64)]) -> History {
        let mut history = History::default();
        for (ms, execs) in adds {
            history.add(Duration::from_millis(*ms), *execs);
        }
        history
    }

    fn counts(history: &History) -> Vec<u64> {
        history.counts().collect()
    }

    #[test]
    fn execs_are_in_the_span_in_which_they_were_counted() {
        let history = history_of(&[(0, 1), (4_999, 2), (5_000, 4), (17_000, 8)]);
        assert_eq!(counts(&history), [3, 4, 0, 8]);
        assert_eq!(history.since_start(), Duration::from_secs(17));
    }

    #[test]
    fn a_new_history_has_neither_spans_nor_a_rate() {
        let history = History::default();
        assert_eq!(history.counts().len(), 0);
        assert_eq!(history.per_second(12), None);
    }

    #[test]
    fn a_quarter_of_an_hour_is_kept_after_any_pause() {
        let mut history = history_of(&[(0, 7)]);
        let spans = SPANS as u64;
        history.add(SPAN * u32::try_from(spans - 1).unwrap(), 1);
        assert_eq!(history.counts().len(), SPANS);
        assert_eq!(history.counts().next(), Some(7));
        history.add(SPAN * u32::try_from(spans).unwrap(), 1);
        assert_eq!(history.counts().len(), SPANS);
        assert_eq!(history.counts().sum::<u64>(), 2);
        history.add(Duration::from_secs(1 << 40), 5);
        assert_eq!(history.counts().len(), SPANS);
        assert_eq!(history.counts().sum::<u64>(), 5);
        assert_eq!(history.counts().next_back(), Some(5));
    }

    #[test]
    fn rates_are_over_the_spans_that_have_ended() {
        // 12.5 s: two spans and a half.
        let history = history_of(&[(2_000, 10), (7_000, 20), (12_500, 500)]);
        assert_eq!(history.per_second(1), Some(4.0));
        assert_eq!(history.per_second(12), Some(3.0));
        assert_eq!(history.peak_per_second(), Some(4.0));
    }

    #[test]
    fn there_is_no_rate_before_the_first_span_has_ended() {
        let history = history_of(&[(300, 263), (4_999, 1)]);
        assert_eq!(history.per_second(12), None);
        assert_eq!(history.peak_per_second(), None);
    }

    proptest! {
        #[test]
        fn the_average_is_never_above_the_peak(
            adds in proptest::collection::vec((0..2_000_000_u64, 0..1_000_u64), 0..50),
        ) {
            let history = history_of(&adds);
            prop_assert!(history.per_second(SPANS) <= history.peak_per_second());
        }
    }
}
