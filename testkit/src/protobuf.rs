//! Decodes the protobuf format of the metrics. It reads the wire format itself, so that tests do not
//! depend on the messages that the daemon encodes with.

use std::collections::BTreeMap;
use std::fmt::Write;

/// The `Accept` header with which a client asks for this format.
pub const ACCEPT: &str = "Accept: application/vnd.google.protobuf;\
    proto=io.prometheus.client.MetricFamily;encoding=delimited\r\n";

/// What an answer contains.
#[derive(Debug, Default)]
pub struct Decoded {
    /// The same in the text format.
    pub text: String,
    /// The start timestamps by sample, in milliseconds since the Unix epoch. A sample is written as
    /// in the text format; a histogram is its name and labels.
    pub starts: BTreeMap<String, u64>,
}

impl Decoded {
    /// Decodes an answer. Panics if it contains anything that the daemon does not write.
    #[track_caller]
    pub fn of(mut bytes: &[u8]) -> Self {
        let mut decoded = Self::default();
        while !bytes.is_empty() {
            let length = usize::try_from(varint(&mut bytes)).unwrap();
            let (family, rest) = bytes.split_at(length);
            decoded.add(&Message::of(family));
            bytes = rest;
        }
        decoded
    }

    /// The start timestamp of a sample. Panics if it has none.
    #[track_caller]
    pub fn start(&self, sample: &str) -> u64 {
        *self
            .starts
            .get(sample)
            .unwrap_or_else(|| panic!("{sample} has no start"))
    }

    fn add(&mut self, family: &Message<'_>) {
        family.assert_only(&[1, 2, 3, 4]);
        let name = family.text(1);
        let kind = match family.number(3) {
            0 => "counter",
            1 => "gauge",
            4 => "histogram",
            other => panic!("type {other}"),
        };
        let help = escaped(family.text(2)).replace("\\\"", "\"");
        let out = &mut self.text;
        write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n").unwrap();
        for metric in family.messages(4) {
            let labels = metric.messages(1).map(|label| {
                label.assert_only(&[1, 2]);
                format!("{}=\"{}\"", label.text(1), escaped(label.text(2)))
            });
            let labels: Vec<_> = labels.collect();
            let series = format!("{name}{}", in_braces(&labels));
            let start = match kind {
                "counter" | "gauge" => {
                    let (field, fields) = if kind == "counter" {
                        (3, &[1, 3][..])
                    } else {
                        (2, &[1][..])
                    };
                    metric.assert_only(&[1, field]);
                    let value = metric.message(field);
                    value.assert_only(fields);
                    writeln!(out, "{series} {}", value.double(1)).unwrap();
                    value.find(3)
                }
                _ => {
                    metric.assert_only(&[1, 7]);
                    let histogram = metric.message(7);
                    write_histogram(out, name, &labels, &histogram);
                    histogram.find(15)
                }
            };
            if let Some(Field::Bytes(start)) = start {
                self.starts
                    .insert(series, milliseconds(&Message::of(start)));
            }
        }
    }
}

fn write_histogram(out: &mut String, name: &str, labels: &[String], histogram: &Message<'_>) {
    histogram.assert_only(&[1, 2, 3, 15]);
    let (count, sum) = (histogram.number(1), histogram.double(2));
    let buckets = histogram.messages(3).map(|bucket| {
        bucket.assert_only(&[1, 2]);
        (bucket.double(2).to_string(), bucket.number(1))
    });
    for (bound, count) in buckets.chain([("+Inf".to_owned(), count)]) {
        let labels = [labels, &[format!("le=\"{bound}\"")]].concat();
        writeln!(out, "{name}_bucket{} {count}", in_braces(&labels)).unwrap();
    }
    let labels = in_braces(labels);
    write!(
        out,
        "{name}_sum{labels} {sum}\n{name}_count{labels} {count}\n"
    )
    .unwrap();
}

fn in_braces(labels: &[String]) -> String {
    if labels.is_empty() {
        String::new()
    } else {
        format!("{{{}}}", labels.join(","))
    }
}

fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\\\").replace('\n', "\\n");
    text.replace('"', "\\\"")
}

/// The milliseconds of a `google.protobuf.Timestamp`.
fn milliseconds(timestamp: &Message<'_>) -> u64 {
    let number = |field| match timestamp.find(field) {
        Some(Field::Varint(number)) => number,
        // A field of 0 is left out.
        _ => 0,
    };
    number(1) * 1000 + number(2) / 1_000_000
}

#[derive(Debug, Clone, Copy)]
enum Field<'a> {
    Varint(u64),
    Fixed(u64),
    Bytes(&'a [u8]),
}

/// The fields of a message in their order, by number.
#[derive(Debug)]
struct Message<'a>(Vec<(u64, Field<'a>)>);

impl<'a> Message<'a> {
    #[track_caller]
    fn of(mut bytes: &'a [u8]) -> Self {
        let mut fields = Vec::new();
        while !bytes.is_empty() {
            let tag = varint(&mut bytes);
            let field = match tag & 7 {
                0 => Field::Varint(varint(&mut bytes)),
                1 => {
                    let (fixed, rest) = bytes.split_first_chunk().expect("eight bytes");
                    bytes = rest;
                    Field::Fixed(u64::from_le_bytes(*fixed))
                }
                2 => {
                    let length = usize::try_from(varint(&mut bytes)).unwrap();
                    let (field, rest) = bytes.split_at(length);
                    bytes = rest;
                    Field::Bytes(field)
                }
                other => panic!("wire type {other}"),
            };
            fields.push((tag >> 3, field));
        }
        Self(fields)
    }

    #[track_caller]
    fn assert_only(&self, numbers: &[u64]) {
        for (number, field) in &self.0 {
            assert!(numbers.contains(number), "field {number}: {field:?}");
        }
    }

    fn find(&self, number: u64) -> Option<Field<'a>> {
        let mut fields = self.0.iter().filter(|(of, _)| *of == number);
        let field = fields.next().map(|(_, field)| *field);
        assert!(fields.next().is_none(), "field {number} is repeated");
        field
    }

    #[track_caller]
    fn number(&self, number: u64) -> u64 {
        match self.find(number) {
            Some(Field::Varint(value)) => value,
            other => panic!("field {number}: {other:?}"),
        }
    }

    #[track_caller]
    fn double(&self, number: u64) -> f64 {
        match self.find(number) {
            Some(Field::Fixed(bits)) => f64::from_bits(bits),
            other => panic!("field {number}: {other:?}"),
        }
    }

    #[track_caller]
    fn text(&self, number: u64) -> &'a str {
        match self.find(number) {
            Some(Field::Bytes(bytes)) => std::str::from_utf8(bytes).expect("UTF-8"),
            other => panic!("field {number}: {other:?}"),
        }
    }

    #[track_caller]
    fn message(&self, number: u64) -> Self {
        match self.find(number) {
            Some(Field::Bytes(bytes)) => Self::of(bytes),
            other => panic!("field {number}: {other:?}"),
        }
    }

    fn messages(&self, number: u64) -> impl Iterator<Item = Self> {
        let fields = self.0.iter().filter(move |(of, _)| *of == number);
        fields.map(move |(_, field)| match field {
            Field::Bytes(bytes) => Self::of(bytes),
            other => panic!("field {number}: {other:?}"),
        })
    }
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first().expect("the varint ends");
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return value;
        }
    }
    panic!("a varint of more than ten bytes");
}
