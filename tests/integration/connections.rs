//! Which connections are served, and which are closed when others need their slots or their share of
//! the budget for unread answers.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::routing::get as route_get;
use execsnoopd::config::{Address, Config, Web};
use execsnoopd::http::listener::Listener;
use execsnoopd::http::live_config::Live;
use execsnoopd::http::server::{Limits, Patience, Server};
use testkit::certificates::Authority;
use testkit::fixed::run;
use testkit::http::{Answer, answer, connect, get, parsed};
use testkit::service::Service;
use testkit::tls::Client;
use testkit::web::{TLS, WebDir};
use tokio::sync::{Semaphore, mpsc};

/// The size of a large answer in bytes: more than the buffers of both sockets can hold.
const LARGE: usize = 64 << 20;

/// The number of unread answers that the server allows even if they exceed the budget.
const ALWAYS: usize = 4;

/// A time limit that no test reaches.
const AN_HOUR: Duration = Duration::from_secs(3600);

/// A server with three routes: one answers at once, one holds a request until it is released, and
/// one has a large answer.
struct Held {
    address: SocketAddr,
    /// Receives a message for each request that is held.
    taken: Receiver<()>,
    gate: Arc<Semaphore>,
}

impl Held {
    fn start(set: impl FnOnce(&mut Limits)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Self::start_on(listener, set, None)
    }

    fn start_on(
        listener: TcpListener,
        set: impl FnOnce(&mut Limits),
        tls: Option<Arc<Live>>,
    ) -> Self {
        let address = listener.local_addr().unwrap();
        let gate = Arc::new(Semaphore::new(0));
        let (take, taken) = channel();
        let (take, at_gate) = (Arc::new(Mutex::new(take)), Arc::clone(&gate));
        let hold = async move || {
            take.lock().unwrap().send(()).unwrap();
            at_gate.acquire().await.unwrap().forget();
            "released"
        };
        let router = routes().route("/held", route_get(hold));
        let server = Server::new(router, limits(set)).with_tls(tls);
        run(server, listener.into());
        Self {
            address,
            taken,
            gate,
        }
    }

    /// Opens connections whose requests are held.
    fn hold(&self, number: usize) -> Vec<TcpStream> {
        let held = (0..number).map(|_| asking(self.address, "/held"));
        let held = held.collect();
        (0..number).for_each(|_| self.taken.recv().unwrap());
        held
    }

    #[track_caller]
    fn assert_all_are_answered(&self, mut held: Vec<TcpStream>) {
        self.gate.add_permits(held.len());
        for stream in &mut held {
            let answer = next_answer(stream);
            assert_eq!((answer.status, &answer.body[..]), (200, &b"released"[..]));
        }
    }
}

fn routes() -> Router {
    Router::new()
        .route("/", route_get(async || "served"))
        .route("/large", route_get(async || vec![b'a'; LARGE]))
}

fn limits(set: impl FnOnce(&mut Limits)) -> Limits {
    let mut limits = Limits::new(8);
    set(&mut limits);
    limits
}

/// Opens a persistent connection and sends a request.
fn asking(address: SocketAddr, path: &str) -> TcpStream {
    let mut stream = connect(address);
    ask(&mut stream, path);
    stream
}

fn ask(stream: &mut impl Write, path: &str) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
}

/// Reads the next answer on a persistent connection.
fn next_answer(stream: &mut impl Read) -> Answer {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).expect("the server answers");
        bytes.push(byte[0]);
    }
    let mut answer = parsed(&bytes);
    let length = answer.header("content-length").unwrap().parse().unwrap();
    answer.body = vec![0; length];
    stream.read_exact(&mut answer.body).expect("all of it");
    answer
}

/// Waits until the server has accepted every connection to an address. Until then, they are in the
/// receive queue of its listening socket (state 0A in `/proc/net/tcp`).
fn await_accepted(address: SocketAddr) {
    let port = format!(":{:04X}", address.port());
    let is_queue_empty = || {
        let sockets = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let mut sockets = sockets
            .lines()
            .map(|socket| socket.split_whitespace().collect::<Vec<_>>());
        let listening = sockets.find(|fields| fields[1].ends_with(&port) && fields[3] == "0A");
        let queues = listening.expect("the server listens")[4];
        queues.ends_with(":00000000")
    };
    while !is_queue_empty() {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Asserts that the server closes the connection without an answer.
#[track_caller]
fn assert_closed(stream: &mut impl Read) {
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).expect("the server closes");
    assert_eq!(rest, b"");
}

#[track_caller]
fn assert_served(stream: &mut (impl Read + Write)) {
    ask(stream, "/");
    let answer = next_answer(stream);
    assert_eq!((answer.status, &answer.body[..]), (200, &b"served"[..]));
}

/// Asserts that the server closes or resets the connection before it has sent all of a large answer.
#[track_caller]
fn assert_cut(stream: &mut impl Read) {
    let mut rest = Vec::new();
    let read = stream.read_to_end(&mut rest);
    assert!(
        read.is_err() || rest.len() < LARGE,
        "the answer is complete"
    );
}

/// Opens a connection, requests a large answer, and reads only its first bytes.
fn stalled(address: SocketAddr) -> TcpStream {
    let mut stream = asking(address, "/large");
    stream.read_exact(&mut [0; 12]).unwrap();
    stream
}

#[test]
fn the_connection_that_has_been_silent_longest_is_closed_for_a_new_one() {
    // With `max_connections = 1`, there are four slots for connections that have not sent a request.
    let server = Held::start(|limits| {
        limits.max_connections = 1;
        limits.grace = Patience::always(Duration::ZERO);
    });
    let mut silent: Vec<_> = (0..4).map(|_| connect(server.address)).collect();
    let mut new = connect(server.address);
    assert_closed(&mut silent[0]);
    assert_served(&mut new);
    for stream in &mut silent[1..] {
        assert_served(stream);
    }
}

#[test]
fn a_partial_head_counts_as_silence() {
    let server = Held::start(|limits| {
        limits.max_connections = 1;
        limits.grace = Patience::always(Duration::ZERO);
    });
    let mut slow = connect(server.address);
    slow.write_all(b"GET / HTTP/1.1\r\nHost:").unwrap();
    let silent: Vec<_> = (0..3).map(|_| connect(server.address)).collect();
    assert_served(&mut connect(server.address));
    // The server may reset the connection, because it may not have read everything.
    let mut rest = Vec::new();
    let _ = slow.read_to_end(&mut rest);
    assert_eq!(rest, b"");
    drop(silent);
}

#[test]
fn a_client_from_another_source_is_served_at_once_despite_a_crowd() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("web.sock");
    let unix = Listener::bind(&Address::Unix(path.clone())).unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = tcp.local_addr().unwrap();
    let limits = limits(|limits| {
        limits.max_connections = 1;
        limits.grace = Patience::always(AN_HOUR);
        limits.stall = Patience::always(AN_HOUR);
        limits.reading_time = AN_HOUR;
        limits.patience = AN_HOUR;
    });
    // A clone shares the connections. Both run in one runtime, as in the daemon.
    let server = Server::new(routes(), limits);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let ping = || mpsc::channel(1).1;
            let both = (
                server.clone().run(tcp.into(), ping()),
                server.run(unix, ping()),
            );
            tokio::join!(both.0, both.1)
        })
    });
    let mut idle = [0; ALWAYS].map(|_| connect(address));
    idle.iter_mut().for_each(assert_served);
    let mut silent: Vec<_> = (0..4).map(|_| connect(address)).collect();
    await_accepted(address);
    assert_served(&mut UnixStream::connect(&path).unwrap());
    // The crowd has lost its oldest silent connection and its oldest idle one.
    assert_closed(&mut silent[0]);
    assert_cut(&mut idle[0]);
    assert_served(&mut idle[1]);
}

#[test]
fn a_request_in_progress_is_never_cut_and_others_are_answered_503_if_they_wait_too_long() {
    let server = Held::start(|limits| {
        limits.max_connections = 4;
        limits.patience = Duration::from_millis(10);
        limits.grace = Patience::always(Duration::ZERO);
        limits.stall = Patience::always(Duration::ZERO);
        limits.reading_time = Duration::ZERO;
    });
    let held = server.hold(4);
    for _ in 0..5 {
        let refused = get(server.address, "/");
        assert_eq!(refused.status, 503);
        assert_eq!(refused.header("connection"), Some("close"));
        assert_eq!(refused.text(), "Too many requests are being answered.\n");
    }
    // These are more connections than the slots for those that have not sent a request.
    let silent: Vec<_> = (0..20).map(|_| connect(server.address)).collect();
    server.assert_all_are_answered(held);
    assert_eq!(get(server.address, "/").status, 200);
    drop(silent);
}

#[test]
fn a_request_waits_until_another_one_has_been_answered() {
    let server = Held::start(|limits| {
        limits.max_connections = 2;
        limits.patience = AN_HOUR;
    });
    let held = server.hold(2);
    let mut new = asking(server.address, "/");
    new.set_read_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    assert!(new.read(&mut [0]).is_err(), "it waits");
    new.set_read_timeout(None).unwrap();
    server.gate.add_permits(1);
    assert_eq!(next_answer(&mut new).status, 200);
    server.gate.add_permits(1);
    for mut stream in held {
        assert_eq!(next_answer(&mut stream).body, b"released");
    }
}

#[test]
fn a_client_with_endless_requests_does_not_keep_others_waiting() {
    const REQUESTS: usize = 1000;
    let server = Held::start(|limits| {
        limits.max_connections = 1;
        limits.patience = AN_HOUR;
    });
    let mut endless = connect(server.address);
    (0..REQUESTS).for_each(|_| ask(&mut endless, "/held"));
    server.taken.recv().unwrap();
    let mut new = asking(server.address, "/");
    new.set_nonblocking(true).unwrap();
    while new.peek(&mut [0]).is_err() {
        server.gate.add_permits(1);
        std::thread::sleep(Duration::from_millis(1));
    }
    new.set_nonblocking(false).unwrap();
    assert_eq!(next_answer(&mut new).status, 200);
    assert!(server.taken.try_iter().count() < REQUESTS - 1);
}

#[test]
fn an_unread_answer_is_cut_if_another_needs_its_budget() {
    let server = Held::start(|limits| {
        limits.max_connections = 1;
        limits.stall = Patience::always(Duration::from_millis(20));
        limits.reading_time = AN_HOUR;
        limits.patience = AN_HOUR;
    });
    let mut readers = [0; ALWAYS].map(|_| stalled(server.address));
    assert_eq!(get(server.address, "/").status, 200);
    assert_cut(&mut readers[0]);
}

#[test]
fn an_answer_that_is_being_read_is_completed_before_its_budget_is_reused() {
    let server = Held::start(|limits| {
        limits.max_connections = 1;
        limits.stall = Patience::always(AN_HOUR);
        limits.reading_time = AN_HOUR;
        limits.patience = AN_HOUR;
    });
    let mut readers = [0; ALWAYS].map(|_| stalled(server.address));
    let mut new = asking(server.address, "/");
    new.set_read_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    assert!(new.read(&mut [0]).is_err(), "it waits");
    new.set_read_timeout(None).unwrap();
    let mut rest = vec![0; LARGE];
    for reader in &mut readers {
        reader.read_exact(&mut rest).unwrap();
    }
    assert_eq!(next_answer(&mut new).status, 200);
}

#[test]
fn an_unread_answer_stays_open_while_the_budget_has_room() {
    let server = Held::start(|limits| {
        limits.max_connections = 1024;
        limits.stall = Patience::always(Duration::ZERO);
        limits.reading_time = Duration::ZERO;
    });
    let mut reader = stalled(server.address);
    for _ in 0..5 {
        assert_eq!(get(server.address, "/").status, 200);
    }
    ask(&mut reader, "/");
    let mut rest = vec![0; LARGE];
    reader.read_exact(&mut rest).unwrap();
}

#[test]
fn a_large_answer_is_complete_before_the_server_closes_the_connection() {
    let server = Held::start(|_| ());
    let mut stream = connect(server.address);
    let request = b"GET /large HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request).unwrap();
    let answer = answer(&mut stream);
    assert_eq!((answer.status, answer.body.len()), (200, LARGE));
}

#[test]
fn scrapes_that_wait_for_the_reader_are_answered_and_further_ones_refused() {
    let service = Service::start(&Config {
        web: Web {
            max_connections: 3,
            ..Web::default()
        },
        ..Config::default()
    });
    assert_eq!(get(service.address, "/-/ready").status, 200);
    let kernel = service.kernel.lock().unwrap(); // blocks the reader
    let mut scrapes: Vec<_> = (0..3)
        .map(|_| asking(service.address, "/metrics"))
        .collect();
    while get(service.address, "/-/ready").status == 200 {}
    drop(kernel);
    for stream in &mut scrapes {
        assert_eq!(next_answer(stream).status, 200);
    }
}

#[test]
fn a_connection_without_a_handshake_is_closed_for_a_new_one() {
    let authority = Authority::new("ours");
    let dir = WebDir::tls(TLS, &authority);
    let client = Client::trusting(&authority.pem);
    let live = Live::load(&dir.web_config()).unwrap().map(Arc::new);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = Held::start_on(
        listener,
        |limits| {
            limits.max_connections = 1;
            limits.grace = Patience::always(Duration::from_millis(100));
            limits.patience = Duration::from_millis(10);
        },
        live,
    );
    let mut half: Vec<_> = (0..4).map(|_| connect(server.address)).collect();
    // Each client sends only the beginning of a TLS record.
    for stream in &mut half {
        stream.write_all(b"\x16\x03\x01\x02\x00\x01").unwrap();
    }
    let mut held = client.connect(server.address).unwrap();
    let mut rest = Vec::new();
    // The server resets the connection if it has not read everything.
    let _ = half[0].read_to_end(&mut rest);
    assert_eq!(rest, b"");
    ask(&mut held, "/held");
    server.taken.recv().unwrap();
    // Over TLS as well, a rejected request gets an answer.
    assert_eq!(client.get(server.address, "/").unwrap().status, 503);
    server.gate.add_permits(1);
    assert_eq!(next_answer(&mut held).status, 200);
}

#[test]
fn a_silent_connection_to_a_unix_socket_is_closed_for_a_new_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("web.sock");
    let listener = Listener::bind(&Address::Unix(path.clone())).unwrap();
    let limits = limits(|limits| {
        limits.max_connections = 1;
        limits.grace = Patience::always(Duration::ZERO);
    });
    run(Server::new(routes(), limits), listener);
    let mut silent = [0; 4].map(|_| UnixStream::connect(&path).unwrap());
    let mut new = UnixStream::connect(&path).unwrap();
    assert_served(&mut new);
    assert_closed(&mut silent[0]);
    assert_served(&mut silent[1]);
}
