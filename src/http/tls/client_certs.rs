//! Decides which client certificates are accepted.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use tokio_rustls::rustls::client::danger::HandshakeSignatureValid;
use tokio_rustls::rustls::crypto::{
    WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::{CertificateDer, UnixTime};
use tokio_rustls::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use tokio_rustls::rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme,
};
use tracing::{debug, warn};
use x509_cert::Certificate;
use x509_cert::certificate::Version;
use x509_cert::der::Decode;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{BasicConstraints, SubjectAltName};

use crate::sys::throttle::Throttle;

/// Implements Go's client authentication types and the toolkit's list of allowed names.
///
/// Every client must prove that it has the private key of its certificate, whatever the
/// authentication type.
#[derive(Debug)]
pub(super) struct ClientCertificates {
    /// Verifies the signatures and the validity of a chain. None if any certificate is accepted.
    pub(super) chain: Option<Arc<dyn ClientCertVerifier>>,
    pub(super) mandatory: bool,
    pub(super) allowed_sans: Option<Vec<String>>,
    pub(super) algorithms: WebPkiSupportedAlgorithms,
    pub(super) rejected: Throttle,
}

impl ClientCertVerifier for ClientCertificates {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        let chain = self.chain.as_ref();
        chain.map_or(&[], |chain| chain.root_hint_subjects())
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.verify(end_entity, intermediates, now);
        self.report(end_entity, verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let valid = verify_tls12_signature(message, cert, dss, &self.algorithms);
        self.report(cert, valid)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let valid = verify_tls13_signature(message, cert, dss, &self.algorithms);
        self.report(cert, valid)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl ClientCertificates {
    fn verify(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if let Some(chain) = &self.chain {
            chain.verify_client_cert(end_entity, intermediates, now)?;
        }
        if let Some(allowed) = &self.allowed_sans {
            let found = alternative_names(end_entity).ok_or(CertificateError::BadEncoding)?;
            if !found.iter().any(|name| allowed.contains(name)) {
                debug!(?found, "no name of the client's certificate is allowed");
                return Err(CertificateError::ApplicationVerificationFailure.into());
            }
        }
        Ok(ClientCertVerified::assertion())
    }

    /// Logs an error, but at most one per minute.
    fn report<T>(&self, certificate: &[u8], result: Result<T, Error>) -> Result<T, Error> {
        if let Err(error) = &result
            && let Some(times) = self.rejected.allow(Instant::now())
        {
            let reason = reason(certificate, error);
            warn!(times, reason, "rejected a client certificate");
        }
        result
    }
}

/// Returns why a client certificate is rejected. rustls has no error for X.509 version 1 or 2 and
/// none for the certificate of an authority. Both are common, because Go accepts such certificates.
fn reason(certificate: &[u8], error: &Error) -> String {
    let Error::InvalidCertificate(error) = error else {
        return error.to_string();
    };
    let known = match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "it has expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "it is not valid yet"
        }
        CertificateError::UnknownIssuer => "no authority of client_ca_file signed it",
        CertificateError::BadSignature => "its signature, or that of the handshake, is invalid",
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "its extended key usage does not include client authentication"
        }
        CertificateError::ApplicationVerificationFailure => {
            "none of its names is in client_allowed_sans"
        }
        CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "its kind of key or signature is not supported"
        }
        other => return unnamed(certificate).map_or_else(|| other.to_string(), str::to_owned),
    };
    known.to_owned()
}

/// Returns whether a certificate is of X.509 version 1 or 2, which rustls does not support.
pub(super) fn is_old(certificate: &[u8]) -> bool {
    Certificate::from_der(certificate)
        .is_ok_and(|certificate| certificate.tbs_certificate().version() != Version::V3)
}

fn unnamed(certificate: &[u8]) -> Option<&'static str> {
    if is_old(certificate) {
        return Some("it is of X.509 version 1 or 2, and only version 3 is supported");
    }
    let Ok(certificate) = Certificate::from_der(certificate) else {
        return Some("it cannot be parsed");
    };
    let certificate = certificate.tbs_certificate();
    let constraints = certificate.get_extension::<BasicConstraints>().ok()?;
    let is_ca = constraints.is_some_and(|(_, constraints)| constraints.ca);
    is_ca.then_some("it is the certificate of an authority (CA:TRUE), not of a client")
}

/// Returns the names that the toolkit compares: DNS names, email addresses, IP addresses and URIs.
/// Returns None if the certificate cannot be parsed.
fn alternative_names(certificate: &[u8]) -> Option<Vec<String>> {
    let certificate = Certificate::from_der(certificate).ok()?;
    let names = certificate
        .tbs_certificate()
        .get_extension::<SubjectAltName>()
        .ok()?;
    let names = names.map_or(Vec::new(), |(_, SubjectAltName(names))| names);
    Some(names.iter().filter_map(text_of).collect())
}

fn text_of(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DnsName(text)
        | GeneralName::Rfc822Name(text)
        | GeneralName::UniformResourceIdentifier(text) => Some(text.to_string()),
        GeneralName::IpAddress(bytes) => {
            let bytes = bytes.as_bytes();
            let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
            let v6 = || <[u8; 16]>::try_from(bytes).map(IpAddr::from);
            Some(v4.or_else(|_| v6()).ok()?.to_canonical().to_string())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use tokio_rustls::rustls::pki_types::pem::PemObject;
    use tokio_rustls::rustls::server::ParsedCertificate;

    use super::*;

    /// `openssl x509 -req -signkey KEY -days 36500`, with OpenSSL 3.0.
    const VERSION_1: &str = "-----BEGIN CERTIFICATE-----\n\
        MIIBGDCBvwIUcd2aKrVZfUl+U5rHBK3KV7G1LREwCgYIKoZIzj0EAwIwDjEMMAoG\n\
        A1UEAwwDb2xkMCAXDTI2MTEyNTEyNTg0M1oYDzIxMjYxMTAxMTI1ODQzWjAOMQww\n\
        CgYDVQQDDANvbGQwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAASwqIxagPDb+0+B\n\
        Z/PROjLPc8r840Ihr8Gv+X6onTRkvk85mYs5OuY2xQ8rk5bXOL9arcVO0eroUaUq\n\
        XASbH5rEMAoGCCqGSM49BAMCA0gAMEUCIEsxUgxpjweyh32Hg5fOWDTF6vnWQ5mT\n\
        fQObmUZcn4GQAiEAwIRzeNFlnZIyFX10OxjNnduwk5DBTK+SYmWgSv6bFk8=\n\
        -----END CERTIFICATE-----\n";

    /// `openssl req -x509 -key KEY -days 36500`.
    const AUTHORITY: &str = "-----BEGIN CERTIFICATE-----\n\
        MIIBcTCCARegAwIBAgIURjfeKjFM7R+76jtN3K4HAutg2vswCgYIKoZIzj0EAwIw\n\
        DTELMAkGA1UEAwwCY2EwIBcNMjYxMTI1MTI1ODQzWhgPMjEyNjExMDExMjU4NDNa\n\
        MA0xCzAJBgNVBAMMAmNhMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEsKiMWoDw\n\
        2/tPgWfz0Toyz3PK/ONCIa/Br/l+qJ00ZL5POZmLOTrmNsUPK5OW1zi/Wq3FTtHq\n\
        6FGlKlwEmx+axKNTMFEwHQYDVR0OBBYEFD63zHYVeS0kt2NOhQ8dG73QKh47MB8G\n\
        A1UdIwQYMBaAFD63zHYVeS0kt2NOhQ8dG73QKh47MA8GA1UdEwEB/wQFMAMBAf8w\n\
        CgYIKoZIzj0EAwIDSAAwRQIgTLGvbnt4vfmgJWFY1fCOyxMtvmE/WXtkEeoziva1\n\
        JWUCIQDCm/x/s2ir9gfZhVWeUZchI5KLR2KoK+p15iOoxBcKZQ==\n\
        -----END CERTIFICATE-----\n";

    #[test]
    fn the_reason_names_what_rustls_has_no_words_for() {
        let der = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        let error = ParsedCertificate::try_from(&der(VERSION_1)).err().unwrap();
        let other = || CertificateError::ApplicationVerificationFailure;
        assert!(reason(&der(VERSION_1), &error).contains("X.509 version 1"));
        assert!(is_old(&der(VERSION_1)) && !is_old(&der(AUTHORITY)));
        let unknown = Error::InvalidCertificate(CertificateError::UnhandledCriticalExtension);
        assert!(reason(&der(AUTHORITY), &unknown).contains("CA:TRUE"));
        assert!(reason(b"x", &unknown).contains("cannot be parsed"));
        assert!(reason(b"x", &other().into()).contains("client_allowed_sans"));
    }
}
