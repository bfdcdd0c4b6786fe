//! `/-/healthy` and `/-/ready`, for programs such as kubelet that start and restart the daemon.
//!
//! Both are also served on `web.probe_listen`, without TLS and users, because kubelet has neither a
//! certificate nor a password.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;

use crate::pipeline::flusher::Flusher;

/// `/-/healthy` answers 503 if no flush has succeeded for this long, because a restart may then
/// help.
const GRACE: Duration = Duration::from_secs(60);

/// The time limit for the flush that `/-/healthy` requests. It is below the 5 s for which kubelet
/// waits for an answer (`timeoutSeconds` in our manifest).
const PATIENCE: Duration = Duration::from_secs(2);

/// The state that the two routes report.
#[derive(Debug)]
pub struct Health {
    flusher: Flusher,
    is_ready: AtomicBool,
    patience: Duration,
    grace: Duration,
}

impl Health {
    pub(super) fn new(flusher: Flusher) -> Self {
        Self {
            flusher,
            is_ready: AtomicBool::new(true),
            patience: PATIENCE,
            grace: GRACE,
        }
    }

    /// Makes `/-/ready` answer 503 from now on, because the daemon is stopping.
    pub(super) fn not_ready(&self) {
        self.is_ready.store(false, Ordering::Release);
    }
}

/// The two routes, each for GET and HEAD.
pub fn router<S: Clone + Send + Sync + 'static>(health: Arc<Health>) -> Router<S> {
    Router::new()
        .route("/-/healthy", get(healthy))
        .route("/-/ready", get(ready))
        .with_state(health)
}

async fn healthy(State(health): State<Arc<Health>>) -> (StatusCode, String) {
    let flushed = health.flusher.flush(health.patience).await;
    let age = health.flusher.since_success();
    match flushed {
        Err(error) if age >= health.grace => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("No counts for {} s: {error}.\n", age.as_secs()),
        ),
        _ => (StatusCode::OK, "execsnoopd is healthy.\n".to_owned()),
    }
}

async fn ready(State(health): State<Arc<Health>>) -> (StatusCode, &'static str) {
    if health.is_ready.load(Ordering::Acquire) {
        let text = "execsnoopd is ready: attached and counting.\n";
        (StatusCode::OK, text)
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "execsnoopd is stopping.\n")
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::watch;

    use super::*;
    use crate::pipeline::flush::Control;
    use crate::pipeline::snapshot::Snapshot;

    #[tokio::test]
    async fn the_daemon_is_healthy_until_no_flush_has_succeeded_for_a_while() {
        let (publish, snapshots) = watch::channel(Arc::<Snapshot>::default());
        let mut health = Health::new(Flusher::new(Control::new().unwrap(), snapshots));
        health.patience = Duration::from_millis(20);
        let status = async |health: Health| {
            let health = Arc::new(health);
            let (status, _) = healthy(State(Arc::clone(&health))).await;
            (status, Arc::into_inner(health).unwrap())
        };
        // The start counts as a success.
        let (first, mut health) = status(health).await;
        assert_eq!(first, StatusCode::OK);
        health.grace = Duration::from_millis(20);
        let (stuck, health) = status(health).await;
        assert_eq!(stuck, StatusCode::SERVICE_UNAVAILABLE);
        let mut answer = Snapshot::default();
        answer.flush.request = u64::MAX;
        publish.send_replace(Arc::new(answer));
        let (again, _) = status(health).await;
        assert_eq!(again, StatusCode::OK);
    }
}
