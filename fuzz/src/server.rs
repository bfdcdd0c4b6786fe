//! The production server, and a client that sends bytes to it.
//!
//! Both run on one thread with a paused clock. When neither makes progress any more, the clock is
//! advanced past the server's time limits. Therefore every connection ends, and the same bytes always
//! give the same result.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::Request;
use axum::http::Method;
use axum::middleware::{self, Next};
use execsnoopd::capture::hook::{CPU_TP_BTF, EXEC_TP_BTF, EXIT_TP_BTF, FEXIT};
use execsnoopd::capture::{CaptureInfo, TransportKind};
use execsnoopd::http::auth::protect;
use execsnoopd::http::live_config::Live;
use execsnoopd::http::routes::{App, router};
use execsnoopd::http::server::{self, Limits};
use execsnoopd::metrics::Metrics;
use execsnoopd::names::users::Users;
use execsnoopd::pipeline::flush::Control;
use execsnoopd::pipeline::flusher::Flusher;
use execsnoopd::pipeline::snapshot::Snapshot;
use rustix::fs::{MemfdFlags, memfd_create};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, watch};
use tokio::task::yield_now;

/// The server's limit of connections. The client opens one at a time, so the limit is reached only if
/// connections do not end.
const CONNECTIONS: usize = 16;

/// The number of rounds without progress after which the clock is advanced.
const STILL: u32 = 16;

/// How far the clock is advanced: longer than the server's time limits for a handshake and for a
/// request's head, shorter than that for an answer.
const STEP: Duration = Duration::from_secs(31);

/// The number of steps after which a silent connection must be closed.
const STEPS: u32 = 3;

pub(crate) struct Server {
    runtime: Runtime,
    address: SocketAddr,
    requests: Arc<Requests>,
    /// Keeps the channel open. The server treats a closed channel as the end of the aggregator.
    _snapshots: watch::Sender<Arc<Snapshot>>,
    _web_config: Option<OwnedFd>,
}

/// The requests that reached the routes.
#[derive(Default)]
struct Requests {
    methods: Mutex<Vec<Method>>,
    /// The number of requests that are being answered, possibly on another thread.
    in_flight: AtomicUsize,
}

/// The result of a connection.
pub(crate) struct Connection {
    /// The methods of the requests that were read, in order.
    pub(crate) methods: Vec<Method>,
    /// Everything that the server sent.
    pub(crate) answers: Vec<u8>,
}

impl Server {
    /// Starts a server on its own socket, with or without a web configuration.
    pub(crate) fn start(web_config: Option<&str>) -> Self {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .expect("a runtime");
        let name = format!("execsnoopd-fuzz-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(name).expect("a name");
        let listener = UnixListener::bind_addr(&address).expect("a socket");

        let (file, path) = web_config.map(in_memory).unzip();
        let live = Live::load(&path.unwrap_or_default()).expect("a good configuration");
        let live = live.map(Arc::new);
        let (snapshots, app) = app();
        let mut routes = router(app);
        if let Some(live) = &live {
            routes = protect(routes, Arc::clone(live));
        }
        let requests = Arc::<Requests>::default();
        let seen = Arc::clone(&requests);
        let record = move |request: Request, next: Next| {
            let seen = Arc::clone(&seen);
            async move {
                seen.methods
                    .lock()
                    .expect("no panic")
                    .push(request.method().clone());
                seen.in_flight.fetch_add(1, Ordering::Relaxed);
                let response = next.run(request).await;
                seen.in_flight.fetch_sub(1, Ordering::Relaxed);
                response
            }
        };
        let routes = routes.layer(middleware::from_fn(record));
        let server = server::Server::new(routes, Limits::new(CONNECTIONS)).with_tls(live);
        let (_, pings) = mpsc::channel(1);
        runtime.spawn(server.run(listener.into(), pings));
        Self {
            runtime,
            address,
            requests,
            _snapshots: snapshots,
            _web_config: file,
        }
    }

    /// Connects, sends these bytes and waits until the server closes the connection.
    pub(crate) fn send(&self, bytes: &[u8]) -> Connection {
        let mut stream = UnixStream::connect_addr(&self.address).expect("it listens");
        stream.set_nonblocking(true).expect("a socket");
        let answers = self.runtime.block_on(self.converse(&mut stream, bytes));
        let methods = std::mem::take(&mut *self.requests.methods.lock().expect("no panic"));
        Connection { methods, answers }
    }

    async fn converse(&self, stream: &mut UnixStream, mut unsent: &[u8]) -> Vec<u8> {
        let mut answers = Vec::new();
        let mut buffer = [0; 1 << 14];
        let (mut still, mut steps) = (0, 0);
        loop {
            let before = (unsent.len(), answers.len());
            if !unsent.is_empty() {
                match stream.write(unsent) {
                    Ok(sent) => unsent = &unsent[sent..],
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    // The server has stopped reading. Its answer gives the reason.
                    Err(_) => unsent = &[],
                }
            }
            match stream.read(&mut buffer) {
                Ok(0) => return answers,
                Ok(read) => answers.extend_from_slice(&buffer[..read]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                // The server closed the connection before it had read everything.
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return answers,
                Err(error) => panic!("{error}"),
            }
            if (unsent.len(), answers.len()) != before {
                still = 0;
            } else if self.requests.in_flight.load(Ordering::Relaxed) > 0 {
                std::thread::sleep(Duration::from_micros(20));
            } else if still < STILL {
                still += 1;
            } else {
                assert!(steps < STEPS, "the connection is not closed");
                tokio::time::advance(STEP).await;
                (still, steps) = (0, steps + 1);
            }
            yield_now().await;
        }
    }
}

/// Returns routes that always answer from the same snapshot.
fn app() -> (watch::Sender<Arc<Snapshot>>, Arc<App>) {
    let info = CaptureInfo {
        hooks: vec![EXEC_TP_BTF, FEXIT[0], EXIT_TP_BTF, CPU_TP_BTF],
        transport: TransportKind::Perf,
        buffer_bytes: 4096,
    };
    let mut snapshot = Snapshot::default();
    snapshot.flush.request = u64::MAX;
    let (snapshots, receiver) = watch::channel(Arc::new(snapshot));
    let metrics = Metrics::new(info.clone());
    let app = App::new(
        Flusher::new(Control::new().expect("an eventfd"), receiver),
        metrics.expect("metrics"),
        info,
        Users::default(),
        "/metrics".to_owned(),
    );
    (snapshots, Arc::new(app))
}

/// Creates a file in memory, which disappears with the process.
fn in_memory(text: &str) -> (OwnedFd, PathBuf) {
    let fd = memfd_create("web.yml", MemfdFlags::CLOEXEC).expect("a file");
    let mut file = File::from(fd);
    file.write_all(text.as_bytes()).expect("memory");
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    (file.into(), path.into())
}
