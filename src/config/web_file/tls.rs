//! The section `tls_server_config` of the web configuration.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use tokio_rustls::rustls::crypto::SupportedKxGroup;
use tokio_rustls::rustls::crypto::ring::DEFAULT_CIPHER_SUITES;
use tokio_rustls::rustls::{SupportedCipherSuite, SupportedProtocolVersion};

use super::tls_names::{CURVES, CipherSuite, Curve, VERSIONS, Version};
use super::yaml::{Fault, Node};

/// The TLS settings. The files that they name have not been read yet.
#[derive(Debug)]
pub(crate) struct TlsSection {
    pub(crate) cert: Pem,
    pub(crate) key: Pem,
    pub(crate) client_auth: ClientAuth,
    /// The certificates of the authorities that sign client certificates. Always present if
    /// [`ClientAuth::verifies`].
    pub(crate) client_ca: Option<Pem>,
    /// The names of which a client certificate must have one. None if any name is accepted.
    pub(crate) allowed_sans: Option<Vec<String>>,
    pub(crate) versions: Vec<&'static SupportedProtocolVersion>,
    /// In order of preference.
    pub(crate) cipher_suites: Vec<SupportedCipherSuite>,
    pub(crate) curves: Vec<&'static dyn SupportedKxGroup>,
    /// Whether the server's order of cipher suites takes precedence over the client's.
    pub(crate) prefer_server: bool,
}

impl TlsSection {
    /// Returns the files that the section names.
    pub(crate) fn files(&self) -> impl Iterator<Item = &Path> {
        let pems = [Some(&self.cert), Some(&self.key), self.client_ca.as_ref()];
        pems.into_iter()
            .flatten()
            .filter_map(|pem| match &pem.source {
                Source::File(path) => Some(path.as_path()),
                Source::Inline(_) => None,
            })
    }
}

/// Certificates or a private key, and where the configuration names them.
#[derive(Debug)]
pub(crate) struct Pem {
    pub(crate) source: Source,
    pub(crate) line: usize,
    /// The name of the configuration key, such as `cert_file`.
    pub(crate) name: &'static str,
}

pub(crate) enum Source {
    /// In the web configuration itself.
    Inline(String),
    File(PathBuf),
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            // The text may be a private key.
            Self::Inline(_) => f.write_str("Inline(..)"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}

/// How clients are authenticated. The names are those of Go's `crypto/tls`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClientAuth {
    NoClientCert,
    RequestClientCert,
    RequireAnyClientCert,
    VerifyClientCertIfGiven,
    RequireAndVerifyClientCert,
}

impl ClientAuth {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "" | "NoClientCert" => Self::NoClientCert,
            "RequestClientCert" => Self::RequestClientCert,
            // RequireClientCert is the toolkit's old name for the same value.
            "RequireAnyClientCert" | "RequireClientCert" => Self::RequireAnyClientCert,
            "VerifyClientCertIfGiven" => Self::VerifyClientCertIfGiven,
            "RequireAndVerifyClientCert" => Self::RequireAndVerifyClientCert,
            _ => return None,
        })
    }

    /// Returns whether clients without a certificate are rejected.
    pub(crate) fn requires(self) -> bool {
        matches!(
            self,
            Self::RequireAnyClientCert | Self::RequireAndVerifyClientCert
        )
    }

    /// Returns whether a certificate must be signed by one of the configured authorities.
    pub(crate) fn verifies(self) -> bool {
        matches!(
            self,
            Self::VerifyClientCertIfGiven | Self::RequireAndVerifyClientCert
        )
    }
}

/// The section as written.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Written {
    cert: String,
    key: String,
    client_ca: String,
    cert_file: String,
    key_file: String,
    client_auth_type: String,
    client_ca_file: String,
    client_allowed_sans: Option<Vec<String>>,
    min_version: Option<Version>,
    max_version: Option<Version>,
    cipher_suites: Vec<CipherSuite>,
    prefer_server_cipher_suites: Option<bool>,
    curve_preferences: Vec<Curve>,
}

/// Checks the section. As in the toolkit, returns None if no key enables TLS. Relative paths are
/// resolved against `dir`.
pub(super) fn read(written: Written, root: &Node, dir: &Path) -> Result<Option<TlsSection>, Fault> {
    let section = "tls_server_config";
    let fault = |key: &str, message: &str| root.fault(&[section, key], message);
    // If both are given, the file takes precedence, as in the toolkit.
    let pem = |inline: (&'static str, String), file: (&'static str, String)| {
        let (name, source) = if !file.1.is_empty() {
            (file.0, Source::File(dir.join(file.1)))
        } else if !inline.1.is_empty() {
            (inline.0, Source::Inline(inline.1))
        } else {
            return None;
        };
        let line = root.line_of(&[section, name]);
        Some(Pem { source, line, name })
    };
    let cert = pem(("cert", written.cert), ("cert_file", written.cert_file));
    let key = pem(("key", written.key), ("key_file", written.key_file));
    let client_ca = pem(
        ("client_ca", written.client_ca),
        ("client_ca_file", written.client_ca_file),
    );
    let client_auth = ClientAuth::named(&written.client_auth_type).ok_or_else(|| {
        fault(
            "client_auth_type",
            &format!(
                "`{}` is not supported; supported values: NoClientCert, RequestClientCert, \
                 RequireAnyClientCert, VerifyClientCertIfGiven, RequireAndVerifyClientCert",
                written.client_auth_type
            ),
        )
    })?;
    if written.client_allowed_sans.is_some() && !client_auth.requires() {
        return Err(fault(
            "client_allowed_sans",
            "needs client_auth_type RequireAndVerifyClientCert or RequireAnyClientCert, because \
             a client without a certificate has no name to compare",
        ));
    }
    let min = written.min_version.map_or(0, |version| version.0);
    let max = written
        .max_version
        .map_or(VERSIONS.len() - 1, |version| version.0);
    if min > max {
        return Err(fault("min_version", "must not be above max_version"));
    }
    let names_client_auth = !written.client_auth_type.is_empty();
    if cert.is_none() && key.is_none() && client_ca.is_none() && !names_client_auth {
        return Ok(None);
    }
    let missing = |message: &str| root.fault(&[section], message);
    let cert = cert.ok_or_else(|| missing("cert_file (or cert) is missing"))?;
    let key = key.ok_or_else(|| missing("key_file (or key) is missing"))?;
    if client_ca.is_some() && client_auth == ClientAuth::NoClientCert {
        return Err(missing(
            "client_ca_file has no effect without client_auth_type; RequireAndVerifyClientCert \
             accepts only clients with a certificate signed by these authorities",
        ));
    }
    if client_ca.is_none() && client_auth.verifies() {
        return Err(missing(
            "client_ca_file is missing. The authorities in the host's certificate store sign \
             certificates for anybody, so they are not used as a default; to accept them, set \
             client_ca_file to their file, for example /etc/ssl/certs/ca-certificates.crt",
        ));
    }
    Ok(Some(TlsSection {
        cert,
        key,
        client_auth,
        client_ca,
        allowed_sans: written.client_allowed_sans,
        versions: VERSIONS[min..=max]
            .iter()
            .map(|(_, version)| *version)
            .collect(),
        cipher_suites: cipher_suites(&written.cipher_suites),
        curves: curves(&written.curve_preferences),
        prefer_server: written.prefer_server_cipher_suites.unwrap_or(true),
    }))
}

/// Returns all suites in rustls' order of preference. As in Go, a list selects only suites of TLS
/// 1.2.
fn cipher_suites(listed: &[CipherSuite]) -> Vec<SupportedCipherSuite> {
    if listed.is_empty() {
        return DEFAULT_CIPHER_SUITES.to_vec();
    }
    let is_tls13 = |suite: &SupportedCipherSuite| suite.tls13().is_some();
    let tls13 = DEFAULT_CIPHER_SUITES.iter().copied().filter(is_tls13);
    let tls12 = listed
        .iter()
        .map(|suite| suite.0)
        .filter(|suite| !is_tls13(suite));
    tls13.chain(tls12).collect()
}

/// Returns the listed curves. Without a list, returns all.
fn curves(listed: &[Curve]) -> Vec<&'static dyn SupportedKxGroup> {
    if listed.is_empty() {
        return CURVES.iter().map(|(_, curve)| *curve).collect();
    }
    listed.iter().map(|curve| curve.0).collect()
}
