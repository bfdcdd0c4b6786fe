//! What an earlier daemon has received of what the kernel side has delivered.

use super::{Error, Reader, Settled, failed, index_of};
use crate::capture::source::Source;
use crate::pipeline::message::Message;
use crate::record::{self, Kind, Ledgers, Observation};

impl<S: Source, O: Observation> Reader<S, O> {
    /// Finds out how much the kernel side has delivered so far, to this daemon or to an earlier one.
    /// Settles nothing if a program counted during the call: then try again. Failed execs are settled
    /// [later](Self::settle_failures).
    pub(super) fn settle(&mut self) -> Result<(), Error> {
        let before = self.ledgers()?;
        self.drain_events()?;
        let mut pending = [0; Kind::ALL.len()];
        self.source
            .peek_tally(&mut |key, value| {
                let kind = O::decode_subject(key).map_or(0, |subject| index_of(&subject));
                let count = record::decode_tally_count(value).map_or(1, |value| value.count);
                pending[kind] += count;
            })
            .map_err(failed("cannot read the tally"))?;
        let after = self.ledgers()?;
        let mut kinds = Kind::ALL.into_iter().filter(|kind| *kind != Kind::Failure);
        if !kinds.all(|kind| is_quiet(kind, &before, &after)) {
            return Ok(());
        }
        self.delivered = Kind::ALL.map(|kind| {
            let all = after[kind].sent + after[kind].tallied;
            // At least what was delivered of failures, so that no flush waits for what an earlier daemon
            // has received.
            all.saturating_sub(pending[kind.index() as usize])
        });
        let mut delivered = self.delivered.map(Some);
        delivered[Kind::Failure.index() as usize] = None;
        // What this daemon could not decode is delivered, too, but counted apart. Its kind is not known.
        self.delivered[0] = self.delivered[0].saturating_sub(self.undecodable);
        self.settled = Settled::AllButFailures;
        self.send(Message::Settled {
            delivered,
            undecodable: self.undecodable,
        })
    }

    /// Does the same for failed execs, if there was none between `before` and `after`, when everything
    /// in their tally was drained. Anybody can cause them without a pause, so a flush does not wait for
    /// such a moment.
    pub(super) fn settle_failures(
        &mut self,
        before: &Ledgers,
        after: &Ledgers,
    ) -> Result<(), Error> {
        if self.settled != Settled::AllButFailures || !is_quiet(Kind::Failure, before, after) {
            return Ok(());
        }
        self.settled = Settled::All;
        let failures = &after[Kind::Failure];
        let index = Kind::Failure.index() as usize;
        self.delivered[index] = failures.sent + failures.tallied;
        let mut delivered = [None; Kind::ALL.len()];
        delivered[index] = Some(self.delivered[index]);
        self.send(Message::Settled {
            delivered,
            undecodable: self.undecodable,
        })
    }
}

/// Returns whether no program observed anything of this kind between `before` and `after`.
fn is_quiet(kind: Kind, before: &Ledgers, after: &Ledgers) -> bool {
    let seen = before[kind].seen;
    seen == before.accounted(kind) && seen == after[kind].seen
}
