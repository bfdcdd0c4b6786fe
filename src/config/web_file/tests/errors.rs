//! Tests what is refused, and with which errors.

use super::*;

#[test]
fn errors_name_file_line_and_key() {
    let users = |hash: &str| format!("basic_auth_users:\n  alice: {hash}");
    let cases: &[(&str, usize, &str)] = &[
        ("a: b\n", 1, "unknown key `a`"),
        ("r: b\n", 1, "unknown key `r`"),
        (
            "tls_config:\n",
            1,
            "unknown key `tls_config`; did you mean `tls_server_config`?",
        ),
        (
            "tls_server_config:\n  cert_fil: a\n",
            2,
            "unknown key `tls_server_config.cert_fil`; did you mean `cert_file`?",
        ),
        ("- a\n", 1, "expected keys with values"),
        (
            "tls_server_config: x\n",
            1,
            "tls_server_config: expected keys",
        ),
        ("a: b: c\n", 1, ""),
        ("rate_limit: &x\n  burst: 1\n  interval: *x\n", 3, "aliases"),
        (
            "http_server_config:\n  http2: 1\n",
            2,
            "http_server_config.http2: `1` is",
        ),
        (
            "http_server_config:\n  http2: true\n  http2: true\n",
            3,
            "duplicate key `http_server_config.http2`",
        ),
        (
            "http_server_config:\n  headers:\n    Server: x\n",
            3,
            "unknown key `http_server_config.headers.Server`",
        ),
        (
            "http_server_config:\n  headers:\n    X-Frame-Options: allow\n",
            3,
            "http_server_config.headers.X-Frame-Options: `allow` is not supported; supported values: deny, sameorigin",
        ),
        (
            "http_server_config:\n  headers:\n    X-XSS-Protection: \"a\\nb\"\n",
            3,
            "http_server_config.headers.X-XSS-Protection: not a valid header value",
        ),
        (
            "rate_limit:\n  interval: soon\n",
            2,
            "rate_limit.interval: `soon`",
        ),
        ("rate_limit:\n  burst: -1\n", 2, "rate_limit.burst: `-1`"),
        (
            "rate_limit:\n  interval: 1s\n",
            1,
            "rate_limit: burst must be at least 1",
        ),
        (&users(""), 2, "basic_auth_users.alice: not a bcrypt"),
        (&users("secret"), 2, "basic_auth_users.alice: not a bcrypt"),
        (
            &users(&HASH.replace("$10$", "$32$")),
            2,
            "basic_auth_users.alice: ",
        ),
        (
            "tls_server_config:\n  key_file: b\n",
            1,
            "tls_server_config: cert_file (or cert) is missing",
        ),
        (
            "tls_server_config:\n  cert_file: b\n",
            1,
            "tls_server_config: key_file (or key) is missing",
        ),
        (
            "tls_server_config:\n  client_auth_type: NoClientCert\n",
            1,
            "tls_server_config: cert_file",
        ),
    ];
    for (text, line, message) in cases {
        assert_refused(text, *line, message);
    }
}

#[test]
fn an_error_at_the_end_is_on_the_last_line() {
    for (text, line) in [
        ("[", 1),
        ("[\n", 1),
        ("a: [\r\nb,\r\n", 2),
        ("a: [\rb,\r", 2),
        (
            "tls_server_config:\n  cert_file: a\n  curve_preferences:\n  -\n",
            4,
        ),
    ] {
        assert_refused(text, line, "");
    }
}

#[test]
fn an_unsupported_value_is_refused_with_the_supported_ones() {
    let tls = |lines| tls(lines);
    for (lines, line, key, says) in [
        (
            "  min_version: TLS10\n",
            4,
            "min_version: TLS10",
            "TLS12, TLS13",
        ),
        (
            "  max_version: TLS11\n",
            4,
            "max_version: TLS11",
            "TLS12, TLS13",
        ),
        (
            "  min_version: SSL3\n",
            4,
            "min_version: `SSL3`",
            "TLS12, TLS13",
        ),
        (
            "  min_version: TLS13\n  max_version: TLS12\n",
            4,
            "min_version: must not be above",
            "max_version",
        ),
        (
            "  cipher_suites:\n  - TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256\n  \
             - TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA\n",
            6,
            "cipher_suites: TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
            "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        ),
        (
            "  curve_preferences: [CurveP521]\n",
            4,
            "curve_preferences: CurveP521",
            "X25519, CurveP256, CurveP384",
        ),
        (
            "  client_auth_type: Maybe\n",
            4,
            "client_auth_type: `Maybe`",
            "NoClientCert",
        ),
        (
            "  client_auth_type: RequireAndVerifyClientCert\n",
            1,
            "client_ca_file is missing",
            "/etc/ssl/certs/ca-certificates.crt",
        ),
        (
            "  client_ca_file: ca.crt\n",
            1,
            "client_ca_file has no effect",
            "client_auth_type",
        ),
        (
            "  client_allowed_sans: [a]\n",
            4,
            "client_allowed_sans: needs client_auth_type",
            "RequireAnyClientCert",
        ),
    ] {
        let message = assert_refused(&tls(lines), line, "tls_server_config");
        assert!(message.contains(key) && message.contains(says), "{message}");
    }
}
