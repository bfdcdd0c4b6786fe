//! The TLS handshake. It uses the configuration that the files contain when it begins.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::rustls::server::Acceptor;
use tokio_rustls::server::TlsStream;
use tracing::debug;

use crate::http::live_config::Live;

/// The answer to plain HTTP on a TLS port, in the words of Go's server.
const NOT_HTTPS: &[u8] = b"HTTP/1.0 400 Bad Request\r\n\r\n\
    Client sent an HTTP request to an HTTPS server.\n";

/// A record with the alert `internal_error` (RFC 8446, 6.2). Go sends it if it has no valid
/// configuration.
const INTERNAL_ERROR: [u8; 7] = [21, 3, 3, 0, 2, 2, 80];

/// The number of bytes of an answer that rustls buffers: one record.
const MAX_BUFFER: usize = 16 << 10;

/// Returns the encrypted connection, or `None` if the handshake failed. In that case, the client
/// has been sent a plain answer or an alert, if possible.
pub(in crate::http) async fn shake<S>(stream: S, live: &Live) -> Option<TlsStream<Sniffed<S>>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut acceptor = LazyConfigAcceptor::new(Acceptor::default(), Sniffed::new(stream));
    let mut start = match (&mut acceptor).await {
        Ok(start) => start,
        Err(error) => {
            debug!(%error, "no TLS handshake");
            if let Some(mut stream) = acceptor.take_io()
                && stream.speaks_http()
            {
                end_with(&mut stream, NOT_HTTPS).await;
            }
            return None;
        }
    };
    let Ok(config) = live.tls().await else {
        end_with(&mut start.io, &INTERNAL_ERROR).await;
        return None;
    };
    match start.into_stream(config).await {
        Ok(mut stream) => {
            stream.get_mut().1.set_buffer_limit(Some(MAX_BUFFER));
            Some(stream)
        }
        Err(error) => {
            debug!(%error, "TLS handshake failed");
            None
        }
    }
}

async fn end_with<S: AsyncWrite + Unpin>(stream: &mut S, last: &[u8]) {
    let ended = async {
        stream.write_all(last).await?;
        stream.shutdown().await
    };
    if let Err(error) = ended.await {
        debug!(%error, "connection ended");
    }
}

/// A connection that returns an error instead of data if the first byte is that of an HTTP request.
#[derive(Debug)]
pub(in crate::http) struct Sniffed<S> {
    stream: S,
    /// Whether the first byte was that of an HTTP request, once it has arrived.
    http: Option<bool>,
}

impl<S> Sniffed<S> {
    fn new(stream: S) -> Self {
        Self { stream, http: None }
    }

    fn speaks_http(&self) -> bool {
        self.http == Some(true)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Sniffed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        if self.http.is_none()
            && let Some(first) = buffer.filled().get(before)
        {
            // An HTTP method begins with such a letter, a TLS record with a byte from 20 to 24.
            let http = first.is_ascii_uppercase();
            self.http = Some(http);
            if http {
                buffer.set_filled(before);
                return Poll::Ready(Err(io::Error::other("an HTTP request")));
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Sniffed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
