//! Writes lines to standard error without blocking for long: its reader may hang, or its disk may
//! be full.

use std::io::{self, StderrLock, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::retry_on_intr;

/// A pipe that polls as writable has room for at least this many bytes (`pipe_poll()` in the
/// kernel's `fs/pipe.c`: one page). A socket has room for more.
const ROOM: usize = 4096;

/// How long a write waits for room. After a wait in vain, writes fail at once until there is room
/// again.
const PATIENCE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};
const NONE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

static LOST: AtomicU64 = AtomicU64::new(0);
static IS_STUCK: AtomicBool = AtomicBool::new(false);
/// Whether only a part of the previous line was written.
static IS_TRUNCATED: AtomicBool = AtomicBool::new(false);

/// Returns how many lines have been lost since the start.
pub(super) fn lost() -> u64 {
    LOST.load(Ordering::Relaxed)
}

/// Treats each write as a line. Never fails: a line that cannot be written is counted as lost.
#[derive(Debug)]
pub(super) struct Stderr;

impl Write for Stderr {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if put(line, &mut io::stderr().lock()).is_err() {
            LOST.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn put(line: &[u8], stderr: &mut StderrLock<'_>) -> io::Result<()> {
    let with_end;
    let mut rest = line;
    if IS_TRUNCATED.load(Ordering::Relaxed) {
        with_end = [b"\n", line].concat();
        rest = &with_end;
    }
    while !rest.is_empty() {
        await_room(stderr)?;
        let part = rest.len().min(ROOM);
        let written = match stderr.write(&rest[..part]) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            written => written?,
        };
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        rest = &rest[written..];
        IS_TRUNCATED.store(!rest.is_empty(), Ordering::Relaxed);
    }
    Ok(())
}

fn await_room(stderr: &StderrLock<'_>) -> io::Result<()> {
    let is_stuck = IS_STUCK.load(Ordering::Relaxed);
    let patience = if is_stuck { NONE } else { PATIENCE };
    let mut fds = [PollFd::new(stderr, PollFlags::OUT)];
    // If the file has an error, the write reports it.
    let has_room = retry_on_intr(|| poll(&mut fds, Some(&patience)))? > 0;
    IS_STUCK.store(!has_room, Ordering::Relaxed);
    if has_room {
        Ok(())
    } else {
        Err(io::ErrorKind::WouldBlock.into())
    }
}
