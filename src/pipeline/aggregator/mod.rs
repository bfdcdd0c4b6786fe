//! The aggregator: the only stage that counts.
//!
//! It shares no state. At each flush it publishes a [`Snapshot`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{mpsc, watch};

use crate::capture::KernelSide;
use crate::pipeline::continuity::Continuity;
use crate::pipeline::flush::Flush;
use crate::pipeline::history::History;
use crate::pipeline::message::Message;
use crate::pipeline::missed::{missing, missing_at_most};
use crate::pipeline::per_second::PerSecond;
use crate::pipeline::saved::{Saved, Totals};
use crate::pipeline::saver::Saver;
use crate::pipeline::snapshot::Snapshot;
use crate::pipeline::view::{Exits, Failures, Label, View};
use crate::pipeline::watch::{Hit, Watch, Watches};
use crate::record::{self, Event, Kind, Subject, TallyCount, WaitStatus};
use crate::sys::clock::{self, Timestamp};

mod account;
mod context;
mod publish;
#[cfg(test)]
mod tests;

use self::account::{counts_of, failures_of, start_new};
use self::context::Context;

/// The counts, in total and by view.
#[derive(Debug)]
pub struct Aggregator {
    began: Instant,
    start: Timestamp,
    totals: Totals,
    recent: History,
    per_second: PerSecond,
    views: Vec<View>,
    watches: Watches,
    flush: Flush,
    exit_starts: BTreeMap<WaitStatus, Timestamp>,
    failure_starts: BTreeMap<i32, Timestamp>,
    /// What the readers of earlier daemons could not decode.
    undecodable_before: u64,
    /// Whether it is known how many failed execs an earlier daemon has lost.
    are_failures_settled: bool,
    continuity: Arc<Continuity>,
    saver: Option<Saver>,
}

impl Aggregator {
    pub fn new(views: Vec<View>) -> Self {
        let start = Timestamp::now();
        let views = views.into_iter().map(|view| view.starting(start));
        Self {
            began: Instant::now(),
            start,
            totals: Totals::default(),
            recent: History::default(),
            per_second: PerSecond::starting(clock::now()),
            views: views.collect(),
            watches: Watches::default(),
            flush: Flush {
                began: start,
                ..Flush::default()
            },
            exit_starts: BTreeMap::new(),
            failure_starts: BTreeMap::new(),
            undecodable_before: 0,
            are_failures_settled: true,
            continuity: Arc::new(Continuity::new(SystemTime::now(), KernelSide::default())),
            saver: None,
        }
    }

    /// Continues the counts that [`saved`](Self::saved) returned in an earlier process. For the
    /// views, this is like a change of views: see [`change_views`](Self::change_views).
    pub fn resume(saved: Saved, views: Vec<View>) -> Self {
        let now = Instant::now();
        let elapsed = clock::now().saturating_sub(saved.began);
        let old = saved.views.into_iter();
        let old = old.filter_map(|view| View::resume(view, elapsed)).collect();
        let flush = Flush {
            began: saved.flushed,
            before: saved.totals.ledgers,
            after: saved.totals.ledgers,
            undecodable: saved.totals.undecodable,
            ..Flush::default()
        };
        let mut aggregator = Self {
            began: now.checked_sub(elapsed).unwrap_or(now),
            undecodable_before: saved.totals.undecodable,
            totals: saved.totals,
            recent: saved.recent,
            per_second: saved.per_second.continuing(clock::now()),
            flush,
            start: saved.start,
            exit_starts: saved.exit_starts,
            failure_starts: saved.failure_starts,
            views: old,
            watches: Watches::resume(saved.watches),
            ..Self::new(Vec::new())
        };
        aggregator.change_views(views);
        aggregator
    }

    /// Returns the counts for [`resume`](Self::resume).
    pub fn saved(&self) -> Saved {
        Saved {
            began: clock::now().saturating_sub(self.began.elapsed()),
            start: self.start,
            flushed: self.flush.began,
            exit_starts: self.exit_starts.clone(),
            failure_starts: self.failure_starts.clone(),
            totals: self.totals.clone(),
            recent: self.recent.clone(),
            per_second: self.per_second.clone(),
            views: self.views.iter().map(View::saved).collect(),
            watches: self.watches.saved(),
        }
    }

    /// Makes snapshots contain `continuity`.
    #[must_use]
    pub fn with_continuity(mut self, continuity: Arc<Continuity>) -> Self {
        self.continuity = continuity;
        self
    }

    /// Sets the watches. Those that were saved with the same definition continue.
    #[must_use]
    pub fn with_watches(mut self, watches: Vec<Watch>) -> Self {
        self.watches.change(watches, self.flush.began);
        self
    }

    /// Saves the counts now and then, if they have changed, once per second, when nothing more is
    /// observed, before a scrape shows them, and at the end. Snapshots contain the saver's continuity.
    #[must_use]
    pub fn with_saver(mut self, saver: Saver) -> Self {
        self.continuity = saver.continuity();
        self.saver = Some(saver);
        self.save(true);
        self
    }

    /// Counts until the last sender is dropped, and publishes a snapshot at each flush. Returns the
    /// final counts.
    pub fn run(
        mut self,
        mut messages: mpsc::Receiver<Message>,
        snapshots: &watch::Sender<Arc<Snapshot>>,
    ) -> Arc<Snapshot> {
        while let Some(message) = messages.blocking_recv() {
            let is_idle = matches!(message, Message::Idle);
            let is_scrape = matches!(&message, Message::Flushed(flush) if flush.is_scrape);
            let is_flushed = self.apply(message);
            if !is_idle && let Some(saver) = &mut self.saver {
                saver.changed();
            }
            // If a scrape showed counts that are lost in a kill, a series would decrease.
            self.save(is_idle || is_scrape);
            if is_flushed {
                let mut snapshot = self.snapshot();
                snapshot.channel_depth = messages.len();
                snapshots.send_replace(Arc::new(snapshot));
            }
        }
        self.save(true);
        Arc::new(self.snapshot())
    }

    fn save(&mut self, at_once: bool) {
        if let Some(mut saver) = self.saver.take() {
            saver.save_if_due(at_once, || self.saved());
            self.saver = Some(saver);
        }
    }

    /// Counts the observations of a message. Returns whether the message ends a flush.
    pub fn apply(&mut self, message: Message) -> bool {
        let now = self.began.elapsed();
        let before = self.totals.total();
        let is_flushed = self.apply_at(message, now);
        let execs = self.totals.total().saturating_sub(before);
        self.recent.add(now, execs);
        let unattributed = self.totals.unattributed();
        for view in &mut self.views {
            view.record_other(unattributed.execs, now);
        }
        is_flushed
    }

    fn apply_at(&mut self, message: Message, now: Duration) -> bool {
        match message {
            Message::Events(events, names) => {
                let context = Context::new(now, &names);
                for event in &events {
                    self.count_event(event, &context);
                }
                false
            }
            Message::Tally(counts, names) => {
                let context = Context::new(now, &names);
                for (subject, count) in &counts {
                    self.count(subject, *count, &context);
                }
                false
            }
            Message::Seen {
                unchanged_until,
                at,
                execs,
            } => {
                self.per_second.unchanged(unchanged_until);
                self.per_second.read(at, execs);
                false
            }
            Message::Flushed(flush) => {
                self.end_flush(*flush, now);
                true
            }
            Message::Settled {
                delivered,
                undecodable,
            } => {
                let undecodable = undecodable + self.undecodable_before;
                self.totals.settle(&delivered, undecodable);
                self.are_failures_settled = delivered[Kind::Failure.index() as usize].is_some();
                false
            }
            Message::Change(views, watches) => {
                self.change_views(views);
                self.watches.change(watches, self.flush.began);
                false
            }
            Message::Idle => false,
        }
    }

    fn end_flush(&mut self, mut flush: Flush, now: Duration) {
        flush.undecodable += self.undecodable_before;
        let totals = &mut self.totals;
        totals.ledgers = flush.after;
        self.per_second
            .read(flush.ended, flush.after[Kind::Exec].seen);
        totals.undecodable = flush.undecodable;
        totals.unattributed_failures = failures_of(flush.failures.unattributed());
        totals.missed.update(missing(&flush), now);
        for (missed, kind) in totals.missed_at_most.iter_mut().zip(Kind::ALL) {
            missed.update(missing_at_most(&flush, kind), now);
        }
        let statuses = flush.exits.by_status().map(|(status, _)| status);
        start_new(&mut self.exit_starts, statuses, self.flush.began);
        let errnos = flush.failures.iter().map(|(errno, _)| errno);
        start_new(&mut self.failure_starts, errnos, self.flush.began);
        for view in &mut self.views {
            view.flushed(flush.began);
            if flush.is_scrape {
                view.show();
            }
        }
        self.flush = flush;
    }

    /// Replaces the views. A new view with the same labels as an old one takes over its counts. In
    /// any other new view, everything counted so far is yielded, so that the sum of its counts is
    /// the total.
    pub fn change_views(&mut self, views: Vec<View>) {
        let now = self.began.elapsed();
        let before = self.totals.so_far();
        let mut old = std::mem::take(&mut self.views);
        self.views = views
            .into_iter()
            .map(|view| view.starting(self.flush.began))
            .map(
                |view| match old.iter().position(|old| old.has_labels(view.labels())) {
                    Some(same) => view.continuing(old.swap_remove(same), now, &before),
                    None => view.beginning_with(&before),
                },
            )
            .collect();
    }

    fn count_event(&mut self, event: &Event, context: &Context<'_>) {
        let count = TallyCount {
            count: 1,
            cpu_ns: event.cpu_ns,
            lifetime_ns: event.lifetime_ns,
        };
        self.count(&event.subject, count, context);
    }

    fn count(&mut self, subject: &Subject, of: TallyCount, context: &Context<'_>) {
        let kind = record::kind(subject);
        if kind == Kind::Failure {
            self.count_failures(subject, of.count, context);
            return;
        }
        let totals = &mut self.totals;
        let counts = counts_of(kind, subject, of);
        totals.attributed += counts;
        if kind == Kind::CpuTime {
            totals.cpu_times += of.count;
            totals.unknown_parents += u64::from(record::is_parent_unknown(subject)) * of.count;
        }
        let names = context.names.of(subject);
        // An id is 0 if the kernel side observed this before a label that needs it was in use.
        let uses = |is_such: fn(&Label) -> bool| {
            self.views.iter().any(|view| view.uses(is_such)) || self.watches.use_any(is_such)
        };
        let is_exec = counts.execs > 0;
        if is_exec
            && names.cgroup.is_none()
            && (subject.cgroup_id != 0 || uses(Label::is_of_cgroup))
        {
            totals.unknown_cgroup_execs += counts.execs;
        }
        if is_exec && names.exe.is_none() && (subject.exe != 0 || uses(Label::is_exe)) {
            totals.unknown_exe_execs += counts.execs;
        }
        if counts.execs > 0 || counts.exits != Exits::default() {
            let hit = Hit {
                counts,
                at: context.time,
                now: context.now,
            };
            self.watches.count(subject, names, &hit);
        }
        for view in &mut self.views {
            view.add(subject, names, context.now, counts);
        }
    }

    fn count_failures(&mut self, subject: &Subject, number: u64, context: &Context<'_>) {
        let failures = Failures::of(-subject.retval, number);
        self.totals.attributed_failures += &failures;
        let names = context.names.of(subject);
        for view in &mut self.views {
            view.add_failures(subject, names, context.now, &failures);
        }
    }
}
