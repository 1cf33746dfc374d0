//! `/metrics`, `/healthz` and `/readyz` on an address of their own.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use gristmill_jobs::road::Road;
use gristmill_store::StoreHandle;
use tokio::net::TcpListener;

use crate::exporter::Exporter;
use crate::gauges::Gauges;
use crate::health::Health;

/// The text format of Prometheus, version 0.0.4.
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What is watched.
#[derive(Debug, Clone)]
pub struct Watched {
    /// The truth.
    pub store: StoreHandle,
    /// The road over the broker.
    pub road: Road,
    /// The process's recorder.
    pub exporter: Exporter,
}

/// Why nothing is served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address is taken, or is none of this machine.
    #[error("metrics cannot be served on `{addr}`: {cause}; name a free address such as `127.0.0.1:9601`")]
    Bind {
        /// The address.
        addr: String,
        /// Why.
        cause: std::io::Error,
    },
    /// The server broke off.
    #[error("the metrics server broke off: {0}")]
    Broken(std::io::Error),
}

/// An address that is ours, on which nobody answers yet.
#[derive(Debug)]
pub struct Bound(TcpListener);

/// Takes an address such as `127.0.0.1:9601`; port 0 is any that is free.
///
/// # Errors
///
/// [`ServeError::Bind`].
pub async fn bind(addr: &str) -> Result<Bound, ServeError> {
    TcpListener::bind(addr).await.map(Bound).map_err(|cause| ServeError::Bind { addr: addr.to_owned(), cause })
}

impl Bound {
    /// The address, with its real port.
    ///
    /// # Errors
    ///
    /// When the system does not say.
    pub fn addr(&self) -> std::io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// Answers until `shutdown`.
    ///
    /// # Errors
    ///
    /// [`ServeError::Broken`].
    pub async fn serve(
        self,
        watched: Watched,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), ServeError> {
        axum::serve(self.0, routes(watched)).with_graceful_shutdown(shutdown).await.map_err(ServeError::Broken)
    }
}

/// Takes the address and answers until `shutdown`.
///
/// # Errors
///
/// See [`ServeError`].
pub async fn serve(
    addr: &str,
    watched: Watched,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ServeError> {
    bind(addr).await?.serve(watched, shutdown).await
}

fn routes(watched: Watched) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .with_state(Arc::new((watched, Gauges::new())))
}

type Shared = State<Arc<(Watched, Gauges)>>;

async fn metrics(State(shared): Shared) -> impl IntoResponse {
    let (watched, gauges) = &*shared;
    gauges.refresh(&watched.store, &watched.road).await;
    ([(header::CONTENT_TYPE, PROMETHEUS)], watched.exporter.render())
}

/// The process answers: that is all that it says. Whether it can work is `/readyz`; a process is not
/// restarted because its database is away.
async fn healthz() -> &'static str {
    "ok\n"
}

async fn readyz(State(shared): Shared) -> impl IntoResponse {
    let (watched, _) = &*shared;
    let health = Health::of(&watched.store, &watched.road).await;
    let status = if health.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(health))
}
