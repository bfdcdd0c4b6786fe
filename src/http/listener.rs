//! Listeners on TCP and Unix sockets.

use std::io;
use std::net::{SocketAddr, TcpListener as StdTcpListener};
use std::os::unix::net::UnixListener as StdUnixListener;
use std::path::Path;

use anyhow::anyhow;
use tokio::net::{TcpListener, UnixListener};
use tracing::debug;

use super::bind::{self, SocketFile};
use crate::config::Address;
use crate::http::connections::Source;
use crate::http::socket::{Stream, bound_buffers};

/// A bound socket.
#[derive(Debug)]
pub enum Listener {
    Tcp(StdTcpListener),
    Unix {
        listener: StdUnixListener,
        /// The file to remove, if the daemon has created it.
        file: Option<SocketFile>,
    },
}

impl From<StdTcpListener> for Listener {
    fn from(listener: StdTcpListener) -> Self {
        Self::Tcp(listener)
    }
}

impl From<StdUnixListener> for Listener {
    /// The socket's file belongs to the process that passed the socket.
    fn from(listener: StdUnixListener) -> Self {
        Self::Unix {
            listener,
            file: None,
        }
    }
}

impl Listener {
    /// Listens on an address. The error says what the user can do.
    pub fn bind(address: &Address) -> anyhow::Result<Self> {
        let bound = match address {
            Address::Tcp(address) => bind::tcp(*address).map(Self::Tcp),
            Address::Unix(path) => bind::unix(path).map(|(listener, file)| Self::Unix {
                listener,
                file: Some(file),
            }),
        };
        bound.map_err(|error| {
            let advice = bind::advice(address, &error);
            anyhow!(
                "cannot listen on {address}: {error}: {advice}, or choose another address with \
                 --web.listen-address or web.listen"
            )
        })
    }

    /// Returns whether other hosts can connect.
    pub fn is_exposed(&self) -> bool {
        match self {
            Self::Tcp(listener) => listener
                .local_addr()
                .is_ok_and(|address| !address.ip().to_canonical().is_loopback()),
            Self::Unix { .. } => false,
        }
    }

    /// Registers the socket with the current runtime.
    pub(super) fn into_accepting(self) -> io::Result<Accepting> {
        match self {
            Self::Tcp(listener) => {
                listener.set_nonblocking(true)?;
                bound_buffers(&listener);
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

/// A listening socket that is registered with the runtime.
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

    /// Returns the address in the form that the configuration uses.
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use crate::http::bind::MODE;

    fn bind(path: &Path) -> anyhow::Result<Listener> {
        Listener::bind(&Address::Unix(path.to_owned()))
    }

    #[test]
    fn a_unix_socket_is_for_user_and_group_and_is_removed_with_its_listener() {
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
        // Another process's socket at the same path is not removed.
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

    fn tcp(address: &str) -> Listener {
        Listener::bind(&Address::Tcp(address.parse().unwrap())).unwrap()
    }

    #[test]
    fn loopback_is_not_exposed() {
        for (address, is_exposed) in [
            ("127.0.0.1:0", false),
            ("127.9.9.9:0", false),
            ("[::1]:0", false),
            ("0.0.0.0:0", true),
            ("[::]:0", true),
        ] {
            assert_eq!(tcp(address).is_exposed(), is_exposed, "{address}");
        }
    }

    #[test]
    fn an_unspecified_address_accepts_ipv4_and_ipv6() {
        for (address, reached) in [
            ("0.0.0.0:0", &["127.0.0.1", "::1"][..]),
            ("[::]:0", &["127.0.0.1", "::1"]),
            ("127.0.0.1:0", &["127.0.0.1"]),
            ("[::1]:0", &["::1"]),
        ] {
            let Listener::Tcp(listener) = tcp(address) else {
                panic!("{address} is not a path");
            };
            let port = listener.local_addr().unwrap().port();
            let mut found = vec!["127.0.0.1", "::1"];
            found.retain(|host| std::net::TcpStream::connect((*host, port)).is_ok());
            assert_eq!(found, reached, "{address}");
        }
    }

    #[test]
    fn an_address_that_cannot_be_bound_is_reported_with_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| Address::Unix(dir.path().join(name));
        fs::write(dir.path().join("file"), "").unwrap();
        let tcp = |address: &str| Address::Tcp(address.parse().unwrap());
        let taken = StdTcpListener::bind("127.0.0.1:0").unwrap();
        let taken = Address::Tcp(taken.local_addr().unwrap());
        let _listener = bind(&dir.path().join("live")).unwrap();
        for (address, advice) in [
            (taken, "ss -ltnp"),
            (tcp("192.0.2.1:0"), "no interface of this host"),
            (tcp("[fe80::1]:0"), "[fe80::1%eth0]"),
            (tcp("[fe80::1%4000000]:0"), "no interface with this number"),
            (path("live"), "ss -lxp"),
            (path("file"), "not a socket"),
            (path("absent/x"), "directory does not exist"),
        ] {
            let error = Listener::bind(&address).unwrap_err().to_string();
            let expected = format!("cannot listen on {address}: ");
            assert!(error.starts_with(&expected), "{error}");
            assert!(error.contains(advice), "{error}");
            assert!(error.contains("web.listen"), "{error}");
        }
    }
}
