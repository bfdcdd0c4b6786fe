//! Serving connections within limits: of their number (`places.rs`), of the size
//! of a request's head, and of time. With TLS, the handshake has a time limit of its own, and a
//! connection counts from before it.
//!
//! hyper is driven directly because `axum::serve` has no way to set these.

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustix::io::Errno;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use crate::http::connections::{Place, Places};
use crate::http::listener::{Accepting, Connection, Listener};
use crate::http::live_config::Live;
use crate::http::tls::handshake::shake;
use crate::sys::throttle::Throttle;

/// Largest head of a request, in bytes; a larger one is answered 431. hyper's minimum.
const MAX_HEAD: usize = 8192;

/// Time for a request's head to arrive, and for a connection to be idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// Time for a TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Time from one request to the next, or to the end of its answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// Time for an answer to be read, before its connection is closed where another one comes
/// above the limit.
const READING_TIME: Duration = Duration::from_millis(500);

/// Time that a connection above the limit waits while no request gets its answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// Time for a connection above the limit to be told so.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(2);

/// How many connections above the limit are told at a time; more are just closed.
const REFUSALS: usize = 16;

/// Pause after a failed accept, when descriptors or memory have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A question to a listener's loop, answered when it comes round.
pub type Ping = oneshot::Sender<()>;

/// The times that tests shorten.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections served at a time, on all listeners together.
    pub max_connections: usize,
    /// Time for a TLS handshake.
    pub handshake_timeout: Duration,
    /// Time for a request's head to arrive, and for a connection to be idle.
    pub head_timeout: Duration,
    /// Time from one request to the next, or to the end of its answer.
    pub request_timeout: Duration,
    /// Time for an answer to be read, before its connection is closed where another one
    /// comes above the limit.
    pub reading_time: Duration,
    /// Time that a connection above the limit waits while no request gets its answer.
    pub patience: Duration,
}

impl Limits {
    /// The shipped times.
    pub fn new(max_connections: usize) -> Self {
        Self {
            max_connections,
            handshake_timeout: HANDSHAKE_TIMEOUT,
            head_timeout: HEAD_TIMEOUT,
            request_timeout: REQUEST_TIMEOUT,
            reading_time: READING_TIME,
            patience: PATIENCE,
        }
    }
}

/// Serves a router. Clones share the limits.
#[derive(Debug, Clone)]
pub struct Server {
    router: Router,
    limits: Limits,
    /// Where TLS is served: by what.
    tls: Option<Arc<Live>>,
    places: Arc<Places>,
    refusals: Arc<Semaphore>,
    not_accepted: Arc<Throttle>,
    stop: watch::Sender<bool>,
}

impl Server {
    /// A server of `router` within `limits`.
    pub fn new(router: Router, limits: Limits) -> Self {
        Self {
            router,
            limits,
            tls: None,
            places: Places::new(limits.max_connections, limits.reading_time, limits.patience),
            refusals: Arc::new(Semaphore::new(REFUSALS)),
            not_accepted: Arc::default(),
            stop: watch::Sender::new(false),
        }
    }

    /// Serve by TLS, if the web configuration says so.
    #[must_use]
    pub fn with_tls(mut self, live: Option<Arc<Live>>) -> Self {
        self.tls = live.filter(|live| live.serves_tls());
        self
    }

    /// Accept connections of `listener`, and answer `pings`, for good.
    pub async fn run(
        self,
        listener: Listener,
        mut pings: mpsc::Receiver<Ping>,
    ) -> io::Result<Infallible> {
        let listener = listener.into_accepting()?;
        info!(
            address = listener.address()?,
            tls = self.tls.is_some(),
            "listening"
        );
        let mut accepting = pin!(self.accept_from(&listener));
        loop {
            tokio::select! {
                Some(ping) = pings.recv() => {
                    // Nobody waits any more: then nobody need know.
                    let _ = ping.send(());
                }
                never = &mut accepting => match never {},
            }
        }
    }

    /// Let the requests that are being answered finish, for `patience` at most, and close
    /// the idle connections.
    pub async fn finish(&self, patience: Duration) {
        self.stop.send_replace(true);
        if timeout(patience, self.places.emptied()).await.is_err() {
            debug!("connections closed before their answers were read");
        }
    }

    async fn accept_from(&self, listener: &Accepting) -> Infallible {
        loop {
            match listener.accept().await {
                Ok(Connection::Tcp(stream)) => self.admit(stream).await,
                Ok(Connection::Unix(stream)) => self.admit(stream).await,
                Err(error) => self.recover_from(&error).await,
            }
        }
    }

    /// Who comes next waits with the kernel: nobody who came later is served earlier.
    async fn admit<S>(&self, stream: S)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        if let Some(place) = self.places.take().await {
            let router = self.router.clone();
            let (limits, stop) = (self.limits, self.stop.subscribe());
            match self.tls.clone() {
                Some(live) => {
                    tokio::spawn(serve_tls(stream, live, router, limits, stop, place));
                }
                None => {
                    tokio::spawn(serve(stream, router, limits, stop, place));
                }
            }
        } else if self.tls.is_some() {
            // A handshake would cost what the limit is there to save.
            debug!("connection above the limit closed");
        } else if let Ok(permit) = Arc::clone(&self.refusals).try_acquire_owned() {
            tokio::spawn(refuse(stream, permit));
        }
    }

    /// A connection could not be accepted.
    async fn recover_from(&self, error: &io::Error) {
        if let Some(times) = self.not_accepted.allow(Instant::now()) {
            warn!(%error, times, "accepting a connection failed");
        }
        // Where descriptors have run out, who waits longest gives one back.
        let scarce = [Errno::MFILE, Errno::NFILE].contains(&errno(error));
        if !scarce || !self.places.vacate().await {
            sleep(ACCEPT_PAUSE).await;
        }
    }
}

async fn serve_tls<S>(
    stream: S,
    live: Arc<Live>,
    router: Router,
    limits: Limits,
    mut stop: watch::Receiver<bool>,
    place: Place,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let shaken = tokio::select! {
        () = place.wanted() => {
            debug!("connection closed for another: its TLS handshake was not done");
            return;
        }
        shaken = timeout(limits.handshake_timeout, shake(stream, &live)) => shaken,
        Ok(()) = stop.changed() => return,
    };
    match shaken {
        Ok(Some(stream)) => serve(stream, router, limits, stop, place).await,
        Ok(None) => {}
        Err(_) => debug!("connection closed: its TLS handshake took too long"),
    }
}

async fn serve<S>(
    stream: S,
    router: Router,
    limits: Limits,
    mut stop: watch::Receiver<bool>,
    place: Place,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let requested = Notify::new();
    let router = TowerToHyperService::new(router);
    let service = service_fn(|request: Request<Incoming>| {
        requested.notify_one();
        let answering = place.answering();
        let answer = router.call(request);
        async move {
            let answer = answer.await;
            drop(answering);
            answer
        }
    });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.head_timeout)
            .max_buf_size(MAX_HEAD)
            .serve_connection(TokioIo::new(stream), service)
    );
    let mut wanted = false;
    loop {
        tokio::select! {
            biased; // what was promised to another takes no further request
            () = place.wanted() => {
                wanted = true;
                connection.as_mut().graceful_shutdown();
            }
            ended = &mut connection => {
                if let Err(error) = ended {
                    debug!(%error, "connection ended");
                }
                return;
            }
            () = place.may_be_cut(), if wanted => {
                debug!("connection closed for another: it waited longest");
                return;
            }
            in_time = timeout(limits.request_timeout, requested.notified()) => {
                if in_time.is_err() {
                    debug!("connection closed: its request took too long");
                    return;
                }
            }
            Ok(()) = stop.changed() => connection.as_mut().graceful_shutdown(),
        }
    }
}

/// Answer one request with 503 and close.
async fn refuse<S>(stream: S, _permit: OwnedSemaphorePermit)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let service = service_fn(async |_: Request<Incoming>| {
        let mut response = Response::new(Body::from("Too many connections.\n"));
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        Ok::<_, Infallible>(response)
    });
    let connection = http1::Builder::new()
        .keep_alive(false)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service);
    if timeout(REFUSAL_TIMEOUT, connection).await.is_err() {
        debug!("connection above the limit closed");
    }
}

fn errno(error: &io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}
