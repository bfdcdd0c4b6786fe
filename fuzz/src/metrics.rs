//! The protobuf format of the metrics: the `protobuf` crate, with messages that it generates from
//! `metrics.proto`, decodes what the daemon encodes.

use std::collections::BTreeMap;

use execsnoopd::metrics::families::{Bucket, Family, FamilyKind, Histogram, Label, Sample, Value};
use execsnoopd::metrics::protobuf::encode;
use execsnoopd::sys::clock::Timestamp;
use protobuf::{CodedInputStream, Message, MessageField};

#[allow(clippy::pedantic)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/generated/mod.rs"));
}

use self::generated::metrics as proto;

/// Reads any bytes as metrics in the text format, encodes them, and compares what another library
/// decodes.
pub fn check(bytes: &[u8]) {
    let families = families(&String::from_utf8_lossy(bytes));
    let encoded = encode(families.clone());
    let mut input = CodedInputStream::from_bytes(&encoded);
    for family in &families {
        let decoded: proto::MetricFamily = input.read_message().expect("a message");
        compare(family, &decoded);
    }
    assert!(input.eof().expect("bytes in memory"));
}

fn compare(family: &Family, decoded: &proto::MetricFamily) {
    assert_no_more(decoded);
    assert_eq!(decoded.name.as_deref(), Some(&*family.name));
    assert_eq!(decoded.help.as_deref(), Some(&*family.help));
    let kind = match family.kind {
        FamilyKind::Counter => proto::MetricType::COUNTER,
        FamilyKind::Gauge => proto::MetricType::GAUGE,
        FamilyKind::Histogram => proto::MetricType::HISTOGRAM,
    };
    assert_eq!(decoded.type_.map(|kind| kind.enum_value()), Some(Ok(kind)));
    assert_eq!(decoded.metric.len(), family.samples.len());
    for (sample, metric) in family.samples.iter().zip(&decoded.metric) {
        assert_no_more(metric);
        let labels = metric.label.iter().map(|pair| {
            assert_no_more(pair);
            (pair.name.as_deref(), pair.value.as_deref())
        });
        let expected = sample.labels.iter();
        let expected = expected.map(|label| (Some(&*label.name), Some(&*label.value)));
        assert!(labels.eq(expected));
        assert_eq!(metric.counter.is_some(), family.kind == FamilyKind::Counter);
        assert_eq!(metric.gauge.is_some(), family.kind == FamilyKind::Gauge);
        assert_eq!(
            metric.histogram.is_some(),
            family.kind == FamilyKind::Histogram
        );
        match &sample.value {
            Value::Number(value) => {
                let (decoded, start) = match (metric.counter.as_ref(), metric.gauge.as_ref()) {
                    (Some(counter), None) => {
                        assert_no_more(counter);
                        (counter.value, start(&counter.start_timestamp))
                    }
                    (_, gauge) => {
                        let gauge = gauge.expect("a gauge");
                        assert_no_more(gauge);
                        (gauge.value, None)
                    }
                };
                // NaN is a value, too.
                assert_eq!(decoded.map(f64::to_bits), Some(value.to_bits()));
                let expected = sample.start.filter(|_| family.kind == FamilyKind::Counter);
                assert_eq!(start, expected);
            }
            Value::Histogram(of) => compare_histogram(of, sample.start, &metric.histogram),
        }
    }
}

fn compare_histogram(of: &Histogram, started: Option<Timestamp>, decoded: &proto::Histogram) {
    assert_no_more(decoded);
    assert_eq!(decoded.sample_count, Some(of.count));
    assert_eq!(decoded.sample_sum.map(f64::to_bits), Some(of.sum.to_bits()));
    assert_eq!(start(&decoded.start_timestamp), started);
    let buckets = decoded.bucket.iter().map(|bucket| {
        assert_no_more(bucket);
        (
            bucket.cumulative_count,
            bucket.upper_bound.map(f64::to_bits),
        )
    });
    let expected = of.buckets.iter();
    let expected = expected.map(|bucket| {
        (
            Some(bucket.cumulative_count),
            Some(bucket.upper_bound.to_bits()),
        )
    });
    assert!(buckets.eq(expected));
}

fn start(decoded: &MessageField<proto::Timestamp>) -> Option<Timestamp> {
    let decoded = decoded.as_ref()?;
    assert_no_more(decoded);
    let (seconds, nanos) = (decoded.seconds(), decoded.nanos());
    assert!((0..1_000_000_000).contains(&nanos) && nanos % 1_000_000 == 0);
    let ms = i128::from(seconds) * 1000 + i128::from(nanos / 1_000_000);
    Some(Timestamp::from_unix_ms(
        u64::try_from(ms).expect("after 1970"),
    ))
}

/// Asserts that a message has no fields that the other library does not know.
fn assert_no_more(message: &impl Message) {
    assert_eq!(message.special_fields().unknown_fields().iter().count(), 0);
}

/// Reads lines of the text format leniently. The time of a sample, in milliseconds, is taken as the
/// start of its series. All samples of a family of histograms are those of one histogram.
fn families(text: &str) -> Vec<Family> {
    let mut helps = BTreeMap::new();
    let mut families: Vec<Family> = Vec::new();
    for line in text.lines() {
        if let Some((name, help)) = described(line, "# HELP ") {
            helps.insert(name, help);
        } else if let Some((name, kind)) = described(line, "# TYPE ") {
            families.push(Family {
                name: name.to_owned().into(),
                help: helps.remove(name).unwrap_or_default().to_owned().into(),
                kind: match kind {
                    "counter" => FamilyKind::Counter,
                    "histogram" => FamilyKind::Histogram,
                    _ => FamilyKind::Gauge,
                },
                samples: Vec::new(),
            });
        } else if let Some(family) = families.last_mut() {
            add_sample(family, line);
        }
    }
    families
}

fn described<'a>(line: &'a str, prefix: &str) -> Option<(&'a str, &'a str)> {
    let rest = line.strip_prefix(prefix)?;
    Some(rest.split_once(' ').unwrap_or((rest, "")))
}

fn add_sample(family: &mut Family, line: &str) {
    let (name, rest) = line.split_once('{').unwrap_or(("", line));
    let (labels, numbers) = rest.rsplit_once('}').unwrap_or(("", rest));
    let mut numbers = numbers.split(' ').filter(|word| !word.is_empty());
    if labels.is_empty() && name.is_empty() {
        numbers.next(); // the name
    }
    let value = numbers.next().and_then(|word| word.parse().ok());
    let value: f64 = value.unwrap_or_default();
    let start = numbers.next().and_then(|word| word.parse().ok());
    let start = start.map(Timestamp::from_unix_ms);
    let labels = labels.split(',').filter_map(|label| {
        let (name, value) = label.split_once('=')?;
        Some(Label {
            name: name.to_owned().into(),
            value: value.trim_matches('"').into(),
        })
    });
    let labels: Vec<_> = labels.collect();
    if family.kind != FamilyKind::Histogram {
        family.samples.push(Sample {
            labels,
            value: Value::Number(value),
            start,
        });
        return;
    }
    if family.samples.is_empty() {
        family.samples.push(Sample {
            labels: Vec::new(),
            value: Value::Histogram(Box::default()),
            start,
        });
    }
    let Value::Histogram(histogram) = &mut family.samples[0].value else {
        unreachable!("a histogram");
    };
    let bound = labels.iter().find(|label| label.name == "le");
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // any count will do
    match bound.and_then(|label| label.value.parse().ok()) {
        Some(upper_bound) => histogram.buckets.push(Bucket {
            upper_bound,
            cumulative_count: value as u64,
        }),
        None if name.ends_with("_sum") => histogram.sum = value,
        None => histogram.count = value as u64,
    }
}
