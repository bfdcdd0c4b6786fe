//! What a client is answered, well-behaved or not. Without a kernel and without root.

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use axum::Router;
use axum::routing::get as route_get;
use common::fake::Service;
use common::http::{answer, connect, get, request, send};
use execsnoopd::config::{Config, Web};
use execsnoopd::http::server::{Limits, Server};
use tokio::sync::mpsc;

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
fn metrics_are_compressed_for_those_who_accept_it() {
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
    assert_eq!(gzip.header("vary"), Some("accept-encoding"));
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
            .contains("href=\"/probe/execs\"")
    );
}

#[test]
fn the_page_says_what_this_is_and_loads_nothing_from_elsewhere() {
    let service = service();
    let page = get(service.address, "/");
    assert_eq!(page.status, 200);
    assert_eq!(
        page.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'"), "{policy}");
    let text = page.text();
    for part in [
        "<title>execsnoopd</title>",
        "href=\"/metrics\"",
        "href=\"/-/ready\"",
        env!("CARGO_PKG_VERSION"),
        "tp_btf/sched_process_exec",
        "perf buffer",
        "fexit/execve",
        "tp_btf/sched_process_exit",
    ] {
        assert!(text.contains(part), "{part} is not in:\n{text}");
    }
    assert!(!text.contains("http://") && !text.contains("https://") && !text.contains("<script"));
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

/// The status of a request with these headers. The server may close before it has read
/// all of it, which resets the connection: the answer's beginning is read even so.
fn status_of(address: SocketAddr, headers: &str) -> u16 {
    let mut stream = connect(address);
    let request = format!("GET /metrics HTTP/1.1\r\nHost: test\r\n{headers}\r\n");
    let _ = stream.write_all(request.as_bytes());
    let mut start = [0; 12];
    stream.read_exact(&mut start).expect("the server answers");
    std::str::from_utf8(&start[9..]).unwrap().parse().unwrap()
}

#[test]
fn a_body_is_not_waited_for() {
    let service = service();
    let request = b"GET /-/healthy HTTP/1.1\r\nHost: test\r\nContent-Length: 1000000000\r\n\r\na";
    assert_eq!(send(service.address, request).status, 200);
}

#[test]
fn what_is_no_request_is_answered_400() {
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
fn requests_in_a_row_are_answered_on_one_connection() {
    let service = service();
    let mut stream = connect(service.address);
    let keep = "GET /-/healthy HTTP/1.1\r\nHost: test\r\n\r\n".repeat(50);
    let close = "GET /-/healthy HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
    stream.write_all(keep.as_bytes()).unwrap();
    stream.write_all(close.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert_eq!(text.matches("HTTP/1.1 200 OK").count(), 51);
}

#[test]
fn a_connection_above_the_limit_is_answered_503_and_the_others_go_on() {
    let service = Service::start(&config(Web {
        max_connections: 3,
        ..Web::default()
    }));
    // Connections are accepted in order: these are in before the next asks.
    let mut held: Vec<TcpStream> = (0..3).map(|_| connect(service.address)).collect();
    for _ in 0..5 {
        let refused = get(service.address, "/metrics");
        assert_eq!(refused.status, 503);
        assert_eq!(refused.text(), "Too many connections.\n");
    }
    for stream in &mut held {
        stream
            .write_all(b"GET /-/healthy HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
            .unwrap();
        assert_eq!(answer(stream).status, 200);
    }
    drop(held);
    // Their places are free again, as soon as the server has seen them close.
    while get(service.address, "/-/healthy").status == 503 {
        std::thread::yield_now();
    }
}

#[test]
fn a_head_that_does_not_end_is_cut_off_in_time() {
    let address = serve(Router::new(), |limits| {
        limits.head_timeout = Duration::from_millis(200);
    });
    let mut stream = connect(address);
    stream.write_all(b"GET / HTTP/1.1\r\nHost:").unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).expect("the server closes");
    // An idle connection, too.
    connect(address)
        .read_to_end(&mut rest)
        .expect("the server closes");
}

#[test]
fn an_answer_that_is_not_read_is_cut_off_in_time() {
    // More than all the buffers between here and there hold.
    const LARGE: usize = 64 << 20;
    let router = Router::new().route("/", route_get(async || vec![b'a'; LARGE]));
    let address = serve(router, |limits| {
        limits.max_connections = 1;
        limits.request_timeout = Duration::from_millis(200);
    });
    let mut stalled = connect(address);
    stalled
        .write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
        .unwrap();
    let mut first = [0; 12];
    stalled.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    // It holds the only place until it is cut off.
    while get(address, "/none").status == 503 {
        std::thread::sleep(Duration::from_millis(10));
    }
    let mut rest = Vec::new();
    let read = stalled.read_to_end(&mut rest);
    assert!(read.is_err() || rest.len() < LARGE, "all of it came");
}

/// Serve a router within limits; it ends with the test process.
fn serve(router: Router, set: impl FnOnce(&mut Limits)) -> SocketAddr {
    let mut limits = Limits::new(8);
    set(&mut limits);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let (_ping, pings) = mpsc::channel(1);
        runtime.block_on(Server::new(router, limits).run(listener, pings))
    });
    address
}
