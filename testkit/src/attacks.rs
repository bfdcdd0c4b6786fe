//! Attacks by hostile clients.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::sleep;
use std::time::{Duration, Instant};

use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore};

use crate::traffic::{CROWD, Traffic, connected, still_open};

/// How long an attack may take until it is under way.
const PATIENCE: Duration = Duration::from_secs(60);

/// A kind of attack.
#[derive(Debug, Clone, Copy)]
pub struct Attack {
    pub name: &'static str,
    /// What the daemon does about it.
    pub defence: &'static str,
    /// Whether the attacked server speaks TLS.
    pub over_tls: bool,
    start: fn(SocketAddr) -> Traffic,
    /// The attack is under way once this much was done.
    enough: u64,
}

pub const ATTACKS: [Attack; 12] = [
    Attack {
        name: "1000 silent clients",
        defence: "the connection that has been silent longest is closed for a new one",
        over_tls: false,
        start: silent,
        enough: CROWD as u64,
    },
    Attack {
        name: "1000 slow clients, a byte at a time",
        defence: "closed like silent ones; a head may take 30 s at most",
        over_tls: false,
        start: slow,
        enough: 2000,
    },
    Attack {
        name: "heads of 1 MB",
        defence: "answered 431 after 8 KiB, then closed",
        over_tls: false,
        start: giant_heads,
        enough: 100,
    },
    Attack {
        name: "endless heads",
        defence: "answered 431 after 8 KiB or 100 headers, then closed",
        over_tls: false,
        start: endless_heads,
        enough: 100,
    },
    Attack {
        name: "a request followed by garbage",
        defence: "the request is answered, the garbage with 400, then closed",
        over_tls: false,
        start: garbage,
        enough: 100,
    },
    Attack {
        name: "100 pipelined requests on each of 32 connections",
        defence: "answered one after the other",
        over_tls: false,
        start: pipelined,
        enough: 1000,
    },
    Attack {
        name: "128 scrapers, a connection per scrape",
        defence: "answered; a new connection waits until a slot is free",
        over_tls: false,
        start: scrapes,
        enough: 500,
    },
    Attack {
        name: "128 scrapers on persistent connections",
        defence: "answered; a connection is closed after its answer for a new one",
        over_tls: false,
        start: persistent_scrapes,
        enough: 500,
    },
    Attack {
        name: "1000 clients that send 100 requests and read no answer",
        defence: "closed for a new connection half a second after an answer",
        over_tls: false,
        start: unread,
        enough: 100,
    },
    Attack {
        name: "connections that are reset",
        defence: "closed",
        over_tls: false,
        start: resets,
        enough: 1000,
    },
    Attack {
        name: "TLS: 1000 ClientHellos followed by silence",
        defence: "the oldest one is closed for a new connection; a handshake may take 10 s at most",
        over_tls: true,
        start: half_handshakes,
        enough: CROWD as u64,
    },
    Attack {
        name: "TLS: records of garbage",
        defence: "closed with an alert",
        over_tls: true,
        start: tls_garbage,
        enough: 100,
    },
];

impl Attack {
    /// Starts the attack and returns once it is under way. Dropping the value ends it.
    pub fn start(&self, address: SocketAddr) -> Traffic {
        let traffic = (self.start)(address);
        let deadline = Instant::now() + PATIENCE;
        while traffic.done() < self.enough {
            assert!(
                Instant::now() < deadline,
                "{}: {}",
                self.name,
                traffic.done()
            );
            sleep(Duration::from_millis(5));
        }
        traffic
    }
}

fn silent(address: SocketAddr) -> Traffic {
    Traffic::by_crowd(address, |_| Ok(()), still_open)
}

fn slow(address: SocketAddr) -> Traffic {
    let greet = |stream: &mut TcpStream| stream.write_all(b"GET /metrics HTTP/1.1\r\nX: ");
    let act = |stream: &mut TcpStream| {
        still_open(stream)?;
        stream.write_all(b"a").map(|()| 1)
    };
    Traffic::by_crowd(address, greet, act)
}

/// Clients that send `start`, then `part` this many times or until the server closes the
/// connection, then read most of the answer, and connect again.
fn talking(address: SocketAddr, start: &'static [u8], part: Vec<u8>, times: usize) -> Traffic {
    Traffic::by_threads(8, move |stop| {
        let mut begun = 0;
        let mut talk = || -> io::Result<()> {
            let mut stream = connected(address)?;
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
        let _ = talk(); // ends with an error when the server closes
        begun
    })
}

fn giant_heads(address: SocketAddr) -> Traffic {
    let head = format!("X: {}\r\n", "a".repeat(1 << 20));
    talking(address, b"GET /metrics HTTP/1.1\r\n", head.into_bytes(), 1)
}

fn endless_heads(address: SocketAddr) -> Traffic {
    let start = b"GET /metrics HTTP/1.1\r\n";
    talking(address, start, b"X: a\r\n".to_vec(), usize::MAX)
}

fn garbage(address: SocketAddr) -> Traffic {
    // A valid request is followed by bytes that are none.
    let start = b"GET /-/healthy HTTP/1.1\r\nHost: localhost\r\n\r\n";
    talking(address, start, noise(), 64)
}

/// Bytes without a pattern, the same in every run.
fn noise() -> Vec<u8> {
    let mut state = 1_u32;
    let mut byte = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    (0..4096).map(|_| byte()).collect()
}

const METRICS: &[u8] = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";

fn pipelined(address: SocketAddr) -> Traffic {
    let batch = [
        METRICS,
        b"GET /-/healthy HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ]
    .concat();
    let batch = batch.repeat(50);
    let last = b"GET /-/healthy HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    Traffic::by_threads(32, move |_| {
        let talk = || -> io::Result<u64> {
            let mut stream = connected(address)?;
            stream.write_all(&batch)?;
            stream.write_all(last)?;
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes)?;
            Ok(u64::from(!bytes.is_empty()) * 101)
        };
        talk().unwrap_or(0)
    })
}

fn scrapes(address: SocketAddr) -> Traffic {
    let request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    Traffic::by_threads(128, move |_| {
        let talk = || -> io::Result<u64> {
            let mut stream = connected(address)?;
            stream.write_all(request)?;
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes)?;
            Ok(u64::from(!bytes.is_empty()))
        };
        talk().unwrap_or(0)
    })
}

fn persistent_scrapes(address: SocketAddr) -> Traffic {
    Traffic::by_threads(128, move |stop| {
        let mut answers = 0;
        let mut talk = || -> io::Result<()> {
            let mut stream = connected(address)?;
            let mut buffer = vec![0; 64 << 10];
            while !stop.load(Ordering::Relaxed) {
                stream.write_all(METRICS)?;
                // The next request is sent as soon as a part of the answer has arrived.
                let read = stream.read(&mut buffer)?;
                if read == 0 {
                    break;
                }
                answers += 1;
            }
            Ok(())
        };
        let _ = talk(); // ends with an error when the server closes
        answers
    })
}

fn unread(address: SocketAddr) -> Traffic {
    let greet = |stream: &mut TcpStream| stream.write_all(&METRICS.repeat(100));
    // A connection that accepts bytes, or whose buffers are full, is open.
    let act = |stream: &mut TcpStream| match stream.write(METRICS) {
        Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
        _ => Ok(0),
    };
    Traffic::by_crowd(address, greet, act)
}

fn resets(address: SocketAddr) -> Traffic {
    Traffic::by_threads(8, move |_| {
        let talk = || -> io::Result<u64> {
            let mut stream = connected(address)?;
            // Closing a socket with unread bytes sends a reset (tcp_close()).
            stream.write_all(METRICS)?;
            stream.read_exact(&mut [0])?;
            Ok(1)
        };
        talk().unwrap_or(0)
    })
}

/// The first message of a client.
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

fn half_handshakes(address: SocketAddr) -> Traffic {
    let hello = client_hello();
    let greet = move |stream: &mut TcpStream| stream.write_all(&hello);
    Traffic::by_crowd(address, greet, still_open)
}

fn tls_garbage(address: SocketAddr) -> Traffic {
    // A well-formed record that contains no handshake.
    talking(address, b"\x16\x03\x01\x10\x00", noise(), 4)
}
