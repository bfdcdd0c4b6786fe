//! Programs with names that nothing else on the host has.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::RwLockWriteGuard;

use tempfile::TempDir;

use crate::compiled::{nop, ways};
use crate::host;

/// A directory of programs with names that nothing else on the host has.
///
/// The test has the [host](host::exclusive) to itself while the value exists, because every daemon
/// sees what every test executes. Create the value before the daemon.
#[derive(Debug)]
pub struct Programs {
    directory: TempDir,
    _exclusive: RwLockWriteGuard<'static, ()>,
}

impl Programs {
    pub fn new() -> Self {
        let exclusive = host::exclusive();
        let directory = tempfile::tempdir().expect("a directory for programs");
        // Other users execute programs in it, too.
        set_executable(directory.path());
        let programs = Self {
            directory,
            _exclusive: exclusive,
        };
        programs.copied(nop(), "nop");
        programs
    }

    /// Copies a program into the directory under this name.
    pub fn copied(&self, program: &Path, name: &str) -> PathBuf {
        let copy = self.directory.path().join(name);
        // Another process makes the copy. If this one had the copy open for writing, a child that
        // another test forks meanwhile would inherit the descriptor, and the exec would fail with
        // ETXTBSY.
        let status = Command::new("cp").arg(program).arg(&copy).status();
        assert!(status.expect("cp can be executed").success());
        copy
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Creates a program with this name, as a symbolic link. The kernel takes `comm` from the name of
    /// the link, not of its target.
    pub fn named(&self, name: impl AsRef<Path>) -> PathBuf {
        let path = self.directory.path().join(name);
        symlink("nop", &path).expect("the name is free");
        path
    }
}

pub fn set_executable(path: &Path) {
    std::fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
}

/// Executes a program and waits until it exits.
pub fn exec(program: &Path) {
    exec_as(program, None);
}

pub fn exec_as(program: &Path, uid: Option<u32>) {
    let mut command = Command::new(program);
    command.stdin(Stdio::null());
    if let Some(uid) = uid {
        command.uid(uid);
    }
    let status = command.status().expect("the program can be executed");
    assert!(status.success());
}

pub fn exec_times(program: &Path, times: u32) {
    (0..times).for_each(|_| exec(program));
}

/// Runs [`ways`] with this way, program and number. Some ways do not execute the program.
pub fn go(way: &str, program: &Path, number: u32) -> ExitStatus {
    Command::new(ways())
        .arg(way)
        .arg(program)
        .arg(number.to_string())
        .status()
        .expect("the program of ways can be executed")
}
