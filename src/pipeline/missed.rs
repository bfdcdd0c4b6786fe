//! Estimates, from the programs' statistics, how many events no program observed because the kernel
//! skipped the programs.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::capture::source::ProgramStats;
use crate::pipeline::flush::Flush;
use crate::record::Kind;

/// How long an observation must have been missing before it counts as missed. Until then, a standby
/// copy may still make it: the observed thread may have been preempted after the first copy was
/// skipped.
pub(super) const IN_FLIGHT: Duration = Duration::from_secs(1);

/// Observations for which the kernel skipped every copy of the program.
#[derive(Debug, Clone, Copy, Default, Deserialize, Serialize)]
pub(super) struct Missed {
    pub(super) count: u64,
    /// The smallest number that was missing at any flush from `since` on.
    fewest: u64,
    since: Duration,
}

impl Missed {
    /// Returns whether no count is above `largest`.
    pub(super) fn is_plausible(&self, largest: u64) -> bool {
        self.count <= largest
    }

    /// Counts what has been missing for [`IN_FLIGHT`]. The count never decreases, even if the
    /// statistics cannot be read.
    pub(super) fn update(&mut self, missing: u64, now: Duration) {
        self.fewest = self.fewest.min(missing);
        // A saved time can be later than now if the state is not from this host's uptime.
        self.since = self.since.min(now);
        if now.saturating_sub(self.since) >= IN_FLIGHT {
            self.count = self.count.max(self.fewest);
            self.fewest = missing;
            self.since = now;
        }
    }
}

/// Returns how many execs no program has seen: the kernel skipped the first copy, and no standby
/// copy has claimed them. See [`ProgramStats::missed_runs`].
pub(crate) fn missing(flush: &Flush) -> u64 {
    let programs = flush.programs.iter();
    skipped(programs.filter(|p| p.each_run_observes), flush, Kind::Exec)
}

/// Returns an upper bound on the number of missing observations of a kind. Some of the skipped runs
/// may have had nothing to observe.
pub(super) fn missing_at_most(flush: &Flush, kind: Kind) -> u64 {
    skipped(flush.programs.iter(), flush, kind)
}

fn skipped<'a>(programs: impl Iterator<Item = &'a ProgramStats>, flush: &Flush, kind: Kind) -> u64 {
    let of_kind = programs.filter(|program| program.observes == Some(kind));
    let skipped: u64 = of_kind.map(|program| program.missed_runs).sum();
    let recovered = flush.after[kind].recovered;
    skipped.saturating_add_signed(recovered.saturating_neg())
}
