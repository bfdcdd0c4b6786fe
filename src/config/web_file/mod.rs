//! The web configuration file of Prometheus' exporter-toolkit: TLS, users, headers.
//!
//! The format is documented at
//! <https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md>.
//! Where that page is silent, this code follows the toolkit's `web/tls_config.go`. docs/web.md
//! lists the differences.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue};
use bcrypt::HashParts;
use nix::libc::O_NONBLOCK;

mod tls;
mod tls_names;
mod yaml;

pub(crate) use self::tls::{ClientAuth, Pem, Source, TlsSection};
pub(crate) use self::yaml::Fault;
use self::yaml::Node;

/// The largest web configuration, certificate or key that is read, in bytes. A bundle of all
/// public certificate authorities has a quarter of this size.
const MAX_FILE: u64 = 1 << 20;

/// The supported headers and their values. An empty list means any value.
const HEADERS: [(&str, &[&str]); 5] = [
    ("Content-Security-Policy", &[]),
    ("Strict-Transport-Security", &[]),
    ("X-Content-Type-Options", &["nosniff"]),
    ("X-Frame-Options", &["deny", "sameorigin"]),
    ("X-XSS-Protection", &[]),
];

/// The costs that bcrypt allows (`MinCost` and `MaxCost` of Go's package).
const COSTS: std::ops::RangeInclusive<u32> = 4..=31;

/// A web configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read the web configuration {}: {error}", path.display())]
    Read { path: PathBuf, error: io::Error },
    /// A key or value is invalid or not supported.
    #[error("{}:{line}: {message}", path.display())]
    Invalid {
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// The key, what is wrong, and what is valid.
        message: String,
    },
}

#[derive(Debug)]
pub struct WebConfig {
    pub(crate) tls: Option<TlsSection>,
    /// Set on each answer that does not have them.
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    /// bcrypt hashes of passwords, by user name. If empty, no password is required.
    pub(crate) users: BTreeMap<String, String>,
    pub(crate) rate_limit: Option<RateLimit>,
}

/// One request per `interval`, with up to `burst` requests at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RateLimit {
    pub(crate) interval: Duration,
    pub(crate) burst: u32,
}

/// Reads the text of a web configuration.
pub(crate) fn read_text(path: &Path) -> Result<String, Error> {
    let text = read_bounded(path).and_then(|bytes| {
        String::from_utf8(bytes).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))
    });
    text.map_err(|error| Error::Read {
        path: path.to_owned(),
        error,
    })
}

/// Reads a regular file of at most [`MAX_FILE`] bytes.
pub(crate) fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    // Without O_NONBLOCK, open(2) of a named pipe blocks until a process opens it for writing.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(O_NONBLOCK)
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(io::Error::other("larger than 1 MiB"));
    }
    Ok(bytes)
}

pub(crate) fn invalid(path: &Path, fault: Fault) -> Error {
    Error::Invalid {
        path: path.to_owned(),
        line: fault.line,
        message: fault.message,
    }
}

/// A fault of a certificate or private key, on the line of the key that names it.
pub(crate) fn fault_of(pem: &Pem, message: impl std::fmt::Display) -> Fault {
    let file = match &pem.source {
        Source::File(path) => format!("{}: ", path.display()),
        Source::Inline(_) => String::new(),
    };
    Fault {
        line: pem.line,
        message: format!("tls_server_config.{}: {file}{message}", pem.name),
    }
}

impl WebConfig {
    /// Parses and validates the text of a file. Relative paths in it start at the directory of
    /// `path`.
    pub fn parse(text: &str, path: &Path) -> Result<Self, Error> {
        let dir = path.parent().unwrap_or(Path::new(""));
        yaml::parse(text)
            .and_then(|root| Self::read(root, dir))
            .map_err(|mut fault| {
                fault.line = fault.line.min(yaml::last_line(text));
                invalid(path, fault)
            })
    }

    fn read(root: Node, dir: &Path) -> Result<Self, Fault> {
        let mut config = Self {
            tls: None,
            headers: Vec::new(),
            users: BTreeMap::new(),
            rate_limit: None,
        };
        let known = [
            "tls_server_config",
            "http_server_config",
            "basic_auth_users",
            "rate_limit",
        ];
        for (key, section) in root.fields(&known)? {
            match key.as_str() {
                "tls_server_config" => config.tls = tls::read(section, dir)?,
                "http_server_config" => config.headers = http(section)?,
                "basic_auth_users" => config.users = users(section)?,
                _ => config.rate_limit = rate_limit(section)?,
            }
        }
        Ok(config)
    }

    /// Returns whether requests need authentication: a password, or a certificate signed by one
    /// of the configured authorities.
    pub fn authenticates(&self) -> bool {
        !self.users.is_empty() || self.verifies_clients()
    }

    fn verifies_clients(&self) -> bool {
        self.tls
            .as_ref()
            .is_some_and(|tls| tls.client_auth == ClientAuth::RequireAndVerifyClientCert)
    }

    /// Returns an error if this configuration lacks access control that `before` has. A file that
    /// is only half written is often valid.
    pub(crate) fn keeps_access_control_of(&self, before: &Self) -> Result<(), Fault> {
        let gone = |what| {
            Err(Fault {
                line: 1,
                message: format!("{what} was removed; removing it needs a restart"),
            })
        };
        if self.users.is_empty() && !before.users.is_empty() {
            return gone("basic_auth_users");
        }
        if !self.verifies_clients() && before.verifies_clients() {
            return gone("tls_server_config.client_auth_type: RequireAndVerifyClientCert");
        }
        Ok(())
    }
}

fn http(section: Node) -> Result<Vec<(HeaderName, HeaderValue)>, Fault> {
    let mut headers = Vec::new();
    for (key, node) in section.fields(&["http2", "headers"])? {
        if key == "http2" {
            // Both values are accepted. The daemon always serves HTTP/1.1, which all clients speak.
            node.boolean()?;
            continue;
        }
        let names = HEADERS.map(|(name, _)| name);
        for (name, node) in node.fields(&names)? {
            let value = node.text()?;
            let (_, allowed) = HEADERS[names.iter().position(|n| *n == name).unwrap_or_default()];
            if !allowed.is_empty() && !allowed.contains(&value) {
                return Err(node.fault(format_args!(
                    "`{value}` is not supported; supported values: {}",
                    allowed.join(", ")
                )));
            }
            if value.is_empty() {
                continue;
            }
            let value =
                HeaderValue::from_str(value).map_err(|_| node.fault("not a valid header value"))?;
            let name = HeaderName::from_str(&name).map_err(|e| node.fault(e))?;
            headers.push((name, value));
        }
    }
    Ok(headers)
}

fn users(section: Node) -> Result<BTreeMap<String, String>, Fault> {
    let mut users = BTreeMap::new();
    for (name, node) in section.entries()? {
        let hash = node.text()?;
        let cost = HashParts::from_str(hash).map(|parts| parts.get_cost());
        if !cost.is_ok_and(|cost| COSTS.contains(&cost)) {
            return Err(
                node.fault("not a bcrypt hash; `htpasswd -nBC 10 \"\"` prints one after the colon")
            );
        }
        users.insert(name, hash.to_owned());
    }
    Ok(users)
}

fn rate_limit(section: Node) -> Result<Option<RateLimit>, Fault> {
    let mut limit = RateLimit {
        interval: Duration::ZERO,
        burst: 0,
    };
    let line = section.line;
    for (key, node) in section.fields(&["interval", "burst"])? {
        match key.as_str() {
            "interval" => limit.interval = node.duration()?,
            _ => limit.burst = node.number()?,
        }
    }
    if limit.interval.is_zero() {
        return Ok(None);
    }
    if limit.burst == 0 {
        return Err(Fault {
            line,
            message: "rate_limit: burst must be at least 1, because with 0 every request is \
                      rejected"
                .to_owned(),
        });
    }
    Ok(Some(limit))
}

#[cfg(test)]
mod tests;
