//! Containers as Kubernetes has its runtime make them, by runc: of the image, with what the
//! `DaemonSet` grants, and of a workload beside it.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cgroups::remove_empty_everywhere;
use crate::paths;

pub const DAEMON_SET: &str = include_str!("../../packaging/kubernetes/base/daemonset.yaml");

/// What `RuntimeDefault` allows a container with `CAP_BPF` and `CAP_PERFMON` on x86: the
/// `seccomp.DefaultProfile()` of containerd 1.6.20, made by it.
const SECCOMP: &str = include_str!("containerd-seccomp.json");

/// Of containerd's default specification (`oci/spec.go`), as are the mounts below.
const MASKED: [&str; 10] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/sys/firmware",
    "/proc/scsi",
];
const READ_ONLY: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// A container and its bundle, gone with the value.
#[derive(Debug)]
pub struct Container {
    dir: TempDir,
    id: String,
    cgroup: String,
}

/// The value of a key of the manifest that has one line and one place.
#[track_caller]
pub fn manifest(key: &str) -> &'static str {
    let key = format!("{key}: ");
    let values = DAEMON_SET
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix(&key));
    let values: Vec<_> = values.collect();
    assert_eq!(values.len(), 1, "{key}{values:?}");
    values[0]
}

/// The profile without this system call, which then fails with this error.
pub fn seccomp_without(call: &str, errno: i32) -> Value {
    let mut profile = seccomp();
    for rule in profile["syscalls"].as_array_mut().unwrap() {
        if rule["names"] == json!([call]) {
            rule["action"] = json!("SCMP_ACT_ERRNO");
            rule["errnoRet"] = json!(errno);
            return profile;
        }
    }
    panic!("no rule for {call} alone");
}

pub fn seccomp() -> Value {
    serde_json::from_str(SECCOMP).expect("the profile is JSON")
}

/// Whom the manifest has the daemon run by.
pub fn uid() -> u32 {
    manifest("runAsUser").parse().expect("a uid")
}

impl Container {
    /// The daemon's, confined by this profile.
    pub fn of_the_image(seccomp: &Value, uid: u32) -> Self {
        let container = Self::new('e');
        let packaging = paths::repository().join("packaging");
        let status = Command::new(packaging.join("container/rootfs"))
            .arg(paths::daemon())
            .arg(container.root())
            .status();
        assert!(status.expect("bash can be executed").success());

        let granted = manifest("add").trim_matches(['[', ']']).split(", ");
        let granted: Vec<_> = granted.map(|name| format!("CAP_{name}")).collect();
        assert_eq!(manifest("drop"), "[ALL]");
        let mebibytes = DAEMON_SET.split("limits:").nth(1).unwrap();
        let mebibytes = mebibytes.split("memory: ").nth(1).unwrap();
        let mebibytes: u64 = mebibytes.split("Mi").next().unwrap().parse().unwrap();
        container.configure(
            &json!({
                "user": {
                    "uid": uid,
                    "gid": manifest("runAsGroup").parse::<u32>().unwrap(),
                },
                "args": ["/usr/bin/execsnoopd", "--log.format=json"],
                "cwd": "/",
                "noNewPrivileges": manifest("allowPrivilegeEscalation") == "false",
                // Neither inheritable nor ambient, whoever the user is: containerd's
                // `WithAddedCapabilities()`.
                "capabilities": {
                    "bounding": granted,
                    "effective": granted,
                    "permitted": granted,
                },
            }),
            manifest("readOnlyRootFilesystem") == "true",
            &[json!({
                "destination": manifest("mountPath"),
                "type": "bind",
                "source": packaging.join("kubernetes/base"),
                "options": ["rbind", "rprivate", "ro"],
            })],
            &json!({
                "seccomp": seccomp,
                "resources": {"memory": {"limit": mebibytes << 20}},
            }),
        );
        container
    }

    /// One that executes a program of its own as often as it is told.
    pub fn of_a_workload(program: &Path, name: &str, times: u32) -> Self {
        let container = Self::new('a');
        let root = container.root();
        fs::create_dir_all(root.join("usr")).unwrap();
        for link in ["bin", "lib", "lib64"] {
            symlink(Path::new("usr").join(link), root.join(link)).unwrap();
        }
        let status = Command::new("cp")
            .arg(program)
            .arg(root.join(name))
            .status();
        assert!(status.expect("cp can be executed").success());
        let script = format!("n=0; while [ $n -lt {times} ]; do /{name}; n=$((n + 1)); done");
        container.configure(
            &json!({
                "user": {"uid": 1000, "gid": 1000},
                "args": ["/bin/sh", "-c", script],
                "cwd": "/",
                "noNewPrivileges": true,
            }),
            true,
            &[json!({
                "destination": "/usr",
                "type": "bind",
                "source": "/usr",
                "options": ["rbind", "rprivate", "ro"],
            })],
            &json!({}),
        );
        container
    }

    /// In a cgroup as the kubelet's cgroupfs driver calls it, but below one of this process.
    fn new(digit: char) -> Self {
        let process = std::process::id();
        let id = format!("{process:x}{}", digit.to_string().repeat(64));
        let id = id[..64].to_owned();
        Self {
            dir: tempfile::tempdir().unwrap(),
            cgroup: format!("/kubepods-{process}/burstable/pod{digit}/{id}"),
            id,
        }
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("rootfs")
    }

    fn configure(&self, process: &Value, read_only: bool, mounts: &[Value], linux: &Value) {
        let mount = |destination: &str, kind: &str, options: &[&str]| json!({"destination": destination, "type": kind, "source": kind, "options": options});
        let mut all = vec![
            mount("/proc", "proc", &["nosuid", "noexec", "nodev"]),
            mount(
                "/dev",
                "tmpfs",
                &["nosuid", "strictatime", "mode=755", "size=65536k"],
            ),
            mount("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
            mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
        ];
        all.extend(mounts.iter().cloned());
        let namespaces = ["pid", "ipc", "uts", "mount", "network", "cgroup"];
        let namespaces = namespaces.map(|kind| json!({"type": kind}));
        let mut of_linux = json!({
            "cgroupsPath": self.cgroup,
            "namespaces": namespaces,
            "maskedPaths": MASKED,
            "readonlyPaths": READ_ONLY,
        });
        for (key, value) in linux.as_object().unwrap() {
            of_linux[key] = value.clone();
        }
        let config = json!({
            "ociVersion": "1.0.2",
            "process": process,
            "root": {"path": "rootfs", "readonly": read_only},
            "mounts": all,
            "linux": of_linux,
        });
        fs::write(self.dir.path().join("config.json"), config.to_string()).unwrap();
    }

    /// Runs it until it ends. Further arguments go nowhere.
    pub fn run(&self) -> Command {
        let mut command = Command::new("sh");
        command
            .args([
                "-c",
                "cd \"$0\" && exec runc --root state run --pid-file pid \"$1\"",
            ])
            .arg(self.dir.path())
            .arg(&self.id);
        command
    }

    /// As many digits of its id as the label `container` has.
    pub fn short_id(&self) -> &str {
        &self.id[..12]
    }

    /// A line of `/proc/PID/status` of its first process.
    #[track_caller]
    pub fn status(&self, name: &str) -> String {
        let path = format!("/proc/{}/status", self.pid());
        let status = fs::read_to_string(path).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let value = line.and_then(|line| line.strip_prefix(":\t"));
        value.expect("the line is there").to_owned()
    }

    fn pid(&self) -> String {
        fs::read_to_string(self.dir.path().join("pid")).expect("it was started")
    }

    /// Do something with the port of the pod, from its network.
    pub fn within<T: Send>(&self, ask: impl FnOnce(SocketAddr) -> T + Send) -> T {
        let network = File::open(format!("/proc/{}/ns/net", self.pid())).expect("it runs");
        let port = manifest("containerPort").parse().unwrap();
        std::thread::scope(|scope| {
            let asking = scope.spawn(|| {
                move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))
                    .expect("root may enter it");
                ask(SocketAddr::from(([127, 0, 0, 1], port)))
            });
            asking.join().expect("it was asked")
        })
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let delete = Command::new("runc")
            .current_dir(self.dir.path())
            .args(["--root", "state", "delete", "--force", &self.id])
            .output();
        assert!(delete.is_ok_and(|output| output.status.success()));
        remove_empty_everywhere(&self.cgroup);
    }
}
