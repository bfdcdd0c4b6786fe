//! Ways of peers that mean no good.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::sleep;
use std::time::{Duration, Instant};

use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore};

use crate::peers::{Attack, HERD, is_there, reached};

/// How long an attack may take to show that it goes on.
const PATIENCE: Duration = Duration::from_secs(60);

/// A way to be a nuisance.
#[derive(Debug, Clone, Copy)]
pub struct Nuisance {
    pub name: &'static str,
    /// What the daemon does about it.
    pub answer: &'static str,
    /// What it does to where it is served by TLS, or not.
    pub over_tls: bool,
    start: fn(SocketAddr) -> Attack,
    /// How much of it is enough to be seen.
    enough: u64,
}

/// All of them.
pub const NUISANCES: [Nuisance; 12] = [
    Nuisance {
        name: "a thousand silent peers",
        answer: "who has waited longest is closed for who comes next",
        over_tls: false,
        start: silent,
        enough: HERD as u64,
    },
    Nuisance {
        name: "a thousand slow ones, a byte at a time",
        answer: "as those who are silent; no head may take longer than 30 s",
        over_tls: false,
        start: slow,
        enough: 2000,
    },
    Nuisance {
        name: "giant heads, of 1 MB",
        answer: "answered 431 after 8 KiB, and closed",
        over_tls: false,
        start: giant_heads,
        enough: 100,
    },
    Nuisance {
        name: "endless heads",
        answer: "answered 431 after 8 KiB or 100 headers, and closed",
        over_tls: false,
        start: endless_heads,
        enough: 100,
    },
    Nuisance {
        name: "a request and then garbage",
        answer: "answered, then 400, and closed",
        over_tls: false,
        start: garbage,
        enough: 100,
    },
    Nuisance {
        name: "a hundred requests at once, on 32 connections",
        answer: "answered one after the other",
        over_tls: false,
        start: pipelined,
        enough: 1000,
    },
    Nuisance {
        name: "scrapes of 128, a connection each",
        answer: "answered; who comes next waits until one is",
        over_tls: false,
        start: scrapes,
        enough: 500,
    },
    Nuisance {
        name: "scrapes of 128, on connections that stay",
        answer: "answered; a connection is closed after its answer for who comes next",
        over_tls: false,
        start: scrapes_that_stay,
        enough: 500,
    },
    Nuisance {
        name: "a thousand who ask 100 times and read no answer",
        answer: "closed half a second after an answer for who comes next",
        over_tls: false,
        start: unread,
        enough: 100,
    },
    Nuisance {
        name: "connections that are reset",
        answer: "closed",
        over_tls: false,
        start: resets,
        enough: 1000,
    },
    Nuisance {
        name: "TLS: a thousand ClientHellos and then silence",
        answer: "who has waited longest is closed; no handshake may take longer than 10 s",
        over_tls: true,
        start: half_handshakes,
        enough: HERD as u64,
    },
    Nuisance {
        name: "TLS: records of garbage",
        answer: "closed with an alert",
        over_tls: true,
        start: tls_garbage,
        enough: 100,
    },
];

impl Nuisance {
    /// Be one, until the value is dropped. Returns when it goes on.
    pub fn start(&self, address: SocketAddr) -> Attack {
        let attack = (self.start)(address);
        let deadline = Instant::now() + PATIENCE;
        while attack.done() < self.enough {
            assert!(
                Instant::now() < deadline,
                "{}: {}",
                self.name,
                attack.done()
            );
            sleep(Duration::from_millis(5));
        }
        attack
    }
}

fn silent(address: SocketAddr) -> Attack {
    Attack::by_herd(address, |_| Ok(()), is_there)
}

fn slow(address: SocketAddr) -> Attack {
    let greets = |stream: &mut TcpStream| stream.write_all(b"GET /metrics HTTP/1.1\r\nX: ");
    let goes_on = |stream: &mut TcpStream| {
        is_there(stream)?;
        stream.write_all(b"a").map(|()| 1)
    };
    Attack::by_herd(address, greets, goes_on)
}

/// Connections that begin with `start` and go on with `part`, this many times or until they
/// are closed; whatever comes is read at the end, for the most part. Who is closed comes back.
fn talking(address: SocketAddr, start: &'static [u8], part: Vec<u8>, times: usize) -> Attack {
    Attack::by(8, move |stop| {
        let mut begun = 0;
        let mut talk = || -> io::Result<()> {
            let mut stream = reached(address)?;
            stream.write_all(start)?;
            begun = 1;
            for _ in 0..times {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                stream.write_all(&part)?;
            }
            stream.read_exact(&mut vec![0; 64 << 10])
        };
        let _ = talk(); // it is closed at some time
        begun
    })
}

fn giant_heads(address: SocketAddr) -> Attack {
    let head = format!("X: {}\r\n", "a".repeat(1 << 20));
    talking(address, b"GET /metrics HTTP/1.1\r\n", head.into_bytes(), 1)
}

fn endless_heads(address: SocketAddr) -> Attack {
    let start = b"GET /metrics HTTP/1.1\r\n";
    talking(address, start, b"X: a\r\n".to_vec(), usize::MAX)
}

fn garbage(address: SocketAddr) -> Attack {
    // A request that is one, and then what is none.
    let start = b"GET /-/healthy HTTP/1.1\r\nHost: test\r\n\r\n";
    talking(address, start, noise(), 64)
}

/// Bytes that look like nothing.
fn noise() -> Vec<u8> {
    let mut state = 1_u32;
    let mut byte = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    (0..4096).map(|_| byte()).collect()
}

const METRICS: &[u8] = b"GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n";

fn pipelined(address: SocketAddr) -> Attack {
    let batch = [METRICS, b"GET /-/healthy HTTP/1.1\r\nHost: test\r\n\r\n"].concat();
    let batch = batch.repeat(50);
    let last = b"GET /-/healthy HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
    Attack::by(32, move |_| {
        let talk = || -> io::Result<u64> {
            let mut stream = reached(address)?;
            stream.write_all(&batch)?;
            stream.write_all(last)?;
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes)?;
            Ok(u64::from(!bytes.is_empty()) * 101)
        };
        talk().unwrap_or(0)
    })
}

fn scrapes(address: SocketAddr) -> Attack {
    let request = b"GET /metrics HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
    Attack::by(128, move |_| {
        let talk = || -> io::Result<u64> {
            let mut stream = reached(address)?;
            stream.write_all(request)?;
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes)?;
            Ok(u64::from(!bytes.is_empty()))
        };
        talk().unwrap_or(0)
    })
}

fn scrapes_that_stay(address: SocketAddr) -> Attack {
    Attack::by(128, move |stop| {
        let mut answers = 0;
        let mut talk = || -> io::Result<()> {
            let mut stream = reached(address)?;
            let mut buffer = vec![0; 64 << 10];
            while !stop.load(Ordering::Relaxed) {
                stream.write_all(METRICS)?;
                // As soon as some of it is there, the next is asked for.
                let read = stream.read(&mut buffer)?;
                if read == 0 {
                    break;
                }
                answers += 1;
            }
            Ok(())
        };
        let _ = talk(); // it is closed at some time
        answers
    })
}

fn unread(address: SocketAddr) -> Attack {
    let greets = |stream: &mut TcpStream| stream.write_all(&METRICS.repeat(100));
    // As long as it can be written to, it is there.
    let goes_on = |stream: &mut TcpStream| match stream.write(METRICS) {
        Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
        _ => Ok(0),
    };
    Attack::by_herd(address, greets, goes_on)
}

fn resets(address: SocketAddr) -> Attack {
    Attack::by(8, move |_| {
        let talk = || -> io::Result<u64> {
            let mut stream = reached(address)?;
            // Closed with this unread, it is a reset.
            stream.write_all(METRICS)?;
            stream.read_exact(&mut [0])?;
            Ok(1)
        };
        talk().unwrap_or(0)
    })
}

/// What a client says first.
fn client_hello() -> Vec<u8> {
    let provider = Arc::new(ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut hello = Vec::new();
    client.write_tls(&mut hello).unwrap();
    hello
}

fn half_handshakes(address: SocketAddr) -> Attack {
    let hello = client_hello();
    let greets = move |stream: &mut TcpStream| stream.write_all(&hello);
    Attack::by_herd(address, greets, is_there)
}

fn tls_garbage(address: SocketAddr) -> Attack {
    // A record of the right form, and what is no handshake in it.
    talking(address, b"\x16\x03\x01\x10\x00", noise(), 4)
}
