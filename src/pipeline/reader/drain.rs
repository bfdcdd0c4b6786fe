//! Drains the buffers and the tallies, and compares what was received with what was seen.

use tracing::{debug, warn};

use super::{Error, Reader, Settled, failed, index_of};
use crate::capture::source::Source;
use crate::pipeline::message::Message;
use crate::record::{self, Kind, Ledgers, Observation};
use crate::sys::clock;

impl<S: Source, O: Observation> Reader<S, O> {
    /// Drains the buffers and, if at least `pending` observations are in it, the tally.
    pub(super) fn drain(&mut self, pending: u64) -> Result<(), Error> {
        self.drain_events()?;
        let now = clock::now();
        let ledgers = self.ledgers()?;
        self.note_seen(now, &ledgers)?;
        let tallied = tallied(&ledgers);
        if tallied < self.tallied + pending {
            return Ok(());
        }
        self.drain_tally()?;
        self.tallied = tallied;
        Ok(())
    }

    /// Returns whether everything that was seen `before` has been received, apart from what `after` has
    /// without a subject. The kind of what could not be decoded is not known.
    pub(super) fn has_received(&self, before: &Ledgers, after: &Ledgers) -> bool {
        let missing = Kind::ALL.into_iter().zip(self.delivered);
        let missing = missing.map(|(kind, delivered)| {
            let without_subject = after[kind].unattributed + after.only_seen(kind);
            before[kind]
                .seen
                .saturating_sub(delivered + without_subject)
        });
        missing.sum::<u64>() <= self.undecodable
    }

    pub(super) fn drain_events(&mut self) -> Result<(), Error> {
        let began = if self.stopping || self.settled == Settled::Nothing {
            u64::MAX // no drain follows, or none may miss an event: nothing is held back
        } else {
            u64::try_from(clock::now().as_nanos()).unwrap_or(u64::MAX)
        };
        let events = &mut self.held_back;
        let mut undecodable = 0;
        let drained = self
            .source
            .drain_events(&mut |bytes| match O::decode(bytes) {
                Ok(event) => events.push(event),
                Err(error) => {
                    debug!(%error, "cannot decode an event");
                    undecodable += 1;
                }
            });
        if let Err(error) = drained {
            // The events stay in the buffer until the next drain. If the buffer fills up before
            // that, the kernel side counts in the tally.
            warn!(%error, "cannot read a buffer; trying again");
        }
        self.undecodable += undecodable;

        // The events of each CPU are in order, so this merges a few sorted runs.
        events.sort_by_key(|observed| observed.event().time_ns);
        let ready = events.partition_point(|observed| observed.event().time_ns <= began);
        let younger = events.split_off(ready);
        let events = std::mem::replace(&mut self.held_back, younger);
        if events.is_empty() {
            return Ok(());
        }
        for observed in &events {
            self.delivered[index_of(&observed.event().subject)] += 1;
        }
        let subjects = events.iter().map(|observed| &observed.event().subject);
        let names = self.names.of(subjects, &mut self.source);
        self.send(Message::Events(events, names))
    }

    pub(super) fn drain_tally(&mut self) -> Result<(), Error> {
        let mut counts = Vec::new();
        let mut undecodable = 0;
        let delivered = &mut self.delivered;
        self.source
            .drain_tally(&mut |key, value| {
                // An entry stands for at least one observation, even if it cannot be decoded.
                let count = record::decode_tally_count(value).map_or(1, |value| value.count);
                match O::decode_subject(key)
                    .and_then(|s| Ok((s, record::decode_tally_count(value)?)))
                {
                    Ok(entry) => {
                        delivered[index_of(&entry.0)] += count;
                        counts.push(entry);
                    }
                    Err(error) => {
                        debug!(%error, "cannot decode an entry of the tally");
                        undecodable += count;
                    }
                }
            })
            .map_err(failed("cannot read the tally"))?;
        self.undecodable += undecodable;
        if counts.is_empty() {
            return Ok(());
        }
        let subjects = counts.iter().map(|(subject, _)| subject);
        let names = self.names.of(subjects, &mut self.source);
        self.send(Message::Tally(counts, names))
    }
}

/// Returns how many observations of all kinds are tallied.
fn tallied(ledgers: &Ledgers) -> u64 {
    let kinds = Kind::ALL.into_iter();
    kinds.map(|kind| ledgers[kind].tallied).sum()
}
