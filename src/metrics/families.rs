//! Builds metric families from the types of the `prometheus` crate.

use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType,
};

/// Removes families without samples and sorts the others as `Registry::gather` does: by name, and
/// within a family by the values of the labels.
pub(super) fn in_order(mut families: Vec<MetricFamily>) -> Vec<MetricFamily> {
    families.retain(|family| !family.get_metric().is_empty());
    families.sort_by(|a, b| a.name().cmp(b.name()));
    for family in &mut families {
        let mut metrics = family.take_metric();
        metrics.sort_by(|a, b| {
            let (a, b) = (a.get_label(), b.get_label());
            let values =
                |labels| <[LabelPair]>::iter(labels).map(prometheus::proto::LabelPair::value);
            a.len().cmp(&b.len()).then_with(|| values(a).cmp(values(b)))
        });
        family.set_metric(metrics);
    }
    families
}

fn family(name: &str, help: &str, kind: MetricType, metrics: Vec<Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(metrics);
    family
}

pub(super) fn counter(name: &str, help: &str, metrics: impl Into<Vec<Metric>>) -> MetricFamily {
    family(name, help, MetricType::COUNTER, metrics.into())
}

pub(super) fn gauge(name: &str, help: &str, metrics: impl Into<Vec<Metric>>) -> MetricFamily {
    family(name, help, MetricType::GAUGE, metrics.into())
}

/// A sample of a counter without labels.
pub(super) fn plain(n: u64) -> Metric {
    count(vec![], n)
}

pub(super) fn count(labels: Vec<LabelPair>, n: u64) -> Metric {
    counted_as(labels, n as f64)
}

pub(super) fn counted_as(labels: Vec<LabelPair>, n: f64) -> Metric {
    let mut counter = Counter::default();
    counter.set_value(n);
    let mut metric = Metric::from_label(labels);
    metric.set_counter(counter);
    metric
}

/// A sample of a gauge.
pub(super) fn value(labels: Vec<LabelPair>, n: f64) -> Metric {
    let mut gauge = Gauge::default();
    gauge.set_value(n);
    let mut metric = Metric::from_label(labels);
    metric.set_gauge(gauge);
    metric
}

pub(super) fn pair(name: &str, value: impl Into<String>) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(value.into());
    pair
}

/// A histogram without labels. `counts` has the number of values in each bucket, not cumulative,
/// and, at the end, the number of values above all bounds.
pub(super) fn histogram(
    name: &str,
    help: &str,
    bounds: &[f64],
    counts: &[u64],
    sum: f64,
) -> MetricFamily {
    let mut cumulative = 0;
    let mut buckets = Vec::with_capacity(bounds.len());
    for (bound, count) in bounds.iter().zip(counts) {
        cumulative += count;
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(*bound);
        bucket.set_cumulative_count(cumulative);
        buckets.push(bucket);
    }
    let mut histogram = Histogram::default();
    histogram.set_bucket(buckets);
    histogram.set_sample_count(counts.iter().sum());
    histogram.set_sample_sum(sum);
    let mut metric = Metric::default();
    metric.set_histogram(histogram);
    family(name, help, MetricType::HISTOGRAM, vec![metric])
}
