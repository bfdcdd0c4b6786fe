//! Encodes families as `io.prometheus.client.MetricFamily` messages.
//!
//! The messages are those of `io/prometheus/client/metrics.proto` in `prometheus/client_model`, with
//! the fields that the daemon writes. A field that is `required` here is optional there. It is always
//! written, as `client_golang` does it, even if its value is 0.

use prost::{Enumeration, Message};

use super::families::{self, Family, FamilyKind, Sample, Value};
use crate::sys::clock;

#[derive(Clone, PartialEq, Message)]
struct MetricFamily {
    #[prost(string, required, tag = "1")]
    name: String,
    #[prost(string, required, tag = "2")]
    help: String,
    #[prost(enumeration = "MetricType", required, tag = "3")]
    r#type: i32,
    #[prost(message, repeated, tag = "4")]
    metric: Vec<Metric>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Enumeration)]
enum MetricType {
    Counter = 0,
    Gauge = 1,
    Histogram = 4,
}

#[derive(Clone, PartialEq, Message)]
struct Metric {
    #[prost(message, repeated, tag = "1")]
    label: Vec<LabelPair>,
    #[prost(message, optional, tag = "2")]
    gauge: Option<Gauge>,
    #[prost(message, optional, tag = "3")]
    counter: Option<Counter>,
    #[prost(message, optional, tag = "7")]
    histogram: Option<Histogram>,
}

#[derive(Clone, PartialEq, Message)]
struct LabelPair {
    #[prost(string, required, tag = "1")]
    name: String,
    #[prost(string, required, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct Gauge {
    #[prost(double, required, tag = "1")]
    value: f64,
}

#[derive(Clone, PartialEq, Message)]
struct Counter {
    #[prost(double, required, tag = "1")]
    value: f64,
    #[prost(message, optional, tag = "3")]
    start_timestamp: Option<Timestamp>,
}

#[derive(Clone, PartialEq, Message)]
struct Histogram {
    #[prost(uint64, required, tag = "1")]
    sample_count: u64,
    #[prost(double, required, tag = "2")]
    sample_sum: f64,
    #[prost(message, repeated, tag = "3")]
    bucket: Vec<Bucket>,
    #[prost(message, optional, tag = "15")]
    start_timestamp: Option<Timestamp>,
}

#[derive(Clone, PartialEq, Message)]
struct Bucket {
    #[prost(uint64, required, tag = "1")]
    cumulative_count: u64,
    #[prost(double, required, tag = "2")]
    upper_bound: f64,
}

/// `google.protobuf.Timestamp`.
#[derive(Clone, PartialEq, Message)]
struct Timestamp {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

/// Encodes families, each after its length.
pub fn encode(families: Vec<Family>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for family in families {
        bytes.extend(message(family).encode_length_delimited_to_vec());
    }
    bytes
}

fn message(family: Family) -> MetricFamily {
    let kind = match family.kind {
        FamilyKind::Counter => MetricType::Counter,
        FamilyKind::Gauge => MetricType::Gauge,
        FamilyKind::Histogram => MetricType::Histogram,
    };
    let samples = family.samples.into_iter();
    MetricFamily {
        name: family.name.into_owned(),
        help: family.help.into_owned(),
        r#type: kind.into(),
        metric: samples.map(|sample| metric(kind, sample)).collect(),
    }
}

fn metric(kind: MetricType, sample: Sample) -> Metric {
    let labels = sample.labels.into_iter().map(|label| LabelPair {
        name: label.name.into_owned(),
        value: (*label.value).to_owned(),
    });
    let mut metric = Metric {
        label: labels.collect(),
        ..Metric::default()
    };
    let start_timestamp = sample.start.map(timestamp);
    match sample.value {
        Value::Number(value) if kind == MetricType::Counter => {
            metric.counter = Some(Counter {
                value,
                start_timestamp,
            });
        }
        Value::Number(value) => metric.gauge = Some(Gauge { value }),
        Value::Histogram(of) => metric.histogram = Some(histogram(&of, start_timestamp)),
    }
    metric
}

fn histogram(of: &families::Histogram, start_timestamp: Option<Timestamp>) -> Histogram {
    let buckets = of.buckets.iter().map(|bucket| Bucket {
        cumulative_count: bucket.cumulative_count,
        upper_bound: bucket.upper_bound,
    });
    Histogram {
        sample_count: of.count,
        sample_sum: of.sum,
        bucket: buckets.collect(),
        start_timestamp,
    }
}

#[allow(clippy::cast_possible_wrap, clippy::cast_possible_truncation)] // below 2^61 and 10^9
fn timestamp(of: clock::Timestamp) -> Timestamp {
    Timestamp {
        seconds: (of.unix_ms() / 1000) as i64,
        nanos: (of.unix_ms() % 1000 * 1_000_000) as i32,
    }
}
