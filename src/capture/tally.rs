//! A tally: in-kernel counts by subject. One has CPU times, exits and what did not fit the buffer,
//! another one failed execs.
//!
//! Two hash maps take turns in a slot of an array of maps. A drain puts the empty one
//! into the slot. The kernel returns from that update only when no program uses the other one
//! any more (`maybe_wait_bpf_programs()` in `kernel/bpf/syscall.c`), so nothing is added
//! between reading an entry and deleting it.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;

use libbpf_rs::{MapCore, MapFlags, MapHandle};

use super::fdinfo;

/// The slots of `tally_in_use`, as in `bpf/execsnoop.h`.
#[derive(Debug, Clone, Copy)]
pub(super) enum Slot {
    Tally = 0,
    FailureTally = 1,
}

#[derive(Debug)]
pub(super) struct Tally {
    slots: Arc<MapHandle>,
    slot: [u8; 4],
    /// The first is in the slot.
    turns: [Arc<MapHandle>; 2],
}

impl Tally {
    /// `slots` is the array of maps. If its slot is empty, the first of `turns` is put into it.
    /// Otherwise, the one that is not there is empty, unless an earlier daemon was killed while it
    /// drained: then this daemon's second drain takes what is in it.
    pub(super) fn new(
        slots: Arc<MapHandle>,
        slot: Slot,
        mut turns: [Arc<MapHandle>; 2],
    ) -> io::Result<Self> {
        let slot = (slot as u32).to_ne_bytes();
        let in_use = slots
            .lookup(&slot, MapFlags::ANY)
            .map_err(io::Error::other)?;
        if in_use.is_none() {
            let tally = Self { slots, slot, turns };
            tally.await_programs()?;
            return Ok(tally);
        }
        let ids = [fdinfo::id(&*turns[0])?, fdinfo::id(&*turns[1])?];
        // The kernel returns the id of the map in the slot (bpf_map_fd_sys_lookup_elem() in
        // kernel/bpf/map_in_map.c).
        let in_use = in_use.and_then(|id| Some(u32::from_ne_bytes(id.try_into().ok()?)));
        if in_use == ids[1] {
            turns.swap(0, 1);
        } else if in_use != ids[0] {
            return Err(io::Error::other("neither tally is in use"));
        }
        Ok(Self { slots, slot, turns })
    }

    /// Calls `entry` with the bytes of each subject and of its `struct tally_count`, and leaves the
    /// counts where they are.
    pub(super) fn peek(&self, entry: &mut dyn FnMut(&[u8], &[u8])) -> io::Result<()> {
        for map in &self.turns {
            for key in map.keys() {
                if let Some(value) = map.lookup(&key, MapFlags::ANY).map_err(io::Error::other)? {
                    entry(&key, &value);
                }
            }
        }
        Ok(())
    }

    /// Waits until no program is left that was running when this was called.
    pub(super) fn await_programs(&self) -> io::Result<()> {
        self.put(&self.turns[0])
    }

    /// Puts a map into the slot. The kernel returns when no program uses the previous one any more.
    fn put(&self, map: &MapHandle) -> io::Result<()> {
        let map = map.as_fd().as_raw_fd().to_ne_bytes();
        let put = self.slots.update(&self.slot, &map, MapFlags::ANY);
        put.map_err(io::Error::other)
    }

    /// Takes all counts, calling `entry` with the bytes of each subject and of its
    /// `struct tally_count`.
    ///
    /// Waits for an RCU grace period (some 10 ms), so call it only if the ledger says that
    /// something was tallied.
    pub(super) fn drain(&mut self, entry: &mut dyn FnMut(&[u8], &[u8])) -> io::Result<()> {
        self.put(&self.turns[1])?;
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
