//! What was selected at the start.

use crate::capture::hook::{self, Hook};
use crate::capture::options::TransportKind;
use crate::record::Kind;

/// The hooks and the transport in use, as in `execsnoop_hook_info` and the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaptureInfo {
    pub hooks: Vec<Hook>,
    pub transport: TransportKind,
    /// The size of the buffer in bytes, summed over all CPUs.
    pub buffer_bytes: usize,
}

impl CaptureInfo {
    pub fn observes(&self, kind: Kind) -> bool {
        self.hooks.iter().any(|hook| hook.kind == kind)
    }

    /// Whether attempts are counted instead of execs.
    pub fn is_classic(&self) -> bool {
        self.hooks.iter().any(|hook| hook::CLASSIC.contains(hook))
    }

    /// Whether the hook for execs shows the file that is executed.
    pub fn shows_file(&self) -> bool {
        self.hooks.iter().any(Hook::shows_file)
    }

    /// The hooks for one kind, separated by commas. None if there are none.
    pub fn list(&self, kind: Kind) -> Option<String> {
        let of_kind = self.hooks.iter().filter(|hook| hook.kind == kind);
        let names: Vec<_> = of_kind.map(Hook::to_string).collect();
        (!names.is_empty()).then(|| names.join(", "))
    }
}
