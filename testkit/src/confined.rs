//! The daemon's program for users who may not look into this checkout.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// util-linux's; by its path, as a shell that is busybox takes its own, which knows less.
const SETPRIV: &str = "/usr/bin/setpriv";

/// A copy that everybody may execute, and the directory that it goes with.
pub fn public_copy() -> (PathBuf, TempDir) {
    let dir = tempfile::tempdir().expect("a directory for the program");
    crate::programs::set_executable(dir.path());
    let copy = dir.path().join("execsnoopd");
    // By another process, as in `Programs::new`.
    let status = Command::new("cp")
        .arg(crate::paths::daemon())
        .arg(&copy)
        .status();
    assert!(status.expect("cp can be executed").success());
    (copy, dir)
}

/// A command that runs the program as nobody with what the systemd unit grants: two
/// capabilities, and memory for BPF maps, which kernels before 5.11 count as locked.
pub fn unit_capabilities(program: &Path) -> Command {
    let mut command = Command::new("sh");
    command
        // A host that does not allow the limit to be raised may be one that needs none.
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
