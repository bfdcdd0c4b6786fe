//! The names of versions, cipher suites and curves in Go's `crypto/tls` and in the toolkit, and
//! rustls' values for them.

use serde::Deserialize;
use tokio_rustls::rustls::crypto::SupportedKxGroup;
use tokio_rustls::rustls::crypto::ring::{cipher_suite, kx_group};
use tokio_rustls::rustls::{SupportedCipherSuite, SupportedProtocolVersion, version};

/// Ordered from the oldest.
pub(super) const VERSIONS: [(&str, &SupportedProtocolVersion); 2] =
    [("TLS12", &version::TLS12), ("TLS13", &version::TLS13)];

/// Versions that the toolkit supports and rustls does not.
const OLD_VERSIONS: [&str; 2] = ["TLS10", "TLS11"];

/// A list may name the suites of TLS 1.3, but they are always enabled, as in Go.
const CIPHER_SUITES: [(&str, SupportedCipherSuite); 9] = [
    (
        "TLS_AES_128_GCM_SHA256",
        cipher_suite::TLS13_AES_128_GCM_SHA256,
    ),
    (
        "TLS_AES_256_GCM_SHA384",
        cipher_suite::TLS13_AES_256_GCM_SHA384,
    ),
    (
        "TLS_CHACHA20_POLY1305_SHA256",
        cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    ),
    (
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    ),
    (
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    ),
    (
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
    (
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    ),
    (
        "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    ),
    (
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        cipher_suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
];

pub(super) const CURVES: [(&str, &dyn SupportedKxGroup); 3] = [
    ("X25519", kx_group::X25519),
    ("CurveP256", kx_group::SECP256R1),
    ("CurveP384", kx_group::SECP384R1),
];

/// A version, as its position in [`VERSIONS`].
#[derive(Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Version(pub(super) usize);

impl TryFrom<String> for Version {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        let known = list(&VERSIONS);
        match VERSIONS.iter().position(|(known, _)| *known == name) {
            Some(position) => Ok(Self(position)),
            None if OLD_VERSIONS.contains(&name.as_str()) => Err(format!(
                "{name} is not supported because it is insecure; supported versions: {known}"
            )),
            None => Err(format!(
                "`{name}` is not a TLS version; supported versions: {known}"
            )),
        }
    }
}

#[derive(Deserialize)]
#[serde(try_from = "String")]
pub(super) struct CipherSuite(pub(super) SupportedCipherSuite);

impl TryFrom<String> for CipherSuite {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        let known = list(&CIPHER_SUITES);
        match CIPHER_SUITES.iter().find(|(known, _)| *known == name) {
            Some((_, suite)) => Ok(Self(*suite)),
            // Go's other suites use CBC, RSA key exchange, RC4 or 3DES.
            None if name.starts_with("TLS_") => Err(format!(
                "{name} is not supported, because it lacks forward secrecy or authenticated \
                 encryption; supported suites: {known}"
            )),
            None => Err(format!(
                "`{name}` is not a cipher suite; supported suites: {known}"
            )),
        }
    }
}

#[derive(Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Curve(pub(super) &'static dyn SupportedKxGroup);

impl TryFrom<String> for Curve {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        match CURVES.iter().find(|(known, _)| *known == name) {
            Some((_, curve)) => Ok(Self(*curve)),
            None => Err(format!(
                "{name} is not supported; supported curves, of which every TLS client has at least \
                 one: {}",
                list(&CURVES)
            )),
        }
    }
}

fn list<T>(known: &[(&str, T)]) -> String {
    let names: Vec<_> = known.iter().map(|(name, _)| *name).collect();
    names.join(", ")
}
