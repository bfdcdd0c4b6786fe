//! The tally: the in-kernel count, by subject, of what did not fit the buffer.
//!
//! Two hash maps take turns in the only slot of an array of maps. A drain puts the empty one
//! into the slot. The kernel returns from that update only when no program uses the other one
//! any more (`maybe_wait_bpf_programs()` in `kernel/bpf/syscall.c`), so nothing is added
//! between reading an entry and deleting it.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use libbpf_rs::{MapCore, MapFlags, MapHandle};

/// The only slot of `tally_in_use`.
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

    /// Takes all counts, calling `entry` with the bytes of each subject and of its
    /// `struct tally_count`.
    ///
    /// Waits for an RCU grace period (some 10 ms), so call it only if the ledger says that
    /// something was tallied.
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
        // The batch iterator ends early, without an error, after a failed or short batch. The map
        // must be empty for its next turn, so take the remaining entries one at a time.
        while let Some(key) = full.keys().next() {
            if let Some(value) = full.lookup(&key, MapFlags::ANY).map_err(io::Error::other)? {
                entry(&key, &value);
            }
            full.delete(&key).map_err(io::Error::other)?;
        }
        Ok(())
    }
}
