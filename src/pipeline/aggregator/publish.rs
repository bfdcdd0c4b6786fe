//! What the aggregator publishes at a flush.

use std::sync::Arc;

use super::Aggregator;
use super::account::difference;
use crate::pipeline::snapshot::Snapshot;
use crate::pipeline::view::View;
use crate::record::Kind;

impl Aggregator {
    pub fn snapshot(&self) -> Snapshot {
        let flush = self.flush.clone();
        let totals = &self.totals;
        let unattributed = totals.unattributed();
        let differences = Kind::ALL.map(|kind| {
            let (before, after) = (flush.before[kind].seen, flush.after[kind].seen);
            let of = |accounted| difference(before, after, accounted);
            let unattributed = flush.after[kind].unattributed + totals.lost_of(kind);
            let without_subject = unattributed + flush.after.only_seen(kind);
            // Exits are counted by status, failed execs by error, and both by subject if a view asks for
            // it.
            let either = |total, by_subject: u64| {
                let differences = [of(total), of(by_subject + without_subject)];
                differences.into_iter().find(|n| *n != 0).unwrap_or(0)
            };
            match kind {
                // Execs that no program observed are not in `seen`.
                Kind::Exec => of(totals.total() - totals.missed.count),
                Kind::Failure if !self.are_failures_settled => of(flush.failures.total()),
                Kind::Failure => {
                    let by_subject = totals.attributed_failures.total();
                    either(flush.failures.total(), by_subject)
                }
                Kind::Exit => {
                    let by_subject = totals.attributed.exits.iter().sum();
                    either(flush.exits.total(), by_subject)
                }
                Kind::CpuTime => of(totals.cpu_times + unattributed),
            }
        });
        Snapshot {
            start: self.start,
            execs: totals.total(),
            recent: self.recent.clone(),
            per_second: self.per_second.clone(),
            unattributed: unattributed.execs,
            unattributed_cpu_ns: unattributed.cpu_ns,
            unattributed_exits: unattributed.exits,
            unattributed_lifetime_ns: unattributed.lifetime_ns,
            exits_without_outcome: totals.lost_of(Kind::Exit) + flush.after.only_seen(Kind::Exit),
            unattributed_failures: totals.unattributed_failures,
            failures_without_subject: flush.after[Kind::Failure].unattributed
                + totals.lost_of(Kind::Failure),
            unknown_parents: totals.unknown_parents,
            unknown_cgroup_execs: totals.unknown_cgroup_execs,
            unknown_exe_execs: totals.unknown_exe_execs,
            missed: totals.missed.count,
            missed_at_most: totals.missed_at_most.each_ref().map(|missed| missed.count),
            differences,
            views: self.views.iter().map(View::counts).collect(),
            watches: self.watches.counts(),
            exit_starts: self.exit_starts.clone(),
            failure_starts: self.failure_starts.clone(),
            continuity: Arc::clone(&self.continuity),
            flush,
            channel_depth: 0,
        }
    }
}
