//! The format of the metrics that a client asks for by `Accept`.
//!
//! The rules are those of `expfmt.Negotiate` in Prometheus' client library for Go, which other
//! exporters follow: of the types that the client lists, the first one by weight that can be served is
//! chosen. Wildcards choose nothing, and without a choice the answer is text.

use std::cmp::Reverse;

use axum::http::{HeaderMap, header};
use mediatype::{MediaType, MediaTypeList, Name, ReadParams};

use crate::metrics::Format;

/// Returns the format for a client that sent these headers.
pub(super) fn format(headers: &HeaderMap) -> Format {
    let values = headers.get_all(header::ACCEPT).iter();
    let values = values.filter_map(|value| value.to_str().ok());
    let types = values.flat_map(MediaTypeList::new).filter_map(Result::ok);
    let formats = types.filter_map(|accepted| Some((weight(&accepted)?, served(&accepted)?)));
    // Of several with the same weight, the first one.
    let chosen = formats.min_by_key(|(weight, _)| Reverse(*weight));
    chosen.map_or(Format::Text, |(_, format)| format)
}

/// Returns the weight of a type in thousandths, or `None` if it is 0, which means "not acceptable"
/// (RFC 9110, 12.4.2), or not a number.
fn weight(accepted: &MediaType<'_>) -> Option<u16> {
    let Some(weight) = parameter(accepted, "q") else {
        return Some(1000);
    };
    let weight: f32 = weight.parse().ok()?;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // 0 to 1000
    let thousandths = (weight.clamp(0.0, 1.0) * 1000.0) as u16;
    (thousandths > 0).then_some(thousandths)
}

fn served(accepted: &MediaType<'_>) -> Option<Format> {
    let is_type = |ty: &str, subty: &str| {
        accepted.ty == ty && accepted.subty == subty && accepted.suffix.is_none()
    };
    let is = |name, expected| parameter(accepted, name).as_deref() == Some(expected);
    if is_type("text", "plain") {
        let version = parameter(accepted, "version");
        let is_served = version.is_none_or(|version| version.is_empty() || version == "0.0.4");
        return is_served.then_some(Format::Text);
    }
    let is_served = is_type("application", "vnd.google.protobuf")
        && is("proto", "io.prometheus.client.MetricFamily")
        && is("encoding", "delimited");
    is_served.then_some(Format::Protobuf)
}

fn parameter(accepted: &MediaType<'_>, name: &str) -> Option<String> {
    let value = accepted.get_param(Name::new(name)?)?;
    Some(value.unquoted_str().into_owned())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    const PROTOBUF: &str = "application/vnd.google.protobuf;\
        proto=io.prometheus.client.MetricFamily;encoding=delimited";

    fn format_for(accept: &[&str]) -> Format {
        let values = accept.iter().map(|value| {
            let value = value.replace("PROTOBUF", PROTOBUF);
            (header::ACCEPT, HeaderValue::from_str(&value).unwrap())
        });
        format(&values.collect())
    }

    #[test]
    fn the_format_is_the_first_by_weight_that_can_be_served() {
        use Format::{Protobuf, Text};
        for (accept, expected) in [
            ("PROTOBUF", Protobuf),
            (
                "PROTOBUF;q=0.6,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                Protobuf,
            ),
            ("text/plain;q=0.3,PROTOBUF;q=0.4", Protobuf),
            ("text/plain;version=0.0.4;q=0.6,PROTOBUF;q=0.5", Text),
            ("PROTOBUF;q=0.5,text/plain", Text),
            ("PROTOBUF;q=0.5,text/plain;q=0.5", Protobuf),
            ("text/plain;q=0.5,PROTOBUF;q=0.5", Text),
            // Types that are not served are passed over, whatever their weight.
            (
                "application/openmetrics-text;version=1.0.0,PROTOBUF;q=0.2",
                Protobuf,
            ),
            ("application/openmetrics-text,text/html;q=0.9", Text),
            (
                "text/plain;version=1.0.0;q=0.9,PROTOBUF;q=0.2,text/plain;q=0.1",
                Protobuf,
            ),
            ("text/plain;version=;q=0.9,PROTOBUF;q=0.2", Text),
            // Wildcards are not a choice.
            ("*/*", Text),
            ("application/*", Text),
            ("*/*;q=0.9,PROTOBUF;q=0.1", Protobuf),
            // Of three encodings of protobuf, one is served.
            ("application/vnd.google.protobuf", Text),
            (
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily",
                Text,
            ),
            ("application/vnd.google.protobuf;encoding=delimited", Text),
            (
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=text",
                Text,
            ),
            (
                "application/vnd.google.protobuf;proto=other.MetricFamily;encoding=delimited,PROTOBUF;q=0.1",
                Protobuf,
            ),
            (
                "application/vnd.google.protobuf+json;proto=io.prometheus.client.MetricFamily;encoding=delimited",
                Text,
            ),
            // As written by Prometheus 3.
            (
                "PROTOBUF;escaping=allow-utf-8;q=0.6,text/plain;version=0.0.4;q=0.3",
                Protobuf,
            ),
            // Spaces, quotes and upper case.
            (
                " Application/Vnd.Google.Protobuf ; Proto=\"io.prometheus.client.MetricFamily\" ; encoding=delimited ; Q=0.5 ",
                Protobuf,
            ),
            // Not acceptable, or not a weight.
            ("PROTOBUF;q=0", Text),
            ("PROTOBUF;q=0.000", Text),
            ("PROTOBUF;q=high", Text),
            ("PROTOBUF;q=NaN", Text),
            ("PROTOBUF;q=-1", Text),
            ("PROTOBUF;q=", Text),
            // A type that cannot be parsed does not affect the others.
            ("", Text),
            (",;,text,PROTOBUF,/", Protobuf),
            ("PROTOBUF;", Protobuf),
        ] {
            assert_eq!(format_for(&[accept]), expected, "{accept}");
        }
    }

    #[test]
    fn the_values_of_several_headers_are_one_list() {
        assert_eq!(format_for(&[]), Format::Text);
        assert_eq!(
            format_for(&["text/plain;q=0.5", "PROTOBUF"]),
            Format::Protobuf
        );
        assert_eq!(format_for(&["text/plain", "PROTOBUF;q=0.5"]), Format::Text);
    }
}
