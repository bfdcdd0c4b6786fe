//! Bytes with nothing readable behind them: who reads one too many is killed.

use std::cell::Cell;
use std::ffi::c_void;
use std::ptr;

use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect};
use rustix::param::page_size;

/// Room for the longest record there is, and more.
const ROOM: usize = 1 << 16;

thread_local! {
    static EDGE: Cell<*mut u8> = Cell::new(edge());
}

/// The end of [`ROOM`] bytes, before a page that cannot be read.
fn edge() -> *mut u8 {
    let (read_write, private) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE);
    // SAFETY: a new mapping, where the kernel likes; it stays for good. ROOM is whole pages.
    unsafe {
        let start = mmap_anonymous(ptr::null_mut(), ROOM + page_size(), read_write, private)
            .expect("memory");
        let edge = start.cast::<u8>().add(ROOM);
        mprotect(edge.cast::<c_void>(), page_size(), MprotectFlags::empty()).expect("a page");
        edge
    }
}

/// Look at a copy of `bytes`, of which there can be [`ROOM`].
pub(crate) fn look<T>(bytes: &[u8], at: impl FnOnce(&[u8]) -> T) -> T {
    assert!(bytes.len() <= ROOM, "libFuzzer keeps to -max_len");
    // SAFETY: the bytes before the edge are ours and readable, and nobody writes there until
    // `at`, which may not keep the slice, is back. It must not call this function.
    unsafe {
        let start = EDGE.get().sub(bytes.len());
        start.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
        at(std::slice::from_raw_parts(start, bytes.len()))
    }
}
