//! The reader's readings of how many execs the kernel side has seen.

use std::time::Duration;

use crate::pipeline::message::Message;

/// Tells changes from readings without a change, which need no message.
#[derive(Debug, Default)]
pub(super) struct Seen {
    execs: u64,
    /// When `execs` was read last.
    at: Duration,
}

impl Seen {
    /// Records a reading, and returns the message that it needs. `at` is the time of
    /// `CLOCK_MONOTONIC`.
    pub(super) fn read<O>(&mut self, at: Duration, execs: u64) -> Option<Message<O>> {
        let before = std::mem::replace(self, Self { execs, at });
        (execs != before.execs).then_some(Message::Seen {
            unchanged_until: before.at,
            at,
            execs,
        })
    }
}

/// Returns the time from `now` until the end of the second.
pub(super) fn until_next_second(now: Duration) -> Duration {
    Duration::from_secs(now.as_secs() + 1).saturating_sub(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_reading_that_differs_needs_a_message_which_also_has_the_one_before() {
        let ms = Duration::from_millis;
        let mut seen = Seen::default();
        let mut read = |at, execs| match seen.read::<()>(ms(at), execs) {
            Some(Message::Seen {
                unchanged_until,
                at,
                execs,
            }) => Some((unchanged_until, at, execs)),
            _ => None,
        };
        assert_eq!(read(100, 0), None);
        assert_eq!(read(1_000, 0), None);
        assert_eq!(read(2_000, 7), Some((ms(1_000), ms(2_000), 7)));
        assert_eq!(read(3_000, 7), None);
        assert_eq!(read(3_400, 8), Some((ms(3_000), ms(3_400), 8)));
    }

    #[test]
    fn the_next_second_is_never_now() {
        let left = |ns| until_next_second(Duration::from_nanos(ns)).as_nanos();
        assert_eq!(left(7_000_000_000), 1_000_000_000);
        assert_eq!(left(7_000_000_001), 999_999_999);
        assert_eq!(left(7_999_999_999), 1);
    }
}
