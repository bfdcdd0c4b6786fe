//! Real cgroups of version 2, made and removed by the test.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where the hierarchy is: alone, or beside those of version 1.
fn hierarchy() -> &'static Path {
    let places = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"].map(Path::new);
    let is_there = |path: &&Path| path.join("cgroup.procs").exists();
    places
        .into_iter()
        .find(is_there)
        .expect("cgroup2 is mounted")
}

/// A cgroup, removed with the value. Make inner ones after outer ones.
#[derive(Debug)]
pub struct Cgroup(PathBuf);

impl Cgroup {
    /// Made, with those above it, at this path from the root.
    pub fn new(path: &str) -> Self {
        let path = hierarchy().join(path);
        // Another one that ends may take away what is above, just then.
        let mut made = fs::create_dir_all(&path);
        for _ in 0..1000 {
            match &made {
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    made = fs::create_dir_all(&path);
                }
                _ => break,
            }
        }
        made.expect("cgroups can be made");
        Self(path)
    }

    pub fn directory(&self) -> &Path {
        &self.0
    }

    /// Move this process into it, with whatever it starts from now on, until the value is gone.
    pub fn enter(&self) -> Inside<'_> {
        let cgroups = fs::read_to_string("/proc/self/cgroup").unwrap();
        let mut paths = cgroups.lines().filter_map(|line| line.strip_prefix("0::/"));
        let before = hierarchy().join(paths.next().expect("cgroup2 is mounted"));
        move_to(&self.0);
        Inside {
            before,
            _inside: self,
        }
    }

    /// Have a program executed in it this many times: beside it, only a shell is.
    pub fn exec_times(&self, program: &Path, times: u32) {
        let script = "echo 0 >\"$1/cgroup.procs\" && n=0 && while [ $n -lt $3 ]; do \"$2\"; n=$((n + 1)); done";
        let status = Command::new("sh")
            .args(["-c", script, "sh"])
            .arg(&self.0)
            .arg(program)
            .arg(times.to_string())
            .status();
        assert!(status.expect("sh can be executed").success());
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        remove_empty(&self.0);
    }
}

/// This process in a cgroup; back where it was after the value.
#[derive(Debug)]
pub struct Inside<'a> {
    before: PathBuf,
    _inside: &'a Cgroup,
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        move_to(&self.before);
    }
}

fn move_to(cgroup: &Path) {
    fs::write(cgroup.join("cgroup.procs"), "0").expect("a process can be moved to a cgroup");
}

/// Remove a cgroup if it is there, and those above it that are empty by then; the root
/// never is.
fn remove_empty(mut path: &Path) {
    let is_gone = |path| match fs::remove_dir(path) {
        Ok(()) => true,
        Err(error) => error.kind() == ErrorKind::NotFound,
    };
    while is_gone(path) {
        path = path.parent().expect("the root cannot be removed");
    }
}

/// The same in every hierarchy, those of version 1 included, where a container runtime has
/// left it.
pub fn remove_empty_everywhere(path: &str) {
    let path = path.trim_start_matches('/');
    remove_empty(&Path::new("/sys/fs/cgroup").join(path));
    for hierarchy in fs::read_dir("/sys/fs/cgroup").expect("cgroups are mounted") {
        remove_empty(&hierarchy.unwrap().path().join(path));
    }
}
