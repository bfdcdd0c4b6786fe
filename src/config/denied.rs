//! Explains that the permission to read a file was denied.

use std::io;

/// Adds to a denied permission which user was denied.
pub(super) fn explain_denied(error: io::Error) -> io::Error {
    if error.kind() != io::ErrorKind::PermissionDenied {
        return error;
    }
    let uid = rustix::process::geteuid().as_raw();
    let message = format!("{error}: it must be readable for the user with the uid {uid}");
    io::Error::new(io::ErrorKind::PermissionDenied, message)
}
