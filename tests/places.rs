//! Who is served where more connect than may be, and who gives way. Without a kernel and
//! without root.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::routing::get as route_get;
use execsnoopd::config::{Config, Web};
use execsnoopd::http::listener::Listener;
use execsnoopd::http::live::Live;
use execsnoopd::http::server::{Limits, Server};
use testkit::certificates::Authority;
use testkit::fake::Service;
use testkit::fixed::run;
use testkit::http::{Answer, answer, connect, get, parsed};
use testkit::tls::Client;
use testkit::web::{TLS, WebDir};
use tokio::sync::Semaphore;

/// More than all the buffers between here and there hold.
const LARGE: usize = 64 << 20;

/// Longer than any test waits for an answer.
const AN_HOUR: Duration = Duration::from_secs(3600);

/// A server of three routes: one that answers at once, one that holds a request until it is
/// released, and one whose answer is large.
struct Held {
    address: SocketAddr,
    /// A request was taken and is held.
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

    /// Connections whose requests are being answered.
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

/// A connection that has asked, and would ask again.
fn asking(address: SocketAddr, path: &str) -> TcpStream {
    let mut stream = connect(address);
    ask(&mut stream, path);
    stream
}

fn ask(stream: &mut impl Write, path: &str) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
}

/// An answer on a connection that may go on.
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

/// Closed without a word.
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
fn who_has_been_silent_longest_gives_way_and_nobody_else() {
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
fn half_a_head_is_silence_and_an_answer_ends_it() {
    let server = Held::start(|limits| limits.max_connections = 3);
    let mut kept = connect(server.address);
    let mut slow = connect(server.address);
    slow.write_all(b"GET / HTTP/1.1\r\nHost:").unwrap();
    let mut silent = connect(server.address);
    assert_served(&mut kept);
    let mut newcomers = [connect(server.address), connect(server.address)];
    assert_closed(&mut slow);
    assert_closed(&mut silent);
    for stream in newcomers.iter_mut().chain([&mut kept]) {
        assert_served(stream);
    }
}

#[test]
fn what_is_being_answered_is_never_cut_and_where_all_are_a_newcomer_is_refused() {
    let server = Held::start(|limits| {
        limits.max_connections = 4;
        limits.patience = Duration::ZERO;
    });
    let mut held = server.hold(3);
    // One place is left: who is silent in it gives way, time and again.
    let mut silent = connect(server.address);
    for _ in 0..20 {
        let newcomer = connect(server.address);
        assert_closed(&mut silent);
        silent = newcomer;
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
fn a_newcomer_waits_while_answers_are_given_and_gets_the_place_of_who_had_one() {
    let server = Held::start(|limits| {
        limits.max_connections = 2;
        limits.patience = AN_HOUR;
        limits.reading_time = AN_HOUR;
    });
    let mut held = server.hold(2);
    let mut newcomer = asking(server.address, "/");
    server.gate.add_permits(1);
    assert_eq!(next_answer(&mut newcomer).status, 200);
    // Whichever was released: its answer was whole, and then came the end.
    let index = held
        .iter()
        .position(|stream| stream.peek(&mut [0]).unwrap() > 0);
    let mut released = held.remove(index.unwrap());
    assert_eq!(next_answer(&mut released).body, b"released");
    assert_closed(&mut released);
    server.assert_all_are_answered(held);
}

#[test]
fn who_never_ceases_to_ask_gives_way_between_answers() {
    const REQUESTS: usize = 1000;
    let server = Held::start(|limits| {
        limits.max_connections = 1;
        limits.patience = AN_HOUR;
    });
    let mut endless = connect(server.address);
    (0..REQUESTS).for_each(|_| ask(&mut endless, "/held"));
    server.taken.recv().unwrap();
    let mut newcomer = asking(server.address, "/");
    newcomer.set_nonblocking(true).unwrap();
    while newcomer.peek(&mut [0]).is_err() {
        server.gate.add_permits(1);
        std::thread::sleep(Duration::from_millis(1));
    }
    newcomer.set_nonblocking(false).unwrap();
    assert_eq!(next_answer(&mut newcomer).status, 200);
    assert!(server.taken.try_iter().count() < REQUESTS - 1);
}

#[test]
fn an_answer_that_nobody_reads_gives_way_in_time() {
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
fn an_answer_that_is_being_read_comes_whole_though_somebody_waits_for_the_place() {
    let server = Held::start(|limits| {
        limits.max_connections = 1;
        limits.reading_time = AN_HOUR;
        limits.patience = AN_HOUR;
    });
    let mut reader = asking(server.address, "/large");
    reader.read_exact(&mut [0; 12]).unwrap();
    let mut newcomer = asking(server.address, "/");
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest).unwrap();
    assert!(rest.len() > LARGE);
    assert_eq!(next_answer(&mut newcomer).status, 200);
}

#[test]
fn an_answer_that_nobody_reads_stays_where_there_are_places() {
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
fn scrapes_that_are_held_up_keep_their_places_and_what_came_before_is_read_before_it_counts() {
    let service = Service::start(&Config {
        web: Web {
            max_connections: 3,
            ..Web::default()
        },
        ..Config::default()
    });
    assert_eq!(get(service.address, "/-/ready").status, 200);
    let silent: Vec<_> = (0..3).map(|_| connect(service.address)).collect();
    let kernel = service.kernel.lock().unwrap(); // nothing can be read from it
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
fn who_has_not_shaken_hands_gives_way_and_where_all_are_answered_tls_is_closed() {
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
    // A record that says it is longer than what comes.
    half.write_all(b"\x16\x03\x01\x02\x00\x01").unwrap();
    let mut silent = connect(server.address);
    let mut held: Vec<_> = (0..2)
        .map(|_| client.connect(server.address).unwrap())
        .collect();
    let mut rest = Vec::new();
    // With a reset where not all of it was read.
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
fn who_is_silent_on_a_unix_socket_gives_way_too() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("web.sock");
    let listener = Listener::bind(&format!("unix:{}", path.display())).unwrap();
    let limits = limits(|limits| limits.max_connections = 2);
    run(Server::new(routes(), limits), listener);
    let mut silent = [0; 2].map(|_| UnixStream::connect(&path).unwrap());
    let mut newcomer = UnixStream::connect(&path).unwrap();
    assert_served(&mut newcomer);
    assert_closed(&mut silent[0]);
    assert_served(&mut silent[1]);
    let request = b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
    newcomer.write_all(request).unwrap();
    assert_eq!(answer(&mut newcomer).status, 200);
}
