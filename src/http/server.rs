//! Serves connections, with limits on what they hold (`connections`), on the size of a request's
//! head, and on time. Each connection is one task. Each of its phases has a deadline: the
//! handshake, receiving a request's head, and the answer.
//!
//! hyper is used without `axum::serve`, which does not offer these limits.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use rustix::io::Errno;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::yield_now;
use tokio::time::{sleep, sleep_until, timeout};
use tracing::{debug, info, warn};

use crate::http::body::Chunks;
use crate::http::connections::{Connections, Slot};
pub use crate::http::connections::{Limits, Patience};
use crate::http::listener::{Accepting, Listener};
use crate::http::live_config::Live;
use crate::http::rendered::Arrived;
use crate::http::socket::{Socket, Stream};
use crate::http::tls::handshake::shake;
use crate::sys::throttle::Throttle;

/// The limit on the size of a request's head in bytes. A larger one is answered with 431. hyper
/// allows no lower limit.
const MAX_HEAD: usize = 8192;

/// The pause after a connection could not be accepted, for example for lack of memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A message to the task of a listener, which answers it.
pub type Ping = oneshot::Sender<()>;

/// Serves a router. Clones share the limits on connections.
#[derive(Debug, Clone)]
pub struct Server {
    router: Router,
    limits: Limits,
    /// The web configuration, if connections are TLS.
    tls: Option<Arc<Live>>,
    connections: Arc<Connections>,
    not_accepted: Arc<Throttle>,
    stop: watch::Sender<bool>,
}

impl Server {
    pub fn new(router: Router, limits: Limits) -> Self {
        Self {
            router,
            limits,
            tls: None,
            connections: Connections::new(limits),
            not_accepted: Arc::default(),
            stop: watch::Sender::new(false),
        }
    }

    /// Serves TLS if the web configuration asks for it.
    #[must_use]
    pub fn with_tls(mut self, live: Option<Arc<Live>>) -> Self {
        self.tls = live.filter(|live| live.serves_tls());
        self
    }

    /// Accepts connections on `listener` and answers `pings`.
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
                    // Fails if the sender is no longer waiting.
                    let _ = ping.send(());
                }
                never = &mut accepting => match never {},
            }
        }
    }

    /// Closes idle connections at once and the others after their answers. Waits for this for up to
    /// `patience`.
    pub async fn finish(&self, patience: Duration) {
        self.stop.send_replace(true);
        if timeout(patience, self.connections.emptied()).await.is_err() {
            debug!("connections closed before their answers were read");
        }
    }

    async fn accept_from(&self, listener: &Accepting) -> Infallible {
        let deadline = match &self.tls {
            Some(_) => self.limits.handshake_timeout,
            None => self.limits.head_timeout,
        };
        loop {
            match listener.accept().await {
                Ok((stream, source)) => {
                    let slot = self.connections.admit(source, deadline).await;
                    self.spawn(stream, slot);
                }
                Err(error) => self.recover_from(&error).await,
            }
        }
    }

    fn spawn(&self, stream: Stream, slot: Arc<Slot>) {
        let socket = Socket::new(stream, Arc::clone(&slot));
        let (router, tls, stop) = (self.router.clone(), self.tls.clone(), self.stop.subscribe());
        tokio::spawn(async move {
            tokio::select! {
                // The connection is polled first, so that the other branches see the phase it is in
                // now.
                biased;
                () = serve(socket, Arc::clone(&slot), router, tls, stop) => {}
                () = slot.cut() => debug!("connection closed for another one"),
                () = expired(&slot) => debug!("connection closed: deadline exceeded"),
            }
        });
    }

    async fn recover_from(&self, error: &io::Error) {
        if let Some(times) = self.not_accepted.allow(Instant::now()) {
            warn!(%error, times, "accepting a connection failed");
        }
        let errno = Errno::from_io_error(error);
        let is_short = errno.is_some_and(|errno| [Errno::MFILE, Errno::NFILE].contains(&errno));
        if is_short && self.connections.free_descriptor() {
            // Lets the task of the chosen connection close it.
            yield_now().await;
        } else {
            sleep(ACCEPT_PAUSE).await;
        }
    }
}

/// Returns when the deadline of the slot's current phase has passed.
async fn expired(slot: &Slot) {
    let mut sleep = pin!(sleep_until(slot.deadline()));
    poll_fn(|cx| {
        let deadline = slot.deadline();
        if sleep.deadline() != deadline {
            sleep.as_mut().reset(deadline);
        }
        sleep.as_mut().poll(cx)
    })
    .await;
}

async fn serve(
    socket: Socket,
    slot: Arc<Slot>,
    router: Router,
    tls: Option<Arc<Live>>,
    mut stop: watch::Receiver<bool>,
) {
    // Buffers are allocated only after this, so a silent client costs none.
    tokio::select! {
        readable = socket.readable() => if readable.is_err() { return },
        Ok(()) = stop.changed() => return,
    }
    let Some(live) = tls else {
        return Box::pin(converse(socket, slot, router, stop)).await;
    };
    let shaken = tokio::select! {
        shaken = Box::pin(shake(socket, &live)) => shaken,
        Ok(()) = stop.changed() => return,
    };
    if let Some(stream) = shaken {
        slot.shaken();
        Box::pin(converse(stream, slot, router, stop)).await;
    }
}

async fn converse<S>(stream: S, slot: Arc<Slot>, router: Router, mut stop: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let router = TowerToHyperService::new(router);
    let service = service_fn(|mut request: Request<Incoming>| {
        let (router, slot) = (router.clone(), Arc::clone(&slot));
        request.extensions_mut().insert(Arrived(Instant::now()));
        async move {
            let turn = slot.turn().await;
            let response = if turn.is_some() {
                request.extensions_mut().insert(slot.source());
                router.call(request).await?
            } else {
                refusal()
            };
            slot.answered();
            drop(turn);
            Ok::<_, Infallible>(response.map(|body| Chunks::new(body, slot)))
        }
    });
    let mut connection = pin!(
        http1::Builder::new()
            .header_read_timeout(None)
            .max_buf_size(MAX_HEAD)
            .serve_connection(TokioIo::new(stream), service)
    );
    loop {
        tokio::select! {
            biased;
            ended = &mut connection => {
                if let Err(error) = ended {
                    debug!(%error, "connection ended");
                }
                return;
            }
            Ok(()) = stop.changed() => connection.as_mut().graceful_shutdown(),
        }
    }
}

/// The answer to a request that has waited too long.
fn refusal() -> Response<Body> {
    let mut response = Response::new(Body::from("Too many requests are being answered.\n"));
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(header::CONNECTION, close);
    response
}
