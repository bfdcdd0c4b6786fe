//! A flush: the request for it and the reader's answer.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};

use crate::capture::source::ProgramStats;
use crate::record::{ExitCounts, FailureCounts, Ledgers};
use crate::sys::clock::Timestamp;

/// The state of the kernel side and of the reader at a flush.
#[derive(Debug, Clone, Default)]
pub struct Flush {
    /// The highest request that this flush answers; see [`Control::request_flush`].
    pub request: u64,
    /// Whether a scrape shows the counts.
    pub is_scrape: bool,
    /// When the flush began. What it does not contain happened later.
    pub began: Timestamp,
    /// The ledgers when the flush began. The number of observations that are accounted for after
    /// the flush must be at least their `seen`.
    pub before: Ledgers,
    /// The ledgers when the flush ended. The number accounted for must be at most their `seen`.
    pub after: Ledgers,
    /// When `after` was read: the time of `CLOCK_MONOTONIC`.
    pub ended: Duration,
    pub failures: FailureCounts,
    pub exits: ExitCounts,
    /// Observations, from events and from the tally, that could not be decoded.
    pub undecodable: u64,
    /// Wakeups of the reader.
    pub wakeups: u64,
    /// Messages with events or counts that the reader has sent.
    pub batches: u64,
    /// The kernel's statistics of the programs when the flush began.
    pub programs: Vec<ProgramStats>,
}

/// Requests to the reader thread.
#[derive(Debug, Clone)]
pub struct Control(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    eventfd: OwnedFd,
    requested: AtomicU64,
    /// The number of scrapes that wait for a snapshot.
    scrapes: AtomicUsize,
    stop: AtomicBool,
}

/// A scrape that waits for a snapshot, until the value is dropped.
#[derive(Debug)]
pub struct Scrape(Control);

impl Drop for Scrape {
    fn drop(&mut self) {
        self.0.0.scrapes.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Control {
    /// Fails if the process or the host has no file descriptor left.
    pub fn new() -> io::Result<Self> {
        Ok(Self(Arc::new(Shared {
            eventfd: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            requested: AtomicU64::new(0),
            scrapes: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
        })))
    }

    /// Requests a flush that begins after this call and returns its number. The flush with a
    /// [`Flush::request`] of at least this number answers the request. One flush answers all
    /// requests that are pending when it begins.
    pub fn request_flush(&self) -> u64 {
        let request = self.0.requested.fetch_add(1, Ordering::AcqRel) + 1;
        self.wake();
        request
    }

    /// Marks the flushes that begin from now on as those of a scrape, until the returned value is
    /// dropped. A scrape shows the latest snapshot, which can be that of a later flush than the one
    /// it has requested.
    pub fn begin_scrape(&self) -> Scrape {
        self.0.scrapes.fetch_add(1, Ordering::AcqRel);
        Scrape(self.clone())
    }

    /// Asks the reader to stop its source, flush once more and return.
    pub fn stop(&self) {
        self.0.stop.store(true, Ordering::Release);
        self.wake();
    }

    fn wake(&self) {
        // The only error is EAGAIN: the counter is at its maximum, and thus readable.
        let _ = rustix::io::write(&self.0.eventfd, &1_u64.to_ne_bytes());
    }

    /// Returns a file descriptor that becomes readable at each request.
    pub(super) fn wakeup_fd(&self) -> BorrowedFd<'_> {
        self.0.eventfd.as_fd()
    }

    /// Returns the highest number that [`request_flush`](Self::request_flush) has returned.
    pub(super) fn requested(&self) -> u64 {
        self.0.requested.load(Ordering::Acquire)
    }

    /// Returns whether a scrape waits for a snapshot.
    pub(super) fn is_scraped(&self) -> bool {
        self.0.scrapes.load(Ordering::Acquire) > 0
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.0.stop.load(Ordering::Acquire)
    }

    pub(super) fn acknowledge(&self) {
        // EAGAIN: there was no request.
        let _ = rustix::io::read(&self.0.eventfd, &mut [0; 8]);
    }
}
