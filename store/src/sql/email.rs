//! Delivery records of emails, guarded by the fence of the job that delivers.

use gristmill_core::id::{BatchId, JobId};
use gristmill_core::job::Fence;
use gristmill_core::letter::{RecipientState, SuppressionReason, UnknownPolicy, begun, envelope_id};
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};

use super::events::{own, published};
use super::mailing::{Changes, Counted};
use super::suppressions::{SUPPRESS, until};
use super::{Columns, Sql, values};
use crate::check;
use crate::error::{Result, StoreError};
use crate::{
    EMAIL_BYTES_MAX, EmailAttempt, EmailFilter, EmailKey, EmailRecord, EmailReport, EmailSaid, EmailState, EmailView,
    NewEmail, Page, RecipientMove, RecipientView, Reported, TRANSCRIPT_CHARS_MAX, domain_of, email_state,
};

/// The job's row is locked until the commit: a rescue cannot come between the check and what follows.
const HOLDS: &str = "
SELECT id FROM job WHERE id = $1 AND attempt = $2 AND worker_id = $3 AND state = 'running' FOR SHARE";

const READ: &str = "
SELECT state, message_id, created_at, sender, stream, size, job_id, batch_id, variant, again FROM email
WHERE tenant = $1 AND key = $2";

const MAKE: &str = "
INSERT INTO email (tenant, key, job_id, state, message_id, created_at, moved_at, batch_id, stream, sender, subject,
                   template, sha256, size, note, envelope_id)
VALUES ($1, $2, $3, 'pending', $4, now(), now(), $5, $6, $7, $8, $9, $10, $11, $12, $13) ON CONFLICT DO NOTHING";

/// A message without content has neither hash nor size.
const NO_CONTENT: &str = "UPDATE email SET sha256 = NULL, size = NULL WHERE tenant = $1 AND key = $2";

/// One of an earlier version has neither recipients nor content. One of a mailing was enqueued, possibly long ago: it is
/// as old as its bytes.
const COMPLETE: &str = "
UPDATE email SET stream = $3, sender = $4, subject = $5, template = $6, sha256 = $7, size = $8,
    created_at = CASE WHEN variant IS NULL THEN created_at ELSE now() END
WHERE tenant = $1 AND key = $2";

const MAKE_CONTENT: &str =
    "INSERT INTO email_content (tenant, key, bytes) VALUES ($1, $2, $3) ON CONFLICT (tenant, key) DO NOTHING";

const MAKE_RECIPIENT: &str = "
INSERT INTO email_recipient (tenant, key, position, role, address, address_hash, state, note, domain, moved_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, now()) ON CONFLICT (tenant, key, position) DO NOTHING";

const RECIPIENTS: &str = "
SELECT position, role, address, state, attempts, code, status, rule, note, may_be_twice, moved_at
FROM email_recipient WHERE tenant = $1 AND key = $2 ORDER BY position";

/// The places of those to whom nothing is sent.
const SUPPRESSED: &str = "
SELECT r.position FROM email_recipient r WHERE r.tenant = $1 AND r.key = $2 AND EXISTS (
    SELECT 1 FROM suppression s WHERE s.tenant = $1 AND s.address_hash = r.address_hash AND s.stream IN ('', $3)
      AND (s.until IS NULL OR s.until > now()))";

/// Guarded by the state that was seen.
const MOVE: &str = "
UPDATE email_recipient SET state = e.value ->> 2, attempts = email_recipient.attempts + (e.value ->> 3)::bigint,
    code = (e.value ->> 4)::bigint, status = e.value ->> 5, rule = e.value ->> 6, note = e.value ->> 7,
    may_be_twice = CASE WHEN e.value ->> 8 = 'twice' THEN true ELSE email_recipient.may_be_twice END, moved_at = now()
FROM json_array_elements($3::json) AS e
WHERE email_recipient.tenant = $1 AND email_recipient.key = $2 AND email_recipient.position = (e.value ->> 0)::bigint
  AND email_recipient.state = e.value ->> 1 RETURNING position";

const SUMMED: &str = "UPDATE email SET state = $3, moved_at = now() WHERE tenant = $1 AND key = $2";

const SAID: &str = "
INSERT INTO email_attempt (tenant, key, attempt, server, transcript, ended_at) VALUES ($1, $2, $3, $4, $5, now())
ON CONFLICT (tenant, key, attempt) DO UPDATE SET server = excluded.server, transcript = excluded.transcript,
    ended_at = excluded.ended_at";

const HASH_OF: &str = "SELECT address_hash FROM email_recipient WHERE tenant = $1 AND key = $2 AND position = $3";

const CONTENT: &str = "SELECT bytes FROM email_content WHERE tenant = $1 AND key = $2";

const ATTEMPTS: &str = "
SELECT attempt, server, transcript, ended_at FROM email_attempt WHERE tenant = $1 AND key = $2 ORDER BY attempt";

macro_rules! messages {
    ($rest:literal) => {
        concat!(
            "SELECT m.key, m.job_id, m.batch_id, m.state, m.stream, m.message_id, m.sender, m.subject, m.template, m.size, ",
            "m.sha256, m.created_at, m.moved_at, ",
            "(SELECT count(*) FROM email_recipient r WHERE r.tenant = m.tenant AND r.key = m.key) AS recipient_count, ",
            "(SELECT r.address FROM email_recipient r WHERE r.tenant = m.tenant AND r.key = m.key AND r.position = 0) ",
            "AS first_recipient FROM email m WHERE m.tenant = $1 ",
            $rest
        )
    };
}

/// A statement for each filter: one for all could use no index, because it is planned once for whatever comes.
const LIST: &str = messages!("AND ($2::text IS NULL OR m.key < $2) ORDER BY m.key DESC LIMIT $3");

const LIST_IN_STATE: &str =
    messages!("AND ($2::text IS NULL OR m.key < $2) AND m.state = $4 ORDER BY m.key DESC LIMIT $3");

const LIST_TO: &str = messages!(
    "AND ($2::text IS NULL OR m.key < $2) AND ($4::text IS NULL OR m.state = $4)
     AND m.key IN (SELECT r.key FROM email_recipient r WHERE r.address_hash = $5 AND r.tenant = $1)
     ORDER BY m.key DESC LIMIT $3"
);

const ONE: &str = messages!("AND m.key = $2");

const LIST_IN_BATCH: &str = messages!(
    "AND ($2::text IS NULL OR m.key < $2) AND ($4::text IS NULL OR m.state = $4) AND m.batch_id = $5
     ORDER BY m.key DESC LIMIT $3"
);

const NOT_AGAIN: &str = "UPDATE email SET again = false WHERE tenant = $1 AND key = $2";

const OF_ENVELOPE: &str = "SELECT tenant, key FROM email WHERE envelope_id = $1 ORDER BY tenant, key LIMIT 1";

/// The recipient that a report is about: the one with the address, or the only one.
const REPORTED: &str = "
SELECT r.position, r.address_hash, r.state, m.job_id, m.batch_id, m.variant FROM email_recipient r
    JOIN email m ON m.tenant = r.tenant AND m.key = r.key
WHERE r.tenant = $1 AND r.key = $2 AND CASE WHEN $3::bigint = 1 THEN r.address_hash = $4
    ELSE (SELECT count(*) FROM email_recipient o WHERE o.tenant = $1 AND o.key = $2) = 1 END
ORDER BY r.position LIMIT 1 FOR UPDATE OF r";

async fn holds<S: Sql>(sql: &mut S, fence: &Fence) -> Result<bool, S::Fault> {
    Ok(sql.row(HOLDS, values![fence.job.0, fence.attempt, fence.worker.0]).await?.is_some())
}

/// A record as it is kept.
pub(super) struct Known {
    pub(super) record: EmailRecord,
    /// The job that delivers it.
    job: JobId,
    /// By which its recipient is counted, if it is part of a mailing.
    pub(super) counted: Option<Counted>,
    /// Whether those of whom it is unknown may get it once more, whatever the policy says.
    again: bool,
}

/// By which the recipient of a message is counted, from a row with its job, its batch and its variant.
fn counted(row: &impl Columns) -> Result<Option<Counted>> {
    let (Some(batch), Some(variant)) = (row.maybe_id("batch_id")?, row.maybe_text("variant")?) else { return Ok(None) };
    Ok(Some(Counted { batch, variant, job: row.id("job_id")? }))
}

/// Returns what is kept of a message.
pub(super) async fn read<S: Sql>(sql: &mut S, key: &EmailKey) -> Result<Option<Known>, S::Fault> {
    let Some(row) = sql.row(READ, values![&key.tenant, &key.key]).await? else { return Ok(None) };
    let recipients = sql.rows(RECIPIENTS, values![&key.tenant, &key.key]).await?;
    let record = EmailRecord {
        state: row.word("state")?,
        message_id: row.text("message_id")?,
        created_at: row.instant("created_at")?,
        sender: row.maybe_text("sender")?,
        stream: row.text("stream")?,
        frozen: row.maybe_number("size")?.is_some(),
        recipients: recipients.iter().map(recipient).collect::<Result<_>>()?,
        variant: row.maybe_text("variant")?,
    };
    Ok(Some(Known { record, job: row.id("job_id")?, counted: counted(&row)?, again: row.flag("again")? }))
}

fn recipient(row: &impl Columns) -> Result<RecipientView> {
    Ok(RecipientView {
        position: row.number("position")?,
        role: row.word("role")?,
        address: row.text("address")?,
        state: row.word("state")?,
        attempts: row.number("attempts")?,
        code: row.maybe_number("code")?.and_then(|code| u16::try_from(code).ok()),
        status: row.maybe_text("status")?,
        rule: row.maybe_text("rule")?,
        note: row.maybe_text("note")?,
        may_be_twice: row.flag("may_be_twice")?,
        moved_at: row.instant("moved_at")?,
    })
}

/// Returns the record.
pub(crate) async fn record<S: Sql>(sql: &mut S, key: &EmailKey) -> Result<Option<EmailRecord>, S::Fault> {
    Ok(read(sql, key).await?.map(|known| known.record))
}

/// What begins an attempt.
pub(crate) type Begin<'a> = (&'a EmailKey, &'a Fence, Option<&'a NewEmail>, UnknownPolicy);

/// Begins an attempt.
pub(crate) async fn begin<S: Sql>(
    sql: &mut S,
    &(key, fence, new, policy): &Begin<'_>,
) -> Result<Option<EmailRecord>, S::Fault> {
    if !holds(sql, fence).await? {
        return Ok(None);
    }
    let mut known = read(sql, key).await?;
    if known.as_ref().is_some_and(|known| known.job != fence.job) {
        return Ok(None);
    }
    if let Some(new) = new.filter(|_| known.as_ref().is_none_or(|known| !known.record.frozen)) {
        make(sql, key, new, known).await?;
        known = read(sql, key).await?;
    }
    let Some(Known { record, counted, again, .. }) = known else { return Ok(None) };
    if !record.frozen {
        return Ok(Some(record));
    }
    let policy = if again { UnknownPolicy::Resend } else { policy };
    if again {
        sql.run(NOT_AGAIN, values![&key.tenant, &key.key]).await?;
    }
    let suppressed = sql.rows(SUPPRESSED, values![&key.tenant, &key.key, &record.stream]).await?;
    let suppressed: Vec<u32> = suppressed.iter().map(|row| row.number("position")).collect::<Result<_>>()?;
    let moves = beginning(&record.recipients, &suppressed, policy);
    if !moves.is_empty() {
        move_all(sql, key, counted.as_ref(), &moves).await?;
        sum(sql, key).await?;
    }
    record_of(sql, key).await.map(Some)
}

async fn record_of<S: Sql>(sql: &mut S, key: &EmailKey) -> Result<EmailRecord, S::Fault> {
    let vanished = || StoreError::Database("a delivery record vanished".to_owned());
    Ok(record(sql, key).await?.ok_or_else(vanished)?)
}

async fn make<S: Sql>(sql: &mut S, key: &EmailKey, new: &NewEmail, earlier: Option<Known>) -> Result<(), S::Fault> {
    let bytes = new.content.as_ref().ok();
    if bytes.is_some_and(|bytes| bytes.len() > EMAIL_BYTES_MAX) {
        return Err(StoreError::Invalid(format!("a message has at most {EMAIL_BYTES_MAX} bytes")).into());
    }
    let plain = |text: &str| check::plain(text, check::REASON_CHARS_MAX);
    let (hash, size) =
        bytes.map_or_else(|| (vec![0; 32], 0), |bytes| (Sha256::digest(bytes).to_vec(), bytes.len() as u64));
    let (tenant, name, subject) = (&key.tenant, &key.key, plain(&new.subject));
    let note = new.content.as_ref().err().map(|why| plain(why));
    if earlier.is_none() {
        let batch = new.batch.map(|batch| batch.0);
        let values = values![
            tenant,
            name,
            new.job.0,
            &new.message_id,
            batch,
            &new.stream,
            &new.sender,
            &subject,
            new.template.clone(),
            hash.clone(),
            size,
            note.clone(),
            envelope_id(&new.message_id)
        ];
        sql.run(MAKE, values).await?;
    } else {
        let values =
            values![tenant, name, &new.stream, &new.sender, &subject, new.template.clone(), hash.clone(), size];
        sql.run(COMPLETE, values).await?;
    }
    match bytes {
        Some(bytes) => sql.run(MAKE_CONTENT, values![tenant, name, bytes.clone()]).await?,
        None => sql.run(NO_CONTENT, values![tenant, name]).await?,
    };
    match earlier {
        Some(known) if !known.record.recipients.is_empty() => match note {
            Some(why) => drop_recipients(sql, key, &known, &why).await,
            None => Ok(()),
        },
        earlier => make_recipients(sql, key, new, (earlier.map(|known| known.record.state), note)).await,
    }
}

/// The message cannot be made, and those who were to get it are known already.
async fn drop_recipients<S: Sql>(sql: &mut S, key: &EmailKey, known: &Known, why: &str) -> Result<(), S::Fault> {
    let dropped = RecipientState::Dropped;
    let owed = known.record.recipients.iter().filter(|one| dropped.may_follow(one.state));
    let steps: Vec<Json> =
        owed.map(|one| json!([one.position, one.state, dropped, 0, one.code, one.status, one.rule, why, ""])).collect();
    if !steps.is_empty() {
        move_all(sql, key, known.counted.as_ref(), &steps).await?;
        sum(sql, key).await?;
    }
    Ok(())
}

/// Takes the steps, as [`MOVE`] has them, and counts those that were taken. Returns how many.
async fn move_all<S: Sql>(
    sql: &mut S,
    key: &EmailKey,
    counted: Option<&Counted>,
    steps: &[Json],
) -> Result<u64, S::Fault> {
    let mut changes = Changes::default();
    let moved = move_noting(sql, key, counted, steps, &mut changes).await?;
    changes.write(sql).await?;
    Ok(moved)
}

/// The same, but what is counted is noted, to be written down with more.
pub(super) async fn move_noting<S: Sql>(
    sql: &mut S,
    key: &EmailKey,
    counted: Option<&Counted>,
    steps: &[Json],
    changes: &mut Changes,
) -> Result<u64, S::Fault> {
    let rows = sql.rows(MOVE, values![&key.tenant, &key.key, check::json(&steps)?]).await?;
    if let Some(counted) = counted {
        let moved: Vec<u64> = rows.iter().map(|row| row.number("position")).collect::<Result<_>>()?;
        let state = |word: &Json| word.as_str().and_then(|word| word.parse::<RecipientState>().ok());
        for step in steps.iter().filter(|step| step[0].as_u64().is_some_and(|position| moved.contains(&position))) {
            if let (Some(from), Some(to)) = (state(&step[1]), state(&step[2])) {
                changes.moved(&key.tenant, counted, Some(from), to);
            }
        }
    }
    Ok(rows.len() as u64)
}

async fn make_recipients<S: Sql>(
    sql: &mut S,
    key: &EmailKey,
    new: &NewEmail,
    (earlier, note): (Option<EmailState>, Option<String>),
) -> Result<(), S::Fault> {
    let state = match earlier {
        None | Some(EmailState::Pending) if note.is_some() => RecipientState::Dropped,
        None | Some(EmailState::Pending) => RecipientState::Queued,
        Some(EmailState::Sending) => RecipientState::Transmitted,
        Some(EmailState::Sent) => RecipientState::Sent,
        Some(EmailState::Uncertain) => RecipientState::Unknown,
        Some(EmailState::Failed) => RecipientState::Bounced,
    };
    for (position, one) in (0_u32..).zip(&new.recipients) {
        let (role, hash) = (one.role.as_str(), one.address_hash.to_vec());
        let values = values![
            &key.tenant,
            &key.key,
            position,
            role,
            &one.address,
            hash,
            state.as_str(),
            note.clone(),
            domain_of(&one.address)
        ];
        sql.run(MAKE_RECIPIENT, values).await?;
    }
    if note.is_some() {
        sum(sql, key).await?;
    }
    Ok(())
}

/// The steps that begin an attempt, as [`MOVE`] takes them.
fn beginning(recipients: &[RecipientView], suppressed: &[u32], policy: UnknownPolicy) -> Vec<Json> {
    let unsettled = |state: RecipientState| state.is_owed() || state == RecipientState::Unknown;
    // One without a message has nothing that could be tried again.
    let redriven = !recipients.iter().any(|one| unsettled(one.state));
    let mut moves = Vec::new();
    for one in recipients {
        let listed = suppressed.contains(&one.position);
        let mut next = begun(one.state, listed, redriven, policy);
        if next == Some(RecipientState::Unknown) {
            next = begun(RecipientState::Unknown, listed, redriven, policy).or(next);
        }
        let Some(next) = next else { continue };
        let lost = matches!(one.state, RecipientState::Transmitted | RecipientState::Unknown);
        let note = match next {
            RecipientState::Suppressed => Some("the address is on the list of those to which nothing is sent"),
            _ if lost => Some("an attempt ended without an answer"),
            _ => one.note.as_deref(),
        };
        let asked = u32::from(next == RecipientState::Sending);
        let twice = if lost && next == RecipientState::Sending { "twice" } else { "" };
        moves.push(json!([one.position, one.state, next, asked, one.code, one.status, one.rule, note, twice]));
    }
    moves
}

/// Writes down how far the whole message is.
pub(super) async fn sum<S: Sql>(sql: &mut S, key: &EmailKey) -> Result<(), S::Fault> {
    let rows = sql.rows(RECIPIENTS, values![&key.tenant, &key.key]).await?;
    let states: Vec<RecipientState> = rows.iter().map(|row| row.word("state")).collect::<Result<_>>()?;
    let state = email_state(states.iter().copied());
    sql.run(SUMMED, values![&key.tenant, &key.key, state.as_str()]).await?;
    Ok(())
}

/// What moves recipients.
pub(crate) type Move<'a> = (&'a EmailKey, &'a Fence, &'a [RecipientMove], Option<&'a EmailSaid>);

/// Moves recipients, if the fence holds.
pub(crate) async fn advance<S: Sql>(
    sql: &mut S,
    &(key, fence, moves, said): &Move<'_>,
) -> Result<Option<Vec<u32>>, S::Fault> {
    if !holds(sql, fence).await? {
        return Ok(None);
    }
    let Some(Known { record, job, counted, .. }) = read(sql, key).await? else { return Ok(None) };
    if job != fence.job {
        return Ok(None);
    }
    let (mut moved, mut steps, mut reported) = (Vec::new(), Vec::new(), Vec::new());
    for step in moves {
        let from = record.recipients.iter().find(|one| one.position == step.position).map(|one| one.state);
        let Some(from) = from.filter(|from| step.to.may_follow(*from)) else { continue };
        let note = step.note.as_deref().map(|note| check::plain(note, check::REASON_CHARS_MAX));
        steps.push(json!([step.position, from, step.to, 0, step.code, step.status, step.rule, note, ""]));
        moved.push(step.position);
        reported.extend(own::of_recipient(key, step.position, step.to, step.status.as_deref()));
        if let Some(keep) = step.suppress.filter(|_| step.to == RecipientState::Bounced) {
            // The words of the server may hold the address, and the list names no person.
            suppress_recipient(sql, key, step.position, keep, step.status.clone()).await?;
        }
    }
    if !steps.is_empty() {
        move_all(sql, key, counted.as_ref(), &steps).await?;
        sum(sql, key).await?;
        published::insert(sql, &reported).await?;
    }
    if let Some(said) = said {
        let transcript = check::plain(&said.transcript, TRANSCRIPT_CHARS_MAX);
        let server = check::plain(&said.server, check::REASON_CHARS_MAX);
        sql.run(SAID, values![&key.tenant, &key.key, fence.attempt, server, transcript]).await?;
    }
    Ok(Some(moved))
}

async fn suppress_recipient<S: Sql>(
    sql: &mut S,
    key: &EmailKey,
    position: u32,
    keep: std::time::Duration,
    note: Option<String>,
) -> Result<(), S::Fault> {
    let Some(row) = sql.row(HASH_OF, values![&key.tenant, &key.key, position]).await? else { return Ok(()) };
    let until = until(sql, Some(keep)).await?;
    let (all, reason) = ("", SuppressionReason::Bounce.as_str());
    sql.run(SUPPRESS, values![&key.tenant, row.bytes("address_hash")?, all, reason, note, until]).await?;
    Ok(())
}

/// Returns what goes over the wire.
pub(crate) async fn content<S: Sql>(sql: &mut S, key: &EmailKey) -> Result<Option<Vec<u8>>, S::Fault> {
    let row = sql.row(CONTENT, values![&key.tenant, &key.key]).await?;
    Ok(row.map(|row| row.bytes("bytes")).transpose()?)
}

/// Returns what was said at each attempt.
pub(crate) async fn attempts<S: Sql>(sql: &mut S, key: &EmailKey) -> Result<Vec<EmailAttempt>, S::Fault> {
    let rows = sql.rows(ATTEMPTS, values![&key.tenant, &key.key]).await?;
    let view = |row: &S::Row| {
        Ok(EmailAttempt {
            attempt: row.number("attempt")?,
            server: row.text("server")?,
            transcript: row.text("transcript")?,
            ended_at: row.instant("ended_at")?,
        })
    };
    Ok(rows.iter().map(view).collect::<Result<_>>()?)
}

/// Returns messages, newest first.
pub(crate) async fn list<S: Sql>(
    sql: &mut S,
    &(filter, page): &(&EmailFilter, &Page),
) -> Result<Vec<EmailView>, S::Fault> {
    let state = filter.state.map(EmailState::as_str);
    let (tenant, after, most) = (&filter.tenant, page.after.clone(), page.rows());
    let rows = match (filter.address_hash, state) {
        (None, state) if filter.batch.is_some() => {
            sql.rows(LIST_IN_BATCH, values![tenant, after, most, state, filter.batch.map(|batch| batch.0)]).await?
        }
        (Some(hash), state) => sql.rows(LIST_TO, values![tenant, after, most, state, hash.to_vec()]).await?,
        (None, Some(state)) => sql.rows(LIST_IN_STATE, values![tenant, after, most, state]).await?,
        (None, None) => sql.rows(LIST, values![tenant, after, most]).await?,
    };
    Ok(rows.iter().map(view).collect::<Result<_>>()?)
}

fn view(row: &impl Columns) -> Result<EmailView> {
    let size = row.maybe_number("size")?.and_then(|size| u64::try_from(size).ok());
    Ok(EmailView {
        key: row.text("key")?,
        job: row.id("job_id")?,
        batch: row.maybe_id("batch_id")?.map(BatchId),
        state: row.word("state")?,
        stream: row.text("stream")?,
        message_id: row.text("message_id")?,
        sender: row.maybe_text("sender")?,
        subject: row.maybe_text("subject")?,
        template: row.maybe_text("template")?,
        // One without content has no hash either.
        sha256: size.map(|_| row.bytes("sha256")).transpose()?.map(hex::encode),
        size,
        recipient_count: row.number("recipient_count")?,
        first_recipient: row.maybe_text("first_recipient")?,
        created_at: row.instant("created_at")?,
        moved_at: row.instant("moved_at")?,
    })
}

/// Returns a message as lists show it.
pub(crate) async fn one<S: Sql>(sql: &mut S, key: &EmailKey) -> Result<Option<EmailView>, S::Fault> {
    let row = sql.row(ONE, values![&key.tenant, &key.key]).await?;
    Ok(row.as_ref().map(view).transpose()?)
}

/// Returns the message that reports name so.
pub(crate) async fn of_envelope<S: Sql>(sql: &mut S, envelope_id: &str) -> Result<Option<EmailKey>, S::Fault> {
    let Some(row) = sql.row(OF_ENVELOPE, values![envelope_id]).await? else { return Ok(None) };
    Ok(Some(EmailKey { tenant: row.text("tenant")?, key: row.text("key")? }))
}

/// Writes down what was reported of a recipient.
pub(crate) async fn report<S: Sql>(sql: &mut S, report: &EmailReport) -> Result<Reported, S::Fault> {
    check::report(report)?;
    let (tenant, key) = (&report.key.tenant, &report.key.key);
    let (by_address, hash) =
        (u32::from(report.address_hash.is_some()), report.address_hash.unwrap_or_default().to_vec());
    let Some(row) = sql.row(REPORTED, values![tenant, key, by_address, hash]).await? else {
        return Ok(Reported::Unknown);
    };
    let (position, hash): (u32, Vec<u8>) = (row.number("position")?, row.bytes("address_hash")?);
    let counted = counted(&row)?;
    let from: RecipientState = row.word("state")?;
    drop(row);
    if !report.to.may_follow(from) {
        return Ok(Reported::Known);
    }
    let note = report.note.as_deref().map(|note| check::plain(note, check::REASON_CHARS_MAX));
    let step = json!([[position, from, report.to, 0, report.code, report.status, report.rule, note, ""]]);
    let step = step.as_array().map(Vec::as_slice).unwrap_or_default();
    move_all(sql, &report.key, counted.as_ref(), step).await?;
    sum(sql, &report.key).await?;
    let reported = own::of_recipient(&report.key, position, report.to, report.status.as_deref());
    published::insert(sql, reported.as_slice()).await?;
    if let Some(put) = &report.suppress {
        let until = until(sql, put.keep).await?;
        let (all, reason) = ("", put.reason.as_str());
        sql.run(SUPPRESS, values![tenant, hash, all, reason, report.status.clone(), until]).await?;
    }
    Ok(Reported::Moved)
}
