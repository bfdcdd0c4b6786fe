//! The names that Go's `crypto/tls` and the toolkit have for versions, cipher suites and
//! curves, and what stands for them here.

use tokio_rustls::rustls::crypto::SupportedKxGroup;
use tokio_rustls::rustls::crypto::ring::{cipher_suite, kx_group};
use tokio_rustls::rustls::{SupportedCipherSuite, SupportedProtocolVersion, version};

/// Versions, the oldest first.
pub(super) const VERSIONS: [(&str, &SupportedProtocolVersion); 2] =
    [("TLS12", &version::TLS12), ("TLS13", &version::TLS13)];

/// Versions that the toolkit knows, too.
const OLD_VERSIONS: [&str; 2] = ["TLS10", "TLS11"];

/// Cipher suites. Those of TLS 1.3 may be named, but are always on, as in Go.
pub(super) const CIPHER_SUITES: [(&str, SupportedCipherSuite); 9] = [
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

/// Elliptic curves.
pub(super) const CURVES: [(&str, &dyn SupportedKxGroup); 3] = [
    ("X25519", kx_group::X25519),
    ("CurveP256", kx_group::SECP256R1),
    ("CurveP384", kx_group::SECP384R1),
];

/// Why a version is refused.
pub(super) fn refuse_version(name: &str) -> String {
    if OLD_VERSIONS.contains(&name) {
        format!(
            "{name} is not supported, because it is broken: there are {}",
            list(&VERSIONS)
        )
    } else {
        format!("`{name}` is no TLS version: there are {}", list(&VERSIONS))
    }
}

/// Why a cipher suite is refused.
pub(super) fn refuse_cipher_suite(name: &str) -> String {
    let those = list(&CIPHER_SUITES);
    // What else Go has: cipher block chaining, RSA key exchange, RC4, 3DES.
    if name.starts_with("TLS_") {
        format!(
            "{name} is not supported: only suites with forward secrecy and authenticated \
             encryption are, which are {those}"
        )
    } else {
        format!("`{name}` is no cipher suite: there are {those}")
    }
}

/// Why a curve is refused.
pub(super) fn refuse_curve(name: &str) -> String {
    format!(
        "{name} is not supported: there are {}. Every TLS client has one of these",
        list(&CURVES)
    )
}

fn list<T>(known: &[(&str, T)]) -> String {
    let names: Vec<_> = known.iter().map(|(name, _)| *name).collect();
    names.join(", ")
}
