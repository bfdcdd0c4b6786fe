//! A file in memory that keeps the last state that was written to it, also when the process is
//! killed while it writes.
//!
//! The file has two slots, which are written in turn. Each begins with a header: magic bytes, the
//! version of the format, a checksum of what follows, the number of the write, and the length of the
//! state. The valid slot with the higher number is the current one. A write never touches that slot,
//! so that the previous state stays readable until the new one is complete.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::Errno;

/// The most bytes of a state.
pub const MAX_LEN: usize = 32 << 20;

const MAGIC: [u8; 8] = *b"execsnp\0";

/// The version of the header and of what is encoded in the state. It changes with either.
const VERSION: u32 = 6;

const HEADER: usize = 32;

/// The offsets of the slots. The file is sparse: only what is written takes memory.
const SLOTS: [u64; 2] = [0, 64 << 20];

/// Why a state cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("it is not a regular file")]
    NotRegular,
    #[error("it is empty")]
    Empty,
    #[error("neither of its slots is valid: {0}; {1}")]
    Invalid(Invalid, Invalid),
    #[error("{0} bytes are too many: the limit is {MAX_LEN}")]
    TooLong(usize),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Why a slot is not valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    #[error("it is shorter than its header says")]
    Truncated,
    #[error("it does not begin like a slot")]
    Magic,
    #[error("its format has version {0}, not {VERSION}")]
    Version(u32),
    #[error("it claims {0} bytes, and the limit is {MAX_LEN}")]
    Length(u64),
    #[error("its checksum is wrong")]
    Checksum,
}

/// The file. It is not shared: only its owner writes.
#[derive(Debug)]
pub struct StateFile {
    file: File,
    /// The current slot, if it is known.
    current: Option<Slot>,
}

/// A valid slot.
#[derive(Debug, Clone, Copy)]
struct Slot {
    /// Its index in [`SLOTS`].
    index: usize,
    /// The number of the write.
    generation: u64,
}

impl StateFile {
    /// Creates an empty file, which has no name and exists as long as a descriptor is open.
    pub fn create() -> io::Result<Self> {
        let create = |flags| memfd_create("execsnoop.state", MemfdFlags::CLOEXEC | flags);
        let fd = match create(MemfdFlags::NOEXEC_SEAL) {
            // Kernels before 6.3 do not know the flag, without which later ones log a warning.
            Err(Errno::INVAL) => create(MemfdFlags::empty()),
            created => created,
        }?;
        Ok(Self::from_fd(fd))
    }

    /// Takes over a descriptor that [`create`](Self::create) may have opened in another process.
    /// [`read`](Self::read) checks it.
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self {
            file: fd.into(),
            current: None,
        }
    }

    /// Replaces the state.
    pub fn write(&mut self, state: &[u8]) -> Result<(), Error> {
        if state.len() > MAX_LEN {
            return Err(Error::TooLong(state.len()));
        }
        let current = match self.current {
            Some(slot) => Some(slot),
            None => self.newest().ok().map(|(slot, _)| slot),
        };
        let next = current.map_or(
            Slot {
                index: 0,
                generation: 1,
            },
            |slot| Slot {
                index: 1 - slot.index,
                generation: slot.generation.wrapping_add(1),
            },
        );
        let bytes = with_header(next.generation, state);
        self.file.write_all_at(&bytes, SLOTS[next.index])?;
        self.current = Some(next);
        Ok(())
    }

    /// Returns the last state that was written completely. The file may have any content.
    pub fn read(&self) -> Result<Vec<u8>, Error> {
        self.newest().map(|(_, state)| state)
    }

    fn newest(&self) -> Result<(Slot, Vec<u8>), Error> {
        let metadata = self.file.metadata()?;
        if !metadata.is_file() {
            return Err(Error::NotRegular);
        }
        if metadata.len() == 0 {
            return Err(Error::Empty);
        }
        let first = self.read_slot(0, metadata.len())?;
        let second = self.read_slot(1, metadata.len())?;
        match (first, second) {
            (Ok(first), Ok(second)) if first.0.generation >= second.0.generation => Ok(first),
            (_, Ok(second)) => Ok(second),
            (Ok(first), _) => Ok(first),
            (Err(first), Err(second)) => Err(Error::Invalid(first, second)),
        }
    }

    fn read_slot(&self, index: usize, size: u64) -> io::Result<Result<(Slot, Vec<u8>), Invalid>> {
        let offset = SLOTS[index];
        let room = size.saturating_sub(offset);
        if room < HEADER as u64 {
            return Ok(Err(Invalid::Truncated));
        }
        let mut header = [0; HEADER];
        self.file.read_exact_at(&mut header, offset)?;
        let magic: [u8; 8] = bytes_at(&header, 0);
        let version = u32::from_le_bytes(bytes_at(&header, 8));
        let checksum = u32::from_le_bytes(bytes_at(&header, 12));
        let generation = u64::from_le_bytes(bytes_at(&header, 16));
        let length = u64::from_le_bytes(bytes_at(&header, 24));
        let fits = usize::try_from(length).ok().filter(|len| *len <= MAX_LEN);
        let invalid = match fits {
            _ if magic != MAGIC => Invalid::Magic,
            _ if version != VERSION => Invalid::Version(version),
            None => Invalid::Length(length),
            Some(_) if room - (HEADER as u64) < length => Invalid::Truncated,
            Some(length) => {
                let mut state = vec![0; length];
                self.file
                    .read_exact_at(&mut state, offset + HEADER as u64)?;
                if checksum == checksum_of(generation, &state) {
                    return Ok(Ok((Slot { index, generation }, state)));
                }
                Invalid::Checksum
            }
        };
        Ok(Err(invalid))
    }
}

impl AsFd for StateFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Returns what a slot contains.
fn with_header(generation: u64, state: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + state.len());
    bytes.extend(MAGIC);
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend(checksum_of(generation, state).to_le_bytes());
    bytes.extend(generation.to_le_bytes());
    bytes.extend((state.len() as u64).to_le_bytes());
    bytes.extend_from_slice(state);
    bytes
}

fn checksum_of(generation: u64, state: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&generation.to_le_bytes());
    hasher.update(&(state.len() as u64).to_le_bytes());
    hasher.update(state);
    hasher.finalize()
}

fn bytes_at<const N: usize>(header: &[u8; HEADER], at: usize) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(&header[at..at + N]);
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file_of(bytes: &[u8]) -> StateFile {
        let file = StateFile::create().unwrap();
        file.file.write_all_at(bytes, 0).unwrap();
        file
    }

    fn reason(file: &StateFile) -> String {
        file.read().unwrap_err().to_string()
    }

    #[test]
    fn the_last_state_that_was_written_is_read_also_by_another_owner() {
        let mut file = StateFile::create().unwrap();
        for state in [&b"one"[..], b"two", b"", b"four"] {
            file.write(state).unwrap();
            assert_eq!(file.read().unwrap(), state);
            file = StateFile::from_fd(file.as_fd().try_clone_to_owned().unwrap());
            assert_eq!(file.read().unwrap(), state);
        }
    }

    #[test]
    fn what_is_no_state_is_refused_with_a_reason() {
        assert_eq!(reason(&StateFile::create().unwrap()), "it is empty");
        let (pipe, _writer) = std::io::pipe().unwrap();
        let (socket, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        let directory = File::open("/").unwrap();
        for fd in [pipe.into(), socket.into(), directory.into()] {
            let mut file = StateFile::from_fd(fd);
            assert_eq!(reason(&file), "it is not a regular file");
            assert!(matches!(file.write(b"state"), Err(Error::Io(_))));
        }
        let executable = File::open("/proc/self/exe").unwrap();
        let second_is_short = "it is shorter than its header says";
        let of_slot =
            |reason: &str| format!("neither of its slots is valid: {reason}; {second_is_short}");
        assert!(
            reason(&StateFile::from_fd(executable.into()))
                .contains("it does not begin like a slot")
        );
        let valid = with_header(7, b"state");
        let changed = |at: usize, to: u8| {
            let mut bytes = valid.clone();
            bytes[at] = to;
            reason(&file_of(&bytes))
        };
        assert_eq!(reason(&file_of(&valid[..9])), of_slot(second_is_short));
        assert_eq!(reason(&file_of(&valid[..36])), of_slot(second_is_short));
        assert_eq!(changed(0, 0), of_slot("it does not begin like a slot"));
        assert_eq!(changed(8, 2), of_slot("its format has version 2, not 6"));
        assert_eq!(changed(16, 9), of_slot("its checksum is wrong"));
        assert_eq!(changed(34, b'X'), of_slot("its checksum is wrong"));
        assert_eq!(
            changed(31, 0xff),
            of_slot("it claims 18374686479671623685 bytes, and the limit is 33554432")
        );
    }

    #[test]
    fn a_state_that_is_too_long_is_refused_and_the_previous_one_stays() {
        let mut file = StateFile::create().unwrap();
        file.write(b"state").unwrap();
        let too_long = vec![0; MAX_LEN + 1];
        let refused = file.write(&too_long).unwrap_err().to_string();
        assert_eq!(
            refused,
            "33554433 bytes are too many: the limit is 33554432"
        );
        assert_eq!(file.read().unwrap(), b"state");
        file.write(&too_long[1..]).unwrap();
        assert_eq!(file.read().unwrap().len(), MAX_LEN);
    }

    proptest! {
        #[test]
        fn a_write_that_is_interrupted_anywhere_leaves_the_previous_state(
            states in proptest::collection::vec(
                proptest::collection::vec(any::<u8>(), 0..300), 1..5),
            last in proptest::collection::vec(any::<u8>(), 0..300),
            written in any::<prop::sample::Index>(),
        ) {
            let mut file = StateFile::create().unwrap();
            for state in &states {
                file.write(state).unwrap();
            }
            let current = file.current.unwrap();
            let bytes = with_header(current.generation + 1, &last);
            let written = written.index(bytes.len());
            let slot = SLOTS[1 - current.index];
            file.file.write_all_at(&bytes[..written], slot).unwrap();
            // What is missing can be what an earlier write left there.
            let mut there = vec![0; bytes.len()];
            let is_complete = file.file.read_exact_at(&mut there, slot).is_ok() && there == bytes;
            let expected = if is_complete { &last } else { states.last().unwrap() };
            let mut file = StateFile::from_fd(file.file.into());
            prop_assert_eq!(&file.read().unwrap(), expected);
            file.write(&last).unwrap();
            prop_assert_eq!(file.read().unwrap(), last);
        }

        #[test]
        fn any_content_is_read_or_refused(
            first in proptest::collection::vec(any::<u8>(), 0..100),
            has_magic in any::<bool>(),
        ) {
            let mut bytes = first;
            if has_magic && bytes.len() > 16 {
                bytes[..8].copy_from_slice(&MAGIC);
                bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
            }
            let _ = file_of(&bytes).read();
        }
    }
}
