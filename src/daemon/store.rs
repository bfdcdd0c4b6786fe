//! systemd's file descriptor store: descriptors that systemd holds for the next start of the
//! service (`sd_pid_notify_with_fds(3)`).
//!
//! It holds what the kernel side and the counts need to outlive this process. Without systemd, or
//! with `FileDescriptorStoreMax=0`, the descriptors are closed when this process ends.

use std::env;
use std::net::TcpListener;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;

use anyhow::{Context, bail};
use rustix::net::sockopt::{socket_acceptconn, socket_domain, socket_type};
use rustix::net::{AddressFamily, SocketType};
use sd_notify::NotifyState;
use tracing::warn;

use crate::capture::Descriptors;
use crate::http::listener::Listener;
use crate::sys::inherited;

/// The names of stored descriptors begin with this. Others are sockets of `execsnoopd.socket`.
const PREFIX: &str = "execsnoop.";

/// What systemd passes at the start.
#[derive(Debug, Default)]
pub(super) struct Passed {
    /// The sockets that systemd has bound for `execsnoopd.socket`.
    pub(super) listeners: Vec<Listener>,
    /// What an earlier run of the service has stored, by name.
    pub(super) stored: Descriptors,
}

impl Passed {
    pub(super) fn take() -> anyhow::Result<Self> {
        let passed = inherited::take().context(
            "the descriptors that systemd passes (LISTEN_FDS, LISTEN_FDNAMES) cannot be used",
        )?;
        let mut taken = Self::default();
        for (name, descriptor) in passed {
            match name.strip_prefix(PREFIX) {
                Some(name) => {
                    taken.stored.insert(name.to_owned(), descriptor);
                }
                None => taken.listeners.push(listener(descriptor)?),
            }
        }
        Ok(taken)
    }
}

fn listener(descriptor: OwnedFd) -> anyhow::Result<Listener> {
    let is_listening = socket_acceptconn(&descriptor).unwrap_or(false)
        && socket_type(&descriptor).is_ok_and(|kind| kind == SocketType::STREAM);
    match socket_domain(&descriptor) {
        Ok(AddressFamily::INET | AddressFamily::INET6) if is_listening => {
            Ok(TcpListener::from(descriptor).into())
        }
        Ok(AddressFamily::UNIX) if is_listening => Ok(UnixListener::from(descriptor).into()),
        _ => bail!("systemd passed a socket that is neither a TCP nor a Unix stream socket"),
    }
}

/// Whether a service manager may have a store.
pub(super) fn may_exist() -> bool {
    env::var_os("NOTIFY_SOCKET").is_some()
}

/// Stores descriptors. A store that is full, or of size 0, closes them without an error.
pub(super) fn keep(descriptors: &[(String, BorrowedFd<'_>)]) {
    for (name, descriptor) in descriptors {
        let name = format!("{PREFIX}{name}");
        let state = [NotifyState::FdStore, NotifyState::FdName(&name)];
        if let Err(error) = sd_notify::notify_with_fds(&state, &[*descriptor]) {
            warn!(
                %error,
                name,
                "cannot store a descriptor in systemd, so counts begin at 0 after a restart"
            );
            return;
        }
    }
}

/// Removes descriptors from the store.
pub(super) fn forget(names: impl IntoIterator<Item = String>) {
    for name in names {
        let name = format!("{PREFIX}{name}");
        super::notify::notify(&[NotifyState::FdStoreRemove, NotifyState::FdName(&name)]);
    }
}
