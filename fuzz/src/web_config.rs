//! The parser of the web configuration file.

use std::path::Path;

use execsnoopd::config::web_file::{Error, WebConfig};

use crate::hint;

/// The keys of the format.
const KEYS: [&str; 26] = [
    "tls_server_config",
    "http_server_config",
    "basic_auth_users",
    "rate_limit",
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
    "http2",
    "headers",
    "Content-Security-Policy",
    "Strict-Transport-Security",
    "X-Content-Type-Options",
    "X-Frame-Options",
    "X-XSS-Protection",
    "interval",
    "burst",
];

/// For any text: it is a web configuration, or it is rejected with a message that names one of its
/// lines.
pub fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let file = Path::new("/x/web.yml");
    match WebConfig::parse(text, file) {
        Ok(config) => {
            // Authentication is required only if a key asks for it. Keys can contain escapes.
            let keys = ["basic_auth_users", "client_auth_type", "\\"];
            assert!(!config.authenticates() || keys.iter().any(|key| text.contains(key)));
        }
        Err(Error::Invalid {
            path,
            line,
            message,
        }) => {
            assert_eq!(path, file);
            assert!(!message.is_empty());
            // In YAML, \r\n and \r are line breaks, too.
            let text = text.replace("\r\n", "\n").replace('\r', "\n");
            let lines = text.lines().count().max(1);
            assert!(
                (1..=lines).contains(&line),
                "there is no line {line}: {message}"
            );
            if let Some((_, Some(nearest))) = hint::of(&message) {
                assert!(KEYS.contains(&nearest), "there is no key {nearest}");
            }
        }
        Err(error) => panic!("{error}"),
    }
}
