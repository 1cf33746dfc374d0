//! How far the delivery of each email is, for each of its recipients; and to which addresses nothing is sent.

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;
use gristmill_core::Instant;
use gristmill_core::id::{BatchId, JobId};
use gristmill_core::job::{Fence, NewJob};
use gristmill_core::letter::{RecipientRole, RecipientState, SuppressionReason, UnknownPolicy};
use gristmill_core::mailing::{Funnel, MailSpec};
use serde::{Deserialize, Serialize};

use crate::Page;
use crate::error::Result;

/// The most bytes of a message: what the attachments of one have, encoded, and a little more.
pub const EMAIL_BYTES_MAX: usize = 25 * 1024 * 1024;

/// The most characters of what was said with a server in one attempt.
pub const TRANSCRIPT_CHARS_MAX: usize = 50_000;

/// The most entries that one call puts on the list.
pub const SUPPRESSIONS_MAX: usize = 1_000;

/// Delivery records of emails.
#[async_trait]
pub trait Emails: Debug + Send + Sync + 'static {
    /// Returns the delivery record of an email, if there is one.
    async fn email(&self, key: &EmailKey) -> Result<Option<EmailRecord>>;

    /// Begins an attempt: creates the record from `new` when there is none yet, with every recipient `queued`, or
    /// `dropped` when it says why there is no message, and keeps its bytes unless some are kept already; then moves the recipients that are owed to `sending`, or to
    /// `suppressed` when nothing is sent to their address, and those whose attempt ended without a word to `unknown`
    /// or, by the policy, on from there ([`begun`](gristmill_core::letter::begun)). Guarded by the fence of the job
    /// that delivers: `None` when it no longer belongs to this attempt, or has no such record and `new` is none.
    async fn email_begin(
        &self,
        key: &EmailKey,
        fence: &Fence,
        new: Option<&NewEmail>,
        policy: UnknownPolicy,
    ) -> Result<Option<EmailRecord>>;

    /// Moves recipients, each guarded by the states from which its new one may be entered, and keeps what was said.
    /// Guarded by the fence of the job. Those that are not in such a state stay, and so do all when the job no longer
    /// belongs to this attempt: returned are the places of those that moved, or `None` then.
    ///
    /// A recipient that bounces with `suppress` is put on the list in the same transaction.
    async fn email_move(
        &self,
        key: &EmailKey,
        fence: &Fence,
        moves: &[RecipientMove],
        said: Option<&EmailSaid>,
    ) -> Result<Option<Vec<u32>>>;

    /// Accounts for the recipients that no attempt will look after any more, because their job has ended without a
    /// word to its handler (its worker was lost with the last attempt, or it was cancelled): those of whom the message
    /// may be under way become `unknown`, the others `expired`, or `cancelled` when the job was. At most `limit`
    /// messages with recipients that are owed are looked at, in the order of their keys `after` one: a mailing may have
    /// a million.
    async fn email_account(&self, after: Option<&EmailKey>, limit: u32) -> Result<EmailsAccounted>;

    /// How far a mailing is, by variant, in the order of their names: exact, and counted as its recipients move. Empty
    /// for a batch without messages.
    async fn mailing(&self, tenant: &str, batch: BatchId) -> Result<Vec<MailingVariant>>;

    /// The newest mailings of a tenant, at most 100.
    async fn mailings(&self, tenant: &str, limit: u32) -> Result<Vec<MailingView>>;

    /// Pauses a mailing that is over its budget for bounces ([`over_bounce_budget`](gristmill_core::mailing)), unless it
    /// is paused already or has ended. Returns why, if it was paused now. Who resumes it forgives what was judged.
    async fn hold_mailing(&self, tenant: &str, batch: BatchId, spec: &MailSpec) -> Result<Option<String>>;

    /// Lets those recipients of a batch's messages of whom it is unknown whether they have it get it once more, whatever
    /// the policy says: at the next attempt of its job, and only then. Returns the jobs of messages with a recipient that
    /// is `deferred` or `unknown`, in the order of their ids `after` one, at most `limit`. Nothing changes at a dry run.
    async fn email_again(
        &self,
        tenant: &str,
        batch: BatchId,
        after: Option<JobId>,
        limit: u32,
        dry_run: bool,
    ) -> Result<Vec<JobId>>;

    /// Counts recipients by state, all together or by name: those with the most recipients first. Rows are read for it,
    /// one for each recipient.
    async fn email_stats(&self, filter: &StatsFilter) -> Result<Vec<EmailStat>>;

    /// Returns what goes over the wire, if it is kept.
    async fn email_content(&self, key: &EmailKey) -> Result<Option<Vec<u8>>>;

    /// Returns what was said with the server at each attempt, in order.
    async fn email_attempts(&self, key: &EmailKey) -> Result<Vec<EmailAttempt>>;

    /// Returns a message as lists show it.
    async fn email_view(&self, key: &EmailKey) -> Result<Option<EmailView>>;

    /// Returns messages of a tenant, newest first.
    async fn emails(&self, filter: &EmailFilter, page: &Page) -> Result<Vec<EmailView>>;

    /// Returns the message that reports name so: by [`envelope_id`](gristmill_core::letter::envelope_id).
    async fn email_of_envelope(&self, envelope_id: &str) -> Result<Option<EmailKey>>;

    /// Writes down what was reported of a recipient after the message had been taken: it was put into the mailbox, it was
    /// sent back, its recipient has called it unwanted. Guarded by the states that the new one may follow, so that a
    /// report which comes twice, or late, changes nothing. What is to be put on the list is, in the same transaction.
    async fn email_report(&self, report: &EmailReport) -> Result<Reported>;

    /// Puts addresses on the list, or replaces their entries of the same stream. An entry for a complaint is replaced by a
    /// complaint alone, and one for a bounce by a bounce or a complaint: what a person does by hand or by a click must
    /// not weaken them. At most [`SUPPRESSIONS_MAX`]. Returns how many were put there.
    async fn suppress(&self, entries: &[Suppression]) -> Result<u64>;

    /// Takes an address off the list. Returns whether it was on it.
    async fn unsuppress(&self, tenant: &str, address_hash: &[u8; 32], stream: &str) -> Result<bool>;

    /// Returns the entries of an address that stand now, one for each stream that it is off.
    async fn suppressions_of(&self, tenant: &str, address_hash: &[u8; 32]) -> Result<Vec<SuppressionView>>;

    /// Returns the entries of a tenant that stand now, in the order of their hashes.
    async fn suppressions(&self, tenant: &str, page: &Page) -> Result<Vec<SuppressionView>>;
}

/// The messages of a chunk: one for each of its items that passed all stages. Enqueued in the transaction that completes
/// the chunk, each unless it is there already.
#[derive(Debug, Clone, PartialEq)]
pub struct NewMessages {
    /// The batch.
    pub batch: BatchId,
    /// The stream that they belong to.
    pub stream: String,
    /// The messages, in the order of the items.
    pub messages: Vec<NewMessage>,
}

/// One message of a mailing.
#[derive(Debug, Clone, PartialEq)]
pub struct NewMessage {
    /// The place of its item in the batch's input.
    pub item: u64,
    /// The job that delivers it, with the id that [`message_id`](gristmill_core::mailing::message_id) gives the item.
    pub job: NewJob,
    /// The `Message-ID` header that every attempt carries.
    pub message_id: String,
    /// The template that it is made from.
    pub template: Option<String>,
    /// By which it is counted.
    pub variant: String,
    /// Its only recipient.
    pub recipient: NewRecipient,
}

/// How far the messages of a variant are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct MailingVariant {
    /// The template; empty for messages without one.
    pub variant: String,
    /// How many recipients are where.
    pub funnel: Funnel,
}

/// A mailing, as a list shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct MailingView {
    /// The batch.
    pub batch: BatchId,
    /// The name of its definition.
    pub name: String,
    /// How many recipients are where.
    pub funnel: Funnel,
}

/// What one step of accounting came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EmailsAccounted {
    /// How many recipients moved.
    pub moved: u64,
    /// After which message the next step goes on. `None`: that was the last one.
    pub next: Option<EmailKey>,
}

gristmill_core::words! {
    /// By what recipients are counted.
    #[derive(Default)]
    pub enum StatsBy {
        /// All together.
        #[default]
        All = "all",
        /// By the template that their messages were made from.
        Template = "template",
        /// By the stream.
        Stream = "stream",
        /// By the domain of their address.
        Domain = "domain",
    }
}

/// Which recipients are counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StatsFilter {
    /// The tenant.
    pub tenant: String,
    /// By what.
    pub by: StatsBy,
    /// Those of messages of this batch.
    pub batch: Option<BatchId>,
    /// Those of messages made from this template.
    pub template: Option<String>,
    /// Those of messages of this stream.
    pub stream: Option<String>,
    /// Those with an address in this domain.
    pub domain: Option<String>,
    /// Those of messages that are not older.
    pub since: Option<Duration>,
    /// How many names at most: 1 to [`StatsFilter::LIMIT_MAX`].
    pub limit: u32,
}

impl StatsFilter {
    /// The most names of one answer.
    pub const LIMIT_MAX: u32 = 1_000;
}

/// How many recipients of a name are where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct EmailStat {
    /// The template, the stream or the domain; empty for all together, and for messages without a template.
    pub name: String,
    /// How many recipients are where.
    pub funnel: Funnel,
}

/// The domain of an address, in lower case.
pub(crate) fn domain_of(address: &str) -> String {
    address.rsplit_once('@').map_or(address, |(_, domain)| domain).to_ascii_lowercase()
}

/// What identifies an email: one job and its message.
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
    /// The job that delivers it.
    pub job: JobId,
    /// The batch that it reports of.
    pub batch: Option<BatchId>,
    /// The stream that it belongs to.
    pub stream: String,
    /// The `Message-ID` header that every attempt carries.
    pub message_id: String,
    /// The address to which refusals go.
    pub sender: String,
    /// Its subject.
    pub subject: String,
    /// The template that it was made from.
    pub template: Option<String>,
    /// What goes over the wire at every attempt, or why there is no message: then nothing is sent, and every recipient
    /// is dropped.
    pub content: std::result::Result<Vec<u8>, String>,
    /// Its recipients.
    pub recipients: Vec<NewRecipient>,
}

/// One recipient of a new message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRecipient {
    /// Why it gets the message.
    pub role: RecipientRole,
    /// Its address.
    pub address: String,
    /// The SHA-256 of the address in its canonical form.
    pub address_hash: [u8; 32],
}

gristmill_core::words! {
    /// How far the delivery of an email is, all of its recipients together.
    pub enum EmailState {
        /// Some of them are still owed it, and none of its bytes are under way.
        Pending = "pending",
        /// An attempt may be handing it over: committed before the data is sent.
        Sending = "sending",
        /// A server has taken it for all of them, but for those to whom nothing is sent.
        Sent = "sent",
        /// For some of them an attempt ended without an answer: it may have been taken.
        Uncertain = "uncertain",
        /// Some of them will not get it.
        Failed = "failed",
    }
}

/// How far a message is whose recipients are in these states.
pub fn email_state(recipients: impl Iterator<Item = RecipientState> + Clone) -> EmailState {
    let mut all = recipients.clone();
    let any = |is: fn(RecipientState) -> bool| recipients.clone().any(is);
    if any(|state| state == RecipientState::Transmitted) {
        EmailState::Sending
    } else if any(RecipientState::is_owed) {
        EmailState::Pending
    } else if any(|state| state == RecipientState::Unknown) {
        EmailState::Uncertain
    } else if all.all(|state| state.is_taken() || state == RecipientState::Suppressed) && any(RecipientState::is_taken)
    {
        EmailState::Sent
    } else {
        EmailState::Failed
    }
}

/// A delivery record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmailRecord {
    /// How far it is.
    pub state: EmailState,
    /// The `Message-ID` of its first attempt, which never changes.
    pub message_id: String,
    /// When the record was created; of a message of a mailing, when its bytes were made.
    pub created_at: Instant,
    /// The address to which refusals go. `None` for a message of an earlier version of this program.
    pub sender: Option<String>,
    /// The stream that it belongs to.
    pub stream: String,
    /// Whether its bytes are kept, and so never change again. Not so for one that could not be made, and for a message
    /// of an earlier version of this program: the next attempt makes it.
    pub frozen: bool,
    /// Its recipients, in the order of the message. Empty for a message of an earlier version of this program.
    pub recipients: Vec<RecipientView>,
    /// By which its recipient is counted, where it is part of a mailing.
    pub variant: Option<String>,
}

/// One recipient of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct RecipientView {
    /// Its place in the message, counted from 0.
    pub position: u32,
    /// Why it gets the message.
    pub role: RecipientRole,
    /// Its address.
    pub address: String,
    /// Where the message is for it.
    pub state: RecipientState,
    /// How often a server was asked.
    pub attempts: u32,
    /// The last reply code.
    pub code: Option<u16>,
    /// The last enhanced status code, such as `5.1.1`.
    pub status: Option<String>,
    /// The rule that decided last.
    pub rule: Option<String>,
    /// What was said last.
    pub note: Option<String>,
    /// Whether it was sent again after an answer that never came: it may have arrived twice.
    pub may_be_twice: bool,
    /// When it moved last.
    #[cfg_attr(feature = "schema", schema(value_type = chrono::DateTime<chrono::Utc>))]
    pub moved_at: Instant,
}

/// A step of one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecipientMove {
    /// Its place in the message.
    pub position: u32,
    /// What it enters.
    pub to: RecipientState,
    /// The reply code, 200 to 599.
    pub code: Option<u16>,
    /// The enhanced status code.
    pub status: Option<String>,
    /// The rule that decided.
    pub rule: Option<String>,
    /// What was said.
    pub note: Option<String>,
    /// Nothing more is sent to the address for so long.
    pub suppress: Option<Duration>,
}

impl RecipientMove {
    /// A step without anything to say of it.
    pub fn to(position: u32, to: RecipientState) -> Self {
        Self { position, to, code: None, status: None, rule: None, note: None, suppress: None }
    }
}

/// What was reported of a message after it had been taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmailReport {
    /// Which message.
    pub key: EmailKey,
    /// Which recipient, by the hash of its address. `None`: the only one that the message has.
    pub address_hash: Option<[u8; 32]>,
    /// `delivered`, `bounced` or `complained`.
    pub to: RecipientState,
    /// The reply code, 200 to 599.
    pub code: Option<u16>,
    /// The enhanced status code.
    pub status: Option<String>,
    /// What decided, such as `report.failed`.
    pub rule: String,
    /// What was said.
    pub note: Option<String>,
    /// What is put on the list for it.
    pub suppress: Option<ReportSuppression>,
}

/// What a report puts on the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportSuppression {
    /// Why.
    pub reason: SuppressionReason,
    /// For how long. `None`: for ever.
    pub keep: Option<Duration>,
}

gristmill_core::words! {
    /// What became of a report.
    pub enum Reported {
        /// The recipient has moved.
        Moved = "moved",
        /// The recipient was there already, or is further: nothing has changed.
        Known = "known",
        /// There is no such message, or it has no such recipient.
        Unknown = "unknown",
    }
}

/// What was said in one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmailSaid {
    /// The server.
    pub server: String,
    /// The lines.
    pub transcript: String,
}

/// What was said in one attempt, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct EmailAttempt {
    /// The attempt of the job.
    pub attempt: u32,
    /// The server.
    pub server: String,
    /// The lines.
    pub transcript: String,
    /// When it ended.
    #[cfg_attr(feature = "schema", schema(value_type = chrono::DateTime<chrono::Utc>))]
    pub ended_at: Instant,
}

/// Which messages are asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EmailFilter {
    /// The tenant.
    pub tenant: String,
    /// Those that are so far.
    pub state: Option<EmailState>,
    /// Those that have a recipient with this address, by its hash.
    pub address_hash: Option<[u8; 32]>,
    /// Those of a batch; not beside an address.
    pub batch: Option<BatchId>,
}

/// A message, as a list shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct EmailView {
    /// Its key.
    pub key: String,
    /// The job that delivers it.
    pub job: JobId,
    /// The batch that it reports of.
    pub batch: Option<BatchId>,
    /// How far it is.
    pub state: EmailState,
    /// The stream that it belongs to.
    pub stream: String,
    /// Its `Message-ID`.
    pub message_id: String,
    /// The address to which refusals go.
    pub sender: Option<String>,
    /// Its subject.
    pub subject: Option<String>,
    /// The template that it was made from.
    pub template: Option<String>,
    /// How many bytes it has.
    pub size: Option<u64>,
    /// The SHA-256 of what goes over the wire, in hexadecimal digits.
    pub sha256: Option<String>,
    /// How many recipients it has.
    pub recipient_count: u32,
    /// The address of the first of them. `None` where the caller may not see what messages contain.
    pub first_recipient: Option<String>,
    /// When the record was created.
    #[cfg_attr(feature = "schema", schema(value_type = chrono::DateTime<chrono::Utc>))]
    pub created_at: Instant,
    /// When it moved last.
    #[cfg_attr(feature = "schema", schema(value_type = chrono::DateTime<chrono::Utc>))]
    pub moved_at: Instant,
}

/// An address to which nothing is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suppression {
    /// Whose list it is.
    pub tenant: String,
    /// The SHA-256 of the address in its canonical form.
    pub address_hash: [u8; 32],
    /// The stream, or empty for all.
    pub stream: String,
    /// Why.
    pub reason: SuppressionReason,
    /// What is said about it.
    pub note: Option<String>,
    /// For how long. `None`: for ever.
    pub keep: Option<Duration>,
}

/// An entry of the list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct SuppressionView {
    /// The SHA-256 of the address in its canonical form, in hexadecimal digits.
    pub address_sha256: String,
    /// The stream, or empty for all.
    pub stream: String,
    /// Why.
    pub reason: SuppressionReason,
    /// What is said about it.
    pub note: Option<String>,
    /// Since when.
    #[cfg_attr(feature = "schema", schema(value_type = chrono::DateTime<chrono::Utc>))]
    pub created_at: Instant,
    /// Until when. `None`: for ever.
    #[cfg_attr(feature = "schema", schema(value_type = Option<chrono::DateTime<chrono::Utc>>))]
    pub until: Option<Instant>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_as_far_as_the_recipient_that_needs_the_most() {
        use RecipientState::*;
        for (recipients, state) in [
            (&[Sent, Transmitted, Bounced][..], EmailState::Sending),
            (&[Sent, Deferred, Unknown], EmailState::Pending),
            (&[Sent, Unknown, Bounced], EmailState::Uncertain),
            (&[Sent, Bounced], EmailState::Failed),
            (&[Sent, Suppressed, Delivered], EmailState::Sent),
            (&[Suppressed], EmailState::Failed),
            (&[Complained], EmailState::Sent),
        ] {
            assert_eq!(email_state(recipients.iter().copied()), state, "{recipients:?}");
        }
    }
}
