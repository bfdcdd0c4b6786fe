use std::time::Duration;

use crate::pipeline::name_cache::Named;
use crate::pipeline::view::tests::{NOW, execs, execs_of, subject};
use crate::pipeline::view::{Counts, Label, View};
use crate::record::Subject;

/// A subject whose program's name is made from a number.
fn numbered(number: u32, uid: u32) -> Subject {
    let mut subject = subject(b'n', uid);
    subject.comm[1..5].copy_from_slice(&number.to_be_bytes());
    subject
}

/// A time in seconds since the start.
fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn a_series_without_an_exec_is_evicted_at_once_by_an_exec_and_by_nothing_else() {
    let cpu = Counts {
        execs: 0,
        cpu_ns: 5,
        ..Counts::default()
    };
    let mut view = View::new(vec![Label::Comm], 3);
    for comm in *b"abcd" {
        view.add(&subject(comm, 1), Named::default(), NOW, cpu);
    }
    assert_eq!(view.counts().overflow, cpu);
    view.show();
    for comm in *b"xyz" {
        view.add(&subject(comm, 1), Named::default(), NOW, execs(1));
    }
    let counts = view.counts();
    for comm in *b"xyz" {
        assert_eq!(execs_of(&counts, comm), Some(1));
    }
    assert_eq!(
        counts.yielded,
        Counts {
            execs: 0,
            cpu_ns: 15,
            ..Counts::default()
        }
    );
    assert_eq!(counts.overflow, cpu);
    // The series of x, y and z have execs, so that the next exec does not evict them.
    view.add(&subject(b'a', 1), Named::default(), NOW, execs(1));
    assert_eq!(view.counts().overflow.execs, 1);
}

#[test]
fn a_user_with_more_than_the_share_yields_at_once_to_others() {
    let mut view = View::new(vec![Label::Comm], 8).user_share(0.5);
    for number in 0..10 {
        view.add(&numbered(number, 1), Named::default(), NOW, execs(1));
    }
    // A user can take every slot as long as no other user needs one.
    assert_eq!(view.counts().overflow, execs(2));
    view.show();
    for comm in *b"abcdef" {
        view.add(&subject(comm, 2), Named::default(), NOW, execs(1));
    }
    // Neither user has more than the share, so that a third one does not get a slot at once.
    view.add(&subject(b'z', 3), Named::default(), NOW, execs(1));
    let counts = view.counts();
    let has_series = b"abcdefz".map(|comm| execs_of(&counts, comm).is_some());
    assert_eq!(has_series, [true, true, true, true, false, false, false]);
    assert_eq!(counts.series.len(), 8);
    assert_eq!((counts.overflow, counts.yielded), (execs(5), execs(4)));
}

#[test]
fn with_a_share_of_1_no_user_yields_to_others() {
    let mut view = View::new(vec![Label::Comm], 4).user_share(1.0);
    for number in 0..4 {
        view.add(&numbered(number, 1), Named::default(), NOW, execs(1));
    }
    view.add(&subject(b'a', 2), Named::default(), NOW, execs(1));
    assert_eq!(view.counts().overflow, execs(1));
}

#[test]
fn of_the_series_of_a_user_the_one_with_the_fewest_seconds_yields_first() {
    let mut view = View::new(vec![Label::Comm], 4).user_share(0.5);
    for (comm, times) in [(b'a', 3), (b'b', 1), (b'c', 2), (b'd', 1)] {
        for second in 0..times {
            view.add(
                &subject(comm, 1),
                Named::default(),
                NOW + at(second),
                execs(1),
            );
        }
    }
    view.add(&subject(b'b', 1), Named::default(), NOW + at(40), execs(1));
    for comm in *b"xy" {
        view.add(&subject(comm, 2), Named::default(), NOW + at(40), execs(1));
    }
    let counts = view.counts();
    let has_series = b"abcdxy".map(|comm| execs_of(&counts, comm).is_some());
    assert_eq!(has_series, [true, true, false, false, true, true]);
}

#[test]
fn a_program_executed_every_second_gets_a_slot_among_names_seen_once() {
    for after_the_storm in [0, 600] {
        let mut view = View::new(vec![Label::Comm], 1000).idle_after(at(3600));
        let mut number = 0;
        for second in 0..60 {
            for _ in 0..5000 {
                number += 1;
                view.add(&numbered(number, 0), Named::default(), at(second), execs(1));
            }
            if after_the_storm == 0 {
                view.add(&subject(b'r', 0), Named::default(), at(second), execs(1));
            }
            view.show();
        }
        if after_the_storm > 0 {
            for second in 0..60 {
                view.add(
                    &subject(b'r', 0),
                    Named::default(),
                    at(after_the_storm + second),
                    execs(1),
                );
            }
        }
        let counts = view.counts();
        // `r` waits until the first series are settled and it has been seen in three seconds.
        let least = if after_the_storm == 0 { 25 } else { 58 };
        assert!(
            execs_of(&counts, b'r') >= Some(least),
            "{:?}",
            execs_of(&counts, b'r')
        );
        // The names seen once evict nothing.
        assert_eq!((counts.series.len(), counts.yielded), (1000, execs(1)));
    }
}

#[test]
fn a_settled_series_yields_to_a_name_seen_in_more_than_twice_as_many_seconds() {
    let mut view = View::new(vec![Label::Comm], 1);
    for second in [0, 0, 1, 2] {
        view.add(&subject(b'a', 0), Named::default(), at(second), execs(1));
    }
    view.show();
    // `b` is executed twice in each second, which counts as one second.
    for second in (3..8).chain(100..102) {
        for _ in 0..2 {
            view.add(&subject(b'b', 0), Named::default(), at(second), execs(1));
        }
        let has_slot = execs_of(&view.counts(), b'b').is_some();
        assert_eq!(has_slot, second == 101, "{second}");
    }
    let counts = view.counts();
    // The execs of `b` before it had a slot stay in the overflow.
    assert_eq!(execs_of(&counts, b'b'), Some(2));
    assert_eq!((counts.overflow, counts.yielded), (execs(12), execs(4)));
    // When `a` returns, it counts its seconds from 0, while `b` keeps those in which it waited.
    for second in 140..=160 {
        view.add(&subject(b'a', 0), Named::default(), at(second), execs(1));
        view.show();
        let expected = if second < 154 {
            None
        } else {
            Some(second - 153)
        };
        assert_eq!(execs_of(&view.counts(), b'a'), expected);
    }
}

#[test]
fn a_series_younger_than_30_seconds_yields_to_no_name_that_returns() {
    let mut view = View::new(vec![Label::Comm], 1);
    view.add(&subject(b'a', 0), Named::default(), at(5), execs(1));
    for second in 5..35 {
        view.add(&subject(b'b', 0), Named::default(), at(second), execs(1));
    }
    assert_eq!(execs_of(&view.counts(), b'b'), None);
    view.add(&subject(b'b', 0), Named::default(), at(35), execs(1));
    assert_eq!(execs_of(&view.counts(), b'b'), Some(1));
}
