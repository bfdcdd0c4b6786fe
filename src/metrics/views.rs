//! The metric families of the views.

use prometheus::proto::{LabelPair, Metric, MetricFamily};

use super::families::{count, counted_as, counter, gauge, pair, value};
use super::{Execs, seconds};
use crate::names::escape::OTHER;
use crate::pipeline::series;
use crate::pipeline::snapshot::Snapshot;
use crate::pipeline::view::{self, Label};
use crate::record::Kind;

impl Execs<'_> {
    pub(super) fn views(&self, snapshot: &Snapshot) -> Vec<MetricFamily> {
        let mut families = Vec::new();
        let (mut series, mut limit, mut overflow) = (Vec::new(), Vec::new(), Vec::new());
        let (mut yielded_execs, mut yielded_cpu) = (Vec::new(), Vec::new());
        for view in &snapshot.views {
            let name = view::name(&view.labels);
            let label = || vec![pair("view", &name)];
            series.push(value(label(), view.series.len() as f64));
            limit.push(value(label(), view.max_series as f64));
            overflow.push(count(label(), view.overflow.execs));
            yielded_execs.push(count(label(), view.yielded.execs));
            yielded_cpu.push(counted_as(label(), seconds(view.yielded.cpu_ns)));

            // `other` exists from the start.
            let others = vec![OTHER.to_owned(); view.labels.len()];
            let mut samples = vec![(others, series::other(view, snapshot))];
            samples.extend(series::series(view, self.names));
            let samples = samples
                .into_iter()
                .map(|(values, counts)| (label_pairs(&view.labels, values), counts));
            let samples: Vec<_> = samples.collect();
            let cpu = samples
                .iter()
                .map(|(labels, counts)| counted_as(labels.clone(), seconds(counts.cpu_ns)));
            let cpu: Vec<Metric> = cpu.collect();
            let execs = samples
                .into_iter()
                .map(|(labels, counts)| count(labels, counts.execs));
            let execs: Vec<Metric> = execs.collect();
            let by = label_list(&view.labels);
            families.push(counter(
                &format!("execsnoop_execs_by_{name}_total"),
                &format!("Execs by {by}."),
                execs,
            ));
            if self.capture_info.observes(Kind::CpuTime) {
                families.push(counter(
                    &format!("execsnoop_cpu_seconds_by_{name}_total"),
                    &format!("CPU time of processes that were reaped, by {by}."),
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

fn label_pairs(labels: &[Label], values: Vec<String>) -> Vec<LabelPair> {
    let pairs = labels.iter().zip(values);
    pairs
        .map(|(label, value)| pair(label.name(), value))
        .collect()
}

fn label_list(labels: &[Label]) -> String {
    let names: Vec<_> = labels.iter().map(|label| label.name()).collect();
    names.join(", ")
}
