//! Delivery records of emails, and the list of addresses to which nothing is sent.

use async_trait::async_trait;
use gristmill_core::id::{BatchId, JobId};
use gristmill_core::job::Fence;
use gristmill_core::letter::UnknownPolicy;
use gristmill_core::mailing::MailSpec;

use super::SqliteStore;
use super::sql::{Reading, transact, transact_short};
use crate::error::Result;
use crate::sql::{email, email_ends, mailing, suppressions};
use crate::{
    EmailAttempt, EmailFilter, EmailKey, EmailRecord, EmailReport, EmailSaid, EmailStat, EmailView, Emails,
    EmailsAccounted, MailingVariant, MailingView, NewEmail, Page, RecipientMove, Reported, StatsFilter, Suppression,
    SuppressionView,
};

#[async_trait]
impl Emails for SqliteStore {
    async fn email(&self, key: &EmailKey) -> Result<Option<EmailRecord>> {
        email::record(&mut Reading(&self.readers), key).await
    }

    async fn email_begin(
        &self,
        key: &EmailKey,
        fence: &Fence,
        new: Option<&NewEmail>,
        policy: UnknownPolicy,
    ) -> Result<Option<EmailRecord>> {
        transact_short!(self, email::begin, &(key, fence, new, policy))
    }

    async fn email_move(
        &self,
        key: &EmailKey,
        fence: &Fence,
        moves: &[RecipientMove],
        said: Option<&EmailSaid>,
    ) -> Result<Option<Vec<u32>>> {
        transact_short!(self, email::advance, &(key, fence, moves, said))
    }

    async fn email_account(&self, after: Option<&EmailKey>, limit: u32) -> Result<EmailsAccounted> {
        transact!(self, email_ends::account, &(after, limit))
    }

    async fn mailing(&self, tenant: &str, batch: BatchId) -> Result<Vec<MailingVariant>> {
        mailing::funnels(&mut Reading(&self.readers), &(tenant, batch)).await
    }

    async fn mailings(&self, tenant: &str, limit: u32) -> Result<Vec<MailingView>> {
        mailing::newest(&mut Reading(&self.readers), &(tenant, limit)).await
    }

    async fn hold_mailing(&self, tenant: &str, batch: BatchId, spec: &MailSpec) -> Result<Option<String>> {
        transact!(self, mailing::hold, &(tenant, batch, spec))
    }

    async fn email_again(
        &self,
        tenant: &str,
        batch: BatchId,
        after: Option<JobId>,
        limit: u32,
        dry_run: bool,
    ) -> Result<Vec<JobId>> {
        transact!(self, email_ends::again, &(tenant, batch, after, limit, dry_run))
    }

    async fn email_stats(&self, filter: &StatsFilter) -> Result<Vec<EmailStat>> {
        mailing::stats(&mut Reading(&self.readers), filter).await
    }

    async fn email_content(&self, key: &EmailKey) -> Result<Option<Vec<u8>>> {
        email::content(&mut Reading(&self.readers), key).await
    }

    async fn email_attempts(&self, key: &EmailKey) -> Result<Vec<EmailAttempt>> {
        email::attempts(&mut Reading(&self.readers), key).await
    }

    async fn email_view(&self, key: &EmailKey) -> Result<Option<EmailView>> {
        email::one(&mut Reading(&self.readers), key).await
    }

    async fn emails(&self, filter: &EmailFilter, page: &Page) -> Result<Vec<EmailView>> {
        email::list(&mut Reading(&self.readers), &(filter, page)).await
    }

    async fn email_of_envelope(&self, envelope_id: &str) -> Result<Option<EmailKey>> {
        email::of_envelope(&mut Reading(&self.readers), envelope_id).await
    }

    async fn email_report(&self, report: &EmailReport) -> Result<Reported> {
        transact!(self, email::report, report)
    }

    async fn suppress(&self, entries: &[Suppression]) -> Result<u64> {
        transact!(self, suppressions::suppress, &entries)
    }

    async fn unsuppress(&self, tenant: &str, address_hash: &[u8; 32], stream: &str) -> Result<bool> {
        transact!(self, suppressions::unsuppress, &(tenant, address_hash, stream))
    }

    async fn suppressions_of(&self, tenant: &str, address_hash: &[u8; 32]) -> Result<Vec<SuppressionView>> {
        suppressions::suppressions_of(&mut Reading(&self.readers), &(tenant, address_hash)).await
    }

    async fn suppressions(&self, tenant: &str, page: &Page) -> Result<Vec<SuppressionView>> {
        suppressions::suppressions(&mut Reading(&self.readers), &(tenant, page)).await
    }
}
