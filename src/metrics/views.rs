//! The families of the views.

use std::collections::HashMap;

use prometheus::proto::{LabelPair, Metric, MetricFamily};

use super::family::{count, counted_as, counter, gauge, pair, value};
use super::{Execs, seconds};
use crate::aggregator::Snapshot;
use crate::event::{Kind, nul_terminated};
use crate::label::{self, OTHER};
use crate::view::{self, Counts, Key, Label, ViewCounts};

impl Execs {
    pub(super) fn views(&self, snapshot: &Snapshot) -> Vec<MetricFamily> {
        let mut families = Vec::new();
        let (mut series, mut limit, mut overflow) = (Vec::new(), Vec::new(), Vec::new());
        for view in &snapshot.views {
            let name = view::name(&view.labels);
            let label = || vec![pair("view", &name)];
            series.push(value(label(), view.series.len() as f64));
            limit.push(value(label(), view.max_series as f64));
            overflow.push(count(label(), view.overflow.execs));

            // The sum over a view is the total: what has no series, for want of a place
            // or of a name, is in the one named `other`, which is there from the start.
            let others = view.labels.iter().map(|l| pair(l.name(), OTHER)).collect();
            let mut rest = Counts {
                execs: snapshot.unattributed,
                cpu_ns: 0,
            };
            rest += view.overflow;
            rest += view.nameless;
            let mut samples = vec![(others, rest)];
            samples.extend(self.series(view));
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
            if self.means.observes(Kind::Exit) {
                families.push(counter(
                    &format!("execsnoop_cpu_seconds_by_{name}_total"),
                    &format!("CPU time of processes that ended, by {by}."),
                    cpu,
                ));
            }
        }
        if !snapshot.views.is_empty() {
            families.push(gauge(
                "execsnoop_series",
                "Series of a view that have a place of their own.",
                series,
            ));
            families.push(gauge(
                "execsnoop_series_limit",
                "How many series of their own a view may have.",
                limit,
            ));
            families.push(counter(
                "execsnoop_series_overflow_total",
                "Execs counted as `other` in a view because all its series were taken.",
                overflow,
            ));
        }
        families
    }

    /// The series of a view. Those that are told apart by something that is no label, the
    /// uid behind a user's name, are one.
    fn series(&self, view: &ViewCounts) -> Vec<(Vec<LabelPair>, Counts)> {
        let labels = &view.labels;
        let series = view.series.iter();
        if !view::is_by_user_alone(labels) {
            return series
                .map(|(key, counts)| (self.label_pairs(labels, key), *counts))
                .collect();
        }
        let mut merged: HashMap<Vec<String>, (Vec<LabelPair>, Counts)> = HashMap::new();
        for (key, counts) in series {
            // Counts that went to another name would go back where they were.
            self.users.keep(key.uid);
            let pairs = self.label_pairs(labels, key);
            let values = pairs.iter().map(|pair| pair.value().to_owned()).collect();
            merged.entry(values).or_insert((pairs, Counts::default())).1 += *counts;
        }
        merged.into_values().collect()
    }

    fn label_pairs(&self, labels: &[Label], key: &Key) -> Vec<LabelPair> {
        labels
            .iter()
            .map(|label| {
                let value = match label {
                    Label::Comm => label::escape(nul_terminated(&key.comm)),
                    Label::ParentComm => label::escape(nul_terminated(&key.parent_comm)),
                    Label::Uid => key.uid.to_string(),
                    Label::User => label::escape(&self.users.name(key.uid)),
                    Label::Unit => label::escape(key.unit.as_deref().unwrap_or_default()),
                    Label::Slice => label::escape(key.slice.as_deref().unwrap_or_default()),
                    Label::Container => label::escape(key.container.as_deref().unwrap_or_default()),
                };
                pair(label.name(), &value)
            })
            .collect()
    }
}

fn label_list(labels: &[Label]) -> String {
    let names: Vec<_> = labels.iter().map(|label| label.name()).collect();
    names.join(", ")
}
