//! What an earlier daemon has received of what the kernel side has delivered.

use super::{Error, Reader, failed, index_of};
use crate::capture::source::Source;
use crate::pipeline::message::Message;
use crate::record::{self, Kind, Observation};

impl<S: Source, O: Observation> Reader<S, O> {
    /// Finds out how much the kernel side has delivered so far, to this daemon or to an earlier one.
    /// Returns false if a program counted during the call: then try again. Failed execs are the
    /// exception, because anybody can cause them without a pause. Of those in progress, it is not known
    /// whether they were delivered.
    pub(super) fn settle(&mut self) -> Result<bool, Error> {
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
        let is_quiet = kinds.all(|kind| {
            let seen = before[kind].seen;
            seen == before.accounted(kind) && seen == after[kind].seen
        });
        if !is_quiet {
            return Ok(false);
        }
        let mut delivered = [0; Kind::ALL.len()];
        for kind in Kind::ALL {
            let index = kind.index() as usize;
            let all = before[kind].sent + before[kind].tallied;
            delivered[index] = all.saturating_sub(pending[index]);
            self.delivered[index] = match kind {
                // At least what was delivered, so that no flush waits for what an earlier daemon has
                // received.
                Kind::Failure => after[kind].sent + after[kind].tallied,
                _ => delivered[index],
            };
        }
        // What this daemon could not decode is delivered, too, but counted apart. Its kind is not known.
        self.delivered[0] = self.delivered[0].saturating_sub(self.undecodable);
        self.send(Message::Settled {
            delivered,
            undecodable: self.undecodable,
        })?;
        Ok(true)
    }
}
