//! Delivery records of emails.

use async_trait::async_trait;
use gristmill_core::job::Fence;

use super::SqliteStore;
use super::sql::transact;
use crate::error::Result;
use crate::sql::email;
use crate::{EmailKey, EmailRecord, EmailState, Emails, NewEmail};

#[async_trait]
impl Emails for SqliteStore {
    async fn email(&self, email: &NewEmail) -> Result<EmailRecord> {
        transact!(self, email::record, email)
    }

    async fn email_move(&self, key: &EmailKey, fence: &Fence, to: EmailState, note: Option<&str>) -> Result<bool> {
        transact!(self, email::advance, &(key, fence, to, note))
    }
}
