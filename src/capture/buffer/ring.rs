//! The ring buffer: all CPUs share it, and its events are in the order of reservation. It does
//! not need `perf_event_open(2)`.

use std::fmt;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use libbpf_rs::{MapCore, MapHandle, RingBuffer, RingBufferBuilder};
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};

use super::Buffer;
use super::records::Records;
use crate::record::Event;

pub(in crate::capture) struct Ring {
    buffer: RingBuffer<'static>,
    copied: Arc<Mutex<Records>>,
    /// Watches the map edge-triggered. The map's own descriptor is readable whenever there is
    /// data, which would keep the reader awake in a storm.
    wakeups: OwnedFd,
    bytes: usize,
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring")
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

impl Ring {
    /// Maps the memory of `map`, a `BPF_MAP_TYPE_RINGBUF`.
    pub(in crate::capture) fn open(map: &MapHandle) -> libbpf_rs::Result<Self> {
        let copied = Arc::new(Mutex::new(Records::default()));
        let copy_to = Arc::clone(&copied);
        let mut builder = RingBufferBuilder::new();
        builder.add(map, move |record| {
            copy_to
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(record);
            0
        })?;
        let buffer = builder.build()?;
        let wakeups = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(io::Error::from)?;
        let edges = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&wakeups, map, epoll::EventData::new_u64(0), edges).map_err(io::Error::from)?;
        Ok(Self {
            buffer,
            copied,
            wakeups,
            bytes: usize::try_from(map.max_entries()).unwrap_or(usize::MAX),
        })
    }
}

impl Buffer for Ring {
    fn bytes(&self) -> usize {
        self.bytes
    }

    fn wakeup_fd(&self) -> BorrowedFd<'_> {
        self.wakeups.as_fd()
    }

    fn close(&mut self) {
        // The ring buffer is in the map, which keeps its events.
    }

    fn drain(&mut self, sample: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        // Consume the edge before reading: later events trigger another one.
        let mut edge = Vec::with_capacity(1);
        epoll::wait(
            &self.wakeups,
            spare_capacity(&mut edge),
            Some(&Timespec::default()),
        )?;
        // Bounded, because a storm may refill the buffer as fast as it is drained.
        let consumed = self.buffer.consume_raw_n(self.bytes / size_of::<Event>());
        self.copied
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .drain(sample);
        if consumed < 0 {
            return Err(io::Error::from_raw_os_error(-consumed));
        }
        Ok(())
    }
}
