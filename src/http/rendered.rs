//! Answers that are rendered and compressed at most once per flush, and shared by all requests for
//! them.

use std::convert::Infallible;
use std::io::Write;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use axum::body::{Body, Bytes};
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::sync::Mutex;

/// The body of an answer, and its compressed form once a client has accepted that.
#[derive(Debug)]
pub(super) struct Rendered {
    plain: Bytes,
    gzip: OnceLock<Bytes>,
}

impl Rendered {
    fn new(plain: Vec<u8>) -> Self {
        Self {
            plain: plain.into(),
            gzip: OnceLock::new(),
        }
    }

    /// Returns the answer for a client that sent these headers. `vary` names the headers on which the
    /// answer depends.
    pub(super) fn response(
        &self,
        headers: &HeaderMap,
        content_type: &'static str,
        vary: &'static str,
    ) -> Response {
        let accepts_gzip = accepts_gzip(headers);
        let body = if accepts_gzip {
            self.gzip.get_or_init(|| compressed(&self.plain))
        } else {
            &self.plain
        };
        let mut response = Response::new(Body::from(body.clone()));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(header::VARY, HeaderValue::from_static(vary));
        if accepts_gzip {
            let gzip = HeaderValue::from_static("gzip");
            headers.insert(header::CONTENT_ENCODING, gzip);
        }
        response
    }
}

fn compressed(plain: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    // A write to memory does not fail.
    let _ = encoder.write_all(plain);
    encoder.finish().unwrap_or_default().into()
}

/// Whether `Accept-Encoding` lists gzip with a weight above 0 (RFC 9110, 12.5.3).
fn accepts_gzip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT_ENCODING).iter();
    let values = values.filter_map(|value| value.to_str().ok());
    let mut codings = values.flat_map(|value| value.split(','));
    codings.any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let weight = weight.trim().strip_prefix("q=");
        name.trim().eq_ignore_ascii_case("gzip")
            && weight.is_none_or(|weight| weight.parse().is_ok_and(|weight: f32| weight > 0.0))
    })
}

/// When a request arrived. Its answer includes every exec that completed before.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrived(pub(super) Instant);

impl<S: Sync> FromRequestParts<S> for Arrived {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let arrived = parts.extensions.get().copied();
        Ok(arrived.unwrap_or_else(|| Self(Instant::now())))
    }
}

/// The latest answer, and when its flush began.
#[derive(Debug, Default)]
pub(super) struct OfFlush(Mutex<Option<(Instant, Arc<Rendered>)>>);

impl OfFlush {
    /// Returns an answer whose flush began after the request had arrived. `render` requests that
    /// flush. One answer is rendered at a time. Requests that arrive while it is rendered share the
    /// next one.
    pub(super) async fn rendered<E>(
        &self,
        arrived: Arrived,
        render: impl AsyncFnOnce() -> Result<Vec<u8>, E>,
    ) -> Result<Arc<Rendered>, E> {
        let mut latest = self.0.lock().await;
        match &*latest {
            Some((began, rendered)) if *began >= arrived.0 => Ok(Arc::clone(rendered)),
            Some(_) | None => {
                // Frees the old answer before the new one is rendered.
                *latest = None;
                let began = Instant::now();
                let rendered = Arc::new(Rendered::new(render().await?));
                *latest = Some((began, Arc::clone(&rendered)));
                Ok(rendered)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::sync::atomic::{AtomicU32, Ordering};

    use flate2::read::GzDecoder;

    use super::*;

    #[test]
    fn gzip_is_sent_only_if_the_client_accepts_it() {
        for (value, expected) in [
            ("gzip", true),
            ("deflate, GZIP;q=0.5", true),
            ("br,gzip ; q=1", true),
            ("gzip;q=0", false),
            ("gzip;q=x", false),
            ("identity", false),
            ("xgzip", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(value));
            assert_eq!(accepts_gzip(&headers), expected, "{value}");
        }
        assert!(!accepts_gzip(&HeaderMap::new()));
    }

    #[test]
    fn a_compressed_answer_is_the_answer() {
        let plain = b"execsnoop_execs_total 1\n".repeat(1000);
        let gzip = compressed(&plain);
        let mut again = Vec::new();
        GzDecoder::new(&gzip[..]).read_to_end(&mut again).unwrap();
        assert!(gzip.len() < plain.len() / 10);
        assert_eq!(again, plain);
    }

    #[tokio::test]
    async fn requests_that_wait_for_an_answer_share_the_next_one_and_none_gets_an_older_one() {
        let of_flush = OfFlush::default();
        let rendered = AtomicU32::new(0);
        let render = async || {
            let number = rendered.fetch_add(1, Ordering::Relaxed);
            tokio::task::yield_now().await;
            Ok::<_, ()>(number.to_string().into_bytes())
        };
        let answer = async |arrived| {
            let rendered = of_flush.rendered(Arrived(arrived), render).await;
            rendered.unwrap().plain.clone()
        };
        let before = Instant::now();
        let (first, second) = tokio::join!(answer(before), answer(before));
        assert_eq!((first, second), ("0".into(), "0".into()));
        // The others arrive while the answer to the first one is rendered.
        let (first, second, third) = tokio::join!(
            answer(Instant::now()),
            async { answer(Instant::now()).await },
            async { answer(Instant::now()).await },
        );
        assert_eq!((first, second, third), ("1".into(), "2".into(), "2".into()));
        assert_eq!(answer(before).await, "2");
    }
}
