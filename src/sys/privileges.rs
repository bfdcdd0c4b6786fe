//! Raises, checks and drops capabilities.

use std::io;

use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set, set_capabilities,
    set_no_new_privs,
};

/// The capabilities that remain after [`drop_all`], for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// No capability.
    Nothing,
    /// `CAP_BPF`, on kernels that check it at each use of a BPF map.
    Bpf,
}

/// Makes the capabilities that capturing needs effective in this thread, and returns the names of
/// those that it is not permitted to have.
///
/// `CAP_BPF` loads the programs and `CAP_PERFMON` lets them read kernel memory (both
/// since Linux 5.8); `CAP_SYS_ADMIN` includes them (`capabilities(7)`).
///
/// File capabilities with the effective bit would need no raising. But if the bounding set lacks
/// one of them, execve(2) then fails with EPERM (`bprm_caps_from_vfs_caps()` in
/// `security/commoncap.c`), so that not even an error message is possible.
pub fn raise_for_bpf() -> io::Result<Vec<&'static str>> {
    let wanted = CapabilitySet::BPF | CapabilitySet::PERFMON | CapabilitySet::SYS_ADMIN;
    let mut sets = capabilities(None)?;
    let raised = sets.effective | (sets.permitted & wanted);
    if raised != sets.effective {
        sets.effective = raised;
        set_capabilities(None, sets)?;
    }
    Ok(missing(raised))
}

fn missing(effective: CapabilitySet) -> Vec<&'static str> {
    if effective.contains(CapabilitySet::SYS_ADMIN) {
        return Vec::new();
    }
    let needed = [
        (CapabilitySet::BPF, "CAP_BPF"),
        (CapabilitySet::PERFMON, "CAP_PERFMON"),
    ];
    let lacking = needed
        .into_iter()
        .filter(|(capability, _)| !effective.contains(*capability));
    lacking.map(|(_, name)| name).collect()
}

/// Drops the capabilities for good, in this thread and in the threads that it starts later.
///
/// If `kernel.unprivileged_bpf_disabled` is set, kernels before 5.19 check `CAP_BPF` (or
/// `CAP_SYS_ADMIN`) at every `bpf(2)` call. Later kernels check only the map's descriptor.
/// `works_without` finds out which kernel this is. It is called while the capabilities are
/// disabled but not dropped yet. If `works_without` fails, `CAP_BPF` alone is kept.
pub fn drop_all(works_without: impl FnOnce() -> io::Result<()>) -> io::Result<Kept> {
    let before = capabilities(None)?;
    let mut off = before;
    off.effective = CapabilitySet::empty();
    set_capabilities(None, off)?;
    let kept = match works_without() {
        Ok(()) => Kept::Nothing,
        Err(_) if before.permitted.contains(CapabilitySet::BPF) => Kept::Bpf,
        Err(error) => return Err(error),
    };

    let keep = match kept {
        Kept::Nothing => CapabilitySet::empty(),
        Kept::Bpf => CapabilitySet::BPF,
    };
    clear_ambient_capability_set()?;
    set_no_new_privs(true)?;
    set_capabilities(
        None,
        CapabilitySets {
            effective: keep,
            permitted: keep,
            inheritable: CapabilitySet::empty(),
        },
    )?;
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_capabilities_or_the_one_that_includes_them_are_enough() {
        let [bpf, perfmon, admin] = [
            CapabilitySet::BPF,
            CapabilitySet::PERFMON,
            CapabilitySet::SYS_ADMIN,
        ];
        for (effective, expected) in [
            (CapabilitySet::empty(), &["CAP_BPF", "CAP_PERFMON"][..]),
            (bpf, &["CAP_PERFMON"]),
            (perfmon, &["CAP_BPF"]),
            (bpf | perfmon, &[]),
            (admin, &[]),
        ] {
            assert_eq!(missing(effective), expected, "{effective:?}");
        }
    }
}
