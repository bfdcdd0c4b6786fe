//! Bytes to records. Pure: no I/O, no clock, and no panic whatever the bytes are.
//!
//! The records are those of `bpf/execsnoop.h`, in the types that the skeleton
//! generates from BTF.

#![allow(unsafe_code)] // one of the three exceptions named in Cargo.toml: `Record`

use std::mem::size_of;
use std::ops::{Index, IndexMut};

use crate::bpf::types;

/// An exec or an exit with its details: `struct event` of `bpf/execsnoop.h`.
pub type Event = types::event;
/// What counters group by: `struct subject` of `bpf/execsnoop.h`.
pub type Subject = types::subject;
/// What the tally keeps of a subject: `struct tally_count` of `bpf/execsnoop.h`.
pub type TallyCount = types::tally_count;
/// The kernel's account of one CPU and kind: `struct ledger` of `bpf/execsnoop.h`.
pub type Ledger = types::ledger;

/// What a cgroup is called: `struct cgroup_name` of `bpf/execsnoop.h`.
pub type CgroupName = types::cgroup_name;

/// A program's name as the kernel keeps it: up to 15 bytes, then NUL to the end.
pub type Comm = [u8; 16];

/// What a perf record may carry behind the event: the kernel pads raw samples to a
/// multiple of 8 bytes including their 4-byte size (`perf_prepare_sample()` in
/// `kernel/events/core.c`).
const MAX_PADDING: usize = 7;

/// What was observed: `enum kind` of `bpf/execsnoop.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A successful exec.
    Exec,
    /// An exec that failed.
    Failure,
    /// The end of a process.
    Exit,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Exec, Self::Failure, Self::Exit];

    /// As it stands in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Exec => "exec",
            Self::Failure => "failure",
            Self::Exit => "exit",
        }
    }

    /// The index of its entry in the ledger.
    pub fn index(self) -> u32 {
        match self {
            Self::Exec => types::kind::KIND_EXEC.0,
            Self::Failure => types::kind::KIND_FAILURE.0,
            Self::Exit => types::kind::KIND_EXIT.0,
        }
    }
}

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

/// Failed execs by errno: `struct failures` of `bpf/execsnoop.h`, or the sum of several.
#[derive(Clone, Copy)]
pub struct FailureCounts(types::failures);

impl FailureCounts {
    /// Counts that are not 0, with their errno.
    pub fn iter(&self) -> impl Iterator<Item = (i32, u64)> {
        (0..).zip(self.0.by_errno).filter(|(_, count)| *count > 0)
    }

    /// Count `count` more.
    pub fn add(&mut self, errno: i32, count: u64) {
        if let Some(sum) = usize::try_from(errno)
            .ok()
            .and_then(|i| self.0.by_errno.get_mut(i))
        {
            *sum += count;
        }
    }

    /// All of them together.
    pub fn total(&self) -> u64 {
        self.0.by_errno.iter().sum()
    }
}

impl Default for FailureCounts {
    fn default() -> Self {
        Self(types::failures {
            by_errno: [0; size_of::<types::failures>() / size_of::<u64>()],
        })
    }
}

impl std::fmt::Debug for FailureCounts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl std::ops::AddAssign for FailureCounts {
    /// Errno by errno: the counts of several CPUs.
    fn add_assign(&mut self, cpu: Self) {
        for (sum, count) in self.0.by_errno.iter_mut().zip(cpu.0.by_errno) {
            *sum += count;
        }
    }
}

/// Why bytes are not a record of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The length fits no record of this kind.
    #[error("{0} bytes")]
    Length(usize),
    /// A failed exec, of which the kernel side sends none.
    #[error("retval {0} of an exec: failed ones are counted apart")]
    Retval(i32),
}

/// What comes out of the buffer: an event, and perhaps more.
pub trait Observation: Sized + Send + 'static {
    /// The kinds that come out of the buffer; the others are only counted.
    const KINDS: &'static [Kind];

    /// Decode one as it comes out of the buffer.
    fn decode(bytes: &[u8]) -> Result<Self, DecodeError>;

    /// Decode one key of the tally.
    fn decode_subject(bytes: &[u8]) -> Result<Subject, DecodeError>;

    /// The event.
    fn event(&self) -> &Event;
}

impl Observation for Event {
    const KINDS: &'static [Kind] = &[Kind::Exec, Kind::Exit];

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut event: Event = padded(bytes)?;
        event.subject = checked(event.subject)?;
        Ok(event)
    }

    fn decode_subject(bytes: &[u8]) -> Result<Subject, DecodeError> {
        checked(exact(bytes)?)
    }

    fn event(&self) -> &Event {
        self
    }
}

/// An observation as a live stream shows it: failed execs are among them.
#[derive(Debug, Clone)]
pub struct Traced {
    event: Event,
    /// The path of the program, if it was asked for and could be read.
    pub path: Option<Text>,
    /// The arguments, each followed by a NUL, if they were asked for and could be read.
    pub args: Option<Text>,
}

/// What may be longer than what was kept of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// The beginning, or all of it.
    pub bytes: Vec<u8>,
    /// There was more.
    pub is_cut: bool,
}

impl Observation for Traced {
    const KINDS: &'static [Kind] = &Kind::ALL;

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.len() < size_of::<types::traced>() {
            let mut event: Event = padded(bytes)?;
            event.subject = until_nul(event.subject);
            let (path, args) = (None, None);
            return Ok(Self { event, path, args });
        }
        let mut traced: types::traced = padded(bytes)?;
        traced.event.subject = until_nul(traced.event.subject);
        let path = Text {
            bytes: nul_terminated(&traced.path).to_vec(),
            is_cut: traced.path_cut != 0,
        };
        let size = traced.args_size as usize;
        let kept = size.min(traced.args.len());
        let args = Text {
            bytes: traced.args[..kept].to_vec(),
            is_cut: size > kept,
        };
        Ok(Self {
            event: traced.event,
            path: (traced.path_size > 0).then_some(path),
            args: (size > 0).then_some(args),
        })
    }

    fn decode_subject(bytes: &[u8]) -> Result<Subject, DecodeError> {
        exact(bytes).map(until_nul)
    }

    fn event(&self) -> &Event {
        &self.event
    }
}

/// Decode one value of the tally.
pub fn tally_count(bytes: &[u8]) -> Result<TallyCount, DecodeError> {
    exact(bytes)
}

/// Decode one CPU's entry of the ledger.
pub fn ledger(bytes: &[u8]) -> Result<Ledger, DecodeError> {
    exact(bytes)
}

/// Decode one CPU's counts of failed execs.
pub fn failures(bytes: &[u8]) -> Result<FailureCounts, DecodeError> {
    exact(bytes).map(FailureCounts)
}

/// Decode the name of a cgroup.
pub fn cgroup_name(bytes: &[u8]) -> Result<CgroupName, DecodeError> {
    exact(bytes)
}

/// What a subject was observed doing.
pub fn kind(subject: &Subject) -> Kind {
    match subject {
        Subject { is_exit: 1.., .. } => Kind::Exit,
        Subject { retval: 0, .. } => Kind::Exec,
        _ => Kind::Failure,
    }
}

/// A name up to its first NUL.
pub fn nul_terminated(name: &[u8]) -> &[u8] {
    let end = name.iter().position(|&b| b == 0).unwrap_or(name.len());
    &name[..end]
}

fn checked(subject: Subject) -> Result<Subject, DecodeError> {
    if kind(&subject) == Kind::Failure {
        return Err(DecodeError::Retval(subject.retval));
    }
    Ok(until_nul(subject))
}

/// A name ends at its first NUL: what follows must not make two names of one.
fn until_nul(mut subject: Subject) -> Subject {
    for comm in [&mut subject.comm, &mut subject.parent_comm] {
        let end = nul_terminated(comm).len();
        comm[end..].fill(0);
    }
    subject
}

impl std::ops::AddAssign for Ledger {
    /// Entry by entry: the account of several CPUs.
    fn add_assign(&mut self, cpu: Self) {
        self.sent += cpu.sent;
        self.tallied += cpu.tallied;
        self.unattributed += cpu.unattributed;
        self.buffer_full += cpu.buffer_full;
        self.no_buffer += cpu.no_buffer;
        self.other += cpu.other;
        self.recovered += cpu.recovered;
        self.seen += cpu.seen;
    }
}

/// A type of which every bit pattern is a valid value.
///
/// # Safety
/// Implement it only for `repr(C)` structs of integers and arrays of integers,
/// without implicit padding.
unsafe trait Record: Copy {}

// SAFETY: bpf/execsnoop.h defines these with integers only, pads them explicitly and
// asserts their sizes.
unsafe impl Record for Event {}
// SAFETY: as above.
unsafe impl Record for Subject {}
// SAFETY: as above.
unsafe impl Record for TallyCount {}
// SAFETY: as above.
unsafe impl Record for Ledger {}
// SAFETY: as above.
unsafe impl Record for types::traced {}
// SAFETY: as above.
unsafe impl Record for CgroupName {}
// SAFETY: as above.
unsafe impl Record for types::failures {}

fn exact<T: Record>(bytes: &[u8]) -> Result<T, DecodeError> {
    if bytes.len() != size_of::<T>() {
        return Err(DecodeError::Length(bytes.len()));
    }
    // SAFETY: the slice has as many bytes as T, `read_unaligned` asks for no
    // alignment, and any bits are a T.
    Ok(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
}

fn padded<T: Record>(bytes: &[u8]) -> Result<T, DecodeError> {
    let padding = bytes.len().checked_sub(size_of::<T>());
    match padding {
        Some(0..=MAX_PADDING) => exact(&bytes[..size_of::<T>()]),
        _ => Err(DecodeError::Length(bytes.len())),
    }
}

#[cfg(test)]
mod tests;
