//! How far the delivery of each email is, for each of its recipients; and to which addresses nothing is sent.

use std::sync::Arc;

use async_trait::async_trait;
use gristmill_core::Instant;
use gristmill_core::id::{BatchId, JobId};
use gristmill_core::job::{Fence, JobState};
use gristmill_core::letter::{RecipientState, SuppressionReason, UnknownPolicy};
use gristmill_core::mailing::MailSpec;
use sha2::{Digest, Sha256};

use super::state::{Email, Listed, Named, State};
use super::transition::{Transition, report_recipient};
use super::{ReferenceStore, mailing};
use crate::check;
use crate::error::{Result, StoreError};
use crate::sql::events::own;
use crate::{
    EMAIL_BYTES_MAX, EmailAttempt, EmailFilter, EmailKey, EmailRecord, EmailReport, EmailSaid, EmailStat, EmailState,
    EmailView, Emails, EmailsAccounted, MailingVariant, MailingView, NewEmail, Page, RecipientMove, RecipientView,
    ReportSuppression, Reported, StatsFilter, Suppression, SuppressionView, TRANSCRIPT_CHARS_MAX,
};

#[async_trait]
impl Emails for ReferenceStore {
    async fn email(&self, key: &EmailKey) -> Result<Option<EmailRecord>> {
        Ok(Transition::begin(self).state.emails.get(&named(key)).map(|email| email.record.clone()))
    }

    async fn email_begin(
        &self,
        key: &EmailKey,
        fence: &Fence,
        new: Option<&NewEmail>,
        policy: UnknownPolicy,
    ) -> Result<Option<EmailRecord>> {
        let mut t = Transition::begin(self);
        if !holds(&t.state, fence) {
            return Ok(None);
        }
        let now = t.now;
        if let Some(new) = new {
            let made = made(new, now)?;
            match t.state.emails.get_mut(&named(key)).map(Arc::make_mut) {
                None => drop(t.state.emails.insert(named(key), Arc::new(made))),
                Some(known) if known.job == fence.job && !known.record.frozen => complete(known, made, now),
                Some(_) => {}
            }
        }
        let suppressions = t.state.suppressions.clone();
        let Some(email) = t.state.emails.get_mut(&named(key)).map(Arc::make_mut) else { return Ok(None) };
        if email.job != fence.job {
            return Ok(None);
        }
        if !email.record.frozen {
            let record = email.record.clone();
            t.commit()?;
            return Ok(Some(record));
        }
        let policy = if std::mem::take(&mut email.again) { UnknownPolicy::Resend } else { policy };
        let settled = |state: RecipientState| !state.is_owed() && state != RecipientState::Unknown;
        let redriven = email.record.recipients.iter().all(|one| settled(one.state));
        let mut moved = false;
        for (one, hash) in email.record.recipients.iter_mut().zip(&email.hashes) {
            let stands = |stream: &str| {
                suppressions.get(&(key.tenant.clone(), *hash, stream.to_owned())).is_some_and(|entry| entry.stands(now))
            };
            let suppressed = stands("") || stands(&email.record.stream);
            moved |= begin(one, suppressed, redriven, policy, now);
        }
        if moved {
            sum(email, now);
        }
        let record = email.record.clone();
        t.commit()?;
        Ok(Some(record))
    }

    async fn email_move(
        &self,
        key: &EmailKey,
        fence: &Fence,
        moves: &[RecipientMove],
        said: Option<&EmailSaid>,
    ) -> Result<Option<Vec<u32>>> {
        let mut t = Transition::begin(self);
        let now = t.now;
        if !holds(&t.state, fence) {
            return Ok(None);
        }
        let Some(email) = t.state.emails.get_mut(&named(key)).map(Arc::make_mut) else { return Ok(None) };
        if email.job != fence.job {
            return Ok(None);
        }
        let (mut moved, mut bounced) = (Vec::new(), Vec::new());
        for step in moves {
            let hash = email.hashes.get(step.position as usize).copied();
            let Some(one) = email.record.recipients.get_mut(step.position as usize) else { continue };
            if !step.to.may_follow(one.state) {
                continue;
            }
            let note = step.note.as_deref().map(|note| check::plain(note, check::REASON_CHARS_MAX));
            (one.state, one.code, one.status, one.rule) = (step.to, step.code, step.status.clone(), step.rule.clone());
            (one.note, one.moved_at) = (note, now);
            moved.push(step.position);
            if let (Some(keep), Some(hash), RecipientState::Bounced) = (step.suppress, hash, step.to) {
                bounced.push((hash, keep, step.status.clone()));
            }
        }
        if !moved.is_empty() {
            sum(email, now);
        }
        if let Some(said) = said {
            let transcript = check::plain(&said.transcript, TRANSCRIPT_CHARS_MAX);
            let server = check::plain(&said.server, check::REASON_CHARS_MAX);
            let attempt = EmailAttempt { attempt: fence.attempt, server, transcript, ended_at: now };
            email.attempts.insert(fence.attempt, attempt);
        }
        for step in moves.iter().filter(|step| moved.contains(&step.position)) {
            report_recipient(&mut t, own::of_recipient(key, step.position, step.to, step.status.as_deref()));
        }
        for (address_hash, keep, note) in bounced {
            let (tenant, stream) = (key.tenant.clone(), String::new());
            let (reason, keep) = (SuppressionReason::Bounce, Some(keep));
            put(&mut t.state, &Suppression { tenant, address_hash, stream, reason, note, keep }, now)?;
        }
        t.commit()?;
        Ok(Some(moved))
    }

    async fn email_account(&self, after: Option<&EmailKey>, limit: u32) -> Result<EmailsAccounted> {
        let mut t = Transition::begin(self);
        let now = t.now;
        let limit = limit.max(1) as usize;
        let jobs: std::collections::BTreeMap<_, JobState> =
            t.state.jobs.iter().map(|(id, job)| (*id, job.state)).collect();
        let owed = |email: &Email| email.record.recipients.iter().any(|one| one.state.is_owed());
        let after = after.map(named);
        let behind = |key: &Named| after.as_ref().is_none_or(|after| key > after);
        let looked_at = t.state.emails.iter().filter(|(key, email)| behind(key) && owed(email));
        let keys: Vec<_> = looked_at.map(|(key, _)| key.clone()).take(limit).collect();
        let next = keys.last().filter(|_| keys.len() >= limit);
        let next = next.map(|(tenant, key)| EmailKey { tenant: tenant.clone(), key: key.clone() });
        let mut moved = 0;
        for key in keys {
            let Some(email) = t.state.emails.get_mut(&key).map(Arc::make_mut) else { continue };
            if jobs.get(&email.job).is_some_and(|state| !state.is_final()) {
                continue;
            }
            let done = jobs.get(&email.job) == Some(&JobState::Done);
            let cancelled = jobs.get(&email.job) == Some(&JobState::Cancelled);
            for one in email.record.recipients.iter_mut().filter(|one| one.state.is_owed()) {
                let (to, note) = match one.state {
                    RecipientState::Transmitted if done => (RecipientState::Sent, "its job ended well"),
                    RecipientState::Transmitted => (RecipientState::Unknown, "an attempt ended without an answer"),
                    _ if cancelled => (RecipientState::Cancelled, "its job was cancelled"),
                    _ => (RecipientState::Expired, "its job ended before a server had taken it"),
                };
                (one.state, one.moved_at) = (to, now);
                one.note.get_or_insert_with(|| note.to_owned());
                moved += 1;
            }
            sum(email, now);
        }
        t.commit()?;
        Ok(EmailsAccounted { moved, next })
    }

    async fn mailing(&self, tenant: &str, batch: BatchId) -> Result<Vec<MailingVariant>> {
        Ok(mailing::funnels(&Transition::begin(self).state, tenant, batch))
    }

    async fn mailings(&self, tenant: &str, limit: u32) -> Result<Vec<MailingView>> {
        Ok(mailing::newest(&Transition::begin(self).state, tenant, limit))
    }

    async fn hold_mailing(&self, tenant: &str, batch: BatchId, spec: &MailSpec) -> Result<Option<String>> {
        let mut t = Transition::begin(self);
        let held = mailing::hold(&mut t, tenant, batch, spec)?;
        t.commit()?;
        Ok(held)
    }

    async fn email_again(
        &self,
        tenant: &str,
        batch: BatchId,
        after: Option<JobId>,
        limit: u32,
        dry_run: bool,
    ) -> Result<Vec<JobId>> {
        let mut t = Transition::begin(self);
        let after = after.map(|job| job.to_string()).unwrap_or_default();
        let unsettled = |state| matches!(state, RecipientState::Deferred | RecipientState::Unknown);
        let found = t.state.emails.iter().filter(|((own, key), email)| {
            own == tenant
                && email.view.batch == Some(batch)
                && *key > after
                && email.record.recipients.iter().any(|one| unsettled(one.state))
        });
        let keys: Vec<Named> = found.map(|(key, _)| key.clone()).take(limit.max(1) as usize).collect();
        let mut jobs = Vec::new();
        for key in keys {
            let Some(email) = t.state.emails.get_mut(&key).map(Arc::make_mut) else { continue };
            email.again |= email.record.recipients.iter().any(|one| one.state == RecipientState::Unknown);
            jobs.push(email.job);
        }
        if !dry_run {
            t.commit()?;
        }
        Ok(jobs)
    }

    async fn email_stats(&self, filter: &StatsFilter) -> Result<Vec<EmailStat>> {
        Ok(mailing::stats(&Transition::begin(self), filter))
    }

    async fn email_content(&self, key: &EmailKey) -> Result<Option<Vec<u8>>> {
        let t = Transition::begin(self);
        let email = t.state.emails.get(&named(key));
        Ok(email.and_then(|email| email.content.as_ref().map(|content| content.to_vec())))
    }

    async fn email_attempts(&self, key: &EmailKey) -> Result<Vec<EmailAttempt>> {
        let t = Transition::begin(self);
        let email = t.state.emails.get(&named(key));
        Ok(email.map(|email| email.attempts.values().cloned().collect()).unwrap_or_default())
    }

    async fn email_view(&self, key: &EmailKey) -> Result<Option<EmailView>> {
        let t = Transition::begin(self);
        let email = t.state.emails.get(&named(key));
        Ok(email.map(|email| EmailView { key: key.key.clone(), ..email.view.clone() }))
    }

    async fn emails(&self, filter: &EmailFilter, page: &Page) -> Result<Vec<EmailView>> {
        let t = Transition::begin(self);
        let wanted = |(key, email): &(&(String, String), &Arc<Email>)| {
            key.0 == filter.tenant
                && page.after.as_ref().is_none_or(|after| key.1 < *after)
                && filter.state.is_none_or(|state| email.record.state == state)
                && filter.address_hash.is_none_or(|hash| email.hashes.contains(&hash))
                && (filter.address_hash.is_some() || filter.batch.is_none_or(|batch| email.view.batch == Some(batch)))
        };
        let rows = t.state.emails.iter().rev().filter(wanted).take(page.limit.clamp(1, 1_000) as usize);
        Ok(rows.map(|(key, email)| EmailView { key: key.1.clone(), ..email.view.clone() }).collect())
    }

    async fn email_of_envelope(&self, envelope_id: &str) -> Result<Option<EmailKey>> {
        let t = Transition::begin(self);
        let of = |(key, email): (&(String, String), &Arc<Email>)| {
            let named = gristmill_core::letter::envelope_id(&email.record.message_id) == envelope_id;
            named.then(|| EmailKey { tenant: key.0.clone(), key: key.1.clone() })
        };
        Ok(t.state.emails.iter().find_map(of))
    }

    async fn email_report(&self, report: &EmailReport) -> Result<Reported> {
        check::report(report)?;
        let mut t = Transition::begin(self);
        let now = t.now;
        let Some(email) = t.state.emails.get_mut(&named(&report.key)).map(Arc::make_mut) else {
            return Ok(Reported::Unknown);
        };
        let place = match report.address_hash {
            Some(hash) => email.hashes.iter().position(|known| *known == hash),
            None => (email.hashes.len() == 1).then_some(0),
        };
        let Some(place) = place else { return Ok(Reported::Unknown) };
        let (hash, one) = (email.hashes[place], &mut email.record.recipients[place]);
        if !report.to.may_follow(one.state) {
            return Ok(Reported::Known);
        }
        let note = report.note.as_deref().map(|note| check::plain(note, check::REASON_CHARS_MAX));
        (one.state, one.code, one.status) = (report.to, report.code, report.status.clone());
        (one.rule, one.note, one.moved_at) = (Some(report.rule.clone()), note, now);
        sum(email, now);
        let position = u32::try_from(place).unwrap_or(u32::MAX);
        report_recipient(&mut t, own::of_recipient(&report.key, position, report.to, report.status.as_deref()));
        if let Some(ReportSuppression { reason, keep }) = report.suppress.clone() {
            let (tenant, stream, note) = (report.key.tenant.clone(), String::new(), report.status.clone());
            put(&mut t.state, &Suppression { tenant, address_hash: hash, stream, reason, note, keep }, now)?;
        }
        t.commit()?;
        Ok(Reported::Moved)
    }

    async fn suppress(&self, entries: &[Suppression]) -> Result<u64> {
        check::suppressions(entries)?;
        let mut t = Transition::begin(self);
        let now = t.now;
        let mut count = 0;
        for entry in entries {
            count += u64::from(put(&mut t.state, entry, now)?);
        }
        t.commit()?;
        Ok(count)
    }

    async fn unsuppress(&self, tenant: &str, address_hash: &[u8; 32], stream: &str) -> Result<bool> {
        let mut t = Transition::begin(self);
        let key = (tenant.to_owned(), *address_hash, stream.to_owned());
        let gone = t.state.suppressions.remove(&key).is_some();
        t.commit()?;
        Ok(gone)
    }

    async fn suppressions_of(&self, tenant: &str, address_hash: &[u8; 32]) -> Result<Vec<SuppressionView>> {
        let t = Transition::begin(self);
        let of = t
            .state
            .suppressions
            .iter()
            .filter(|((own, hash, _), entry)| own == tenant && hash == address_hash && entry.stands(t.now));
        Ok(of.map(listed).collect())
    }

    async fn suppressions(&self, tenant: &str, page: &Page) -> Result<Vec<SuppressionView>> {
        let t = Transition::begin(self);
        let after = match &page.after {
            None => None,
            Some(after) => Some(entry_key(after)?),
        };
        let wanted = t.state.suppressions.iter().filter(|((own, hash, stream), entry)| {
            let later = after.as_ref().is_none_or(|after| (hash.to_vec(), stream.clone()) > *after);
            own == tenant && entry.stands(t.now) && later
        });
        Ok(wanted.take(page.limit.clamp(1, 1_000) as usize).map(listed).collect())
    }
}

fn listed(((_, hash, stream), entry): (&(String, [u8; 32], String), &Listed)) -> SuppressionView {
    SuppressionView {
        address_sha256: hex::encode(hash),
        stream: stream.clone(),
        reason: entry.reason,
        note: entry.note.clone(),
        created_at: entry.created_at,
        until: entry.until,
    }
}

fn named(key: &EmailKey) -> (String, String) {
    (key.tenant.clone(), key.key.clone())
}

fn entry_key(text: &str) -> Result<(Vec<u8>, String)> {
    let wrong = || StoreError::Invalid(format!("`{text}` is no key of an entry; it is HASH/STREAM"));
    let (hash, stream) = text.split_once('/').ok_or_else(wrong)?;
    Ok((hex::decode(hash).map_err(|_| wrong())?, stream.to_owned()))
}

fn holds(state: &State, fence: &Fence) -> bool {
    state.jobs.get(&fence.job).is_some_and(|job| {
        job.state == JobState::Running && job.attempt == fence.attempt && job.worker == Some(fence.worker)
    })
}

pub(super) fn made(new: &NewEmail, now: Instant) -> Result<Email> {
    if new.content.as_ref().is_ok_and(|bytes| bytes.len() > EMAIL_BYTES_MAX) {
        return Err(StoreError::Invalid(format!("a message has at most {EMAIL_BYTES_MAX} bytes")));
    }
    let plain = |text: &str| check::plain(text, check::REASON_CHARS_MAX);
    let why = new.content.as_ref().err().map(|why| plain(why));
    let first = if why.is_some() { RecipientState::Dropped } else { RecipientState::Queued };
    let recipient = |(position, one): (u32, &crate::NewRecipient)| RecipientView {
        position,
        role: one.role,
        address: one.address.clone(),
        state: first,
        attempts: 0,
        code: None,
        status: None,
        rule: None,
        note: why.clone(),
        may_be_twice: false,
        moved_at: now,
    };
    let state = if why.is_some() { EmailState::Failed } else { EmailState::Pending };
    let record = EmailRecord {
        state,
        message_id: new.message_id.clone(),
        created_at: now,
        sender: Some(new.sender.clone()),
        stream: new.stream.clone(),
        frozen: new.content.is_ok(),
        recipients: (0..).zip(&new.recipients).map(recipient).collect(),
        variant: None,
    };
    let content = new.content.as_ref().ok();
    let view = EmailView {
        key: String::new(),
        job: new.job,
        batch: new.batch,
        state,
        stream: new.stream.clone(),
        message_id: new.message_id.clone(),
        sender: Some(new.sender.clone()),
        subject: Some(plain(&new.subject)),
        template: new.template.clone(),
        recipient_count: u32::try_from(new.recipients.len()).unwrap_or(u32::MAX),
        first_recipient: new.recipients.first().map(|one| one.address.clone()),
        size: content.map(|bytes| bytes.len() as u64),
        sha256: content.map(|bytes| hex::encode(Sha256::digest(bytes))),
        created_at: now,
        moved_at: now,
    };
    Ok(Email {
        job: new.job,
        record,
        view,
        hashes: new.recipients.iter().map(|one| one.address_hash).collect(),
        content: content.map(|bytes| Arc::from(bytes.as_slice())),
        attempts: std::collections::BTreeMap::new(),
        moved_at: now,
        again: false,
    })
}

/// One that could not be made gets its bytes; who its recipients are stays. If it cannot be made, those who wait for it
/// do not get it.
fn complete(known: &mut Email, made: Email, now: Instant) {
    use RecipientState::*;
    if let Some(why) = made.record.recipients.first().filter(|_| !made.record.frozen).map(|one| one.note.clone()) {
        let mut dropped = false;
        for one in known.record.recipients.iter_mut().filter(|one| matches!(one.state, Queued | Sending | Deferred)) {
            (one.state, one.note, one.moved_at) = (Dropped, why.clone(), now);
            dropped = true;
        }
        if dropped {
            sum(known, now);
        }
    }
    if known.record.variant.is_some() {
        (known.record.created_at, known.view.created_at) = (now, now);
    }
    let view = EmailView {
        job: known.view.job,
        batch: known.view.batch,
        message_id: known.view.message_id.clone(),
        state: known.view.state,
        created_at: known.view.created_at,
        moved_at: known.view.moved_at,
        recipient_count: known.view.recipient_count,
        first_recipient: known.view.first_recipient.clone(),
        ..made.view
    };
    (known.view, known.content) = (view, made.content);
    (known.record.sender, known.record.stream) = (made.record.sender, made.record.stream);
    known.record.frozen = made.record.frozen;
}

/// What an attempt begins with, for one recipient: written from the states' meaning and not from the table that the
/// databases use.
fn begin(one: &mut RecipientView, suppressed: bool, redriven: bool, policy: UnknownPolicy, now: Instant) -> bool {
    use RecipientState::*;
    let lost = matches!(one.state, Transmitted | Unknown);
    let to = if lost {
        match policy {
            UnknownPolicy::Resend if !suppressed => Sending,
            UnknownPolicy::Accept => Sent,
            _ if one.state == Unknown => return false,
            _ => Unknown,
        }
    } else if matches!(one.state, Queued | Sending | Deferred) || (redriven && !suppressed && one.state.is_failed()) {
        if suppressed { Suppressed } else { Sending }
    } else {
        return false;
    };
    if to == Suppressed {
        one.note = Some("the address is on the list of those to which nothing is sent".to_owned());
    } else if lost {
        one.note = Some("an attempt ended without an answer".to_owned());
    }
    one.attempts += u32::from(to == Sending);
    one.may_be_twice |= lost && to == Sending;
    (one.state, one.moved_at) = (to, now);
    true
}

pub(super) fn sum(email: &mut Email, now: Instant) {
    use RecipientState::*;
    let any = |states: &[RecipientState]| email.record.recipients.iter().any(|one| states.contains(&one.state));
    let state = if any(&[Transmitted]) {
        EmailState::Sending
    } else if any(&[Queued, Sending, Deferred]) {
        EmailState::Pending
    } else if any(&[Unknown]) {
        EmailState::Uncertain
    } else if any(&[Bounced, Dropped, Expired, Cancelled]) || !any(&[Sent, Delivered, Complained]) {
        EmailState::Failed
    } else {
        EmailState::Sent
    };
    (email.record.state, email.view.state) = (state, state);
    (email.moved_at, email.view.moved_at) = (now, now);
}

fn put(state: &mut State, entry: &Suppression, now: Instant) -> Result<bool> {
    let too_long = || StoreError::Invalid("nothing is kept on a list for so long".to_owned());
    let until = match entry.keep {
        None => None,
        Some(keep) => {
            let until = chrono::TimeDelta::from_std(keep).ok().and_then(|keep| now.checked_add_signed(keep));
            Some(until.ok_or_else(too_long)?)
        }
    };
    let key = (entry.tenant.clone(), entry.address_hash, entry.stream.clone());
    let rank = |reason: SuppressionReason| match reason {
        SuppressionReason::Complaint => 2,
        SuppressionReason::Bounce => 1,
        SuppressionReason::Manual | SuppressionReason::Unsubscribe => 0,
    };
    let stronger = state.suppressions.get(&key).filter(|known| known.stands(now));
    if stronger.is_some_and(|known| rank(known.reason) > rank(entry.reason)) {
        return Ok(false);
    }
    let note = entry.note.as_deref().map(|note| check::plain(note, check::REASON_CHARS_MAX));
    state.suppressions.insert(key, Listed { reason: entry.reason, note, created_at: now, until });
    Ok(true)
}
