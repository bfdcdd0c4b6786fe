//! What the page shows of a snapshot.

use std::cmp::Reverse;

use super::top::Top;
use crate::capture::CaptureInfo;
use crate::names::users::UserNames;
use crate::pipeline::history::History;
use crate::pipeline::series;
use crate::pipeline::snapshot::{Loss, Snapshot};
use crate::pipeline::view::{Metric, ViewCounts};
use crate::pipeline::watch::WatchCounts;
use crate::record::{Kind, WaitStatus};

/// The number of signals shown.
const TOP_SIGNALS: usize = 8;

/// What the page shows of one flush.
#[derive(Debug)]
pub struct Summary {
    /// All execs; attempts in classic mode.
    pub execs: u64,
    pub recent: History,
    /// Failed execs; None if they are not observed.
    pub failures: Option<Failures>,
    /// Process exits; None if they are not observed.
    pub exits: Option<Exits>,
    /// The views in the order of the configuration.
    pub views: Vec<Top>,
    pub watches: Vec<WatchCounts>,
    pub account: Account,
    pub capture_info: CaptureInfo,
}

#[derive(Debug)]
pub struct Failures {
    pub total: u64,
    /// Failed execs by errno, the most frequent errno first.
    pub by_errno: Vec<(i32, u64)>,
}

/// Process exits by outcome.
#[derive(Debug)]
pub struct Exits {
    pub total: u64,
    /// Exits with status 0.
    pub succeeded: u64,
    /// Exits with another status.
    pub failed: u64,
    /// Exits by the most frequent signals, in descending order.
    pub signals: Vec<(String, u64)>,
    /// Exits by signals that are not in `signals`.
    pub other_signals: u64,
    /// Exits by SIGKILL of processes that the OOM killer had chosen.
    pub oom_kills: u64,
    /// Exits by a signal that dumped a core.
    pub core_dumps: u64,
    /// CPU time of the processes that were reaped, in nanoseconds; None if there is no view to count
    /// it.
    pub cpu_ns: Option<u64>,
}

impl Exits {
    /// Returns the number of exits by any signal.
    pub fn signaled(&self) -> u64 {
        self.signals.iter().map(|(_, n)| n).sum::<u64>() + self.other_signals
    }
}

/// What the kernel saw, compared with what was counted.
#[derive(Debug)]
pub struct Account {
    /// What the kernel saw minus what is accounted for, for each kind that is observed.
    pub differences: Vec<(Kind, i64)>,
    /// Execs in the total that are counted without a name.
    pub unattributed: u64,
    /// The execs among `unattributed` for which the kernel skipped every copy of the program.
    pub missed: u64,
    /// Upper bounds on the numbers of failures and exits for which the kernel skipped every copy of
    /// the program. A kind whose bound is 0 is left out.
    pub missed_at_most: Vec<(Kind, u64)>,
    /// Lost events by reason. Their execs and exits are counted nevertheless.
    pub lost: Vec<(Loss, u64)>,
}

impl Summary {
    /// Summarizes a snapshot, with these names of users.
    pub fn of(snapshot: &Snapshot, capture_info: &CaptureInfo, names: &UserNames) -> Self {
        let views = snapshot.views.iter();
        let differences = Kind::ALL.into_iter().zip(snapshot.differences);
        Self {
            execs: snapshot.execs,
            recent: snapshot.recent.clone(),
            failures: capture_info
                .observes(Kind::Failure)
                .then(|| failures(snapshot)),
            exits: capture_info
                .observes(Kind::Exit)
                .then(|| exits(snapshot, capture_info.observes(Kind::CpuTime))),
            views: views
                .map(|view| Top::of(view, snapshot, capture_info, names))
                .collect(),
            watches: snapshot.watches.clone(),
            account: Account {
                differences: differences
                    .filter(|(kind, _)| capture_info.observes(*kind))
                    .collect(),
                unattributed: snapshot.unattributed,
                missed: snapshot.missed,
                missed_at_most: Kind::ALL
                    .into_iter()
                    .zip(snapshot.missed_at_most)
                    .filter(|(kind, n)| *kind != Kind::Exec && *n > 0)
                    .collect(),
                lost: snapshot
                    .lost()
                    .into_iter()
                    .filter(|(_, n)| *n > 0)
                    .collect(),
            },
            capture_info: capture_info.clone(),
        }
    }
}

fn failures(snapshot: &Snapshot) -> Failures {
    let counts = &snapshot.flush.failures;
    let mut by_errno: Vec<_> = counts.iter().collect();
    by_errno.sort_by_key(|(errno, n)| (Reverse(*n), *errno));
    Failures {
        total: counts.total(),
        by_errno,
    }
}

fn exits(snapshot: &Snapshot, has_cpu_time: bool) -> Exits {
    let (mut succeeded, mut failed, mut signals) = (0, 0, Vec::new());
    let exits = &snapshot.flush.exits;
    for (status, n) in exits.by_status() {
        match status {
            WaitStatus::Exited(0) => succeeded += n,
            WaitStatus::Exited(_) => failed += n,
            WaitStatus::Signaled(_) => signals.push((status.code(), n)),
        }
    }
    signals.sort_by_key(|(_, n)| Reverse(*n));
    let rest = signals.split_off(signals.len().min(TOP_SIGNALS));
    let mut views = snapshot.views.iter();
    let view = views.find(|view| view.metrics.contains(&Metric::CpuSeconds));
    let of_view = |view: &ViewCounts| {
        let series: u64 = view.series.iter().map(|series| series.counts.cpu_ns).sum();
        series + series::other(view, snapshot).cpu_ns + view.yielded.cpu_ns
    };
    Exits {
        total: exits.total(),
        succeeded,
        failed,
        signals,
        other_signals: rest.iter().map(|(_, n)| n).sum(),
        oom_kills: exits.oom_kills(),
        core_dumps: exits.core_dumps(),
        cpu_ns: view.filter(|_| has_cpu_time).map(of_view),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::TransportKind;
    use crate::capture::hook::{CPU_TP_BTF, EXEC_TP_BTF, EXIT_TP_BTF, FEXIT};
    use crate::pipeline::view::{Counts, Key, SeriesCounts};
    use crate::sys::clock::Timestamp;

    fn capture_info() -> CaptureInfo {
        CaptureInfo {
            hooks: vec![EXEC_TP_BTF, FEXIT[0], EXIT_TP_BTF, CPU_TP_BTF],
            transport: TransportKind::Perf,
            buffer_bytes: 4096,
        }
    }

    fn summary(snapshot: &Snapshot) -> Summary {
        Summary::of(snapshot, &capture_info(), &UserNames::default())
    }

    #[test]
    fn exits_are_summed_by_outcome_and_rare_signals_together() {
        let mut snapshot = Snapshot::default();
        for (status, n) in [(0, 5), (1 << 8, 3), (127 << 8, 4)] {
            snapshot.flush.exits.add(status, n);
        }
        for signal in 1..=10 {
            snapshot
                .flush
                .exits
                .add(signal, u64::from(signal.unsigned_abs()));
        }
        let exits = summary(&snapshot).exits.unwrap();
        assert_eq!((exits.succeeded, exits.failed), (5, 7));
        assert_eq!(exits.signals[0], ("SIGUSR1".to_owned(), 10));
        assert_eq!((exits.signals.len(), exits.other_signals), (8, 1 + 2));
        assert_eq!(exits.total, 5 + 7 + 55);
        assert_eq!(exits.cpu_ns, None);
    }

    #[test]
    fn the_cpu_time_is_that_of_a_view_that_counts_it() {
        let counts = |cpu_ns| Counts {
            cpu_ns,
            ..Counts::default()
        };
        let series = SeriesCounts::new(Key::default(), counts(1), Timestamp::default());
        let view = |metrics: &[Metric]| ViewCounts {
            metrics: metrics.to_vec(),
            series: vec![series.clone()],
            overflow: counts(20),
            yielded: counts(300),
            ..ViewCounts::default()
        };
        let snapshot = Snapshot {
            views: vec![view(&[Metric::Execs]), view(&Metric::DEFAULT)],
            ..Snapshot::default()
        };
        assert_eq!(summary(&snapshot).exits.unwrap().cpu_ns, Some(321));
    }

    #[test]
    fn the_most_frequent_error_is_first() {
        let mut snapshot = Snapshot::default();
        snapshot.flush.failures.add(2, 7);
        snapshot.flush.failures.add(13, 9);
        let failures = summary(&snapshot).failures.unwrap();
        assert_eq!(
            (failures.total, failures.by_errno),
            (16, vec![(13, 9), (2, 7)])
        );
    }
}
