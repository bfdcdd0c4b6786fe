//! Binds TCP sockets as Go does, and Unix sockets whose file is removed when the listener is
//! dropped.

use std::fs::{self, Permissions};
use std::io;
use std::net::{Ipv6Addr, SocketAddr, TcpListener as StdTcpListener};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener as StdUnixListener, UnixStream as StdUnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, fchmod};
use rustix::io::Errno;
use rustix::net;
use rustix::net::sockopt::{set_ipv6_v6only, set_socket_reuseaddr};
use tracing::debug;

use crate::config::Address;

/// The mode of a Unix socket: its user and its group can connect.
pub(super) const MODE: u32 = 0o660;

/// The number of connections that can wait to be accepted. -1 means as many as net.core.somaxconn
/// allows.
const BACKLOG: i32 = -1;

/// The file of a Unix socket that the daemon has created. Dropping the value removes the file,
/// unless another file has replaced it.
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

/// Listens on an address as Go does (`favoriteAddrFamily()` in Go's package net): an unspecified
/// address means IPv6 and IPv4, whatever net.ipv6.bindv6only says, or IPv4 if there is no IPv6.
pub(super) fn tcp(address: SocketAddr) -> io::Result<StdTcpListener> {
    let port = address.port();
    if !address.ip().is_unspecified() {
        return listen_on(address, false);
    }
    match listen_on((Ipv6Addr::UNSPECIFIED, port).into(), true) {
        Err(error) if address.is_ipv4() && has_no_ipv6(&error) => listen_on(address, false),
        bound => bound,
    }
}

fn has_no_ipv6(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(errno, Some(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL))
}

fn listen_on(address: SocketAddr, accepts_ipv4: bool) -> io::Result<StdTcpListener> {
    let family = match address {
        SocketAddr::V4(_) => net::AddressFamily::INET,
        SocketAddr::V6(_) => net::AddressFamily::INET6,
    };
    let (stream, flags) = (net::SocketType::STREAM, net::SocketFlags::CLOEXEC);
    let socket = net::socket_with(family, stream, flags, None)?;
    if accepts_ipv4 {
        set_ipv6_v6only(&socket, false)?;
    }
    // Without this, connections of the previous daemon that are in TIME_WAIT prevent a restart.
    set_socket_reuseaddr(&socket, true)?;
    net::bind(&socket, &address)?;
    net::listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

/// Returns what to do if an address cannot be bound.
pub(super) fn advice(address: &Address, error: &io::Error) -> &'static str {
    let is_unix = matches!(address, Address::Unix(_));
    match Errno::from_io_error(error) {
        Some(Errno::ADDRINUSE) => match address {
            Address::Unix(path) if !is_socket(path) => {
                "the path is a file that is not a socket; remove it"
            }
            Address::Unix(_) => "another process listens there (`ss -lxp` shows it); stop it",
            Address::Tcp(_) => "another process listens there (`ss -ltnp` shows it); stop it",
        },
        Some(Errno::ADDRNOTAVAIL) => "no interface of this host has this address; add it",
        Some(Errno::INVAL) if !is_unix => {
            "a link-local address needs its interface, as in [fe80::1%eth0]:10190; add it"
        }
        Some(Errno::NODEV) => "there is no interface with this number; correct it",
        Some(Errno::AFNOSUPPORT) => "this host has no IPv6; enable it",
        Some(Errno::ACCESS) if !is_unix => {
            "ports below net.ipv4.ip_unprivileged_port_start need CAP_NET_BIND_SERVICE; grant it"
        }
        Some(Errno::NOENT | Errno::NOTDIR) => "the directory does not exist; create it",
        Some(Errno::ACCESS | Errno::PERM | Errno::ROFS) => {
            "the directory must be writable for the daemon; correct that"
        }
        _ => "correct that",
    }
}

/// Listens on a Unix socket. Replaces a socket on which no process listens any more.
pub(super) fn unix(path: &Path) -> io::Result<(StdUnixListener, SocketFile)> {
    let (family, stream) = (net::AddressFamily::UNIX, net::SocketType::STREAM);
    let socket = net::socket_with(family, stream, net::SocketFlags::CLOEXEC, None)?;
    // The kernel creates the file with this mode minus the umask, so that no other user can connect
    // before the mode is set.
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
    Ok((listener, file))
}

/// Returns whether this is a socket on which no process listens, such as that of a killed daemon.
fn is_abandoned(path: &Path) -> bool {
    let refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    is_socket(path) && StdUnixStream::connect(path).is_err_and(refused)
}

fn is_socket(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket())
}
