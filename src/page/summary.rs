//! What the page shows of a snapshot.

use std::cmp::Reverse;

use crate::capture::CaptureInfo;
use crate::names::users::UserNames;
use crate::pipeline::history::History;
use crate::pipeline::series::{self, Series};
use crate::pipeline::snapshot::{Loss, Snapshot};
use crate::pipeline::view::{self, Counts, Label, Metric};
use crate::pipeline::watch::WatchCounts;
use crate::record::{Kind, WaitStatus};

/// The number of series shown of each view.
const TOP: usize = 10;

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

/// What the page shows of a view: its busiest series, and sums of everything else.
#[derive(Debug)]
pub struct Top {
    pub labels: Vec<Label>,
    /// Whether the view counts exits, and they are observed.
    pub has_exits: bool,
    /// The series with the most execs, in descending order.
    pub series: Vec<Series>,
    /// The number of series that are not in `series`.
    pub more: usize,
    /// The sum of the counts of these series.
    pub of_more: Counts,
    /// The execs and CPU time that had no series when they were counted.
    pub other: Counts,
    /// The execs in `other` that had no series because all slots were taken.
    pub overflow: u64,
    /// The execs without a series in the period that [`Summary::recent`] covers.
    pub recent_other: u64,
    /// What was counted under series that have since been evicted, and everything counted before
    /// the view existed.
    pub yielded: Counts,
    /// The number of slots.
    pub max_series: usize,
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
        // The page shows no failed execs by view.
        let views = snapshot.views.iter();
        let views = views.filter(|view| view.metrics != [Metric::Failures]);
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
                .map(|view| Top {
                    has_exits: view.metrics.contains(&Metric::Exits)
                        && capture_info.observes(Kind::Exit),
                    ..top(view, snapshot, names)
                })
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
    let of_view = |view: &view::ViewCounts| {
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
        cpu_ns: has_cpu_time
            .then(|| snapshot.views.first().map(of_view))
            .flatten(),
    }
}

fn top(view: &view::ViewCounts, snapshot: &Snapshot, names: &UserNames) -> Top {
    let mut series = series::series(view, names);
    series.sort_by(|a, b| {
        let size = |series: &Series| (series.counts.execs, series.counts.cpu_ns);
        let most = size(b).cmp(&size(a));
        most.then_with(|| a.values.cmp(&b.values))
    });
    let more = series.split_off(series.len().min(TOP));
    let mut of_more = Counts::default();
    for series in &more {
        of_more += series.counts;
    }
    Top {
        labels: view.labels.clone(),
        has_exits: false,
        series,
        more: more.len(),
        of_more,
        other: series::other(view, snapshot),
        overflow: view.overflow.execs,
        recent_other: view.recent_other.counts().sum(),
        yielded: view.yielded,
        max_series: view.max_series,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::TransportKind;
    use crate::capture::hook::{CPU_TP_BTF, EXEC_TP_BTF, EXIT_TP_BTF, FEXIT};
    use crate::pipeline::view::{Key, SeriesCounts, ViewCounts};
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
    fn the_top_of_a_view_and_the_rest_sum_up_to_the_total() {
        let key = |n: u8| Key {
            comm: std::array::from_fn(|i| if i == 0 { n } else { 0 }),
            ..Key::default()
        };
        let counts = |execs| Counts {
            execs,
            cpu_ns: 1,
            ..Counts::default()
        };
        let series = (1..=14).map(|n| {
            SeriesCounts::new(
                key(b'a' + n),
                counts(u64::from(n / 2)),
                Timestamp::default(),
            )
        });
        let snapshot = Snapshot {
            execs: 49 + 100 + 20 + 5,
            unattributed: 100,
            views: vec![ViewCounts {
                labels: vec![Label::Comm],
                series: series.collect(),
                overflow: counts(20),
                yielded: counts(5),
                max_series: 14,
                ..ViewCounts::default()
            }],
            ..Snapshot::default()
        };
        let summary = summary(&snapshot);
        let top = &summary.views[0];
        let names: Vec<_> = top.series.iter().map(|series| &*series.values[0]).collect();
        assert_eq!(names, ["o", "m", "n", "k", "l", "i", "j", "g", "h", "e"]);
        assert_eq!((top.more, top.of_more.execs), (4, 4));
        assert_eq!((top.other.execs, top.overflow), (120, 20));
        let shown: u64 = top.series.iter().map(|series| series.counts.execs).sum();
        assert_eq!(shown + 4 + 120 + 5, snapshot.execs);
        assert_eq!(top.yielded, counts(5));
        assert_eq!(summary.exits.unwrap().cpu_ns, Some(14 + 2));
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
