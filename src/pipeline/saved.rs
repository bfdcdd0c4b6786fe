//! The counts as they are saved, so that the next daemon can continue them.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::pipeline::continuity::Continuity;
use crate::pipeline::history::History;
use crate::pipeline::missed::Missed;
use crate::pipeline::per_second::PerSecond;
use crate::pipeline::view::{Before, Counts, Failures, SavedView};
use crate::pipeline::watch::{MAX_WATCHES, SavedWatch};
use crate::record::{Kind, Ledgers, WaitStatus};
use crate::sys::clock::Timestamp;

/// The largest count in a state: 10 000 execs per second for 14 000 years. It leaves room for sums.
const LARGEST: u64 = 1 << 52;

/// Everything that the next daemon needs. If its encoding changes, so must the version of the
/// format in `sys/state_file.rs`.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub struct State {
    pub continuity: Continuity,
    pub counts: Saved,
}

/// What the aggregator has counted.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub struct Saved {
    /// The time of `CLOCK_MONOTONIC` from which the other times count.
    pub(super) began: Duration,
    pub(super) start: Timestamp,
    /// When the last flush began.
    pub(super) flushed: Timestamp,
    pub(super) exit_starts: BTreeMap<WaitStatus, Timestamp>,
    pub(super) failure_starts: BTreeMap<i32, Timestamp>,
    pub(super) totals: Totals,
    pub(super) recent: History,
    pub(super) per_second: PerSecond,
    pub(super) views: Vec<SavedView>,
    pub(super) watches: Vec<SavedWatch>,
}

/// What is counted for all views together.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
pub(super) struct Totals {
    /// What is counted with a subject.
    pub(super) attributed: Counts,
    pub(super) attributed_failures: Failures,
    /// Failed execs that the kernel side counted without a subject.
    pub(super) unattributed_failures: Failures,
    /// Execs in cgroups whose name is not known.
    pub(super) unknown_cgroup_execs: u64,
    /// Execs of files whose name is in use and not known.
    pub(super) unknown_exe_execs: u64,
    /// Processes whose CPU time is in `attributed`.
    pub(super) cpu_times: u64,
    /// Those among them whose parent's name is in use and not known.
    pub(super) unknown_parents: u64,
    pub(super) undecodable: u64,
    pub(super) missed: Missed,
    /// Upper bounds by kind, in the order of [`Kind::ALL`].
    pub(super) missed_at_most: [Missed; Kind::ALL.len()],
    /// By kind, in the order of [`Kind::ALL`]: what earlier daemons took out of the kernel and did
    /// not save. Of lost CPU times only the number is known.
    pub(super) lost: [u64; Kind::ALL.len()],
    /// The ledgers at the end of the last flush.
    pub(super) ledgers: Ledgers,
}

/// Why bytes are not a state.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("it cannot be decoded: {0}")]
    Encoding(#[from] postcard::Error),
    #[error("it has {0} bytes too many")]
    Rest(usize),
    #[error("{0} are not plausible")]
    Implausible(&'static str),
}

impl State {
    pub fn encode(&self) -> Result<Vec<u8>, Error> {
        Ok(postcard::to_allocvec(self)?)
    }

    /// Decodes any bytes. A state takes up to ten times as much memory, because a series without names
    /// and counts has some 30 bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let (state, rest) = postcard::take_from_bytes::<Self>(bytes)?;
        if !rest.is_empty() {
            return Err(Error::Rest(rest.len()));
        }
        if !state.continuity.is_plausible(LARGEST) {
            return Err(Error::Implausible("the counts of the kernel side"));
        }
        state.counts.check()?;
        Ok(state)
    }
}

impl Saved {
    fn check(&self) -> Result<(), Error> {
        let totals = &self.totals;
        if !totals.is_plausible() {
            return Err(Error::Implausible("the totals"));
        }
        let attributed = totals.attributed;
        let unattributed = totals.unattributed();
        let total = attributed.execs + unattributed.execs;
        if !self.recent.is_plausible(total) {
            return Err(Error::Implausible("the execs of the last minutes"));
        }
        if !self.per_second.is_plausible(LARGEST) {
            return Err(Error::Implausible("the execs per second"));
        }
        let mut views = self.views.iter();
        let failures = &totals.attributed_failures;
        if !views.all(|view| view.adds_up(attributed, unattributed, failures)) {
            return Err(Error::Implausible("the counts of a view"));
        }
        let mut watches = self.watches.iter();
        if self.watches.len() > MAX_WATCHES || !watches.all(|watch| watch.is_plausible(attributed))
        {
            return Err(Error::Implausible("the counts of a watch"));
        }
        Ok(())
    }
}

impl Totals {
    /// Returns what is counted without a subject.
    pub(super) fn unattributed(&self) -> Counts {
        let of_kernel = self.ledgers[Kind::Exec].unattributed;
        let of_reader = self.undecodable + self.lost_of(Kind::Exec);
        Counts {
            execs: of_kernel + of_reader + self.missed.count,
            cpu_ns: self.ledgers[Kind::CpuTime].unattributed_cpu_ns,
            exits: self.ledgers[Kind::Exit].unattributed_exits,
            lifetime_ns: self.ledgers[Kind::Exit].unattributed_lifetime_ns,
        }
    }

    /// Returns everything that was counted until now.
    pub(super) fn so_far(&self) -> Before {
        let unattributed = self.unattributed();
        let mut counts = self.attributed;
        counts += unattributed;
        let mut failures = self.attributed_failures;
        failures += &self.unattributed_failures;
        Before {
            counts,
            unattributed,
            failures,
            unattributed_failures: self.unattributed_failures,
        }
    }

    /// Returns all execs.
    pub(super) fn total(&self) -> u64 {
        self.attributed.execs + self.unattributed().execs
    }

    /// Returns what earlier daemons lost.
    pub(super) fn lost_of(&self, kind: Kind) -> u64 {
        self.lost[kind.index() as usize]
    }

    /// Finds out what earlier daemons lost: what the kernel side has `delivered` by kind, and what is
    /// not counted, of which the current daemon could not decode `undecodable`.
    pub(super) fn settle(&mut self, delivered: &[Option<u64>; Kind::ALL.len()], undecodable: u64) {
        for kind in Kind::ALL {
            let index = kind.index() as usize;
            let Some(delivered) = delivered[index] else {
                continue;
            };
            let counted = match kind {
                Kind::CpuTime => self.cpu_times,
                Kind::Exit => self.attributed.exits.iter().sum(),
                Kind::Failure => self.attributed_failures.total(),
                Kind::Exec => self.attributed.execs + undecodable,
            };
            let lost = delivered.saturating_sub(counted);
            self.lost[index] = self.lost[index].max(lost);
        }
    }

    fn is_plausible(&self) -> bool {
        let counts = [
            self.attributed.execs,
            self.unknown_cgroup_execs,
            self.unknown_exe_execs,
            self.cpu_times,
            self.unknown_parents,
            self.undecodable,
        ];
        let mut missed = [&self.missed].into_iter().chain(&self.missed_at_most);
        let exits = &self.attributed.exits;
        let failures = [&self.attributed_failures, &self.unattributed_failures];
        let mut failures = failures.into_iter();
        if !failures.all(|failures| failures.is_plausible(LARGEST)) {
            return false;
        }
        counts
            .iter()
            .chain(exits)
            .chain(&self.lost)
            .all(|n| *n <= LARGEST)
            && missed.all(|missed| missed.is_plausible(LARGEST))
            && self.ledgers.is_plausible(LARGEST)
    }
}
