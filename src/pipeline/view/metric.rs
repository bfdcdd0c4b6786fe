//! The metrics of a view.

use serde::{Deserialize, Serialize};

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
}

impl Metric {
    pub const ALL: [Self; 4] = [
        Self::Execs,
        Self::CpuSeconds,
        Self::Exits,
        Self::LifetimeSeconds,
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
        }
    }

    /// Returns whether the kernel side counts this by subject when a process exits.
    pub fn is_of_exits(self) -> bool {
        matches!(self, Self::Exits | Self::LifetimeSeconds)
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|metric| metric.name() == name)
    }
}
