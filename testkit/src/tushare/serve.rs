//! The fake over HTTP/1.1. Knows paths, bodies and how connections end; must not know what is asked.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use http_body_util::{BodyExt, Limited};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Body, Bytes, Frame, Incoming, SizeHint},
    header,
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
    time::{Sleep, sleep},
};

use super::{
    ask::Question,
    desk::{Desk, Reply, half},
};

/// Connections at a time; more wait.
const CONNECTIONS_MAX: usize = 256;
/// Bytes of a question.
const BODY_BYTES_MAX: usize = 1 << 20;
/// A pause after the system had no connection to give.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

const JSON: &str = "application/json; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";

/// Serves until it is dropped, and its connections with it.
pub(super) async fn serve(listener: TcpListener, desk: Arc<Desk>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            sleep(ACCEPT_PAUSE).await;
            continue;
        };
        while connections.try_join_next().is_some() {}
        let desk = Arc::clone(&desk);
        connections.spawn(async move {
            connection(stream, &desk).await;
            drop(permit);
        });
    }
}

async fn connection(stream: TcpStream, desk: &Desk) {
    let reset = Arc::new(AtomicBool::new(false));
    let line = TokioIo::new(Line { stream, reset: Arc::clone(&reset) });
    let service = service_fn(|request| answer(request, desk, &reset));
    // An error is a client that went, or a fault that was asked for.
    drop(http1::Builder::new().serve_connection(line, service).await);
}

async fn answer(
    request: Request<Incoming>,
    desk: &Desk,
    reset: &AtomicBool,
) -> Result<Response<Paced>, io::Error> {
    if request.method() != Method::POST {
        return Ok(page(StatusCode::METHOD_NOT_ALLOWED));
    }
    let path = request.uri().path().to_owned();
    let body = match Limited::new(request.into_body(), BODY_BYTES_MAX).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return Err(io::Error::other(error)),
    };
    let Some(question) = Question::read(&path, &body) else { return Ok(page(StatusCode::BAD_REQUEST)) };
    Ok(match desk.ask(&question) {
        Reply::Json(text) => response(StatusCode::OK, JSON, Paced::whole(text)),
        Reply::Html(status) => page(StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY)),
        Reply::Stalls(text, pause) => {
            let first = half(&text);
            let rest = text.get(first.len()..).unwrap_or_default().to_owned();
            response(StatusCode::OK, JSON, Paced::in_two(first, pause, rest))
        }
        Reply::Breaks(text) => {
            let length = text.len();
            let mut response = response(StatusCode::OK, JSON, Paced::breaking(half(&text)));
            response.headers_mut().insert(header::CONTENT_LENGTH, header::HeaderValue::from(length));
            response
        }
        Reply::Reset => {
            reset.store(true, Ordering::Relaxed);
            return Err(io::ErrorKind::ConnectionReset.into());
        }
    })
}

fn response(status: StatusCode, kind: &'static str, body: Paced) -> Response<Paced> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    response
}

/// What a proxy in front of the service says.
fn page(status: StatusCode) -> Response<Paced> {
    let text = format!(
        "<html>\r\n<head><title>{status}</title></head>\r\n<body>\r\n<center><h1>{status}</h1></center>\r\n\
         <hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
    );
    response(status, HTML, Paced::whole(text))
}

/// A body that comes at once, in two pieces, or breaks off.
#[derive(Debug)]
struct Paced {
    first: Option<Bytes>,
    pause: Option<Pin<Box<Sleep>>>,
    rest: Option<Bytes>,
    breaks: bool,
    waited: bool,
}

impl Paced {
    fn whole(text: String) -> Paced {
        Paced { first: Some(Bytes::from(text)), pause: None, rest: None, breaks: false, waited: false }
    }

    fn in_two(first: String, pause: Duration, rest: String) -> Paced {
        Paced { pause: Some(Box::pin(sleep(pause))), rest: Some(Bytes::from(rest)), ..Paced::whole(first) }
    }

    fn breaking(first: String) -> Paced {
        Paced { breaks: true, ..Paced::whole(first) }
    }
}

impl Body for Paced {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        if let Some(pause) = self.pause.as_mut() {
            ready!(pause.as_mut().poll(context));
            self.pause = None;
        }
        if self.breaks && !std::mem::replace(&mut self.waited, true) {
            // What was given so far goes out first.
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        if self.breaks {
            return Poll::Ready(Some(Err(io::ErrorKind::ConnectionAborted.into())));
        }
        Poll::Ready(self.rest.take().map(|rest| Ok(Frame::data(rest))))
    }

    fn size_hint(&self) -> SizeHint {
        let length = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
        let bytes = u64::try_from(length(&self.first) + length(&self.rest)).unwrap_or(u64::MAX);
        if self.breaks { SizeHint::default() } else { SizeHint::with_exact(bytes) }
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.rest.is_none() && !self.breaks
    }
}

/// A connection that can end with a reset instead of an orderly close.
#[derive(Debug)]
struct Line {
    stream: TcpStream,
    reset: Arc<AtomicBool>,
}

impl Drop for Line {
    fn drop(&mut self) {
        if self.reset.load(Ordering::Relaxed) {
            // Not every system can: then the connection just closes.
            drop(self.stream.set_zero_linger());
        }
    }
}

impl AsyncRead for Line {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Line {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.reset.load(Ordering::Relaxed) {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
