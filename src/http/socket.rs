//! The socket of a connection. Its buffers are bounded, and it reports how far an answer has been
//! sent.

use std::io::{self, IoSlice};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tracing::debug;

use crate::http::connections::Slot;

/// The size of the send buffer in bytes, as for `SO_SNDBUF`. The kernel doubles it for its own
/// overhead (socket(7)). If the round-trip time is 10 ms, this limits an answer to about 2 MB/s.
const SEND_BUFFER: usize = 16 << 10;

/// The size of the receive buffer in bytes, as for `SO_RCVBUF`: enough for the head of a request.
const RECEIVE_BUFFER: usize = 8 << 10;

/// How long a client may take to close a connection after the server has closed its side.
const CLOSING: Duration = Duration::from_secs(2);

/// What a client may send after the server has closed its side, in bytes.
const MAX_REST: usize = 64 << 10;

/// Limits the buffers that the kernel has for a socket. TCP connections inherit the limits from
/// their listener, Unix connections do not.
pub(super) fn bound_buffers(socket: impl AsFd) {
    let bounded = sockopt::set_socket_send_buffer_size(&socket, SEND_BUFFER)
        .and_then(|()| sockopt::set_socket_recv_buffer_size(&socket, RECEIVE_BUFFER));
    if let Err(error) = bounded {
        debug!(%error, "socket buffers not bounded");
    }
}

#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A connection. It notifies its slot whenever the kernel has accepted a part of an answer, and
/// when it has accepted all of it.
#[derive(Debug)]
pub(super) struct Socket {
    stream: Stream,
    slot: Arc<Slot>,
    has_written: bool,
    /// How many bytes the client has sent since the server closed its side.
    rest: usize,
}

impl Socket {
    pub(super) fn new(stream: Stream, slot: Arc<Slot>) -> Self {
        Self {
            stream,
            slot,
            has_written: false,
            rest: 0,
        }
    }

    /// Returns when the client has sent something.
    pub(super) async fn readable(&self) -> io::Result<()> {
        match &self.stream {
            Stream::Tcp(stream) => stream.readable().await,
            Stream::Unix(stream) => stream.readable().await,
        }
    }

    /// Reads until the client closes the connection. Until then, the connection stays charged for
    /// what the kernel holds. If a socket is closed before its input has been read, the kernel
    /// discards the last answer, too (RFC 2525, 2.17).
    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut buffer = [0; 4096];
        while self.rest < MAX_REST {
            let mut buffer = ReadBuf::new(&mut buffer);
            ready!(Pin::new(&mut *self).poll_read(cx, &mut buffer))?;
            if buffer.filled().is_empty() {
                break;
            }
            self.rest += buffer.filled().len();
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for Socket {
    /// Discards what the client has not read. Otherwise, the kernel would keep it for minutes,
    /// although no connection is charged for it any more.
    fn drop(&mut self) {
        if let Stream::Tcp(stream) = &self.stream
            && self.has_written
            && let Err(error) = sockopt::set_socket_linger(stream, Some(Duration::ZERO))
        {
            debug!(%error, "SO_LINGER not set");
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Stream::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Stream::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        };
        let written = ready!(written)?;
        self.has_written = true;
        self.slot.progress();
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// hyper and rustls call this when their own buffers are empty.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.slot.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.rest == 0 {
            self.slot.closing(CLOSING);
            let closed = match &mut self.stream {
                Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
                Stream::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            };
            ready!(closed)?;
        }
        self.poll_close(cx)
    }
}
