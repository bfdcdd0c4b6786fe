//! An HTTP client over TLS.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{
    CipherSuite, ClientConfig, ClientConnection, NamedGroup, ProtocolVersion, RootCertStore,
    StreamOwned, SupportedProtocolVersion,
};

use crate::certificates::Identity;
use crate::http::{Answer, connect, parsed};

/// A connection after its handshake.
pub type Connection = StreamOwned<ClientConnection, TcpStream>;

/// A client for HTTPS.
#[derive(Debug, Clone)]
pub struct Client {
    config: Arc<ClientConfig>,
}

impl Client {
    /// A client that trusts an authority and has no certificate.
    pub fn trusting(authority: &str) -> Self {
        Self::new(authority, None, &[&TLS13, &TLS12])
    }

    /// A client that trusts an authority and has a certificate.
    pub fn with(authority: &str, identity: &Identity) -> Self {
        Self::new(authority, Some(identity), &[&TLS13, &TLS12])
    }

    pub fn new(
        authority: &str,
        identity: Option<&Identity>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Self {
        let mut roots = RootCertStore::empty();
        let authority = CertificateDer::from_pem_slice(authority.as_bytes()).unwrap();
        roots.add(authority).unwrap();
        let provider: Arc<CryptoProvider> = ring::default_provider().into();
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match identity {
            Some(identity) => {
                let certificate =
                    CertificateDer::from_pem_slice(identity.certificate.as_bytes()).unwrap();
                let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
                builder
                    .with_client_auth_cert(vec![certificate], key)
                    .unwrap()
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Self {
            config: config.into(),
        }
    }

    /// Connects and completes the handshake. With TLS 1.3, this succeeds even if the server rejects
    /// the client's certificate: the client reads the server's alert only after the handshake.
    pub fn connect(&self, address: SocketAddr) -> io::Result<Connection> {
        self.shake(connect(address))
    }

    /// Like [`connect`](Self::connect), over an existing connection.
    pub fn shake<S: Read + Write>(
        &self,
        mut stream: S,
    ) -> io::Result<StreamOwned<ClientConnection, S>> {
        let name = ServerName::try_from("localhost").unwrap();
        let mut session = ClientConnection::new(Arc::clone(&self.config), name).unwrap();
        while session.is_handshaking() {
            session.complete_io(&mut stream)?;
        }
        Ok(StreamOwned::new(session, stream))
    }

    /// Sends a request with these headers, and reads the answer up to the server's `close_notify`.
    pub fn request(&self, address: SocketAddr, path: &str, headers: &str) -> io::Result<Answer> {
        let mut connection = self.connect(address)?;
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n");
        connection.write_all(request.as_bytes())?;
        let mut bytes = Vec::new();
        connection.read_to_end(&mut bytes)?;
        Ok(parsed(&bytes))
    }

    pub fn get(&self, address: SocketAddr, path: &str) -> io::Result<Answer> {
        self.request(address, path, "")
    }
}

/// The version, the cipher suite and the group that were negotiated.
pub fn negotiated(connection: &Connection) -> (ProtocolVersion, CipherSuite, NamedGroup) {
    let session = &connection.conn;
    (
        session.protocol_version().unwrap(),
        session.negotiated_cipher_suite().unwrap().suite(),
        session.negotiated_key_exchange_group().unwrap().name(),
    )
}
