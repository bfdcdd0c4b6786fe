//! `web.listen`.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};

/// The longest path of a Unix socket, in bytes (`unix(7)`).
const MAX_SOCKET_PATH: usize = 107;

/// An address to listen on.
#[derive(Debug, PartialEq, Eq)]
pub enum Address {
    /// The first of these that can be bound.
    Tcp(Vec<SocketAddr>),
    Unix(PathBuf),
}

/// An address as written, before any look-up.
enum Written<'a> {
    Unix(&'a Path),
    /// `:PORT`
    Port(u16),
    /// `HOST:PORT`
    Host(&'a str),
}

/// Checks that this is `HOST:PORT`, `:PORT` or `unix:PATH`. Does not look up the host.
pub(super) fn check(address: &str) -> io::Result<()> {
    parse(address).map(|_| ())
}

/// Resolves `HOST:PORT`, `:PORT` (every address of the host) or `unix:PATH`.
pub fn resolve(address: &str) -> io::Result<Address> {
    Ok(match parse(address)? {
        Written::Unix(path) => Address::Unix(path.to_owned()),
        // The IPv6 socket also accepts IPv4 connections, unless net.ipv6.bindv6only is set. The
        // IPv4 address is for hosts without IPv6.
        Written::Port(port) => Address::Tcp(vec![
            SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)),
            SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)),
        ]),
        Written::Host(address) => Address::Tcp(address.to_socket_addrs()?.collect()),
    })
}

fn parse(address: &str) -> io::Result<Written<'_>> {
    let invalid = |message: &str| io::Error::new(io::ErrorKind::InvalidInput, message);
    if let Some(path) = address.strip_prefix("unix:") {
        // Other programs write unix:///run/x.sock.
        let path = Path::new(path.strip_prefix("//").unwrap_or(path));
        if !path.is_absolute() {
            return Err(invalid("the path of a socket must be absolute"));
        }
        if path.as_os_str().len() > MAX_SOCKET_PATH {
            return Err(invalid(&format!(
                "the path of a socket can have at most {MAX_SOCKET_PATH} bytes"
            )));
        }
        return Ok(Written::Unix(path));
    }
    if let Some(port) = address.strip_prefix(':') {
        let port = port.parse::<u16>();
        return port
            .map(Written::Port)
            .map_err(|error| invalid(&error.to_string()));
    }
    // What the standard library's look-up checks, with its messages.
    if address.parse::<SocketAddr>().is_err() {
        let (_, port) = address
            .rsplit_once(':')
            .ok_or_else(|| invalid("invalid socket address"))?;
        port.parse::<u16>()
            .map_err(|_| invalid("invalid port value"))?;
    }
    Ok(Written::Host(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(addresses: &[&str]) -> Address {
        Address::Tcp(addresses.iter().map(|a| a.parse().unwrap()).collect())
    }

    #[test]
    fn a_port_alone_means_every_address() {
        assert_eq!(
            resolve(":10190").unwrap(),
            tcp(&["[::]:10190", "0.0.0.0:10190"])
        );
        assert_eq!(resolve("127.0.0.1:1").unwrap(), tcp(&["127.0.0.1:1"]));
    }

    #[test]
    fn a_unix_socket_has_an_absolute_path_of_bounded_length() {
        let path = Address::Unix("/run/x.sock".into());
        assert_eq!(resolve("unix:/run/x.sock").unwrap(), path);
        assert_eq!(resolve("unix:///run/x.sock").unwrap(), path);
        let long = format!("unix:/{}", "x".repeat(107));
        for refused in ["unix:", "unix:x.sock", "unix://run/x.sock", &long] {
            assert!(resolve(refused).is_err(), "{refused}");
        }
    }
}
