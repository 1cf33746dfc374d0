//! Errors by their fingerprints: acknowledged, acknowledge, reopen.

use gristmill_client::http::Call;
use gristmill_service::Order;
use gristmill_service::documents::{AcknowledgementDocument, ReportDocument};
use gristmill_store::ControlReport;

use super::Backend;
use crate::exit_code::Result;

impl Backend<'_> {
    /// What an operator has seen, the newest first.
    pub(crate) async fn acknowledged(&self) -> Result<Vec<AcknowledgementDocument>> {
        match self {
            Self::Store(local) => Ok(local.store().acknowledged(local.tenant()).await?),
            Self::Server(server) => server.look(&Call::get(&["errors", "acknowledged"])).await,
        }
    }

    /// Notes that an error was seen.
    pub(crate) async fn acknowledge_error(&self, order: &Order, fingerprint: &str) -> Result<ControlReport> {
        match self {
            Self::Store(local) => Ok(local.service.acknowledge_error(order, fingerprint).await?),
            Self::Server(server) => {
                let call = Call::post(&["errors", fingerprint, "acknowledge"]);
                Ok(server.change::<ReportDocument>(call, order).await?.into())
            }
        }
    }

    /// Takes that back.
    pub(crate) async fn reopen_error(&self, order: &Order, fingerprint: &str) -> Result<ControlReport> {
        match self {
            Self::Store(local) => Ok(local.service.reopen_error(order, fingerprint).await?),
            Self::Server(server) => {
                let call = Call::post(&["errors", fingerprint, "reopen"]);
                Ok(server.change::<ReportDocument>(call, order).await?.into())
            }
        }
    }
}
