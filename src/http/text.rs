//! Texts that are rendered and compressed once per flush, and shared by all who ask for them.

use std::io::Write;
use std::sync::{Arc, OnceLock};

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::sync::Mutex;

use crate::pipeline::snapshot::Snapshot;

/// A text and, once a client has asked for it, its compressed form.
#[derive(Debug)]
pub(super) struct Text {
    plain: Bytes,
    gzip: OnceLock<Bytes>,
}

impl Text {
    fn new(plain: Vec<u8>) -> Self {
        Self {
            plain: plain.into(),
            gzip: OnceLock::new(),
        }
    }

    /// Returns the answer for a client that sent these headers.
    pub(super) fn response(&self, headers: &HeaderMap, content_type: &'static str) -> Response {
        let accepts_gzip = accepts_gzip(headers);
        let body = if accepts_gzip {
            self.gzip.get_or_init(|| compressed(&self.plain))
        } else {
            &self.plain
        };
        let mut response = Response::new(Body::from(body.clone()));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        let vary = HeaderValue::from_static("accept-encoding");
        headers.insert(header::VARY, vary);
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

/// The text of the latest flush for which one was asked.
#[derive(Debug, Default)]
pub(super) struct OfFlush {
    /// The newest snapshot that a request has seen, also while another one is rendered.
    newest: std::sync::Mutex<Option<Arc<Snapshot>>>,
    latest: Mutex<Option<(u64, Arc<Text>)>>,
}

impl OfFlush {
    /// Returns the text of this snapshot or of a later one. Requests that wait for a text to be
    /// rendered share the next one.
    pub(super) async fn text<E>(
        &self,
        snapshot: Arc<Snapshot>,
        render: impl AsyncFnOnce(&Snapshot) -> Result<Vec<u8>, E>,
    ) -> Result<Arc<Text>, E> {
        let request = snapshot.flush.request;
        self.offer(snapshot);
        let mut latest = self.latest.lock().await;
        match &*latest {
            Some((rendered, text)) if *rendered >= request => Ok(Arc::clone(text)),
            Some(_) | None => {
                // The old text is freed before the new one is made.
                *latest = None;
                let snapshot = self.newest();
                let text = Arc::new(Text::new(render(&snapshot).await?));
                *latest = Some((snapshot.flush.request, Arc::clone(&text)));
                Ok(text)
            }
        }
    }

    fn offer(&self, snapshot: Arc<Snapshot>) {
        let mut newest = self
            .newest
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let is_newer = |known: &Arc<Snapshot>| snapshot.flush.request > known.flush.request;
        if newest.as_ref().is_none_or(is_newer) {
            *newest = Some(snapshot);
        }
    }

    fn newest(&self) -> Arc<Snapshot> {
        let newest = self
            .newest
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        newest.clone().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

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
    fn a_compressed_text_is_the_text() {
        let plain = b"execsnoop_execs_total 1\n".repeat(1000);
        let gzip = compressed(&plain);
        let mut again = Vec::new();
        GzDecoder::new(&gzip[..]).read_to_end(&mut again).unwrap();
        assert!(gzip.len() < plain.len() / 10);
        assert_eq!(again, plain);
    }

    fn snapshot(request: u64) -> Arc<Snapshot> {
        let mut snapshot = Snapshot::default();
        snapshot.flush.request = request;
        Arc::new(snapshot)
    }

    #[tokio::test]
    async fn requests_that_wait_for_a_text_share_the_next_one_and_none_gets_an_older_one() {
        let of_flush = OfFlush::default();
        let rendered = std::sync::Mutex::new(Vec::new());
        let render = async |snapshot: &Snapshot| {
            rendered.lock().unwrap().push(snapshot.flush.request);
            tokio::task::yield_now().await;
            Ok::<_, ()>(snapshot.flush.request.to_string().into_bytes())
        };
        let (first, second, third) = tokio::join!(
            of_flush.text(snapshot(1), render),
            of_flush.text(snapshot(2), render),
            of_flush.text(snapshot(3), render),
        );
        let texts = [first, second, third].map(|text| text.unwrap().plain.clone());
        assert_eq!(texts, ["1", "3", "3"]);
        let early = of_flush.text(snapshot(2), render).await.unwrap();
        assert_eq!(early.plain, "3");
        assert_eq!(*rendered.lock().unwrap(), [1, 3]);
    }
}
