//! Answers to valid and invalid requests.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

use axum::Router;
use axum::routing::get as route_get;
use execsnoopd::capture::CaptureInfo;
use execsnoopd::capture::hook::CLASSIC;
use execsnoopd::config::{Config, Web};
use execsnoopd::http::server::Limits;
use execsnoopd::pipeline::snapshot::Snapshot;
use execsnoopd::pipeline::view::{Label, ViewCounts};
use execsnoopd::record::Kind;
use rustix::event::{PollFd, PollFlags, poll};
use testkit::fixed::{Fixed, serve};
use testkit::http::{Answer, connect, get, request, send};
use testkit::service::{Service, capture_info};

fn service() -> Service {
    Service::start(&Config::default())
}

fn config(web: Web) -> Config {
    Config {
        web,
        ..Config::default()
    }
}

#[test]
fn metrics_are_in_the_text_format() {
    let service = service();
    let answer = get(service.address, "/metrics");
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.header("content-type"),
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
    assert!(answer.text().starts_with("# HELP execsnoop_"));
}

#[test]
fn metrics_are_compressed_for_clients_that_accept_it() {
    let service = service();
    let plain = get(service.address, "/metrics");
    assert_eq!(plain.header("content-encoding"), None);
    let gzip = request(
        service.address,
        "GET",
        "/metrics",
        "Accept-Encoding: gzip\r\n",
    );
    assert_eq!(gzip.header("content-encoding"), Some("gzip"));
    assert_eq!(gzip.header("vary"), Some("accept, accept-encoding"));
    assert!(gzip.body.len() < plain.body.len() / 2);
}

#[test]
fn a_head_request_is_answered_without_a_body() {
    let service = service();
    for path in ["/", "/metrics", "/-/healthy", "/-/ready"] {
        let head = request(service.address, "HEAD", path, "");
        assert_eq!(head.status, 200, "{path}");
        assert_eq!(head.body, b"", "{path}");
    }
}

#[test]
fn other_methods_are_not_allowed_and_other_paths_not_found() {
    let service = service();
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"] {
        for path in ["/", "/metrics", "/-/healthy", "/-/ready"] {
            let answer = request(service.address, method, path, "");
            assert_eq!(answer.status, 405, "{method} {path}");
            assert_eq!(answer.header("allow"), Some("GET,HEAD"), "{method} {path}");
        }
    }
    for path in ["/metric", "/metrics/", "/-/", "/../etc/passwd", "/%00"] {
        assert_eq!(get(service.address, path).status, 404, "{path}");
    }
}

#[test]
fn the_path_of_the_metrics_can_be_chosen() {
    let service = Service::start(&config(Web {
        telemetry_path: "/probe/execs".to_owned(),
        ..Web::default()
    }));
    assert_eq!(get(service.address, "/probe/execs").status, 200);
    assert_eq!(get(service.address, "/metrics").status, 404);
    assert!(
        get(service.address, "/")
            .text()
            .contains("href=\"./probe/execs\"")
    );
}

#[test]
fn the_page_describes_the_daemon_and_loads_nothing_from_elsewhere() {
    let service = service();
    let page = get(service.address, "/");
    assert_eq!(page.status, 200);
    for (name, value) in [
        ("content-type", "text/html; charset=utf-8"),
        ("cache-control", "no-store"),
        ("referrer-policy", "no-referrer"),
    ] {
        assert_eq!(page.header(name), Some(value));
    }
    let text = page.text();
    for part in [
        "<title>execsnoopd on ",
        "href=\"./metrics\"",
        "href=\"./-/ready\"",
        env!("CARGO_PKG_VERSION"),
        "tp_btf/sched_process_exec",
        "perf buffers, 4 KiB",
        "fexit/execve",
        "tp_btf/sched_process_exit",
        "tp_btf/sched_process_free",
        "Every exec, failed exec, process exit and CPU time of a process that the kernel saw is counted: ledger difference 0.",
    ] {
        assert!(text.contains(part), "{part} is not in:\n{text}");
    }
    for part in ["http://", "https://", "<script", " style=", " src="] {
        assert!(!text.contains(part), "{part} is in:\n{text}");
    }
}

#[test]
fn the_page_names_each_problem_its_extent_and_the_remedy() {
    let classic = CaptureInfo {
        hooks: CLASSIC.to_vec(),
        ..capture_info()
    };
    let mut snapshot = Snapshot {
        execs: 9_000,
        unattributed: 4_321,
        missed: 21,
        missed_at_most: [21, 0, 3, 0],
        differences: [5, 0, -1_000, 0],
        views: vec![ViewCounts {
            labels: vec![Label::Comm],
            max_series: 100,
            ..ViewCounts::default()
        }],
        ..Snapshot::default()
    };
    snapshot.views[0].overflow.execs = 77;
    let execs = &mut snapshot.flush.after[Kind::Exec];
    (execs.buffer_full, execs.no_buffer, execs.other) = (1_234_567, 12, 2);
    snapshot.flush.undecodable = 1;
    let words =
        |means: &CaptureInfo| words(&get(Fixed::serve(snapshot.clone(), means).address, "/"));
    let text = words(&capture_info());
    for part in [
        "The numbers are wrong.",
        "The count of execs is 5 too low: ledger difference 5. If it persists, it is a bug",
        "The count of process exits is 1,000 too high: ledger difference -1000.",
        "Execs without a name: 4,321. They are in the total, and in each table under other.",
        "The kernel skipped the programs for 21 of them, which nothing can prevent.",
        "The kernel may have skipped the programs for up to 3 process exits. These are not counted",
        "Events that did not fit into the buffer: 1,234,567. They are counted, but exits among them",
        "Events on CPUs that came online after the start: 12. ",
        "Events that the kernel refused: 2. ",
        "Events that could not be read: 1. ",
        "Execs without a series in the view by comm: 77. It has 100 slots for series; the rest is other.",
        "other 4,398 48.9 %",
        "No view has systemd’s unit as a label.",
    ] {
        assert!(text.contains(part), "{part} is not in:\n{text}");
    }
    let text = words(&classic);
    for part in [
        "Attempts per second",
        "The count of attempts to exec is 5 too low",
        "Classic mode counts attempts to exec, including failed ones, by the first 15 bytes of the path.",
        "Failed execs Not observed. Either capture.failures is \"off\", or",
        "Process exits Not observed. capture.exits = true observes them",
    ] {
        assert!(text.contains(part), "{part} is not in:\n{text}");
    }
}

/// Returns the text of a page without markup, with words separated by single spaces.
fn words(page: &Answer) -> String {
    let text = page.text();
    let (_, body) = text.split_once("<body>").unwrap();
    let mut words = String::new();
    for tag in body.split('<') {
        let (tag, text) = tag.split_once('>').unwrap_or(("", tag));
        let is_inline = ["b", "/b", "code", "/code", "data", "/data"]
            .iter()
            .any(|inline| tag.split(' ').next() == Some(inline));
        words.push_str(if is_inline { "" } else { " " });
        words.push_str(text);
    }
    let words = words.replace("&quot;", "\"");
    words.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn the_policy_of_the_page_allows_its_own_style_only() {
    let service = service();
    let page = get(service.address, "/");
    let text = page.text();
    let (_, style) = text.split_once("<style>").unwrap();
    let (style, _) = style.split_once("</style>").unwrap();
    let mut hash = Command::new("sh")
        .args([
            "-c",
            "sha256sum | head -c 64 | tr a-f A-F | basenc --base16 -d | base64",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    hash.stdin
        .take()
        .unwrap()
        .write_all(style.as_bytes())
        .unwrap();
    let hash = String::from_utf8(hash.wait_with_output().unwrap().stdout).unwrap();
    assert_eq!(
        page.header("content-security-policy").unwrap(),
        format!(
            "default-src 'none'; style-src 'sha256-{}'; base-uri 'none'; form-action 'none'; \
             frame-ancestors 'none'",
            hash.trim()
        )
    );
}

#[test]
fn the_page_reloads_itself_only_at_a_requested_interval() {
    let service = service();
    for (path, seconds) in [
        ("/", None),
        ("/?refresh=10", Some("10")),
        ("/?refresh=60", Some("60")),
        ("/?refresh=0", None),
        ("/?refresh=10;url=elsewhere", None),
        ("/?refresh", None),
    ] {
        let page = get(service.address, path);
        assert_eq!(page.header("refresh"), seconds, "{path}");
        let stays = page.text().contains("<a href=\"./\">by hand</a>");
        assert_eq!(stays, seconds.is_some(), "{path}");
    }
}

#[test]
fn a_foreign_host_is_answered_421_and_can_be_allowed() {
    let host = |service: &Service, host: &str| {
        let text = format!("GET /metrics HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        send(service.address, text.as_bytes())
    };
    let default = service();
    for name in ["localhost", "127.0.0.1:10190", "[::1]:10190"] {
        assert_eq!(host(&default, name).status, 200, "{name}");
    }
    let answer = host(&default, "attacker.example:10190");
    assert_eq!(answer.status, 421);
    assert!(answer.text().contains("add it to web.hosts"));
    let http_1_0 = send(default.address, b"GET /metrics HTTP/1.0\r\n\r\n");
    assert_eq!(http_1_0.status, 200);
    let configured = Service::start(&config(Web {
        hosts: vec!["metrics.example".to_owned()],
        ..Web::default()
    }));
    assert_eq!(host(&configured, "Metrics.Example:443").status, 200);
    assert_eq!(host(&configured, "attacker.example").status, 421);
}

#[test]
fn a_target_that_is_too_long_is_answered_414() {
    let service = service();
    let path = format!("/{}", "a".repeat(3000));
    assert_eq!(get(service.address, &path).status, 414);
    let query = format!("/metrics?{}", "a".repeat(3000));
    assert_eq!(get(service.address, &query).status, 414);
    assert_eq!(
        get(service.address, &format!("/{}", "a".repeat(2000))).status,
        404
    );
}

#[test]
fn a_head_that_is_too_large_is_answered_431() {
    let service = service();
    let large = format!("X-Large: {}\r\n", "a".repeat(20_000));
    assert_eq!(status_of(service.address, &large), 431);
    let many = "X-Many: a\r\n".repeat(200);
    assert_eq!(status_of(service.address, &many), 431);
    assert_eq!(get(service.address, "/metrics").status, 200);
}

/// Returns the status of the answer to a request with these headers. Reads only the beginning of the
/// answer: if the server has not read the whole request, it resets the connection.
fn status_of(address: SocketAddr, headers: &str) -> u16 {
    let mut stream = connect(address);
    let request = format!("GET /metrics HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
    let _ = stream.write_all(request.as_bytes());
    let mut start = [0; 12];
    stream.read_exact(&mut start).expect("the server answers");
    std::str::from_utf8(&start[9..]).unwrap().parse().unwrap()
}

#[test]
fn an_answer_does_not_wait_for_the_body_of_the_request() {
    let service = service();
    let request =
        b"GET /-/healthy HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n\r\na";
    assert_eq!(send(service.address, request).status, 200);
}

#[test]
fn garbage_is_answered_400() {
    let service = service();
    for garbage in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"[..],
        b"GET /metrics\r\n\r\n",
        b"GET  HTTP/1.1\r\n\r\n",
        b"\0\0\0\0\r\n\r\n",
    ] {
        assert_eq!(send(service.address, garbage).status, 400, "{garbage:?}");
    }
    assert_eq!(get(service.address, "/metrics").status, 200);
}

#[test]
fn pipelined_requests_are_answered_on_one_connection() {
    let service = service();
    let mut stream = connect(service.address);
    let keep = "GET /-/healthy HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(50);
    let close = "GET /-/healthy HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(keep.as_bytes()).unwrap();
    stream.write_all(close.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert_eq!(text.matches("HTTP/1.1 200 OK").count(), 51);
}

#[test]
fn a_connection_with_an_incomplete_head_is_closed_after_the_timeout() {
    let address = serve_within(Router::new(), |limits| {
        limits.head_timeout = Duration::from_millis(200);
    });
    let mut stream = connect(address);
    stream.write_all(b"GET / HTTP/1.1\r\nHost:").unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).expect("the server closes");
    // A connection without any request is closed, too.
    connect(address)
        .read_to_end(&mut rest)
        .expect("the server closes");
}

#[test]
fn a_connection_with_an_unread_answer_is_closed_after_the_timeout() {
    // The size of the answer in bytes: more than the buffers of both sockets can hold.
    const LARGE: usize = 64 << 20;
    let router = Router::new().route("/", route_get(async || vec![b'a'; LARGE]));
    let address = serve_within(router, |limits| {
        limits.request_timeout = Duration::from_millis(200);
    });
    let mut stalled = connect(address);
    stalled
        .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    let mut first = [0; 12];
    stalled.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    // poll() returns only after a reset or a close, because no other events are requested.
    let mut closed = [PollFd::new(&stalled, PollFlags::empty())];
    assert_eq!(poll(&mut closed, None), Ok(1));
    let mut rest = Vec::new();
    let read = stalled.read_to_end(&mut rest);
    assert!(
        read.is_err() || rest.len() < LARGE,
        "the answer is complete"
    );
}

fn serve_within(router: Router, set: impl FnOnce(&mut Limits)) -> SocketAddr {
    let mut limits = Limits::new(8);
    set(&mut limits);
    serve(router, limits)
}
