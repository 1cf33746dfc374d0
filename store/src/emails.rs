//! How far the delivery of each email is.

use std::fmt::Debug;

use async_trait::async_trait;
use gristmill_core::Instant;
use gristmill_core::id::JobId;
use gristmill_core::job::Fence;

use crate::error::Result;

/// Delivery records of emails.
#[async_trait]
pub trait Emails: Debug + Send + Sync + 'static {
    /// The delivery record of an email, made as `pending` when there is none yet.
    async fn email(&self, email: &NewEmail) -> Result<EmailRecord>;

    /// Moves a delivery record, guarded by the fence of the job that holds it: `false` when the
    /// job is not this attempt's any more.
    async fn email_move(&self, key: &EmailKey, fence: &Fence, to: EmailState, note: Option<&str>) -> Result<bool>;
}

/// What identifies an email: one job to one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmailKey {
    /// Whose it is.
    pub tenant: String,
    /// The idempotency key of the message.
    pub key: String,
}

/// A delivery record that may not exist yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEmail {
    /// What identifies it.
    pub key: EmailKey,
    /// The job that delivers it.
    pub job: JobId,
    /// The `Message-ID` header that every attempt carries.
    pub message_id: String,
}

gristmill_core::words! {
    /// Where an email is.
    pub enum EmailState {
        /// Nothing has been sent.
        Pending = "pending",
        /// An attempt may have handed it over: committed before the data is sent.
        Sending = "sending",
        /// The server has said 250.
        Sent = "sent",
        /// An attempt ended without an answer: it may have been delivered.
        Uncertain = "uncertain",
        /// It will not be sent.
        Failed = "failed",
    }
}

/// A delivery record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmailRecord {
    /// Where it is.
    pub state: EmailState,
    /// The `Message-ID` of its first attempt, the same ever after.
    pub message_id: String,
    /// When the record was made: the `Date` header that every attempt carries.
    pub created_at: Instant,
}
