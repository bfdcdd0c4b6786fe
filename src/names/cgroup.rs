//! Finds the systemd unit, the slice, the container and the pod that a cgroup's path names.
//!
//! Units and slices are those that `systemctl status PID` shows: systemd names a cgroup after its
//! unit (`cg_path_get_unit()` and `cg_path_get_slice()` in systemd's `src/basic/cgroup-util.c`). A
//! user's own systemd, with everything that it starts, is one unit, such as `user@1000.service`.
//! Containers are recognized by the 64 hexadecimal digits of their id, which runtimes write with
//! both cgroup drivers, systemd and cgroupfs.

use std::io;
use std::sync::Arc;

use super::own_label::{OwnLabel, OwnLabels};
use super::pod;
use crate::record::{CgroupName, nul_terminated};

/// Suffixes of the units that have processes (`systemd.unit(5)`).
pub(super) const UNITS: [&[u8]; 5] = [b".service", b".scope", b".socket", b".mount", b".swap"];

/// The slice that contains all others.
const ROOT_SLICE: &[u8] = b"-.slice";

/// The number of digits in a container's id.
pub(super) const CONTAINER_ID: usize = 64;

/// The number of digits that `docker ps` shows.
pub(super) const SHORT_ID: usize = 12;

/// The parent of the cgroups of Podman's pods, with the cgroupfs driver.
const PODMAN_PARENT: &[u8] = b"libpod_parent";

/// The unit, slice, container and pod that a cgroup belongs to; empty if it belongs to none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cgroup {
    /// systemd's unit, such as `ssh.service`.
    pub unit: Arc<[u8]>,
    /// The slice that contains the unit, such as `system.slice`.
    pub slice: Arc<[u8]>,
    /// The first 12 digits of the outermost container's id, which is the one that the host's
    /// runtime knows.
    pub container: Arc<[u8]>,
    /// The UID of the outermost pod, as Kubernetes' API writes it. That of a static pod is the hash
    /// of its configuration.
    pub pod_uid: Arc<[u8]>,
    /// The values of the labels that the configuration defines.
    own: Box<[(OwnLabel, Arc<[u8]>)]>,
}

impl Cgroup {
    /// Parses a path that starts at the root of the hierarchy, which is `/`. Accepts any bytes.
    pub fn of_path(path: &[u8]) -> Self {
        let names = || path.split(|&b| b == b'/').filter(|name| !name.is_empty());
        let mut slice: Option<&[u8]> = None;
        let mut unit = None;
        for name in names().map(unescaped) {
            if is_named(name, b".slice") {
                slice = Some(name);
            } else {
                let is_unit = UNITS.iter().any(|suffix| is_named(name, suffix));
                unit = is_unit.then_some(name);
                break;
            }
        }
        let slice = slice.or(unit.map(|_| ROOT_SLICE)).unwrap_or_default();
        let above = || [&b""[..]].into_iter().chain(names());
        let container = names()
            .zip(above())
            .find_map(|(name, parent)| container_id(name, parent));
        Self {
            unit: unit.unwrap_or_default().into(),
            slice: slice.into(),
            container: container.unwrap_or_default().into(),
            pod_uid: pod::uid(names()).unwrap_or_default().into(),
            own: Box::default(),
        }
    }

    /// Parses a path like [`of_path`](Self::of_path), and evaluates the labels that the configuration
    /// defines.
    pub fn labelled(path: &[u8], labels: &OwnLabels) -> Self {
        Self {
            own: labels.values(path),
            ..Self::of_path(path)
        }
    }

    /// Returns the value of a label that the configuration defines, or None if the cgroup was read
    /// without it.
    pub fn own(&self, label: &OwnLabel) -> Option<&Arc<[u8]>> {
        let mut own = self.own.iter();
        own.find_map(|(of, value)| (of == label).then_some(value))
    }
}

/// Builds the path of a cgroup from its name and the names of its ancestors. Returns None if one
/// of them is not known.
pub fn path(
    id: u64,
    mut name: impl FnMut(u64) -> io::Result<Option<CgroupName>>,
) -> io::Result<Option<Vec<u8>>> {
    // The root, and the levels below it that `bpf/cgroup.h` names (`NAMED_DEPTH`).
    const DEEPEST: usize = 1 + 64;
    let mut names = Vec::new();
    let mut next = id;
    while next != 0 {
        match name(next)? {
            Some(name) if names.len() < DEEPEST => {
                next = name.parent_id;
                names.push(name);
            }
            _ => return Ok(None),
        }
    }
    let mut path = Vec::new();
    // The root has no name.
    for name in names.iter().rev().skip(1) {
        path.push(b'/');
        path.extend_from_slice(nul_terminated(&name.name));
    }
    if path.is_empty() {
        path.push(b'/');
    }
    Ok(Some(path))
}

/// Removes the `_` that systemd puts before names that could be mistaken for files of the cgroup
/// file system (`cg_escape()`).
fn unescaped(name: &[u8]) -> &[u8] {
    name.strip_prefix(b"_").unwrap_or(name)
}

fn is_named(name: &[u8], suffix: &[u8]) -> bool {
    name.len() > suffix.len() && name.ends_with(suffix)
}

/// Returns the truncated id in the name of a container's cgroup: `<id>`, `docker-<id>.scope`,
/// `cri-containerd-<id>.scope`, `crio-<id>`, `libpod-<id>.scope`, or
/// `<slice>:cri-containerd:<id>`, which results if the cgroupfs driver is given a name in the
/// form of the systemd driver. A container's monitor (`crio-conmon-<id>.scope`) is outside the
/// container. With the cgroupfs driver, the cgroup of a Podman pod is named after the pod's id.
fn container_id<'a>(name: &'a [u8], parent: &[u8]) -> Option<&'a [u8]> {
    let name = name.strip_suffix(b".scope").unwrap_or(name);
    let (runtime, id) = name.split_at(name.len().checked_sub(CONTAINER_ID)?);
    let is_runtime = match runtime {
        [] => parent != PODMAN_PARENT,
        [.., b'-' | b':'] => !runtime.ends_with(b"-conmon-"),
        _ => false,
    };
    let is_id = id.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    (is_runtime && is_id).then(|| &id[..SHORT_ID])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The id that replaces `ID` in the paths of the tests.
    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    const SHORT: &str = "0123456789ab";

    #[track_caller]
    fn is(path: &str, unit: &str, slice: &str, container: &str) {
        let id = |text: &str| text.replace("ID", ID);
        let cgroup = Cgroup::of_path(id(path).as_bytes());
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        assert_eq!(
            (
                text(&cgroup.unit),
                text(&cgroup.slice),
                text(&cgroup.container)
            ),
            (id(unit), slice.to_owned(), container.to_owned()),
            "{path}"
        );
    }

    #[test]
    fn units_and_slices_are_those_of_systemd() {
        for (path, unit, slice) in [
            ("/", "", ""),
            ("/init.scope", "init.scope", "-.slice"),
            ("/system.slice/ssh.service", "ssh.service", "system.slice"),
            (
                "/system.slice/system-getty.slice/getty@tty1.service",
                "getty@tty1.service",
                "system-getty.slice",
            ),
            ("/system.slice/_cpu.service", "cpu.service", "system.slice"),
            (
                "/system.slice/docker.service/init",
                "docker.service",
                "system.slice",
            ),
            (
                "/user.slice/user-1000.slice/session-3.scope",
                "session-3.scope",
                "user-1000.slice",
            ),
            (
                "/user.slice/user-1000.slice/user@1000.service/app.slice/app-foot.service",
                "user@1000.service",
                "user-1000.slice",
            ),
            ("/system.slice", "", "system.slice"),
            ("/.service", "", ""),
            ("/mine/ssh.service", "", ""),
            (
                "/machine.slice/machine-a.scope/payload/system.slice/x.service",
                "machine-a.scope",
                "machine.slice",
            ),
        ] {
            is(path, unit, slice, "");
        }
    }

    #[test]
    fn containers_are_recognized_in_every_form_that_runtimes_use() {
        for (path, unit, slice) in [
            // Docker, with the systemd and the cgroupfs driver
            (
                "/system.slice/docker-ID.scope",
                "docker-ID.scope",
                "system.slice",
            ),
            ("/docker/ID", "", ""),
            (
                "/system.slice/docker.service/docker/ID",
                "docker.service",
                "system.slice",
            ),
            // containerd under Kubernetes, both drivers
            (
                "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod0a.slice/cri-containerd-ID.scope",
                "cri-containerd-ID.scope",
                "kubepods-burstable-pod0a.slice",
            ),
            (
                "/kubepods/burstable/pod2d9ab3e4-1c4d-4b2b-8a2f-3a1d8b7d0c11/ID",
                "",
                "",
            ),
            (
                "/kubepods/pod2d9ab3e4-1c4d-4b2b-8a2f-3a1d8b7d0c11/ID",
                "",
                "",
            ),
            (
                "/system.slice/containerd.service/kubepods-besteffort-pod0a.slice:cri-containerd:ID",
                "containerd.service",
                "system.slice",
            ),
            // CRI-O
            (
                "/kubepods.slice/kubepods-pod0a.slice/crio-ID.scope/container",
                "crio-ID.scope",
                "kubepods-pod0a.slice",
            ),
            ("/kubepods/besteffort/pod0a/crio-ID", "", ""),
            // Podman: as root, as a user, with the cgroupfs driver
            (
                "/machine.slice/libpod-ID.scope/container",
                "libpod-ID.scope",
                "machine.slice",
            ),
            (
                "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-ID.scope/container",
                "user@1000.service",
                "user-1000.slice",
            ),
            ("/libpod_parent/libpod-ID", "", ""),
            (
                "/libpod_parent/ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff/libpod-ID",
                "",
                "",
            ),
            // A container in a container: the host's runtime knows the outer one.
            (
                "/docker/ID/kubelet.slice/kubelet-kubepods.slice/cri-containerd-ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff.scope",
                "",
                "",
            ),
        ] {
            is(path, unit, slice, SHORT);
        }
    }

    #[test]
    fn a_name_that_only_resembles_a_container_is_not_one() {
        for path in [
            "/machine.slice/libpod-conmon-ID.scope",
            "/kubepods.slice/crio-conmon-ID.scope",
            "/docker/IDa",
            "/docker/0123456789ab",
            "/docker/0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF",
            "/docker/xID",
            "/libpod_parent/ID",
            "/libpod_parent/ID/libpod-conmon-ID",
        ] {
            let path = path.replace("ID", ID);
            assert_eq!(&*Cgroup::of_path(path.as_bytes()).container, b"", "{path}");
        }
    }

    fn name(parent_id: u64, name: &[u8]) -> CgroupName {
        let mut it = CgroupName {
            parent_id,
            name: [0; 256],
        };
        it.name[..name.len()].copy_from_slice(name);
        it
    }

    #[test]
    fn a_path_is_built_from_the_names_of_the_ancestors() {
        let names = |id| {
            Ok(match id {
                1 => Some(name(0, b"")),
                2 => Some(name(1, b"system.slice")),
                3 => Some(name(2, b"ssh.service")),
                4 => Some(name(5, b"its parent is not known")),
                6 => Some(name(6, b"its own parent")),
                _ => None,
            })
        };
        let found = |id| path(id, names).unwrap();
        assert_eq!(found(1).unwrap(), b"/");
        assert_eq!(found(3).unwrap(), b"/system.slice/ssh.service");
        assert_eq!([found(4), found(5), found(6)], [None, None, None]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_accepted_as_a_path(path in proptest::collection::vec(any::<u8>(), 0..300)) {
            let cgroup = Cgroup::of_path(&path);
            prop_assert!(cgroup.container.is_empty() || cgroup.container.len() == SHORT_ID);
        }
    }
}
