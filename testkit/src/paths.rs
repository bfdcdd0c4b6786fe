//! Where things are on this machine.

use std::env;
use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// The repository.
pub fn repository() -> &'static Path {
    let testkit = Path::new(env!("CARGO_MANIFEST_DIR"));
    testkit.parent().expect("testkit is in the repository")
}

/// The daemon's program. Cargo builds it before the tests and benchmarks of its package, into the
/// directory above theirs; `CARGO_BIN_EXE_execsnoopd` is known to these only, not to a library.
pub fn daemon() -> PathBuf {
    profile().join("execsnoopd")
}

/// Cargo's directory for files that tests create: `CARGO_TARGET_TMPDIR`, which a library does not
/// know either.
pub fn scratch() -> PathBuf {
    profile().with_file_name("tmp")
}

/// A directory whose files the daemon can read, whichever user it is.
pub fn public_dir() -> TempDir {
    let dir = tempfile::tempdir().expect("a directory can be created");
    std::fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
    dir
}

/// A directory in which the daemon can remove its sockets: it belongs to the user nobody.
pub fn directory_of_nobody() -> TempDir {
    let dir = public_dir();
    chown(dir.path(), Some(65_534), Some(65_534)).expect("tests of this tier run as root");
    dir
}

/// Cargo's directory for this build profile, such as `target/debug`. Test programs are in `deps/`
/// below it, other programs in it.
fn profile() -> PathBuf {
    let mut directory = env::current_exe().expect("/proc is mounted");
    directory.pop();
    if directory.ends_with("deps") {
        directory.pop();
    }
    directory
}
