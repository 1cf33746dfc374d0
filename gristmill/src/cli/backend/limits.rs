//! Limits: list, set, drop.

use gristmill_client::http::Call;
use gristmill_service::Order;
use gristmill_service::documents::ReportDocument;
use gristmill_store::{ControlReport, LimitSpec, LimitView};
use serde_json::Value;

use super::Backend;
use crate::exit_code::{Exit, Result};

impl Backend<'_> {
    /// Every limit, with what runs under it.
    pub(crate) async fn limits(&self) -> Result<Vec<LimitView>> {
        match self {
            Self::Store(local) => Ok(local.store().limits().await?),
            Self::Server(server) => server.look(&Call::get(&["limits"])).await,
        }
    }

    /// Makes a limit, or changes it; `None` at a dry run.
    pub(crate) async fn set_limit(&self, order: &Order, name: &str, spec: LimitSpec) -> Result<Option<LimitView>> {
        match self {
            Self::Store(local) => Ok(local.service.set_limit(order, name, spec).await?),
            Self::Server(server) => {
                let call = Call::put(&["limits", name]).body(&spec);
                if !order.dry_run {
                    return server.change(call, order).await.map(Some);
                }
                let _: Value = server.change(call, order).await?;
                Ok(None)
            }
        }
    }

    /// Drops a limit; nothing is affected when there is none.
    pub(crate) async fn drop_limit(&self, order: &Order, name: &str) -> Result<ControlReport> {
        let server = match self {
            Self::Store(local) => return Ok(local.service.drop_limit(order, name).await?),
            Self::Server(server) => server,
        };
        match server.change::<ReportDocument>(Call::delete(&["limits", name]), order).await {
            Ok(report) => Ok(report.into()),
            Err(error) if error.exit == Exit::NotFound => Ok(ControlReport::default()),
            Err(error) => Err(error),
        }
    }
}
