//! Clients on loopback that keep the server busy until a [`Traffic`] is dropped.

use std::io::{self, ErrorKind, Read};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread::{JoinHandle, sleep};
use std::time::Duration;

use rustix::net::sockopt::{self, Timeout};
use rustix::net::{self, AddressFamily, SocketFlags, SocketType};
use rustix::process::{Resource, getrlimit, setrlimit};

/// Clients of a server at this address connect from many addresses of 198.18.0.0/16, a range that is
/// reserved for benchmarks (RFC 2544). `ip address add 198.18.0.1/16 dev lo` makes the range local.
pub const MANY: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);

/// How long a client waits for the server. It is short so that clients soon notice that they have to
/// stop.
const TIMEOUT: Duration = Duration::from_secs(2);

/// The pause between two rounds. In a round, every client of a crowd acts once.
const ROUND: Duration = Duration::from_millis(50);

/// The pause after each connection of a crowd, which limits the crowd to hundreds of connections per
/// second.
const CONNECT: Duration = Duration::from_millis(1);

/// The size of the receive buffer of a client in a crowd, in bytes, as for `SO_RCVBUF`. It is small,
/// because these clients run on the host that they attack. With buffers of the default size, a thousand
/// answers that nobody reads exhaust the memory that a host with 1 GiB has for TCP
/// (`net.ipv4.tcp_mem`). Then the server cannot send to other clients either.
const RECEIVE_BUFFER: usize = 2 << 10;

/// Traffic that goes on until the value is dropped.
#[derive(Debug)]
pub struct Traffic {
    /// The first element belongs to the attack, the others to the traffic that was added to it.
    shared: Vec<Arc<Shared>>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    done: AtomicU64,
}

impl Traffic {
    /// Starts threads that call `work` again and again. `work` returns how much it has done.
    pub(crate) fn by_threads(
        threads: usize,
        work: impl Fn(&AtomicBool) -> u64 + Clone + Send + 'static,
    ) -> Self {
        let shared = Arc::<Shared>::default();
        let spawn = |_| {
            let (shared, work) = (Arc::clone(&shared), work.clone());
            std::thread::spawn(move || {
                while !shared.stop.load(Ordering::Relaxed) {
                    shared.done.fetch_add(work(&shared.stop), Ordering::Relaxed);
                }
            })
        };
        let threads = (0..threads).map(spawn).collect();
        Self {
            shared: vec![shared],
            threads,
        }
    }

    /// Starts one thread with a crowd of this many clients. Each client connects, calls `greet`, and
    /// then calls `act` once per round. When the server has closed the connection, the client
    /// connects again.
    pub(crate) fn by_crowd(
        address: SocketAddr,
        size: usize,
        greet: impl Fn(&mut TcpStream) -> io::Result<()> + Send + 'static,
        act: impl Fn(&mut TcpStream) -> io::Result<u64> + Send + 'static,
    ) -> Self {
        raise_descriptor_limit();
        let shared = Arc::<Shared>::default();
        let crowd = Arc::clone(&shared);
        let work = move || {
            let mut clients: Vec<Option<TcpStream>> = (0..size).map(|_| None).collect();
            while !crowd.stop.load(Ordering::Relaxed) {
                for client in &mut clients {
                    let done = match client {
                        Some(stream) => act(stream),
                        None => greeted(address, &greet).map(|stream| {
                            *client = Some(stream);
                            sleep(CONNECT);
                            1
                        }),
                    };
                    match done {
                        Ok(done) => _ = crowd.done.fetch_add(done, Ordering::Relaxed),
                        Err(_) => *client = None,
                    }
                    if crowd.stop.load(Ordering::Relaxed) {
                        return;
                    }
                }
                sleep(ROUND);
            }
        };
        Self {
            shared: vec![shared],
            threads: vec![std::thread::spawn(work)],
        }
    }

    /// Adds other traffic, which then goes on until this value is dropped. [`done`](Self::done) does
    /// not include it.
    #[must_use]
    pub(crate) fn with(mut self, mut other: Self) -> Self {
        self.shared.append(&mut other.shared);
        self.threads.append(&mut other.threads);
        self
    }

    /// How much the attack has done so far, in connections, requests or bytes.
    pub fn done(&self) -> u64 {
        self.shared[0].done.load(Ordering::Relaxed)
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        for shared in &self.shared {
            shared.stop.store(true, Ordering::Relaxed);
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// A crowd needs as many descriptors in this process as in the server.
fn raise_descriptor_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).expect("the soft limit can be raised to the hard one");
}

pub(crate) fn connected(address: SocketAddr) -> io::Result<TcpStream> {
    connected_with(address, |_| Ok(()))
}

/// Connects from a socket that `prepare` has changed.
fn connected_with(
    address: SocketAddr,
    prepare: impl Fn(&OwnedFd) -> io::Result<()>,
) -> io::Result<TcpStream> {
    let family = if address.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let socket = net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // This limits connect(2), too (socket(7)).
    sockopt::set_socket_timeout(&socket, Timeout::Send, Some(TIMEOUT))?;
    sockopt::set_socket_timeout(&socket, Timeout::Recv, Some(TIMEOUT))?;
    prepare(&socket)?;
    if address.ip() == MANY {
        net::bind(&socket, &SocketAddr::new(IpAddr::V4(any_source()), 0))?;
    }
    net::connect(&socket, &address)?;
    Ok(socket.into())
}

/// An address of 198.18.0.0/16. It repeats an address only after 60 000 calls.
fn any_source() -> Ipv4Addr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let next = NEXT.fetch_add(1, Ordering::Relaxed) % 60_000;
    Ipv4Addr::from_bits(MANY.to_bits() + 256 + next)
}

fn greeted(
    address: SocketAddr,
    greet: impl Fn(&mut TcpStream) -> io::Result<()>,
) -> io::Result<TcpStream> {
    let mut stream = connected_with(address, |socket| {
        Ok(sockopt::set_socket_recv_buffer_size(
            socket,
            RECEIVE_BUFFER,
        )?)
    })?;
    stream.set_nonblocking(true)?;
    match greet(&mut stream) {
        Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
        _ => Ok(stream),
    }
}

/// Fails once the server has closed the connection.
pub(crate) fn still_open(stream: &mut TcpStream) -> io::Result<u64> {
    match stream.read(&mut [0; 64]) {
        Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
        Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
        _ => Ok(0),
    }
}
