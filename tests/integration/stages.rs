//! Stages that stop, fail, panic or hang. A stage that fails ends the service. A panic in an answer
//! affects only that answer.

use std::io::Read;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use execsnoopd::config::Config;
use execsnoopd::daemon::{Beginning, Daemon};
use execsnoopd::http::server::{Limits, Server};
use execsnoopd::pipeline::view::Label;
use execsnoopd::record::{Kind, Outcome};
use testkit::bytes::{encode, encode_subject};
use testkit::fake::{Fake, Kernel, event};
use testkit::http::{Scrape, connect, request};
use testkit::service::{Service, capture_info, runtime};
use tokio::sync::mpsc;

#[test]
fn a_stop_detaches_and_counts_pending_events() {
    let service = Service::start(&Config::default());
    Scrape::of(service.address);
    let kernel = Arc::clone(&service.kernel);
    service.kernel(|kernel| {
        for _ in 0..1000 {
            kernel.emit(encode(&event(b"late", 0, 1)));
        }
        kernel.tally(encode_subject(&event(b"late", 0, 0)), 7);
    });
    let totals = service.stop().unwrap();
    assert!(kernel.lock().unwrap().detached);
    assert_eq!(totals.execs, 1007);
    assert_eq!(totals.differences, [0; 4]);
}

#[test]
fn a_reader_that_fails_ends_the_service_with_its_reason() {
    let service = Service::start(&Config::default());
    Scrape::of(service.address);
    service.kernel(|kernel| {
        kernel.ledger_error = Some(std::io::Error::from_raw_os_error(1));
    });
    let error = format!("{:#}", service.wait().unwrap_err());
    assert!(error.contains("cannot read the ledgers"), "{error}");
    assert!(error.contains("Operation not permitted"), "{error}");
}

#[test]
fn a_reader_that_panics_ends_the_service() {
    let service = Service::start(&Config::default());
    Scrape::of(service.address);
    service.kernel(|kernel| kernel.panic = true);
    let error = service.wait().unwrap_err().to_string();
    assert!(error.contains("reader thread panicked"), "{error}");
}

#[test]
fn a_reader_that_hangs_does_not_block_the_stop() {
    let service = Service::start(&Config::default());
    Scrape::of(service.address);
    let kernel = Arc::clone(&service.kernel);
    let held = kernel.lock().unwrap();
    let error = service.stop().unwrap_err().to_string();
    assert!(error.contains("did not stop within 15s"), "{error}");
    drop(held);
}

/// How long the service may run before a test stops it and fails.
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn an_aggregator_that_panics_ends_the_service() {
    let service = Service::start(&Config::default());
    Scrape::of(service.address);
    let mut exit = event(b"forever", 0, 1);
    exit.subject.kind = Kind::Exit.in_kernel();
    exit.subject.outcome = Outcome::Success.in_kernel();
    service.kernel(|kernel| {
        kernel.exit_of(&exit, 0, 1);
        kernel.ledgers[Kind::Exit].unattributed_exits[0] = u64::MAX;
    });
    Scrape::of(service.address);
    // A view that is added begins with the sum of both, which overflows. This panics in a debug build.
    let mut config = Config::default();
    config.view[0].labels = vec![Label::Comm, Label::Uid];
    service.reload(&config);
    service.kernel(|kernel| kernel.emit(encode(&event(b"next", 0, 1))));
    let error = service.wait().unwrap_err().to_string();
    assert!(error.contains("aggregator thread panicked"), "{error}");
}

#[test]
fn a_listener_that_fails_ends_the_service_even_if_another_works() {
    let (source, _kernel) = Fake::new(Kernel::default());
    let answering = TcpListener::bind("127.0.0.1:0").unwrap();
    // epoll_ctl(2) refuses a regular file with EPERM.
    let failing = TcpListener::from(OwnedFd::from(tempfile::tempfile().unwrap()));
    let listeners = vec![answering.into(), failing.into()];
    let resolved = Config::default().resolve().unwrap();
    let daemon = Daemon::new(
        runtime(),
        source,
        &capture_info(),
        Beginning::default(),
        resolved,
        listeners,
    )
    .unwrap();
    let (commands, commanded) = mpsc::unbounded_channel();
    thread::spawn(move || {
        thread::sleep(PATIENCE);
        drop(commands); // stops the daemon without an error, which fails the test
    });
    let ended = daemon.run(commanded);
    let error = ended.unwrap_err().to_string();
    assert!(error.contains("a listener failed"), "{error}");
}

#[test]
fn a_panic_in_an_answer_affects_only_that_client() {
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
        // There is one slot, so the answer to the next request shows that the panic freed it.
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
        std::io::Write::write_all(
            &mut stream,
            b"GET /panic HTTP/1.1\r\nHost: localhost\r\n\r\n",
        )
        .unwrap();
        let mut bytes = Vec::new();
        assert_eq!(stream.read_to_end(&mut bytes).unwrap(), 0);
        assert_eq!(request(address, "GET", "/", "").text(), "fine");
    }
    drop(stop);
    server.join().unwrap();
}
