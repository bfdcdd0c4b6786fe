//! Finds the pod that a cgroup's path names, by the names that kubelet gives to the cgroups of pods
//! (`pkg/kubelet/cm/pod_container_manager_linux.go` and `cgroup_manager_linux.go` in Kubernetes).

/// The cgroup of all pods of a kubelet.
const PODS: &[u8] = b"kubepods";

/// The classes of pods that have a cgroup of their own.
const CLASSES: [&[u8]; 2] = [b"burstable", b"besteffort"];

/// Returns the UID of the first pod. With the systemd driver, the slice of a pod is named
/// `kubepods-burstable-pod<uid>.slice`, with `_` for each `-` of the UID, and starts with the names of
/// the slices above it. With the cgroupfs driver, the path has `kubepods/burstable/pod<uid>`.
/// Pods of the class Guaranteed are directly in `kubepods`.
pub(super) fn uid<'a>(names: impl Iterator<Item = &'a [u8]>) -> Option<Vec<u8>> {
    let mut in_pods = false;
    for name in names {
        if let Some(uid) = of_slice(name) {
            return Some(uid);
        }
        if in_pods && let Some(uid) = of_pod(name) {
            return Some(uid.to_vec());
        }
        in_pods = name == PODS || (in_pods && CLASSES.contains(&name));
    }
    None
}

/// Returns the UID in the name of a pod's slice, which may be followed by `:cri-containerd:<id>` (see
/// [`container_id`](super::cgroup)).
fn of_slice(name: &[u8]) -> Option<Vec<u8>> {
    let slice = name.split(|&b| b == b':').next()?;
    let mut levels = slice.strip_suffix(b".slice")?.rsplit(|&b| b == b'-');
    let uid = of_pod(levels.next()?)?;
    let above = levels.find(|level| !CLASSES.contains(level))?;
    let dashed = |&b: &u8| if b == b'_' { b'-' } else { b };
    (above == PODS).then(|| uid.iter().map(dashed).collect())
}

fn of_pod(name: &[u8]) -> Option<&[u8]> {
    name.strip_prefix(b"pod").filter(|uid| !uid.is_empty())
}

#[cfg(test)]
mod tests {
    use crate::names::cgroup::Cgroup;

    const CONTAINER: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    const UID: &str = "2d9ab3e4-1c4d-4b2b-8a2f-3a1d8b7d0c11";
    const INNER: &str = "ffffffff-1c4d-4b2b-8a2f-3a1d8b7d0c11";
    /// The hash of a static pod's configuration.
    const STATIC: &str = "8b98b6f2e1c5e1a1e5e5e3e1d3f1a0c9";

    /// Checks a path in which `ID` stands for a container, `UID` for a pod as cgroupfs names it, and
    /// `U_D` for a pod as systemd names it.
    #[track_caller]
    fn is(path: &str, uid: &str, expected: &str) {
        let path = path
            .replace("UID", uid)
            .replace("U_D", &uid.replace('-', "_"))
            .replace("ID", CONTAINER);
        let cgroup = Cgroup::of_path(path.as_bytes());
        assert_eq!(std::str::from_utf8(&cgroup.pod_uid), Ok(expected), "{path}");
    }

    #[test]
    fn pods_are_recognized_with_both_drivers_and_every_runtime() {
        for path in [
            // The systemd driver with containerd, CRI-O and cri-dockerd
            "/kubepods.slice/kubepods-podU_D.slice/cri-containerd-ID.scope",
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podU_D.slice/crio-ID.scope/container",
            "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-podU_D.slice/docker-ID.scope",
            "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-podU_D.slice",
            // The cgroupfs driver
            "/kubepods/podUID/ID",
            "/kubepods/burstable/podUID/ID/init",
            "/kubepods/besteffort/podUID/crio-ID",
            // kubelet with the systemd driver, containerd with the cgroupfs driver
            "/system.slice/containerd.service/kubepods-burstable-podU_D.slice:cri-containerd:ID",
            // A kubelet with another root, as in kind, and in a container, as k3s
            "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-podU_D.slice/cri-containerd-ID.scope",
            "/docker/ID/kubelet/kubepods/burstable/podUID/ID",
            "/docker/ID/kubepods/podUID/ID",
            "/system.slice/docker-ID.scope/kubepods.slice/kubepods-podU_D.slice/cri-containerd-ID.scope",
        ] {
            for uid in [UID, STATIC] {
                is(path, uid, uid);
            }
        }
    }

    #[test]
    fn the_pod_that_contains_a_kubelet_is_that_of_its_pods() {
        let slice = "/kubepods.slice/kubepods-podU_D.slice/cri-containerd-ID.scope";
        let plain = "/kubepods/burstable/podUID/ID";
        let inner = plain.replace("UID", INNER);
        is(&format!("{slice}{inner}"), UID, UID);
        is(&format!("{plain}/kubelet{inner}"), UID, UID);
        is(&format!("{inner}{slice}"), UID, INNER);
    }

    #[test]
    fn what_only_resembles_a_pod_is_not_one() {
        for path in [
            "/kubepods",
            "/kubepods/burstable/ID",
            "/kubepods/pod",
            "/kubepods/other/podUID",
            "/burstable/podUID",
            "/podUID",
            "/kubepods.slice/kubepods-burstable.slice",
            "/kubepods.slice/kubepods-pod.slice",
            "/kubepods.slice/kubepods-other-podU_D.slice",
            "/a.slice/a-podU_D.slice",
            "/kubepods-podU_D.scope",
            "/machine.slice/machine-libpod_pod_ID.slice/libpod-ID.scope",
        ] {
            is(path, UID, "");
        }
    }
}
