//! The routes and their answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{RawQuery, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use tokio::sync::Mutex;
use tower_http::compression::CompressionLayer;
use tower_http::set_header::SetResponseHeaderLayer;
use tracing::warn;

use crate::capture::CaptureInfo;
use crate::metrics::{CONTENT_TYPE, Metrics};
use crate::names::escape;
use crate::names::users::Users;
use crate::page;
use crate::page::summary::Summary;
use crate::pipeline::flusher::Flusher;
use crate::pipeline::series;
use crate::pipeline::snapshot::Snapshot;
use crate::sys::throttle::Throttle;

/// Longest request target that is looked at, in bytes; a longer one is answered 414.
pub const MAX_TARGET: usize = 2048;

/// How long a scrape may take, unless Prometheus says that it waits less.
const SCRAPE_DEADLINE: Duration = Duration::from_secs(10);

/// What Prometheus is given back of its own timeout, for the way; at most half of it.
const SCRAPE_MARGIN: Duration = Duration::from_millis(500);

/// What the handlers share.
#[derive(Debug)]
pub struct App {
    flusher: Flusher,
    metrics: Metrics,
    capture_info: CaptureInfo,
    users: Users,
    telemetry_path: String,
    host: String,
    encoded: OfFlush,
    counts: OfFlush,
    unanswered: Throttle,
    ready: AtomicBool,
}

impl App {
    /// Answers from `metrics` after a flush by `flusher`; ready at once.
    pub fn new(
        flusher: Flusher,
        metrics: Metrics,
        capture_info: CaptureInfo,
        users: Users,
        telemetry_path: String,
    ) -> Self {
        let host = rustix::system::uname().nodename().to_bytes().to_vec();
        Self {
            flusher,
            metrics,
            capture_info,
            users,
            telemetry_path,
            host: escape::printable(&host),
            encoded: OfFlush::default(),
            counts: OfFlush::default(),
            unanswered: Throttle::default(),
            ready: AtomicBool::new(true),
        }
    }

    /// From now on `/-/ready` says no: the service stops.
    pub fn not_ready(&self) {
        self.ready.store(false, Ordering::Release);
    }

    /// Whoever asks says how long they wait: they could have it as often as they like.
    fn warn(&self, error: &str) {
        if let Some(times) = self.unanswered.allow(Instant::now()) {
            warn!(error, times, "request not answered");
        }
    }
}

/// A text of the latest flush: who shares a flush shares its text.
#[derive(Debug, Default)]
struct OfFlush(Mutex<Option<(u64, Bytes)>>);

impl OfFlush {
    /// The text of this flush or of a later one; made if there is none yet.
    async fn text<E>(
        &self,
        snapshot: &Snapshot,
        make: impl AsyncFnOnce() -> Result<Vec<u8>, E>,
    ) -> Result<Bytes, E> {
        let mut latest = self.0.lock().await;
        match &*latest {
            Some((request, text)) if *request >= snapshot.flush.request => Ok(text.clone()),
            _ => {
                let text = Bytes::from(make().await?);
                *latest = Some((snapshot.flush.request, text.clone()));
                Ok(text)
            }
        }
    }
}

/// All routes: GET and HEAD of each, gzip where the client accepts it.
pub fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/", get(index))
        .route("/-/healthy", get(async || "execsnoopd is healthy.\n"))
        .route("/-/ready", get(ready))
        .route(&app.telemetry_path, get(metrics))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(CompressionLayer::new())
        .layer(middleware::from_fn(limit_target))
        .layer(SetResponseHeaderLayer::overriding(
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        ))
        .with_state(app)
}

async fn metrics(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    let start = Instant::now();
    let text = match scrape(&app, deadline(&headers)).await {
        Ok(text) => text,
        Err(error) => {
            app.warn(&error);
            return (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")).into_response();
        }
    };
    app.metrics.scraped(start.elapsed());
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response()
}

async fn scrape(app: &App, deadline: Duration) -> Result<Bytes, String> {
    let snapshot = fresh(app, deadline).await?;
    app.encoded
        .text(&snapshot, async || {
            let names = series::resolve(&snapshot, &app.users).await;
            app.metrics.encode(&snapshot, &names)
        })
        .await
        .map_err(|e| format!("the metrics cannot be encoded: {e}"))
}

async fn fresh(app: &App, deadline: Duration) -> Result<Arc<Snapshot>, String> {
    app.flusher
        .flush(deadline)
        .await
        .map_err(|e| format!("the counts cannot be brought up to date: {e}"))
}

/// Prometheus says in each scrape how long it waits.
fn deadline(headers: &HeaderMap) -> Duration {
    headers
        .get("x-prometheus-scrape-timeout-seconds")
        .and_then(|value| value.to_str().ok()?.parse().ok())
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .map_or(SCRAPE_DEADLINE, |timeout| {
            timeout
                .saturating_sub(SCRAPE_MARGIN)
                .max(timeout / 2)
                .min(SCRAPE_DEADLINE)
        })
}

async fn ready(State(app): State<Arc<App>>) -> Response {
    if app.ready.load(Ordering::Acquire) {
        "execsnoopd is ready: attached and counting.\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "execsnoopd is stopping.\n").into_response()
    }
}

async fn index(State(app): State<Arc<App>>, RawQuery(query): RawQuery) -> Response {
    let refresh = page::refresh(query.as_deref());
    let mut response = match counts(&app).await {
        Ok(counts) => {
            let frame = page::Frame {
                host: &app.host,
                telemetry_path: &app.telemetry_path,
                refresh,
            };
            Html(frame.page(&String::from_utf8_lossy(&counts))).into_response()
        }
        Err(error) => {
            app.warn(&error);
            (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")).into_response()
        }
    };
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, page::POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if let Some(seconds) = refresh {
        headers.insert(header::REFRESH, HeaderValue::from(seconds));
    }
    response
}

async fn counts(app: &App) -> Result<Bytes, String> {
    let snapshot = fresh(app, SCRAPE_DEADLINE).await?;
    let make = async || {
        let names = series::resolve(&snapshot, &app.users).await;
        let summary = Summary::of(&snapshot, &app.capture_info, &names);
        let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        Ok(page::counts(&summary, &now).into_bytes())
    };
    app.counts.text(&snapshot, make).await
}

async fn not_found() -> Response {
    (
        StatusCode::NOT_FOUND,
        "Not found. What there is, is listed at /\n",
    )
        .into_response()
}

async fn method_not_allowed() -> Response {
    (
        StatusCode::METHOD_NOT_ALLOWED,
        "Only GET and HEAD are allowed.\n",
    )
        .into_response()
}

async fn limit_target(request: Request, next: Next) -> Response {
    let target = request.uri().path_and_query().map_or("", |pq| pq.as_str());
    if target.len() > MAX_TARGET {
        return (StatusCode::URI_TOO_LONG, Body::empty()).into_response();
    }
    next.run(request).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scrape_is_answered_before_prometheus_gives_up() {
        for (timeout, ms) in [
            ("10", 9_500),
            ("60", 10_000),
            ("0.8", 400),
            ("0.1", 50),
            ("0", 0),
            ("-1", 10_000),
            ("soon", 10_000),
        ] {
            let name = "x-prometheus-scrape-timeout-seconds";
            let headers =
                HeaderMap::from_iter([(name.parse().unwrap(), HeaderValue::from_static(timeout))]);
            assert_eq!(deadline(&headers), Duration::from_millis(ms), "{timeout}");
        }
        assert_eq!(deadline(&HeaderMap::new()), SCRAPE_DEADLINE);
    }
}
