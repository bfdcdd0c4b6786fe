//! The same tests over both transports.

/// Runs each of these tests over the perf buffer and over the ring buffer.
#[macro_export]
macro_rules! over_both_transports {
    ($($(#[$attribute:meta])* $test:ident)*) => {
        mod perf {
            $($(#[$attribute])* #[test] fn $test() { super::$test("perf"); })*
        }
        mod ringbuf {
            $($(#[$attribute])* #[test] fn $test() { super::$test("ringbuf"); })*
        }
    };
}
