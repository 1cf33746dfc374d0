//! One listener for everything: the API, the pages, hooks, health and metrics.

use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::http::{Extensions, HeaderMap, StatusCode, Version, header};
use axum::middleware::from_fn_with_state;
use gristmill_telemetry::{BoundListener, Certificates, ListenerSettings, ServerState, Serving, watched};
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{DefaultPredicate, Predicate};

use crate::api;
use crate::gate::Api;
use crate::hooks::{self, Receiver};
use crate::pages::{self, refusal};

/// Compresses what no ranges are served of: a tag stands for the bytes that a range counts.
fn unranged() -> impl Predicate {
    let ranged = |headers: &HeaderMap| headers.contains_key(header::ACCEPT_RANGES);
    DefaultPredicate::new().and(move |_: StatusCode, _: Version, headers: &HeaderMap, _: &Extensions| !ranged(headers))
}

/// What a server is made of.
#[derive(Debug)]
pub struct Server {
    /// What the endpoints share.
    pub api: Api,
    /// What deliveries are handled with.
    pub hooks: Receiver,
    /// What health and metrics report on.
    pub watched: ServerState,
    /// What those who connect may hold, and for how long.
    pub listener: ListenerSettings,
    /// The certificate in force and its key; `None` serves in the clear.
    pub tls: Option<Certificates>,
}

impl Server {
    /// Serves on an address until `shutdown`, then lets the requests that have begun end within `drain`.
    pub async fn serve(self, bound: BoundListener, drain: Duration, shutdown: impl Future<Output = ()>) {
        let tls = self.tls.clone();
        let follow = async move {
            match tls {
                Some(tls) => tls.follow().await,
                None => std::future::pending().await,
            }
        };
        let hub = self.api.hub().clone();
        let shutdown = async move {
            shutdown.await;
            // Those who watch would stay until the end of the drain.
            hub.close();
        };
        let serving = Serving { settings: self.listener.clone(), answer: None, drain, tls: self.tls.clone() };
        let (routes, checks) = self.routes();
        tokio::select! {
            () = bound.serve_routes(routes, serving, shutdown) => {}
            never = checks => match never {},
            () = follow => {}
        }
    }

    fn routes(self) -> (Router, impl Future<Output = Infallible> + Send) {
        let (health, checks) = watched(self.watched);
        let pages = from_fn_with_state(self.api.clone(), refusal::dress);
        let api = api::router(&self.api, pages::routes())
            .layer(pages)
            .layer(CompressionLayer::new().compress_when(unranged()));
        (api.merge(hooks::routes(self.hooks)).merge(health), checks)
    }
}
