//! The aggregator: the only one that counts.
//!
//! It owns its tables and shares nothing; at each flush it publishes a [`Snapshot`].

use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use crate::capture::source::ProgramStats;
use crate::pipeline::cgroup_cache::Cgroups;
use crate::pipeline::exits::Exits;
use crate::pipeline::flush::Flush;
use crate::pipeline::history::History;
use crate::pipeline::message::Message;
use crate::pipeline::snapshot::Snapshot;
use crate::pipeline::view::{Counts, View};
use crate::record::{self, Event, Kind, Subject, TallyCount};

/// What observations come with.
struct Context<'a> {
    /// When, since the beginning.
    now: Duration,
    cgroups: &'a Cgroups,
}

/// How long an observation may be missing before it counts as missed. Until then its thread
/// may have been preempted between a program that was skipped and a standby copy.
const IN_FLIGHT: Duration = Duration::from_secs(1);

/// Observations that no program has seen: the kernel skipped every copy.
#[derive(Debug, Default)]
struct Missed {
    count: u64,
    /// The fewest that were missing in any flush since then.
    fewest: u64,
    since: Duration,
}

impl Missed {
    /// Counts what has been missing all the time. The count never decreases, even if a
    /// reading fails.
    fn update(&mut self, missing: u64, now: Duration) {
        self.fewest = self.fewest.min(missing);
        if now.saturating_sub(self.since) >= IN_FLIGHT {
            self.count = self.count.max(self.fewest);
            self.fewest = missing;
            self.since = now;
        }
    }
}

/// Counters and the views of them.
#[derive(Debug)]
pub struct Aggregator {
    began: Instant,
    execs: u64,
    recent: History,
    /// CPU time of the processes behind `exits`, in nanoseconds.
    cpu_ns: u64,
    exits: Exits,
    views: Vec<View>,
    /// Other views, without any count yet, to go on with.
    changes: Option<Receiver<Vec<View>>>,
    flush: Flush,
    missed: Missed,
    /// The most that can have been missed, by kind in the order of [`Kind::ALL`].
    missed_at_most: [Missed; Kind::ALL.len()],
}

impl Aggregator {
    /// Without any count yet.
    pub fn new(views: Vec<View>) -> Self {
        Self {
            began: Instant::now(),
            execs: 0,
            recent: History::default(),
            cpu_ns: 0,
            exits: Exits::default(),
            views,
            changes: None,
            flush: Flush::default(),
            missed: Missed::default(),
            missed_at_most: Default::default(),
        }
    }

    /// Go on with other views whenever some come, before the next message is counted.
    #[must_use]
    pub fn with_changes(self, changes: Receiver<Vec<View>>) -> Self {
        Self {
            changes: Some(changes),
            ..self
        }
    }

    /// Count until the last sender is gone, publishing a snapshot at each flush. Returns
    /// the last one.
    pub fn run(
        mut self,
        mut messages: mpsc::Receiver<Message>,
        snapshots: &watch::Sender<Arc<Snapshot>>,
    ) -> Arc<Snapshot> {
        while let Some(message) = messages.blocking_recv() {
            while let Some(views) = self.changes.as_ref().and_then(|c| c.try_recv().ok()) {
                self.change_views(views);
            }
            if self.apply(message) {
                let mut snapshot = self.snapshot();
                snapshot.channel_depth = messages.len();
                snapshots.send_replace(Arc::new(snapshot));
            }
        }
        Arc::new(self.snapshot())
    }

    /// Count what a message brings. True if it ends a flush.
    pub fn apply(&mut self, message: Message) -> bool {
        let now = self.began.elapsed();
        let before = self.total();
        let is_flushed = self.apply_at(message, now);
        self.recent.add(now, self.total().saturating_sub(before));
        is_flushed
    }

    fn apply_at(&mut self, message: Message, now: Duration) -> bool {
        match message {
            Message::Events(events, cgroups) => {
                let context = Context {
                    now,
                    cgroups: &cgroups,
                };
                for event in &events {
                    self.count_event(event, &context);
                }
                false
            }
            Message::Tally(counts, cgroups) => {
                let context = Context {
                    now,
                    cgroups: &cgroups,
                };
                for (subject, count) in &counts {
                    self.count(subject, *count, &context);
                }
                false
            }
            Message::Flushed(flush) => {
                self.missed.update(missing(&flush), now);
                for (missed, kind) in self.missed_at_most.iter_mut().zip(Kind::ALL) {
                    missed.update(missing_at_most(&flush, kind), now);
                }
                self.flush = *flush;
                true
            }
        }
    }

    /// Go on with other views. One of the same grouping as before keeps its counts; one that
    /// was not there begins with all that was counted until now, under no name: the sum over
    /// each view stays the total.
    pub fn change_views(&mut self, views: Vec<View>) {
        let now = self.began.elapsed();
        let so_far = Counts {
            execs: self.execs,
            cpu_ns: self.cpu_ns,
        };
        let mut old = std::mem::take(&mut self.views);
        self.views = views
            .into_iter()
            .map(
                |view| match old.iter().position(|old| old.groups_by(view.labels())) {
                    Some(same) => view.continuing(old.swap_remove(same), now),
                    None => view.beginning_with(so_far),
                },
            )
            .collect();
    }

    fn count_event(&mut self, event: &Event, context: &Context<'_>) {
        let count = TallyCount {
            count: 1,
            cpu_ns: event.cpu_ns,
        };
        self.count(&event.subject, count, context);
        if record::kind(&event.subject) == Kind::Exit {
            self.exits.add_lifetime(event.lifetime_ns);
        }
    }

    fn count(&mut self, subject: &Subject, of: TallyCount, context: &Context<'_>) {
        let mut counts = Counts::default();
        if record::kind(subject) == Kind::Exit {
            self.exits.add(subject.retval, of.count);
            self.cpu_ns += of.cpu_ns;
            counts.cpu_ns = of.cpu_ns;
        } else {
            self.execs += of.count;
            counts.execs = of.count;
        }
        let cgroup = context.cgroups.get(&subject.cgroup_id).map(Arc::as_ref);
        for view in &mut self.views {
            view.add(subject, cgroup, context.now, counts);
        }
    }

    /// Execs that the kernel counted and nothing else: they have no name.
    fn unattributed(&self) -> u64 {
        self.flush.after[Kind::Exec].unattributed + self.flush.undecodable + self.missed.count
    }

    fn total(&self) -> u64 {
        self.execs + self.unattributed()
    }

    /// The counts as they are now.
    pub fn snapshot(&self) -> Snapshot {
        let flush = self.flush.clone();
        let exits = self.exits.total() + flush.after[Kind::Exit].unattributed;
        let differences = Kind::ALL.map(|kind| {
            let accounted = match kind {
                // What no program saw is not in `seen`.
                Kind::Exec => self.total() - self.missed.count,
                Kind::Failure => flush.failures.total(),
                Kind::Exit => exits,
            };
            difference(flush.before[kind].seen, flush.after[kind].seen, accounted)
        });
        Snapshot {
            execs: self.total(),
            recent: self.recent.clone(),
            unattributed: self.unattributed(),
            missed: self.missed.count,
            missed_at_most: self.missed_at_most.each_ref().map(|missed| missed.count),
            exits: self.exits.clone(),
            differences,
            views: self.views.iter().map(View::counts).collect(),
            flush,
            channel_depth: 0,
        }
    }
}

/// Execs that no program had seen by then: the kernel skipped the first copy, and no other
/// copy had claimed them. See [`ProgramStats::missed_runs`].
pub(crate) fn missing(flush: &Flush) -> u64 {
    let programs = flush.programs.iter();
    skipped(programs.filter(|p| p.each_run_observes), flush, Kind::Exec)
}

/// The most that can be missing of a kind. It is more than what is missing if the kernel
/// skipped runs that would have observed nothing.
fn missing_at_most(flush: &Flush, kind: Kind) -> u64 {
    skipped(flush.programs.iter(), flush, kind)
}

fn skipped<'a>(programs: impl Iterator<Item = &'a ProgramStats>, flush: &Flush, kind: Kind) -> u64 {
    let of_kind = programs.filter(|program| program.observes == Some(kind));
    let skipped: u64 = of_kind.map(|program| program.missed_runs).sum();
    let recovered = flush.after[kind].recovered;
    skipped.saturating_add_signed(recovered.saturating_neg())
}

/// How many of those seen are not accounted for (negative: how many too many are).
///
/// The kernel goes on while a flush is made: all that it had seen before must be
/// accounted for, and no more than it has seen after.
fn difference(seen_before: u64, seen_after: u64, accounted: u64) -> i64 {
    let nearest = accounted.clamp(seen_before, seen_after.max(seen_before));
    i64::try_from(i128::from(nearest) - i128::from(accounted)).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::exits::End;
    use crate::pipeline::view::{Key, Label};
    use crate::record::Ledger;

    #[test]
    fn the_difference_is_zero_exactly_between_the_two_accounts() {
        assert_eq!(difference(10, 12, 9), 1);
        assert_eq!(difference(10, 12, 10), 0);
        assert_eq!(difference(10, 12, 12), 0);
        assert_eq!(difference(10, 12, 13), -1);
    }

    #[test]
    fn every_form_of_an_exec_is_in_the_total() {
        let mut aggregator = Aggregator::new(vec![View::new(vec![Label::Comm], 5)]);
        let four = TallyCount {
            count: 4,
            cpu_ns: 0,
        };
        assert!(!aggregator.apply(Message::Events(vec![Event::default(); 3], Cgroups::new())));
        assert!(!aggregator.apply(Message::Tally(
            vec![(Subject::default(), four)],
            Cgroups::new()
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
        assert_eq!(snapshot.differences, [0, 0, 0]);
        let execs = Counts {
            execs: 7,
            cpu_ns: 0,
        };
        assert_eq!(snapshot.views[0].series, vec![(Key::default(), execs)]);
    }

    #[test]
    fn an_exec_at_which_the_kernel_skipped_the_program_is_counted_without_a_name() {
        let mut aggregator = Aggregator::new(vec![View::new(vec![Label::Comm], 5)]);
        let program = |each_run_observes, missed_runs| ProgramStats {
            name: "program",
            observes: Some(Kind::Exec),
            each_run_observes,
            missed_runs,
            runs: 0,
            run_time_ns: 0,
        };
        // Missed runs of a program that does not observe an exec in each run do not count.
        let skipped = |times| vec![program(true, times), program(false, 100)];
        let (at_once, later) = (Duration::ZERO, IN_FLIGHT);
        for (passed, programs, recovered, missed) in [
            (later, skipped(3), 0, 0), // perhaps still in flight
            (at_once, skipped(3), 0, 0),
            (at_once, skipped(4), 2, 0),
            (later, skipped(4), 2, 2),
            (later, skipped(5), 3, 2),
            (later, skipped(6), 3, 2),
            (at_once, skipped(6), 3, 2), // the scrape of another Prometheus
            (later, skipped(6), 3, 3),
            (later, vec![], 3, 3), // the statistics could not be read
            (later, skipped(6), 3, 3),
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
            assert_eq!(snapshot.differences, [0, 0, 0]);
        }
    }

    #[test]
    fn exits_and_failures_at_which_the_kernel_may_have_skipped_every_copy_are_bounded() {
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
        // The kernel ran the copies in another order: the first copy has claimed none.
        for (exits, failures, recovered, at_most) in [
            (7, [2, 3], [0, 4], [0, 0, 0]),
            (7, [2, 3], [0, 4], [0, 5, 3]),
            (7, [2, 4], [-1, 7], [0, 5, 3]),
            (9, [2, 4], [-1, 7], [0, 7, 3]),
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
            assert_eq!(snapshot.differences, [0, 0, 0]);
        }
    }

    #[test]
    fn a_view_that_comes_later_has_what_was_counted_before_under_no_name() {
        let mut aggregator = Aggregator::new(vec![View::new(vec![Label::Comm], 5)]);
        let mut event = Event {
            cpu_ns: 7,
            ..Event::default()
        };
        let mut observe = |aggregator: &mut Aggregator, is_exit| {
            event.subject.is_exit = is_exit;
            aggregator.apply(Message::Events(vec![event; 3], Cgroups::new()));
        };
        let total = |times: u64| Counts {
            execs: 3 * times,
            cpu_ns: 3 * 7 * times,
        };
        for is_exit in [0, 1] {
            observe(&mut aggregator, is_exit);
        }
        aggregator.change_views(vec![
            View::new(vec![Label::Uid], 5),
            View::new(vec![Label::Comm], 6),
        ]);
        for is_exit in [0, 1] {
            observe(&mut aggregator, is_exit);
        }
        let [by_uid, by_comm] = &aggregator.snapshot().views[..] else {
            panic!("two views");
        };
        assert_eq!(by_uid.nameless, total(1));
        assert_eq!(by_uid.series, vec![(Key::default(), total(1))]);
        assert_eq!(by_comm.nameless, total(0));
        assert_eq!(by_comm.series, vec![(Key::default(), total(2))]);
        assert_eq!(by_comm.max_series, 6);
    }

    #[test]
    fn exits_count_ends_lifetimes_and_cpu_time_and_no_exec() {
        let mut aggregator = Aggregator::new(vec![View::new(vec![Label::Comm], 5)]);
        let mut exit = Event {
            lifetime_ns: 2_000_000,
            cpu_ns: 300,
            ..Event::default()
        };
        exit.subject.is_exit = 1;
        exit.subject.retval = 9;
        let tallied = TallyCount {
            count: 2,
            cpu_ns: 600,
        };
        aggregator.apply(Message::Events(vec![exit], Cgroups::new()));
        aggregator.apply(Message::Tally(
            vec![(exit.subject, tallied)],
            Cgroups::new(),
        ));
        let snapshot = aggregator.snapshot();
        assert_eq!(snapshot.execs, 0);
        assert_eq!(snapshot.exits.ends[&End::Signaled(9)], 3);
        assert_eq!(snapshot.exits.lifetimes.iter().sum::<u64>(), 1);
        let cpu = Counts {
            execs: 0,
            cpu_ns: 900,
        };
        assert_eq!(snapshot.views[0].series, vec![(Key::default(), cpu)]);
    }
}
