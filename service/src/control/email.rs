//! Emails: to which addresses nothing is sent, a message once more, and what was reported of one.

use std::time::Duration;

use gristmill_core::audit::Action;
use gristmill_core::id::{BatchId, JobId};
use gristmill_core::job::{JobState, NewJob};
use gristmill_core::letter::{RecipientState, SuppressionReason, envelope_id};
use gristmill_jobs::mail::hold;
use gristmill_mail::compose::address_hash;
use gristmill_mail::dsn::{self, Action as Done, DeliveryReport, FeedbackReport, RecipientReport, Returned};
use gristmill_store::{
    ControlReport, EmailKey, EmailReport, Enqueued, ReportSuppression, Reported, Result, SUPPRESSIONS_MAX, StoreError,
    Suppression,
};
use uuid::Uuid;

use super::{add, some};
use crate::Service;
use crate::documents::{EmailDocument, MailingDocument, ReturnedDocument, ReturnedKind, ReturnedRecipientDocument};
use crate::order::Order;

/// How many messages of a mailing are tried again in one step.
const RESENT_MAX: u32 = 500;

impl Service {
    /// An email of a tenant with its recipients and what was said at each attempt.
    ///
    /// # Errors
    ///
    /// Store errors.
    pub async fn email(&self, key: &EmailKey) -> Result<Option<EmailDocument>> {
        let Some(email) = self.store.email_view(key).await? else { return Ok(None) };
        let record = self.store.email(key).await?;
        let attempts = self.store.email_attempts(key).await?;
        Ok(Some(EmailDocument {
            email,
            recipients: record.map(|record| record.recipients).unwrap_or_default(),
            attempts,
        }))
    }

    /// Enqueues the job of an email once more, as a new job: its message is made anew, with a `Message-ID` of its own, for
    /// all of its recipients. `None` at a dry run.
    ///
    /// # Errors
    ///
    /// `NotFound` when the job is not kept any more, and those of [`Service::enqueue`].
    pub async fn resend_email(&self, order: &Order, job: JobId) -> Result<Option<Enqueued>> {
        let gone = || StoreError::NotFound(format!("the job {job} of the email is not kept any more"));
        let known = self.store.job(&order.tenant, job).await?.ok_or_else(gone)?;
        let again = NewJob {
            queue: known.queue,
            priority: known.priority,
            key: known.key,
            version: known.version,
            max_attempts: known.max_attempts,
            ..NewJob::new(JobId(Uuid::now_v7()), known.kind, known.payload)
        };
        self.enqueue(order, again).await
    }

    /// How far the mailing of a batch is.
    ///
    /// # Errors
    ///
    /// Store errors.
    pub async fn mailing(&self, tenant: &str, batch: BatchId) -> Result<MailingDocument> {
        Ok(MailingDocument::new(batch, self.store.mailing(tenant, batch).await?))
    }

    /// Tries the messages of a batch again whose recipients were put off, or of whom it is unknown whether they have it:
    /// those may get it twice, and are marked. Everybody else is left alone, so that it may be repeated.
    ///
    /// # Errors
    ///
    /// `NotFound` when there is no such batch, and those of the store; what was let go earlier goes.
    pub async fn resend_mailing(&self, order: &Order, batch: BatchId) -> Result<ControlReport> {
        let missing = || StoreError::NotFound(format!("there is no batch {batch}"));
        self.store.batch(&order.tenant, batch).await?.ok_or_else(missing)?;
        let (mut total, mut after) = (ControlReport::default(), None);
        loop {
            let (limit, dry_run) = (RESENT_MAX, order.dry_run);
            let jobs = self.store.email_again(&order.tenant, batch, after, limit, dry_run).await?;
            let Some(last) = jobs.last().copied() else { return Ok(total) };
            self.try_again(order, &jobs, &mut total).await?;
            after = Some(last);
        }
    }

    /// Lets jobs that wait run now, and brings back those that are dead. Those that run, or have ended well, are passed
    /// over.
    async fn try_again(&self, order: &Order, jobs: &[JobId], total: &mut ControlReport) -> Result<()> {
        let mut dead = Vec::new();
        for job in jobs {
            match self.store.job(&order.tenant, *job).await?.map(|job| job.state) {
                Some(JobState::Dead) => dead.push(*job),
                Some(JobState::Retry | JobState::Scheduled) => match self.retry_job(order, *job).await {
                    Ok(report) => add(total, report),
                    // It has begun, or ended, in between.
                    Err(StoreError::Conflict(_)) => {}
                    Err(error) => return Err(error),
                },
                _ => {}
            }
        }
        add(total, self.redrive_each(order, &dead).await?.redriven);
        Ok(())
    }

    /// Puts addresses on the list of the order's tenant, in groups of a thousand, each one transaction. Entries for a
    /// stronger reason stay.
    ///
    /// # Errors
    ///
    /// `Invalid` for the name of a stream that cannot be, and those of the store; earlier groups stay on the list.
    pub async fn suppress(&self, order: &Order, entries: &[Suppression]) -> Result<ControlReport> {
        let mut total = ControlReport::default();
        for group in entries.chunks(SUPPRESSIONS_MAX) {
            if order.dry_run {
                total.affected += group.len() as u64;
                continue;
            }
            let hashes: Vec<String> = group.iter().map(|entry| hex::encode(entry.address_hash)).collect();
            let store = order.at(&self.store, Action::AddressSuppress, some(&hashes));
            total.affected += store.suppress(group).await?;
        }
        Ok(total)
    }

    /// Takes an address off the list: 1 affected, or 0 when it was not on it.
    ///
    /// # Errors
    ///
    /// Store errors.
    pub async fn unsuppress(&self, order: &Order, address_hash: &[u8; 32], stream: &str) -> Result<ControlReport> {
        let affected = if order.dry_run {
            let found = self.store.suppressions_of(&order.tenant, address_hash).await?;
            found.iter().any(|entry| entry.stream == stream)
        } else {
            let store = order.at(&self.store, Action::AddressRelease, hex::encode(address_hash));
            store.unsuppress(&order.tenant, address_hash, stream).await?
        };
        Ok(ControlReport { affected: u64::from(affected), ..ControlReport::default() })
    }

    /// Takes in a message that has come back to the address for refusals. `named` is what its own recipient's address said
    /// of the email that it is about, where that could be trusted.
    ///
    /// # Errors
    ///
    /// Store errors. A message that is no report, or is about no email of ours, is none.
    pub async fn take_return(&self, message: &[u8], named: Option<&str>, keep: Duration) -> Result<ReturnedDocument> {
        let (kind, about, statements) = match dsn::read(message) {
            Some(Returned::Delivery(report)) => (ReturnedKind::Delivery, about(&report), said_in_report(&report, keep)),
            Some(Returned::Feedback(report)) => (
                ReturnedKind::Feedback,
                report.message_id.as_deref().map(envelope_id).map(str::to_owned),
                said_in_feedback(&report),
            ),
            Some(Returned::AutoReply) => (ReturnedKind::AutoReply, None, Vec::new()),
            None => (ReturnedKind::Other, None, Vec::new()),
        };
        let about = named.map(str::to_owned).or(about);
        let key = match about {
            Some(envelope) if !statements.is_empty() => self.store.email_of_envelope(&envelope).await?,
            _ => None,
        };
        let mut recipients = Vec::new();
        let mut bounced = false;
        for one in statements {
            let outcome = match (&key, one.to) {
                (Some(key), Some(to)) => self.store.email_report(&one.report(key, to)).await?,
                (Some(_), None) => Reported::Known,
                (None, _) => Reported::Unknown,
            };
            bounced |= outcome == Reported::Moved && one.to == Some(RecipientState::Bounced);
            recipients.push(ReturnedRecipientDocument { said: one.said, status: one.status, outcome });
        }
        if let Some(key) = key.as_ref().filter(|_| bounced)
            && let Some(batch) = self.store.email_view(key).await?.and_then(|email| email.batch)
        {
            hold::mailing(&*self.store, &key.tenant, batch).await;
        }
        Ok(ReturnedDocument { kind, email: key.map(|key| key.key), recipients })
    }
}

/// What a report says of one recipient, and what follows from it.
struct Statement {
    said: String,
    address: Option<String>,
    /// What the recipient enters. `None`: nothing changes, as for a delay.
    to: Option<RecipientState>,
    status: Option<String>,
    note: Option<String>,
    suppress: Option<ReportSuppression>,
}

impl Statement {
    fn report(&self, key: &EmailKey, to: RecipientState) -> EmailReport {
        EmailReport {
            key: key.clone(),
            address_hash: self.address.as_deref().map(address_hash),
            to,
            code: None,
            status: self.status.clone(),
            rule: format!("report.{}", self.said),
            note: self.note.clone(),
            suppress: self.suppress.clone(),
        }
    }
}

/// What the report names the message by.
fn about(report: &DeliveryReport) -> Option<String> {
    let by_headers = report.message_id.as_deref().map(envelope_id);
    report.envelope_id.as_deref().or(by_headers).map(str::to_owned)
}

fn said_in_report(report: &DeliveryReport, keep: Duration) -> Vec<Statement> {
    let of = |one: &RecipientReport| Statement {
        said: one.action.to_string(),
        address: Some(one.address.clone()),
        to: match one.action {
            Done::Failed => Some(RecipientState::Bounced),
            Done::Delivered => Some(RecipientState::Delivered),
            Done::Delayed | Done::Relayed | Done::Expanded => None,
        },
        status: one.status.clone(),
        note: one.diagnostic.clone(),
        suppress: one
            .closes_the_address()
            .then_some(ReportSuppression { reason: SuppressionReason::Bounce, keep: Some(keep) }),
    };
    report.recipients.iter().map(of).collect()
}

/// A mailbox provider often leaves the address out: then the email says it, if it has one recipient.
fn said_in_feedback(report: &FeedbackReport) -> Vec<Statement> {
    let complaint = report.is_complaint();
    let of = |address: Option<String>| Statement {
        said: report.kind.clone(),
        address,
        to: complaint.then_some(RecipientState::Complained),
        status: None,
        note: report.reporter.as_ref().map(|reporter| format!("reported by {reporter}")),
        suppress: complaint.then_some(ReportSuppression { reason: SuppressionReason::Complaint, keep: None }),
    };
    match report.recipients.as_slice() {
        [] => vec![of(None)],
        named => named.iter().cloned().map(Some).map(of).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_failure_that_is_about_the_address_puts_it_on_the_list() {
        let of = |action, status: Option<&str>| {
            let one = RecipientReport {
                address: "ada@example.org".to_owned(),
                action,
                status: status.map(str::to_owned),
                diagnostic: None,
                server: None,
            };
            let report = DeliveryReport { recipients: vec![one], ..DeliveryReport::default() };
            let said = said_in_report(&report, Duration::from_secs(60)).remove(0);
            (said.to, said.suppress.is_some())
        };
        assert_eq!(of(Done::Failed, Some("5.1.1")), (Some(RecipientState::Bounced), true));
        assert_eq!(of(Done::Failed, Some("5.2.2")), (Some(RecipientState::Bounced), false), "full for now");
        assert_eq!(of(Done::Failed, None), (Some(RecipientState::Bounced), false), "it says nothing of the address");
        assert_eq!(of(Done::Delivered, Some("2.1.5")), (Some(RecipientState::Delivered), false));
        assert_eq!(of(Done::Delayed, Some("4.4.1")), (None, false));
    }

    #[test]
    fn a_complaint_without_an_address_is_about_the_only_recipient() {
        let said = said_in_feedback(&FeedbackReport { kind: "abuse".to_owned(), ..FeedbackReport::default() });
        assert_eq!((said.len(), said[0].address.as_deref(), said[0].to), (1, None, Some(RecipientState::Complained)));
        let said = said_in_feedback(&FeedbackReport { kind: "not-spam".to_owned(), ..FeedbackReport::default() });
        assert_eq!((said[0].to, said[0].suppress.clone()), (None, None));
    }
}
