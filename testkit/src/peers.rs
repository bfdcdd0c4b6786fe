//! Peers at work, all on loopback, until a value is dropped.

use std::io::{self, ErrorKind, Read};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{JoinHandle, sleep};
use std::time::Duration;

use rustix::process::{Resource, getrlimit, setrlimit};

/// How many are silent, slow, or do not read.
pub const HERD: usize = 1000;

/// How long a peer waits for the server, so that it ends when it is told to.
const GIVE_UP: Duration = Duration::from_secs(2);

/// From the first of a herd to do something to the first to do it again.
const ROUND: Duration = Duration::from_millis(50);

/// From one of a herd coming back to the next: some hundreds in a second.
const RETURN: Duration = Duration::from_millis(1);

/// An attack that goes on until the value is dropped.
#[derive(Debug)]
pub struct Attack {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    done: AtomicU64,
}

impl Attack {
    /// By threads that do `work` over and over; what it returns is how much was done.
    pub(crate) fn by(
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
        Self { shared, threads }
    }

    /// By many peers in one thread. Each connects and `greets`, and then does something every
    /// now and then; who is closed comes back.
    pub(crate) fn by_herd(
        address: SocketAddr,
        greets: impl Fn(&mut TcpStream) -> io::Result<()> + Send + 'static,
        goes_on: impl Fn(&mut TcpStream) -> io::Result<u64> + Send + 'static,
    ) -> Self {
        raise_descriptor_limit();
        let shared = Arc::<Shared>::default();
        let herd = Arc::clone(&shared);
        let work = move || {
            let mut peers: Vec<Option<TcpStream>> = (0..HERD).map(|_| None).collect();
            while !herd.stop.load(Ordering::Relaxed) {
                for peer in &mut peers {
                    let done = match peer {
                        Some(stream) => goes_on(stream),
                        None => arrived(address, &greets).map(|stream| {
                            *peer = Some(stream);
                            sleep(RETURN);
                            1
                        }),
                    };
                    match done {
                        Ok(done) => _ = herd.done.fetch_add(done, Ordering::Relaxed),
                        Err(_) => *peer = None,
                    }
                    if herd.stop.load(Ordering::Relaxed) {
                        return;
                    }
                }
                sleep(ROUND);
            }
        };
        Self {
            shared,
            threads: vec![std::thread::spawn(work)],
        }
    }

    /// How much was done so far: connections, requests or bytes.
    pub fn done(&self) -> u64 {
        self.shared.done.load(Ordering::Relaxed)
    }
}

impl Drop for Attack {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// A thousand connections take as many descriptors, here too.
fn raise_descriptor_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).expect("the soft limit can be raised to the hard one");
}

pub(crate) fn reached(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, GIVE_UP)?;
    stream.set_read_timeout(Some(GIVE_UP))?;
    stream.set_write_timeout(Some(GIVE_UP))?;
    Ok(stream)
}

fn arrived(
    address: SocketAddr,
    greets: impl Fn(&mut TcpStream) -> io::Result<()>,
) -> io::Result<TcpStream> {
    let mut stream = reached(address)?;
    stream.set_nonblocking(true)?;
    match greets(&mut stream) {
        Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
        _ => Ok(stream),
    }
}

/// An error once the server has closed.
pub(crate) fn is_there(stream: &mut TcpStream) -> io::Result<u64> {
    match stream.read(&mut [0; 64]) {
        Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
        Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
        _ => Ok(0),
    }
}
