//! The formats of the metrics. Both contain the same families.

use super::families::Family;
use super::{protobuf, text};

/// A format that a client can ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' text format 0.0.4, which has no start timestamps.
    Text,
    /// Messages `io.prometheus.client.MetricFamily`, each after its length.
    Protobuf,
}

impl Format {
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::Protobuf => {
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; \
                 encoding=delimited"
            }
        }
    }

    pub(super) fn encode(self, families: Vec<Family>) -> Vec<u8> {
        match self {
            Self::Text => text::encode(&families),
            Self::Protobuf => protobuf::encode(families),
        }
    }
}
