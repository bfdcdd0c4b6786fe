//! Encodes families in text format 0.0.4, and takes over the families that the `prometheus` crate
//! collects.
//!
//! The encoder of that crate wants a message for each sample of a family, with copies of all labels. The
//! tests compare the two.

use std::borrow::Cow;
use std::fmt::{Result, Write};

use prometheus::proto::{MetricFamily, MetricType};

use super::families::{Family, FamilyKind, Label, Sample, Value};

/// The label of a bucket of a histogram.
const BOUND: &str = "le";

/// Encodes families.
pub fn encode(families: &[Family]) -> Vec<u8> {
    let mut text = String::new();
    for family in families {
        // Writing to a String does not fail.
        let _ = write_family(&mut text, family);
    }
    text.into()
}

fn write_family(text: &mut String, family: &Family) -> Result {
    let name = &family.name;
    let kind = match family.kind {
        FamilyKind::Counter => "counter",
        FamilyKind::Gauge => "gauge",
        FamilyKind::Histogram => "histogram",
    };
    let help = escaped(&family.help, &['\\', '\n']);
    write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n")?;
    for Sample { labels, value, .. } in &family.samples {
        match value {
            Value::Number(number) => write_sample(text, name, "", labels, None, *number)?,
            Value::Histogram(of) => {
                for bucket in &of.buckets {
                    let bound = bucket.upper_bound.to_string();
                    let number = bucket.cumulative_count as f64;
                    write_sample(text, name, "_bucket", labels, Some(&bound), number)?;
                }
                let count = of.count as f64;
                write_sample(text, name, "_bucket", labels, Some("+Inf"), count)?;
                write_sample(text, name, "_sum", labels, None, of.sum)?;
                write_sample(text, name, "_count", labels, None, count)?;
            }
        }
    }
    Ok(())
}

fn write_sample(
    text: &mut String,
    name: &str,
    suffix: &str,
    labels: &[Label],
    bound: Option<&str>,
    value: f64,
) -> Result {
    text.push_str(name);
    text.push_str(suffix);
    let labels = labels.iter().map(|label| (&*label.name, &*label.value));
    let labels = labels.chain(bound.map(|bound| (BOUND, bound)));
    let mut separator = '{';
    for (name, value) in labels {
        text.push(separator);
        text.push_str(name);
        text.push_str("=\"");
        text.push_str(&escaped(value, &['\\', '\n', '"']));
        text.push('"');
        separator = ',';
    }
    if separator == ',' {
        text.push('}');
    }
    writeln!(text, " {value}")
}

/// Returns text in which a backslash is before each of the special characters, and `\n` stands for a
/// newline.
fn escaped<'a>(text: &'a str, special: &[char]) -> Cow<'a, str> {
    if !text.contains(special) {
        return text.into();
    }
    let mut escaped = String::with_capacity(2 * text.len());
    for c in text.chars() {
        if special.contains(&c) {
            escaped.push('\\');
        }
        escaped.push(if c == '\n' { 'n' } else { c });
    }
    escaped.into()
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

#[cfg(test)]
mod tests {
    use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric};
    use prometheus::{Encoder, TextEncoder};
    use proptest::prelude::*;

    use super::*;
    use crate::metrics::families::{self, pair};

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

    fn any_value(kind: FamilyKind) -> BoxedStrategy<Value> {
        if kind != FamilyKind::Histogram {
            return any::<f64>().prop_map(Value::Number).boxed();
        }
        let bucket = (any::<f64>(), any::<u64>());
        let bucket = bucket.prop_filter("finite", |(bound, _)| bound.is_finite());
        let bucket = bucket.prop_map(|(upper_bound, cumulative_count)| families::Bucket {
            upper_bound,
            cumulative_count,
        });
        let histogram = (
            prop::collection::vec(bucket, 0..4),
            any::<u64>(),
            any::<f64>(),
        );
        histogram
            .prop_map(|(buckets, count, sum)| {
                let histogram = families::Histogram {
                    buckets,
                    count,
                    sum,
                };
                Value::Histogram(histogram.into())
            })
            .boxed()
    }

    fn any_family() -> impl Strategy<Value = Family> {
        let kind = prop_oneof![
            Just(FamilyKind::Counter),
            Just(FamilyKind::Gauge),
            Just(FamilyKind::Histogram)
        ];
        kind.prop_flat_map(|kind| {
            let label = ("[a-z_]{1,9}", any::<String>());
            let label = label.prop_map(|(name, value)| pair(name, value));
            let labels = prop::collection::vec(label, 0..4);
            let sample = (labels, any_value(kind)).prop_map(|(labels, value)| Sample {
                labels,
                value,
                start: None,
            });
            let samples = prop::collection::vec(sample, 1..4);
            ("[a-z_]{1,9}", "(.|\n){1,20}", samples).prop_map(move |(name, help, samples)| Family {
                name: name.into(),
                help: help.into(),
                kind,
                samples,
            })
        })
    }

    proptest! {
        #[test]
        fn the_text_is_that_of_the_encoder_of_the_prometheus_crate(family in any_family()) {
            let text = encode(std::slice::from_ref(&family));
            let mut expected = Vec::new();
            TextEncoder::new().encode(&[message(family)], &mut expected).unwrap();
            prop_assert_eq!(String::from_utf8(text), String::from_utf8(expected));
        }
    }
}
