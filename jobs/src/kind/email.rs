//! Kind `email`: one message to one recipient, enqueued exactly once, and sent once unless a crash falls between the
//! data and the server's answer (RFC 1047).
//!
//! ```text
//! pending ─(server agreed to take it)→ sending ─250→ sent
//!    ↑                                    ├─4xx→ pending, tried again
//!    │                                    ├─5xx→ failed
//!    │                                    └─no answer, or found so by a later attempt→ uncertain
//!    └──────────────resend: same Message-ID and Date───────────────────────────────────────┘
//! ```

use std::sync::Arc;

use async_trait::async_trait;
use gristmill_core::backoff;
use gristmill_store::{EmailKey, EmailRecord, EmailState, NewEmail, StoreError, failpoint};
use lettre::message::Mailbox;
use serde_json::json;

use crate::handler::{Finish, Handler, JobContext};
use crate::kind::payload::{self, Content, EmailPayload};
use crate::mail::message::{self, Composed, Draft};
use crate::mail::{Delivered, NotDelivered, Rendered, Templates, Transport};
use crate::settings::{MailSettings, Uncertain};

/// How many times to try recording that an email was sent.
const RECORD_TRIES: u32 = 3;

/// Sends emails.
#[derive(Debug)]
pub struct EmailHandler {
    transport: Arc<Transport>,
    templates: Templates,
    from: Mailbox,
    uncertain: Uncertain,
}

impl EmailHandler {
    /// Creates one from the settings. Passwords, certificates and the sender's address are read here.
    ///
    /// # Errors
    ///
    /// When a setting makes no sense or names what cannot be read: a text that names the key.
    pub fn new(settings: &MailSettings) -> Result<Self, String> {
        Self::with_transport(settings, Arc::new(Transport::from_settings(settings)?))
    }

    /// The same with another transport, such as [`Transport::memory`].
    ///
    /// # Errors
    ///
    /// When `from` is not an address.
    pub fn with_transport(settings: &MailSettings, transport: Arc<Transport>) -> Result<Self, String> {
        Ok(Self {
            transport,
            templates: Templates::new(settings.templates.as_deref()),
            from: message::mailbox("`mail.from`", &settings.from)?,
            uncertain: settings.uncertain,
        })
    }

    /// Renders a payload: for handlers and for previews.
    ///
    /// # Errors
    ///
    /// When the payload has neither a template nor a subject with a text, or both, or the template
    /// cannot be filled.
    pub fn render(&self, payload: &EmailPayload) -> Result<Rendered, String> {
        match payload.content()? {
            Content::Template(name) => self.templates.render(name, &payload.data),
            Content::Direct { subject, text } => {
                Ok(Rendered { subject: subject.to_owned(), text: text.to_owned(), html: payload.html.clone() })
            }
        }
    }

    fn compose(&self, payload: &EmailPayload, from: &Mailbox, record: &EmailRecord) -> Result<Composed, String> {
        let to = message::mailbox("`to`", &payload.to)?;
        let Rendered { subject, text, html } = self.render(payload)?;
        message::compose(&Draft {
            from,
            to: &to,
            subject: &subject,
            text: &text,
            html: html.as_deref(),
            message_id: &record.message_id,
            date: record.created_at,
        })
    }

    async fn attempt(&self, context: &JobContext) -> Result<Finish, Finish> {
        let payload: EmailPayload = payload::read(payload::EMAIL, &context.job.payload).map_err(Finish::permanent)?;
        let from = match &payload.from {
            None => self.from.clone(),
            Some(from) => message::mailbox("`from`", from).map_err(Finish::permanent)?,
        };
        let letter = Letter::open(context, &from).await?;
        match letter.record.state {
            EmailState::Sent => return Ok(finish_sent(&letter.record, "an earlier attempt has sent it")),
            EmailState::Sending | EmailState::Uncertain => self.reconsider(&letter).await?,
            // A failed one only comes back when its job has been redriven.
            EmailState::Pending | EmailState::Failed => {}
        }
        let composed = match self.compose(&payload, &from, &letter.record) {
            Ok(composed) => composed,
            Err(reason) => return Err(letter.refused(&reason).await),
        };
        let sending = || async {
            match letter.step(EmailState::Sending, None).await {
                Ok(true) => {
                    failpoint::point("email.sending");
                    Ok(())
                }
                Ok(false) => Err(LOST.to_owned()),
                Err(error) => Err(error.to_string()),
            }
        };
        let delivered = self.transport.deliver(&composed, sending).await;
        self.settle(&letter, delivered).await
    }

    /// An earlier attempt may have sent it.
    async fn reconsider(&self, letter: &Letter<'_>) -> Result<(), Finish> {
        if self.transport.is_idempotent() || self.uncertain == Uncertain::Resend {
            tracing::warn!(job = %letter.context.job.fence.job, "an earlier attempt may have sent this email; sending it again");
            return Ok(());
        }
        letter.must_step(EmailState::Uncertain, Some("an attempt ended without an answer")).await?;
        Err(Finish::permanent(HELD))
    }

    async fn settle(&self, letter: &Letter<'_>, delivered: Result<Delivered, NotDelivered>) -> Result<Finish, Finish> {
        let failure = match delivered {
            Ok(delivered) => {
                failpoint::point("email.accepted");
                letter.confirm(&delivered.answer).await;
                return Ok(finish_sent(&letter.record, &delivered.answer));
            }
            Err(failure) => failure,
        };
        match failure {
            NotDelivered::Later { message, after } => {
                // If it were not moved back, the next attempt would believe that it may have been sent.
                letter.must_step(EmailState::Pending, Some(&message)).await?;
                Err(after.map_or_else(|| Finish::failed(&message), |after| Finish::failed_until(&message, after)))
            }
            NotDelivered::Refused(message) => Err(letter.refused(&message).await),
            NotDelivered::Unknown(message) => {
                letter.must_step(EmailState::Uncertain, Some(&message)).await?;
                match self.uncertain {
                    Uncertain::Resend => Err(Finish::failed(message)),
                    Uncertain::Hold => Err(Finish::permanent(format!("{message}; {HELD}"))),
                }
            }
            NotDelivered::CalledOff(reason) => Err(Finish::failed(format!("the email was not sent: {reason}"))),
        }
    }
}

const HELD: &str = "it may have been delivered already, and `mail.uncertain` is `hold`: it is kept back; to send it again set `mail.uncertain = \"resend\"` and redrive the job";
const LOST: &str = "the job belongs to another attempt by now";

#[async_trait]
impl Handler for EmailHandler {
    async fn run(&self, context: JobContext) -> Finish {
        self.attempt(&context).await.unwrap_or_else(|finish| finish)
    }
}

fn finish_sent(record: &EmailRecord, answer: &str) -> Finish {
    Finish::done(Some(json!({ "message_id": record.message_id, "answer": answer })))
}

/// The delivery record of one message, held by one attempt.
struct Letter<'a> {
    context: &'a JobContext,
    key: EmailKey,
    record: EmailRecord,
}

impl<'a> Letter<'a> {
    async fn open(context: &'a JobContext, from: &Mailbox) -> Result<Self, Finish> {
        let job = &context.job;
        let key = EmailKey { tenant: job.tenant.clone(), key: job.fence.job.to_string() };
        let message_id = message::message_id(&job.tenant, job.fence.job, from);
        let new = NewEmail { key: key.clone(), job: job.fence.job, message_id };
        let record = context.store.email(&new).await.map_err(store_failed)?;
        Ok(Self { context, key, record })
    }

    async fn step(&self, to: EmailState, note: Option<&str>) -> Result<bool, StoreError> {
        self.context.store.email_move(&self.key, &self.context.job.fence, to, note).await
    }

    async fn must_step(&self, to: EmailState, note: Option<&str>) -> Result<(), Finish> {
        match self.step(to, note).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(Finish::failed(LOST)),
            Err(error) => Err(store_failed(error)),
        }
    }

    async fn refused(&self, reason: &str) -> Finish {
        match self.must_step(EmailState::Failed, Some(reason)).await {
            Ok(()) => Finish::permanent(reason),
            Err(finish) => finish,
        }
    }

    /// Records that it was sent. It has been, whatever the store says: trying harder only spares a later attempt the
    /// doubt, in case this one is not settled either.
    async fn confirm(&self, answer: &str) {
        for attempt in 1..=RECORD_TRIES {
            match self.step(EmailState::Sent, Some(answer)).await {
                Ok(_) => return,
                Err(error) => {
                    tracing::warn!(job = %self.context.job.fence.job, %error, "the email was sent, but this cannot be written down")
                }
            }
            if attempt < RECORD_TRIES {
                tokio::time::sleep(backoff::EMAIL_SENT.wait(attempt, 1.0)).await;
            }
        }
    }
}

fn store_failed(error: StoreError) -> Finish {
    Finish::failed(format!("the email's record: {error}"))
}
