//! Bytes at the end of readable memory: reading beyond them kills the process.

use std::cell::Cell;
use std::ffi::c_void;
use std::ptr;

use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect};
use rustix::param::page_size;

/// The size of the readable memory in bytes, larger than any input.
const ROOM: usize = 1 << 16;

thread_local! {
    static EDGE: Cell<*mut u8> = Cell::new(edge());
}

/// Returns the end of [`ROOM`] readable bytes, where an unreadable page begins.
fn edge() -> *mut u8 {
    let (read_write, private) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE);
    // SAFETY: this is a new mapping at an address that the kernel chooses, and it is never
    // unmapped. ROOM is a multiple of the page size.
    unsafe {
        let start = mmap_anonymous(ptr::null_mut(), ROOM + page_size(), read_write, private)
            .expect("memory");
        let edge = start.cast::<u8>().add(ROOM);
        mprotect(edge.cast::<c_void>(), page_size(), MprotectFlags::empty()).expect("a page");
        edge
    }
}

/// Calls `at` with a copy of `bytes` that ends at the edge. `bytes` must fit into [`ROOM`].
pub(crate) fn look<T>(bytes: &[u8], at: impl FnOnce(&[u8]) -> T) -> T {
    assert!(bytes.len() <= ROOM, "libFuzzer keeps to -max_len");
    // SAFETY: the ROOM bytes before the edge are readable and belong to this thread. Nothing
    // writes to them until `at` returns, which cannot keep the slice and must not call this
    // function.
    unsafe {
        let start = EDGE.get().sub(bytes.len());
        start.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
        at(std::slice::from_raw_parts(start, bytes.len()))
    }
}
