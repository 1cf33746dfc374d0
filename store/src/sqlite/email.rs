//! Delivery records of emails, and the list of addresses to which nothing is sent.

use async_trait::async_trait;
use gristmill_core::job::Fence;
use gristmill_core::letter::UnknownPolicy;

use super::SqliteStore;
use super::sql::{Reading, transact, transact_short};
use crate::error::Result;
use crate::sql::email;
use crate::{
    EmailAttempt, EmailFilter, EmailKey, EmailRecord, EmailReport, EmailSaid, EmailView, Emails, NewEmail, Page,
    RecipientMove, Reported, Suppression, SuppressionView,
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

    async fn email_account(&self, limit: u32) -> Result<u64> {
        transact!(self, email::account, &limit)
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
        transact!(self, email::suppress, &entries)
    }

    async fn unsuppress(&self, tenant: &str, address_hash: &[u8; 32], stream: &str) -> Result<bool> {
        transact!(self, email::unsuppress, &(tenant, address_hash, stream))
    }

    async fn suppressions_of(&self, tenant: &str, address_hash: &[u8; 32]) -> Result<Vec<SuppressionView>> {
        email::suppressions_of(&mut Reading(&self.readers), &(tenant, address_hash)).await
    }

    async fn suppressions(&self, tenant: &str, page: &Page) -> Result<Vec<SuppressionView>> {
        email::suppressions(&mut Reading(&self.readers), &(tenant, page)).await
    }
}
