//! Relays and recipients' domains: the steps of [`crate::sql`] in this database's transactions.

use async_trait::async_trait;
use gristmill_core::mail_flow::{DomainEvent, PerMinute, RelayEvent, RelayTerms};

use super::PostgresStore;
use super::connect::{control, look, transact};
use crate::error::Result;
use crate::sql::mail_flow;
use crate::{ControlReport, DomainAsk, MailDomainView, MailFlow, MailFlows, Page, RelayChange, SuspendDomain, Taken};

#[async_trait]
impl MailFlows for PostgresStore {
    async fn mail_flow(&self) -> Result<MailFlow> {
        look!(self, mail_flow::look)
    }

    async fn relay_note(&self, name: &str, place: &str, event: &RelayEvent) -> Result<RelayChange> {
        transact!(self, mail_flow::note, (name, place, event)).await
    }

    async fn relay_take(&self, name: &str, place: &str, terms: &RelayTerms) -> Result<Taken> {
        transact!(self, mail_flow::take, (name, place, terms)).await
    }

    async fn relay_steer(&self, name: &str, event: &RelayEvent, dry_run: bool) -> Result<ControlReport> {
        control!(self, dry_run, mail_flow::steer, (name, event))
    }

    async fn domain_note(&self, domain: &str, event: &DomainEvent, configured: Option<PerMinute>) -> Result<()> {
        transact!(self, mail_flow::domain_note, (domain, event, configured)).await
    }

    async fn domain_take(&self, ask: &DomainAsk) -> Result<Taken> {
        transact!(self, mail_flow::domain_take, ask).await
    }

    async fn domain_suspend(&self, suspend: &SuspendDomain, dry_run: bool) -> Result<ControlReport> {
        control!(self, dry_run, mail_flow::suspend, suspend)
    }

    async fn domain_resume(&self, domain: &str, dry_run: bool) -> Result<ControlReport> {
        control!(self, dry_run, mail_flow::resume, domain)
    }

    async fn domain_wake(&self, domain: &str, limit: u32) -> Result<u64> {
        transact!(self, mail_flow::wake, (domain, limit)).await
    }

    async fn mail_domains(&self, page: &Page) -> Result<Vec<MailDomainView>> {
        look!(self, mail_flow::domains, page)
    }

    async fn mail_flow_tidy(&self, limit: u32) -> Result<u64> {
        transact!(self, mail_flow::tidy, limit).await
    }
}
