//! The daemon in a separate mount namespace.

use std::process::Command;

use tempfile::TempDir;

use crate::daemon::Daemon;

/// A command that runs the daemon in a separate mount namespace, after the shell commands in
/// `prepare`.
pub fn in_mount_namespace(prepare: &str, config: &str) -> (Command, TempDir) {
    let dir = crate::paths::public_dir();
    let file = dir.path().join("config.toml");
    std::fs::write(&file, config).unwrap();
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "sh", "-c"])
        .arg(format!("{prepare}; exec \"$@\""))
        .arg("sh")
        .arg(crate::paths::daemon())
        .arg("--config")
        .arg(&file);
    (command, dir)
}

/// A daemon that has tracefs, even if the host has not mounted it.
pub fn with_tracefs(config: &str) -> (Daemon, TempDir) {
    let mount = "mount -t tracefs nodev /sys/kernel/tracing 2>/dev/null";
    let (command, dir) = in_mount_namespace(mount, config);
    (Daemon::spawn(command), dir)
}
