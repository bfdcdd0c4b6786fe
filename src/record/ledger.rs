//! The ledger: what the kernel has seen, and how each observation was accounted for.

use std::ops::{Index, IndexMut};

use serde::{Deserialize, Serialize};

use super::bytes::{DecodeError, exact};
use super::kind::Kind;
use super::outcome::Outcome;
use crate::bpf::types;

/// The kernel's account of one CPU and kind: `struct ledger` of `bpf/execsnoop.h`.
pub type Ledger = types::ledger;

const KINDS: usize = types::kind::KIND_MAX.0 as usize;

/// The fields of a ledger, in the order of `bpf/execsnoop.h`, and those of them that are an array.
type Fields = ([u64; 10], [u64; Outcome::ALL.len()]);

/// The ledgers of all kinds.
///
/// An exit or a failed exec is counted in its ledger's `sent`, `tallied` or `unattributed` only if it
/// was counted by subject, because a view or a watch asked for it. Together with the observations
/// that were [only seen](Self::only_seen), they add up to `seen`.
#[derive(Debug, Clone, Copy, Default, Deserialize, Serialize)]
#[serde(from = "[(Fields, u64); KINDS]", into = "[(Fields, u64); KINDS]")]
pub struct Ledgers {
    of: [Ledger; KINDS],
    only_seen: [u64; KINDS],
}

impl Ledgers {
    /// Returns how many observations of a kind were not counted by subject, because nothing asked for
    /// it.
    pub fn only_seen(&self, kind: Kind) -> u64 {
        self.only_seen[kind.index() as usize]
    }

    pub fn set_only_seen(&mut self, kind: Kind, number: u64) {
        self.only_seen[kind.index() as usize] = number;
    }

    /// Returns how many observations of a kind are accounted for by their ledger.
    pub fn accounted(&self, kind: Kind) -> u64 {
        let ledger = &self[kind];
        ledger.sent + ledger.tallied + ledger.unattributed + self.only_seen(kind)
    }

    /// Returns whether no count is above `largest`.
    pub fn is_plausible(&self, largest: u64) -> bool {
        let are_plausible = self.of.iter().all(|ledger| {
            let exits = ledger.unattributed_exits.into_iter();
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
            counts
                .into_iter()
                .chain(exits)
                .all(|count| count <= largest)
        });
        are_plausible && self.only_seen.iter().all(|n| *n <= largest)
    }
}

impl Index<Kind> for Ledgers {
    type Output = Ledger;

    fn index(&self, kind: Kind) -> &Ledger {
        &self.of[kind.index() as usize]
    }
}

impl IndexMut<Kind> for Ledgers {
    fn index_mut(&mut self, kind: Kind) -> &mut Ledger {
        &mut self.of[kind.index() as usize]
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
        let exits = self.unattributed_exits.iter_mut();
        for (sum, count) in exits.zip(cpu.unattributed_exits) {
            *sum += count;
        }
        self.unattributed_lifetime_ns = self
            .unattributed_lifetime_ns
            .wrapping_add(cpu.unattributed_lifetime_ns);
        self.seen += cpu.seen;
    }
}

impl std::ops::AddAssign for Ledgers {
    fn add_assign(&mut self, more: Self) {
        for (sum, ledger) in self.of.iter_mut().zip(more.of) {
            *sum += ledger;
        }
        for (sum, only_seen) in self.only_seen.iter_mut().zip(more.only_seen) {
            *sum += only_seen;
        }
    }
}

impl From<[(Fields, u64); KINDS]> for Ledgers {
    fn from(ledgers: [(Fields, u64); KINDS]) -> Self {
        let only_seen = ledgers.map(|(_, only_seen)| only_seen);
        let of = ledgers.map(|((fields, unattributed_exits), _)| {
            let [
                sent,
                tallied,
                unattributed,
                buffer_full,
                no_buffer,
                other,
                recovered,
                unattributed_cpu_ns,
                unattributed_lifetime_ns,
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
                unattributed_exits,
                unattributed_lifetime_ns,
                seen,
            }
        });
        Self { of, only_seen }
    }
}

impl From<Ledgers> for [(Fields, u64); KINDS] {
    fn from(ledgers: Ledgers) -> Self {
        let mut only_seen = ledgers.only_seen.into_iter();
        ledgers.of.map(|ledger| {
            let fields = [
                ledger.sent,
                ledger.tallied,
                ledger.unattributed,
                ledger.buffer_full,
                ledger.no_buffer,
                ledger.other,
                ledger.recovered.cast_unsigned(),
                ledger.unattributed_cpu_ns,
                ledger.unattributed_lifetime_ns,
                ledger.seen,
            ];
            let only_seen = only_seen.next().unwrap_or_default();
            ((fields, ledger.unattributed_exits), only_seen)
        })
    }
}

/// Decodes the entry of one CPU and kind.
pub fn decode_ledger(bytes: &[u8]) -> Result<Ledger, DecodeError> {
    exact(bytes)
}
