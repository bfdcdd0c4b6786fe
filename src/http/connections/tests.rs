//! Tests which connection is closed. No sockets are needed.

use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::patience::Patience;
use super::source::Source;
use super::table::{Limits, NotBefore, Phase, Table};

const MS: Duration = Duration::from_millis(1);

/// A table for one request at a time. It has four slots for reading, and a budget for one answer,
/// but four answers are always allowed.
struct Site {
    table: Table,
    start: Instant,
}

impl Site {
    fn new() -> Self {
        let mut limits = Limits::new(1);
        limits.grace = Patience::always(100 * MS);
        limits.stall = Patience::always(10 * MS);
        limits.reading_time = 50 * MS;
        Self {
            table: Table::new(limits),
            start: Instant::now(),
        }
    }

    fn connect(&mut self, source: Source, at: u32) -> Result<u64, NotBefore> {
        let now = self.start + at * MS;
        self.table.admit(source, Duration::from_secs(1), now, now)
    }

    /// Adds a connection whose client has last read a part of its answer at this time, in
    /// milliseconds.
    fn answer(&mut self, source: Source, at: u32) -> Result<u64, NotBefore> {
        let now = self.start + at * MS;
        let id = self.connect(source, at)?;
        self.table.entries.get_mut(&id).unwrap().phase = Phase::Answering;
        let charged = self.table.charge(id, now);
        if let Err(not_before) = charged {
            self.table.remove(id);
            return Err(not_before);
        }
        self.read(id, at);
        Ok(id)
    }

    fn read(&mut self, id: u64, at: u32) {
        let progress = self.start + at * MS;
        self.table.entries.get_mut(&id).unwrap().phase = Phase::Answered {
            since: self.start,
            progress,
            is_sent: false,
        };
    }

    fn open(&self) -> Vec<u64> {
        let mut ids: Vec<_> = self.table.entries.keys().copied().collect();
        ids.sort_unstable();
        ids
    }

    fn at<T>(&self, at: u32) -> Result<T, NotBefore> {
        Err(Some(self.start + at * MS))
    }
}

fn source(n: u8) -> Source {
    Source::of(IpAddr::from([192, 0, 2, n]))
}

#[test]
fn a_source_with_fewer_connections_takes_a_slot_of_the_largest_one_at_once() {
    let mut site = Site::new();
    let crowd: Vec<_> = (0..3)
        .map(|at| site.connect(source(1), at).unwrap())
        .collect();
    let other = site.connect(source(2), 0).unwrap();
    let new = site.connect(source(3), 4).unwrap();
    assert_eq!(site.open(), [crowd[1], crowd[2], other, new]);
}

#[test]
fn a_crowd_does_not_take_slots_of_smaller_sources() {
    let mut site = Site::new();
    let honest = site.connect(source(2), 0).unwrap();
    for at in 1..1000 {
        let _ = site.connect(source(1), at);
        assert!(site.open().contains(&honest), "{at}");
    }
}

#[test]
fn within_a_source_a_slot_is_free_after_the_grace_and_the_oldest_goes_first() {
    let mut site = Site::new();
    let crowd: Vec<_> = (0..4)
        .map(|at| site.connect(source(1), at).unwrap())
        .collect();
    assert_eq!(site.connect(source(1), 99), site.at(100));
    let new = site.connect(source(1), 100).unwrap();
    assert_eq!(site.open(), [crowd[1], crowd[2], crowd[3], new]);
    assert_eq!(site.connect(source(1), 100), site.at(101));
}

#[test]
fn among_sources_with_one_connection_each_the_grace_applies_as_within_one() {
    let mut site = Site::new();
    let first = site.connect(source(0), 0).unwrap();
    for n in 1..4 {
        site.connect(source(n), n.into()).unwrap();
    }
    assert_eq!(site.connect(source(9), 99), site.at(100));
    site.connect(source(9), 100).unwrap();
    assert!(!site.open().contains(&first));
}

#[test]
fn a_request_that_is_being_answered_is_never_cut() {
    let mut site = Site::new();
    for at in 0..4 {
        let id = site.connect(source(1), at).unwrap();
        site.table.entries.get_mut(&id).unwrap().phase = Phase::Answering;
    }
    assert_eq!(site.connect(source(2), 1000), Err(None));
    assert_eq!(site.open().len(), 4);
}

#[test]
fn an_answer_is_cut_if_its_client_pauses_or_takes_too_long_and_others_need_the_budget() {
    let mut site = Site::new();
    let answers = [0, 5, 6, 7].map(|at| site.answer(source(1), at).unwrap());
    assert_eq!(site.answer(source(1), 9), site.at(10));
    let fifth = site.answer(source(1), 10).unwrap();
    assert_eq!(site.open(), [answers[1], answers[2], answers[3], fifth]);
    // All clients keep reading, until one of them has used up its reading time.
    for id in site.open() {
        site.read(id, 49);
    }
    assert_eq!(site.answer(source(1), 49), site.at(50));
    let sixth = site.answer(source(1), 50).unwrap();
    assert_eq!(site.open(), [answers[2], answers[3], fifth, sixth]);
}

#[test]
fn an_answer_of_the_largest_source_is_cut_at_once_for_a_smaller_one() {
    let mut site = Site::new();
    let crowd = [0, 1, 2, 3].map(|at| site.answer(source(1), at).unwrap());
    let one = site.answer(source(2), 4).unwrap();
    assert_eq!(site.open(), [crowd[1], crowd[2], crowd[3], one]);
    let two = site.answer(source(2), 4).unwrap();
    assert_eq!(site.open(), [crowd[2], crowd[3], one, two]);
    // Now each source has two connections.
    assert_eq!(site.answer(source(2), 4), site.at(12));
}

#[test]
fn a_text_counts_once_until_the_last_of_its_answers_is_with_the_kernel() {
    let mut site = Site::new();
    let text = (0x1000, 1 << 20);
    let (one, two) = (
        site.answer(source(1), 0).unwrap(),
        site.answer(source(2), 0).unwrap(),
    );
    let without = site.table.held();
    site.table.hold_text(one, text);
    site.table.hold_text(two, text);
    assert_eq!(site.table.held(), without + (1 << 20));
    site.table.release_text(one);
    assert_eq!(site.table.held(), without + (1 << 20));
    site.table.remove(two);
    assert!(site.table.held() < without);
}

#[test]
fn beyond_a_few_answers_as_many_are_cut_as_the_budget_needs() {
    let mut site = Site::new();
    let mut limits = Limits::new(64);
    limits.grace = Patience::always(100 * MS);
    limits.stall = Patience::always(10 * MS);
    site.table = Table::new(limits);
    let text = (0x1000, 1 << 30);
    let answers: Vec<_> = (0..10)
        .map(|at| site.answer(source(1), at).unwrap())
        .collect();
    site.table.hold_text(answers[5], text);
    let new = site.answer(source(1), 20).unwrap();
    assert_eq!(site.open(), [&answers[6..], &[new]].concat());
    // If one text alone exceeds the budget, four answers are still allowed.
    site.table.hold_text(new, text);
    for at in (40..240).step_by(20) {
        let id = site.answer(source(2), at).unwrap();
        site.table.hold_text(id, (0x2000, 1 << 30));
    }
    assert_eq!(site.open().len(), 4);
}

#[test]
fn a_crowd_that_does_nothing_is_replaced_ever_faster_until_clients_do_something_again() {
    let mut site = Site::new();
    let mut limits = Limits::new(1);
    limits.grace = Patience::new(100, 700);
    site.table = Table::new(limits);
    for _ in 0..4 {
        site.connect(source(1), 0).unwrap();
    }
    assert_eq!(site.connect(source(1), 699), site.at(700));
    for _ in 0..30 {
        site.connect(source(1), 10_000).unwrap_or_default();
    }
    for _ in 0..30 {
        site.connect(source(1), 20_000).unwrap_or_default();
    }
    let grace = |site: &mut Site, at: u32| match site.connect(source(1), at) {
        Err(Some(until)) => (until - site.start).as_millis() - u128::from(at),
        other => panic!("{other:?}"),
    };
    let before = grace(&mut site, 20_000);
    assert!(before < 700);
    for id in site.open() {
        site.table.charge(id, site.start + 20_000 * MS).unwrap();
        site.table.remove(id);
        site.connect(source(1), 20_000).unwrap();
    }
    assert!(grace(&mut site, 20_000) > before);
}

#[test]
fn counts_of_sources_are_forgotten_with_their_connections() {
    let mut site = Site::new();
    for n in 0..200 {
        let id = site.answer(source(n), u32::from(n) * 1000).unwrap();
        site.table.hold_text(id, (usize::from(n), 1));
    }
    for id in site.open() {
        site.table.remove(id);
    }
    assert_eq!(site.table.held(), 0);
    assert!(site.table.is_empty());
}
