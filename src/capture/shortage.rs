//! Distinguishes what the kernel does not support from what failed for lack of a resource.

use std::fmt::Display;

use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};
use rustix::system::uname;

/// Returns the limit that caused an error if the same call may succeed later, or None if the kernel
/// does not support or permit the call.
pub(super) fn limit(error: &impl Display) -> Option<String> {
    of_errno(errno(error)?, memlock_of_bpf())
}

/// Like [`limit`], for attaching a program. The kernel refuses this while the programs of other
/// tools occupy the function (`bpf_trampoline_link_prog()` in `kernel/bpf/trampoline.c`).
pub(super) fn limit_of_attaching(error: &impl Display) -> Option<String> {
    let is_occupied = matches!(errno(error), Some(Errno::BUSY | Errno::TOOBIG));
    let others = || "other BPF programs at the same function; `bpftool link` shows them".to_owned();
    is_occupied.then(others).or_else(|| limit(error))
}

/// Returns the limit that an errno stands for. `memlock` is the limit of locked memory in bytes, if
/// the kernel counts the memory of BPF as locked.
fn of_errno(errno: Errno, memlock: Option<u64>) -> Option<String> {
    match (errno, memlock) {
        (Errno::NOMEM, _) => Some(
            "memory: of the memory cgroup that this process runs in (memory.max), or of the host. \
             Some 10 MB are needed"
                .to_owned(),
        ),
        (Errno::MFILE, _) => {
            let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
            Some(format!(
                "open descriptors of this process: {limit} (RLIMIT_NOFILE; LimitNOFILE= in a unit). \
                 64 and one for each CPU are enough for the start"
            ))
        }
        (Errno::NFILE, _) => Some("open files on this host (fs.file-max)".to_owned()),
        (Errno::PERM, Some(bytes)) => Some(format!(
            "locked memory, which counts that of BPF before Linux 5.11: {bytes} bytes \
             (RLIMIT_MEMLOCK; LimitMEMLOCK=infinity in a unit, `ulimit -l unlimited` in a shell). \
             A seccomp filter would cause the same error"
        )),
        (Errno::AGAIN | Errno::INTR | Errno::BUSY | Errno::NOSPC | Errno::NOBUFS, _) => {
            Some("something in the kernel that is in use".to_owned())
        }
        _ => None,
    }
}

/// The errno at the end of an error's text. libbpf-rs exposes the error of the system call only by
/// this text, which is that of [`std::io::Error`].
fn errno(error: &impl Display) -> Option<Errno> {
    let text = format!("{error:#}");
    let number = text.rsplit_once("(os error ")?.1.strip_suffix(')')?;
    number.parse().ok().map(Errno::from_raw_os_error)
}

/// The limit of locked memory in bytes, if there is one and it applies to BPF (before Linux 5.11).
fn memlock_of_bpf() -> Option<u64> {
    let limit = getrlimit(Resource::Memlock).current?;
    let kernel = uname();
    let release = kernel.release().to_str().unwrap_or_default();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    let mut number = || numbers.next().and_then(|n| n.parse::<u32>().ok());
    (number()? == 5 && number()? < 11).then_some(limit)
}

#[cfg(test)]
mod tests {
    use libbpf_rs::ErrorExt;

    use super::*;

    #[test]
    fn an_error_that_may_pass_names_its_limit_and_others_do_not() {
        for (errno, memlock, limit) in [
            (Errno::NOMEM, None, Some("memory.max")),
            (Errno::MFILE, None, Some("RLIMIT_NOFILE")),
            (Errno::NFILE, None, Some("fs.file-max")),
            (Errno::AGAIN, None, Some("in use")),
            (Errno::PERM, Some(65536), Some("RLIMIT_MEMLOCK")),
            (Errno::PERM, None, None),
            (Errno::INVAL, Some(65536), None),
            (Errno::NOTSUP, None, None),
            (Errno::SRCH, None, None),
        ] {
            let found = of_errno(errno, memlock);
            assert_eq!(found.is_some(), limit.is_some(), "{errno:?}");
            if let (Some(found), Some(limit)) = (found, limit) {
                assert!(found.contains(limit), "{found}");
            }
        }
    }

    #[test]
    fn the_errno_is_found_at_the_end_of_an_error_with_context() {
        let error = libbpf_rs::Error::from_raw_os_error(Errno::MFILE.raw_os_error());
        let error = error.context("loading");
        assert_eq!(errno(&error), Some(Errno::MFILE));
        assert!(limit(&error).is_some());
        let busy = libbpf_rs::Error::from_raw_os_error(Errno::TOOBIG.raw_os_error());
        assert_eq!(limit(&busy), None);
        assert!(limit_of_attaching(&busy).is_some());
    }
}
