//! Prometheus scrapes in each way that docs/web.md shows, and promtool accepts the configurations there.

use std::process::Command;

use testkit::certificates::Authority;
use testkit::prometheus::{Prometheus, promtool};
use testkit::service::Service;
use testkit::web::{MUTUAL, SECRET, TLS, WebDir, users};

const SHIPPED: &str = include_str!("../../packaging/web-config.yml");
const DOCS: &str = include_str!("../../docs/web.md");

/// Lines of a scrape configuration.
const HTTPS: &str = "    scheme: https\n";
const CA: &str = "    tls_config:\n      ca_file: DIR/ca.crt\n";
const CERTIFICATE: &str = "      cert_file: DIR/client.crt\n      key_file: DIR/client.key\n";
const USER: &str = "    basic_auth:\n      username: prometheus\n      password: secret\n";
const WRONG_USER: &str = "    basic_auth:\n      username: prometheus\n      password: wrong\n";
const BEARER: &str = "    authorization:\n      credentials: secret\n";

/// Asserts that Prometheus can scrape with the lines in `accepted`, and cannot with those in `rejected`.
#[track_caller]
fn assert_up(web_config: &str, accepted: &[(&str, &[&str])], rejected: &[(&str, &[&str])]) {
    let authority = Authority::new("ours");
    let dir = WebDir::tls(web_config, &authority);
    dir.identity("client", &authority.client());
    dir.identity("stranger", &Authority::new("theirs").client());
    promtool(dir.path(), &["check", "web-config", "web.yml"]);
    let service = Service::start(&dir.config());
    let mut config = "scrape_configs:\n".to_owned();
    for (name, lines) in accepted.iter().chain(rejected) {
        let port = service.address.port();
        config.extend([
            format!("  - job_name: {name}\n    scrape_interval: 2s\n    scrape_timeout: 2s\n"),
            format!("    static_configs:\n      - targets: ['localhost:{port}']\n"),
            lines.concat(),
        ]);
    }
    let config = config.replace("DIR", dir.path().to_str().unwrap());
    let prometheus = Prometheus::start(&config);
    for (name, _) in accepted {
        prometheus.query_until_there(&format!("up{{job=\"{name}\"}} == 1"));
    }
    for (name, _) in rejected {
        prometheus.query_until_there(&format!("max_over_time(up{{job=\"{name}\"}}[1h]) == 0"));
    }
}

#[test]
fn prometheus_scrapes_over_plain_http() {
    assert_up("", &[("plain", &[])], &[("https", &[HTTPS, CA])]);
}

#[test]
fn prometheus_scrapes_over_tls() {
    assert_up(
        TLS,
        &[("tls", &[HTTPS, CA])],
        &[("unknown_authority", &[HTTPS]), ("http", &[])],
    );
}

#[test]
fn prometheus_scrapes_with_a_client_certificate() {
    let stranger = CERTIFICATE.replace("client", "stranger");
    assert_up(
        &format!("{TLS}{MUTUAL}"),
        &[("certificate", &[HTTPS, CA, CERTIFICATE])],
        &[
            ("none", &[HTTPS, CA]),
            ("stranger", &[HTTPS, CA, &stranger]),
        ],
    );
}

#[test]
fn prometheus_scrapes_as_a_user_over_tls() {
    assert_up(
        &format!("{TLS}{}", users(&["prometheus"])),
        &[("user", &[HTTPS, CA, USER])],
        &[
            ("wrong", &[HTTPS, CA, WRONG_USER]),
            ("bearer", &[HTTPS, CA, BEARER]),
            ("nobody", &[HTTPS, CA]),
        ],
    );
}

#[test]
fn prometheus_scrapes_by_the_configuration_of_the_package() {
    // The certificates of the test replace those that the example names.
    let shipped = SHIPPED.replace("/etc/execsnoopd/tls/", "");
    assert_ne!(shipped, SHIPPED);
    for line in SHIPPED.lines().filter(|line| !line.starts_with('#')) {
        assert!(DOCS.contains(line), "not in docs/web.md: {line}");
    }
    assert_up(
        &shipped,
        &[("all", &[HTTPS, CA, CERTIFICATE, USER])],
        &[
            ("no_user", &[HTTPS, CA, CERTIFICATE]),
            ("no_certificate", &[HTTPS, CA, USER]),
        ],
    );
}

#[test]
fn promtool_accepts_the_documented_scrape_configuration() {
    let authority = Authority::new("ours");
    let dir = WebDir::tls("", &authority);
    dir.identity("client", &authority.client());
    dir.write("password", "secret");
    let start = DOCS.find("    scrape_configs:").expect("an example");
    let example = DOCS[start..].lines();
    let example: Vec<_> = example
        .map_while(|line| line.strip_prefix("    "))
        .collect();
    dir.write("prometheus.yml", &example.join("\n"));
    promtool(dir.path(), &["check", "config", "prometheus.yml"]);
}

#[test]
fn web_configurations_are_rejected_where_promtool_rejects_them_or_the_documentation_says_so() {
    /// Whether promtool agrees. If not, promtool accepts what the daemon rejects.
    const AS_PROMTOOL: bool = true;
    let hash = SECRET;
    let tls = |lines: &str| format!("{TLS}{lines}");
    let cases = [
        (String::new(), AS_PROMTOOL),
        (TLS.to_owned(), AS_PROMTOOL),
        (tls("  client_auth_type: ''\n"), AS_PROMTOOL),
        (tls("  prefer_server_cipher_suites: yes\n"), AS_PROMTOOL),
        (tls("  prefer_server_cipher_suites: 'true'\n"), AS_PROMTOOL),
        (tls("  cipher_suites:\n"), AS_PROMTOOL),
        (tls("  cert_file: server.crt\n"), AS_PROMTOOL),
        (tls("  client_ca_file: ca.crt\n"), AS_PROMTOOL),
        (tls(MUTUAL), AS_PROMTOOL),
        (
            tls("  client_auth_type: RequestClientCert\n  client_ca_file: none.crt\n"),
            AS_PROMTOOL,
        ),
        (
            "tls_server_config:\n  min_version: TLS12\n".into(),
            AS_PROMTOOL,
        ),
        (
            "tls_server_config:\n  key_file: server.key\n".into(),
            AS_PROMTOOL,
        ),
        ("http_server_config: ~\n".into(), AS_PROMTOOL),
        ("http_server_config:\n  http2: off\n".into(), AS_PROMTOOL),
        (
            "http_server_config:\n  headers:\n    x-frame-options: deny\n".into(),
            AS_PROMTOOL,
        ),
        (
            "http_server_config:\n  headers:\n    X-Frame-Options: ''\n".into(),
            AS_PROMTOOL,
        ),
        (
            format!("basic_auth_users:\n  1: {hash}\n  true: {hash}\n  a b: '{hash}'\n"),
            AS_PROMTOOL,
        ),
        ("basic_auth_users: {}\n".into(), AS_PROMTOOL),
        // A user needs a hash.
        ("basic_auth_users:\n  a:\n".into(), AS_PROMTOOL),
        ("basic_auth_users:\n  a: ''\n".into(), AS_PROMTOOL),
        ("basic_auth_users:\n\ta: b\n".into(), AS_PROMTOOL),
        ("x: 1\n".into(), AS_PROMTOOL),
        ("x: [\n".into(), AS_PROMTOOL),
        ("[]\n".into(), AS_PROMTOOL),
        (
            "---\nhttp_server_config:\r\n  http2: true\r\n...\n".into(),
            AS_PROMTOOL,
        ),
        ("http_server_config: {}\n---\nx: 1\n".into(), AS_PROMTOOL),
        // docs/web.md names these differences.
        (tls("  min_version: TLS10\n"), false),
        (tls("  min_version: TLS13\n  max_version: TLS12\n"), false),
        (tls("  curve_preferences: [CurveP521]\n"), false),
        (
            tls("  cipher_suites: [TLS_RSA_WITH_AES_128_CBC_SHA]\n"),
            false,
        ),
        (
            tls("  client_auth_type: RequireAndVerifyClientCert\n"),
            false,
        ),
        (format!("basic_auth_users:\n  a: {}\n", &hash[..59]), false),
        (
            format!("basic_auth_users:\n  a: &x {hash}\n  b: *x\n"),
            false,
        ),
    ];
    let dir = WebDir::tls("", &Authority::new("ours"));
    let accepts = |command: &mut Command| command.output().unwrap().status.success();
    for (text, as_promtool) in cases {
        dir.write("web.yml", &text);
        let file = dir.web_config();
        let promtool = accepts(
            Command::new("promtool")
                .args(["check", "web-config"])
                .arg(&file),
        );
        let daemon = accepts(
            Command::new(env!("CARGO_BIN_EXE_execsnoopd"))
                .args(["--config=/dev/null", "--check", "--web.config.file"])
                .arg(&file),
        );
        assert_eq!(daemon, promtool && as_promtool, "{text}");
        assert!(promtool || as_promtool, "{text}");
    }
}
