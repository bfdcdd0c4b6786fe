//! Watches: named conditions with a counter of their own.
//!
//! A watch has no series to evict, so no number of names can hide what it counts.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use self::lines::{Lines, log};
use crate::pipeline::matcher::Matcher;
use crate::pipeline::name_cache::Named;
use crate::pipeline::view::key::Label;
use crate::pipeline::view::{Counts, Exits};
use crate::record::{Outcome, Subject};
use crate::sys::clock::Timestamp;

mod lines;

/// The largest number of watches.
pub const MAX_WATCHES: usize = 64;

/// Times by outcome, in the order of [`Outcome::ALL`], of those that occurred.
pub type ExitTimes = [Option<Timestamp>; Outcome::ALL.len()];

/// Counts the execs and the exits that match.
#[derive(Debug)]
pub struct Watch {
    matcher: Matcher,
    /// Whether each exec that matches is logged.
    is_logged: bool,
    /// Whether the kernel side tells whose exits it has seen.
    has_exits: bool,
    lines: Lines,
    saved: SavedWatch,
}

/// What a watch has counted, so that the next daemon can continue it.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub struct SavedWatch {
    name: String,
    /// A watch that is defined in another way begins anew.
    definition: String,
    execs: u64,
    last_exec: Option<Timestamp>,
    exits: Exits,
    last_exits: ExitTimes,
    /// When the watch had not counted anything yet.
    start: Timestamp,
}

/// The counts of a watch at a flush.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchCounts {
    pub name: String,
    pub execs: u64,
    /// When the last exec was counted, if there was one. Neither events nor the tally have its time.
    pub last_exec: Option<Timestamp>,
    /// Exits, and when the last ones were counted, if the watch has them.
    pub exits: Option<(Exits, ExitTimes)>,
    pub start: Timestamp,
}

impl Watch {
    /// A watch without counts. If `is_logged`, it logs the execs that it counts.
    pub fn new(name: impl Into<String>, matcher: Matcher, is_logged: bool) -> Self {
        let saved = SavedWatch {
            name: name.into(),
            definition: matcher.definition(),
            execs: 0,
            last_exec: None,
            exits: Exits::default(),
            last_exits: ExitTimes::default(),
            start: Timestamp::default(),
        };
        Self {
            matcher,
            is_logged,
            has_exits: true,
            lines: Lines::default(),
            saved,
        }
    }

    /// Leaves out the exits, because the kernel side does not tell whose they are.
    #[must_use]
    pub fn without_exits(self) -> Self {
        Self {
            has_exits: false,
            ..self
        }
    }

    /// Returns whether it has the exits that it counts.
    pub fn has_exits(&self) -> bool {
        self.has_exits
    }

    fn count(&mut self, subject: &Subject, names: Named<'_>, hit: &Hit) {
        let saved = &mut self.saved;
        let exits = saved.exits.iter_mut().zip(&mut saved.last_exits);
        for ((sum, last), exits) in exits.zip(hit.counts.exits) {
            if exits > 0 {
                *sum += exits;
                *last = Some(hit.at);
            }
        }
        let execs = hit.counts.execs;
        if execs == 0 {
            return;
        }
        saved.execs += execs;
        saved.last_exec = Some(hit.at);
        if self.is_logged
            && let Some(left_out) = self.lines.allow(hit.now)
        {
            log(&saved.name, subject, names, execs, left_out);
        }
    }

    fn counts(&self) -> WatchCounts {
        let saved = &self.saved;
        WatchCounts {
            name: saved.name.clone(),
            execs: saved.execs,
            last_exec: saved.last_exec,
            exits: self.has_exits.then_some((saved.exits, saved.last_exits)),
            start: saved.start,
        }
    }
}

impl SavedWatch {
    /// Returns whether a watch can have these counts if this is the total.
    pub(super) fn is_plausible(&self, total: Counts) -> bool {
        let exits = self.exits.iter().zip(total.exits).zip(self.last_exits);
        let mut exits = exits.map(|((exits, total), last)| (*exits, total, last));
        let is_plausible = |(n, total, last): (u64, u64, Option<Timestamp>)| {
            n <= total && last.is_some() == (n > 0)
        };
        is_plausible((self.execs, total.execs, self.last_exec)) && exits.all(is_plausible)
    }
}

/// Execs or exits of one subject.
#[derive(Debug)]
pub(super) struct Hit {
    pub(super) counts: Counts,
    /// When they are counted.
    pub(super) at: Timestamp,
    /// The same as the time since the start.
    pub(super) now: Duration,
}

/// All watches.
#[derive(Debug, Default)]
pub(super) struct Watches {
    watches: Vec<Watch>,
    /// Those that an earlier daemon has counted, before the configuration says which ones continue.
    earlier: Vec<SavedWatch>,
}

impl Watches {
    pub(super) fn resume(earlier: Vec<SavedWatch>) -> Self {
        Self {
            watches: Vec::new(),
            earlier,
        }
    }

    pub(super) fn saved(&self) -> Vec<SavedWatch> {
        let current = self.watches.iter().map(|watch| &watch.saved);
        current.chain(&self.earlier).cloned().collect()
    }

    /// Replaces the watches. One with the name and the definition of a current one continues its
    /// counts. Any other begins at `start`, which is when the last flush began.
    pub(super) fn change(&mut self, mut watches: Vec<Watch>, start: Timestamp) {
        let current = self.saved();
        for watch in &mut watches {
            let is_same = |saved: &&SavedWatch| {
                saved.name == watch.saved.name && saved.definition == watch.saved.definition
            };
            match current.iter().find(is_same) {
                Some(saved) => watch.saved = saved.clone(),
                None => watch.saved.start = start,
            }
        }
        *self = Self {
            watches,
            earlier: Vec::new(),
        };
    }

    /// Counts execs or exits in each watch that they match.
    pub(super) fn count(&mut self, subject: &Subject, names: Named<'_>, hit: &Hit) {
        for watch in &mut self.watches {
            if watch.matcher.matches(subject, names) {
                watch.count(subject, names, hit);
            }
        }
    }

    pub(super) fn counts(&self) -> Vec<WatchCounts> {
        let watches = self.watches.iter();
        watches.map(Watch::counts).collect()
    }

    /// Returns whether any watch has a condition on such a label.
    pub(super) fn use_any(&self, is_such: fn(&Label) -> bool) -> bool {
        let mut labels = self.watches.iter().flat_map(|watch| watch.matcher.labels());
        labels.any(is_such)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::matcher::Condition;

    fn named(name: &str, uid: u32) -> Watch {
        let condition = Condition::of_uids(Label::Uid, false, vec![uid..=uid]);
        Watch::new(name, Matcher::new(vec![condition]), false)
    }

    fn hit(execs: u64, at: u64) -> Hit {
        Hit {
            counts: Counts {
                execs,
                ..Counts::default()
            },
            at: Timestamp::from_unix_ms(at),
            now: Duration::ZERO,
        }
    }

    fn counts(watches: &Watches) -> Vec<(String, u64, Option<u64>, u64)> {
        let counts = watches.counts().into_iter();
        let ms = |time: Option<Timestamp>| time.map(Timestamp::unix_ms);
        counts
            .map(|of| (of.name, of.execs, ms(of.last_exec), of.start.unix_ms()))
            .collect()
    }

    #[test]
    fn a_watch_counts_from_0_and_remembers_the_latest_exec() {
        let mut watches = Watches::default();
        let start = Timestamp::from_unix_ms(7);
        watches.change(vec![named("root", 0), named("one", 1)], start);
        let (root, other) = (
            Subject::default(),
            Subject {
                uid: 2,
                ..Subject::default()
            },
        );
        watches.count(&other, Named::default(), &hit(1, 100));
        assert_eq!(
            counts(&watches),
            [
                ("root".to_owned(), 0, None, 7),
                ("one".to_owned(), 0, None, 7)
            ]
        );
        watches.count(&root, Named::default(), &hit(1, 200));
        watches.count(&root, Named::default(), &hit(3, 250));
        assert_eq!(counts(&watches)[0], ("root".to_owned(), 4, Some(250), 7));
    }

    #[test]
    fn a_watch_counts_exits_by_outcome_and_remembers_the_latest_of_each() {
        let mut watches = Watches::default();
        let of_root = || vec![named("root", 0)];
        watches.change(of_root(), Timestamp::default());
        let exits = |exits, at| Hit {
            counts: Counts {
                exits,
                ..Counts::default()
            },
            at: Timestamp::from_unix_ms(at),
            now: Duration::ZERO,
        };
        let root = Subject::default();
        watches.count(&root, Named::default(), &exits([2, 0, 0, 0, 0], 100));
        watches.count(&root, Named::default(), &exits([0, 1, 0, 0, 0], 200));
        watches.count(&root, Named::default(), &exits([1, 0, 0, 0, 0], 300));
        let time = |ms| Some(Timestamp::from_unix_ms(ms));
        let expected = ([3, 1, 0, 0, 0], [time(300), time(200), None, None, None]);
        assert_eq!(watches.counts()[0].exits, Some(expected));
        assert_eq!(watches.counts()[0].execs, 0);
        // They are kept while a configuration does not show them.
        let without = of_root().into_iter().map(Watch::without_exits).collect();
        watches.change(without, Timestamp::default());
        assert_eq!(watches.counts()[0].exits, None);
        watches.change(of_root(), Timestamp::default());
        assert_eq!(watches.counts()[0].exits, Some(expected));
    }

    #[test]
    fn only_a_watch_with_the_same_name_and_definition_continues() {
        let mut watches = Watches::default();
        let (first, second) = (Timestamp::from_unix_ms(1), Timestamp::from_unix_ms(2));
        watches.change(vec![named("a", 0), named("b", 0), named("c", 0)], first);
        watches.count(&Subject::default(), Named::default(), &hit(1, 9));
        let mut resumed = Watches::resume(watches.saved());
        let new = || vec![named("d", 0), named("b", 1), named("c", 0)];
        let expected = [
            ("d".to_owned(), 0, None, 2),
            ("b".to_owned(), 0, None, 2),
            ("c".to_owned(), 1, Some(9), 1),
        ];
        for watches in [&mut watches, &mut resumed] {
            watches.change(new(), second);
            assert_eq!(counts(watches), expected);
        }
        watches.change(vec![], second);
        watches.change(new(), Timestamp::from_unix_ms(3));
        assert_eq!(counts(&watches)[2], ("c".to_owned(), 0, None, 3));
    }
}
