//! Parses and resolves the addresses of `web.listen` and `web.probe_listen`. They mean the same as
//! in Go's `net.Listen`, and therefore as in other exporters.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, ToSocketAddrs};
use std::path::{Path, PathBuf};

use rustix::net::netdevice::name_to_index;

/// The longest path of a Unix socket, in bytes (`unix(7)`).
const MAX_SOCKET_PATH: usize = 107;

/// An address to listen on.
#[derive(Debug, PartialEq, Eq)]
pub enum Address {
    /// An unspecified address, `0.0.0.0` or `[::]`, means all addresses of the host, IPv4 and
    /// IPv6.
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Address {
    /// Returns whether only one of the two can be bound at the same time.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Tcp(a), Self::Tcp(b)) => {
                let is_all = a.ip().is_unspecified() || b.ip().is_unspecified();
                // The kernel replaces port 0 with a free port.
                a.port() == b.port() && a.port() != 0 && (is_all || a == b)
            }
            (Self::Unix(a), Self::Unix(b)) => a == b,
            _ => false,
        }
    }
}

/// An address as written, before any look-up.
#[derive(Debug)]
enum Written<'a> {
    Unix(&'a Path),
    Ip(SocketAddr),
    /// An IPv6 address and the name or number of a network interface.
    Scoped(Ipv6Addr, &'a str, u16),
    Name(&'a str, u16),
}

/// Checks that this is `HOST:PORT`, `:PORT` or `unix:PATH`. Does not look up the host.
pub(super) fn check(address: &str) -> Result<(), String> {
    parse(address).map(|_| ())
}

/// Resolves `HOST:PORT`, `:PORT` (every address of the host) or `unix:PATH`.
pub fn resolve(address: &str) -> io::Result<Address> {
    let parsed = parse(address).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error));
    Ok(match parsed? {
        Written::Unix(path) => Address::Unix(path.to_owned()),
        Written::Ip(address) => Address::Tcp(address),
        Written::Scoped(ip, interface, port) => {
            Address::Tcp(SocketAddrV6::new(ip, port, 0, index(interface)?).into())
        }
        Written::Name(host, port) => {
            let found: Vec<_> = (host, port).to_socket_addrs()?.collect();
            Address::Tcp(preferred(&found)?)
        }
    })
}

/// Returns the first IPv4 address of a host, or else its first address (`listenStream()` and
/// `addrList.first()` in Go's package net).
fn preferred(found: &[SocketAddr]) -> io::Result<SocketAddr> {
    let ipv4 = found.iter().find(|address| address.is_ipv4());
    let address = ipv4.or_else(|| found.first()).copied();
    address.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the host has no address"))
}

/// Returns the index of a network interface, given by name or by index.
fn index(interface: &str) -> io::Result<u32> {
    // `name_to_index()` needs a socket of any kind for its ioctl(2).
    let socket = std::os::unix::net::UnixDatagram::unbound()?;
    name_to_index(&socket, interface).or_else(|error| {
        let index = interface.parse().ok().filter(|&index| index > 0);
        index.ok_or_else(|| {
            let kind = io::Error::from(error).kind();
            io::Error::new(kind, format!("there is no network interface {interface}"))
        })
    })
}

fn parse(address: &str) -> Result<Written<'_>, String> {
    if let Some(path) = address.strip_prefix("unix:") {
        // Many programs write such an address as unix:///run/x.sock.
        let path = Path::new(path.strip_prefix("//").unwrap_or(path));
        if !path.is_absolute() {
            return Err("the path of a socket must be absolute".to_owned());
        }
        if path.as_os_str().len() > MAX_SOCKET_PATH {
            return Err(format!(
                "the path of a socket can have at most {MAX_SOCKET_PATH} bytes"
            ));
        }
        return Ok(Written::Unix(path));
    }
    let (host, port) = split(address)?;
    let port = port
        .parse::<u16>()
        .map_err(|_| format!("{port:?} is not a port from 0 to 65535"))?;
    if host.is_empty() {
        return Ok(Written::Ip((Ipv4Addr::UNSPECIFIED, port).into()));
    }
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(Written::Ip((ip.to_canonical(), port).into()));
    }
    if let Some((ip, interface)) = host.split_once('%')
        && let Ok(ip) = ip.parse()
    {
        return Ok(Written::Scoped(ip, interface, port));
    }
    // Unlike Go, the C library would accept 127.1, and would read 010.0.0.1 as octal.
    let last = host.rsplit('.').next().unwrap_or(host);
    if last.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("{host:?} is not an IPv4 address"));
    }
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c) || !c.is_ascii();
    if !host.chars().all(is_plain) {
        return Err(format!("{host:?} is not the name of a host"));
    }
    Ok(Written::Name(host, port))
}

/// Splits host and port (`SplitHostPort()` in Go's package net).
fn split(address: &str) -> Result<(&str, &str), String> {
    let no_port = || "the port is missing".to_owned();
    if let Some(rest) = address.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or("a `]` is missing")?;
        return Ok((host, rest.strip_prefix(':').ok_or_else(no_port)?));
    }
    let (host, port) = address.rsplit_once(':').ok_or_else(no_port)?;
    if host.contains(':') {
        return Err(
            "there is more than one colon; an IPv6 address needs brackets, as in [::1]:10190, and \
             there is no scheme before the host"
                .to_owned(),
        );
    }
    Ok((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(address: &str) -> Address {
        Address::Tcp(address.parse().unwrap())
    }

    #[test]
    fn an_address_means_the_same_as_in_go() {
        for (written, expected) in [
            (":10190", "0.0.0.0:10190"),
            ("[]:10190", "0.0.0.0:10190"),
            ("0.0.0.0:10190", "0.0.0.0:10190"),
            ("[::]:10190", "[::]:10190"),
            ("127.0.0.1:1", "127.0.0.1:1"),
            ("[127.0.0.1]:1", "127.0.0.1:1"),
            ("127.0.0.1:0", "127.0.0.1:0"),
            ("[::1]:1", "[::1]:1"),
            ("[::ffff:127.0.0.1]:1", "127.0.0.1:1"),
            ("[fe80::1%lo]:1", "[fe80::1%1]:1"),
            ("[fe80::1%1]:1", "[fe80::1%1]:1"),
            ("[fe80::1%77]:1", "[fe80::1%77]:1"),
            ("localhost:1", "127.0.0.1:1"),
            ("[localhost]:1", "127.0.0.1:1"),
        ] {
            assert_eq!(resolve(written).unwrap(), tcp(expected), "{written}");
        }
    }

    #[test]
    fn an_address_that_go_refuses_is_refused_with_the_reason() {
        for (written, reason) in [
            ("", "the port is missing"),
            ("10190", "the port is missing"),
            ("localhost", "the port is missing"),
            ("[::1]", "the port is missing"),
            ("[::1]x:1", "the port is missing"),
            ("[::1:1", "a `]` is missing"),
            ("::1:10190", "needs brackets"),
            ("fe80::1%lo:1", "needs brackets"),
            ("http://localhost:1", "no scheme"),
            ("localhost:x", "\"x\" is not a port"),
            ("localhost:", "\"\" is not a port"),
            ("localhost:65536", "\"65536\" is not a port"),
            ("localhost:1/metrics", "is not a port"),
            ("127.1:1", "\"127.1\" is not an IPv4 address"),
            ("256.0.0.1:1", "is not an IPv4 address"),
            ("010.0.0.1:1", "is not an IPv4 address"),
            ("*:1", "\"*\" is not the name of a host"),
            ("a b:1", "is not the name of a host"),
            ("127.0.0.1%lo:1", "is not the name of a host"),
        ] {
            let error = check(written).unwrap_err();
            assert!(error.contains(reason), "{written}: {error}");
        }
    }

    #[test]
    fn an_interface_that_does_not_exist_is_named() {
        check("[fe80::1%absent0]:1").unwrap();
        for interface in ["absent0", "0", ""] {
            let error = resolve(&format!("[fe80::1%{interface}]:1")).unwrap_err();
            let expected = format!("there is no network interface {interface}");
            assert_eq!(error.to_string(), expected);
        }
    }

    #[test]
    fn an_ipv4_address_of_a_host_is_preferred() {
        let found = |addresses: &[&str]| {
            let found: Vec<_> = addresses.iter().map(|a| a.parse().unwrap()).collect();
            preferred(&found).map(|address| address.to_string()).ok()
        };
        let [v4, v6] = ["127.0.0.1:1", "[::1]:1"];
        assert_eq!(found(&[v6, v4, "127.0.0.2:1"]).as_deref(), Some(v4));
        assert_eq!(found(&[v6, "[::2]:1"]).as_deref(), Some(v6));
        assert_eq!(found(&[]), None);
    }

    #[test]
    fn addresses_that_cannot_be_bound_together_overlap() {
        for (one, other, expected) in [
            ("0.0.0.0:1", "[::]:1", true),
            ("0.0.0.0:1", "127.0.0.1:1", true),
            ("[::1]:1", "0.0.0.0:1", true),
            ("127.0.0.1:1", "127.0.0.1:1", true),
            ("[fe80::1%1]:1", "[fe80::1%2]:1", false),
            ("127.0.0.1:1", "127.0.0.2:1", false),
            ("127.0.0.1:1", "[::1]:1", false),
            ("0.0.0.0:1", "[::]:2", false),
            ("0.0.0.0:0", "[::]:0", false),
        ] {
            assert_eq!(tcp(one).overlaps(&tcp(other)), expected, "{one} {other}");
        }
        let unix = |path: &str| Address::Unix(path.into());
        assert!(unix("/run/x").overlaps(&unix("/run/x")));
        assert!(!unix("/run/x").overlaps(&unix("/run/y")));
    }

    #[test]
    fn a_unix_socket_has_an_absolute_path_of_bounded_length() {
        let path = Address::Unix("/run/x.sock".into());
        assert_eq!(resolve("unix:/run/x.sock").unwrap(), path);
        assert_eq!(resolve("unix:///run/x.sock").unwrap(), path);
        let long = format!("unix:/{}", "x".repeat(107));
        for refused in ["unix:", "unix:x.sock", "unix://run/x.sock", &long] {
            assert!(check(refused).is_err(), "{refused}");
        }
    }
}
