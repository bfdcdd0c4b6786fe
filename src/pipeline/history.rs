//! How many execs there were lately: counts of short spans of time, the last few minutes
//! of them.

use std::collections::VecDeque;
use std::time::Duration;

/// The span of one count.
pub const SPAN: Duration = Duration::from_secs(5);

/// How many spans are kept: a quarter of an hour.
pub const SPANS: usize = 180;

/// Execs by when they were counted. That is up to a second after they were executed: for
/// so long an event may lie in its buffer.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// The oldest first. The last is of the span that is not over yet.
    counts: VecDeque<u64>,
    /// Since the beginning.
    now: Duration,
}

impl History {
    /// Go on to this time since the beginning, at which `execs` more are counted.
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

    /// Counts by span, the oldest first. The last is of the span that is not over yet.
    pub fn counts(&self) -> impl DoubleEndedIterator<Item = u64> + ExactSizeIterator {
        self.counts.iter().copied()
    }

    /// Time since the beginning of all counting.
    pub fn since_start(&self) -> Duration {
        self.now
    }

    /// Execs per second within the last spans, of which the last is not over yet; 0 where
    /// there has been no time at all.
    pub fn per_second(&self, spans: usize) -> f64 {
        let spans = spans.min(self.counts.len());
        let execs: u64 = self.counts.iter().rev().take(spans).sum();
        let over = SPAN.as_secs_f64() * spans.saturating_sub(1) as f64;
        let seconds = over + self.now.as_secs_f64() % SPAN.as_secs_f64();
        if seconds > 0.0 {
            execs as f64 / seconds
        } else {
            0.0
        }
    }
}

/// Which span a time is in.
fn number(time: Duration) -> u64 {
    time.as_secs() / SPAN.as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recent(adds: &[(u64, u64)]) -> History {
        let mut recent = History::default();
        for (ms, execs) in adds {
            recent.add(Duration::from_millis(*ms), *execs);
        }
        recent
    }

    fn counts(recent: &History) -> Vec<u64> {
        recent.counts().collect()
    }

    #[test]
    fn execs_are_in_the_span_in_which_they_were_counted() {
        let recent = recent(&[(0, 1), (4_999, 2), (5_000, 4), (17_000, 8)]);
        assert_eq!(counts(&recent), [3, 4, 0, 8]);
        assert_eq!(recent.since_start(), Duration::from_secs(17));
    }

    #[test]
    fn before_anything_is_counted_there_is_nothing() {
        let recent = History::default();
        assert_eq!(recent.counts().len(), 0);
        assert_eq!(recent.per_second(12), 0.0);
    }

    #[test]
    fn a_quarter_of_an_hour_is_kept_however_long_nothing_came() {
        let mut recent = recent(&[(0, 7)]);
        let spans = SPANS as u64;
        recent.add(SPAN * u32::try_from(spans - 1).unwrap(), 1);
        assert_eq!(recent.counts().len(), SPANS);
        assert_eq!(recent.counts().next(), Some(7));
        recent.add(SPAN * u32::try_from(spans).unwrap(), 1);
        assert_eq!(recent.counts().len(), SPANS);
        assert_eq!(recent.counts().sum::<u64>(), 2);
        recent.add(Duration::from_secs(1 << 40), 5);
        assert_eq!(recent.counts().len(), SPANS);
        assert_eq!(recent.counts().sum::<u64>(), 5);
        assert_eq!(recent.counts().next_back(), Some(5));
    }

    #[test]
    fn the_rate_is_over_the_time_that_the_spans_have_lasted() {
        // 12.5 s: two spans and a half.
        let recent = recent(&[(2_000, 10), (7_000, 20), (12_500, 5)]);
        assert_eq!(recent.per_second(1), 2.0);
        assert_eq!(recent.per_second(2), 25.0 / 7.5);
        assert_eq!(recent.per_second(12), 35.0 / 12.5);
    }
}
