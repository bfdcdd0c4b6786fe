//! The metrics of a view.

use serde::{Deserialize, Serialize};

use crate::record::Kind;
use crate::sys::clock::Timestamp;

/// When each metric was added to a view, in the order of [`Metric::ALL`]. It is earlier than each series
/// if the view began with the metric.
pub type Added = [Timestamp; Metric::ALL.len()];

/// A metric that a view can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Successful execs.
    Execs,
    /// CPU time of processes that have been reaped.
    CpuSeconds,
    /// Processes that have exited, by outcome.
    Exits,
    /// The sum of their lifetimes.
    LifetimeSeconds,
    /// Failed execs, by error.
    Failures,
}

impl Metric {
    pub const ALL: [Self; 5] = [
        Self::Execs,
        Self::CpuSeconds,
        Self::Exits,
        Self::LifetimeSeconds,
        Self::Failures,
    ];

    /// The metrics of a view that does not name any.
    pub const DEFAULT: [Self; 2] = [Self::Execs, Self::CpuSeconds];

    /// Returns the name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Execs => "execs",
            Self::CpuSeconds => "cpu_seconds",
            Self::Exits => "exits",
            Self::LifetimeSeconds => "lifetime_seconds",
            Self::Failures => "failures",
        }
    }

    /// Returns the kind of observation that is counted.
    pub fn kind(self) -> Kind {
        match self {
            Self::Execs => Kind::Exec,
            Self::CpuSeconds => Kind::CpuTime,
            Self::Exits | Self::LifetimeSeconds => Kind::Exit,
            Self::Failures => Kind::Failure,
        }
    }

    /// Returns the position in [`ALL`](Self::ALL).
    pub(super) fn index(self) -> usize {
        self as usize
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|metric| metric.name() == name)
    }
}
