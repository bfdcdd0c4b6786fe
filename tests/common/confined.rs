//! The daemon's program for users who may not look into this checkout.

use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

/// A copy that everybody may execute, and the directory that it goes with.
pub(crate) fn public_copy() -> (PathBuf, TempDir) {
    let dir = tempfile::tempdir().expect("a directory for the program");
    super::programs::set_executable(dir.path());
    let copy = dir.path().join("execsnoopd");
    // By another process, as in `Programs::new`.
    let status = Command::new("cp")
        .arg(env!("CARGO_BIN_EXE_execsnoopd"))
        .arg(&copy)
        .status();
    assert!(status.expect("cp can be executed").success());
    (copy, dir)
}
