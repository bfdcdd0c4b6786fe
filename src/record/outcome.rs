//! How processes end, as the kernel side classifies it.

use crate::bpf::types;

/// The outcome of a process: `enum outcome` of `bpf/execsnoop.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// Exit status 0.
    Success,
    /// Another exit status.
    Error,
    /// A signal that is neither a crash nor the kernel's OOM killer.
    Signal,
    /// The signal of a fault or of `abort(3)`, or any signal with which a core was dumped.
    Crash,
    /// The kernel's OOM killer.
    Oom,
}

impl Outcome {
    pub const ALL: [Self; 5] = [
        Self::Success,
        Self::Error,
        Self::Signal,
        Self::Crash,
        Self::Oom,
    ];

    /// Returns the value of the `outcome` label.
    pub fn name(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Error => "error",
            Self::Signal => "signal",
            Self::Crash => "crash",
            Self::Oom => "oom",
        }
    }

    /// Returns the position in [`ALL`](Self::ALL).
    pub fn index(self) -> usize {
        self as usize
    }

    /// Returns the outcome of a subject, or None if it is not that of an exit.
    pub fn of(subject: &types::subject) -> Option<Self> {
        let is_of = |outcome: &Self| outcome.in_kernel() == subject.outcome;
        Self::ALL.into_iter().find(is_of)
    }

    /// Returns the value of `subject.outcome`.
    pub fn in_kernel(self) -> u8 {
        let outcome = match self {
            Self::Success => types::outcome::OUTCOME_SUCCESS.0,
            Self::Error => types::outcome::OUTCOME_ERROR.0,
            Self::Signal => types::outcome::OUTCOME_SIGNAL.0,
            Self::Crash => types::outcome::OUTCOME_CRASH.0,
            Self::Oom => types::outcome::OUTCOME_OOM.0,
        };
        outcome.to_le_bytes()[0]
    }
}
