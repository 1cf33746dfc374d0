//! One connection: HTTP/1.1 or HTTP/2, in the clear or encrypted.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tower::Service;

use super::stall::Unstalled;
use super::{ConnectionSeat, Encrypted, Peer, Serving};

/// The most bytes of the first line and the headers of a request.
pub(super) const HEAD_BYTES_MAX: usize = 64 * 1024;

/// The most requests under way at once on a connection of HTTP/2.
const STREAMS_MAX: u32 = 128;

/// What a client of HTTP/2 sends first.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What is served on a connection.
#[derive(Clone)]
struct Routes {
    router: Router,
    peer: Peer,
    seat: ConnectionSeat,
    encrypted: bool,
    patience: Option<Duration>,
    /// How many requests are under way.
    active: Arc<AtomicUsize>,
}

/// Serves a connection to its end. When `stopping` says so, no further request is accepted on it.
pub(super) async fn connection(
    stream: TcpStream,
    (peer, seat): (Peer, ConnectionSeat),
    router: Router,
    serving: Serving,
    stopping: watch::Receiver<bool>,
) {
    let Serving { settings, answer, tls, .. } = &serving;
    let patience = answer.map(|answer| answer + settings.body_timeout.0);
    let (encrypted, active) = (tls.is_some(), Arc::default());
    let routes = Routes { router, peer, seat, encrypted, patience, active };
    let Some(tls) = tls else {
        let (Ok(is_http2), stall) = (speaks_http2(&stream, &serving).await, settings.body_timeout.0) else { return };
        return speak(Unstalled::new(stream, stall), is_http2, routes, &serving, stopping).await;
    };
    let accepted = tls.acceptor().accept(Unstalled::new(stream, settings.body_timeout.0));
    let Ok(Ok(stream)) = tokio::time::timeout(settings.head_timeout.0, accepted).await else { return };
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    speak(stream, is_http2, routes, &serving, stopping).await;
}

/// Whether a client begins with the preface of HTTP/2, which no request of HTTP/1.1 can begin with.
async fn speaks_http2(stream: &TcpStream, serving: &Serving) -> Result<bool, ()> {
    let looked = async {
        let mut first = [0; PREFACE.len()];
        loop {
            let seen = stream.peek(&mut first).await.map_err(drop)?;
            if seen == 0 {
                return Err(());
            }
            if !PREFACE.starts_with(&first[..seen]) {
                return Ok(false);
            }
            if seen == PREFACE.len() {
                return Ok(true);
            }
            // The rest of the preface is on its way: what has come is not taken, so that nothing wakes for more.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(serving.settings.head_timeout.0, looked).await.unwrap_or(Err(()))
}

async fn speak<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    is_http2: bool,
    routes: Routes,
    serving: &Serving,
    stopping: watch::Receiver<bool>,
) {
    if is_http2 {
        http2(stream, routes, serving, stopping).await;
    } else {
        http1(stream, routes, serving, stopping).await;
    }
}

async fn http1<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    routes: Routes,
    serving: &Serving,
    mut stopping: watch::Receiver<bool>,
) {
    let service = service_fn(move |request| routes.clone().answer(request));
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(serving.settings.head_timeout.0)
        .max_header_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service)
        // A connection that becomes a WebSocket goes on beside this function, and keeps its seat.
        .with_upgrades();
    let mut served = pin!(served);
    tokio::select! {
        // Whatever ended it, no peer is left to be notified.
        _ = served.as_mut() => return,
        _ = stopping.wait_for(|stop| *stop) => {}
    }
    served.as_mut().graceful_shutdown();
    let _ = served.await;
}

async fn http2<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    routes: Routes,
    serving: &Serving,
    mut stopping: watch::Receiver<bool>,
) {
    let active = Arc::clone(&routes.active);
    let service = service_fn(move |request| routes.clone().answer(request));
    let idle = serving.settings.head_timeout.0;
    let served = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(idle)
        .keep_alive_timeout(idle)
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(u32::try_from(HEAD_BYTES_MAX).unwrap_or(u32::MAX))
        .serve_connection(TokioIo::new(stream), service);
    let mut served = pin!(served);
    tokio::select! {
        _ = served.as_mut() => return,
        _ = stopping.wait_for(|stop| *stop) => {}
        // Pings keep a connection open on which no request comes.
        () = idle_for(&active, idle) => {}
    }
    served.as_mut().graceful_shutdown();
    let _ = served.await;
}

/// Completes when no request has been under way at two looks in a row.
async fn idle_for(active: &AtomicUsize, time: Duration) {
    let mut quiet = false;
    loop {
        tokio::time::sleep(time).await;
        let now = active.load(Ordering::Relaxed) == 0;
        if quiet && now {
            return;
        }
        quiet = now;
    }
}

impl Routes {
    async fn answer(mut self, request: Request<Incoming>) -> Result<Response, Infallible> {
        let _counted = Counted::new(&self.active);
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(self.peer);
        request.extensions_mut().insert(self.seat.clone());
        if self.encrypted {
            request.extensions_mut().insert(Encrypted);
        }
        let answer = self.router.call(request);
        let Some(patience) = self.patience else { return answer.await };
        match tokio::time::timeout(patience, answer).await {
            Ok(answer) => answer,
            Err(_) => Ok(StatusCode::SERVICE_UNAVAILABLE.into_response()),
        }
    }
}

/// One of the requests that are under way.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(active: &Arc<AtomicUsize>) -> Self {
        active.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(active))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
