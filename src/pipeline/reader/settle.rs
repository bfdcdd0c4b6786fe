//! What an earlier daemon has received of what the kernel side has delivered.

use super::{Error, Reader, failed, of_all};
use crate::capture::source::Source;
use crate::pipeline::message::Message;
use crate::record::{self, Kind, Observation};

impl<S: Source, O: Observation> Reader<S, O> {
    /// Finds out how much the kernel side has delivered so far, to this daemon or to an earlier one.
    /// Returns false if a program counted during the call: then try again.
    pub(super) fn settle(&mut self) -> Result<bool, Error> {
        let before = self.ledgers()?;
        self.drain_events()?;
        let mut pending = [0; Kind::ALL.len()];
        self.source
            .peek_tally(&mut |key, value| {
                let kind =
                    O::decode_subject(key).map_or(Kind::Exec, |subject| record::kind(&subject));
                let count = record::decode_tally_count(value).map_or(1, |value| value.count);
                pending[kind.index() as usize] += count;
            })
            .map_err(failed("cannot read the tally"))?;
        let after = self.ledgers()?;
        let is_quiet = Kind::ALL.into_iter().all(|kind| {
            let seen = before[kind].seen;
            seen == before.accounted(kind) && seen == after[kind].seen
        });
        if !is_quiet {
            return Ok(false);
        }
        let tallied = of_all(&after, |ledger| ledger.tallied);
        self.tallied = tallied.saturating_sub(pending.iter().sum());
        self.delivered = of_all(&after, |ledger| ledger.sent) + self.tallied;
        let delivered = Kind::ALL.map(|kind| {
            let all = after[kind].sent + after[kind].tallied;
            all.saturating_sub(pending[kind.index() as usize])
        });
        self.send(Message::Settled {
            delivered,
            undecodable: self.undecodable,
        })?;
        Ok(true)
    }
}
