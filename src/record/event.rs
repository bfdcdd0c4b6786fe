//! Execs, exits and CPU time, and the subjects that counters group by.

use super::bytes::{DecodeError, exact, padded};
use super::facts;
use super::kind::Kind;
use super::outcome::Outcome;
use crate::bpf::types;

/// An observation with its details: `struct event` of `bpf/execsnoop.h`.
pub type Event = types::event;
/// What counters group by: `struct subject` of `bpf/execsnoop.h`.
pub type Subject = types::subject;
/// The tally's value for a subject: `struct tally_count` of `bpf/execsnoop.h`.
pub type TallyCount = types::tally_count;
/// The name of a cgroup: `struct cgroup_name` of `bpf/execsnoop.h`.
pub type CgroupName = types::cgroup_name;

/// The name of a file that was executed: `struct exe_name` of `bpf/execsnoop.h`.
pub type ExeName = types::exe_name;

/// A program's name as the kernel keeps it: up to 15 bytes, padded with NULs.
pub type Comm = [u8; 16];

/// The largest errno of a failed exec, one less than `ERRNO_MAX` of `bpf/execsnoop.h`.
const LAST_ERRNO: i32 = 255;

/// A record in the buffer: an event, perhaps with further details.
pub trait Observation: Sized + Send + 'static {
    /// How many observations may be in the tally before it is drained without a flush.
    const TALLY_PENDING: u64;

    /// Decodes a record of the buffer.
    fn decode(bytes: &[u8]) -> Result<Self, DecodeError>;

    /// Decodes a key of the tally.
    fn decode_subject(bytes: &[u8]) -> Result<Subject, DecodeError>;

    fn event(&self) -> &Event;
}

impl Observation for Event {
    // CPU times, exits and failures are always in a tally, and each drain waits for the kernel
    // (capture/tally.rs). An observation takes at most one entry, so this is a quarter of them.
    const TALLY_PENDING: u64 = 4096;

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

pub fn decode_tally_count(bytes: &[u8]) -> Result<TallyCount, DecodeError> {
    exact(bytes)
}

pub fn decode_cgroup_name(bytes: &[u8]) -> Result<CgroupName, DecodeError> {
    exact(bytes)
}

pub fn decode_exe_name(bytes: &[u8]) -> Result<ExeName, DecodeError> {
    exact(bytes)
}

/// The kind of the observations that a subject stands for.
pub fn kind(subject: &Subject) -> Kind {
    // Decoding refuses all other values.
    Kind::of(subject.kind).unwrap_or(Kind::Exec)
}

/// The name before the first NUL.
pub fn nul_terminated(name: &[u8]) -> &[u8] {
    let end = name.iter().position(|&b| b == 0).unwrap_or(name.len());
    &name[..end]
}

pub(super) fn checked(subject: Subject) -> Result<Subject, DecodeError> {
    let kind = Kind::of(subject.kind).ok_or(DecodeError::Kind(subject.kind))?;
    if !facts::is_origin(subject.origin) {
        return Err(DecodeError::Origin(subject.origin));
    }
    match kind {
        Kind::Exit if Outcome::of(&subject).is_none() => Err(DecodeError::Outcome(subject.outcome)),
        Kind::Failure if !(-LAST_ERRNO..0).contains(&subject.retval) => {
            Err(DecodeError::Errno(subject.retval))
        }
        _ => Ok(until_nul(subject)),
    }
}

/// Clears the bytes after the first NUL of each name. They can be stale, and a name
/// with different stale bytes would be a different name.
fn until_nul(mut subject: Subject) -> Subject {
    for comm in [&mut subject.comm, &mut subject.parent_comm] {
        let end = nul_terminated(comm).len();
        comm[end..].fill(0);
    }
    subject
}
