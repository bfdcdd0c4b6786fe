//! What was chosen at the start.

use crate::capture::hook::{self, Hook};
use crate::capture::options::TransportKind;
use crate::record::Kind;

/// The chosen means, for people and for `execsnoop_hook_info`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaptureInfo {
    /// What observes execs, failed execs and exits.
    pub hooks: Vec<Hook>,
    /// How events cross into user space.
    pub transport: TransportKind,
    /// Bytes of the buffers of all CPUs.
    pub buffer_bytes: usize,
}

impl CaptureInfo {
    /// Whether this kind is observed at all.
    pub fn observes(&self, kind: Kind) -> bool {
        self.hooks.iter().any(|hook| hook.kind == kind)
    }

    /// Whether it is attempts that are counted instead of execs.
    pub fn is_classic(&self) -> bool {
        self.hooks.iter().any(|hook| hook::CLASSIC.contains(hook))
    }

    /// The hooks for one kind, for people.
    pub fn list(&self, kind: Kind) -> Option<String> {
        let of_kind = self.hooks.iter().filter(|hook| hook.kind == kind);
        let names: Vec<_> = of_kind.map(Hook::to_string).collect();
        (!names.is_empty()).then(|| names.join(", "))
    }
}
