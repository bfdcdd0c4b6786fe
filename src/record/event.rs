//! Execs and exits, and the subjects that counters group by.

use super::bytes::{DecodeError, exact, padded};
use super::kind::Kind;
use crate::bpf::types;

/// An exec or an exit with its details: `struct event` of `bpf/execsnoop.h`.
pub type Event = types::event;
/// What counters group by: `struct subject` of `bpf/execsnoop.h`.
pub type Subject = types::subject;
/// What the tally keeps of a subject: `struct tally_count` of `bpf/execsnoop.h`.
pub type TallyCount = types::tally_count;

/// What a cgroup is called: `struct cgroup_name` of `bpf/execsnoop.h`.
pub type CgroupName = types::cgroup_name;

/// A program's name as the kernel keeps it: up to 15 bytes, then NUL to the end.
pub type Comm = [u8; 16];

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

/// Decode one value of the tally.
pub fn decode_tally_count(bytes: &[u8]) -> Result<TallyCount, DecodeError> {
    exact(bytes)
}

/// Decode the name of a cgroup.
pub fn decode_cgroup_name(bytes: &[u8]) -> Result<CgroupName, DecodeError> {
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
pub(super) fn until_nul(mut subject: Subject) -> Subject {
    for comm in [&mut subject.comm, &mut subject.parent_comm] {
        let end = nul_terminated(comm).len();
        comm[end..].fill(0);
    }
    subject
}
