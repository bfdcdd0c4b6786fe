//! A flush: how it is requested, and what the reader answers.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::event::{EventfdFlags, eventfd};

use crate::capture::source::ProgramStats;
use crate::record::{FailureCounts, Ledgers};

/// The state of the stages before the aggregator at the end of a flush.
#[derive(Debug, Clone, Default)]
pub struct Flush {
    /// The highest request that this flush answers; see [`Control::request_flush`].
    pub request: u64,
    /// The kernel's account when the flush began: at least its `seen` is accounted for.
    pub before: Ledgers,
    /// The kernel's account when it ended: at most its `seen` is accounted for.
    pub after: Ledgers,
    /// Failed execs.
    pub failures: FailureCounts,
    /// Events and tallied counts that could not be decoded.
    pub undecodable: u64,
    /// How often the reader woke up.
    pub wakeups: u64,
    /// How many messages with events or counts it has sent.
    pub batches: u64,
    /// The programs' own account when the flush began.
    pub programs: Vec<ProgramStats>,
}

/// How others talk to the reader thread.
#[derive(Debug, Clone)]
pub struct Control(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    eventfd: OwnedFd,
    requested: AtomicU64,
    stop: AtomicBool,
}

impl Control {
    /// Fails when no file descriptor is left.
    pub fn new() -> io::Result<Self> {
        Ok(Self(Arc::new(Shared {
            eventfd: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            requested: AtomicU64::new(0),
            stop: AtomicBool::new(false),
        })))
    }

    /// Ask for a flush that begins after this call. It has been made when a
    /// [`Flush::request`] is at least the number returned; requests that the reader
    /// finds together are answered by one flush.
    pub fn request_flush(&self) -> u64 {
        let request = self.0.requested.fetch_add(1, Ordering::AcqRel) + 1;
        self.wake();
        request
    }

    /// Ask the reader to detach, flush once more and end.
    pub fn stop(&self) {
        self.0.stop.store(true, Ordering::Release);
        self.wake();
    }

    fn wake(&self) {
        // The only error is EAGAIN, of a counter at its maximum: it is readable then.
        let _ = rustix::io::write(&self.0.eventfd, &1_u64.to_ne_bytes());
    }

    /// Becomes readable when somebody asks for something.
    pub(super) fn wakeup_fd(&self) -> BorrowedFd<'_> {
        self.0.eventfd.as_fd()
    }

    /// The highest number that [`request_flush`](Self::request_flush) has returned.
    pub(super) fn requested(&self) -> u64 {
        self.0.requested.load(Ordering::Acquire)
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.0.stop.load(Ordering::Acquire)
    }

    pub(super) fn acknowledge(&self) {
        // EAGAIN: nothing to acknowledge.
        let _ = rustix::io::read(&self.0.eventfd, &mut [0; 8]);
    }
}
