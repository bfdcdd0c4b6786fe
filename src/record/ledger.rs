//! The ledger: what the kernel has seen, and how each observation was accounted for.

use std::ops::{Index, IndexMut};

use serde::{Deserialize, Serialize};

use super::bytes::{DecodeError, exact};
use super::kind::Kind;
use crate::bpf::types;

/// The kernel's account of one CPU and kind: `struct ledger` of `bpf/execsnoop.h`.
pub type Ledger = types::ledger;

const KINDS: usize = types::kind::KIND_MAX.0 as usize;

/// The fields of a ledger, in the order of `bpf/execsnoop.h`.
type Fields = [u64; 9];

/// The ledgers of all kinds.
#[derive(Debug, Clone, Copy, Default, Deserialize, Serialize)]
#[serde(from = "[Fields; KINDS]", into = "[Fields; KINDS]")]
pub struct Ledgers([Ledger; KINDS]);

impl Ledgers {
    /// Returns whether no count is above `largest`.
    pub fn is_plausible(&self, largest: u64) -> bool {
        self.0.iter().all(|ledger| {
            let counts = [
                ledger.sent,
                ledger.tallied,
                ledger.unattributed,
                ledger.buffer_full,
                ledger.no_buffer,
                ledger.other,
                ledger.recovered.unsigned_abs(),
                ledger.seen,
            ];
            counts.into_iter().all(|count| count <= largest)
        })
    }
}

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
        self.unattributed_cpu_ns = self
            .unattributed_cpu_ns
            .wrapping_add(cpu.unattributed_cpu_ns);
        self.seen += cpu.seen;
    }
}

impl From<[Fields; KINDS]> for Ledgers {
    fn from(ledgers: [Fields; KINDS]) -> Self {
        Self(ledgers.map(|fields| {
            let [
                sent,
                tallied,
                unattributed,
                buffer_full,
                no_buffer,
                other,
                recovered,
                unattributed_cpu_ns,
                seen,
            ] = fields;
            Ledger {
                sent,
                tallied,
                unattributed,
                buffer_full,
                no_buffer,
                other,
                recovered: recovered.cast_signed(),
                unattributed_cpu_ns,
                seen,
            }
        }))
    }
}

impl From<Ledgers> for [Fields; KINDS] {
    fn from(ledgers: Ledgers) -> Self {
        ledgers.0.map(|ledger| {
            [
                ledger.sent,
                ledger.tallied,
                ledger.unattributed,
                ledger.buffer_full,
                ledger.no_buffer,
                ledger.other,
                ledger.recovered.cast_unsigned(),
                ledger.unattributed_cpu_ns,
                ledger.seen,
            ]
        })
    }
}

/// Decodes the entry of one CPU and kind.
pub fn decode_ledger(bytes: &[u8]) -> Result<Ledger, DecodeError> {
    exact(bytes)
}
