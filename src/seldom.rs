//! What others can cause as often as they like, and is said only now and then.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// From one time that it is said to the next.
const INTERVAL: Duration = Duration::from_secs(60);

/// Something to be said, at most once in a minute.
#[derive(Debug, Default)]
pub(crate) struct Seldom {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    said: Option<Instant>,
    times: u64,
}

impl Seldom {
    /// It happened. If it is to be said now: how often it happened since it was said before.
    pub(crate) fn happened(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.times += 1;
        let is_due = state
            .said
            .is_none_or(|said| now.saturating_duration_since(said) >= INTERVAL);
        is_due.then(|| {
            state.said = Some(now);
            std::mem::take(&mut state.times)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_at_first_and_then_once_a_minute_with_how_often_it_happened() {
        let start = Instant::now();
        let seldom = Seldom::default();
        let at = |seconds| seldom.happened(start + Duration::from_secs(seconds));
        assert_eq!(at(0), Some(1));
        assert_eq!([at(0), at(30), at(59)], [None; 3]);
        assert_eq!(at(60), Some(4));
        assert_eq!(at(119), None);
        assert_eq!(at(500), Some(2));
    }
}
