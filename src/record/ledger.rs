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
/// An exit is counted in its ledger's `sent`, `tallied` or `unattributed` only if it was counted by
/// subject, because a view or a watch asked for exits. The sum of these and of `exits_only_seen` is
/// `seen`.
#[derive(Debug, Clone, Copy, Default, Deserialize, Serialize)]
#[serde(from = "(u64, [Fields; KINDS])", into = "(u64, [Fields; KINDS])")]
pub struct Ledgers {
    of: [Ledger; KINDS],
    /// Exits that were not counted by subject.
    pub exits_only_seen: u64,
}

impl Ledgers {
    /// Returns how many exits that were seen are in no other count of their ledger. While no program
    /// is running, these are the ones that were not counted by subject.
    pub fn exits_in_no_count(&self) -> u64 {
        let exits = &self[Kind::Exit];
        let counted = exits.sent + exits.tallied + exits.unattributed;
        exits.seen.saturating_sub(counted)
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
        are_plausible && self.exits_only_seen <= largest
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
        self.exits_only_seen += more.exits_only_seen;
    }
}

impl From<(u64, [Fields; KINDS])> for Ledgers {
    fn from((exits_only_seen, ledgers): (u64, [Fields; KINDS])) -> Self {
        let of = ledgers.map(|(fields, unattributed_exits)| {
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
        Self {
            of,
            exits_only_seen,
        }
    }
}

impl From<Ledgers> for (u64, [Fields; KINDS]) {
    fn from(ledgers: Ledgers) -> Self {
        let of = ledgers.of.map(|ledger| {
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
            (fields, ledger.unattributed_exits)
        });
        (ledgers.exits_only_seen, of)
    }
}

/// Decodes the entry of one CPU and kind.
pub fn decode_ledger(bytes: &[u8]) -> Result<Ledger, DecodeError> {
    exact(bytes)
}
