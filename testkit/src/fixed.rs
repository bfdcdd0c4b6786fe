//! The daemon's HTTP routes, serving fixed counts.

use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::Response;
use execsnoopd::capture::CaptureInfo;
use execsnoopd::http::listener::Listener;
use execsnoopd::http::routes::{App, router};
use execsnoopd::http::server::{Limits, Server};
use execsnoopd::metrics::Metrics;
use execsnoopd::names::users::Users;
use execsnoopd::pipeline::flush::Control;
use execsnoopd::pipeline::flusher::Flusher;
use execsnoopd::pipeline::snapshot::Snapshot;
use tokio::sync::{mpsc, watch};

/// A server whose counts never change.
#[derive(Debug)]
pub struct Fixed {
    pub address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
    /// Kept, because the routes take a dropped sender as the end of the aggregator.
    _snapshots: watch::Sender<Arc<Snapshot>>,
}

impl Fixed {
    /// Serves these counts.
    pub fn serve(snapshot: Snapshot, info: &CaptureInfo) -> Self {
        Self::serve_through(snapshot, info, |response| response)
    }

    /// Like [`serve`](Self::serve), with each response changed by `change`.
    pub fn serve_through(
        mut snapshot: Snapshot,
        info: &CaptureInfo,
        change: fn(Response) -> Response,
    ) -> Self {
        snapshot.flush.request = u64::MAX;
        let (snapshots, receiver) = watch::channel(Arc::new(snapshot));
        let metrics = Metrics::new(info.clone());
        let app = App::new(
            Flusher::new(Control::new().unwrap(), receiver),
            metrics.unwrap(),
            info.clone(),
            Users::default(),
            "/metrics".to_owned(),
        );
        let requests = Arc::<Mutex<Vec<_>>>::default();
        let seen = Arc::clone(&requests);
        let record = move |request: Request, next: Next| {
            seen.lock().unwrap().push(request.uri().to_string());
            async move { change(next.run(request).await) }
        };
        let router = router(Arc::new(app)).layer(middleware::from_fn(record));
        Self {
            address: serve(router, Limits::new(8)),
            requests,
            _snapshots: snapshots,
        }
    }

    /// The request targets (path and query) so far.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

/// Serves a router with these limits until the test process exits.
pub fn serve(router: Router, limits: Limits) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    run(Server::new(router, limits), listener.into());
    address
}

/// Runs a server until the test process exits.
pub fn run(server: Server, listener: Listener) {
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let (_ping, pings) = mpsc::channel(1);
        runtime.block_on(server.run(listener, pings))
    });
}
