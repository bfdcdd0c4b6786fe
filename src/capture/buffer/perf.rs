//! The perf buffer: one ring of pages per CPU.
//!
//! libbpf-rs's own `PerfBuffer` wakes its reader at every sample, and a wakeup delays an exec
//! by more than the sample does. This wrapper opens the same perf buffer of libbpf with
//! `wakeup_watermark` at half a ring (see `perf_event_open(2)`).

#![allow(unsafe_code)] // one of the exceptions named in Cargo.toml: libbpf's C interface

use std::ffi::c_void;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::ptr::{self, NonNull};
use std::sync::Arc;

use libbpf_rs::{MapCore, MapHandle};
use libbpf_sys as sys;

/// Bytes of `struct perf_event_header`.
const HEADER: usize = size_of::<sys::perf_event_header>();
/// Bytes before the data of a raw sample: the header and the size.
const RAW_DATA: usize = HEADER + size_of::<u32>();

use super::Buffer;
use super::records::Records;

/// The rings of all CPUs that were online when it was opened.
#[derive(Debug)]
pub(in crate::capture) struct PerfBuffer {
    raw: NonNull<sys::perf_buffer>,
    /// [`on_record`] adds to these; libbpf holds the same pointer.
    copied: NonNull<Records>,
    rings: usize,
    ring_bytes: usize,
    /// The rings by CPU. Kept open because `perf_buffer__free()` removes them through this
    /// descriptor.
    map: Arc<MapHandle>,
}

// SAFETY: libbpf keeps no thread-local state for a perf buffer, `copied` is owned by
// this value alone, and every method that touches either takes `&mut self`.
unsafe impl Send for PerfBuffer {}

impl PerfBuffer {
    /// Opens a ring of `pages` pages (a power of two) on every online CPU and puts it into that
    /// CPU's slot of `map`, a `BPF_MAP_TYPE_PERF_EVENT_ARRAY`.
    pub(in crate::capture) fn open(map: Arc<MapHandle>, pages: usize) -> io::Result<Self> {
        let ring_bytes = pages * rustix::param::page_size();
        let mut attr = sys::perf_event_attr {
            type_: sys::PERF_TYPE_SOFTWARE,
            size: u32::try_from(size_of::<sys::perf_event_attr>()).unwrap_or(0),
            config: u64::from(sys::PERF_COUNT_SW_BPF_OUTPUT),
            sample_type: u64::from(sys::PERF_SAMPLE_RAW),
            ..Default::default()
        };
        attr.__bindgen_anon_1.sample_period = 1;
        attr.__bindgen_anon_2.wakeup_watermark = u32::try_from(ring_bytes / 2).unwrap_or(u32::MAX);
        attr.set_watermark(1);

        let copied = NonNull::from(Box::leak(Box::<Records>::default()));
        // SAFETY: `attr` lives through the call and libbpf copies it; `copied` stays
        // allocated until after perf_buffer__free(); null options mean all online CPUs.
        let raw = unsafe {
            sys::perf_buffer__new_raw(
                map.as_fd().as_raw_fd(),
                pages as sys::size_t,
                &raw mut attr,
                Some(on_record),
                copied.as_ptr().cast(),
                ptr::null(),
            )
        };
        // Since libbpf 1.0, the result is null on error, and errno is set.
        let Some(raw) = NonNull::new(raw) else {
            let error = io::Error::last_os_error();
            // SAFETY: made by Box::leak above, and libbpf did not keep it.
            drop(unsafe { Box::from_raw(copied.as_ptr()) });
            return Err(error);
        };
        // SAFETY: `raw` is valid, as just checked.
        let rings = unsafe { sys::perf_buffer__buffer_cnt(raw.as_ptr()) };
        Ok(Self {
            raw,
            copied,
            rings: usize::try_from(rings).unwrap_or(usize::MAX),
            ring_bytes,
            map,
        })
    }
}

impl Buffer for PerfBuffer {
    fn bytes(&self) -> usize {
        self.rings * self.ring_bytes
    }

    fn wakeup_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the epoll descriptor stays open as long as the buffer exists, and the
        // returned value borrows the buffer.
        unsafe { BorrowedFd::borrow_raw(sys::perf_buffer__epoll_fd(self.raw.as_ptr())) }
    }

    fn close(&mut self) {
        for cpu in 0..self.map.max_entries() {
            // ENOENT: the CPU has no ring.
            let _ = self.map.delete(&cpu.to_ne_bytes());
        }
    }

    /// After an error in one ring, the others are still drained. Returns the first error.
    fn drain(&mut self, sample: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        let mut result = Ok(());
        for ring in 0..self.rings {
            // SAFETY: `raw` is valid; the callback it runs writes to `copied`, to
            // which no reference exists now.
            let err =
                unsafe { sys::perf_buffer__consume_buffer(self.raw.as_ptr(), ring as sys::size_t) };
            if err != 0 && result.is_ok() {
                result = Err(io::Error::from_raw_os_error(-err));
            }
            // SAFETY: libbpf is not running, so this is the only reference.
            unsafe { self.copied.as_mut() }.drain(sample);
        }
        result
    }
}

impl Drop for PerfBuffer {
    fn drop(&mut self) {
        // SAFETY: both were created in `open` and are freed only here; libbpf no longer uses
        // `copied` once the buffer is freed.
        unsafe {
            sys::perf_buffer__free(self.raw.as_ptr());
            drop(Box::from_raw(self.copied.as_ptr()));
        }
    }
}

/// libbpf calls this for every record in a ring. `PERF_RECORD_LOST` is ignored: the programs
/// count what the ring refuses, in the ledger.
///
/// # Safety
/// `samples` is the pointer given to `perf_buffer__new_raw()`, `header` points to a
/// record of `header.size` bytes.
unsafe extern "C" fn on_record(
    samples: *mut c_void,
    _cpu: i32,
    header: *mut sys::perf_event_header,
) -> sys::bpf_perf_event_ret {
    // SAFETY: libbpf passes a whole record, including its header.
    let (kind, record) = unsafe {
        let size = usize::from((*header).size);
        (
            (*header).type_,
            std::slice::from_raw_parts(header.cast::<u8>(), size),
        )
    };
    if kind == sys::PERF_RECORD_SAMPLE {
        // SAFETY: `drain` keeps no reference to the samples while libbpf runs.
        let samples = unsafe { &mut *samples.cast::<Records>() };
        // A sample with an impossible size becomes an empty record, which the decoder rejects and
        // counts.
        samples.push(raw_data(record).unwrap_or(&[]));
    }
    sys::LIBBPF_PERF_EVENT_CONT
}

/// The data of a `PERF_RECORD_SAMPLE` with `PERF_SAMPLE_RAW` alone: header, `u32`
/// size, data (`perf_event_open(2)`).
fn raw_data(record: &[u8]) -> Option<&[u8]> {
    let size = record.get(HEADER..RAW_DATA)?;
    let size = u32::from_ne_bytes(size.try_into().ok()?);
    record.get(RAW_DATA..)?.get(..usize::try_from(size).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(size: u32, data: &[u8]) -> Vec<u8> {
        let mut record = vec![0; HEADER];
        record.extend(size.to_ne_bytes());
        record.extend(data);
        record
    }

    #[test]
    fn a_sample_has_the_size_that_it_states_unless_its_record_is_shorter() {
        assert_eq!(raw_data(&record(3, b"abcd")), Some(&b"abc"[..]));
        assert_eq!(raw_data(&record(0, b"abcd")), Some(&b""[..]));
        assert_eq!(raw_data(&record(5, b"abcd")), None);
        assert_eq!(raw_data(&record(u32::MAX, b"abcd")), None);
        assert_eq!(raw_data(&record(0, b"")[..HEADER + 2]), None);
        assert_eq!(raw_data(&[]), None);
    }
}
