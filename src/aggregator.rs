//! The aggregator: the only one that counts.
//!
//! It owns its tables and shares nothing; at each flush it publishes a [`Snapshot`].

use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use crate::reader::{Flush, Message};
use crate::view::{View, ViewCounts};

/// All counts behind one flush.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Execs, whatever is known of them: the sum of all that follows.
    pub execs: u64,
    /// Execs of which nothing but their number is known.
    pub unattributed: u64,
    /// What the kernel saw minus what is accounted for; 0 when all is well.
    pub ledger_difference: i64,
    /// The views, in the order of the configuration. An unattributed exec is in none.
    pub views: Vec<ViewCounts>,
    /// The stages before, when they were flushed.
    pub flush: Flush,
}

/// Counters and the views of them.
#[derive(Debug)]
pub struct Aggregator {
    attributed: u64,
    views: Vec<View>,
    flush: Flush,
}

impl Aggregator {
    /// Without any count yet.
    pub fn new(views: Vec<View>) -> Self {
        Self {
            attributed: 0,
            views,
            flush: Flush::default(),
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
            if self.apply(message) {
                snapshots.send_replace(Arc::new(self.snapshot()));
            }
        }
        Arc::new(self.snapshot())
    }

    /// Count what a message brings. True if it ends a flush.
    pub fn apply(&mut self, message: Message) -> bool {
        match message {
            Message::Events(events) => {
                for event in &events {
                    self.count(&event.subject, 1);
                }
                false
            }
            Message::Tally(counts) => {
                for (subject, execs) in &counts {
                    self.count(subject, *execs);
                }
                false
            }
            Message::Flushed(flush) => {
                self.flush = flush;
                true
            }
        }
    }

    fn count(&mut self, subject: &crate::event::Subject, execs: u64) {
        self.attributed += execs;
        for view in &mut self.views {
            view.add(subject, execs);
        }
    }

    /// The counts as they are now.
    pub fn snapshot(&self) -> Snapshot {
        let flush = self.flush.clone();
        let unattributed = flush.ledger.unattributed + flush.undecodable;
        let execs = self.attributed + unattributed;
        Snapshot {
            execs,
            unattributed,
            ledger_difference: difference(flush.seen_before, flush.ledger.seen, execs),
            views: self.views.iter().map(View::counts).collect(),
            flush,
        }
    }
}

/// How many of the execs seen are not accounted for (negative: how many too many are).
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
    use crate::event::{Event, Ledger, Subject};
    use crate::view::Label;

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
        assert!(!aggregator.apply(Message::Events(vec![Event::default(); 3])));
        assert!(!aggregator.apply(Message::Tally(vec![(Subject::default(), 4)])));
        assert!(aggregator.apply(Message::Flushed(Flush {
            request: 1,
            seen_before: 14,
            undecodable: 5,
            ledger: Ledger {
                sent: 8,
                tallied: 4,
                unattributed: 2,
                seen: 14,
                ..Ledger::default()
            },
            ..Flush::default()
        })));
        let snapshot = aggregator.snapshot();
        assert_eq!(snapshot.execs, 3 + 4 + 5 + 2);
        assert_eq!(snapshot.unattributed, 5 + 2);
        assert_eq!(snapshot.ledger_difference, 0);
        assert_eq!(
            snapshot.views[0].series,
            vec![(crate::view::Key::default(), 7)]
        );
    }
}
