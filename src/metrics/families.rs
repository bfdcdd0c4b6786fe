//! Metric families, which each format encodes in its way.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::sync::Arc;

use crate::sys::clock::Timestamp;

/// A metric: its name, help text and type, and its samples.
#[derive(Debug, Clone, PartialEq)]
pub struct Family {
    pub name: Cow<'static, str>,
    pub help: Cow<'static, str>,
    pub kind: FamilyKind,
    pub samples: Vec<Sample>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FamilyKind {
    Counter,
    Gauge,
    Histogram,
}

/// The value of a series of a family.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    pub labels: Vec<Label>,
    pub value: Value,
    /// When a counter or a histogram was 0 for the last time.
    pub start: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    pub name: Cow<'static, str>,
    /// Shared by the samples of a series in all metrics of a view.
    pub value: Arc<str>,
}

/// The value of a sample: a histogram in a family of histograms, else a number.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Number(f64),
    /// Boxed, because most samples are numbers.
    Histogram(Box<Histogram>),
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Histogram {
    /// In ascending order of the bounds. The bucket without a bound is left out.
    pub buckets: Vec<Bucket>,
    pub count: u64,
    pub sum: f64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bucket {
    pub upper_bound: f64,
    /// The number of values up to this bound, including those in the buckets before.
    pub cumulative_count: u64,
}

impl Family {
    /// Sets the start of the samples, unless some have one already. Gauges do not start.
    #[must_use]
    pub(super) fn since(mut self, start: Timestamp) -> Self {
        let has_start = self.samples.iter().any(|sample| sample.start.is_some());
        if self.kind != FamilyKind::Gauge && !has_start {
            for sample in &mut self.samples {
                sample.start = Some(start);
            }
        }
        self
    }
}

impl Sample {
    fn new(labels: Vec<Label>, value: Value) -> Self {
        Self {
            labels,
            value,
            start: None,
        }
    }

    #[must_use]
    pub(super) fn since(self, start: impl Into<Option<Timestamp>>) -> Self {
        Self {
            start: start.into(),
            ..self
        }
    }
}

/// Removes families without samples and sorts the others as `Registry::gather` of the `prometheus`
/// crate does: by name, and within a family by the values of the labels.
pub(super) fn in_order(mut families: Vec<Family>) -> Vec<Family> {
    families.retain(|family| !family.samples.is_empty());
    families.sort_by(|a, b| a.name.cmp(&b.name));
    for family in &mut families {
        let samples = &mut family.samples;
        samples.sort_by(|a, b| in_order_of_values(&a.labels, &b.labels));
    }
    families
}

/// Compares samples of a family by the values of their labels.
pub(super) fn in_order_of_values(a: &[Label], b: &[Label]) -> Ordering {
    let by_number = a.len().cmp(&b.len());
    by_number.then_with(|| {
        let [a, b] = [a, b].map(|labels| labels.iter().map(|label| &label.value));
        a.cmp(b)
    })
}

fn family(
    name: impl Into<Cow<'static, str>>,
    help: impl Into<Cow<'static, str>>,
    kind: FamilyKind,
    samples: Vec<Sample>,
) -> Family {
    Family {
        name: name.into(),
        help: help.into(),
        kind,
        samples,
    }
}

pub(super) fn counter(
    name: impl Into<Cow<'static, str>>,
    help: impl Into<Cow<'static, str>>,
    samples: impl Into<Vec<Sample>>,
) -> Family {
    family(name, help, FamilyKind::Counter, samples.into())
}

pub(super) fn gauge(
    name: &'static str,
    help: &'static str,
    samples: impl Into<Vec<Sample>>,
) -> Family {
    family(name, help, FamilyKind::Gauge, samples.into())
}

/// A sample of a counter without labels.
pub(super) fn plain(n: u64) -> Sample {
    count(vec![], n)
}

pub(super) fn count(labels: Vec<Label>, n: u64) -> Sample {
    value(labels, n as f64)
}

/// A sample of a counter or a gauge.
pub(super) fn value(labels: Vec<Label>, n: f64) -> Sample {
    Sample::new(labels, Value::Number(n))
}

pub(super) fn pair(name: impl Into<Cow<'static, str>>, value: impl Into<Arc<str>>) -> Label {
    Label {
        name: name.into(),
        value: value.into(),
    }
}

/// A histogram without labels. `counts` has the number of values in each bucket, not cumulative,
/// and, at the end, the number of values above all bounds.
pub(super) fn histogram(
    name: &'static str,
    help: &'static str,
    bounds: &[f64],
    counts: &[u64],
    sum: f64,
) -> Family {
    let mut cumulative_count = 0;
    let buckets = bounds.iter().zip(counts).map(|(bound, count)| {
        cumulative_count += count;
        Bucket {
            upper_bound: *bound,
            cumulative_count,
        }
    });
    let histogram = Histogram {
        buckets: buckets.collect(),
        count: counts.iter().sum(),
        sum,
    };
    let sample = Sample::new(vec![], Value::Histogram(histogram.into()));
    family(name, help, FamilyKind::Histogram, vec![sample])
}

/// Converts nanoseconds to seconds, the unit of Prometheus.
pub(super) fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}
