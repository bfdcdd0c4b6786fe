//! Rate-limits log messages that clients can trigger at will.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The shortest time between two messages.
const INTERVAL: Duration = Duration::from_secs(60);

/// Lets one message through per minute.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    reported: Option<Instant>,
    times: u64,
}

impl Throttle {
    /// Counts an occurrence. Returns how many there were since the last message if one is due
    /// now.
    pub(crate) fn allow(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.times += 1;
        let is_due = state
            .reported
            .is_none_or(|reported| now.saturating_duration_since(reported) >= INTERVAL);
        is_due.then(|| {
            state.reported = Some(now);
            std::mem::take(&mut state.times)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_occurrence_is_reported_and_then_one_per_minute_with_the_count_since() {
        let start = Instant::now();
        let throttle = Throttle::default();
        let at = |seconds| throttle.allow(start + Duration::from_secs(seconds));
        assert_eq!(at(0), Some(1));
        assert_eq!([at(0), at(30), at(59)], [None; 3]);
        assert_eq!(at(60), Some(4));
        assert_eq!(at(119), None);
        assert_eq!(at(500), Some(2));
    }
}
