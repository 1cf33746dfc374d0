//! `/metrics`, `/healthz` and `/readyz` on an address of their own.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use gristmill_service::dispatcher::Dispatcher;
use gristmill_store::StoreHandle;
use serde::Serialize;
use tokio::net::TcpListener;

use crate::exporter::Exporter;
use crate::gauges::Gauges;
use crate::health::{Health, HealthMonitor};

/// The text format of Prometheus, version 0.0.4.
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// How often store and broker are looked at when nobody asks.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// What is watched.
#[derive(Debug, Clone)]
pub struct ServerState {
    /// The truth.
    pub store: StoreHandle,
    /// The road over the broker.
    pub dispatcher: Dispatcher,
    /// The process's recorder.
    pub exporter: Exporter,
}

/// Why nothing is served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address is taken, or is none of this machine.
    #[error("nothing can be served on `{addr}`: {cause}; name a free address such as `127.0.0.1:9601`")]
    Bind {
        /// The address.
        addr: String,
        /// Why.
        cause: std::io::Error,
    },
    /// The server broke off.
    #[error("a server broke off: {0}")]
    Broken(std::io::Error),
}

/// An address that is ours, on which nobody answers yet.
#[derive(Debug)]
pub struct BoundListener(pub(crate) TcpListener);

/// Takes an address such as `127.0.0.1:9601`; port 0 is any that is free.
///
/// # Errors
///
/// [`ServeError::Bind`].
pub async fn bind(addr: &str) -> Result<BoundListener, ServeError> {
    TcpListener::bind(addr).await.map(BoundListener).map_err(|cause| ServeError::Bind { addr: addr.to_owned(), cause })
}

impl BoundListener {
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
        watched: ServerState,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), ServeError> {
        let shared = Arc::new(Shared { watched, gauges: Gauges::new(), sight: HealthMonitor::default() });
        let served = axum::serve(self.0, routes(Arc::clone(&shared))).with_graceful_shutdown(shutdown);
        tokio::select! {
            served = served => served.map_err(ServeError::Broken),
            never = shared.keep_looking() => match never {},
        }
    }
}

/// Takes the address and answers until `shutdown`.
///
/// # Errors
///
/// See [`ServeError`].
pub async fn serve(
    addr: &str,
    watched: ServerState,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ServeError> {
    bind(addr).await?.serve(watched, shutdown).await
}

fn routes(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .with_state(shared)
}

/// What the answers are made of.
#[derive(Debug)]
struct Shared {
    watched: ServerState,
    gauges: Gauges,
    sight: HealthMonitor,
}

impl Shared {
    async fn look(&self) -> Health {
        self.sight.look(&self.watched.store, &self.watched.dispatcher).await
    }

    /// Looks every few seconds, so that it is known since when something is wrong, and `/healthz` need ask nobody.
    async fn keep_looking(&self) -> Infallible {
        loop {
            self.look().await;
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

async fn metrics(State(shared): State<Arc<Shared>>) -> impl IntoResponse {
    let Shared { watched, gauges, .. } = &*shared;
    gauges.refresh(&watched.store, &watched.dispatcher).await;
    ([(header::CONTENT_TYPE, PROMETHEUS)], watched.exporter.render())
}

/// The process answers, and so it lives: 200 in any case, since a process is not restarted because its database is
/// away. What is wrong with its surroundings is said beside it, as it was seen a moment ago.
async fn healthz(State(shared): State<Arc<Shared>>) -> Json<Alive> {
    Json(Alive { alive: true, surroundings: shared.sight.latest() })
}

/// The answer of `/healthz`.
#[derive(Debug, Serialize)]
struct Alive {
    alive: bool,
    #[serde(flatten)]
    surroundings: Option<Health>,
}

async fn readyz(State(shared): State<Arc<Shared>>) -> impl IntoResponse {
    let health = shared.look().await;
    let status = if health.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(health))
}
