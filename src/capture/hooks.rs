//! Which program observes what, and in which order they are tried.
//!
//! A hook is chosen by loading and attaching it, never by the kernel's version.

use libbpf_rs::ProgramMut;

use crate::bpf::{ExecsnoopProgs, OpenExecsnoopProgs};

/// A program that observes successful execs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExecHook {
    /// `tp_btf/sched_process_exec`: reached by a trampoline.
    TpBtf,
    /// `raw_tp/sched_process_exec`: the same tracepoint without BTF-typed arguments.
    RawTp,
}

impl ExecHook {
    /// All of them, the preferred one first.
    pub const BY_PREFERENCE: [Self; 2] = [Self::TpBtf, Self::RawTp];

    /// The name of the program in `bpf/execsnoop.bpf.c`.
    pub fn program(self) -> &'static str {
        match self {
            Self::TpBtf => "exec_tp_btf",
            Self::RawTp => "exec_raw_tp",
        }
    }

    /// The type of the program and what it attaches to, as its section is named.
    pub fn section(self) -> &'static str {
        match self {
            Self::TpBtf => "tp_btf/sched_process_exec",
            Self::RawTp => "raw_tp/sched_process_exec",
        }
    }

    /// The type of the program alone.
    pub fn program_type(self) -> &'static str {
        self.section().split('/').next().unwrap_or_default()
    }

    /// Have this program loaded, and none of its alternatives.
    pub(super) fn select(self, programs: &mut OpenExecsnoopProgs<'_>) {
        programs.exec_tp_btf.set_autoload(self == Self::TpBtf);
        programs.exec_raw_tp.set_autoload(self == Self::RawTp);
    }

    pub(super) fn of<'a, 'obj>(
        self,
        programs: &'a mut ExecsnoopProgs<'obj>,
    ) -> &'a mut ProgramMut<'obj> {
        match self {
            Self::TpBtf => &mut programs.exec_tp_btf,
            Self::RawTp => &mut programs.exec_raw_tp,
        }
    }
}
