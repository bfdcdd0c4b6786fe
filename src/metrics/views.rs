//! The metric families of the views.

use super::Execs;
use super::families::{
    Family, Label as Pair, Sample, count, counter, gauge, in_order_of_values, pair, seconds, value,
};
use crate::names::errno;
use crate::names::escape::OTHER;
use crate::pipeline::series::{self, Series};
use crate::pipeline::snapshot::Snapshot;
use crate::pipeline::view::{self, Counts, Label, Metric, StartedFailures};
use crate::record::Outcome;
use crate::sys::clock::Timestamp;

impl Execs<'_> {
    pub(super) fn views(&self, snapshot: &Snapshot) -> Vec<Family> {
        let mut families = Vec::new();
        let (mut series, mut limit, mut overflow) = (Vec::new(), Vec::new(), Vec::new());
        let mut yielded = Metric::ALL.map(|_| Vec::new());
        for view in &snapshot.views {
            let name = view::name(&view.labels);
            let label = || vec![pair("view", &*name)];
            series.push(value(label(), view.series.len() as f64));
            limit.push(value(label(), view.max_series as f64));
            overflow.push(count(label(), view.overflow.execs).since(view.start));

            // `other` exists from the start.
            let mut all = vec![Series {
                values: vec![OTHER.to_owned(); view.labels.len()],
                counts: series::other(view, snapshot),
                failures: view.metrics.contains(&Metric::Failures).then(|| {
                    let other = view.failures.other(&snapshot.unattributed_failures);
                    StartedFailures::new(other, view.start).into()
                }),
                start: Some(view.start),
            }];
            all.extend(series::series(view, self.names));
            let all = all.into_iter().map(|mut series| {
                let values = std::mem::take(&mut series.values);
                (label_pairs(&view.labels, values), series)
            });
            let mut all: Vec<_> = all.collect();
            // Once for all metrics of the view.
            all.sort_by(|(a, _), (b, _)| in_order_of_values(a, b));
            let by = label_list(&view.labels);
            for (metric, yielded) in Metric::ALL.into_iter().zip(&mut yielded) {
                if !view.metrics.contains(&metric) || !self.capture_info.observes(metric.kind()) {
                    continue;
                }
                let failures = view.failures.yielded.with_every_error();
                let failures = StartedFailures::new(failures, view.start);
                let failures = Some(&failures);
                yielded.extend(samples(metric, label(), &view.yielded, failures, None));
                let of = |(labels, series): &(Vec<Pair>, Series)| {
                    let start = series.start.map(|start| view.start_of(metric, start));
                    let failures = series.failures.as_deref();
                    samples(metric, labels.clone(), &series.counts, failures, start)
                };
                let (name, help) = name_and_help(metric, &name, &by);
                let samples = all.iter().flat_map(of);
                families.push(counter(name, help, samples.collect::<Vec<_>>()));
            }
        }
        if !snapshot.views.is_empty() {
            families.push(gauge(
                "execsnoop_series",
                "Slots in use in a view, which is the number of its series.",
                series,
            ));
            families.push(gauge(
                "execsnoop_series_limit",
                "Slots for series that a view has.",
                limit,
            ));
            families.push(counter(
                "execsnoop_series_overflow_total",
                "Execs counted as `other` in a view because all its slots were taken, because their \
                 series was evicted before a scrape showed them, or because they would have hidden the \
                 counter reset of a series that returned.",
                overflow,
            ));
        }
        for (metric, yielded) in Metric::ALL.into_iter().zip(yielded) {
            let (what, unit) = match metric {
                Metric::Execs => ("Execs", "execs"),
                Metric::CpuSeconds => ("CPU time", "cpu_seconds"),
                Metric::Exits => ("Exits", "exits"),
                Metric::LifetimeSeconds => ("Lifetimes", "lifetime_seconds"),
                Metric::Failures => ("Failed execs", "exec_failures"),
            };
            families.push(counter(
                format!("execsnoop_series_yielded_{unit}_total"),
                format!(
                    "{what} of a view that were scraped under series evicted since, or counted \
                     before the view existed."
                ),
                yielded,
            ));
        }
        families
    }
}

fn name_and_help(metric: Metric, view: &str, by: &str) -> (String, String) {
    let (what, help) = match metric {
        Metric::Execs => ("execs", "Execs"),
        Metric::CpuSeconds => ("cpu_seconds", "CPU time of processes that were reaped,"),
        Metric::Exits => ("exits", "Processes that exited, by outcome and"),
        Metric::LifetimeSeconds => (
            "lifetime_seconds",
            "Time from fork to exit of processes that exited,",
        ),
        Metric::Failures => ("exec_failures", "Failed execs by error and"),
    };
    let help = match metric {
        Metric::Exits | Metric::Failures => format!("{help} {by}."),
        _ => format!("{help} by {by}."),
    };
    (format!("execsnoop_{what}_by_{view}_total"), help)
}

/// Returns the samples of a metric: one, or one for each outcome, or for each error that has occurred.
/// `start` is that of the series. An error can start later.
fn samples(
    metric: Metric,
    labels: Vec<Pair>,
    counts: &Counts,
    failures: Option<&StartedFailures>,
    start: Option<Timestamp>,
) -> Vec<Sample> {
    let with = |name, value: &str| {
        let mut labels = labels.clone();
        labels.push(pair(name, value));
        labels
    };
    match metric {
        Metric::Execs => vec![count(labels, counts.execs).since(start)],
        Metric::CpuSeconds => vec![value(labels, seconds(counts.cpu_ns)).since(start)],
        Metric::LifetimeSeconds => vec![value(labels, seconds(counts.lifetime_ns)).since(start)],
        Metric::Exits => Outcome::ALL
            .into_iter()
            .zip(counts.exits)
            .map(|(outcome, exits)| count(with("outcome", outcome.name()), exits).since(start))
            .collect(),
        Metric::Failures => failures
            .into_iter()
            .flat_map(StartedFailures::iter)
            .map(|(errno, number, of_error)| {
                let errno = errno.map_or_else(|| OTHER.to_owned(), errno::name);
                let start = start.map(|start| start.max(of_error));
                count(with("errno", &errno), number).since(start)
            })
            .collect(),
    }
}

fn label_pairs(labels: &[Label], values: Vec<String>) -> Vec<Pair> {
    let pairs = labels.iter().zip(values);
    pairs
        .map(|(label, value)| pair(label.to_name(), value))
        .collect()
}

fn label_list(labels: &[Label]) -> String {
    let names: Vec<_> = labels.iter().map(Label::name).collect();
    names.join(", ")
}
