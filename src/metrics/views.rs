//! The metric families of the views.

use super::families::{Family, Label as Pair, count, counter, gauge, pair, value};
use super::{Execs, seconds};
use crate::names::escape::OTHER;
use crate::pipeline::series::{self, Series};
use crate::pipeline::snapshot::Snapshot;
use crate::pipeline::view::{self, Label};
use crate::record::Kind;

impl Execs<'_> {
    pub(super) fn views(&self, snapshot: &Snapshot) -> Vec<Family> {
        let mut families = Vec::new();
        let (mut series, mut limit, mut overflow) = (Vec::new(), Vec::new(), Vec::new());
        let (mut yielded_execs, mut yielded_cpu) = (Vec::new(), Vec::new());
        for view in &snapshot.views {
            let name = view::name(&view.labels);
            let label = || vec![pair("view", &name)];
            series.push(value(label(), view.series.len() as f64));
            limit.push(value(label(), view.max_series as f64));
            overflow.push(count(label(), view.overflow.execs).since(view.start));
            yielded_execs.push(count(label(), view.yielded.execs));
            yielded_cpu.push(value(label(), seconds(view.yielded.cpu_ns)));

            // `other` exists from the start.
            let mut all = vec![Series {
                values: vec![OTHER.to_owned(); view.labels.len()],
                counts: series::other(view, snapshot),
                start: Some(view.start),
            }];
            all.extend(series::series(view, self.names));
            let pairs = |series: &Series| label_pairs(&view.labels, series.values.clone());
            let cpu = all.iter().map(|series| {
                let sample = value(pairs(series), seconds(series.counts.cpu_ns));
                sample.since(series.start)
            });
            let cpu: Vec<_> = cpu.collect();
            let execs = all.into_iter().map(|series| {
                let labels = label_pairs(&view.labels, series.values);
                count(labels, series.counts.execs).since(series.start)
            });
            let execs: Vec<_> = execs.collect();
            let by = label_list(&view.labels);
            families.push(counter(
                format!("execsnoop_execs_by_{name}_total"),
                format!("Execs by {by}."),
                execs,
            ));
            if self.capture_info.observes(Kind::CpuTime) {
                families.push(counter(
                    format!("execsnoop_cpu_seconds_by_{name}_total"),
                    format!("CPU time of processes that were reaped, by {by}."),
                    cpu,
                ));
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
                "Execs counted as `other` in a view because all its slots were taken.",
                overflow,
            ));
            families.push(counter(
                "execsnoop_series_yielded_execs_total",
                "Execs of a view that were scraped under series evicted since, or counted before the view existed.",
                yielded_execs,
            ));
            if self.capture_info.observes(Kind::CpuTime) {
                families.push(counter(
                    "execsnoop_series_yielded_cpu_seconds_total",
                    "CPU time of a view that was scraped under series evicted since, or counted before the view existed.",
                    yielded_cpu,
                ));
            }
        }
        families
    }
}

fn label_pairs(labels: &[Label], values: Vec<String>) -> Vec<Pair> {
    let pairs = labels.iter().zip(values);
    pairs
        .map(|(label, value)| pair(label.name(), value))
        .collect()
}

fn label_list(labels: &[Label]) -> String {
    let names: Vec<_> = labels.iter().map(|label| label.name()).collect();
    names.join(", ")
}
