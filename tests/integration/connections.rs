//! Which connections are served and which are closed when all slots are in use.

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
use execsnoopd::http::server::{Limits, Server};
use testkit::certificates::Authority;
use testkit::fixed::run;
use testkit::http::{Answer, answer, connect, get, parsed};
use testkit::service::Service;
use testkit::tls::Client;
use testkit::web::{TLS, WebDir};
use tokio::sync::Semaphore;

/// More than the buffers of both sockets hold.
const LARGE: usize = 64 << 20;

/// Longer than any test waits for an answer.
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

/// A persistent connection with a request on it.
fn asking(address: SocketAddr, path: &str) -> TcpStream {
    let mut stream = connect(address);
    ask(&mut stream, path);
    stream
}

fn ask(stream: &mut impl Write, path: &str) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
}

/// The next answer on a persistent connection.
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

#[test]
fn the_connection_that_has_been_silent_longest_is_closed_for_a_new_one() {
    let server = Held::start(|limits| limits.max_connections = 4);
    let mut silent: Vec<_> = (0..4).map(|_| connect(server.address)).collect();
    let mut first = connect(server.address);
    assert_served(&mut first);
    assert_closed(&mut silent[0]);
    let mut second = connect(server.address);
    assert_closed(&mut silent[1]);
    for stream in silent[2..].iter_mut().chain([&mut first, &mut second]) {
        assert_served(stream);
    }
}

#[test]
fn a_partial_head_counts_as_silence_and_an_answer_ends_it() {
    let server = Held::start(|limits| limits.max_connections = 3);
    let mut kept = connect(server.address);
    let mut slow = connect(server.address);
    slow.write_all(b"GET / HTTP/1.1\r\nHost:").unwrap();
    let mut silent = connect(server.address);
    assert_served(&mut kept);
    let mut new = [connect(server.address), connect(server.address)];
    assert_closed(&mut slow);
    assert_closed(&mut silent);
    for stream in new.iter_mut().chain([&mut kept]) {
        assert_served(stream);
    }
}

#[test]
fn a_request_in_progress_is_never_closed_and_a_new_connection_is_refused_if_all_are() {
    let server = Held::start(|limits| {
        limits.max_connections = 4;
        limits.patience = Duration::ZERO;
    });
    let mut held = server.hold(3);
    // One slot is left. The silent connection in it is closed for each new one.
    let mut silent = connect(server.address);
    for _ in 0..20 {
        let new = connect(server.address);
        assert_closed(&mut silent);
        silent = new;
    }
    held.extend(server.hold(1));
    assert_closed(&mut silent);
    for _ in 0..5 {
        let refused = get(server.address, "/");
        assert_eq!(refused.status, 503);
        assert_eq!(refused.text(), "Too many connections.\n");
    }
    server.assert_all_are_answered(held);
    assert_eq!(get(server.address, "/").status, 200);
}

#[test]
fn a_new_connection_waits_and_takes_the_slot_of_one_that_was_answered() {
    let server = Held::start(|limits| {
        limits.max_connections = 2;
        limits.patience = AN_HOUR;
        limits.reading_time = AN_HOUR;
    });
    let mut held = server.hold(2);
    let mut new = asking(server.address, "/");
    server.gate.add_permits(1);
    assert_eq!(next_answer(&mut new).status, 200);
    // The released connection, whichever it is, gets its whole answer and is closed.
    let index = held
        .iter()
        .position(|stream| stream.peek(&mut [0]).unwrap() > 0);
    let mut released = held.remove(index.unwrap());
    assert_eq!(next_answer(&mut released).body, b"released");
    assert_closed(&mut released);
    server.assert_all_are_answered(held);
}

#[test]
fn a_client_with_endless_requests_is_closed_between_answers() {
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
fn an_unread_answer_is_closed_for_a_new_connection() {
    let server = Held::start(|limits| {
        limits.max_connections = 1;
        limits.reading_time = Duration::from_millis(100);
    });
    let mut stalled = asking(server.address, "/large");
    stalled.read_exact(&mut [0; 12]).unwrap();
    assert_eq!(get(server.address, "/").status, 200);
    let mut rest = Vec::new();
    let read = stalled.read_to_end(&mut rest);
    assert!(read.is_err() || rest.len() < LARGE, "all of it came");
}

#[test]
fn an_answer_that_is_being_read_is_completed_before_its_slot_is_reused() {
    let server = Held::start(|limits| {
        limits.max_connections = 1;
        limits.reading_time = AN_HOUR;
        limits.patience = AN_HOUR;
    });
    let mut reader = asking(server.address, "/large");
    reader.read_exact(&mut [0; 12]).unwrap();
    let mut new = asking(server.address, "/");
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest).unwrap();
    assert!(rest.len() > LARGE);
    assert_eq!(next_answer(&mut new).status, 200);
}

#[test]
fn an_unread_answer_stays_open_while_slots_are_free() {
    let server = Held::start(|limits| {
        limits.max_connections = 2;
        limits.reading_time = Duration::ZERO;
    });
    let mut reader = asking(server.address, "/large");
    reader.read_exact(&mut [0; 12]).unwrap();
    for _ in 0..5 {
        assert_eq!(get(server.address, "/").status, 200);
    }
    ask(&mut reader, "/");
    let mut rest = vec![0; LARGE];
    reader.read_exact(&mut rest).unwrap();
}

#[test]
fn delayed_scrapes_keep_their_slots_and_pending_requests_are_read_before_a_connection_counts_as_silent()
 {
    let service = Service::start(&Config {
        web: Web {
            max_connections: 3,
            ..Web::default()
        },
        ..Config::default()
    });
    assert_eq!(get(service.address, "/-/ready").status, 200);
    let silent: Vec<_> = (0..3).map(|_| connect(service.address)).collect();
    let kernel = service.kernel.lock().unwrap(); // the reader blocks
    let mut scrapes: Vec<_> = (0..3)
        .map(|_| asking(service.address, "/metrics"))
        .collect();
    let refused = get(service.address, "/metrics");
    assert_eq!(refused.status, 503);
    assert_eq!(refused.text(), "Too many connections.\n");
    drop(kernel);
    for stream in &mut scrapes {
        assert_eq!(next_answer(stream).status, 200);
    }
    for mut stream in silent {
        assert_closed(&mut stream);
    }
}

#[test]
fn a_connection_without_a_handshake_is_closed_first_and_tls_is_refused_if_all_are_in_progress() {
    let authority = Authority::new("ours");
    let dir = WebDir::tls(TLS, &authority);
    let client = Client::trusting(&authority.pem);
    let live = Live::load(&dir.web_config()).unwrap().map(Arc::new);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = Held::start_on(
        listener,
        |limits| {
            limits.max_connections = 2;
            limits.patience = Duration::ZERO;
        },
        live,
    );
    let mut half = connect(server.address);
    // A record whose length is greater than what follows.
    half.write_all(b"\x16\x03\x01\x02\x00\x01").unwrap();
    let mut silent = connect(server.address);
    let mut held: Vec<_> = (0..2)
        .map(|_| client.connect(server.address).unwrap())
        .collect();
    let mut rest = Vec::new();
    // The server resets the connection if it has not read everything.
    let _ = half.read_to_end(&mut rest);
    assert_eq!(rest, b"");
    assert_closed(&mut silent);
    for stream in &mut held {
        ask(stream, "/held");
        server.taken.recv().unwrap();
    }
    assert!(client.connect(server.address).is_err());
    server.gate.add_permits(2);
    for stream in &mut held {
        assert_eq!(next_answer(stream).status, 200);
    }
}

#[test]
fn a_silent_connection_to_a_unix_socket_is_closed_for_a_new_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("web.sock");
    let listener = Listener::bind(&Address::Unix(path.clone())).unwrap();
    let limits = limits(|limits| limits.max_connections = 2);
    run(Server::new(routes(), limits), listener);
    let mut silent = [0; 2].map(|_| UnixStream::connect(&path).unwrap());
    let mut new = UnixStream::connect(&path).unwrap();
    assert_served(&mut new);
    assert_closed(&mut silent[0]);
    assert_served(&mut silent[1]);
    let request = b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
    new.write_all(request).unwrap();
    assert_eq!(answer(&mut new).status, 200);
}
