//! The web configuration file of Prometheus' exporter-toolkit: TLS, users, headers.
//!
//! The format, key by key, is at
//! <https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md>;
//! where that is silent, its `web/tls_config.go` decides. docs/web.md says what differs.

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

/// The largest web configuration, certificate or key that is read, in bytes: a bundle of
/// every public authority has a quarter of it.
const MAX_FILE: u64 = 1 << 20;

/// The headers that may be set, and to what; any value where there is no list.
const HEADERS: [(&str, &[&str]); 5] = [
    ("Content-Security-Policy", &[]),
    ("Strict-Transport-Security", &[]),
    ("X-Content-Type-Options", &["nosniff"]),
    ("X-Frame-Options", &["deny", "sameorigin"]),
    ("X-XSS-Protection", &[]),
];

/// What bcrypt allows (`MinCost` and `MaxCost` of Go's).
const COSTS: std::ops::RangeInclusive<u32> = 4..=31;

/// A web configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read the web configuration {}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// What it says makes no sense, or cannot be done.
    #[error("{}:{line}: {message}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// Which key, what is wrong, and what would be right.
        message: String,
    },
}

/// A web configuration.
#[derive(Debug)]
pub struct WebConfig {
    pub(crate) tls: Option<TlsSection>,
    /// Set on answers that do not have them.
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    /// bcrypt hashes of passwords, by name. Nobody is asked for any if it is empty.
    pub(crate) users: BTreeMap<String, String>,
    pub(crate) rate_limit: Option<RateLimit>,
}

/// One request each `interval`, and `burst` at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RateLimit {
    pub(crate) interval: Duration,
    pub(crate) burst: u32,
}

/// The text of a web configuration.
pub(crate) fn read_text(path: &Path) -> Result<String, Error> {
    let text = read_bounded(path).and_then(|bytes| {
        String::from_utf8(bytes).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))
    });
    text.map_err(|error| Error::Read {
        path: path.to_owned(),
        error,
    })
}

/// A file of at most [`MAX_FILE`] bytes.
pub(crate) fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    // To open a pipe would wait for whoever writes to it.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(O_NONBLOCK)
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(io::Error::other("it is larger than 1 MiB"));
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

/// What is wrong with a certificate or key, where the key names it.
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
    /// Validate the text of a file; paths in it are relative to the file's.
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

    /// Whether a client must show who it is before it is answered.
    pub fn authenticates(&self) -> bool {
        !self.users.is_empty() || self.verifies_clients()
    }

    /// Whether a client must have a certificate of ours.
    fn verifies_clients(&self) -> bool {
        self.tls
            .as_ref()
            .is_some_and(|tls| tls.client_auth == ClientAuth::RequireAndVerifyClientCert)
    }

    /// Whether clients are still asked for what they were asked for before, if it was only
    /// for something.
    pub(crate) fn asks_for_what(&self, before: &Self) -> Result<(), Fault> {
        let gone = |what| {
            Err(Fault {
                line: 1,
                message: format!("{what} is gone; it can be switched off by a restart only"),
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
            // Either is well: HTTP/1.1 is all there is, and what every client takes.
            node.boolean()?;
            continue;
        }
        let names = HEADERS.map(|(name, _)| name);
        for (name, node) in node.fields(&names)? {
            let value = node.text()?;
            let (_, allowed) = HEADERS[names.iter().position(|n| *n == name).unwrap_or_default()];
            if !allowed.is_empty() && !allowed.contains(&value) {
                return Err(node.fault(format_args!("`{value}` is none of {}", allowed.join(", "))));
            }
            if value.is_empty() {
                continue;
            }
            let value =
                HeaderValue::from_str(value).map_err(|_| node.fault("is no value of a header"))?;
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
            return Err(node
                .fault("is not a bcrypt hash, as `htpasswd -nBC 10 \"\"` prints after the colon"));
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
    for (key, node) in section.fields(&["interval", "burst"])? {
        match key.as_str() {
            "interval" => limit.interval = node.duration()?,
            _ => limit.burst = node.number()?,
        }
    }
    Ok((!limit.interval.is_zero()).then_some(limit))
}

#[cfg(test)]
mod tests;
