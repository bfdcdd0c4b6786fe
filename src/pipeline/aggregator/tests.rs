mod increase;
mod lost;
mod resume;

use nix::errno::Errno;

use super::account::difference;
use super::*;
use crate::capture::source::ProgramStats;
use crate::pipeline::missed::IN_FLIGHT;
use crate::pipeline::name_cache::Names;
use crate::pipeline::saved::State;
use crate::pipeline::series;
use crate::pipeline::view::{Counts, Metric};
use crate::pipeline::view::{Key, Label, ViewCounts};
use crate::record::{Kind, Ledger, Outcome};

fn keys_and_counts(view: &ViewCounts) -> Vec<(Key, Counts)> {
    let series = view.series.iter();
    series.map(|of| (Key::clone(&of.key), of.counts)).collect()
}

#[test]
fn the_ledger_difference_is_zero_between_what_was_seen_before_and_after() {
    assert_eq!(difference(10, 12, 9), 1);
    assert_eq!(difference(10, 12, 10), 0);
    assert_eq!(difference(10, 12, 12), 0);
    assert_eq!(difference(10, 12, 13), -1);
}

#[test]
fn the_total_contains_events_and_tallied_undecodable_and_unattributed_execs() {
    let mut aggregator = Aggregator::new(vec![View::new(vec![Label::Comm], 5)]);
    let four = TallyCount {
        count: 4,
        cpu_ns: 0,
        ..TallyCount::default()
    };
    assert!(!aggregator.apply(Message::Events(vec![Event::default(); 3], Names::default())));
    assert!(!aggregator.apply(Message::Tally(
        vec![(Subject::default(), four)],
        Names::default()
    )));
    let mut flush = Flush {
        request: 1,
        undecodable: 5,
        ..Flush::default()
    };
    flush.before[Kind::Exec].seen = 14;
    flush.after[Kind::Exec] = Ledger {
        sent: 8,
        tallied: 4,
        unattributed: 2,
        seen: 14,
        ..Ledger::default()
    };
    assert!(aggregator.apply(Message::Flushed(Box::new(flush))));
    let snapshot = aggregator.snapshot();
    assert_eq!(snapshot.execs, 3 + 4 + 5 + 2);
    assert_eq!(snapshot.unattributed, 5 + 2);
    assert_eq!(snapshot.recent.counts().sum::<u64>(), snapshot.execs);
    assert_eq!(snapshot.differences, [0; 4]);
    let execs = Counts {
        execs: 7,
        cpu_ns: 0,
        ..Counts::default()
    };
    assert_eq!(
        keys_and_counts(&snapshot.views[0]),
        [(Key::default(), execs)]
    );
}

#[test]
fn an_exec_that_no_copy_of_the_program_observed_is_unattributed() {
    let mut aggregator = Aggregator::new(vec![View::new(vec![Label::Comm], 5)]);
    let program = |each_run_observes, missed_runs| ProgramStats {
        name: "program",
        observes: Some(Kind::Exec),
        each_run_observes,
        missed_runs,
        runs: 0,
        run_time_ns: 0,
    };
    // A program that does not observe an exec in each run is ignored.
    let skipped = |times| vec![program(true, times), program(false, 100)];
    let (at_once, later) = (Duration::ZERO, IN_FLIGHT);
    for (passed, programs, recovered, missed) in [
        (later, skipped(3), 0, 0), // a standby copy may still observe them
        (at_once, skipped(3), 0, 0),
        (at_once, skipped(4), 2, 0),
        (later, skipped(4), 2, 2),
        (later, skipped(5), 3, 2),
        (later, skipped(6), 3, 2),
        (at_once, skipped(6), 3, 2), // too early: another Prometheus scrapes in between
        (later, skipped(6), 3, 3),
        (later, vec![], 3, 3), // the statistics could not be read
        (later, skipped(6), 3, 3),
        (later, skipped(6), 2, 3),
        (later, skipped(6), 2, 4), // every copy ran, but the kernel refused the claims
    ] {
        aggregator.began -= passed;
        let mut flush = Flush {
            programs,
            ..Flush::default()
        };
        flush.after[Kind::Exec].recovered = recovered;
        aggregator.apply(Message::Flushed(Box::new(flush)));
        let snapshot = aggregator.snapshot();
        assert_eq!((snapshot.execs, snapshot.unattributed), (missed, missed));
        assert_eq!(snapshot.recent.counts().sum::<u64>(), missed);
        assert_eq!(snapshot.differences, [0; 4]);
    }
}

#[test]
fn skipped_exits_and_failures_have_an_upper_bound() {
    let program = |kind, missed_runs| ProgramStats {
        name: "program",
        observes: Some(kind),
        each_run_observes: false,
        missed_runs,
        runs: 0,
        run_time_ns: 0,
    };
    let standby = ProgramStats {
        observes: None,
        ..program(Kind::Exit, 50)
    };
    let mut aggregator = Aggregator::new(vec![]);
    // `recovered` is negative if the kernel refused the claims of first copies.
    for (exits, failures, recovered, at_most) in [
        (7, [2, 3], [0, 4], [0, 0, 0, 0]),
        (7, [2, 3], [0, 4], [0, 5, 3, 0]),
        (7, [2, 4], [-1, 7], [0, 5, 3, 0]),
        (9, [2, 4], [-1, 7], [0, 7, 3, 0]),
    ] {
        aggregator.began -= IN_FLIGHT;
        let mut flush = Flush {
            programs: vec![
                program(Kind::Exit, exits),
                standby,
                program(Kind::Failure, failures[0]),
                program(Kind::Failure, failures[1]),
            ],
            ..Flush::default()
        };
        flush.after[Kind::Failure].recovered = recovered[0];
        flush.after[Kind::Exit].recovered = recovered[1];
        aggregator.apply(Message::Flushed(Box::new(flush)));
        let snapshot = aggregator.snapshot();
        assert_eq!(snapshot.missed_at_most, at_most);
        assert_eq!((snapshot.missed, snapshot.execs), (0, 0));
        assert_eq!(snapshot.differences, [0; 4]);
    }
}

#[test]
fn in_a_view_that_a_reload_adds_everything_counted_earlier_is_yielded() {
    let mut aggregator = Aggregator::new(vec![View::new(vec![Label::Comm], 5)]);
    let mut event = Event {
        cpu_ns: 7,
        ..Event::default()
    };
    let mut observe = |aggregator: &mut Aggregator, kind: Kind| {
        event.subject.kind = kind.in_kernel();
        aggregator.apply(Message::Events(vec![event; 3], Names::default()));
    };
    let total = |times: u64| Counts {
        execs: 3 * times,
        cpu_ns: 3 * 7 * times,
        ..Counts::default()
    };
    for kind in [Kind::Exec, Kind::CpuTime] {
        observe(&mut aggregator, kind);
    }
    aggregator.change_views(vec![
        View::new(vec![Label::Uid], 5),
        View::new(vec![Label::Comm], 6),
    ]);
    for kind in [Kind::Exec, Kind::CpuTime] {
        observe(&mut aggregator, kind);
    }
    let [by_uid, by_comm] = &aggregator.snapshot().views[..] else {
        panic!("two views");
    };
    assert_eq!(by_uid.yielded, total(1));
    assert_eq!(keys_and_counts(by_uid), [(Key::default(), total(1))]);
    assert_eq!(by_comm.yielded, total(0));
    assert_eq!(keys_and_counts(by_comm), [(Key::default(), total(2))]);
    assert_eq!(by_comm.max_series, 6);
}

#[test]
fn cpu_time_is_counted_from_events_and_the_tally_and_without_a_subject() {
    let mut aggregator = Aggregator::new(vec![View::new(vec![Label::Comm], 5)]);
    let mut freed = Event {
        cpu_ns: 300,
        ..Event::default()
    };
    freed.subject.kind = Kind::CpuTime.in_kernel();
    let mut orphan = freed;
    orphan.subject.facts = 1;
    let tallied = TallyCount {
        count: 2,
        cpu_ns: 600,
        ..TallyCount::default()
    };
    aggregator.apply(Message::Events(vec![freed], Names::default()));
    aggregator.apply(Message::Tally(
        vec![(orphan.subject, tallied)],
        Names::default(),
    ));
    let mut flush = Flush::default();
    flush.before[Kind::CpuTime].seen = 7;
    flush.after[Kind::CpuTime] = Ledger {
        sent: 1,
        tallied: 2,
        unattributed: 4,
        unattributed_cpu_ns: 50,
        seen: 7,
        ..Ledger::default()
    };
    aggregator.apply(Message::Flushed(Box::new(flush)));
    // A view that begins now has all of it as yielded.
    aggregator.change_views(vec![
        View::new(vec![Label::Comm], 5),
        View::new(vec![Label::Uid], 5),
    ]);
    let snapshot = aggregator.snapshot();
    assert_eq!(snapshot.execs, 0);
    assert_eq!(snapshot.differences, [0; 4]);
    assert_eq!(snapshot.unattributed_cpu_ns, 50);
    assert_eq!(snapshot.unknown_parents, 2);
    let cpu = |cpu_ns| Counts {
        execs: 0,
        cpu_ns,
        ..Counts::default()
    };
    let [by_comm, by_uid] = &snapshot.views[..] else {
        panic!("two views");
    };
    assert_eq!(keys_and_counts(by_comm), [(Key::default(), cpu(900))]);
    assert_eq!(series::other(by_comm, &snapshot), cpu(50));
    assert_eq!(by_uid.yielded, cpu(950));
    assert_eq!(series::other(by_uid, &snapshot), cpu(0));
}

#[test]
fn a_metric_that_a_reload_adds_to_a_view_begins_at_0_and_the_sum_is_still_the_total() {
    let view = |metrics: &[Metric]| {
        let view = View::new(vec![Label::Comm], 5);
        vec![view.with_metrics(metrics.to_vec())]
    };
    let mut aggregator = Aggregator::new(view(&[Metric::Execs]));
    let exit = |aggregator: &mut Aggregator| {
        let mut event = Event {
            lifetime_ns: 9,
            ..Event::default()
        };
        aggregator.apply(Message::Events(vec![event], Names::default()));
        event.subject.kind = Kind::Exit.in_kernel();
        event.subject.outcome = Outcome::Error.in_kernel();
        aggregator.apply(Message::Events(vec![event; 2], Names::default()));
    };
    let counts = |execs, errors| Counts {
        execs,
        exits: [0, errors, 0, 0, 0],
        ..Counts::default()
    };
    let of_view = |aggregator: &Aggregator| {
        let view = &aggregator.snapshot().views[0];
        (view.series[0].counts, view.yielded)
    };
    exit(&mut aggregator);
    assert_eq!(of_view(&aggregator), (counts(1, 0), counts(0, 0)));
    aggregator.change_views(view(&[Metric::Exits]));
    exit(&mut aggregator);
    assert_eq!(of_view(&aggregator), (counts(2, 2), counts(0, 2)));
    let saved = State {
        continuity: Continuity::default(),
        counts: aggregator.saved(),
    };
    let saved = State::decode(&saved.encode().unwrap()).unwrap().counts;
    let mut aggregator = Aggregator::resume(saved, view(&[Metric::Exits]));
    exit(&mut aggregator);
    assert_eq!(of_view(&aggregator), (counts(3, 4), counts(0, 2)));
    // What is no longer asked for is forgotten, and begins again.
    aggregator.change_views(view(&[Metric::Execs]));
    assert_eq!(of_view(&aggregator), (counts(3, 0), counts(0, 0)));
    aggregator.change_views(view(&[Metric::Execs, Metric::Exits]));
    assert_eq!(of_view(&aggregator), (counts(3, 0), counts(0, 6)));
}

#[test]
fn a_view_that_a_reload_adds_has_only_later_unattributed_execs_in_other() {
    let mut aggregator = Aggregator::new(vec![]);
    let observe = |aggregator: &mut Aggregator, unattributed| {
        aggregator.apply(Message::Events(vec![Event::default(); 3], Names::default()));
        let mut flush = Flush::default();
        flush.after[Kind::Exec].unattributed = unattributed;
        aggregator.apply(Message::Flushed(Box::new(flush)));
    };
    observe(&mut aggregator, 2);
    aggregator.change_views(vec![View::new(vec![Label::Comm], 5)]);
    for (unattributed, execs, other) in [(2, 3, 0), (9, 6, 7)] {
        observe(&mut aggregator, unattributed);
        let snapshot = aggregator.snapshot();
        let view = &snapshot.views[0];
        assert_eq!(view.yielded.execs, 3 + 2);
        assert_eq!(view.series[0].counts.execs, execs);
        assert_eq!(series::other(view, &snapshot).execs, other);
        assert_eq!(view.recent_other.counts().sum::<u64>(), other);
        assert_eq!(snapshot.execs, 3 + 2 + execs + other);
    }
}

/// A flush that began at this time, with these counts of exits with status 1 and of ENOTDIR.
fn flush(began: Timestamp, exits: u64, failures: u64) -> Message {
    let mut flush = Flush {
        began,
        ..Flush::default()
    };
    flush.exits.add(1 << 8, exits);
    flush.failures.add(Errno::ENOTDIR as i32, failures);
    Message::Flushed(Box::new(flush))
}

#[test]
fn a_series_starts_when_the_last_flush_without_it_began() {
    let [first, second, third, fourth] = [1, 2, 3, 4].map(Timestamp::from_unix_ms);
    let view = || View::new(vec![Label::Comm], 1).idle_after(Duration::ZERO);
    let mut aggregator = Aggregator::new(vec![view()]);
    let began = aggregator.snapshot().start;
    let exec = |aggregator: &mut Aggregator, comm| {
        let mut event = Event::default();
        event.subject.comm[0] = comm;
        aggregator.apply(Message::Events(vec![event], Names::default()));
        aggregator.snapshot().views[0].series[0].start
    };
    assert!(began.unix_ms() > 0);
    assert_eq!(exec(&mut aggregator, b'a'), began);
    aggregator.apply(flush(first, 0, 0));
    assert_eq!(exec(&mut aggregator, b'a'), began);
    aggregator.apply(flush(second, 0, 3));
    // `a` is evicted.
    assert_eq!(exec(&mut aggregator, b'b'), second);
    aggregator.apply(flush(third, 2, 4));
    // A series that comes back starts anew.
    assert_eq!(exec(&mut aggregator, b'a'), third);
    // A view that is added by a reload starts, and one that stays keeps its starts.
    aggregator.change_views(vec![view(), View::new(vec![Label::Uid], 1)]);
    aggregator.apply(flush(fourth, 2, 4));

    let snapshot = aggregator.snapshot();
    assert_eq!(snapshot.start, began);
    let starts = snapshot.views.iter().map(|view| view.start);
    assert_eq!(starts.collect::<Vec<_>>(), [began, third]);
    assert_eq!(snapshot.views[0].series[0].start, third);
    let exits = BTreeMap::from([(WaitStatus::Exited(1), second)]);
    assert_eq!(snapshot.exit_starts, exits);
    let failures = BTreeMap::from([(Errno::ENOTDIR as i32, first)]);
    assert_eq!(snapshot.failure_starts, failures);
}
