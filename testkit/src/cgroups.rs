//! Version 2 cgroups.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The mount point of the hierarchy. A host may have hierarchies of version 1, too.
fn hierarchy() -> &'static Path {
    let mount_points = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"].map(Path::new);
    let is_there = |path: &&Path| path.join("cgroup.procs").exists();
    mount_points
        .into_iter()
        .find(is_there)
        .expect("cgroup2 is mounted")
}

/// A cgroup. When the value is dropped, the cgroup is removed, and so are its parents if they are
/// empty.
#[derive(Debug)]
pub struct Cgroup(PathBuf);

impl Cgroup {
    /// Creates the cgroup at this path below the root, and its parents.
    pub fn new(path: &str) -> Self {
        let path = hierarchy().join(path);
        // A `Cgroup` that is dropped at the same time may remove a parent.
        let mut created = fs::create_dir_all(&path);
        for _ in 0..1000 {
            match &created {
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    created = fs::create_dir_all(&path);
                }
                _ => break,
            }
        }
        created.expect("cgroups can be created");
        Self(path)
    }

    pub fn directory(&self) -> &Path {
        &self.0
    }

    /// Moves this process, and so its future children, into the cgroup until the returned value is
    /// dropped.
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

    /// Executes a program this many times in the cgroup, by a shell that is itself executed outside
    /// of the cgroup.
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

/// This process in a cgroup. It moves back when the value is dropped.
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

/// Removes a cgroup if it exists, and then each parent that is empty. The root cannot be removed.
fn remove_empty(mut path: &Path) {
    let is_gone = |path| match fs::remove_dir(path) {
        Ok(()) => true,
        Err(error) => error.kind() == ErrorKind::NotFound,
    };
    while is_gone(path) {
        path = path.parent().expect("the root cannot be removed");
    }
}

/// Removes a cgroup, and empty parents, from every hierarchy, version 1 included: container
/// runtimes leave parents behind.
pub(crate) fn remove_empty_everywhere(path: &str) {
    let path = path.trim_start_matches('/');
    remove_empty(&Path::new("/sys/fs/cgroup").join(path));
    for hierarchy in fs::read_dir("/sys/fs/cgroup").expect("cgroups are mounted") {
        remove_empty(&hierarchy.unwrap().path().join(path));
    }
}
