use super::*;

mod errors;

const HASH: &str = "$2y$10$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi";

fn parse(text: &str) -> Result<WebConfig, Error> {
    WebConfig::parse(text, Path::new("/etc/x/web.yml"))
}

#[track_caller]
fn accepted(text: &str) -> WebConfig {
    parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// Returns a TLS section with these lines added.
fn tls(lines: &str) -> String {
    format!("tls_server_config:\n  cert_file: a.crt\n  key_file: /b/b.key\n{lines}")
}

#[track_caller]
fn section(lines: &str) -> TlsSection {
    accepted(&tls(lines)).tls.expect("TLS is on")
}

fn file(pem: &Pem) -> &Path {
    match &pem.source {
        Source::File(path) => path,
        Source::Inline(_) => panic!("{} is inline", pem.name),
    }
}

#[track_caller]
fn assert_refused(text: &str, line: usize, message: &str) -> String {
    let error = parse(text).expect_err(text).to_string();
    let expected = format!("/etc/x/web.yml:{line}: {message}");
    assert!(error.starts_with(&expected), "{text}: {error}");
    error
}

#[test]
fn an_empty_file_configures_nothing() {
    for text in [
        "",
        "# nothing\n",
        "---\n",
        "{}",
        "tls_server_config:\nbasic_auth_users:\nhttp_server_config:\n",
        "tls_server_config: {}\nhttp_server_config: {http2: false}\n",
        // The toolkit does not enable TLS for this either.
        "tls_server_config:\n  min_version: TLS13\n",
    ] {
        let config = accepted(text);
        assert!(config.tls.is_none(), "{text}");
        assert!(config.users.is_empty() && config.headers.is_empty());
        assert!(config.rate_limit.is_none() && !config.authenticates());
    }
}

#[test]
fn paths_are_relative_to_the_file() {
    let tls = section("");
    assert_eq!(file(&tls.cert), Path::new("/etc/x/a.crt"));
    assert_eq!(file(&tls.key), Path::new("/b/b.key"));
}

#[test]
fn certificates_can_be_inline() {
    let text = "tls_server_config:\n  cert: |\n    -----BEGIN\n    x\n  key: y\n";
    let tls = accepted(text).tls.unwrap();
    assert!(matches!(tls.cert.source, Source::Inline(text) if text == "-----BEGIN\nx\n"));
    assert!(matches!(tls.key.source, Source::Inline(text) if text == "y"));
    // If both are given, the file takes precedence.
    assert_eq!(
        file(&section("  cert: y\n").cert),
        Path::new("/etc/x/a.crt")
    );
}

#[test]
fn each_client_authentication_type_of_the_toolkit_is_known() {
    for (name, requires, verifies, authenticates) in [
        ("NoClientCert", false, false, false),
        ("RequestClientCert", false, false, false),
        ("RequireAnyClientCert", true, false, false),
        ("RequireClientCert", true, false, false),
        ("VerifyClientCertIfGiven", false, true, false),
        ("RequireAndVerifyClientCert", true, true, true),
    ] {
        let ca = if verifies {
            "  client_ca_file: ca.crt\n"
        } else {
            ""
        };
        let config = accepted(&tls(&format!("  client_auth_type: {name}\n{ca}")));
        assert_eq!(config.authenticates(), authenticates, "{name}");
        let client_auth = config.tls.unwrap().client_auth;
        assert_eq!(client_auth.requires(), requires, "{name}");
        assert_eq!(client_auth.verifies(), verifies, "{name}");
    }
}

#[test]
fn versions_are_a_range() {
    for (lines, count) in [
        ("", 2),
        ("  min_version: TLS12\n", 2),
        ("  min_version: TLS13\n", 1),
        ("  max_version: TLS12\n", 1),
        ("  min_version: TLS12\n  max_version: TLS13\n", 2),
    ] {
        assert_eq!(section(lines).versions.len(), count, "{lines}");
    }
}

#[test]
fn a_list_of_cipher_suites_selects_those_of_tls_1_2() {
    let named = "  cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]\n";
    let suites = section(named).cipher_suites;
    let tls12: Vec<_> = suites.iter().filter(|s| s.tls13().is_none()).collect();
    assert_eq!((suites.len(), tls12.len()), (4, 1));
    assert_eq!(section("  cipher_suites: []\n").cipher_suites.len(), 9);
    let tls13 = "  cipher_suites: [TLS_AES_128_GCM_SHA256]\n";
    assert_eq!(section(tls13).cipher_suites.len(), 3);
}

#[test]
fn curves_keep_the_order_of_the_file() {
    let curves = section("  curve_preferences:\n  - CurveP384\n  - X25519\n").curves;
    let names: Vec<_> = curves.iter().map(|c| format!("{:?}", c.name())).collect();
    assert_eq!(names, ["secp384r1", "X25519"]);
    assert_eq!(section("").curves.len(), 3);
}

#[test]
fn booleans_are_those_of_yaml_1_1() {
    for (word, value) in [("true", true), ("no", false), ("Off", false), ("y", true)] {
        let lines = format!("  prefer_server_cipher_suites: {word}\n");
        assert_eq!(section(&lines).prefer_server, value, "{word}");
    }
    assert!(section("").prefer_server);
    for quoted in ["'true'", "\"no\""] {
        assert_refused(
            &tls(&format!("  prefer_server_cipher_suites: {quoted}\n")),
            4,
            "tls_server_config.prefer_server_cipher_suites: expected true or false",
        );
    }
}

#[test]
fn a_key_with_null_is_like_an_absent_key() {
    let nulls = tls(
        "  key: null\n  client_auth_type:\n  client_allowed_sans: ~\n  max_version: Null\n  \
         cipher_suites: NULL\n  prefer_server_cipher_suites:\nhttp_server_config:\n  http2:\n  \
         headers:\n    X-Frame-Options:\nrate_limit:\n  interval:\n  burst: ~\n",
    );
    let config = accepted(&nulls);
    assert!(config.headers.is_empty() && config.rate_limit.is_none());
    let tls = config.tls.unwrap();
    assert!(tls.prefer_server && tls.allowed_sans.is_none());
    assert_eq!((tls.versions.len(), tls.cipher_suites.len()), (2, 9));
    assert_refused("tls_config: ~\n", 1, "unknown key `tls_config`");
    assert_refused(
        "basic_auth_users:\n  alice: ~\n",
        2,
        "basic_auth_users.alice: not a bcrypt",
    );
}

#[test]
fn only_the_first_document_is_read() {
    let config = accepted("rate_limit: {interval: 1s, burst: 1}\n---\nunknown: 1\n");
    assert!(config.rate_limit.is_some());
}

#[test]
fn users_headers_and_a_rate_limit_are_read() {
    let config = accepted(&format!(
        "basic_auth_users:\n  alice: {HASH}\n  7: '{HASH}'\n\
         http_server_config:\n  http2: true\n  headers:\n    X-Frame-Options: deny\n    \
         Strict-Transport-Security: max-age=1\n    Content-Security-Policy: ''\n\
         rate_limit:\n  interval: 1m30s\n  burst: 5\n"
    ));
    let users: Vec<_> = config.users.keys().collect();
    assert_eq!(users, ["7", "alice"]);
    assert!(config.authenticates());
    let headers: Vec<_> = config
        .headers
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(headers, ["x-frame-options", "strict-transport-security"]);
    let limit = config.rate_limit.unwrap();
    assert_eq!((limit.interval.as_secs(), limit.burst), (90, 5));
}
