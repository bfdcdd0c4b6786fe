//! Sends the body of an answer in chunks, so that hyper and rustls hold a copy of only one at a
//! time.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};

use crate::http::connections::Slot;

/// The size of a chunk in bytes: the most that fits into one TLS record.
const CHUNK: usize = 16 << 10;

/// A body and the slot of the connection that it is sent on.
#[derive(Debug)]
pub(super) struct Chunks {
    body: Body,
    rest: Bytes,
    slot: Arc<Slot>,
}

impl Chunks {
    pub(super) fn new(body: Body, slot: Arc<Slot>) -> Self {
        Self {
            body,
            rest: Bytes::new(),
            slot,
        }
    }
}

impl HttpBody for Chunks {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.rest.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        self.slot.hold(&data);
                        self.rest = data;
                    }
                    Err(frame) => return Poll::Ready(Some(Ok(frame))),
                },
                end => return Poll::Ready(end),
            }
        }
        let length = self.rest.len().min(CHUNK);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = self.body.size_hint();
        let rest = self.rest.len() as u64;
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper + rest);
        }
        hint.set_lower(hint.lower() + rest);
        hint
    }
}

impl Drop for Chunks {
    fn drop(&mut self) {
        self.slot.body_sent();
    }
}
