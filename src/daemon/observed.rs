//! What the kernel side was started for, which decides what a reload can use.

use std::collections::BTreeSet;

use crate::capture::Input;
use crate::config::Config;
use crate::pipeline::view::{Label, Metric};

/// The optional data that the kernel side reads: what the labels and metrics of the configuration at
/// the start need.
#[allow(clippy::struct_excessive_bools)] // independent switches
#[derive(Debug, Clone)]
pub(super) struct Observed {
    inputs: BTreeSet<Input>,
    pub(super) exits: bool,
    cpu_time: bool,
    failures: bool,
}

impl Observed {
    pub(super) fn by(config: &Config) -> Self {
        Self {
            inputs: inputs(config),
            exits: config.has_exits(),
            failures: config.has_failures(),
            cpu_time: config.has_metric(|metric| metric == Metric::CpuSeconds),
        }
    }

    pub(super) fn counts(&self, metric: Metric) -> bool {
        match metric {
            Metric::Execs => true,
            Metric::CpuSeconds => self.cpu_time,
            Metric::Exits | Metric::LifetimeSeconds => self.exits,
            Metric::Failures => self.failures,
        }
    }

    pub(super) fn has(&self, label: &Label) -> bool {
        input(label).is_none_or(|input| self.inputs.contains(&input))
    }
}

/// Returns what the labels of a configuration need.
pub(super) fn inputs(config: &Config) -> BTreeSet<Input> {
    config
        .labels()
        .filter_map(|(_, label)| input(&label))
        .collect()
}

/// Returns what a label needs in addition to the name and the user, which are always there.
fn input(label: &Label) -> Option<Input> {
    match label {
        Label::Comm | Label::Uid | Label::User => None,
        Label::Exe => Some(Input::Exe),
        Label::ParentComm => Some(Input::ParentComm),
        Label::Loginuid | Label::LoginUser => Some(Input::Loginuid),
        Label::Fact(fact) => Some(Input::Fact(*fact)),
        Label::Unit | Label::Slice | Label::Container | Label::PodUid | Label::Own(_) => {
            Some(Input::Cgroup)
        }
    }
}
