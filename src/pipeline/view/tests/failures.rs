//! Failed execs in a view.

use super::*;

const ENOENT: i32 = 2;
const EACCES: i32 = 13;

fn view(metrics: &[Metric], max_series: usize) -> View {
    View::new(vec![Label::Comm], max_series).with_metrics(metrics.to_vec())
}

fn fail(view: &mut View, comm: u8, errno: i32, times: u64) {
    let failures = Failures::of(errno, times);
    view.add_failures(&subject(comm, 0), Named::default(), NOW, &failures);
}

/// The failed execs of a program by error.
fn failures_of(view: &View, comm: u8) -> Vec<(Option<i32>, u64, Timestamp)> {
    let series = view.counts().series;
    let found = series.iter().find(|series| series.key.comm[0] == comm);
    let failures = found.and_then(|series| series.failures.clone());
    failures.map_or_else(Vec::new, |failures| failures.iter().collect())
}

#[test]
fn each_error_starts_with_its_first_failure() {
    let [begun, later] = [1, 2].map(Timestamp::from_unix_ms);
    let mut view = view(&[Metric::Execs, Metric::Failures], 2).starting(begun);
    view.add(&subject(b'a', 0), Named::default(), NOW, execs(1));
    assert_eq!(failures_of(&view, b'a'), []);
    fail(&mut view, b'a', ENOENT, 3);
    view.flushed(later);
    fail(&mut view, b'a', ENOENT, 4);
    fail(&mut view, b'a', EACCES, 5);
    let expected = [(Some(ENOENT), 7, begun), (Some(EACCES), 5, later)];
    assert_eq!(failures_of(&view, b'a'), expected);
}

#[test]
fn a_name_that_only_fails_takes_a_free_slot_and_evicts_nothing() {
    let mut view = view(&[Metric::Execs, Metric::Failures], 2);
    view.add(&subject(b'a', 0), Named::default(), NOW, execs(1));
    fail(&mut view, b'b', ENOENT, 2);
    fail(&mut view, b'c', ENOENT, 3);
    assert_eq!(failures_of(&view, b'b').len(), 1);
    assert_eq!(failures_of(&view, b'c'), []);
    let counts = view.counts();
    assert_eq!(counts.failures.overflow, Failures::of(ENOENT, 3));
    assert_eq!(execs_of(&counts, b'a'), Some(1));
}

#[test]
fn in_a_view_of_failures_alone_programs_that_never_fail_take_no_slot() {
    let mut view = view(&[Metric::Failures], 2).idle_after(NOW);
    for comm in *b"abc" {
        view.add(&subject(comm, 0), Named::default(), NOW, execs(1));
    }
    fail(&mut view, b'd', ENOENT, 4);
    fail(&mut view, b'e', ENOENT, 5);
    let counts = view.counts();
    assert_eq!(counts.series.len(), 2);
    assert_eq!((counts.filtered, counts.overflow), (execs(3), execs(0)));
    // What has failed keeps its slot until it is idle.
    fail(&mut view, b'f', ENOENT, 6);
    assert_eq!(failures_of(&view, b'f'), []);
    let failures = Failures::of(ENOENT, 7);
    view.add_failures(&subject(b'f', 0), Named::default(), 2 * NOW, &failures);
    assert_eq!(failures_of(&view, b'f').len(), 1);
}

#[test]
fn a_view_that_is_reduced_to_failures_or_extended_to_execs_keeps_its_sums() {
    let both = [Metric::Execs, Metric::Failures];
    let before = Before::default();
    let mut old = view(&both, 1);
    old.add(&subject(b'a', 0), Named::default(), NOW, execs(5));
    // A program that fails takes the slot of one that was executed.
    let mut reduced = view(&[Metric::Failures], 1).continuing(old, NOW, &before);
    fail(&mut reduced, b'b', ENOENT, 2);
    assert_eq!(failures_of(&reduced, b'b').len(), 1);
    reduced.add(&subject(b'c', 0), Named::default(), NOW, execs(7));
    // Execs from before the view had the metric are yielded.
    let extended = view(&both, 2).continuing(reduced, NOW, &before);
    let counts = extended.counts();
    assert_eq!((counts.filtered, counts.yielded), (execs(0), execs(7)));
    assert_eq!(counts.overflow, execs(5));
}
