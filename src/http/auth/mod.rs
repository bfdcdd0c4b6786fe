//! Applies the web configuration to requests: rate limit, users and headers, in the order of the
//! exporter-toolkit.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tracing::warn;

use self::passwords::{NotCompared, Passwords};
use self::rate_limit::Bucket;
use crate::http::connections::Source;
use crate::http::listener::Listener;
use crate::http::live_config::{Live, Unusable};

mod passwords;
mod rate_limit;

#[derive(Debug)]
struct Guard {
    live: Arc<Live>,
    passwords: Passwords,
    /// The rate limit as configured at the start. As in the toolkit, it does not change later.
    bucket: Option<Mutex<Bucket>>,
}

/// Warns if clients on other hosts can connect and need no authentication.
pub fn warn_if_exposed(listeners: &[Listener], live: Option<&Live>) {
    let authenticates = live.is_some_and(|live| live.at_start().authenticates());
    if !authenticates && listeners.iter().any(Listener::is_exposed) {
        warn!(
            "any client that can reach this host can read what it executes: the daemon listens on \
             more than loopback, and the web configuration requires neither users nor client \
             certificates (--web.config.file, docs/web.md)"
        );
    }
}

/// Returns the routes with the web configuration applied to them.
pub fn protect(router: Router, live: Arc<Live>) -> Router {
    let limit = live.at_start().rate_limit;
    let guard = Guard {
        live,
        passwords: Passwords::new(),
        bucket: limit.map(|limit| Mutex::new(Bucket::new(limit, Instant::now()))),
    };
    router.layer(middleware::from_fn_with_state(Arc::new(guard), guarded))
}

async fn guarded(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    let config = match guard.live.config().await {
        Ok(config) => config,
        Err(Unusable::Invalid) => {
            return refusal(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error\n");
        }
        Err(Unusable::Overdue) => {
            return refusal(
                StatusCode::SERVICE_UNAVAILABLE,
                "Reading the web configuration takes too long; the log has details.\n",
            );
        }
    };
    if !guard.within_limit() {
        return refusal(StatusCode::TOO_MANY_REQUESTS, "Too Many Requests\n");
    }
    let known = match credentials(request.headers()) {
        _ if config.users.is_empty() => Ok(true),
        Some((user, password)) => {
            let source = request.extensions().get::<Source>().copied();
            let passwords = &guard.passwords;
            passwords
                .verify(&config.users, &user, password, source)
                .await
        }
        None => Ok(false),
    };
    let mut response = match known {
        Ok(true) => next.run(request).await,
        Ok(false) => {
            let mut response = refusal(StatusCode::UNAUTHORIZED, "Unauthorized\n");
            let basic = HeaderValue::from_static("Basic");
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, basic);
            response
        }
        // Not 401, because the password may be right.
        Err(NotCompared::Busy) => refusal(
            StatusCode::TOO_MANY_REQUESTS,
            "Too many passwords are being compared.\n",
        ),
        Err(NotCompared::Failed) => refusal(
            StatusCode::SERVICE_UNAVAILABLE,
            "The password cannot be compared now; the log has the reason.\n",
        ),
    };
    for (name, value) in &config.headers {
        // A header that the route has set is kept, because the page depends on it.
        response
            .headers_mut()
            .entry(name)
            .or_insert_with(|| value.clone());
    }
    response
}

fn refusal(status: StatusCode, text: &'static str) -> Response {
    let nosniff = (header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    (status, [nosniff], text).into_response()
}

impl Guard {
    fn within_limit(&self) -> bool {
        self.bucket.as_ref().is_none_or(|bucket| {
            bucket
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .allows(Instant::now())
        })
    }
}

/// Returns user and password of basic authentication (RFC 7617). They need not be UTF-8.
fn credentials(headers: &HeaderMap) -> Option<(Vec<u8>, Vec<u8>)> {
    let value = headers.get(header::AUTHORIZATION)?.as_bytes();
    let (scheme, encoded) = value.split_at_checked(b"Basic ".len())?;
    if !scheme.eq_ignore_ascii_case(b"Basic ") {
        return None;
    }
    let decoded = STANDARD.decode(encoded).ok()?;
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    Some((decoded[..colon].to_vec(), decoded[colon + 1..].to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(value: &str) -> Option<(Vec<u8>, Vec<u8>)> {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        credentials(&headers)
    }

    #[test]
    fn credentials_are_user_and_password_around_the_first_colon() {
        let expected = Some((b"user".to_vec(), b"pass:word".to_vec()));
        assert_eq!(of("Basic dXNlcjpwYXNzOndvcmQ="), expected);
        assert_eq!(of("bAsIc dXNlcjpwYXNzOndvcmQ="), expected);
    }

    #[test]
    fn what_is_not_basic_authentication_has_no_credentials() {
        assert_eq!(credentials(&HeaderMap::new()), None);
        for value in [
            "",
            "Basic",
            "Basic dXNlcg==",            // no colon
            "Basic dXNlcjpwYXNzOndvcmQ", // no padding
            "Basic =",
            "Bearer dXNlcjpwYXNzOndvcmQ=",
        ] {
            assert_eq!(of(value), None, "{value}");
        }
    }
}
