//! The rate limit of the exporter-toolkit: a bucket of at most `burst` tokens, which gains one per
//! `interval`.

use std::time::{Duration, Instant};

use crate::config::web_file::RateLimit;

/// Each request takes one token from the bucket. If there is none, the request is rejected.
#[derive(Debug)]
pub(super) struct Bucket {
    interval: Duration,
    burst: f64,
    tokens: f64,
    at: Instant,
}

impl Bucket {
    pub(super) fn new(limit: RateLimit, now: Instant) -> Self {
        let burst = f64::from(limit.burst);
        Self {
            interval: limit.interval,
            burst,
            tokens: burst,
            at: now,
        }
    }

    /// Takes a token for a request. Returns false if there is none.
    pub(super) fn allows(&mut self, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.at);
        self.at = now;
        self.tokens = (self.tokens + elapsed.div_duration_f64(self.interval)).min(self.burst);
        let allowed = self.tokens >= 1.0;
        if allowed {
            self.tokens -= 1.0;
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_allowed_and_then_one_request_each_interval() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let limit = RateLimit {
            interval: second,
            burst: 2,
        };
        let mut bucket = Bucket::new(limit, start);
        let mut at = |time| bucket.allows(start + time);
        assert_eq!([at(Duration::ZERO), at(Duration::ZERO)], [true, true]);
        assert!(!at(Duration::ZERO));
        assert!(!at(second / 2));
        assert!(at(second));
        assert!(!at(second));
        // The bucket holds no more than the burst.
        let later = second * 100;
        assert_eq!([at(later), at(later), at(later)], [true, true, false]);
    }
}
