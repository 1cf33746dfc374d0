//! Kind `email`: one message to its recipients, enqueued exactly once, and sent to each of them once unless a crash
//! falls between the data and the server's answer (RFC 1047).
//!
//! An attempt asks the server for the recipients that are still owed, and for no other: what one recipient is refused
//! makes no difference to the rest. Which step may follow which is `gristmill_core::letter`; what a server's answer
//! means is `gristmill_mail::classify`.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use gristmill_core::backoff;
use gristmill_core::duration::{self, Span};
use gristmill_core::letter::{RecipientState, UnknownPolicy};
use gristmill_core::mail_flow::domain_of;
use gristmill_mail::Address;
use gristmill_mail::transport::{Answer, Report};
use gristmill_store::{
    EmailKey, EmailRecord, EmailSaid, NewEmail, RecipientMove, RecipientView, StoreError, failpoint,
};
use serde_json::json;

use super::delivery::{Circumstances, Conclusion, Next, Standing, conclude, fitting, step};
use crate::handler::{Finish, Handler, JobContext};
use crate::kind::payload::{self, EmailPayload};
use crate::mail::hold;
use crate::mail::made::{Identity, Maker};
use crate::mail::relays::{Admission, Relays};
use crate::mail::{Letter, Rendered, Transport};
use crate::settings::{MailSettings, Uncertain};

/// How many times to try recording what became of a message.
const RECORD_TRIES: u32 = 3;

/// Sends emails.
#[derive(Debug)]
pub struct EmailHandler {
    transport: Arc<Transport>,
    maker: Maker,
    settings: MailSettings,
}

impl EmailHandler {
    /// Creates one from the settings. Passwords, certificates, keys and the sender's address are read here.
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
    /// When `from` is not an address, or a key cannot be read.
    pub fn with_transport(settings: &MailSettings, transport: Arc<Transport>) -> Result<Self, String> {
        Ok(Self { transport, maker: Maker::new(settings)?, settings: settings.clone() })
    }

    /// Renders a payload: for handlers and for previews.
    ///
    /// # Errors
    ///
    /// When the payload has neither a template nor a subject with a text, or both, or the template
    /// cannot be filled.
    pub fn render(&self, payload: &EmailPayload) -> Result<Rendered, String> {
        self.maker.render(payload)
    }

    /// What becomes of a recipient of whom nothing is known. Where handing over twice leaves one, it is handed over
    /// again.
    fn policy(&self) -> UnknownPolicy {
        match self.settings.uncertain {
            _ if self.transport.is_idempotent() => UnknownPolicy::Resend,
            Uncertain::Resend => UnknownPolicy::Resend,
            Uncertain::Hold => UnknownPolicy::Hold,
            Uncertain::Accept => UnknownPolicy::Accept,
        }
    }

    async fn attempt(&self, context: &JobContext) -> Result<Finish, Finish> {
        let held = Held::new(context);
        let known = context.store.email(&held.key).await.map_err(store_failed)?;
        let expired = self.expired(context).map_err(Finish::permanent)?;
        // One that is too late is given up, and takes no place of those that are not.
        let admission = match self.transport.relays().filter(|_| expired.is_none()) {
            Some(relays) => self.admitted(relays, context, known.as_ref()).await?,
            None => Admission::default(),
        };
        let (record, new) = self.begin(&held, known).await?;
        if !record.frozen {
            let why = new
                .as_ref()
                .and_then(|new| new.content.clone().err())
                .unwrap_or_else(|| "there is no message".to_owned());
            return Err(Finish::permanent(why));
        }
        if record.recipients.iter().any(|one| one.may_be_twice && one.state == RecipientState::Sending) {
            tracing::warn!(job = %context.job.fence.job, "an earlier attempt may have sent this email; sending it again");
        }
        let owed: Vec<RecipientView> =
            record.recipients.iter().filter(|one| one.state == RecipientState::Sending).cloned().collect();
        if owed.is_empty() {
            let standings: Vec<Standing> = record.recipients.iter().map(standing).collect();
            return Ok(self.finish(&record, &standings, "an earlier attempt has sent it"));
        }
        if let Some(within) = expired {
            return self.expire(&held, &owed, within).await;
        }
        // What was made now is what is kept.
        let made = new.and_then(|new| new.content.ok());
        let held_back: Vec<Option<Answer>> = owed.iter().map(|one| admission.holds(&one.address)).collect();
        let asked: Vec<RecipientView> =
            owed.iter().zip(&held_back).filter(|(_, held)| held.is_none()).map(|(one, _)| one.clone()).collect();
        let report = self.hand_over(&held, &record, &asked, made).await?;
        drop(admission);
        if report.answers.iter().any(|answer| answer.accepted().is_some()) {
            failpoint::point("email.accepted");
        }
        let mut answers = report.answers.into_iter();
        let nothing = || Answer::CalledOff("the server was not asked".to_owned());
        let answers = held_back.into_iter().map(|held| held.unwrap_or_else(|| answers.next().unwrap_or_else(nothing)));
        let report = Report { answers: answers.collect(), ..report };
        self.settle(&held, &record, &owed, report).await
    }

    /// Finds which of the recipients may be sent to now. An error holds the job up: none may, or there is no relay.
    async fn admitted<'a>(
        &self,
        relays: &'a Relays,
        context: &JobContext,
        known: Option<&EmailRecord>,
    ) -> Result<Admission<'a>, Finish> {
        let domains: BTreeSet<String> = match known.filter(|record| record.frozen) {
            Some(record) => {
                let all = &record.recipients;
                let unsettled = |one: &&RecipientView| one.state.is_owed() || one.state == RecipientState::Unknown;
                let some: Vec<&RecipientView> = all.iter().filter(unsettled).collect();
                // Nothing is owed any more: it is a redrive, or it has only to be settled.
                let asked =
                    if some.is_empty() { all.iter().filter(|one| one.state.is_failed()).collect() } else { some };
                asked.iter().map(|one| domain_of(&one.address)).collect()
            }
            None => {
                let payload: EmailPayload =
                    payload::read(payload::EMAIL, &context.job.payload).map_err(Finish::permanent)?;
                self.maker.domains(&payload).map_err(Finish::permanent)?
            }
        };
        if domains.is_empty() {
            return Ok(Admission::default());
        }
        if let Some((why, wait)) = relays.all_paused(&context.store, context.job.snoozes).await {
            return Err(Finish::held(why, wait));
        }
        let asking = (context.job.tenant.as_str(), context.job.fence.job, context.job.snoozes);
        let admission = relays.admit(&context.store, asking, &domains).await.map_err(store_failed)?;
        match admission.holds_all() {
            Some((why, wait)) => Err(Finish::held(why, wait)),
            None => Ok(admission),
        }
    }

    /// Hands the message over for these recipients.
    async fn hand_over(
        &self,
        held: &Held<'_>,
        record: &EmailRecord,
        asked: &[RecipientView],
        made: Option<Vec<u8>>,
    ) -> Result<Report, Finish> {
        let letter = self.letter(held, record, asked, made).await?;
        // Those of whom a relay has had the first bytes, and not the last.
        let begun: Mutex<BTreeSet<u32>> = Mutex::default();
        let transmitted = |taken: Vec<usize>| {
            let positions: Vec<u32> = taken.iter().map(|index| asked[*index].position).collect();
            let again: Vec<u32> = {
                let mut begun = begun.lock().unwrap_or_else(PoisonError::into_inner);
                positions.iter().copied().filter(|position| !begun.insert(*position)).collect()
            };
            let of =
                |positions: &[u32], to| positions.iter().map(|one| RecipientMove::to(*one, to)).collect::<Vec<_>>();
            let mut steps = vec![of(&positions, RecipientState::Transmitted)];
            if !again.is_empty() {
                // The connection broke before the final dot: that server has no message, and another is asked.
                steps.insert(0, of(&again, RecipientState::Sending));
                steps.insert(0, of(&again, RecipientState::Deferred));
            }
            async move {
                for moves in steps {
                    match held.step(&moves, None).await {
                        Ok(Some(moved)) if moved.len() == moves.len() => {}
                        Ok(_) => return Err(LOST.to_owned()),
                        Err(error) => return Err(error.to_string()),
                    }
                }
                failpoint::point("email.sending");
                Ok(())
            }
        };
        Ok(self.transport.send(&held.context.store, &letter, transmitted).await)
    }

    /// Begins the attempt in the store. Returned is the message, too, if it was made now.
    async fn begin(
        &self,
        held: &Held<'_>,
        known: Option<EmailRecord>,
    ) -> Result<(EmailRecord, Option<NewEmail>), Finish> {
        let context = held.context;
        let new = match &known {
            Some(record) if record.frozen => None,
            _ => Some(self.make(context, known.as_ref()).map_err(Finish::permanent)?),
        };
        let begun = context.store.email_begin(&held.key, &context.job.fence, new.as_ref(), self.policy()).await;
        let record = begun.map_err(store_failed)?.ok_or_else(|| Finish::failed(LOST))?;
        Ok((record, new))
    }

    fn make(&self, context: &JobContext, known: Option<&EmailRecord>) -> Result<NewEmail, String> {
        let payload: EmailPayload = payload::read(payload::EMAIL, &context.job.payload)?;
        let identity = Identity {
            job: context.job.fence.job,
            message_id: known.map(|record| record.message_id.as_str()),
            tenant: &context.job.tenant,
            // The job's own instants come from the database's clock. What is not yet frozen was never sent: a message of
            // a mailing may have waited for long.
            date: known
                .filter(|record| record.variant.is_none())
                .map_or(context.job.started_at, |record| record.created_at),
        };
        Ok(NewEmail { batch: context.job.batch, ..self.maker.make(&payload, identity)? })
    }

    /// The time within which it should have been sent, if that is over.
    fn expired(&self, context: &JobContext) -> Result<Option<Span>, String> {
        let payload: EmailPayload = payload::read(payload::EMAIL, &context.job.payload)?;
        let age = (context.job.started_at - context.job.created_at).to_std().unwrap_or_default();
        Ok(payload.expires_in.filter(|within| age > within.0))
    }

    /// Gives up those that are still owed a message which is of no more use.
    async fn expire(&self, held: &Held<'_>, owed: &[RecipientView], within: Span) -> Result<Finish, Finish> {
        let why = format!("it was not sent within {}, its `expires_in`", duration::format(within.0));
        let moves: Vec<RecipientMove> = owed
            .iter()
            .map(|one| RecipientMove {
                rule: Some("expired".to_owned()),
                note: Some(one.note.clone().unwrap_or_else(|| why.clone())),
                ..RecipientMove::to(one.position, RecipientState::Expired)
            })
            .collect();
        match held.step(&moves, None).await.map_err(store_failed)? {
            Some(_) => Err(Finish::permanent(format!("{why}; {} of its recipients do not get it", owed.len()))),
            None => Err(Finish::failed(LOST)),
        }
    }

    async fn letter(
        &self,
        held: &Held<'_>,
        record: &EmailRecord,
        owed: &[RecipientView],
        made: Option<Vec<u8>>,
    ) -> Result<Letter, Finish> {
        let bytes = match made {
            Some(bytes) => Some(bytes),
            None => held.context.store.email_content(&held.key).await.map_err(store_failed)?,
        };
        let bytes = bytes.ok_or_else(|| Finish::permanent("the message is not kept any more"))?;
        let address = |text: &str| text.parse::<Address>().map_err(|_| NO_ADDRESS);
        let recipients: Result<Vec<Address>, &str> = owed.iter().map(|one| address(&one.address)).collect();
        Ok(Letter {
            sender: address(record.sender.as_deref().unwrap_or_default()).map_err(Finish::permanent)?,
            recipients: recipients.map_err(Finish::permanent)?,
            message_id: record.message_id.clone(),
            date: record.created_at,
            bytes,
        })
    }

    async fn settle(
        &self,
        held: &Held<'_>,
        record: &EmailRecord,
        owed: &[RecipientView],
        report: Report,
    ) -> Result<Finish, Finish> {
        let job = &held.context.job;
        let about = Circumstances {
            created_at: record.created_at,
            now: job.started_at,
            last: job.fence.attempt >= job.max_attempts,
            policy: self.policy(),
            suppress: self.settings.suppress_bounced.0,
            unasked: backoff::MAIL_UNREACHED.wait(job.snoozes.saturating_add(1), 1.0),
        };
        let mut standings: Vec<Standing> = record.recipients.iter().map(standing).collect();
        let mut moves = Vec::new();
        for (one, answer) in owed.iter().zip(&report.answers) {
            let (moved, next) = step(one.position, answer, &about);
            let after_the_data = matches!(answer.phase(), Some(phase) if phase.is_with_the_data());
            let moved = fitting(moved, after_the_data);
            let place = record.recipients.iter().position(|known| known.position == one.position).unwrap_or_default();
            standings[place] = Standing { state: moved.to, rule: moved.rule.clone(), note: moved.note.clone(), next };
            moves.push(moved);
        }
        let bounced = moves.iter().any(|moved| moved.to == RecipientState::Bounced);
        let said = EmailSaid { server: report.server.clone(), transcript: report.transcript.clone() };
        // Where no server was asked, there is nothing that one has said.
        let said = (!said.server.is_empty()).then_some(&said);
        if let Err(finish) = held.record(&moves, said).await {
            // The end of the job says the same of all of them, once the store can be written to.
            if conclude(&standings) != Conclusion::Done {
                return Err(finish);
            }
        }
        if let Some(batch) = job.batch.filter(|_| bounced) {
            hold::mailing(&*held.context.store, &job.tenant, batch).await;
        }
        let answer = report.answers.iter().find_map(|answer| answer.accepted()).unwrap_or_default();
        let answer = match *self.transport {
            Transport::Relays(_) | Transport::Sandbox => answer.as_str(),
            // Where there is no server there is no reply code either.
            Transport::Folder(_) | Transport::Memory(_) => answer.strip_prefix("250 ").unwrap_or(&answer),
        };
        Ok(self.finish(record, &standings, answer))
    }

    fn finish(&self, record: &EmailRecord, standings: &[Standing], answer: &str) -> Finish {
        match conclude(standings) {
            Conclusion::Done => {
                let sent = standings.iter().filter(|one| one.state.is_taken()).count();
                let answer = if sent == 0 { "nothing is sent to these addresses" } else { answer };
                let output = json!({
                    "message_id": record.message_id, "answer": answer, "sent": sent,
                    "suppressed": standings.len() - sent,
                });
                Finish::done(Some(output))
            }
            Conclusion::Again(message, Some(after)) => Finish::failed_until(message, after),
            Conclusion::Paused(message, after) => Finish::held(message, after),
            Conclusion::Again(message, None) => Finish::failed(message),
            Conclusion::Unknown(message) => match self.policy() {
                UnknownPolicy::Hold => Finish::permanent(format!("{message}; {HELD}")),
                UnknownPolicy::Resend | UnknownPolicy::Accept => Finish::failed(message),
            },
            Conclusion::Failed(message) => match &record.variant {
                // A mailing has an end for a recipient that is refused, and no operator looks for it among dead letters.
                Some(_) if standings.iter().all(|one| one.state == RecipientState::Bounced) => {
                    Finish::done(Some(json!({ "message_id": record.message_id, "answer": message, "bounced": 1 })))
                }
                _ => Finish::permanent(message),
            },
        }
    }
}

const HELD: &str = "it may have been delivered already, and `mail.uncertain` is `hold`: it is kept back; to send it again set `mail.uncertain = \"resend\"` and redrive the job";
const NO_ADDRESS: &str = "the record of the message holds what is no address";
const LOST: &str = "the job belongs to another attempt by now";

#[async_trait]
impl Handler for EmailHandler {
    async fn run(&self, context: JobContext) -> Finish {
        self.attempt(&context).await.unwrap_or_else(|finish| finish)
    }
}

fn standing(one: &RecipientView) -> Standing {
    Standing { state: one.state, rule: one.rule.clone(), note: one.note.clone(), next: Next::default() }
}

/// The delivery record of one message, held by one attempt.
struct Held<'a> {
    context: &'a JobContext,
    key: EmailKey,
}

impl<'a> Held<'a> {
    fn new(context: &'a JobContext) -> Self {
        let key = EmailKey { tenant: context.job.tenant.clone(), key: context.job.fence.job.to_string() };
        Self { context, key }
    }

    async fn step(&self, moves: &[RecipientMove], said: Option<&EmailSaid>) -> Result<Option<Vec<u32>>, StoreError> {
        self.context.store.email_move(&self.key, &self.context.job.fence, moves, said).await
    }

    /// Records what became of the recipients. It has become so, whatever the store says: trying harder only spares a
    /// later attempt the doubt.
    async fn record(&self, moves: &[RecipientMove], said: Option<&EmailSaid>) -> Result<(), Finish> {
        for attempt in 1.. {
            match self.step(moves, said).await {
                Ok(Some(_)) => return Ok(()),
                Ok(None) => return Err(Finish::failed(LOST)),
                Err(error) if attempt >= RECORD_TRIES => return Err(store_failed(error)),
                Err(error) => {
                    tracing::warn!(job = %self.context.job.fence.job, %error, "what became of the email cannot be written down")
                }
            }
            tokio::time::sleep(backoff::EMAIL_SENT.wait(attempt, 1.0)).await;
        }
        Ok(())
    }
}

fn store_failed(error: StoreError) -> Finish {
    Finish::failed(format!("the email's record: {error}"))
}
