//! Messages that no worker can act upon: list, show, drop.

use gristmill_client::http::Call;
use gristmill_service::Order;
use gristmill_service::control::add;
use gristmill_service::documents::{PoisonMessageDocument, ReportDocument};
use gristmill_store::{ControlReport, Page, PoisonView};

use super::{Backend, paged, part};
use crate::exit_code::{Exit, Result};

impl Backend<'_> {
    /// A page of them.
    pub(crate) async fn poison(&self, page: &Page) -> Result<Vec<PoisonView>> {
        match self {
            Self::Store(local) => Ok(local.store().poison(page).await?),
            Self::Server(server) => server.look(&paged(Call::get(&["poison"]), page)).await,
        }
    }

    /// One of them, whole; `None` when there is none.
    pub(crate) async fn poison_message(&self, id: i64, hex: bool) -> Result<Option<PoisonMessageDocument>> {
        let server = match self {
            Self::Store(local) => {
                let found = local.store().poison_message(id).await?;
                return Ok(found.map(|message| PoisonMessageDocument::new(message, hex)));
            }
            Self::Server(server) => server,
        };
        match server.look(&Call::get(&["poison", &part(id)]).flag("hex", hex)).await {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.exit == Exit::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The numbers of all of them.
    pub(crate) async fn all_poison(&self) -> Result<Vec<i64>> {
        match self {
            Self::Store(local) => Ok(local.service.all_poison().await?),
            Self::Server(server) => {
                let found: Vec<PoisonView> = server.all(&Call::get(&["poison"])).await?;
                Ok(found.into_iter().map(|one| one.id).collect())
            }
        }
    }

    /// Forgets them; those that are not there are passed over.
    pub(crate) async fn drop_poison(&self, order: &Order, ids: &[i64]) -> Result<ControlReport> {
        let server = match self {
            Self::Store(local) => return Ok(local.service.drop_poison(order, ids).await?),
            Self::Server(server) => server,
        };
        let mut total = ControlReport::default();
        for id in ids {
            match server.change::<ReportDocument>(Call::delete(&["poison", &part(id)]), order).await {
                Ok(report) => add(&mut total, report.into()),
                Err(error) if error.exit == Exit::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(total)
    }
}
