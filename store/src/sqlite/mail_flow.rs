//! Relays and recipients' domains: the steps of [`crate::sql`] in this database's transactions.

use async_trait::async_trait;
use gristmill_core::mail_flow::{DomainEvent, PerMinute, RelayEvent, RelayTerms};

use super::SqliteStore;
use super::control::finish;
use super::sql::{Reading, transact, transact_short};
use super::transition::Transition;
use crate::error::Result;
use crate::sql::mail_flow;
use crate::{ControlReport, DomainAsk, MailDomainView, MailFlow, MailFlows, Page, RelayChange, SuspendDomain, Taken};

#[async_trait]
impl MailFlows for SqliteStore {
    async fn mail_flow(&self) -> Result<MailFlow> {
        mail_flow::look(&mut Reading(&self.readers)).await
    }

    async fn relay_note(&self, name: &str, place: &str, event: &RelayEvent) -> Result<RelayChange> {
        transact_short!(self, mail_flow::note, &(name, place, event))
    }

    async fn relay_take(&self, name: &str, place: &str, terms: &RelayTerms) -> Result<Taken> {
        transact_short!(self, mail_flow::take, &(name, place, terms))
    }

    async fn relay_steer(&self, name: &str, event: &RelayEvent, dry_run: bool) -> Result<ControlReport> {
        let mut t = Transition::begin(self).await?;
        let report = mail_flow::steer(&mut t, &(name, event)).await?;
        finish(t, report, dry_run).await
    }

    async fn domain_note(&self, domain: &str, event: &DomainEvent, configured: Option<PerMinute>) -> Result<()> {
        transact_short!(self, mail_flow::domain_note, &(domain, event, configured))
    }

    async fn domain_take(&self, ask: &DomainAsk) -> Result<Taken> {
        transact_short!(self, mail_flow::domain_take, &ask)
    }

    async fn domain_suspend(&self, suspend: &SuspendDomain, dry_run: bool) -> Result<ControlReport> {
        let mut t = Transition::begin(self).await?;
        let report = mail_flow::suspend(&mut t, &suspend).await?;
        finish(t, report, dry_run).await
    }

    async fn domain_resume(&self, domain: &str, dry_run: bool) -> Result<ControlReport> {
        let mut t = Transition::begin(self).await?;
        let report = mail_flow::resume(&mut t, &domain).await?;
        finish(t, report, dry_run).await
    }

    async fn domain_wake(&self, domain: &str, limit: u32) -> Result<u64> {
        transact!(self, mail_flow::wake, &(domain, limit))
    }

    async fn mail_domains(&self, page: &Page) -> Result<Vec<MailDomainView>> {
        mail_flow::domains(&mut Reading(&self.readers), page).await
    }

    async fn mail_flow_tidy(&self, limit: u32) -> Result<u64> {
        transact!(self, mail_flow::tidy, &limit)
    }
}
