//! HTTP to untrusted peers: how long a peer may take, and how much of the process it may hold.
//!
//! A peer that sends one byte a minute, or opens a thousand connections and says nothing, costs what `[listener]` allows
//! and no more: a connection has a seat, of which there are so many in all and so many for each peer; its head, its
//! body, the answer and the reading of the answer each have a time; and a stop waits no longer than it is told to.

mod connection;
mod seats;
mod stall;
mod tls;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use axum::http::HeaderMap;
use gristmill_core::duration::Span;
use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use connection::connection;
use seats::Seats;
pub use seats::{ConnectionSeat, peer_network};
pub use tls::{Certificates, TlsError};

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

/// How a listener serves its routes.
#[derive(Debug, Clone, Default)]
pub struct Serving {
    /// What those who connect may hold, and for how long.
    pub settings: ListenerSettings,
    /// How long the process may take for an answer besides the time for the body; `None` when the routes see to that.
    pub answer: Option<Duration>,
    /// How long a stop waits for the requests that have begun.
    pub drain: Duration,
    /// The certificate in force and its key; `None` serves in the clear.
    pub tls: Option<Certificates>,
}

impl Serving {
    /// In the clear, with half a minute for an answer.
    pub fn plain(settings: ListenerSettings, drain: Duration) -> Self {
        Self { settings, answer: Some(Duration::from_secs(30)), drain, tls: None }
    }
}

/// Who sent a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

/// Says of a request that it came encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encrypted;

impl Peer {
    /// Whether the sender may not learn more than whether the process can work: it is on another machine, or
    /// behind a proxy on this one.
    pub fn is_stranger(&self, headers: &HeaderMap) -> bool {
        let forwarded = ["forwarded", "x-forwarded-for", "x-real-ip", "via"];
        !self.0.ip().to_canonical().is_loopback() || forwarded.iter().any(|name| headers.contains_key(*name))
    }
}

/// Serves routes until `shutdown`, then lets the requests that have begun end within `serving.drain`. Each request
/// carries its [`Peer`] and its [`ConnectionSeat`] as extensions.
pub(crate) async fn serve(listener: TcpListener, router: Router, serving: Serving, shutdown: impl Future<Output = ()>) {
    let seats = Seats::new(serving.settings.connections.get(), serving.settings.connections_per_peer.get());
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
                    let from = (Peer(peer), seat);
                    open.spawn(connection(stream, from, router.clone(), serving.clone(), stopping.clone()));
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
    let _ = tokio::time::timeout(serving.drain, async { while open.join_next().await.is_some() {} }).await;
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

#[cfg(test)]
mod tests;
