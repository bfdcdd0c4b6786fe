//! The kinds of observation.

use crate::bpf::types;

/// What was observed: `enum kind` of `bpf/execsnoop.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    Exec,
    Failure,
    /// The exit of a process.
    Exit,
    /// The CPU time of a process, which is final when the kernel frees the process.
    CpuTime,
}

impl Kind {
    pub const ALL: [Self; 4] = [Self::Exec, Self::Failure, Self::Exit, Self::CpuTime];

    /// Returns the value of the `event` label in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Exec => "exec",
            Self::Failure => "failure",
            Self::Exit => "exit",
            Self::CpuTime => "cpu_time",
        }
    }

    /// Returns the kind with this value of `subject.kind`.
    pub(super) fn of(kind: u8) -> Option<Self> {
        let is_of = |of: &Self| of.in_kernel() == kind;
        Self::ALL.into_iter().find(is_of)
    }

    /// Returns the value of `subject.kind`.
    pub fn in_kernel(self) -> u8 {
        self.index().to_le_bytes()[0]
    }

    /// The index of the kind's entry in the map of ledgers.
    pub fn index(self) -> u32 {
        match self {
            Self::Exec => types::kind::KIND_EXEC.0,
            Self::Failure => types::kind::KIND_FAILURE.0,
            Self::Exit => types::kind::KIND_EXIT.0,
            Self::CpuTime => types::kind::KIND_CPU_TIME.0,
        }
    }
}
