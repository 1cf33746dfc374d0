//! Mail relays and recipients' domains: list, suspend, resume.

use std::time::Duration;

use gristmill_client::http::Call;
use gristmill_core::duration::Span;
use gristmill_service::Order;
use gristmill_service::documents::ReportDocument;
use gristmill_store::{ControlReport, MailDomainView, MailRelayView, Page};
use serde_json::json;

use super::{Backend, paged, part};
use crate::exit_code::Result;

impl Backend<'_> {
    /// Every relay that a worker has used.
    pub(crate) async fn mail_relays(&self) -> Result<Vec<MailRelayView>> {
        match self {
            Self::Store(local) => Ok(local.store().mail_flow().await?.relays),
            Self::Server(server) => server.look(&Call::get(&["mail", "relays"])).await,
        }
    }

    /// Puts a relay out of use.
    pub(crate) async fn suspend_relay(&self, order: &Order, name: &str) -> Result<ControlReport> {
        let server = match self {
            Self::Store(local) => return Ok(local.service.suspend_relay(order, name).await?),
            Self::Server(server) => server,
        };
        let call = Call::post(&["mail", "relays", &part(name), "suspend"]);
        let report: ReportDocument = server.change(call, order).await?;
        Ok(report.into())
    }

    /// Lets a relay be used again.
    pub(crate) async fn resume_relay(&self, order: &Order, name: &str) -> Result<ControlReport> {
        let server = match self {
            Self::Store(local) => return Ok(local.service.resume_relay(order, name).await?),
            Self::Server(server) => server,
        };
        let call = Call::post(&["mail", "relays", &part(name), "resume"]);
        let report: ReportDocument = server.change(call, order).await?;
        Ok(report.into())
    }

    /// A page of the domains of which something is known.
    pub(crate) async fn mail_domains(&self, page: &Page) -> Result<Vec<MailDomainView>> {
        match self {
            Self::Store(local) => Ok(local.store().mail_domains(page).await?),
            Self::Server(server) => server.look(&paged(Call::get(&["mail", "domains"]), page)).await,
        }
    }

    /// Sends nothing to a domain.
    pub(crate) async fn suspend_domain(
        &self,
        order: &Order,
        domain: &str,
        keep: Option<Duration>,
    ) -> Result<ControlReport> {
        let server = match self {
            Self::Store(local) => return Ok(local.service.suspend_domain(order, domain, keep).await?),
            Self::Server(server) => server,
        };
        let call = Call::post(&["mail", "domains", &part(domain), "suspend"]);
        let report: ReportDocument = server.change(call.body(&json!({ "for": keep.map(Span) })), order).await?;
        Ok(report.into())
    }

    /// Sends to a domain again.
    pub(crate) async fn resume_domain(&self, order: &Order, domain: &str) -> Result<ControlReport> {
        let server = match self {
            Self::Store(local) => return Ok(local.service.resume_domain(order, domain).await?),
            Self::Server(server) => server,
        };
        let call = Call::post(&["mail", "domains", &part(domain), "resume"]);
        let report: ReportDocument = server.change(call, order).await?;
        Ok(report.into())
    }
}
