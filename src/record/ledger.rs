//! The ledger: what the kernel has seen, and how each observation was accounted for.

use std::ops::{Index, IndexMut};

use super::bytes::{DecodeError, exact};
use super::kind::Kind;
use crate::bpf::types;

/// The kernel's account of one CPU and kind: `struct ledger` of `bpf/execsnoop.h`.
pub type Ledger = types::ledger;

/// The ledgers of all kinds.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ledgers([Ledger; types::kind::KIND_MAX.0 as usize]);

impl Index<Kind> for Ledgers {
    type Output = Ledger;

    fn index(&self, kind: Kind) -> &Ledger {
        &self.0[kind.index() as usize]
    }
}

impl IndexMut<Kind> for Ledgers {
    fn index_mut(&mut self, kind: Kind) -> &mut Ledger {
        &mut self.0[kind.index() as usize]
    }
}

impl std::ops::AddAssign for Ledger {
    fn add_assign(&mut self, cpu: Self) {
        self.sent += cpu.sent;
        self.tallied += cpu.tallied;
        self.unattributed += cpu.unattributed;
        self.buffer_full += cpu.buffer_full;
        self.no_buffer += cpu.no_buffer;
        self.other += cpu.other;
        self.recovered = self.recovered.wrapping_add(cpu.recovered);
        self.unattributed_cpu_ns += cpu.unattributed_cpu_ns;
        self.seen += cpu.seen;
    }
}

/// Decodes the entry of one CPU and kind.
pub fn decode_ledger(bytes: &[u8]) -> Result<Ledger, DecodeError> {
    exact(bytes)
}
