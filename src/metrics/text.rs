//! Encodes families in text format 0.0.4 with the `prometheus` crate, and takes over the families
//! that this crate collects.

use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType,
};
use prometheus::{Encoder, TextEncoder};

use super::families::{Family, FamilyKind, Label, Sample, Value};

/// Encodes families. Fails if one has no name or no samples.
pub fn encode(families: Vec<Family>) -> prometheus::Result<Vec<u8>> {
    let mut text = Vec::new();
    for family in families {
        TextEncoder::new().encode(&[message(family)], &mut text)?;
    }
    Ok(text)
}

fn message(family: Family) -> MetricFamily {
    let kind = family.kind;
    let mut message = MetricFamily::default();
    message.set_name(family.name.into_owned());
    message.set_help(family.help.into_owned());
    message.set_field_type(match kind {
        FamilyKind::Counter => MetricType::COUNTER,
        FamilyKind::Gauge => MetricType::GAUGE,
        FamilyKind::Histogram => MetricType::HISTOGRAM,
    });
    let metrics = family.samples.into_iter();
    message.set_metric(metrics.map(|sample| metric(kind, sample)).collect());
    message
}

fn metric(kind: FamilyKind, sample: Sample) -> Metric {
    let labels = sample.labels.into_iter().map(|label| {
        let mut pair = LabelPair::default();
        pair.set_name(label.name.into_owned());
        pair.set_value((*label.value).to_owned());
        pair
    });
    let mut metric = Metric::from_label(labels.collect());
    match sample.value {
        Value::Number(n) if kind == FamilyKind::Counter => {
            let mut counter = Counter::default();
            counter.set_value(n);
            metric.set_counter(counter);
        }
        Value::Number(n) => {
            let mut gauge = Gauge::default();
            gauge.set_value(n);
            metric.set_gauge(gauge);
        }
        Value::Histogram(of) => {
            let buckets = of.buckets.iter().map(|bucket| {
                let mut message = Bucket::default();
                message.set_upper_bound(bucket.upper_bound);
                message.set_cumulative_count(bucket.cumulative_count);
                message
            });
            let mut histogram = Histogram::default();
            histogram.set_bucket(buckets.collect());
            histogram.set_sample_count(of.count);
            histogram.set_sample_sum(of.sum);
            metric.set_histogram(histogram);
        }
    }
    metric
}

/// Returns a counter or a gauge that the `prometheus` crate has collected.
pub(super) fn collected(family: &MetricFamily) -> Family {
    let is_counter = family.get_field_type() == MetricType::COUNTER;
    let samples = family.get_metric().iter().map(|metric| {
        let labels = metric.get_label().iter().map(|pair| Label {
            name: pair.name().to_owned().into(),
            value: pair.value().into(),
        });
        let value = if is_counter {
            metric.get_counter().get_value()
        } else {
            metric.get_gauge().get_value()
        };
        Sample {
            labels: labels.collect(),
            value: Value::Number(value),
            start: None,
        }
    });
    Family {
        name: family.name().to_owned().into(),
        help: family.help().to_owned().into(),
        kind: if is_counter {
            FamilyKind::Counter
        } else {
            FamilyKind::Gauge
        },
        samples: samples.collect(),
    }
}
