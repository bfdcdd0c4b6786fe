//! What the kernel says of a descriptor of a map, a program or a link in `/proc/self/fdinfo`.
//! Reading it needs no capability, while `BPF_OBJ_GET_INFO_BY_FD` needs one on older kernels.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Opens the `fdinfo` of a descriptor.
pub(super) fn open(descriptor: &impl AsFd) -> io::Result<File> {
    let fd = descriptor.as_fd().as_raw_fd();
    File::open(format!("/proc/self/fdinfo/{fd}"))
}

/// Reads the `fdinfo` of a descriptor.
pub(super) fn read(descriptor: &impl AsFd) -> io::Result<String> {
    io::read_to_string(open(descriptor)?)
}

/// Returns the number that is the value of a key. Lines have the form `key:\tvalue`.
pub(super) fn number(fdinfo: &str, key: &str) -> Option<u64> {
    let mut lines = fdinfo.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = lines.find(|(k, _)| *k == key)?;
    value.trim().parse().ok()
}

/// Returns the kernel's id of a map, a program or a link. None for any other descriptor, and for a
/// tracepoint's link before Linux 5.15, which is a perf event.
pub(super) fn id(descriptor: &impl AsFd) -> io::Result<Option<u32>> {
    let fdinfo = read(descriptor)?;
    // The lines of a link include the id of its program.
    let keys = ["link_id", "prog_id", "map_id"];
    let id = keys.into_iter().find_map(|key| number(&fdinfo, key));
    Ok(id.and_then(|id| u32::try_from(id).ok()))
}
