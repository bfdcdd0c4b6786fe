//! The user-space ends of the transports.

pub(in crate::capture) mod perf;
mod records;
pub(in crate::capture) mod ring;

use std::io;
use std::os::fd::BorrowedFd;

pub(in crate::capture) trait Buffer: Send + std::fmt::Debug {
    /// The size in bytes, summed over all CPUs.
    fn bytes(&self) -> usize;
    /// Becomes readable at the latest when a buffer is half full.
    fn wakeup_fd(&self) -> BorrowedFd<'_>;
    /// Makes further events overflow to the tally if the buffer ends with this process. An event of a
    /// program that is running now may still arrive.
    fn close(&mut self);
    /// Drains the buffers, calling `sample` with the bytes of each sample.
    fn drain(&mut self, sample: &mut dyn FnMut(&[u8])) -> io::Result<()>;
}
