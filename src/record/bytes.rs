//! Converts bytes to the records of `bpf/execsnoop.h`, in the types that the skeleton generates
//! from BTF.

#![allow(unsafe_code)] // one of the exceptions named in Cargo.toml: `Record`

use std::mem::size_of;

use crate::bpf::types;

/// The most bytes of padding that can follow an event in a perf record: the kernel pads raw samples to
/// a multiple of 8 bytes including their 4-byte size (`perf_prepare_sample()` in
/// `kernel/events/core.c`).
pub(super) const MAX_PADDING: usize = 7;

/// Why bytes are not a valid record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The length does not fit this type of record.
    #[error("{0} bytes")]
    Length(usize),
    /// A failed exec without an error that the kernel returns to programs.
    #[error("a failed exec that returned {0}")]
    Errno(i32),
    /// An exit without an outcome that this version knows.
    #[error("an exit with outcome {0}")]
    Outcome(u8),
    /// A kind that this version does not know.
    #[error("kind {0}")]
    Kind(u8),
    /// An origin of a file that this version does not know.
    #[error("an exec with origin {0}")]
    Origin(u8),
}

/// A type for which every bit pattern is a valid value.
///
/// # Safety
/// Implement it only for `repr(C)` structs of integers and arrays of integers,
/// without implicit padding.
pub(super) unsafe trait Record: Copy {}

// SAFETY: bpf/execsnoop.h defines these with integers only, pads them explicitly and
// asserts their sizes.
unsafe impl Record for types::event {}
// SAFETY: as above.
unsafe impl Record for types::subject {}
// SAFETY: as above.
unsafe impl Record for types::tally_count {}
// SAFETY: as above.
unsafe impl Record for types::ledger {}
// SAFETY: as above.
unsafe impl Record for types::traced {}
// SAFETY: as above.
unsafe impl Record for types::cgroup_name {}
// SAFETY: as above.
unsafe impl Record for types::exe_name {}
// SAFETY: as above.
unsafe impl Record for types::failures {}
// SAFETY: as above.
unsafe impl Record for types::exits {}

pub(super) fn exact<T: Record>(bytes: &[u8]) -> Result<T, DecodeError> {
    if bytes.len() != size_of::<T>() {
        return Err(DecodeError::Length(bytes.len()));
    }
    // SAFETY: the slice has as many bytes as T, `read_unaligned` asks for no
    // alignment, and any bits are a T.
    Ok(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
}

pub(super) fn padded<T: Record>(bytes: &[u8]) -> Result<T, DecodeError> {
    let padding = bytes.len().checked_sub(size_of::<T>());
    match padding {
        Some(0..=MAX_PADDING) => exact(&bytes[..size_of::<T>()]),
        _ => Err(DecodeError::Length(bytes.len())),
    }
}
