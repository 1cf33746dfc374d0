//! `/metrics`, `/healthz` and `/readyz` on an address of their own.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Extension, Json, Router};
use gristmill_jobs::pool::StuckThreads;
use gristmill_service::dispatcher::Dispatcher;
use gristmill_store::StoreHandle;
use serde::Serialize;
use tokio::net::TcpListener;

use crate::exporter::Exporter;
use crate::gauges::Gauges;
use crate::health::{Health, HealthMonitor};
use crate::listener::{self, ListenerSettings, Peer, Serving};

/// The text format of Prometheus, version 0.0.4.
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// How often store and broker are checked without a request.
const CHECK_EVERY: Duration = Duration::from_secs(2);

/// What the answers report on.
#[derive(Debug, Clone)]
pub struct ServerState {
    /// The store that health and gauges are read from.
    pub store: StoreHandle,
    /// The dispatcher over the broker that messages go to.
    pub dispatcher: Dispatcher,
    /// Its threads for items that do not come back.
    pub stuck: StuckThreads,
    /// The process's recorder; without one no metrics are served.
    pub exporter: Option<Exporter>,
}

/// Why nothing is served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address is taken, or does not belong to this machine.
    #[error("nothing can be served on `{addr}`: {cause}; name a free address such as `127.0.0.1:9601`")]
    Bind {
        /// The address.
        addr: String,
        /// Why.
        cause: std::io::Error,
    },
}

/// An address that this process has bound, but does not serve yet.
#[derive(Debug)]
pub struct BoundListener(TcpListener);

/// Binds an address such as `127.0.0.1:9601`; port 0 binds any free port.
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
    /// When the operating system does not report it.
    pub fn addr(&self) -> std::io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// Serves other routes until `shutdown`, then lets the requests that have begun end within `serving.drain`. Each
    /// request carries its [`Peer`] as an extension.
    pub async fn serve_routes(self, routes: Router, serving: Serving, shutdown: impl Future<Output = ()>) {
        listener::serve(self.0, routes, serving, shutdown).await;
    }

    /// Serves metrics and health until `shutdown`, then lets the requests that have begun end within `drain`.
    pub async fn serve(
        self,
        state: ServerState,
        settings: ListenerSettings,
        drain: Duration,
        shutdown: impl Future<Output = ()>,
    ) {
        let (routes, checks) = watched(state);
        tokio::select! {
            () = self.serve_routes(routes, Serving::plain(settings, drain), shutdown) => {}
            never = checks => match never {},
        }
    }
}

/// The routes of health, and of metrics where there is a recorder, for a server that has others too; and what keeps
/// checking while they are served, which never ends.
pub fn watched(state: ServerState) -> (Router, impl Future<Output = Infallible> + Send) {
    let with_metrics = state.exporter.is_some();
    let shared = Arc::new(Shared { state, gauges: Gauges::new(), monitor: HealthMonitor::default() });
    let mut routes = Router::new().route("/healthz", get(healthz)).route("/readyz", get(readyz));
    if with_metrics {
        routes = routes.route("/metrics", get(metrics));
    }
    let checks = Arc::clone(&shared);
    (routes.with_state(shared), async move { checks.keep_checking().await })
}

/// The state that the answers are built from.
#[derive(Debug)]
struct Shared {
    state: ServerState,
    gauges: Gauges,
    monitor: HealthMonitor,
}

impl Shared {
    async fn check(&self) -> Health {
        self.monitor.check(&self.state.store, &self.state.dispatcher, &self.state.stuck).await
    }

    /// Checks every few seconds, so that `since` is near the truth and `/healthz` answers from the latest check alone.
    async fn keep_checking(&self) -> Infallible {
        loop {
            self.check().await;
            tokio::time::sleep(CHECK_EVERY).await;
        }
    }
}

async fn metrics(State(shared): State<Arc<Shared>>) -> impl IntoResponse {
    let Shared { state, gauges, .. } = &*shared;
    gauges.refresh(&state.store, &state.dispatcher, &state.stuck).await;
    ([(header::CONTENT_TYPE, PROMETHEUS)], state.exporter.as_ref().map(Exporter::render).unwrap_or_default())
}

/// Always 200: a process that answers is alive, and restarting it would not bring its database back. The body also
/// holds the result of the latest check of its surroundings.
async fn healthz(
    State(shared): State<Arc<Shared>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
) -> Json<Alive> {
    let surroundings = shared.monitor.latest().map(|health| shown(health, peer, &headers));
    Json(Alive { alive: true, surroundings })
}

/// What `/healthz` answers.
#[derive(Debug, Serialize)]
struct Alive {
    alive: bool,
    #[serde(flatten)]
    surroundings: Option<Health>,
}

async fn readyz(
    State(shared): State<Arc<Shared>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
) -> impl IntoResponse {
    let health = shared.check().await;
    let status = if health.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(shown(health, peer, &headers)))
}

/// What a peer may see.
fn shown(health: Health, peer: Peer, headers: &HeaderMap) -> Health {
    if peer.is_stranger(headers) { health.for_strangers() } else { health }
}
