//! An email with its recipients and what was said about them, and what a report said.

use gristmill_core::access::{Permission, Principal};
use gristmill_core::id::{BatchId, JobId};
use gristmill_core::mailing::Funnel;
use gristmill_store::{EmailAttempt, EmailView, MailingVariant, RecipientView, Reported};
use serde::{Deserialize, Serialize};

/// An email.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct EmailDocument {
    /// What lists show of it; its fields are those of the document.
    #[serde(flatten)]
    pub email: EmailView,
    /// Where it is for each of its recipients, in the order of the message.
    pub recipients: Vec<RecipientView>,
    /// What was said with a server at each attempt. Empty where the caller may not see what messages contain.
    pub attempts: Vec<EmailAttempt>,
}

impl EmailDocument {
    /// The document as a caller without `contents:read` may see it: how far it is, and not for whom or what about.
    #[must_use]
    pub fn without_contents(self) -> Self {
        let blind = |one: RecipientView| RecipientView { address: String::new(), note: None, ..one };
        Self {
            email: without_contents(self.email),
            recipients: self.recipients.into_iter().map(blind).collect(),
            attempts: Vec::new(),
        }
    }

    /// The document as a caller may see it.
    #[must_use]
    pub fn shown_to(self, caller: &Principal) -> Self {
        if caller.may(Permission::ContentsRead) { self } else { self.without_contents() }
    }
}

/// A row of a list without addresses and subject.
#[must_use]
pub fn without_contents(email: EmailView) -> EmailView {
    EmailView { subject: None, first_recipient: None, sender: None, ..email }
}

/// How far a mailing is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct MailingDocument {
    /// The batch.
    pub batch: BatchId,
    /// How many recipients are where, all together.
    pub all: Funnel,
    /// The same by template. One entry where all messages are made from the same, or from none.
    pub variants: Vec<MailingVariant>,
}

impl MailingDocument {
    /// Adds the variants up.
    #[must_use]
    pub fn new(batch: BatchId, variants: Vec<MailingVariant>) -> Self {
        let mut all = Funnel::default();
        for one in &variants {
            all.merge(&one.funnel);
        }
        Self { batch, all, variants }
    }
}

/// What a test of a mailing sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct MailTestDocument {
    /// Whether nothing was enqueued.
    pub dry_run: bool,
    /// The jobs that deliver the messages.
    pub jobs: Vec<JobId>,
    /// How many messages there are.
    pub messages: u64,
    /// Why items became no message.
    pub refused: Vec<String>,
}

/// What a dry run answers to a request to send an email once more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct WouldResendDocument {
    /// Always true: nothing was changed.
    pub dry_run: bool,
    /// The email whose job would be enqueued once more.
    pub email: String,
}

gristmill_core::words! {
    /// What a message is that came back.
    pub enum ReturnedKind {
        /// A report of a delivery (RFC 3464).
        Delivery = "delivery",
        /// A complaint or another feedback (RFC 5965).
        Feedback = "feedback",
        /// An answer by a program, such as a holiday notice: nothing follows from it.
        AutoReply = "auto_reply",
        /// None of these.
        Other = "other",
    }
}

/// What a message that came back has led to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ReturnedDocument {
    /// What it is.
    pub kind: ReturnedKind,
    /// The key of the email that it is about, if it is one of ours.
    pub email: Option<String>,
    /// What it said of each recipient, in its own order.
    pub recipients: Vec<ReturnedRecipientDocument>,
}

/// What a report said of one recipient.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ReturnedRecipientDocument {
    /// What was done for it, such as `failed` or `complaint`.
    pub said: String,
    /// The enhanced status code.
    pub status: Option<String>,
    /// What became of it here.
    pub outcome: Reported,
}
