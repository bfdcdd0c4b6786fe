//! What is listened on: TCP and Unix sockets.

use std::fs::{self, Permissions};
use std::io;
use std::net::{SocketAddr, TcpListener as StdTcpListener};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener as StdUnixListener, UnixStream as StdUnixStream};
use std::path::{Path, PathBuf};

use anyhow::Context;
use rustix::fs::{Mode, fchmod};
use rustix::io::Errno;
use rustix::net;
use tokio::net::{TcpListener, UnixListener};
use tracing::debug;

use crate::config::{Address, resolve};
use crate::http::connections::Source;
use crate::http::socket::{Stream, bound_buffers};

/// Who may connect to a Unix socket: its user and its group.
const MODE: u32 = 0o660;

/// Connections that wait to be accepted: as many as the system allows (`net.core.somaxconn`).
const BACKLOG: i32 = -1;

/// A bound socket.
#[derive(Debug)]
pub enum Listener {
    /// On an address of the network.
    Tcp(StdTcpListener),
    /// At a path.
    Unix {
        /// The socket.
        listener: StdUnixListener,
        /// Where it is ours to remove.
        file: Option<SocketFile>,
    },
}

impl From<StdTcpListener> for Listener {
    fn from(listener: StdTcpListener) -> Self {
        Self::Tcp(listener)
    }
}

impl From<StdUnixListener> for Listener {
    /// Somebody else made the socket and removes it.
    fn from(listener: StdUnixListener) -> Self {
        Self::Unix {
            listener,
            file: None,
        }
    }
}

impl Listener {
    /// Listen on `HOST:PORT`, `:PORT` or `unix:PATH`.
    pub fn bind(address: &str) -> anyhow::Result<Self> {
        let resolved = resolve(address)
            .with_context(|| format!("cannot resolve the listen address {address}"))?;
        let bound = match resolved {
            Address::Tcp(addresses) => StdTcpListener::bind(&addresses[..]).map(Self::Tcp),
            Address::Unix(path) => bind_unix(&path),
        };
        bound.with_context(|| {
            format!(
                "cannot listen on {address} (if another execsnoopd runs, stop it, or choose \
                 another address with --web.listen-address)"
            )
        })
    }

    /// Whether others than this host can reach it.
    pub fn is_exposed(&self) -> bool {
        match self {
            Self::Tcp(listener) => listener
                .local_addr()
                .is_ok_and(|address| !address.ip().to_canonical().is_loopback()),
            Self::Unix { .. } => false,
        }
    }

    /// Ready to accept in the runtime that this is called in.
    pub(super) fn into_accepting(self) -> io::Result<Accepting> {
        match self {
            Self::Tcp(listener) => {
                listener.set_nonblocking(true)?;
                bound_buffers(&listener);
                // std uses a backlog of 128. It can be changed later (inet_listen()).
                net::listen(&listener, BACKLOG)?;
                Ok(Accepting::Tcp(TcpListener::from_std(listener)?))
            }
            Self::Unix { listener, file } => {
                listener.set_nonblocking(true)?;
                Ok(Accepting::Unix {
                    listener: UnixListener::from_std(listener)?,
                    _file: file,
                })
            }
        }
    }
}

/// A socket that connections are accepted from.
#[derive(Debug)]
pub(super) enum Accepting {
    Tcp(TcpListener),
    Unix {
        listener: UnixListener,
        _file: Option<SocketFile>,
    },
}

impl Accepting {
    pub(super) async fn accept(&self) -> io::Result<(Stream, Source)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                if let Err(error) = stream.set_nodelay(true) {
                    debug!(%error, "TCP_NODELAY not set");
                }
                Ok((Stream::Tcp(stream), Source::of(address.ip())))
            }
            Self::Unix { listener, .. } => {
                let (stream, _) = listener.accept().await?;
                bound_buffers(&stream);
                Ok((Stream::Unix(stream), Source::Unix))
            }
        }
    }

    /// As it is written in the configuration.
    pub(super) fn address(&self) -> io::Result<String> {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(|a: SocketAddr| a.to_string()),
            Self::Unix { listener, .. } => {
                let address = listener.local_addr()?;
                let path = address.as_pathname().unwrap_or(Path::new(""));
                Ok(format!("unix:{}", path.display()))
            }
        }
    }
}

/// The file of a socket that we made; removed with the value, if it still is that one.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|file| (file.dev(), file.ino()) == (self.device, self.inode));
        if ours && let Err(error) = fs::remove_file(&self.path) {
            debug!(path = %self.path.display(), %error, "socket not removed");
        }
    }
}

fn bind_unix(path: &Path) -> io::Result<Listener> {
    let (family, stream) = (net::AddressFamily::UNIX, net::SocketType::STREAM);
    let socket = net::socket_with(family, stream, net::SocketFlags::CLOEXEC, None)?;
    // The file is made with this mode less the umask, so that nobody else ever connects.
    fchmod(&socket, Mode::from_raw_mode(MODE))?;
    let address = net::SocketAddrUnix::new(path)?;
    match net::bind(&socket, &address) {
        Err(Errno::ADDRINUSE) if is_abandoned(path) => {
            fs::remove_file(path)?;
            net::bind(&socket, &address)?;
        }
        bound => bound?,
    }
    net::listen(&socket, BACKLOG)?;
    fs::set_permissions(path, Permissions::from_mode(MODE))?;
    let listener = StdUnixListener::from(socket);
    let file = fs::symlink_metadata(path)?;
    let file = SocketFile {
        path: path.to_owned(),
        device: file.dev(),
        inode: file.ino(),
    };
    Ok(Listener::Unix {
        listener,
        file: Some(file),
    })
}

/// Whether this is a socket that nobody listens on: what is left of a daemon that was killed.
fn is_abandoned(path: &Path) -> bool {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    let refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    is_socket && StdUnixStream::connect(path).is_err_and(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(path: &Path) -> anyhow::Result<Listener> {
        Listener::bind(&format!("unix:{}", path.display()))
    }

    #[test]
    fn a_unix_socket_is_for_user_and_group_and_goes_with_its_listener() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("web.sock");
        let listener = bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, MODE);
        assert!(!listener.is_exposed());
        drop(listener);
        assert!(!path.exists());
    }

    #[test]
    fn a_socket_is_replaced_only_if_nobody_listens_on_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("web.sock");
        drop(StdUnixListener::bind(&path).unwrap());
        assert!(path.exists(), "it is left behind");
        let listener = bind(&path).unwrap();
        assert!(bind(&path).is_err(), "somebody listens");
        // Somebody else's socket at that place is not removed with ours.
        fs::remove_file(&path).unwrap();
        let other = StdUnixListener::bind(&path).unwrap();
        drop(listener);
        assert!(path.exists());
        drop(other);
    }

    #[test]
    fn a_file_is_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notes");
        fs::write(&path, "text").unwrap();
        assert!(bind(&path).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "text");
    }

    #[test]
    fn loopback_is_not_exposed() {
        for address in ["127.0.0.1:0", "127.9.9.9:0"] {
            assert!(!Listener::bind(address).unwrap().is_exposed(), "{address}");
        }
    }
}
