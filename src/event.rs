//! Bytes to records. Pure: no I/O, no clock, and no panic whatever the bytes are.
//!
//! The records are those of `bpf/execsnoop.h`, in the types that the skeleton
//! generates from BTF.

#![allow(unsafe_code)] // one of the two exceptions named in Cargo.toml: `Record`

use std::mem::size_of;

use crate::bpf::types;

/// An exec with its details: `struct event` of `bpf/execsnoop.h`.
pub type Event = types::event;
/// What counters group by: `struct subject` of `bpf/execsnoop.h`.
pub type Subject = types::subject;
/// The kernel's account of one CPU: `struct ledger` of `bpf/execsnoop.h`.
pub type Ledger = types::ledger;

/// A program's name as the kernel keeps it: up to 15 bytes, then NUL to the end.
pub type Comm = [u8; 16];

/// What a perf record may carry behind the event: the kernel pads raw samples to a
/// multiple of 8 bytes including their 4-byte size (`perf_prepare_sample()` in
/// `kernel/events/core.c`).
const MAX_PADDING: usize = 7;

/// Why bytes are not a record of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The length fits no record of this kind.
    #[error("{0} bytes")]
    Length(usize),
    /// The kind of observation is not one that this version asks the kernel for.
    #[error("retval {retval}, is_exit {is_exit}: not a successful exec")]
    Kind {
        /// `subject.retval`
        retval: i32,
        /// `subject.is_exit`
        is_exit: u8,
    },
}

/// Decode one event as it comes out of the buffer.
pub fn event(bytes: &[u8]) -> Result<Event, DecodeError> {
    let mut event: Event = padded(bytes)?;
    event.subject = checked(event.subject)?;
    Ok(event)
}

/// Decode one key of the tally.
pub fn subject(bytes: &[u8]) -> Result<Subject, DecodeError> {
    checked(exact(bytes)?)
}

/// Decode one CPU's entry of the ledger.
pub fn ledger(bytes: &[u8]) -> Result<Ledger, DecodeError> {
    exact(bytes)
}

/// The name without its trailing NULs.
pub fn comm_bytes(comm: &Comm) -> &[u8] {
    let end = comm.iter().position(|&b| b == 0).unwrap_or(comm.len());
    &comm[..end]
}

fn checked(mut subject: Subject) -> Result<Subject, DecodeError> {
    if subject.retval != 0 || subject.is_exit != 0 {
        return Err(DecodeError::Kind {
            retval: subject.retval,
            is_exit: subject.is_exit,
        });
    }
    // A name ends at its first NUL: what follows must not make two names of one.
    for comm in [&mut subject.comm, &mut subject.parent_comm] {
        let end = comm_bytes(comm).len();
        comm[end..].fill(0);
    }
    Ok(subject)
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
unsafe impl Record for Ledger {}

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
#[path = "../tests/common/bytes.rs"]
mod bytes;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::bytes::encode;
    use super::*;

    fn sample() -> Event {
        let mut event = Event {
            time_ns: 7,
            pid: 8,
            ppid: 9,
            ..Event::default()
        };
        event.subject.uid = 10;
        event.subject.cgroup_id = 11;
        event.subject.comm[..3].copy_from_slice(b"abc");
        event
    }

    #[test]
    fn an_event_survives_the_way_through_bytes_with_any_padding() {
        for padding in 0..=MAX_PADDING {
            let mut bytes = encode(&sample());
            bytes.extend(std::iter::repeat_n(0xff, padding));
            let event = event(&bytes).unwrap();
            assert_eq!(
                (event.time_ns, event.pid, event.ppid, event.subject.uid),
                (7, 8, 9, 10)
            );
            assert_eq!(event.subject.cgroup_id, 11);
            assert_eq!(comm_bytes(&event.subject.comm), b"abc");
        }
    }

    #[test]
    fn what_follows_the_first_nul_of_a_name_is_not_part_of_it() {
        let mut stale = sample();
        stale.subject.comm = *b"abc\0stale bytes\0";
        let event = event(&encode(&stale)).unwrap();
        assert_eq!(event.subject.comm, sample().subject.comm);
    }

    #[test]
    fn an_observation_that_is_no_successful_exec_is_refused() {
        let mut failure = sample();
        failure.subject.retval = -2;
        assert!(matches!(
            event(&encode(&failure)),
            Err(DecodeError::Kind { retval: -2, .. })
        ));
        let mut exit = sample();
        exit.subject.is_exit = 1;
        assert!(matches!(
            event(&encode(&exit)),
            Err(DecodeError::Kind { is_exit: 1, .. })
        ));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let fits = (size_of::<Event>()..=size_of::<Event>() + MAX_PADDING).contains(&bytes.len());
            match event(&bytes) {
                Ok(event) => {
                    prop_assert!(fits);
                    prop_assert!(comm_bytes(&event.subject.comm).len() <= 16);
                }
                Err(DecodeError::Length(len)) => prop_assert!(!fits && len == bytes.len()),
                Err(DecodeError::Kind { .. }) => prop_assert!(fits),
            }
            let _ = subject(&bytes);
            let _ = ledger(&bytes);
        }

        #[test]
        fn bytes_of_the_right_length_decode_to_the_same_bytes(
            mut bytes in proptest::collection::vec(any::<u8>(), size_of::<Event>()),
        ) {
            bytes[12..16].fill(0); // retval
            bytes[48] = 0; // is_exit
            bytes[16..48].iter_mut().for_each(|b| *b |= 1); // no NUL in the names
            let event = event(&bytes).unwrap();
            prop_assert_eq!(&encode(&event)[..], &bytes[..]);
        }
    }
}
