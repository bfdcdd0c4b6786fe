//! The tally: the in-kernel count, by subject, of what did not fit the buffer.
//!
//! Two hash maps take turns in the one slot of an array of maps. To drain, the empty
//! one is put into the slot; the kernel returns from that update only after every
//! program that could hold the other has ended (`maybe_wait_bpf_programs()` in
//! `kernel/bpf/syscall.c`), so that nothing can be added between reading an entry
//! and deleting it.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use libbpf_rs::{MapCore, MapFlags, MapHandle};

/// The slots of `tally_in_use`: there is one.
const SLOT: [u8; 4] = 0_u32.to_ne_bytes();

#[derive(Debug)]
pub(super) struct Tally {
    slot: MapHandle,
    /// The first is in the slot, the second is empty.
    turns: [MapHandle; 2],
}

impl Tally {
    /// `slot` is the array of maps that holds `in_use`; `spare` is empty.
    pub(super) fn new(slot: MapHandle, in_use: MapHandle, spare: MapHandle) -> Self {
        Self {
            slot,
            turns: [in_use, spare],
        }
    }

    /// Take all counts, calling `entry` with each subject's bytes and those of its
    /// `struct tally_count`.
    ///
    /// Waits for an RCU grace period (some 10 ms), so do not call it when the ledger
    /// says that nothing was tallied.
    pub(super) fn drain(&mut self, entry: &mut dyn FnMut(&[u8], &[u8])) -> io::Result<()> {
        let spare = self.turns[1].as_fd().as_raw_fd().to_ne_bytes();
        self.slot
            .update(&SLOT, &spare, MapFlags::ANY)
            .map_err(io::Error::other)?;
        self.turns.swap(0, 1);

        let full = &self.turns[1];
        for (key, value) in full
            .lookup_and_delete_batch(full.max_entries(), MapFlags::ANY, MapFlags::ANY)
            .map_err(io::Error::other)?
        {
            entry(&key, &value);
        }
        // The batch iterator ends early, and silently, on an error or a short batch.
        // Whatever it left is taken one by one: the map must be empty for its next turn.
        while let Some(key) = full.keys().next() {
            if let Some(value) = full.lookup(&key, MapFlags::ANY).map_err(io::Error::other)? {
                entry(&key, &value);
            }
            full.delete(&key).map_err(io::Error::other)?;
        }
        Ok(())
    }
}
