//! Where things are on this machine.

use std::env;
use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// The root of the repository.
pub fn repository() -> &'static Path {
    let testkit = Path::new(env!("CARGO_MANIFEST_DIR"));
    testkit.parent().expect("testkit is in the repository")
}

/// The path of the daemon's program. Cargo builds the program before the tests and benchmarks of its
/// package, in the directory above theirs. Cargo sets `CARGO_BIN_EXE_execsnoopd` for these only, not
/// for a library such as this one.
pub fn daemon() -> PathBuf {
    profile().join("execsnoopd")
}

/// Cargo's directory for files that tests create. Cargo does not set `CARGO_TARGET_TMPDIR`, which
/// contains its path, for a library either.
pub fn scratch() -> PathBuf {
    profile().with_file_name("tmp")
}

/// A directory whose files the daemon can read, whichever user it runs as.
pub fn public_dir() -> TempDir {
    let dir = tempfile::tempdir().expect("a directory can be created");
    std::fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
    dir
}

/// A directory that belongs to the user nobody, so that the daemon can remove its sockets in it.
pub fn directory_of_nobody() -> TempDir {
    let dir = public_dir();
    chown(dir.path(), Some(65_534), Some(65_534)).expect("tests of this tier run as root");
    dir
}

/// Cargo's directory for this build profile, such as `target/debug`. It contains programs, and test
/// programs in `deps/`.
fn profile() -> PathBuf {
    let mut directory = env::current_exe().expect("/proc is mounted");
    directory.pop();
    if directory.ends_with("deps") {
        directory.pop();
    }
    directory
}
