//! The way to a server: TCP, TLS or a unix socket, on which a reply has a limit.
//!
//! Knows sockets and counts bytes; must not know a command. What comes in answer to one request may not be larger than
//! [`REPLY_BYTES_MAX`]: whoever can write to a stream must not be able to fill the memory of those who read it.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use redis::{ConnectionAddr, ConnectionInfo};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
};
use tokio_rustls::TlsConnector;

/// Bytes of one reply at most: a full read of the largest entries that are accepted.
pub(super) const REPLY_BYTES_MAX: u64 = 36 << 20;

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A socket whose replies are counted.
pub(super) struct Socket {
    inner: Box<dyn Stream>,
    left: u64,
    burst: Arc<AtomicBool>,
}

impl Socket {
    /// Connects; `tls` for a server that is addressed by `rediss://`.
    pub(super) async fn connect(info: &ConnectionInfo, tls: Option<ClientConfig>) -> io::Result<Socket> {
        let inner: Box<dyn Stream> = match (info.addr(), tls) {
            (ConnectionAddr::Tcp(host, port), _) => Box::new(tcp(host, *port).await?),
            (ConnectionAddr::TcpTls { host, port, .. }, Some(tls)) => {
                let name = ServerName::try_from(host.clone()).map_err(io::Error::other)?;
                let tcp = tcp(host, *port).await?;
                Box::new(TlsConnector::from(Arc::new(tls)).connect(name, tcp).await?)
            }
            (ConnectionAddr::Unix(path), _) => Box::new(UnixStream::connect(path).await?),
            (address, _) => return Err(io::Error::other(format!("no way to {address}"))),
        };
        Ok(Socket { inner, left: REPLY_BYTES_MAX, burst: Arc::default() })
    }

    /// Set once a reply was too large.
    pub(super) fn burst(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.burst)
    }
}

async fn tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.left == 0 {
            self.burst.store(true, Ordering::Relaxed);
            let text = format!("a reply is larger than {REPLY_BYTES_MAX} bytes");
            return Poll::Ready(Err(io::Error::other(text)));
        }
        let before = buffer.filled().len();
        let done = Pin::new(&mut self.inner).poll_read(context, buffer);
        let came = buffer.filled().len() - before;
        self.left = self.left.saturating_sub(u64::try_from(came).unwrap_or(u64::MAX));
        done
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.left = REPLY_BYTES_MAX;
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}
