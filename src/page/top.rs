//! The busiest series of a view, for the page.

use crate::capture::CaptureInfo;
use crate::names::users::UserNames;
use crate::pipeline::series::{self, Series};
use crate::pipeline::snapshot::Snapshot;
use crate::pipeline::view::{Counts, Label, Metric, ViewCounts};
use crate::record::Outcome;

/// The number of series shown of each view.
const SHOWN: usize = 10;

/// What the page shows of a view: its busiest series, and sums of everything else.
#[derive(Debug)]
pub struct Top {
    pub labels: Vec<Label>,
    /// What the view counts, as far as it is observed.
    pub metrics: Vec<Metric>,
    /// The label values and counts of the series with the highest counts, in descending order.
    pub series: Vec<(Vec<String>, Row)>,
    /// The number of series that are not in `series`.
    pub more: usize,
    /// The sum of the counts of these series.
    pub of_more: Row,
    /// What had no series when it was counted.
    pub other: Row,
    /// The execs in `other` that had no series because all slots were taken.
    pub overflow: u64,
    /// The execs without a series in the period that the summary's `recent` covers.
    pub recent_other: u64,
    /// What was counted under series that have since been evicted, and everything counted before
    /// the view existed.
    pub yielded: Row,
    /// The number of slots.
    pub max_series: usize,
}

impl Top {
    pub(super) fn of(
        view: &ViewCounts,
        snapshot: &Snapshot,
        info: &CaptureInfo,
        names: &UserNames,
    ) -> Self {
        let mut metrics = view.metrics.clone();
        metrics.retain(|metric| info.observes(metric.kind()));
        let row = |series: Series| {
            let failures = series.failures.as_ref();
            let failed = failures.map_or(0, |failures| failures.numbers.total());
            (series.values, Row::new(&metrics, series.counts, failed))
        };
        let series = series::series(view, names).into_iter();
        let mut series: Vec<_> = series.map(row).collect();
        series.sort_by(|(a_values, a), (b_values, b)| {
            let most = b.size().cmp(&a.size());
            most.then_with(|| a_values.cmp(b_values))
        });
        let more = series.split_off(series.len().min(SHOWN));
        let mut of_more = Row::default();
        for (_, row) in &more {
            of_more += *row;
        }
        let other = view.failures.other(&snapshot.unattributed_failures);
        let yielded = &view.failures.yielded;
        Self {
            labels: view.labels.clone(),
            series,
            more: more.len(),
            of_more,
            other: Row::new(&metrics, series::other(view, snapshot), other.total()),
            overflow: view.overflow.execs,
            recent_other: view.recent_other.counts().sum(),
            yielded: Row::new(&metrics, view.yielded, yielded.total()),
            max_series: view.max_series,
            metrics,
        }
    }
}

/// The most columns that fit a table of half the page's width: names, numbers, and two for each share.
const COLUMNS: usize = 7;

impl Top {
    /// Returns whether the table needs the whole width of the page.
    pub(super) fn is_wide(&self) -> bool {
        let of_metrics = self.metrics.iter().map(|metric| match metric {
            Metric::Execs | Metric::Failures => 3,
            Metric::CpuSeconds | Metric::LifetimeSeconds => 1,
            Metric::Exits => Outcome::ALL.len() - 1,
        });
        self.labels.len() + of_metrics.sum::<usize>() > COLUMNS
    }
}

/// The counts in one row of a view's table: those of its [metrics](Top::metrics); all others are 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Row {
    pub counts: Counts,
    /// Failed execs with any error.
    pub failed: u64,
}

impl Row {
    fn new(metrics: &[Metric], all: Counts, failed: u64) -> Self {
        let mut counts = Counts::default();
        counts.set(all, metrics);
        let failed = if metrics.contains(&Metric::Failures) {
            failed
        } else {
            0
        };
        Self { counts, failed }
    }

    /// Returns what decides the order of the rows.
    fn size(&self) -> impl Ord {
        let counts = &self.counts;
        let exits: u64 = counts.exits.iter().sum();
        let times = (counts.cpu_ns, self.failed, exits, counts.lifetime_ns);
        (counts.execs, times)
    }
}

impl std::ops::AddAssign for Row {
    fn add_assign(&mut self, more: Self) {
        self.counts += more.counts;
        self.failed += more.failed;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::TransportKind;
    use crate::capture::hook::{CPU_TP_BTF, EXEC_TP_BTF, FEXIT};
    use crate::pipeline::view::{Failures, FailuresOfView, Key, SeriesCounts, StartedFailures};
    use crate::sys::clock::Timestamp;

    fn key(name: u8) -> Key {
        Key {
            comm: std::array::from_fn(|i| if i == 0 { name } else { 0 }),
            ..Key::default()
        }
    }

    fn top(snapshot: &Snapshot, view: usize) -> Top {
        let info = CaptureInfo {
            hooks: vec![EXEC_TP_BTF, FEXIT[0], CPU_TP_BTF],
            transport: TransportKind::Perf,
            buffer_bytes: 4096,
        };
        Top::of(
            &snapshot.views[view],
            snapshot,
            &info,
            &UserNames::default(),
        )
    }

    #[test]
    fn the_top_of_a_view_and_the_rest_sum_up_to_the_total() {
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
        let top = top(&snapshot, 0);
        let names: Vec<_> = top.series.iter().map(|(values, _)| &*values[0]).collect();
        assert_eq!(names, ["o", "m", "n", "k", "l", "i", "j", "g", "h", "e"]);
        assert_eq!((top.more, top.of_more.counts.execs), (4, 4));
        assert_eq!((top.other.counts.execs, top.overflow), (120, 20));
        let shown: u64 = top.series.iter().map(|(_, row)| row.counts.execs).sum();
        assert_eq!(shown + 4 + 120 + 5, snapshot.execs);
        assert_eq!(top.yielded.counts, counts(5));
    }

    #[test]
    fn a_view_of_failed_execs_alone_is_ordered_by_them() {
        let start = Timestamp::default();
        let view = |metrics: &[Metric]| {
            let series = [(b'a', 1), (b'b', 3)].map(|(name, failed)| {
                let failures = StartedFailures::new(Failures::of(2, failed), start);
                SeriesCounts {
                    failures: Some(failures.into()),
                    ..SeriesCounts::new(key(name), Counts::default(), start)
                }
            });
            ViewCounts {
                labels: vec![Label::Comm],
                metrics: metrics.to_vec(),
                series: series.into(),
                filtered: Counts {
                    execs: 49,
                    ..Counts::default()
                },
                failures: FailuresOfView {
                    overflow: Failures::of(13, 7),
                    yielded: Failures::of(2, 5),
                    ..FailuresOfView::default()
                },
                ..ViewCounts::default()
            }
        };
        let snapshot = Snapshot {
            views: vec![view(&[Metric::Failures]), view(&[Metric::Execs])],
            ..Snapshot::default()
        };
        let shown = |index| {
            let top = top(&snapshot, index);
            let rows = top
                .series
                .iter()
                .map(|(values, row)| (values[0].clone(), *row));
            let rest = [("other", top.other), ("yielded", top.yielded)];
            let rest = rest.map(|(name, row)| (name.to_owned(), row));
            let all = rows
                .chain(rest)
                .map(|(name, row)| (name, row.counts.execs, row.failed));
            all.collect::<Vec<_>>()
        };
        let expected = [
            [("b", 0, 3), ("a", 0, 1), ("other", 0, 7), ("yielded", 0, 5)],
            [
                ("a", 0, 0),
                ("b", 0, 0),
                ("other", 49, 0),
                ("yielded", 0, 0),
            ],
        ];
        for (index, expected) in expected.into_iter().enumerate() {
            let expected = expected.map(|(name, execs, failed)| (name.to_owned(), execs, failed));
            assert_eq!(shown(index), expected);
        }
    }
}
