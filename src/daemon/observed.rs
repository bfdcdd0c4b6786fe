//! What the kernel side was started for, which decides what a reload can use.

use crate::config::Config;
use crate::pipeline::view::{Label, Metric};

/// The optional data that the kernel side reads: what the labels and metrics of the configuration at
/// the start need.
#[allow(clippy::struct_excessive_bools)] // independent switches
#[derive(Debug, Clone, Copy)]
pub(super) struct Observed {
    parent_comm: bool,
    cgroup: bool,
    pub(super) exits: bool,
    cpu_time: bool,
    failures: bool,
}

impl Observed {
    pub(super) fn by(config: &Config) -> Self {
        Self {
            parent_comm: config.has_label(|label| *label == Label::ParentComm),
            cgroup: config.has_label(Label::is_of_cgroup),
            exits: config.has_exits(),
            failures: config.has_failures(),
            cpu_time: config.has_metric(|metric| metric == Metric::CpuSeconds),
        }
    }

    pub(super) fn counts(self, metric: Metric) -> bool {
        match metric {
            Metric::Execs => true,
            Metric::CpuSeconds => self.cpu_time,
            Metric::Exits | Metric::LifetimeSeconds => self.exits,
            Metric::Failures => self.failures,
        }
    }

    pub(super) fn has(self, label: &Label) -> bool {
        match label {
            Label::ParentComm => self.parent_comm,
            label => self.cgroup || !label.is_of_cgroup(),
        }
    }
}
