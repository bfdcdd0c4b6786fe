//! The descriptors that systemd passes to a service (`sd_listen_fds_with_names(3)`).

#![allow(unsafe_code)] // one of the exceptions named in Cargo.toml: descriptors known by number

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// Takes the descriptors with their names. A second call finds none.
pub fn take() -> io::Result<Vec<(String, OwnedFd)>> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::AcqRel) {
        return Ok(Vec::new());
    }
    let passed = sd_notify::listen_fds_with_names()?;
    let owned = passed.map(|(fd, name)| {
        // SAFETY: `LISTEN_PID` is this process, so the descriptor is open and was passed for it to
        // own. Nothing else in this process knows its number, and this code runs only once.
        (name, unsafe { OwnedFd::from_raw_fd(fd) })
    });
    Ok(owned.collect())
}
