//! HTTP to untrusted peers: how long a peer may take, and how much of the process it may hold.
//!
//! A peer that sends one byte a minute, or opens a thousand connections and says nothing, costs what `[listener]` allows
//! and no more: a connection has a seat, of which there are so many in all and so many for each peer; its head, its
//! body, the answer and the reading of the answer each have a time; and a stop waits no longer than it is told to.

mod seats;
mod stall;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use axum::response::{IntoResponse, Response};
use gristmill_core::duration::Span;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tower::Service;

use seats::{Seat, Seats};
use stall::Unstalled;

/// The most bytes of the first line and the headers of a request.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// How long the process may take for its answer once it has the request.
const ANSWER: Duration = Duration::from_secs(30);

/// How long nothing may come when there is nothing to accept connections with, such as file descriptors.
const PAUSE: Duration = Duration::from_millis(500);

/// What one who connects may hold, and for how long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ListenerSettings {
    /// How many connections each address accepts at once.
    pub connections: NonZeroUsize,
    /// How many of them may come from one peer: an IPv4 address, or a network of 64 bits of IPv6.
    pub connections_per_peer: NonZeroUsize,
    /// How long a peer may take for the head of a request, or stay without one.
    pub head_timeout: Span,
    /// How long a peer may take for the body of a request, and how long it may not read any of the answer.
    pub body_timeout: Span,
}

impl Default for ListenerSettings {
    fn default() -> Self {
        let ten_seconds = Span(Duration::from_secs(10));
        Self {
            connections: NonZeroUsize::MIN.saturating_add(511),
            connections_per_peer: NonZeroUsize::MIN.saturating_add(127),
            head_timeout: ten_seconds,
            body_timeout: ten_seconds,
        }
    }
}

/// Who sent a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

impl Peer {
    /// Whether the sender may not learn more than whether the process can work: it is on another machine, or
    /// behind a proxy on this one.
    pub fn is_stranger(&self, headers: &HeaderMap) -> bool {
        let forwarded = ["forwarded", "x-forwarded-for", "x-real-ip", "via"];
        !self.0.ip().to_canonical().is_loopback() || forwarded.iter().any(|name| headers.contains_key(*name))
    }
}

/// Serves routes until `shutdown`, then lets the requests that have begun end within `drain`. Each request carries its
/// [`Peer`] as an extension.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    settings: ListenerSettings,
    drain: Duration,
    shutdown: impl Future<Output = ()>,
) {
    let seats = Seats::new(settings.connections.get(), settings.connections_per_peer.get());
    let (stop, stopping) = watch::channel(false);
    let mut open = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept() => accepted,
            Some(_) = open.join_next() => continue,
        };
        match accepted {
            Ok((stream, peer)) => match seats.take(peer.ip()) {
                Ok(seat) => {
                    let served = connection(stream, Peer(peer), router.clone(), settings.clone(), stopping.clone());
                    open.spawn(seated(seat, served));
                }
                Err(full) => turn_away(&stream, full.word()),
            },
            // One that broke off before it was accepted is nothing; without room for more, the rest waits.
            Err(error) if is_of_one_connection(&error) => {}
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
    drop(listener);
    stop.send_replace(true);
    // What is left is cut off with the set.
    let _ = tokio::time::timeout(drain, async { while open.join_next().await.is_some() {} }).await;
}

async fn seated(seat: Seat, connection: impl Future<Output = ()>) {
    let _seat = seat;
    connection.await;
}

fn is_of_one_connection(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// Says so as far as that can be said without waiting for the peer.
fn turn_away(stream: &TcpStream, reason: &'static str) {
    metrics::counter!("gristmill_listener_refused_total", "reason" => reason).increment(1);
    let answer = "HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    let _ = stream.try_write(answer.as_bytes());
}

async fn connection(
    stream: TcpStream,
    peer: Peer,
    router: Router,
    settings: ListenerSettings,
    mut stopping: watch::Receiver<bool>,
) {
    let patience = settings.body_timeout.0;
    let service = service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(peer);
        answer(router.clone(), request, patience + ANSWER)
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(settings.head_timeout.0)
        .max_header_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(Unstalled::new(stream, patience)), service);
    let mut served = pin!(served);
    tokio::select! {
        // Whatever ended it, no peer is left to be notified.
        _ = served.as_mut() => return,
        _ = stopping.wait_for(|stop| *stop) => {}
    }
    served.as_mut().graceful_shutdown();
    let _ = served.await;
}

async fn answer(mut router: Router, request: Request<Body>, patience: Duration) -> Result<Response, Infallible> {
    match tokio::time::timeout(patience, router.call(request)).await {
        Ok(answer) => answer,
        Err(_) => Ok(StatusCode::SERVICE_UNAVAILABLE.into_response()),
    }
}

#[cfg(test)]
mod tests;
