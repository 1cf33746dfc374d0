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
    /// Returns the delivery record of an email, created as `pending` when there is none yet.
    async fn email(&self, email: &NewEmail) -> Result<EmailRecord>;

    /// Moves a delivery record, guarded by the fence of the job that holds it. Returns `false` when the job no longer
    /// belongs to this attempt.
    async fn email_move(&self, key: &EmailKey, fence: &Fence, to: EmailState, note: Option<&str>) -> Result<bool>;
}

/// What identifies an email: one job to one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmailKey {
    /// The tenant that owns it.
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
    /// How far the delivery of an email is.
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
    /// The `Message-ID` of its first attempt, which never changes.
    pub message_id: String,
    /// When the record was created: the `Date` header that every attempt carries.
    pub created_at: Instant,
}
