//! Turns the TLS section of the web configuration into a configuration of rustls.

use std::sync::Arc;

use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use tokio_rustls::rustls::{self, CertificateError, RootCertStore, ServerConfig};

use self::client_certs::{ClientCertificates, is_old};
use crate::config::web_file::{ClientAuth, Fault, Pem, Source, TlsSection, fault_of, read_bounded};
use crate::sys::throttle::Throttle;
use crate::sys::user::describe_refusal;

mod client_certs;
pub(super) mod handshake;
mod pem;

/// The configuration of rustls that results from the files.
pub(crate) struct Tls {
    pub(crate) config: Arc<ServerConfig>,
    /// Certificates that were left out, with the reasons.
    pub(crate) skipped: Vec<String>,
}

/// The certificates and keys of a section, as they were at one reading.
#[derive(PartialEq, Eq)]
pub(crate) struct Files {
    cert: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

impl std::fmt::Debug for Files {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The text contains a private key.
        f.debug_struct("Files").finish_non_exhaustive()
    }
}

impl Files {
    pub(crate) fn read(section: &TlsSection) -> Result<Self, Fault> {
        let client_ca = match &section.client_ca {
            Some(pem) => Some(read(pem)?),
            None => None,
        };
        Ok(Self {
            cert: read(&section.cert)?,
            key: read(&section.key)?,
            client_ca,
        })
    }

    /// Returns the configuration for a section with these certificates and keys.
    pub(crate) fn server_config(&self, section: &TlsSection) -> Result<Tls, Fault> {
        let provider = Arc::new(CryptoProvider {
            cipher_suites: section.cipher_suites.clone(),
            kx_groups: section.curves.clone(),
            ..ring::default_provider()
        });
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&section.versions)
            .map_err(|error| fault_of(&section.cert, error))?;
        let key = pem::private_key(&self.key).map_err(|error| fault_of(&section.key, error))?;
        // Checked separately, because rustls' error below does not distinguish key and certificate.
        provider
            .key_provider
            .load_private_key(key.clone_key())
            .map_err(|_| {
                fault_of(
                    &section.key,
                    "this kind of key is not supported; use RSA with at least 2048 bits, ECDSA with \
                     P-256 or P-384, or Ed25519",
                )
            })?;
        let mut skipped = Vec::new();
        let chain = chain(&section.cert, &self.cert, &mut skipped)?;
        let builder = if section.client_auth == ClientAuth::NoClientCert {
            builder.with_no_client_auth()
        } else {
            let clients = self.clients(section, &provider, &mut skipped)?;
            builder.with_client_cert_verifier(Arc::new(clients))
        };
        let is_old = chain.first().is_some_and(|leaf| is_old(leaf));
        let mut config = builder
            .with_single_cert(chain, key)
            .map_err(|error| match error {
                rustls::Error::InconsistentKeys(_) => {
                    fault_of(&section.key, "the key does not belong to the certificate")
                }
                _ if is_old => fault_of(
                    &section.cert,
                    "the certificate is of X.509 version 1 or 2; issue one of version 3",
                ),
                error => fault_of(&section.cert, describe(&error)),
            })?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.ignore_client_order = section.prefer_server;
        // Without stored sessions, none can be resumed, so every handshake checks the client's
        // certificate.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Tls {
            config: Arc::new(config),
            skipped,
        })
    }

    fn clients(
        &self,
        section: &TlsSection,
        provider: &Arc<CryptoProvider>,
        skipped: &mut Vec<String>,
    ) -> Result<ClientCertificates, Fault> {
        let chain = match (&section.client_ca, &self.client_ca) {
            (Some(pem), Some(bytes)) if section.client_auth.verifies() => {
                let roots = authorities(pem, bytes, skipped)?;
                WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(provider))
                    .build()
                    .map(Some)
                    .map_err(|error| fault_of(pem, error))?
            }
            _ => None,
        };
        Ok(ClientCertificates {
            chain,
            mandatory: section.client_auth.requires(),
            allowed_sans: section.allowed_sans.clone(),
            algorithms: provider.signature_verification_algorithms,
            rejected: Throttle::default(),
        })
    }
}

fn read(pem: &Pem) -> Result<Vec<u8>, Fault> {
    match &pem.source {
        Source::Inline(text) => Ok(text.clone().into_bytes()),
        Source::File(path) => {
            read_bounded(path).map_err(|error| fault_of(pem, describe_refusal(&error)))
        }
    }
}

/// Returns the server's certificate and those that follow it in the file. Like Go's
/// `X509KeyPair()`, leaves out damaged ones, except for the first.
fn chain(
    pem: &Pem,
    bytes: &[u8],
    skipped: &mut Vec<String>,
) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let mut chain = Vec::new();
    for found in pem::certificates(bytes).map_err(|error| fault_of(pem, error))? {
        match found.certificate {
            Ok(certificate) => chain.push(certificate),
            Err(reason) => {
                let fault = fault_of(pem, format_args!("line {}: {reason}", found.line));
                if chain.is_empty() {
                    return Err(fault);
                }
                skipped.push(left_out(&fault));
            }
        }
    }
    Ok(chain)
}

/// Returns the authorities in a file. Like Go's `AppendCertsFromPEM()`, leaves out those that
/// cannot be used, but fails if none can be.
fn authorities(pem: &Pem, bytes: &[u8], skipped: &mut Vec<String>) -> Result<RootCertStore, Fault> {
    let mut roots = RootCertStore::empty();
    let mut faults = Vec::new();
    for found in pem::certificates(bytes).map_err(|error| fault_of(pem, error))? {
        let added = found
            .certificate
            .and_then(|certificate| roots.add(certificate).map_err(|error| describe(&error)));
        if let Err(reason) = added {
            faults.push(fault_of(pem, format_args!("line {}: {reason}", found.line)));
        }
    }
    if roots.is_empty() {
        // The file has at least one certificate, and none could be added, so there is a fault.
        return Err(faults.swap_remove(0));
    }
    skipped.extend(faults.iter().map(left_out));
    Ok(roots)
}

fn left_out(fault: &Fault) -> String {
    format!("{}; this certificate is left out", fault.message)
}

/// Describes what is wrong with a certificate in our files. The text of rustls would call it the
/// peer's.
fn describe(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::BadEncoding) => {
            "the certificate cannot be parsed".to_owned()
        }
        rustls::Error::InvalidCertificate(error) => format!("the certificate is invalid: {error}"),
        error => error.to_string(),
    }
}
