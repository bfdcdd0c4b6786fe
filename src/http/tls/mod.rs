//! From what the web configuration says to how TLS is served, by rustls.

use std::sync::Arc;

use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use tokio_rustls::rustls::{self, RootCertStore, ServerConfig};

use self::client_certs::ClientCertificates;
use crate::config::web_file::{ClientAuth, Fault, Pem, Source, TlsSection, fault_of, read_bounded};
use crate::sys::user::describe_refusal;

mod client_certs;
pub(super) mod handshake;

/// What the certificates and keys of a section are at a time.
#[derive(PartialEq, Eq)]
pub(crate) struct Files {
    cert: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

impl std::fmt::Debug for Files {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // There is a private key in it.
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

    /// TLS as the section says, with these certificates and keys.
    pub(crate) fn server_config(&self, section: &TlsSection) -> Result<ServerConfig, Fault> {
        let provider = Arc::new(CryptoProvider {
            cipher_suites: section.cipher_suites.clone(),
            kx_groups: section.curves.clone(),
            ..ring::default_provider()
        });
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&section.versions)
            .map_err(|error| fault_of(&section.cert, error))?;
        let builder = if section.client_auth == ClientAuth::NoClientCert {
            builder.with_no_client_auth()
        } else {
            builder.with_client_cert_verifier(Arc::new(self.clients(section, &provider)?))
        };
        let key = PrivateKeyDer::from_pem_slice(&self.key)
            .map_err(|error| fault_of(&section.key, format_args!("no private key: {error}")))?;
        // By itself first, as the error below does not say that it is the key's.
        provider
            .key_provider
            .load_private_key(key.clone_key())
            .map_err(|_| {
                fault_of(
                    &section.key,
                    "not a key that can be used: RSA from 2048 bits on, ECDSA by P-256 or P-384, \
                     Ed25519",
                )
            })?;
        let mut config = builder
            .with_single_cert(certificates(&section.cert, &self.cert)?, key)
            .map_err(|error| match error {
                rustls::Error::InconsistentKeys(_) => {
                    fault_of(&section.key, "the key is not that of the certificate")
                }
                error => fault_of(&section.cert, error),
            })?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.ignore_client_order = section.prefer_server;
        // Nothing is kept of a client, and its certificate is looked at in each handshake.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }

    fn clients(
        &self,
        section: &TlsSection,
        provider: &Arc<CryptoProvider>,
    ) -> Result<ClientCertificates, Fault> {
        let chain = match (&section.client_ca, &self.client_ca) {
            (Some(pem), Some(bytes)) if section.client_auth.verifies() => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates(pem, bytes)? {
                    roots
                        .add(certificate)
                        .map_err(|error| fault_of(pem, error))?;
                }
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

/// The certificates in a PEM text: at least one.
fn certificates(pem: &Pem, bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(bytes)
        .collect::<Result<_, _>>()
        .map_err(|error| fault_of(pem, error))?;
    if certificates.is_empty() {
        return Err(fault_of(pem, "there is no certificate in it"));
    }
    Ok(certificates)
}
