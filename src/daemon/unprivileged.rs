//! Replaces root with an unprivileged user, and confines the process to the files that it needs.

use std::path::PathBuf;

use anyhow::{Context, anyhow};
use tracing::{debug, info, warn};

use super::error::Error;
use crate::sys::sandbox;
use crate::sys::user::{self, User};

/// Returns the user `run_as` if this process is root. The look-up can block.
pub(crate) fn successor(run_as: &str) -> Result<Option<User>, Error> {
    if !user::is_root() {
        return Ok(None);
    }
    let user = User::find(run_as);
    let user = user
        .ok_or_else(|| anyhow!("root cannot become the user {run_as:?}: there is no such user"))?;
    Ok(Some(user))
}

/// Becomes the user `successor`, if there is one, and confines the process: it can then read only
/// `files`, their directories and what is needed to look up names, and remove only `sockets`. Call
/// it when everything that needs root is open, but before any thread starts.
pub(crate) fn leave_root(
    successor: Option<&User>,
    files: &[PathBuf],
    sockets: &[PathBuf],
) -> Result<(), Error> {
    match successor {
        Some(user) if user.is_root() => warn!(
            "run_as is root: the daemon drops its capabilities, but can use the files of root"
        ),
        Some(user) => {
            let missing = user::missing_to_become().context("cannot read capabilities")?;
            if !missing.is_empty() {
                return Err(Error::NotPermitted(format!(
                    "root becomes an unprivileged user once everything is attached, which needs \
                     {}; this process does not have them. Grant them, or start it as another user \
                     with CAP_BPF and CAP_PERFMON",
                    missing.join(" and ")
                )));
            }
            user.become_now()
                .with_context(|| format!("cannot become user ID {}", user.uid()))?;
            info!(uid = user.uid(), gid = user.gid(), "left root");
        }
        None => {}
    }
    match sandbox::confine(files, sockets) {
        Ok(true) => debug!("confined to the needed files by Landlock"),
        Ok(false) => debug!("not confined to the needed files: Landlock is not available"),
        Err(error) => warn!(%error, "not confined to the needed files: Landlock refused"),
    }
    Ok(())
}
