//! The messages from the reader to the aggregator.

use std::time::Duration;

use crate::pipeline::flush::Flush;
use crate::pipeline::name_cache::Names;
use crate::pipeline::view::View;
use crate::pipeline::watch::Watch;
use crate::record::{Event, Kind, Subject, TallyCount};

#[derive(Debug)]
pub enum Message<O = Event> {
    /// Observations from all CPUs, sorted by time, and what the ids in them stand for.
    Events(Vec<O>, Names),
    /// Counts by subject, from the tally, likewise.
    Tally(Vec<(Subject, TallyCount)>, Names),
    /// The kernel side has seen this number of execs `at` this time of `CLOCK_MONOTONIC`. The previous
    /// number was still the same at `unchanged_until`.
    Seen {
        unchanged_until: Duration,
        at: Duration,
        execs: u64,
    },
    /// The messages before this one contain everything observed before the flush began.
    Flushed(Box<Flush>),
    /// The counts continue those of an earlier daemon. What was delivered, but is not in the messages
    /// before this one and was not saved, is lost.
    Settled {
        /// By kind, in the order of [`Kind::ALL`]: the number of observations that the kernel side has
        /// delivered so far, to this daemon or to an earlier one. None if it is not known: for failed
        /// execs, until a moment at which none is in progress, and afterwards for all other kinds.
        delivered: [Option<u64>; Kind::ALL.len()],
        /// Those among them that this daemon could not decode.
        undecodable: u64,
    },
    /// Views and watches that replace the current ones. The cgroups of the messages after this one have
    /// their labels.
    Change(Vec<View>, Vec<Watch>),
    /// Nothing has been observed for a tick.
    Idle,
}
