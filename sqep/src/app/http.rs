//! The small server behind `http.listen`: `/metrics` for Prometheus, `/healthz` and `/readyz` for whoever starts and
//! watches programs. Knows paths and limits; must not know what is counted.

use std::{convert::Infallible, sync::Arc, time::Duration};

use anyhow::{Context, anyhow};
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header,
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::{Deserialize, Serialize};
use tokio::{net::TcpListener, sync::Semaphore, time::timeout};
use tracing::{debug, info, warn};

use super::{Usage, print::without_secrets, process::Process};
use crate::meter::{Meters, render};

/// Connections at a time; more wait.
const CONNECTIONS_MAX: usize = 16;
/// A connection is closed after this, whatever it is at.
const CONNECTION_MAX: Duration = Duration::from_secs(10);
/// Bytes of a request's head.
const HEAD_BYTES_MAX: usize = 8_192;

const PLAIN: &str = "text/plain; charset=utf-8";

/// Section `http`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpSettings {
    /// Address of `/metrics`, `/healthz` and `/readyz`, such as `127.0.0.1:9464`; empty: none. It asks nobody who they
    /// are: another address than a loopback one belongs behind a firewall.
    pub listen: String,
}

/// Serves until the program ends.
pub(super) async fn serve(settings: &HttpSettings, meters: Meters) -> anyhow::Result<()> {
    let listen = &settings.listen;
    if listen.is_empty() {
        return Ok(());
    }
    if !listen.contains(':') {
        return Err(Usage(anyhow!("http.listen {listen:?} is not address:port, like 127.0.0.1:9464")).into());
    }
    let listener = TcpListener::bind(listen).await.with_context(|| {
        format!("cannot listen on http.listen = {listen:?}: choose a free port of this host")
    })?;
    let address = listener.local_addr().context("the address of http.listen")?;
    if !address.ip().is_loopback() {
        warn!("http.listen = {listen:?}: anybody who reaches {address} can read the metrics");
    }
    info!("metrics and health on http://{address}");
    tokio::spawn(accept(listener, meters, Process::start()));
    Ok(())
}

async fn accept(listener: TcpListener, meters: Meters, process: Process) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file descriptors, most likely: those of ending connections come back.
                warn!("http.listen: {error}");
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            }
        };
        let meters = meters.clone();
        tokio::spawn(async move {
            let answer = service_fn(|request| {
                std::future::ready(Ok::<_, Infallible>(answer(&request, &meters, process)))
            });
            let mut server = http1::Builder::new();
            server.timer(TokioTimer::new()).header_read_timeout(CONNECTION_MAX).max_buf_size(HEAD_BYTES_MAX);
            let served = server.keep_alive(false).serve_connection(TokioIo::new(stream), answer);
            match timeout(CONNECTION_MAX, served).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => debug!("http.listen: {error}"),
                Err(_) => debug!("http.listen: a connection took longer than {CONNECTION_MAX:?}"),
            }
            drop(permit);
        });
    }
}

fn answer(request: &Request<Incoming>, meters: &Meters, process: Process) -> Response<Full<Bytes>> {
    let (status, type_, text) = match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/metrics") => {
            (StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", process.render() + &render(meters))
        }
        (&Method::GET | &Method::HEAD, "/healthz") => verdict(meters.move_on(), meters),
        (&Method::GET | &Method::HEAD, "/readyz") => verdict(meters.ready(), meters),
        (&Method::GET | &Method::HEAD, _) => {
            (StatusCode::NOT_FOUND, PLAIN, "there are /metrics, /healthz and /readyz\n".to_owned())
        }
        _ => (StatusCode::METHOD_NOT_ALLOWED, PLAIN, "only GET and HEAD are answered\n".to_owned()),
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(type_));
    response
}

/// A verdict on the first line, then the last error of each loop that had one.
fn verdict(verdict: Result<(), String>, meters: &Meters) -> (StatusCode, &'static str, String) {
    let (status, first) = match verdict {
        Ok(()) => (StatusCode::OK, "ok".to_owned()),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, why),
    };
    let errors = meters.all().into_iter().filter_map(|meter| {
        let (ms, error) = meter.read().error?;
        let ago = meter.clock_ms().saturating_sub(ms) / 1_000;
        Some(format!("{meter}: last error {ago} s ago: {error}"))
    });
    let lines = std::iter::once(first).chain(errors);
    (status, PLAIN, lines.map(|line| without_secrets(&line) + "\n").collect())
}
