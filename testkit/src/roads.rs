//! The same tests over both roads into user space.

/// Run these tests once over each road.
#[macro_export]
macro_rules! over_both_roads {
    ($($(#[$attribute:meta])* $test:ident)*) => {
        mod perf {
            $($(#[$attribute])* #[test] fn $test() { super::$test("perf"); })*
        }
        mod ringbuf {
            $($(#[$attribute])* #[test] fn $test() { super::$test("ringbuf"); })*
        }
    };
}
