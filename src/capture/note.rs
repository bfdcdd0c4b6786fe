//! What the log says about the selection of hooks.

use tracing::{debug, info, warn};

use super::hook::Refusal;

/// A consequence of the selection that users need to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// The kernel refused a hook, so its group of hooks is not used.
    HookRefused(String),
    /// Attempts are counted instead of execs.
    Classic,
    /// Failed execs are counted for some of the system calls only.
    SomeFailuresOff(String),
    /// Failed execs are not counted.
    FailuresOff(String),
    /// Exits are not counted.
    ExitsOff(String),
    /// CPU time is not counted.
    CpuTimeOff(String),
}

impl Note {
    /// Writes it to the log.
    pub(super) fn log(&self) {
        match self {
            Self::HookRefused(refusal) => info!(refusal, "hook refused by the kernel"),
            Self::Classic => warn!(
                "classic mode: counts attempts to exec, failed ones too, by the path's first 15 \
                 bytes"
            ),
            Self::SomeFailuresOff(refused) => {
                info!(refused, "failed execs of some kinds are not counted");
            }
            Self::FailuresOff(refused) => {
                debug!(refused, "fexit programs refused by the kernel");
                info!(
                    "failed execs are not counted: this kernel does not support fexit programs \
                     (this is not a permission problem); capture.failures = \"tracepoint\" counts \
                     them, but slows every system call, and needs tracefs"
                );
            }
            Self::ExitsOff(refused) => warn!(refused, "exits of processes are not counted"),
            Self::CpuTimeOff(refused) => warn!(refused, "CPU time of processes is not counted"),
        }
    }
}

/// Formats the refusals as one line.
pub(super) fn list(refusals: &[Refusal]) -> String {
    let refusals: Vec<_> = refusals.iter().map(Refusal::to_string).collect();
    refusals.join("; ")
}
