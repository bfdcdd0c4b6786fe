//! `tls_server_config`.

use std::path::{Path, PathBuf};

use tokio_rustls::rustls::crypto::SupportedKxGroup;
use tokio_rustls::rustls::{SupportedCipherSuite, SupportedProtocolVersion};

use super::tls_names::{
    CIPHER_SUITES, CURVES, VERSIONS, refuse_cipher_suite, refuse_curve, refuse_version,
};
use super::yaml::{Fault, Node};

const KEYS: [&str; 13] = [
    "cert",
    "key",
    "client_ca",
    "cert_file",
    "key_file",
    "client_auth_type",
    "client_ca_file",
    "client_allowed_sans",
    "min_version",
    "max_version",
    "cipher_suites",
    "prefer_server_cipher_suites",
    "curve_preferences",
];

/// The TLS settings. The files that they name have not been read.
#[derive(Debug)]
pub(crate) struct TlsSection {
    pub(crate) cert: Pem,
    pub(crate) key: Pem,
    pub(crate) client_auth: ClientAuth,
    /// Certificates of the authorities that sign client certificates. Present if
    /// [`ClientAuth::verifies`].
    pub(crate) client_ca: Option<Pem>,
    /// A client certificate must have one of these names.
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

/// Certificates or a private key, and the key of the configuration that names them.
#[derive(Debug)]
pub(crate) struct Pem {
    pub(crate) source: Source,
    pub(crate) line: usize,
    /// The key of the configuration.
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
#[derive(Default)]
struct Written {
    inline: [Option<Node>; 3],
    files: [Option<Node>; 3],
    client_auth: Option<Node>,
    allowed_sans: Option<Node>,
    versions: [Option<Node>; 2],
    cipher_suites: Option<Node>,
    prefer_server: Option<Node>,
    curves: Option<Node>,
}

const INLINE: [&str; 3] = ["cert", "key", "client_ca"];
const FILES: [&str; 3] = ["cert_file", "key_file", "client_ca_file"];

/// Reads the section. As in the toolkit, returns None if no key enables TLS. Relative paths start
/// at `dir`.
pub(super) fn read(section: Node, dir: &Path) -> Result<Option<TlsSection>, Fault> {
    let line = section.line;
    let mut written = Written::default();
    for (key, node) in section.fields(&KEYS)? {
        let place = match key.as_str() {
            "cert" => &mut written.inline[0],
            "key" => &mut written.inline[1],
            "client_ca" => &mut written.inline[2],
            "cert_file" => &mut written.files[0],
            "key_file" => &mut written.files[1],
            "client_ca_file" => &mut written.files[2],
            "client_auth_type" => &mut written.client_auth,
            "client_allowed_sans" => &mut written.allowed_sans,
            "min_version" => &mut written.versions[0],
            "max_version" => &mut written.versions[1],
            "cipher_suites" => &mut written.cipher_suites,
            "prefer_server_cipher_suites" => &mut written.prefer_server,
            _ => &mut written.curves,
        };
        *place = Some(node);
    }
    let [cert, key, client_ca] = written.pems(dir)?;
    let client_auth = match &written.client_auth {
        Some(node) => {
            let name = node.text()?;
            ClientAuth::named(name).ok_or_else(|| {
                node.fault(format_args!(
                    "`{name}` is not supported; supported values: NoClientCert, \
                     RequestClientCert, RequireAnyClientCert, VerifyClientCertIfGiven, \
                     RequireAndVerifyClientCert"
                ))
            })?
        }
        None => ClientAuth::NoClientCert,
    };
    let allowed_sans = written.allowed_sans(client_auth)?;
    let versions = written.versions()?;
    let cipher_suites = written.cipher_suites()?;
    let curves = written.curves()?;
    let prefer_server = match &written.prefer_server {
        Some(node) => node.boolean()?,
        None => true,
    };
    let names_client_auth = written
        .client_auth
        .as_ref()
        .is_some_and(|node| node.text().is_ok_and(|text| !text.is_empty()));
    if cert.is_none() && key.is_none() && client_ca.is_none() && !names_client_auth {
        return Ok(None);
    }
    let missing = |what: &str| Fault {
        line,
        message: format!("tls_server_config: {what}"),
    };
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
        allowed_sans,
        versions,
        cipher_suites,
        curves,
        prefer_server,
    }))
}

impl Written {
    fn pems(&self, dir: &Path) -> Result<[Option<Pem>; 3], Fault> {
        let mut pems = [const { None }; 3];
        for (i, pem) in pems.iter_mut().enumerate() {
            // If both are given, the file takes precedence, as in the toolkit.
            let file = self.files[i].as_ref().map(|node| (node, true));
            let inline = self.inline[i].as_ref().map(|node| (node, false));
            for (node, is_file) in [inline, file].into_iter().flatten() {
                let text = node.text()?;
                if text.is_empty() {
                    continue;
                }
                *pem = Some(Pem {
                    source: if is_file {
                        Source::File(dir.join(text))
                    } else {
                        Source::Inline(text.to_owned())
                    },
                    line: node.line,
                    name: if is_file { FILES[i] } else { INLINE[i] },
                });
            }
        }
        Ok(pems)
    }

    fn allowed_sans(&mut self, client_auth: ClientAuth) -> Result<Option<Vec<String>>, Fault> {
        let Some(node) = self.allowed_sans.take() else {
            return Ok(None);
        };
        if !client_auth.requires() {
            return Err(node.fault(
                "needs client_auth_type RequireAndVerifyClientCert or RequireAnyClientCert, because \
                 a client without a certificate has no name to compare",
            ));
        }
        let sans = node.list()?;
        let sans = sans.iter().map(|san| Ok(san.text()?.to_owned()));
        sans.collect::<Result<_, _>>().map(Some)
    }

    fn versions(&self) -> Result<Vec<&'static SupportedProtocolVersion>, Fault> {
        let mut range = [0, VERSIONS.len() - 1];
        for (end, node) in range.iter_mut().zip(&self.versions) {
            if let Some(node) = node {
                let name = node.text()?;
                let found = VERSIONS.iter().position(|(known, _)| *known == name);
                *end = found.ok_or_else(|| node.fault(refuse_version(name)))?;
            }
        }
        let [min, max] = range;
        match (&self.versions[0], min <= max) {
            (Some(node), false) => Err(node.fault("must not be above max_version")),
            _ => Ok(VERSIONS[min..=max].iter().map(|(_, v)| *v).collect()),
        }
    }

    fn cipher_suites(&mut self) -> Result<Vec<SupportedCipherSuite>, Fault> {
        let named = choose(
            self.cipher_suites.take(),
            &CIPHER_SUITES,
            refuse_cipher_suite,
        )?;
        Ok(match named {
            // In rustls' order of preference.
            None => tokio_rustls::rustls::crypto::ring::DEFAULT_CIPHER_SUITES.to_vec(),
            // As in Go, a list selects only suites of TLS 1.2.
            Some(named) => {
                let tls13 = tokio_rustls::rustls::crypto::ring::DEFAULT_CIPHER_SUITES
                    .iter()
                    .copied();
                let tls12 = named.into_iter().filter(|suite| suite.tls13().is_none());
                tls13
                    .filter(|suite| suite.tls13().is_some())
                    .chain(tls12)
                    .collect()
            }
        })
    }

    fn curves(&mut self) -> Result<Vec<&'static dyn SupportedKxGroup>, Fault> {
        let named = choose(self.curves.take(), &CURVES, refuse_curve)?;
        Ok(named.unwrap_or_else(|| CURVES.iter().map(|(_, curve)| *curve).collect()))
    }
}

/// Returns the values that a list names, or None if there is no list or it is empty.
fn choose<T: Copy>(
    list: Option<Node>,
    known: &[(&str, T)],
    refuse: fn(&str) -> String,
) -> Result<Option<Vec<T>>, Fault> {
    let Some(list) = list else { return Ok(None) };
    let mut chosen = Vec::new();
    for node in list.list()? {
        let name = node.text()?;
        let found = known.iter().find(|(known, _)| *known == name);
        let (_, value) = found.ok_or_else(|| node.fault(refuse(name)))?;
        chosen.push(*value);
    }
    Ok((!chosen.is_empty()).then_some(chosen))
}
