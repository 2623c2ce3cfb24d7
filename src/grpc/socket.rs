//! A connection, with TLS or without, that knows when it was last heard.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::auth::certificate::CertificateNames;
use crate::tls::TlsStream;
use crate::tls::handshake::client_names;

/// When something was last read; shared with whoever watches.
#[derive(Clone, Debug)]
pub struct Reads(Rc<Cell<Instant>>);

impl Reads {
    /// The last read that brought something, or the beginning.
    pub fn last(&self) -> Instant {
        self.0.get()
    }
}

/// The connection, with TLS or without.
#[derive(Debug)]
pub struct Socket {
    stream: Transport,
    reads: Reads,
}

#[derive(Debug)]
enum Transport {
    Plain(TcpStream),
    // Behind a pointer, for it is ten times as large.
    Tls(Box<TlsStream>),
}

/// Does the same with whichever stream there is.
macro_rules! either {
    ($socket:expr, $stream:ident => $done:expr) => {
        match &mut $socket.stream {
            Transport::Plain($stream) => $done,
            Transport::Tls($stream) => $done,
        }
    };
}

impl Socket {
    /// Wraps a connection without TLS.
    pub fn plain(stream: TcpStream) -> Self {
        Self::new(Transport::Plain(stream))
    }

    /// Wraps a connection after its TLS handshake.
    pub fn tls(stream: TlsStream) -> Self {
        Self::new(Transport::Tls(Box::new(stream)))
    }

    fn new(stream: Transport) -> Self {
        Self { stream, reads: Reads(Rc::new(Cell::new(Instant::now()))) }
    }

    /// Tells when something is read.
    pub fn reads(&self) -> Reads {
        self.reads.clone()
    }

    /// The names in the certificate of the other side; none without TLS.
    pub fn client_names(&self) -> CertificateNames {
        match &self.stream {
            Transport::Plain(_) => CertificateNames::default(),
            Transport::Tls(stream) => client_names(stream),
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = either!(self, stream => Pin::new(stream).poll_read(cx, buffer));
        if buffer.filled().len() > before {
            self.reads.0.set(Instant::now());
        }
        polled
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        either!(self, stream => Pin::new(stream).poll_write(cx, data))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(self, stream => Pin::new(stream).poll_write_vectored(cx, data))
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Transport::Plain(stream) => stream.is_write_vectored(),
            Transport::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }
}
