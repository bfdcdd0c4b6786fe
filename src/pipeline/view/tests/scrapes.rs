//! What a view counts between scrapes.

use std::time::Duration;

use crate::pipeline::name_cache::Named;
use crate::pipeline::view::tests::{NOW, execs, execs_of, subject};
use crate::pipeline::view::{Before, Counts, Label, View, key_of};

/// A view with one slot, in which each new name evicts a series.
fn with_one_slot() -> View {
    View::new(vec![Label::Comm], 1).idle_after(Duration::ZERO)
}

#[test]
fn only_what_a_scrape_has_shown_is_yielded() {
    let mut view = with_one_slot();
    view.add(&subject(b'a', 0), Named::default(), NOW, execs(5));
    view.show();
    view.add(&subject(b'a', 0), Named::default(), NOW, execs(2));
    for comm in *b"bc" {
        view.add(&subject(comm, 0), Named::default(), NOW, execs(1));
    }
    view.record_other(0, NOW);
    let counts = view.counts();
    // Two execs of `a` and the one of `b` had a series that no scrape showed.
    assert_eq!((counts.yielded, counts.overflow), (execs(5), execs(2 + 1)));
    assert_eq!(execs_of(&counts, b'c'), Some(1));
    // They did not happen without a series.
    assert_eq!(counts.recent_other.counts().sum::<u64>(), 0);
}

#[test]
fn a_series_that_returns_is_first_shown_with_less_than_before() {
    // `a` is shown, is evicted, and returns. The numbers are its execs and CPU time: shown before,
    // counted since, and expected in the next scrape.
    for (before, since, expected) in [
        ((5, 0), (3, 70), (3, 70)),
        ((5, 80), (5, 70), (4, 70)),
        ((5, 80), (9, 90), (4, 79)),
        ((2, 80), (2, 80), (1, 79)),
        // A program that is executed does not appear as 0.
        ((1, 80), (9, 1), (9, 1)),
        ((0, 1), (1, 1), (1, 0)),
    ] {
        let counts = |(execs, cpu_ns)| Counts {
            execs,
            cpu_ns,
            ..Counts::default()
        };
        let mut view = with_one_slot();
        view.add(&subject(b'a', 0), Named::default(), NOW, counts(before));
        view.show();
        view.add(&subject(b'b', 0), Named::default(), NOW, execs(1));
        view.add(&subject(b'a', 0), Named::default(), NOW, execs(1));
        // It is evicted again before a scrape shows it.
        view.add(&subject(b'b', 0), Named::default(), NOW, execs(1));
        let other = view.counts().overflow;
        view.add(&subject(b'a', 0), Named::default(), NOW, execs(1));
        view.add(
            &subject(b'a', 0),
            Named::default(),
            NOW,
            counts(since) - execs(1),
        );
        let of_a = |view: &View| view.counts().series[0].counts;
        assert_eq!(of_a(&view), counts(expected), "{before:?} {since:?}");
        let mut rest = other;
        rest += execs(1); // of `b`, whose series no scrape has shown
        rest += counts(since) - counts(expected);
        assert_eq!(view.counts().overflow, rest, "{before:?} {since:?}");
        // Once a scrape has shown it, it counts everything.
        view.show();
        let mut after = counts(expected);
        view.add(
            &subject(b'a', 0),
            Named::default(),
            NOW,
            counts((100, 1000)),
        );
        after += counts((100, 1000));
        assert_eq!(of_a(&view), after);
    }
}

#[test]
fn a_reload_keeps_what_a_scrape_has_shown() {
    let key = key_of(&[Label::Comm], "a").unwrap();
    let count =
        |view: &mut View, comm, n| view.add(&subject(comm, 0), Named::default(), NOW, execs(n));
    let mut view = with_one_slot().reserve([key.clone()]);
    count(&mut view, b'a', 5);
    view.show();
    // `a` is no longer reserved, and is evicted.
    let mut view = with_one_slot().continuing(view, NOW, &Before::default());
    count(&mut view, b'a', 1);
    count(&mut view, b'b', 1);
    assert_eq!(view.counts().yielded, execs(5));
    assert_eq!(view.counts().overflow, execs(1));
    // It returns, because it is reserved again.
    let mut view =
        View::new(vec![Label::Comm], 2)
            .reserve([key])
            .continuing(view, NOW, &Before::default());
    count(&mut view, b'a', 7);
    assert_eq!(execs_of(&view.counts(), b'a'), Some(4));
    assert_eq!(view.counts().overflow, execs(1 + 3));
}
