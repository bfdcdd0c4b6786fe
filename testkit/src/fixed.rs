//! The shipped routes on counts that a test makes up.

use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::Response;
use execsnoopd::capture::Means;
use execsnoopd::flush::Flusher;
use execsnoopd::http::listener::Listener;
use execsnoopd::http::routes::{App, router};
use execsnoopd::http::server::{Limits, Server};
use execsnoopd::metrics::Metrics;
use execsnoopd::reader::Control;
use execsnoopd::snapshot::Snapshot;
use execsnoopd::users::Users;
use tokio::sync::{mpsc, watch};

/// A server of them.
#[derive(Debug)]
pub struct Fixed {
    pub address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
    /// Dropped, it would be the end of the aggregator.
    _snapshots: watch::Sender<Arc<Snapshot>>,
}

impl Fixed {
    /// Every flush finds these counts.
    pub fn serve(snapshot: Snapshot, means: &Means) -> Self {
        Self::serve_through(snapshot, means, |response| response)
    }

    /// The same, each answer changed on its way.
    pub fn serve_through(
        mut snapshot: Snapshot,
        means: &Means,
        change: fn(Response) -> Response,
    ) -> Self {
        snapshot.flush.request = u64::MAX;
        let (snapshots, receiver) = watch::channel(Arc::new(snapshot));
        let (channel, _) = mpsc::channel(1);
        let users = Users::default();
        let metrics = Metrics::new(
            means.clone(),
            receiver.clone(),
            channel.downgrade(),
            users.clone(),
        );
        let app = App::new(
            Flusher::new(Control::new().unwrap(), receiver),
            metrics.unwrap(),
            means.clone(),
            users,
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

    /// What was asked for so far.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

/// Serve a router within limits; it ends with the test process.
pub fn serve(router: Router, limits: Limits) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    run(Server::new(router, limits), listener.into());
    address
}

/// Run a server; it ends with the test process.
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
