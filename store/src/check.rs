//! What both stores refuse before they ask their database, and how texts are cleaned for it.

use std::collections::HashSet;

use gristmill_core::chunk::ChunkResult;
use gristmill_core::event::EVENTS_MAX;
use gristmill_core::id::{JobId, is_name};
use gristmill_core::job::{NewJob, PAYLOAD_BYTES_MAX, PAYLOAD_DEPTH_MAX};
use gristmill_core::limit::KEY_BYTES_MAX;
use gristmill_core::settle::Verdict;
use gristmill_core::unique::OnConflict;
use serde_json::Value;
use uuid::Uuid;

use crate::error::{Result, StoreError};
use crate::{
    COMPLETIONS_MAX, Completion, EmailReport, Enqueued, GROUP_JOBS_MAX, NewChunk, NewMessage, NewMessages, Publication,
    SUPPRESSIONS_MAX, Suppression,
};

/// How many characters of an attempt's error are kept at most.
pub(crate) const ERROR_CHARS_MAX: usize = 4_000;

/// How many characters of a reason are kept at most.
pub(crate) const REASON_CHARS_MAX: usize = 1_000;

/// The longest time that is stored, in milliseconds: a hundred years. More would overflow the times that follow from it,
/// and no caller waits for it.
pub(crate) const MILLIS_MAX: i64 = 100 * 366 * 86_400_000;

/// How many characters of the edition of a database of time zones are kept at most.
pub(crate) const EDITION_CHARS_MAX: usize = 100;

/// How many characters a name may have at most: of a tenant, a queue, a kind, a key.
const NAME_CHARS_MAX: usize = 500;

/// How many characters the tenant of new work may have at most.
const TENANT_CHARS_MAX: usize = 100;

/// A queue that the broker refuses: nothing that is published together with one of its jobs would arrive.
const RESERVED_QUEUE: &str = "dlq";

/// How the idempotency keys of aggregates begin: `agg:{batch}:{generation}`.
pub(crate) const AGGREGATE_KEY: &str = "agg:";

/// The store's own tables, which no batch may write its output into.
const OWN_TABLES: [&str; 47] = [
    "access_answer",
    "access_identity",
    "access_link",
    "access_membership",
    "access_session",
    "access_tenant",
    "access_token",
    "access_try",
    "access_user",
    "attempt",
    "audit_entry",
    "audit_head",
    "audit_signed_head",
    "batch",
    "discarded",
    "email",
    "email_attempt",
    "email_content",
    "email_recipient",
    "event",
    "event_delivery",
    "event_head",
    "event_replay",
    "event_schema",
    "event_subscription",
    "job",
    "job_limit",
    "leader",
    "limit_bucket",
    "managed",
    "operation",
    "operation_batch",
    "operation_item",
    "operation_job",
    "outbox",
    "poison",
    "quarantine",
    "queue",
    "queue_count",
    "queue_spec",
    "queue_turn",
    "result",
    "schedule",
    "schedule_backfill",
    "schedule_tick",
    "suppression",
    "worker",
];

/// Refuses jobs that no store can keep.
pub(crate) fn jobs(jobs: &[NewJob]) -> Result<()> {
    at_most(jobs.len(), GROUP_JOBS_MAX, "jobs")?;
    jobs.iter().try_for_each(job)
}

/// The same id twice in one group is one job: the first one counts, whatever the others say.
pub(crate) fn first_of_each_id(jobs: &[NewJob]) -> impl Iterator<Item = &NewJob> {
    let mut seen = HashSet::with_capacity(jobs.len());
    jobs.iter().filter(move |job| seen.insert(job.id))
}

/// Refuses chunks that no store can keep.
pub(crate) fn chunks(chunks: &[NewChunk]) -> Result<()> {
    at_most(chunks.len(), GROUP_JOBS_MAX, "chunks")?;
    let mut seen = HashSet::with_capacity(chunks.len());
    if let Some(twice) = chunks.iter().find(|chunk| !seen.insert(chunk.id)) {
        let what = format!("chunk id {} is there twice; give each chunk an id of its own", twice.id);
        return Err(StoreError::Invalid(what));
    }
    match chunks.iter().find(|chunk| chunk.seq < 0) {
        Some(chunk) => {
            Err(StoreError::Invalid(format!("chunk number {} is negative; chunks are counted from 0", chunk.seq)))
        }
        None => Ok(()),
    }
}

/// Refuses what is no event, and too many of them.
pub(crate) fn publications(events: &[Publication]) -> Result<()> {
    at_most(events.len(), EVENTS_MAX, "events")?;
    for (index, event) in events.iter().enumerate() {
        tenant(&event.tenant)?;
        if let Err(faults) = event.draft.check() {
            return Err(StoreError::Invalid(format!("event {}: {faults}", index + 1)));
        }
    }
    Ok(())
}

/// Refuses a group of completions that does not fit into one transaction.
pub(crate) fn completions(completions: &[Completion]) -> Result<()> {
    at_most(completions.len(), COMPLETIONS_MAX, "completions")?;
    if completions.len() > 1 && completions.iter().any(|completion| completion.sql.is_some()) {
        let what = "a completion with rows for a table must come alone, so that a refusal concerns it only";
        return Err(StoreError::Invalid(what.to_owned()));
    }
    if let Some(rows) = completions.iter().find_map(|completion| completion.sql.as_ref()) {
        output_table(&rows.table)?;
    }
    completions.iter().try_for_each(|completion| {
        publications(&completion.events)?;
        jobs(&completion.follow)
    })
}

/// Checks the result of a chunk that is done: refuses it when it is missing, or does not count each of the chunk's
/// `items` exactly once. Otherwise the batch would end with a total that differs from its input.
pub(crate) fn counted(job: JobId, items: i64, result: Option<&ChunkResult>) -> Result<&ChunkResult> {
    let Some(result) = result else {
        let what = format!("chunk {job} of {items} items is done without a result; say what became of its items");
        return Err(StoreError::Invalid(what));
    };
    let ChunkResult { ok, skipped, quarantined, .. } = result;
    let sum = ok.checked_add(*skipped).and_then(|sum| sum.checked_add(*quarantined));
    if sum.is_none_or(|sum| i64::try_from(sum) != Ok(items)) {
        return Err(StoreError::Invalid(format!(
            "chunk {job} has {items} items, but its result counts {ok} ok, {skipped} skipped and {quarantined} quarantined; \
             each item must be counted once"
        )));
    }
    Ok(result)
}

/// Refuses to let a job wait for another attempt when its last one is spent: `settle` never decides that, and nothing
/// would end a job that runs more often than it may.
pub(crate) fn not_spent(job: JobId, verdict: Verdict, spent: bool) -> Result<()> {
    let again = matches!(verdict, Verdict::Retry { .. } | Verdict::Requeue);
    if !(again && spent) {
        return Ok(());
    }
    Err(StoreError::Invalid(format!(
        "job {job} has spent its last attempt and is to be tried again; a failure of the last attempt is `dead`"
    )))
}

/// A payload as text, unless it is too long.
pub(crate) fn payload(value: &Value) -> Result<String> {
    let text = json(value)?;
    if text.len() > PAYLOAD_BYTES_MAX {
        return Err(StoreError::Invalid(format!(
            "a payload has {} bytes, the most is {PAYLOAD_BYTES_MAX}; keep the data elsewhere and name it in the payload",
            text.len()
        )));
    }
    Ok(text)
}

/// Refuses a payload that could be written but not read again: a worker that claims it must be able to read it.
pub(crate) fn readable(payload: &Value) -> Result<()> {
    if gristmill_core::json::deeper_than(payload, PAYLOAD_DEPTH_MAX) {
        return Err(StoreError::Invalid(format!(
            "a payload nests arrays and objects more than {PAYLOAD_DEPTH_MAX} deep, and could not be read back; make it \
             flatter, or pass the nested part as a text"
        )));
    }
    Ok(())
}

/// What is recorded of a job that was claimed although its row cannot be read.
pub(crate) fn unreadable(error: &StoreError) -> String {
    plain(&format!("no worker can begin it: {error}"), ERROR_CHARS_MAX)
}

/// Anything as JSON text.
pub(crate) fn json<T: serde::Serialize + ?Sized>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|error| StoreError::Invalid(format!("it cannot be written as JSON: {error}")))
}

/// A plain text of at most `chars` characters without NUL, which PostgreSQL cannot store.
pub(crate) fn plain(text: &str, chars: usize) -> String {
    text.chars().take(chars).map(|c| if c == '\0' { '\u{FFFD}' } else { c }).collect()
}

/// A random number from 0 to 1 for the jitter of a retry that the store itself decides.
pub(crate) fn random() -> f64 {
    let [a, b, c, d, ..] = Uuid::new_v4().into_bytes();
    f64::from(u32::from_be_bytes([a, b, c, d])) / f64::from(u32::MAX)
}

fn job(job: &NewJob) -> Result<()> {
    tenant(&job.tenant)?;
    queue(&job.queue)?;
    short_name("kind", &job.kind)?;
    job.key.iter().try_for_each(|text| key(text))?;
    job.idempotency_key.iter().try_for_each(|key| name("idempotency key", key))?;
    if let Some(key) = job.idempotency_key.as_deref().filter(|key| key.starts_with(AGGREGATE_KEY)) {
        // A job that took an aggregate's key first would keep its batch from ever ending.
        let what = format!(
            "`{}` cannot be an idempotency key: those of aggregates begin with `{AGGREGATE_KEY}`; choose another",
            plain(key, 40)
        );
        return Err(StoreError::Invalid(what));
    }
    if let Some(unique) = &job.unique {
        name("unique key", &unique.key)?;
        if unique.hold.period().is_some_and(|period| period.is_zero()) {
            let what = format!("a unique key cannot be held for a period of 0 (job {}); say how long", job.id);
            return Err(StoreError::Invalid(what));
        }
    }
    if job.max_attempts == 0 || i32::try_from(job.max_attempts).is_err() {
        let what = format!("job {} may have 1 to {} attempts, not {}", job.id, i32::MAX, job.max_attempts);
        return Err(StoreError::Invalid(what));
    }
    readable(&job.payload)?;
    if job.timeout.as_millis() == 0 {
        return Err(StoreError::Invalid(format!("job {} has no time at all; its timeout must be 1ms or more", job.id)));
    }
    Ok(())
}

/// Refuses what cannot be the queue of work.
pub(crate) fn queue(text: &str) -> Result<()> {
    short_name("queue", text)?;
    if text == RESERVED_QUEUE {
        let what = format!(
            "a queue cannot be called `{RESERVED_QUEUE}`, as the broker's queues of dead jobs are; choose another name"
        );
        return Err(StoreError::Invalid(what));
    }
    Ok(())
}

/// Refuses to give one job the work of another: the holder of a unique key can only take over work of its own sort.
pub(crate) fn same_work(job: &NewJob, holder: JobId, kind: &str, queue: &str) -> Result<()> {
    if job.kind == kind && job.queue == queue {
        return Ok(());
    }
    Err(StoreError::Conflict(format!(
        "job {holder} of kind `{kind}` on queue `{queue}` holds the unique key; one of kind `{}` on queue `{}` cannot \
         take its place; give it another key",
        job.kind, job.queue
    )))
}

/// Refuses a group in which a job asked to be refused when another one holds its key.
pub(crate) fn not_refused(jobs: &[NewJob], enqueued: &[Enqueued]) -> Result<()> {
    let held = jobs.iter().zip(enqueued).find_map(|(job, enqueued)| {
        let unique = job.unique.as_ref().filter(|unique| unique.conflict == OnConflict::Refuse)?;
        // The same call may be repeated: then the job itself is there.
        (!enqueued.created && enqueued.id != job.id).then_some((enqueued.id, &unique.key))
    });
    match held {
        None => Ok(()),
        Some((holder, key)) => Err(StoreError::Conflict(format!(
            "job {holder} holds the unique key `{}`, and another is to be refused; nothing was enqueued",
            plain(key, 100)
        ))),
    }
}

/// Refuses a key that is empty, too long, or holds a NUL.
fn key(text: &str) -> Result<()> {
    if (1..=KEY_BYTES_MAX).contains(&text.len()) && !text.contains('\0') {
        return Ok(());
    }
    let shown = plain(text, 40);
    Err(StoreError::Invalid(format!("`{shown}` cannot be a key; it must have 1 to {KEY_BYTES_MAX} bytes and no NUL")))
}

/// Refuses what new work cannot be for: an enqueuer chooses it, and it stands in lists, logs and metrics.
pub(crate) fn tenant(text: &str) -> Result<()> {
    let long = text.chars().nth(TENANT_CHARS_MAX).is_some();
    if text.is_empty() || long || text.contains(char::is_control) {
        let shown = plain(text, 40);
        return Err(StoreError::Invalid(format!(
            "`{shown}` cannot be a tenant; it must have 1 to {TENANT_CHARS_MAX} characters, none of them a control \
             character"
        )));
    }
    Ok(())
}

/// Refuses what cannot be the queue or the kind of new work: each queue has queues of the broker, whose names are short,
/// and each kind is announced by its workers, with its version after an `@`.
fn short_name(what: &str, text: &str) -> Result<()> {
    if is_name(text) {
        return Ok(());
    }
    let shown = plain(text, 40);
    Err(StoreError::Invalid(format!("`{shown}` cannot be a {what}; use 1 to 100 letters, digits, `-` and `_`")))
}

/// Refuses a name that is empty, too long, or holds a NUL.
pub(crate) fn name(what: &str, text: &str) -> Result<()> {
    if text.is_empty() || text.contains('\0') || text.chars().nth(NAME_CHARS_MAX).is_some() {
        let shown = plain(text, 40);
        return Err(StoreError::Invalid(format!(
            "`{shown}` cannot be a {what}; it must have 1 to {NAME_CHARS_MAX} characters and no NUL"
        )));
    }
    Ok(())
}

/// Refuses the store's own tables: rows written there would bypass every guard.
fn output_table(table: &str) -> Result<()> {
    let last = table.rsplit('.').next().unwrap_or(table).trim_matches('"').to_lowercase();
    if OWN_TABLES.contains(&last.as_str()) || last.starts_with("_gristmill") {
        let what = format!("`{}` is one of our own tables; write the output into a table of yours", plain(table, 60));
        return Err(StoreError::Sink(what));
    }
    Ok(())
}

pub(crate) fn at_most(found: usize, limit: usize, what: &str) -> Result<()> {
    if found > limit {
        return Err(StoreError::Invalid(format!("{found} {what} at once are too many; send at most {limit}")));
    }
    Ok(())
}

/// Refuses messages of which one is not that of its item, is of another tenant, or belongs to another batch.
pub(crate) fn messages(new: &NewMessages) -> Result<()> {
    if let Some(fault) = gristmill_core::letter::stream_fault(&new.stream) {
        return Err(StoreError::Invalid(fault));
    }
    let tenant = new.messages.first().map(|first| &first.job.tenant);
    let fits = |message: &NewMessage| {
        let job = &message.job;
        job.id == gristmill_core::mailing::message_id(new.batch, message.item)
            && job.batch == Some(new.batch)
            && Some(&job.tenant) == tenant
            && job.idempotency_key.is_none()
            && job.unique.is_none()
    };
    match new.messages.iter().find(|message| !fits(message)) {
        None => Ok(()),
        Some(message) => {
            let what = format!("the message of item {} is not one of batch {}", message.item, new.batch);
            Err(StoreError::Invalid(what))
        }
    }
}

/// Refuses a report that says of a message what no report can.
pub(crate) fn report(report: &EmailReport) -> Result<()> {
    use gristmill_core::letter::RecipientState::{Bounced, Complained, Delivered};
    if !matches!(report.to, Delivered | Bounced | Complained) {
        let message = format!("a report says `delivered`, `bounced` or `complained`, and not `{}`", report.to);
        return Err(StoreError::Invalid(message));
    }
    match report.code {
        Some(code) if !(200..600).contains(&code) => {
            Err(StoreError::Invalid(format!("{code} is no reply code of a mail server: 200 to 599")))
        }
        _ => Ok(()),
    }
}

/// Refuses entries of the list that are too many at once, or of a stream that there cannot be.
pub(crate) fn suppressions(entries: &[Suppression]) -> Result<()> {
    if entries.len() > SUPPRESSIONS_MAX {
        return Err(StoreError::Invalid(format!("at most {SUPPRESSIONS_MAX} entries are put on the list at once")));
    }
    let fault = |entry: &Suppression| match entry.stream.as_str() {
        "" => None,
        stream => gristmill_core::letter::stream_fault(stream),
    };
    entries.iter().find_map(fault).map_or(Ok(()), |fault| Err(StoreError::Invalid(fault)))
}

/// Refuses what is no name of a relay.
pub(crate) fn relay(name: &str) -> Result<()> {
    gristmill_core::mail_flow::relay_fault(name).map_or(Ok(()), |fault| Err(StoreError::Invalid(fault)))
}

/// Refuses what is no domain of an address. One outside of ASCII is written as it stands in the address.
pub(crate) fn domain(name: &str) -> Result<()> {
    let odd = |c: char| c.is_whitespace() || c.is_control() || c.is_ascii_uppercase() || "@/\\\"<>".contains(c);
    if !name.is_empty() && name.len() <= 253 && !name.contains(odd) {
        return Ok(());
    }
    Err(StoreError::Invalid(format!("`{name}` is no domain; write it in lower case, such as `example.com`")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_text_has_no_nul_and_an_end() {
        assert_eq!(plain("a\0b", 10), "a\u{FFFD}b");
        assert_eq!(plain("äöü", 2), "äö");
    }

    #[test]
    fn what_a_producer_chooses_is_short_and_plain() {
        let asked = |change: fn(&mut NewJob, String), text: &str| {
            let mut job = NewJob::new(JobId(Uuid::nil()), "work", Value::Null);
            change(&mut job, text.to_owned());
            jobs(&[job])
        };
        let queue = |job: &mut NewJob, text| job.queue = text;
        let kind = |job: &mut NewJob, text| job.kind = text;
        let tenant = |job: &mut NewJob, text| job.tenant = text;
        for wrong in ["", "a b", "a\n", "\u{1b}[2J", "a.b", "ä", "work@2", &"q".repeat(101)] {
            for change in [queue, kind] {
                let error = asked(change, wrong).expect_err(wrong).to_string();
                assert!(error.contains("letters, digits") && error.len() < 200, "{error}");
            }
        }
        for wrong in ["", "a\n", "\u{9b}2J", "\0", &"t".repeat(101)] {
            asked(tenant, wrong).expect_err(wrong);
        }
        asked(queue, "dlq").expect_err("the broker has queues of that name");
        asked(queue, &"q".repeat(100)).expect("the longest");
        asked(tenant, "Müller & Söhne / north").expect("a tenant is whatever people call it");
    }

    #[test]
    fn random_numbers_stay_between_nothing_and_one() {
        for _ in 0..1_000 {
            assert!((0.0..=1.0).contains(&random()));
        }
    }
}
