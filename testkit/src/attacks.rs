//! Attacks by hostile clients.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore};

use crate::traffic::{Traffic, connected, still_open};

/// Number of clients in a crowd.
const CROWD: usize = 1000;

/// How long an attack may take to get under way.
const PATIENCE: Duration = Duration::from_secs(60);

/// The configuration of the daemon that is attacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// Plain HTTP, small answers.
    Plain,
    /// Plain HTTP, answers of more than a megabyte.
    FullViews,
    Tls,
    /// Plain HTTP, with users. bcrypt takes about a tenth of a second to compare a password.
    Users,
}

/// A kind of attack.
#[derive(Debug, Clone, Copy)]
pub struct Attack {
    pub name: &'static str,
    /// How the daemon responds.
    pub defence: &'static str,
    pub target: Target,
    start: fn(SocketAddr) -> Traffic,
    /// The attack is under way once [`Traffic::done`] has reached this.
    enough: u64,
}

pub const ATTACKS: [Attack; 21] = [
    Attack {
        name: "1000 silent clients",
        defence: "after 0.1 to 0.7 s, the oldest one is closed for a new connection",
        target: Target::Plain,
        start: |address| silent(address, CROWD),
        enough: CROWD as u64,
    },
    Attack {
        name: "1000 slow clients that send a byte at a time",
        defence: "closed like silent ones; a head may take 30 s at most",
        target: Target::Plain,
        start: |address| slow(address, CROWD),
        enough: 2000,
    },
    Attack {
        name: "heads of 1 MB",
        defence: "answered 431 after 8 KiB, then closed",
        target: Target::Plain,
        start: giant_heads,
        enough: 100,
    },
    Attack {
        name: "endless heads",
        defence: "answered 431 after 8 KiB or 100 headers, then closed",
        target: Target::Plain,
        start: endless_heads,
        enough: 100,
    },
    Attack {
        name: "a request followed by garbage",
        defence: "the request is answered, the garbage with 400, then closed",
        target: Target::Plain,
        start: garbage,
        enough: 100,
    },
    Attack {
        name: "100 pipelined requests on each of 32 connections",
        defence: "answered one after the other",
        target: Target::Plain,
        start: pipelined,
        enough: 1000,
    },
    Attack {
        name: "128 scrapers, a connection per scrape",
        defence: "answered in order",
        target: Target::Plain,
        start: scrapes,
        enough: 500,
    },
    Attack {
        name: "128 scrapers on persistent connections",
        defence: "answered in order",
        target: Target::Plain,
        start: persistent_scrapes,
        enough: 500,
    },
    Attack {
        name: "1000 clients that send 100 requests and read no answer",
        defence: "answered until their send buffers are full, then closed",
        target: Target::Plain,
        start: unread,
        enough: 100,
    },
    Attack {
        name: "connections that are reset",
        defence: "closed",
        target: Target::Plain,
        start: resets,
        enough: 1000,
    },
    Attack {
        name: "TLS: 1000 ClientHellos followed by silence",
        defence: "after 0.1 to 0.7 s, the oldest one is closed for a new connection; a handshake may take 10 s at most",
        target: Target::Tls,
        start: half_handshakes,
        enough: CROWD as u64,
    },
    Attack {
        name: "TLS: 250 clients that send a ClientHello and start again",
        defence: "new connections wait in the backlog until a slot is free",
        target: Target::Tls,
        start: |address| hellos(address, 250),
        enough: 1000,
    },
    Attack {
        name: "TLS: 1000 clients that send a ClientHello and start again",
        defence: "the same",
        target: Target::Tls,
        start: |address| hellos(address, 1000),
        enough: 1000,
    },
    Attack {
        name: "250 clients with wrong passwords",
        defence: "a few passwords are compared, in order; the others are answered 429",
        target: Target::Users,
        start: |address| wrong_passwords(address, 250),
        enough: 250,
    },
    Attack {
        name: "1000 clients with wrong passwords",
        defence: "the same",
        target: Target::Users,
        start: |address| wrong_passwords(address, 1000),
        enough: 1000,
    },
    Attack {
        name: "full views: 250 scrapers with gzip",
        defence: "answered; each flush is compressed once",
        target: Target::FullViews,
        start: |address| gzip_scrapes(address, 250),
        enough: 250,
    },
    Attack {
        name: "full views: 1000 scrapers with gzip",
        defence: "the same",
        target: Target::FullViews,
        start: |address| gzip_scrapes(address, 1000),
        enough: 1000,
    },
    Attack {
        name: "full views: 64 clients that read no answer",
        defence: "unread answers share 4 MiB of memory; beyond that, connections are closed",
        target: Target::FullViews,
        start: |address| unread_scrapes(address, 64),
        enough: 64,
    },
    Attack {
        name: "full views: 500 clients that read no answer",
        defence: "the same",
        target: Target::FullViews,
        start: |address| unread_scrapes(address, 500),
        enough: 500,
    },
    Attack {
        name: "full views: 5000 clients that read no answer",
        defence: "the same",
        target: Target::FullViews,
        start: |address| unread_scrapes(address, 5000),
        enough: 5000,
    },
    Attack {
        name: "TLS: records of garbage",
        defence: "closed with an alert",
        target: Target::Tls,
        start: tls_garbage,
        enough: 100,
    },
];

impl Attack {
    /// Starts the attack, together with a slow reader, a slow writer and a silent client. Returns
    /// once the attack is under way. Dropping the returned value ends it.
    pub fn start(&self, address: SocketAddr) -> Traffic {
        let traffic = (self.start)(address)
            .with(slow_reader(address))
            .with(slow(address, 1))
            .with(silent(address, 1));
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

fn silent(address: SocketAddr, size: usize) -> Traffic {
    Traffic::by_crowd(address, size, |_| Ok(()), still_open)
}

fn slow_reader(address: SocketAddr) -> Traffic {
    let greet = |stream: &mut TcpStream| stream.write_all(METRICS);
    let act = |stream: &mut TcpStream| match stream.read(&mut [0]) {
        Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
        Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
        _ => Ok(0),
    };
    Traffic::by_crowd(address, 1, greet, act)
}

fn slow(address: SocketAddr, size: usize) -> Traffic {
    let greet = |stream: &mut TcpStream| stream.write_all(b"GET /metrics HTTP/1.1\r\nX: ");
    let act = |stream: &mut TcpStream| {
        still_open(stream)?;
        stream.write_all(b"a").map(|()| 1)
    };
    Traffic::by_crowd(address, size, greet, act)
}

/// Clients that connect, send `start`, then send `part` this many times or until the server closes
/// the connection. Afterwards they read up to 64 KiB of the answer, and connect again.
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
        let _ = talk(); // fails when the server closes the connection
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
    // A valid request, followed by bytes that are not a request.
    let start = b"GET /-/healthy HTTP/1.1\r\nHost: localhost\r\n\r\n";
    talking(address, start, noise(), 64)
}

/// Pseudo-random bytes, the same in every run.
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
    again(128, move || {
        answered(
            address,
            b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        )
    })
}

fn persistent_scrapes(address: SocketAddr) -> Traffic {
    again(128, move || {
        let mut stream = connected(address)?;
        let mut buffer = vec![0; 64 << 10];
        let mut answers = 0;
        for _ in 0..100 {
            stream.write_all(METRICS)?;
            // The next request is sent as soon as a part of the answer has arrived.
            if stream.read(&mut buffer)? == 0 {
                break;
            }
            answers += 1;
        }
        Ok(answers)
    })
}

fn unread(address: SocketAddr) -> Traffic {
    let greet = |stream: &mut TcpStream| stream.write_all(&METRICS.repeat(100));
    // The connection is still open if it accepts bytes or if its buffers are full.
    let act = |stream: &mut TcpStream| match stream.write(METRICS) {
        Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
        _ => Ok(0),
    };
    Traffic::by_crowd(address, CROWD, greet, act)
}

/// Clients that request the metrics and read nothing until the server closes the connection.
fn unread_scrapes(address: SocketAddr, size: usize) -> Traffic {
    let greet = |stream: &mut TcpStream| stream.write_all(METRICS);
    let act = |stream: &mut TcpStream| match stream.take_error()? {
        Some(error) => Err(error),
        None => Ok(0),
    };
    Traffic::by_crowd(address, size, greet, act)
}

/// Clients that each call `talk` again and again. `talk` returns how much it has done.
fn again(clients: usize, talk: impl Fn() -> io::Result<u64> + Clone + Send + 'static) -> Traffic {
    Traffic::by_threads(clients, move |_| talk().unwrap_or(0))
}

fn hellos(address: SocketAddr, clients: usize) -> Traffic {
    let hello = client_hello();
    again(clients, move || {
        let mut stream = connected(address)?;
        stream.write_all(&hello)?;
        stream.read_exact(&mut [0])?;
        Ok(1)
    })
}

fn wrong_passwords(address: SocketAddr, clients: usize) -> Traffic {
    let tries = Arc::<AtomicU64>::default();
    again(clients, move || {
        let password = format!("{:012}", tries.fetch_add(1, Ordering::Relaxed));
        // The Base64 form of "alice:". The digits after it are the Base64 form of some password,
        // because each group of four characters stands for three bytes.
        let head = format!(
            "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Basic \
             YWxpY2U6{password}\r\n\r\n"
        );
        answered(address, head.as_bytes())
    })
}

fn gzip_scrapes(address: SocketAddr, clients: usize) -> Traffic {
    again(clients, move || {
        answered(
            address,
            b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
              Accept-Encoding: gzip\r\n\r\n",
        )
    })
}

fn answered(address: SocketAddr, request: &[u8]) -> io::Result<u64> {
    let mut stream = connected(address)?;
    stream.write_all(request)?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    Ok(u64::from(!bytes.is_empty()))
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

/// The first message of a TLS client.
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
    Traffic::by_crowd(address, CROWD, greet, still_open)
}

fn tls_garbage(address: SocketAddr) -> Traffic {
    // The valid header of a handshake record of 4096 bytes, followed by noise.
    talking(address, b"\x16\x03\x01\x10\x00", noise(), 4)
}
