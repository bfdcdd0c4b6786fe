//! The same tests over both roads into user space.

/// Run these tests once over each road.
macro_rules! over_both_roads {
    ($($test:ident)*) => {
        mod perf {
            $(#[test] fn $test() { super::$test("perf"); })*
        }
        mod ringbuf {
            $(#[test] fn $test() { super::$test("ringbuf"); })*
        }
    };
}
