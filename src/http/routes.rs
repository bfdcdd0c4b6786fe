//! The routes and their answers:
//!
//! | path | answer |
//! |---|---|
//! | `/` | the page |
//! | `web.telemetry_path` | the metrics |
//! | `/-/healthy` | 200 unless no flush has succeeded for 60 s (`health.rs`) |
//! | `/-/ready` | 200 until the service stops |

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use axum::Router;
use axum::body::Body;
use axum::extract::{RawQuery, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::time::timeout_at;
use tower_http::set_header::SetResponseHeaderLayer;
use tracing::warn;

use crate::capture::CaptureInfo;
use crate::http::health::{self, Health};
use crate::http::negotiation;
use crate::http::rendered::{Arrived, OfFlush, Rendered};
use crate::metrics::{Format, Metrics};
use crate::names::escape;
use crate::names::users::Users;
use crate::page;
use crate::page::summary::Summary;
use crate::pipeline::flusher::{self, Flusher};
use crate::pipeline::series;
use crate::sys::throttle::Throttle;

/// The limit on the length of a request's target in bytes. A longer one is answered with 414.
pub const MAX_TARGET: usize = 2048;

/// The time limit for an answer, unless Prometheus asks for a shorter one.
const SCRAPE_DEADLINE: Duration = Duration::from_secs(10);

/// The part of Prometheus' timeout that is left for the network, but at most half of it.
const SCRAPE_MARGIN: Duration = Duration::from_millis(500);

/// The state that the handlers share.
#[derive(Debug)]
pub struct App {
    flusher: Flusher,
    metrics: Metrics,
    capture_info: CaptureInfo,
    users: Users,
    telemetry_path: String,
    host: String,
    text: OfFlush,
    protobuf: OfFlush,
    /// The page, by the interval in seconds at which the browser reloads it, if it does.
    pages: Mutex<HashMap<Option<u32>, Arc<OfFlush>>>,
    unanswered: Throttle,
    health: Arc<Health>,
}

impl App {
    pub fn new(
        flusher: Flusher,
        metrics: Metrics,
        capture_info: CaptureInfo,
        users: Users,
        telemetry_path: String,
    ) -> Self {
        let host = rustix::system::uname().nodename().to_bytes().to_vec();
        Self {
            health: Arc::new(Health::new(flusher.clone())),
            flusher,
            metrics,
            capture_info,
            users,
            telemetry_path,
            host: escape::printable(&host),
            text: OfFlush::default(),
            protobuf: OfFlush::default(),
            pages: Mutex::default(),
            unanswered: Throttle::default(),
        }
    }

    /// Makes `/-/ready` answer 503 from now on, because the service is stopping.
    pub fn not_ready(&self) {
        self.health.not_ready();
    }

    pub fn health(&self) -> Arc<Health> {
        Arc::clone(&self.health)
    }

    fn unavailable(&self, error: &str) -> Response {
        // Rate-limited, because any client can cause this with a short deadline.
        if let Some(times) = self.unanswered.allow(Instant::now()) {
            warn!(error, times, "request not answered");
        }
        (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")).into_response()
    }
}

/// The routes, each for GET and HEAD. Metrics and page are compressed if the client accepts gzip.
pub fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/", get(index))
        .route(&app.telemetry_path, get(metrics))
        .merge(health::router(app.health()))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::from_fn(limit_target))
        .layer(SetResponseHeaderLayer::overriding(
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        ))
        .with_state(app)
}

async fn metrics(State(app): State<Arc<App>>, arrived: Arrived, headers: HeaderMap) -> Response {
    let format = negotiation::format(&headers);
    let render = async || {
        let flushed = app.flusher.flush_for_scrape(SCRAPE_DEADLINE).await;
        let snapshot = flushed.map_err(|error| not_fresh(&error))?;
        let names = series::resolve(&snapshot, &app.users).await;
        Ok(app.metrics.encode(&snapshot, &names, format))
    };
    let of_flush = match format {
        Format::Text => &app.text,
        Format::Protobuf => &app.protobuf,
    };
    let rendered = of_flush.rendered(arrived, render);
    match in_time(rendered, arrived, deadline(&headers)).await {
        Ok(rendered) => {
            app.metrics.scraped(arrived.0.elapsed());
            let vary = "accept, accept-encoding";
            rendered.response(&headers, format.content_type(), vary)
        }
        Err(error) => app.unavailable(&error),
    }
}

fn not_fresh(error: &flusher::Error) -> String {
    format!("the counts cannot be brought up to date: {error}")
}

/// Waits for `answer` until `deadline` has passed since the request arrived.
async fn in_time<T>(
    answer: impl Future<Output = Result<T, String>>,
    Arrived(arrived): Arrived,
    deadline: Duration,
) -> Result<T, String> {
    let late = |_| {
        format!(
            "the counts cannot be brought up to date: no answer from the reader within {deadline:?}"
        )
    };
    timeout_at((arrived + deadline).into(), answer)
        .await
        .map_err(late)?
}

/// Returns the time limit for a scrape. Prometheus sends its timeout with each scrape.
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

async fn index(
    State(app): State<Arc<App>>,
    arrived: Arrived,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let refresh = page::refresh(query.as_deref());
    let mut response = match page(&app, arrived, refresh).await {
        Ok(rendered) => rendered.response(&headers, "text/html; charset=utf-8", "accept-encoding"),
        Err(error) => app.unavailable(&error),
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

async fn page(app: &App, arrived: Arrived, refresh: Option<u32>) -> Result<Arc<Rendered>, String> {
    let of_flush = {
        let mut pages = app.pages.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(pages.entry(refresh).or_default())
    };
    let render = async || {
        let flushed = app.flusher.flush(SCRAPE_DEADLINE).await;
        let snapshot = flushed.map_err(|error| not_fresh(&error))?;
        let names = series::resolve(&snapshot, &app.users).await;
        let summary = Summary::of(&snapshot, &app.capture_info, &names);
        let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        let frame = page::Frame {
            host: &app.host,
            telemetry_path: &app.telemetry_path,
            refresh,
        };
        Ok(frame.page(&page::counts(&summary, &now)).into_bytes())
    };
    let rendered = of_flush.rendered(arrived, render);
    in_time(rendered, arrived, SCRAPE_DEADLINE).await
}

async fn not_found() -> Response {
    (StatusCode::NOT_FOUND, "Not found. See / for the pages.\n").into_response()
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
