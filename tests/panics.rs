//! A stage that fails or panics ends the service; a panic in answering one client, that answer.
//! The reader's are in tests/pipeline.rs. Without a kernel and without root.

mod common;

use std::io::Read;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::thread;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use common::bytes::encode;
use common::fake::{Fake, Kernel, Service, event, means};
use common::http::{Scrape, connect, request};
use execsnoopd::config::Config;
use execsnoopd::daemon;
use execsnoopd::http::server::{Limits, Server};
use execsnoopd::record::Kind;
use tokio::sync::mpsc;
use tokio::time::sleep;

/// How long a service that should end may go on before a test fails.
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn an_aggregator_that_panics_ends_the_service() {
    let service = Service::start(&Config::default());
    Scrape::of(service.address);
    // More CPU time than a sum can hold, which the tests' build panics at.
    let mut exit = event(b"forever", 0, 1);
    exit.subject.is_exit = 1;
    exit.cpu_ns = u64::MAX;
    service.kernel(|kernel| {
        kernel.emit_as(Kind::Exit, encode(&exit));
        kernel.emit_as(Kind::Exit, encode(&exit));
    });
    let error = service.ended().unwrap_err().to_string();
    assert!(error.contains("aggregator thread panicked"), "{error}");
}

#[test]
fn a_listener_that_fails_ends_the_service_though_another_could_answer() {
    let (source, _kernel) = Fake::new(Kernel::default());
    let answering = TcpListener::bind("127.0.0.1:0").unwrap();
    // A file cannot be waited for (epoll_ctl(2): EPERM).
    let failing = TcpListener::from(OwnedFd::from(tempfile::tempfile().unwrap()));
    let ended = daemon::run_source(
        source,
        &means(),
        Config::default().resolve().unwrap(),
        vec![answering.into(), failing.into()],
        async |_| {
            sleep(PATIENCE).await;
            Ok(()) // which is to stop, without an error
        },
    );
    let error = ended.unwrap_err().to_string();
    assert!(error.contains("a listener failed"), "{error}");
}

#[test]
fn a_client_whose_answer_panics_is_alone_in_getting_none() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, mut pings) = mpsc::channel(1);
    let server = thread::spawn(move || {
        let router = Router::new()
            .route("/", get(async || "fine"))
            .route("/panic", get(async || -> &str { panic!("on request") }));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let (_ping, pinged) = mpsc::channel(1);
        // One connection at a time: its place is free again after the panic.
        let server = Server::new(router, Limits::new(1));
        runtime.block_on(async {
            tokio::select! {
                ended = server.run(listener.into(), pinged) => panic!("{ended:?}"),
                None::<()> = pings.recv() => {}
            }
        });
    });
    for _ in 0..3 {
        let mut stream = connect(address);
        std::io::Write::write_all(&mut stream, b"GET /panic HTTP/1.1\r\nHost: test\r\n\r\n")
            .unwrap();
        let mut bytes = Vec::new();
        assert_eq!(stream.read_to_end(&mut bytes).unwrap(), 0);
        assert_eq!(request(address, "GET", "/", "").text(), "fine");
    }
    drop(stop);
    server.join().unwrap();
}
