//! The aggregator: the only stage that counts.
//!
//! It shares no state. At each flush it publishes a [`Snapshot`].

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use crate::pipeline::cgroup_cache::Cgroups;
use crate::pipeline::flush::Flush;
use crate::pipeline::history::History;
use crate::pipeline::message::Message;
use crate::pipeline::snapshot::Snapshot;
use crate::pipeline::view::{Counts, View};
use crate::record::{self, Event, Kind, Subject, TallyCount, WaitStatus};
use crate::sys::clock::Timestamp;

mod missed;
#[cfg(test)]
mod tests;

pub(crate) use self::missed::missing;
use self::missed::{Missed, missing_at_most};

/// New views, without counts, that are to replace the current ones. If the aggregator has not taken
/// them when further views arrive, it takes only the latter.
pub type Changes = Arc<Mutex<Option<Vec<View>>>>;

/// What the observations of a message have in common.
struct Context<'a> {
    /// Time since the start.
    now: Duration,
    cgroups: &'a Cgroups,
}

/// The counts, in total and by view.
#[derive(Debug)]
pub struct Aggregator {
    began: Instant,
    start: Timestamp,
    execs: u64,
    /// Execs in cgroups whose name is not known.
    unknown_cgroup_execs: u64,
    recent: History,
    /// CPU time with a subject, in nanoseconds.
    cpu_ns: u64,
    /// Processes whose CPU time is in `cpu_ns`.
    cpu_times: u64,
    /// Those among them whose parent's name is in use and not known.
    unknown_parents: u64,
    views: Vec<View>,
    changes: Changes,
    flush: Flush,
    exit_starts: BTreeMap<WaitStatus, Timestamp>,
    failure_starts: BTreeMap<i32, Timestamp>,
    missed: Missed,
    /// Upper bounds by kind, in the order of [`Kind::ALL`].
    missed_at_most: [Missed; Kind::ALL.len()],
}

impl Aggregator {
    pub fn new(views: Vec<View>) -> Self {
        let start = Timestamp::now();
        let views = views.into_iter().map(|view| view.starting(start));
        Self {
            began: Instant::now(),
            start,
            execs: 0,
            unknown_cgroup_execs: 0,
            recent: History::default(),
            cpu_ns: 0,
            cpu_times: 0,
            unknown_parents: 0,
            views: views.collect(),
            changes: Changes::default(),
            flush: Flush {
                began: start,
                ..Flush::default()
            },
            exit_starts: BTreeMap::new(),
            failure_starts: BTreeMap::new(),
            missed: Missed::default(),
            missed_at_most: Default::default(),
        }
    }

    /// Makes the aggregator replace its views with those in `changes`, if any, before each message.
    #[must_use]
    pub fn with_changes(self, changes: Changes) -> Self {
        Self { changes, ..self }
    }

    /// Counts until the last sender is dropped, and publishes a snapshot at each flush. Returns the
    /// final counts.
    pub fn run(
        mut self,
        mut messages: mpsc::Receiver<Message>,
        snapshots: &watch::Sender<Arc<Snapshot>>,
    ) -> Arc<Snapshot> {
        while let Some(message) = messages.blocking_recv() {
            let changed = self
                .changes
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
            if let Some(views) = changed {
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

    /// Counts the observations of a message. Returns whether the message ends a flush.
    pub fn apply(&mut self, message: Message) -> bool {
        let now = self.began.elapsed();
        let before = self.total();
        let is_flushed = self.apply_at(message, now);
        self.recent.add(now, self.total().saturating_sub(before));
        let unattributed = self.unattributed();
        for view in &mut self.views {
            view.record_other(unattributed.execs, now);
        }
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
                let statuses = flush.exits.by_status().map(|(status, _)| status);
                start_new(&mut self.exit_starts, statuses, self.flush.began);
                let errnos = flush.failures.iter().map(|(errno, _)| errno);
                start_new(&mut self.failure_starts, errnos, self.flush.began);
                for view in &mut self.views {
                    view.flushed(flush.began);
                }
                self.flush = *flush;
                if self.flush.is_scrape {
                    self.views.iter_mut().for_each(View::show);
                }
                true
            }
            Message::Idle => false,
        }
    }

    /// Replaces the views. A new view with the same labels as an old one takes over its counts. In
    /// any other new view, everything counted so far is yielded, so that the sum of its counts is
    /// the total.
    pub fn change_views(&mut self, views: Vec<View>) {
        let now = self.began.elapsed();
        let so_far = Counts {
            execs: self.total(),
            cpu_ns: self.cpu_ns + self.unattributed().cpu_ns,
        };
        let unattributed = self.unattributed();
        let mut old = std::mem::take(&mut self.views);
        self.views = views
            .into_iter()
            .map(|view| view.starting(self.flush.began))
            .map(
                |view| match old.iter().position(|old| old.has_labels(view.labels())) {
                    Some(same) => view.continuing(old.swap_remove(same), now),
                    None => view.beginning_with(so_far, unattributed),
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
    }

    fn count(&mut self, subject: &Subject, of: TallyCount, context: &Context<'_>) {
        let mut counts = Counts::default();
        if record::kind(subject) == Kind::CpuTime {
            self.cpu_times += of.count;
            self.cpu_ns += of.cpu_ns;
            self.unknown_parents += u64::from(subject.is_parent_unknown > 0) * of.count;
            counts.cpu_ns = of.cpu_ns;
        } else {
            self.execs += of.count;
            counts.execs = of.count;
        }
        let cgroup = context.cgroups.get(&subject.cgroup_id).map(Arc::as_ref);
        if cgroup.is_none() && subject.cgroup_id != 0 {
            self.unknown_cgroup_execs += counts.execs;
        }
        for view in &mut self.views {
            view.add(subject, cgroup, context.now, counts);
        }
    }

    /// Returns what is counted without a subject.
    fn unattributed(&self) -> Counts {
        let after = &self.flush.after;
        Counts {
            execs: after[Kind::Exec].unattributed + self.flush.undecodable + self.missed.count,
            cpu_ns: after[Kind::CpuTime].unattributed_cpu_ns,
        }
    }

    fn total(&self) -> u64 {
        self.execs + self.unattributed().execs
    }

    pub fn snapshot(&self) -> Snapshot {
        let flush = self.flush.clone();
        let cpu_times = self.cpu_times + flush.after[Kind::CpuTime].unattributed;
        let differences = Kind::ALL.map(|kind| {
            let accounted = match kind {
                // Execs that no program observed are not in `seen`.
                Kind::Exec => self.total() - self.missed.count,
                Kind::Failure => flush.failures.total(),
                Kind::Exit => flush.exits.total(),
                Kind::CpuTime => cpu_times,
            };
            difference(flush.before[kind].seen, flush.after[kind].seen, accounted)
        });
        Snapshot {
            start: self.start,
            execs: self.total(),
            recent: self.recent.clone(),
            unattributed: self.unattributed().execs,
            unattributed_cpu_ns: self.unattributed().cpu_ns,
            unknown_parents: self.unknown_parents,
            unknown_cgroup_execs: self.unknown_cgroup_execs,
            missed: self.missed.count,
            missed_at_most: self.missed_at_most.each_ref().map(|missed| missed.count),
            differences,
            views: self.views.iter().map(View::counts).collect(),
            exit_starts: self.exit_starts.clone(),
            failure_starts: self.failure_starts.clone(),
            flush,
            channel_depth: 0,
        }
    }
}

/// Sets `start` as the start of what is counted for the first time.
fn start_new<K: Ord>(
    starts: &mut BTreeMap<K, Timestamp>,
    counted: impl Iterator<Item = K>,
    start: Timestamp,
) {
    for key in counted {
        starts.entry(key).or_insert(start);
    }
}

/// Returns how many of the observations seen are not accounted for, or a negative number if too many
/// are.
///
/// The kernel side continues to count during a flush. The number accounted for is therefore correct
/// if it is at least what was seen before the flush and at most what was seen after it.
fn difference(seen_before: u64, seen_after: u64, accounted: u64) -> i64 {
    let nearest = accounted.clamp(seen_before, seen_after.max(seen_before));
    i64::try_from(i128::from(nearest) - i128::from(accounted)).unwrap_or(i64::MAX)
}
