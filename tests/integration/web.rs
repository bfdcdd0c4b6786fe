//! TLS, client certificates and users, as set in a web configuration file (the format of Prometheus'
//! exporter-toolkit).

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get as route_get;
use execsnoopd::config::Address;
use execsnoopd::http::auth::protect;
use execsnoopd::http::listener::Listener;
use execsnoopd::http::live_config::Live;
use execsnoopd::http::server::{Limits, Server};
use rcgen::SanType;
use testkit::certificates::Authority;
use testkit::fixed::run;
use testkit::http::{Answer, answer, connect, get, request, send};
use testkit::service::Service;
use testkit::tls::{Client, negotiated};
use testkit::web::{ALICE, ALICE_WRONG, MUTUAL, NOBODY, TLS, WebDir, users};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{CipherSuite, NamedGroup, ProtocolVersion};

fn service(dir: &WebDir) -> Service {
    Service::start(&dir.config())
}

/// Starts a service with TLS, and returns it with a client that trusts it, its directory and its
/// authority. `lines` are appended to `tls_server_config`.
fn tls(lines: &str) -> (Service, Client, WebDir, Authority) {
    let authority = Authority::new("ours");
    let dir = WebDir::tls(&format!("{TLS}{lines}"), &authority);
    let client = Client::trusting(&authority.pem);
    (service(&dir), client, dir, authority)
}

#[test]
fn every_route_is_answered_over_tls() {
    let (service, client, _dir, _) = tls("");
    for path in ["/", "/metrics", "/-/healthy", "/-/ready"] {
        let answer = client.get(service.address, path).unwrap();
        assert_eq!(answer.status, 200, "{path}");
    }
    let connection = client.connect(service.address).unwrap();
    // The server chooses HTTP/1.1, although the client also offers HTTP/2.
    assert_eq!(connection.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
}

#[test]
fn plain_http_on_a_tls_port_is_answered_400() {
    let (service, client, _dir, _) = tls("");
    for request in [
        &b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"[..],
        b"POST / HTTP/1.0\r\n\r\n",
        b"G",
    ] {
        let answer = send(service.address, request);
        assert_eq!(answer.status, 400);
        assert_eq!(
            answer.text(),
            "Client sent an HTTP request to an HTTPS server.\n"
        );
    }
    assert_eq!(client.get(service.address, "/").unwrap().status, 200);
}

#[test]
fn a_connection_that_sends_garbage_to_a_tls_port_is_closed() {
    let (service, client, _dir, _) = tls("");
    for garbage in [&b"\0\0\0\0\0\0"[..], b"\x16\x03\x01\xff\xff\xff", b"\x80"] {
        let mut stream = connect(service.address);
        stream.write_all(garbage).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut rest = Vec::new();
        // The server resets the connection if it has not read everything.
        let _ = stream.read_to_end(&mut rest);
        assert!(!rest.starts_with(b"HTTP"), "{garbage:?}: {rest:?}");
    }
    assert_eq!(client.get(service.address, "/").unwrap().status, 200);
}

#[test]
fn versions_cipher_suites_and_curves_follow_the_file() {
    let (service, client, dir, authority) = tls("");
    let both = negotiated(&client.connect(service.address).unwrap());
    assert_eq!(both.0, ProtocolVersion::TLSv1_3);

    dir.write("web.yml", &format!("{TLS}  min_version: TLS13\n"));
    let old = Client::new(&authority.pem, None, &[&TLS12]);
    assert!(old.connect(service.address).is_err());
    assert!(client.connect(service.address).is_ok());

    dir.write(
        "web.yml",
        &format!(
            "{TLS}  max_version: TLS12\n  curve_preferences: [CurveP384]\n  cipher_suites:\n  \
             - TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256\n  \
             - TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256\n"
        ),
    );
    assert_eq!(
        negotiated(&client.connect(service.address).unwrap()),
        (
            ProtocolVersion::TLSv1_2,
            // The server's order of preference decides, not the client's.
            CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
            NamedGroup::secp384r1,
        )
    );
    let new = Client::new(&authority.pem, None, &[&TLS13]);
    assert!(new.connect(service.address).is_err());
}

#[test]
fn a_new_certificate_is_used_from_the_next_handshake_on() {
    let (service, client, dir, _) = tls("");
    let mut before = client.connect(service.address).unwrap();
    let renewed = Authority::new("renewed");
    dir.identity("server", &renewed.server());
    let new_client = Client::trusting(&renewed.pem);
    assert_eq!(new_client.get(service.address, "/").unwrap().status, 200);
    assert!(client.get(service.address, "/").is_err());
    // An existing connection continues.
    before
        .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .unwrap();
    assert_eq!(answer(&mut before).status, 200);
}

#[test]
fn an_invalid_file_rejects_handshakes_and_requests_until_it_is_fixed() {
    let (service, client, dir, _) = tls("");
    let mut connection = client.connect(service.address).unwrap();
    dir.write("web.yml", "tls_server_config: [\n");
    assert!(client.connect(service.address).is_err());
    let keep = b"GET /-/healthy HTTP/1.1\r\nHost: localhost\r\n\r\n";
    connection.write_all(keep).unwrap();
    let mut start = [0; 12];
    connection.read_exact(&mut start).unwrap();
    assert_eq!(&start, b"HTTP/1.1 500");

    dir.write("web.yml", "");
    assert!(client.connect(service.address).is_err(), "TLS stays on");
    std::fs::remove_file(dir.web_config()).unwrap();
    assert!(client.connect(service.address).is_err());

    dir.write("web.yml", TLS);
    assert_eq!(client.get(service.address, "/").unwrap().status, 200);
    dir.write("server.key", "no key");
    assert!(client.connect(service.address).is_err());
}

#[test]
fn client_auth_type_decides_which_certificates_are_accepted() {
    let ours = Authority::new("ours");
    let theirs = Authority::new("theirs");
    let dir = WebDir::tls(TLS, &ours);
    let service = service(&dir);
    let clients = [
        Client::trusting(&ours.pem),
        Client::with(&ours.pem, &theirs.client()),
        Client::with(&ours.pem, &ours.client()),
    ];
    for (name, let_in) in [
        ("NoClientCert", [true, true, true]),
        ("RequestClientCert", [true, true, true]),
        ("RequireAnyClientCert", [false, true, true]),
        ("VerifyClientCertIfGiven", [true, false, true]),
        ("RequireAndVerifyClientCert", [false, false, true]),
    ] {
        let ca = match name {
            "NoClientCert" => "",
            _ => "  client_ca_file: ca.crt\n",
        };
        dir.write("web.yml", &format!("{TLS}  client_auth_type: {name}\n{ca}"));
        let seen = clients
            .each_ref()
            .map(|client| client.get(service.address, "/metrics").is_ok());
        assert_eq!(seen, let_in, "{name}");
    }
    // A file that no longer requires client certificates may be incomplete, so no client is accepted.
    dir.write("web.yml", TLS);
    for client in &clients {
        assert!(client.get(service.address, "/metrics").is_err());
    }
}

#[test]
fn a_client_certificate_needs_an_allowed_name() {
    let ours = Authority::new("ours");
    let sans =
        "  client_allowed_sans: [a.example, b@example.org, 10.0.0.1, 'fd00::1', 'spiffe://x/y']\n";
    let dir = WebDir::tls(&format!("{TLS}{MUTUAL}{sans}"), &ours);
    let service = service(&dir);
    let names = |names: Vec<SanType>| {
        let client = Client::with(&ours.pem, &ours.sign(names));
        client.get(service.address, "/metrics").is_ok()
    };
    let dns = |name: &str| SanType::DnsName(name.try_into().unwrap());
    let mail = |name: &str| SanType::Rfc822Name(name.try_into().unwrap());
    let uri = |name: &str| SanType::URI(name.try_into().unwrap());
    let ip = |ip: &str| SanType::IpAddress(ip.parse().unwrap());
    assert!(names(vec![dns("z.example"), dns("a.example")]));
    assert!(names(vec![mail("b@example.org")]));
    assert!(names(vec![ip("10.0.0.1")]));
    assert!(names(vec![ip("fd00::1")]));
    assert!(names(vec![uri("spiffe://x/y")]));
    assert!(!names(vec![]));
    assert!(!names(vec![
        dns("z.example"),
        dns("a.example.org"),
        mail("a@example.org"),
        ip("10.0.0.2"),
        uri("spiffe://x/z"),
    ]));
}

#[test]
fn an_authority_that_cannot_be_used_does_not_affect_the_others() {
    let (service, _, dir, authority) = tls(MUTUAL);
    let client = Client::with(&authority.pem, &authority.client());
    let damaged = "-----BEGIN CERTIFICATE-----\nMAMCAQE=\n-----END CERTIFICATE-----\n";
    let incomplete = &authority.pem[..authority.pem.len() / 2];
    for (text, status) in [
        (format!("{damaged}{}", authority.pem), Some(200)),
        (format!("{}{damaged}", authority.pem), Some(200)),
        (format!("{}{incomplete}", authority.pem), Some(200)),
        (format!("{incomplete}\n{}", authority.pem), Some(200)),
        (damaged.to_owned(), None),
        (String::new(), None),
    ] {
        dir.write("ca.crt", &text);
        let answer = client.request(service.address, "/metrics", "");
        assert_eq!(answer.map(|answer| answer.status).ok(), status, "{text}");
    }
}

#[test]
fn certificates_of_a_removed_authority_are_rejected() {
    let (service, _, dir, ours) = tls(MUTUAL);
    let client = Client::with(&ours.pem, &ours.client());
    assert!(client.get(service.address, "/").is_ok());
    dir.write("ca.crt", &Authority::new("other").pem);
    assert!(client.get(service.address, "/").is_err());
}

#[test]
fn every_route_requires_a_password() {
    let dir = WebDir::new(&users(&["alice", "bob"]));
    let service = service(&dir);
    let ask = |path, headers| request(service.address, "GET", path, headers);
    for path in ["/", "/metrics", "/-/healthy", "/-/ready", "/nowhere"] {
        for headers in [
            "",
            ALICE_WRONG,
            NOBODY,
            "Authorization: Bearer c2VjcmV0\r\n",
            "Authorization: Basic !\r\n",
        ] {
            let refused = ask(path, headers);
            assert_eq!(refused.status, 401, "{path} {headers}");
            assert_eq!(refused.header("www-authenticate"), Some("Basic"));
            assert_eq!(refused.text(), "Unauthorized\n");
        }
        let status = if path == "/nowhere" { 404 } else { 200 };
        assert_eq!(ask(path, ALICE).status, status, "{path}");
    }
}

#[test]
fn passwords_are_required_over_tls_and_in_addition_to_certificates() {
    let (service, without, _dir, ours) = tls(&format!("{MUTUAL}{}", users(&["alice"])));
    let client = Client::with(&ours.pem, &ours.client());
    let ask = |headers| {
        client
            .request(service.address, "/metrics", headers)
            .unwrap()
    };
    assert_eq!(ask("").status, 401);
    assert_eq!(ask(ALICE).status, 200);
    assert!(without.request(service.address, "/", ALICE).is_err());
}

#[test]
fn a_changed_list_of_users_applies_to_the_next_request() {
    let dir = WebDir::new(&users(&["bob"]));
    let service = service(&dir);
    let alice = || request(service.address, "GET", "/metrics", ALICE).status;
    assert_eq!(alice(), 401);
    dir.write("web.yml", &users(&["bob", "alice"]));
    assert_eq!(alice(), 200);
    dir.write("web.yml", &users(&["bob", "alicf"]));
    assert_eq!(alice(), 401);
    // A file may look like this while it is being written, so requests are rejected.
    for without in ["", "# nobody is asked\n", "basic_auth_users: {}\n"] {
        dir.write("web.yml", without);
        assert_eq!(get(service.address, "/metrics").status, 500);
    }
    dir.write("web.yml", "basic_auth_users:\n  alice: x\n");
    assert_eq!(get(service.address, "/metrics").status, 500);
    dir.write("web.yml", &users(&["alice"]));
    assert_eq!(alice(), 200);
}

#[test]
fn headers_are_set_unless_a_route_sets_its_own() {
    let dir = WebDir::new(&format!(
        "http_server_config:\n  http2: true\n  headers:\n    X-Frame-Options: deny\n    \
         Content-Security-Policy: \"default-src 'self'\"\n    \
         Strict-Transport-Security: max-age=31536000\n{}",
        users(&["alice"])
    ));
    let service = service(&dir);
    let expected = |answer: &Answer| {
        assert_eq!(answer.header("x-frame-options"), Some("deny"));
        assert_eq!(
            answer.header("strict-transport-security"),
            Some("max-age=31536000")
        );
    };
    let metrics = request(service.address, "GET", "/metrics", ALICE);
    expected(&metrics);
    let policy = "content-security-policy";
    assert_eq!(metrics.header(policy), Some("default-src 'self'"));
    expected(&get(service.address, "/metrics")); // 401
    let page = request(service.address, "GET", "/", ALICE);
    expected(&page);
    let own = page.header(policy).unwrap();
    assert!(own.starts_with("default-src 'none'"), "{own}");
}

#[test]
fn requests_above_the_rate_limit_are_answered_429() {
    let dir = WebDir::new("rate_limit:\n  interval: 1h\n  burst: 3\n");
    let service = service(&dir);
    let statuses: Vec<_> = (0..5)
        .map(|_| get(service.address, "/metrics").status)
        .collect();
    assert_eq!(statuses, [200, 200, 200, 429, 429]);
}

/// Opens two connections: one that sends part of its first TLS record, and one that sends nothing.
fn partial_handshakes(address: SocketAddr) -> [TcpStream; 2] {
    let mut begun = connect(address);
    begun.write_all(b"\x16\x03\x01\x02\x00\x01").unwrap();
    [begun, connect(address)]
}

#[test]
fn a_partial_handshake_delays_no_other_client() {
    let (service, client, _dir, _) = tls("");
    let held = partial_handshakes(service.address);
    assert_eq!(client.get(service.address, "/").unwrap().status, 200);
    drop(held);
}

#[test]
fn a_partial_handshake_is_closed_after_its_timeout() {
    let dir = WebDir::tls(TLS, &Authority::new("ours"));
    let address = serve(&dir, |limits| {
        limits.handshake_timeout = Duration::from_millis(200);
    });
    for mut stream in partial_handshakes(address) {
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).expect("the server closes");
    }
}

#[test]
fn any_host_is_answered_if_users_are_configured() {
    let dir = WebDir::new(&users(&["alice"]));
    let service = Service::start(&dir.config());
    let request =
        format!("GET / HTTP/1.1\r\nHost: metrics.example\r\nConnection: close\r\n{ALICE}\r\n");
    assert_eq!(send(service.address, request.as_bytes()).status, 200);
}

#[test]
fn a_unix_socket_is_served_like_a_port() {
    let dir = WebDir::new(&users(&["alice"]));
    let path = dir.path().join("web.sock");
    let listener = Listener::bind(&Address::Unix(path.clone())).unwrap();
    serve_on(listener, &dir.web_config(), |_| ());
    for (headers, status) in [("", 401), (ALICE, 200)] {
        let mut stream = UnixStream::connect(&path).unwrap();
        write!(
            stream,
            "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n"
        )
        .unwrap();
        assert_eq!(answer(&mut stream).status, status);
    }
}

/// Starts a server with this web configuration and with limits that `set` changes. It runs until the
/// test process exits.
fn serve(dir: &WebDir, set: impl FnOnce(&mut Limits)) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    serve_on(listener.into(), &dir.web_config(), set);
    address
}

fn serve_on(listener: Listener, web_config: &Path, set: impl FnOnce(&mut Limits)) {
    let mut limits = Limits::new(8);
    set(&mut limits);
    let live = Live::load(web_config).unwrap().map(Arc::new);
    let router = Router::new().route("/", route_get(async || "served"));
    let router = protect(router, live.clone().unwrap());
    run(Server::new(router, limits).with_tls(live), listener);
}
