//! Confines the process to the files that it needs, with Landlock (`landlock(7)`, Linux 5.13).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetStatus,
    path_beneath_rules,
};

/// The files that the C library needs to look up names of users and hosts (modules, their settings,
/// caches and sockets), and the kernel's files that the daemon reads.
const READABLE: [&str; 15] = [
    "/etc",
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/nix/store",
    "/run",
    "/var/lib/sss",
    "/var/lib/extrausers",
    "/var/db",
    "/var/cache/nscd",
    "/proc",
    "/sys/fs/cgroup",
    "/sys/devices/system/cpu",
    "/dev/null",
];

/// Confines this thread, and those that it starts later, for good. They can read what look-ups of
/// names need and the directories of `files`, and remove files, such as sockets, in the directories
/// of `sockets`. They cannot open a file for writing or execute one; open files stay usable. Returns
/// whether the kernel has Landlock.
pub fn confine(files: &[PathBuf], sockets: &[PathBuf]) -> io::Result<bool> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let readable = READABLE.iter().map(PathBuf::from);
    let readable = readable.chain(files.iter().flat_map(|file| around(file)));
    let directories = sockets.iter().filter_map(|path| path.parent());
    let confine = || {
        Ruleset::default()
            // Later versions of the ABI also restrict sockets, which name services need.
            .handle_access(AccessFs::from_all(ABI::V5))?
            .create()?
            .add_rules(path_beneath_rules(readable, read))?
            .add_rules(path_beneath_rules(directories, AccessFs::RemoveFile))?
            .restrict_self()
    };
    let status = confine().map_err(io::Error::other)?;
    Ok(status.ruleset != RulesetStatus::NotEnforced)
}

/// Returns the directories of a file and of the file that it links to. A rule for the file alone
/// would not apply to a new file that replaces it. Returns only the path of what is not a regular
/// file, such as a device.
fn around(file: &Path) -> Vec<PathBuf> {
    if fs::metadata(file).is_ok_and(|metadata| !metadata.is_file()) {
        return vec![file.to_owned()];
    }
    let linked = fs::canonicalize(file).ok();
    let paths = [Some(file.to_owned()), linked].into_iter().flatten();
    let directory = |path: PathBuf| match path.parent() {
        Some(parent) if parent == Path::new("") => PathBuf::from("."),
        Some(parent) => parent.to_owned(),
        None => path,
    };
    paths.map(directory).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_can_be_replaced_in_its_directory_and_where_it_links_to() {
        let dir = tempfile::tempdir().unwrap();
        let real = dir.path().canonicalize().unwrap();
        let (target, link) = (real.join("target"), real.join("link"));
        fs::create_dir(&target).unwrap();
        fs::create_dir(&link).unwrap();
        fs::write(target.join("file"), "").unwrap();
        std::os::unix::fs::symlink(target.join("file"), link.join("file")).unwrap();
        assert_eq!(around(&link.join("file")), [link.clone(), target]);
        assert_eq!(around(&link.join("absent")), [link]);
        assert_eq!(around(Path::new("absent")), [PathBuf::from(".")]);
        let null = Path::new("/dev/null");
        assert_eq!(around(null), [null]);
    }
}
