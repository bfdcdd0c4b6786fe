//! The daemon with mounts of its own.

use std::process::Command;

use tempfile::TempDir;

use crate::daemon::Daemon;

/// The daemon in a mount namespace of its own, after `prepare` has been done there.
pub fn in_own_mounts(prepare: &str, config: &str) -> (Command, TempDir) {
    let dir = tempfile::tempdir().unwrap();
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

/// A daemon that finds tracefs, wherever this host may have it.
pub fn with_tracefs(config: &str) -> (Daemon, TempDir) {
    let mount = "mount -t tracefs nodev /sys/kernel/tracing 2>/dev/null";
    let (command, dir) = in_own_mounts(mount, config);
    (Daemon::spawn(command), dir)
}
