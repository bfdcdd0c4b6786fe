//! The daemon's program, run by unprivileged users.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// The path of util-linux's setpriv. Without a path, a busybox shell would use its built-in setpriv,
/// which has fewer options.
const SETPRIV: &str = "/usr/bin/setpriv";

/// A copy of the program that every user may execute, and its directory. Other users might have no
/// access to the repository.
pub fn public_copy() -> (PathBuf, TempDir) {
    let dir = tempfile::tempdir().expect("a directory for the program");
    crate::programs::set_executable(dir.path());
    let copy = dir.path().join("execsnoopd");
    // Another process makes the copy, for the reason given in `Programs::copied`.
    let status = Command::new("cp")
        .arg(crate::paths::daemon())
        .arg(&copy)
        .status();
    assert!(status.expect("cp can be executed").success());
    (copy, dir)
}

/// A command that runs the program as the user nobody with the privileges of the systemd unit: two
/// capabilities, and memory for BPF maps, which kernels before 5.11 count as locked memory.
pub fn unit_capabilities(program: &Path) -> Command {
    let mut command = Command::new("sh");
    command
        // If the limit cannot be raised, the kernel may be one that does not need it.
        .args([
            "-c",
            "ulimit -l unlimited 2>/dev/null; exec \"$@\"",
            "sh",
            SETPRIV,
        ])
        .args([
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            "--no-new-privs",
        ])
        .args([
            "--bounding-set=-all,+bpf,+perfmon",
            "--inh-caps=-all,+bpf,+perfmon",
        ])
        .arg("--ambient-caps=-all,+bpf,+perfmon")
        .arg(program);
    command
}
