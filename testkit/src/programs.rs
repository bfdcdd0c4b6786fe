//! Programs that nobody else executes, and executing them.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tempfile::TempDir;

use crate::nop::nop;

/// A directory of programs with names that nobody else has.
///
/// One at a time in a test process: every daemon sees what every test executes. So make
/// this before the daemon.
#[derive(Debug)]
pub struct Programs {
    directory: TempDir,
    _alone: MutexGuard<'static, ()>,
}

impl Programs {
    pub fn new() -> Self {
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let directory = tempfile::tempdir().expect("a directory for programs");
        // Other users execute from it, too.
        set_executable(directory.path());
        let programs = Self {
            directory,
            _alone: alone,
        };
        programs.copied(nop(), "nop");
        programs
    }

    /// A copy of a program, of this name.
    pub fn copied(&self, program: &Path, name: &str) -> PathBuf {
        let copy = self.directory.path().join(name);
        // By another process: a descriptor open for writing, inherited by a child that
        // another test forks just then, would make executing it fail with ETXTBSY.
        let status = Command::new("cp").arg(program).arg(&copy).status();
        assert!(status.expect("cp can be executed").success());
        copy
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// A program of this name. What a link is called is what the kernel calls the program.
    pub fn named(&self, name: impl AsRef<Path>) -> PathBuf {
        let path = self.directory.path().join(name);
        symlink("nop", &path).expect("the name is free");
        path
    }
}

pub fn set_executable(path: &Path) {
    std::fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
}

/// Execute a program and wait for its end.
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
