//! The unprivileged user that replaces root.

use std::io;

use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};
use rustix::process::{geteuid, getuid};
use rustix::thread::{CapabilitySet, capabilities, set_keep_capabilities};

/// A user that is not looked up, because a look-up could hang. Its IDs are the defaults of the
/// kernel's `overflowuid` and `overflowgid` (`proc_sys_kernel(5)`), which own nothing.
pub const NOBODY: &str = "nobody";
const OVERFLOW_ID: u32 = 65_534;

/// A user and the user's primary group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    uid: u32,
    gid: u32,
}

/// Returns whether this process is root.
pub fn is_root() -> bool {
    getuid().is_root() || geteuid().is_root()
}

impl User {
    /// Looks a user up by name or by user ID (NSS), which can block except for [`NOBODY`]. Returns
    /// `None` if there is no such user. A user ID without a name has the group of the same number.
    pub fn find(name: &str) -> Option<Self> {
        let found = match name.parse() {
            _ if name == NOBODY => Some((OVERFLOW_ID, OVERFLOW_ID)),
            Ok(uid) => Some(
                uzers::get_user_by_uid(uid)
                    .map_or((uid, uid), |user| (uid, user.primary_group_id())),
            ),
            Err(_) => {
                uzers::get_user_by_name(name).map(|user| (user.uid(), user.primary_group_id()))
            }
        };
        found.map(|(uid, gid)| Self { uid, gid })
    }

    pub fn uid(&self) -> u32 {
        self.uid
    }

    pub fn gid(&self) -> u32 {
        self.gid
    }

    pub fn is_root(&self) -> bool {
        self.uid == 0
    }

    /// Makes the whole process this user, for good, with the user's primary group and no
    /// supplementary groups. The permitted capabilities remain, the effective ones do not.
    pub fn become_now(&self) -> io::Result<()> {
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        // The C library changes the IDs of every thread (`nptl(7)`).
        setgroups(&[])?;
        setresgid(gid, gid, gid)?;
        set_keep_capabilities(true)?;
        setresuid(uid, uid, uid)?;
        set_keep_capabilities(false)?;
        Ok(())
    }
}

/// Returns the capabilities that [`User::become_now`] needs and that this thread lacks.
pub fn missing_to_become() -> io::Result<Vec<&'static str>> {
    let effective = capabilities(None)?.effective;
    let needed = [
        (CapabilitySet::SETUID, "CAP_SETUID"),
        (CapabilitySet::SETGID, "CAP_SETGID"),
    ];
    let missing = needed
        .into_iter()
        .filter(|(bit, _)| !effective.contains(*bit));
    Ok(missing.map(|(_, name)| name).collect())
}

/// Adds the current user ID to a permission error, because the process may no longer run as the
/// user who started it.
pub fn describe_refusal(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            format!("{error}; user ID {} may not read it", geteuid().as_raw())
        }
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_name_and_by_number() {
        let root = User { uid: 0, gid: 0 };
        assert_eq!(User::find("root"), Some(root.clone()));
        assert_eq!(User::find("0"), Some(root));
        // No host that runs the tests has a user with this ID.
        let unnamed = User {
            uid: 4_000_000,
            gid: 4_000_000,
        };
        assert_eq!(User::find("4000000"), Some(unnamed));
        assert_eq!(User::find("no-such-user"), None);
        let nobody = User {
            uid: 65_534,
            gid: 65_534,
        };
        assert_eq!(User::find("nobody"), Some(nobody));
    }
}
