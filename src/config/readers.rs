//! Finds out who can read a file, for `--check`: root usually runs the check, but the daemon
//! usually runs as another user.

use std::collections::BTreeSet;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The users who can read a file, by the modes of the file and of its directories.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Readers {
    All,
    /// Root and members of all of these groups.
    Groups(BTreeSet<u32>),
    /// Root, and the owner if the modes permit it.
    Few,
}

pub(super) fn readers(path: &Path) -> io::Result<Readers> {
    let path = path.canonicalize()?;
    let read = permission(&fs::metadata(&path)?, 0o4);
    let enter = path.ancestors().skip(1);
    let enter = enter.map(|directory| Ok(permission(&fs::metadata(directory)?, 0o1)));
    let enter: Vec<Readers> = enter.collect::<io::Result<_>>()?;
    Ok(enter
        .into_iter()
        .fold(read, |one, other| match (one, other) {
            (Readers::All, other) | (other, Readers::All) => other,
            (Readers::Groups(one), Readers::Groups(other)) => {
                Readers::Groups(one.union(&other).copied().collect())
            }
            _ => Readers::Few,
        }))
}

fn permission(metadata: &Metadata, bit: u32) -> Readers {
    let mode = metadata.mode();
    if mode & bit != 0 {
        Readers::All
    } else if mode & (bit << 3) != 0 && metadata.gid() != 0 {
        Readers::Groups(BTreeSet::from([metadata.gid()]))
    } else {
        Readers::Few
    }
}

/// Returns a notice if an unprivileged user cannot read the file.
pub fn notice(path: &Path) -> Option<String> {
    let path_shown = path.display();
    let advice = "see \"File permissions\" in docs/web.md";
    match readers(path).ok()? {
        Readers::All => None,
        Readers::Groups(groups) => {
            let names = groups.into_iter().map(|gid| {
                let group = uzers::get_group_by_gid(gid);
                let name = group.map(|group| group.name().to_string_lossy().into_owned());
                name.unwrap_or_else(|| gid.to_string())
            });
            let names = names.collect::<Vec<_>>().join(" ");
            Some(format!(
                "{path_shown} can only be read by root and the group {names}. The service runs as \
                 another user and needs SupplementaryGroups={names}; {advice}"
            ))
        }
        Readers::Few => Some(format!(
            "{path_shown} can only be read by root or its owner. The service runs as another user \
             and cannot start if it cannot read the file. Give a group access and set \
             SupplementaryGroups=, or pass the file with LoadCredential=; {advice}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt, chown};

    use super::*;

    #[test]
    fn modes_of_the_file_and_of_its_directories_decide_who_can_read() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let is_root = rustix::process::geteuid().is_root();
        let gid = if is_root {
            4321
        } else {
            rustix::process::getegid().as_raw()
        };
        for path in [dir.path(), &file] {
            chown(path, None, Some(gid)).unwrap();
        }
        let group = Readers::Groups(BTreeSet::from([gid]));
        for (directory, mode, expected) in [
            (0o755, 0o644, Readers::All),
            (0o751, 0o644, Readers::All),
            (0o755, 0o640, Readers::Groups(BTreeSet::from([gid]))),
            (0o750, 0o644, group),
            (0o755, 0o600, Readers::Few),
            (0o700, 0o644, Readers::Few),
            (0o700, 0o640, Readers::Few),
        ] {
            fs::set_permissions(dir.path(), Permissions::from_mode(directory)).unwrap();
            fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
            assert_eq!(readers(&file).unwrap(), expected, "{directory:o} {mode:o}");
            assert_eq!(notice(&file).is_some(), expected != Readers::All);
        }
    }
}
