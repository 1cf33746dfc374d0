//! Operations over many jobs: list, show, start, cancel, undo.

use std::time::Duration;

use gristmill_client::http::Call;
use gristmill_core::id::OperationId;
use gristmill_service::Order;
use gristmill_service::control::operation::OperationRequest;
use gristmill_service::documents::{OperationDocument, WouldOperateDocument};
use gristmill_store::Page;
use serde::Deserialize;
use serde_json::json;

use super::{Backend, paged, part};
use crate::exit_code::Result;
use crate::runtime::retention::pruner_options;

/// How long a server may take to count what matches.
const COUNT: Duration = Duration::from_secs(60);

/// An operation that was started, or would be.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Started {
    /// What it would do.
    Would(WouldOperateDocument),
    /// It was started.
    Done(OperationDocument),
}

impl Backend<'_> {
    /// A page of operations.
    pub(crate) async fn operations(&self, page: &Page) -> Result<Vec<OperationDocument>> {
        match self {
            Self::Store(local) => Ok(local.store().operations(local.tenant(), page).await?),
            Self::Server(server) => server.look(&paged(Call::get(&["operations"]), page)).await,
        }
    }

    /// One operation.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub(crate) async fn operation(&self, operation: OperationId) -> Result<OperationDocument> {
        match self {
            Self::Store(local) => Ok(local.service.operation(local.tenant(), operation).await?),
            Self::Server(server) => server.look(&Call::get(&["operations", &part(operation)])).await,
        }
    }

    /// Starts an operation, or says what it would do.
    pub(crate) async fn start_operation(&self, order: &Order, request: &OperationRequest) -> Result<Started> {
        let server = match self {
            Self::Store(local) => {
                let settings = &local.process.loaded.config.retention;
                let started = local.service.start_operation(order, request, settings).await?;
                let would = || Started::Would(WouldOperateDocument::new(request, &started.preview));
                return Ok(started.operation.map_or_else(would, Started::Done));
            }
            Self::Server(server) => server,
        };
        let OperationRequest { verb, query, rate, snapshot, id: _ } = request;
        let body = json!({
            "verb": verb, "query": query.to_string(), "rate": rate,
            "snapshot": snapshot.map(|snapshot| snapshot.to_rfc3339()),
        });
        server.change(Call::post(&["operations"]).body(&body).within(COUNT), order).await
    }

    /// Calls an operation off.
    pub(crate) async fn cancel_operation(&self, order: &Order, operation: OperationId) -> Result<OperationDocument> {
        match self {
            Self::Store(local) => Ok(local.service.cancel_operation(order, operation).await?),
            Self::Server(server) => server.change(Call::post(&["operations", &part(operation), "cancel"]), order).await,
        }
    }

    /// Undoes an operation.
    pub(crate) async fn undo_operation(&self, order: &Order, operation: OperationId) -> Result<OperationDocument> {
        match self {
            Self::Store(local) => Ok(local.service.undo_operation(order, operation).await?),
            Self::Server(server) => server.change(Call::post(&["operations", &part(operation), "undo"]), order).await,
        }
    }

    /// Makes steps that are due, where the database is at hand; a server's scheduler makes them itself. Returns how many.
    pub(crate) async fn step_operations(&self) -> Result<u64> {
        match self {
            Self::Store(local) => {
                Ok(local.service.step_operations(&pruner_options(&local.process.loaded.config, false)).await?)
            }
            Self::Server(_) => Ok(0),
        }
    }
}
