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
use serde::Deserialize;

use crate::sys::user::describe_refusal;

mod duration;
mod tls;
mod tls_names;
mod yaml;

pub(crate) use self::tls::{ClientAuth, Pem, Source, TlsSection};
pub(crate) use self::yaml::Fault;
use self::yaml::Node;

/// The largest web configuration, certificate or key that is read, in bytes. A bundle of all public
/// certificate authorities is a quarter of this size.
const MAX_FILE: u64 = 1 << 20;

/// The costs that bcrypt allows (`MinCost` and `MaxCost` of Go's package).
const COSTS: std::ops::RangeInclusive<u32> = 4..=31;

/// A web configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read the web configuration {}: {}", path.display(), describe_refusal(error))]
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
    /// A certificate or key that the file names cannot be used now.
    #[error("{}:{line}: {message}", path.display())]
    Unusable {
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// The key, and what is wrong.
        message: String,
    },
}

impl Error {
    /// Returns whether this configuration can never work. Otherwise a later start may succeed with
    /// it: another program may be about to write the files.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Read { error, .. } => error.kind() == io::ErrorKind::InvalidData,
            Self::Invalid { .. } => true,
            Self::Unusable { .. } => false,
        }
    }
}

#[derive(Debug)]
pub struct WebConfig {
    pub(crate) tls: Option<TlsSection>,
    /// Each is set on the answers that do not have it already.
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    /// bcrypt hashes of passwords, by user name. If empty, no password is required.
    pub(crate) users: BTreeMap<String, String>,
    pub(crate) rate_limit: Option<RateLimit>,
}

/// One request per `interval`, with up to `burst` requests at once.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RateLimit {
    #[serde(deserialize_with = "duration::read")]
    pub(crate) interval: Duration,
    pub(crate) burst: u32,
}

/// The file as written.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Written {
    tls_server_config: tls::Written,
    http_server_config: HttpServerConfig,
    basic_auth_users: BTreeMap<String, String>,
    rate_limit: RateLimit,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct HttpServerConfig {
    /// Accepted without effect: the daemon always serves HTTP/1.1, which all clients speak.
    #[serde(rename = "http2")]
    _http2: Option<bool>,
    headers: Headers,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Headers {
    #[serde(rename = "X-Content-Type-Options")]
    sniff: Option<String>,
    #[serde(rename = "X-Frame-Options")]
    frame: Option<String>,
    #[serde(rename = "X-XSS-Protection")]
    xss: Option<String>,
    #[serde(rename = "Strict-Transport-Security")]
    hsts: Option<String>,
    #[serde(rename = "Content-Security-Policy")]
    csp: Option<String>,
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

/// Returns the error for a fault of the certificates and keys of this section. The error is final
/// only if all of them are in the web configuration itself.
pub(crate) fn unusable(path: &Path, section: &TlsSection, fault: Fault) -> Error {
    if section.files().next().is_none() {
        return invalid(path, fault);
    }
    Error::Unusable {
        path: path.to_owned(),
        line: fault.line,
        message: fault.message,
    }
}

/// Returns a fault of a certificate or private key, with the line of the configuration key that
/// names it.
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
    /// Parses and validates the text of a file. Relative paths in it are resolved against the
    /// directory of `path`.
    pub fn parse(text: &str, path: &Path) -> Result<Self, Error> {
        let dir = path.parent().unwrap_or(Path::new(""));
        yaml::parse(text)
            .and_then(|root| Self::read(&root, dir))
            .map_err(|mut fault| {
                fault.line = fault.line.min(yaml::last_line(text));
                invalid(path, fault)
            })
    }

    fn read(root: &Node, dir: &Path) -> Result<Self, Fault> {
        let written: Written = root.read()?;
        for (name, hash) in &written.basic_auth_users {
            let cost = HashParts::from_str(hash).map(|parts| parts.get_cost());
            if !cost.is_ok_and(|cost| COSTS.contains(&cost)) {
                let message =
                    "not a bcrypt hash; `htpasswd -nBC 10 \"\"` prints one after the colon";
                return Err(root.fault(&["basic_auth_users", name], message));
            }
        }
        let limit = Some(written.rate_limit).filter(|limit| !limit.interval.is_zero());
        if limit.is_some_and(|limit| limit.burst == 0) {
            let message = "burst must be at least 1, because with 0 every request is rejected";
            return Err(root.fault(&["rate_limit"], message));
        }
        Ok(Self {
            tls: tls::read(written.tls_server_config, root, dir)?,
            headers: headers(written.http_server_config.headers, root)?,
            users: written.basic_auth_users,
            rate_limit: limit,
        })
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

    /// Returns an error if this configuration lacks access control that `before` has. Without this
    /// check, a half-written file, which is often valid, could switch access control off.
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

fn headers(written: Headers, root: &Node) -> Result<Vec<(HeaderName, HeaderValue)>, Fault> {
    // Each name has the values that are supported. If the list is empty, any value is.
    let headers = [
        ("X-Content-Type-Options", written.sniff, &["nosniff"][..]),
        ("X-Frame-Options", written.frame, &["deny", "sameorigin"]),
        ("X-XSS-Protection", written.xss, &[]),
        ("Strict-Transport-Security", written.hsts, &[]),
        ("Content-Security-Policy", written.csp, &[]),
    ];
    let mut set = Vec::new();
    for (name, value, supported) in headers {
        let Some(value) = value else { continue };
        let fault = |message: &str| root.fault(&["http_server_config", "headers", name], message);
        if !supported.is_empty() && !supported.contains(&value.as_str()) {
            let supported = supported.join(", ");
            return Err(fault(&format!(
                "`{value}` is not supported; supported values: {supported}"
            )));
        }
        if !value.is_empty() {
            let value =
                HeaderValue::from_str(&value).map_err(|_| fault("not a valid header value"))?;
            let name = HeaderName::from_str(name).map_err(|e| fault(&e.to_string()))?;
            set.push((name, value));
        }
    }
    Ok(set)
}

#[cfg(test)]
mod tests;
