//! Rows as JSON objects, for an archive: every column under its name, in the words of the documents.

use std::collections::HashMap;

use gristmill_core::Instant;
use gristmill_core::id::BatchId;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{Columns, Sql, values};
use crate::PruneNoun;
use crate::check;
use crate::error::{Result, StoreError};

/// What a column holds.
#[derive(Clone, Copy)]
enum Holds {
    Text,
    Json,
    Number,
    Id,
    Time,
    Flag,
    /// Bytes, as hexadecimal.
    Bytes,
}

use Holds::{Bytes, Flag, Id, Json, Number, Text, Time};

type Column = (&'static str, Holds);

const JOB: &[Column] = &[
    ("id", Id),
    ("tenant", Text),
    ("queue", Text),
    ("lane", Number),
    ("key", Text),
    ("kind", Text),
    ("version", Number),
    ("state", Text),
    ("attempt", Number),
    ("max_attempts", Number),
    ("snoozes", Number),
    ("timeout_ms", Number),
    ("retry", Json),
    ("payload", Json),
    ("batch_id", Id),
    ("seq", Number),
    ("items", Number),
    ("generation", Number),
    ("idempotency_key", Text),
    ("unique_key", Text),
    ("trace", Text),
    ("output", Json),
    ("error", Text),
    ("created_at", Time),
    ("run_at", Time),
    ("queued_at", Time),
    ("started_at", Time),
    ("finished_at", Time),
];

const ATTEMPT: &[Column] = &[
    ("attempt", Number),
    ("worker_id", Id),
    ("started_at", Time),
    ("ended_at", Time),
    ("ending", Text),
    ("error", Text),
];

const BATCH: &[Column] = &[
    ("id", Id),
    ("tenant", Text),
    ("name", Text),
    ("state", Text),
    ("generation", Number),
    ("definition", Json),
    ("stamp", Json),
    ("params", Json),
    ("tolerate", Text),
    ("idempotency_key", Text),
    ("trace", Text),
    ("chunks", Number),
    ("chunks_dead", Number),
    ("retries", Number),
    ("input", Number),
    ("ok", Number),
    ("skipped", Number),
    ("quarantined", Number),
    ("cancelled", Number),
    ("result", Json),
    ("reason", Text),
    ("created_at", Time),
    ("finished_at", Time),
];

const RESULT: &[Column] =
    &[("batch_id", Id), ("seq", Number), ("generation", Number), ("job_id", Id), ("result", Json)];

const QUARANTINE: &[Column] = &[
    ("id", Number),
    ("tenant", Text),
    ("batch_id", Id),
    ("seq", Number),
    ("generation", Number),
    ("position", Number),
    ("line", Number),
    ("stage", Text),
    ("reason", Text),
    ("item", Json),
    ("state", Text),
    ("created_at", Time),
];

const TICK: &[Column] = &[
    ("tenant", Text),
    ("schedule", Text),
    ("tick", Time),
    ("cause", Text),
    ("outcome", Text),
    ("from_at", Time),
    ("to_at", Time),
    ("late_ms", Number),
    ("ticks", Number),
    ("tries", Number),
    ("batch_id", Id),
    ("job_id", Id),
    ("result", Text),
    ("backfill_id", Id),
    ("reason", Text),
    ("decided_at", Time),
    ("tzdb", Text),
    ("started_at", Time),
    ("ended_at", Time),
    ("event", Text),
    ("about", Json),
];

const BACKFILL: &[Column] = &[
    ("id", Id),
    ("tenant", Text),
    ("schedule", Text),
    ("from_at", Time),
    ("to_at", Time),
    ("concurrency", Number),
    ("newest_first", Flag),
    ("created_at", Time),
];

const EMAIL: &[Column] = &[
    ("tenant", Text),
    ("key", Text),
    ("job_id", Id),
    ("state", Text),
    ("message_id", Text),
    ("note", Text),
    ("created_at", Time),
    ("moved_at", Time),
    ("batch_id", Id),
    ("stream", Text),
    ("sender", Text),
    ("subject", Text),
    ("template", Text),
    ("size", Number),
];

const POISON: &[Column] = &[
    ("id", Number),
    ("queue", Text),
    ("sha256", Text),
    ("size", Number),
    ("bytes", Bytes),
    ("headers", Json),
    ("reason", Text),
    ("source", Text),
    ("seen", Number),
    ("first_at", Time),
    ("last_at", Time),
];

/// The rows of a noun by their keys, and its columns. What is only bookkeeping is not archived.
fn source(noun: PruneNoun) -> Option<(&'static str, &'static [Column])> {
    Some(match noun {
        PruneNoun::Jobs | PruneNoun::DeadLetters | PruneNoun::Chunks => (
            "SELECT j.* FROM json_array_elements($1::json) AS e CROSS JOIN job j WHERE j.id = CAST(e.value ->> 0 AS uuid)",
            JOB,
        ),
        PruneNoun::Batches => (
            "SELECT b.* FROM json_array_elements($1::json) AS e CROSS JOIN batch b WHERE b.id = CAST(e.value ->> 0 AS uuid)",
            BATCH,
        ),
        PruneNoun::Results => (
            "SELECT r.* FROM json_array_elements($1::json) AS e CROSS JOIN result r
             WHERE r.batch_id = CAST(e.value ->> 0 AS uuid) AND r.seq = (e.value ->> 1)::bigint",
            RESULT,
        ),
        PruneNoun::Quarantine => (
            "SELECT q.* FROM json_array_elements($1::json) AS e CROSS JOIN quarantine q
             WHERE q.id = (e.value ->> 0)::bigint",
            QUARANTINE,
        ),
        PruneNoun::Ticks | PruneNoun::Triggers => (
            "SELECT t.* FROM json_array_elements($1::json) AS e CROSS JOIN schedule_tick t
             WHERE t.tenant = e.value ->> 0 AND t.schedule = e.value ->> 1
               AND t.tick = ('epoch'::timestamptz + (e.value ->> 2)::bigint * interval '1 microsecond')",
            TICK,
        ),
        PruneNoun::Backfills => (
            "SELECT f.* FROM json_array_elements($1::json) AS e CROSS JOIN schedule_backfill f
             WHERE f.id = CAST(e.value ->> 0 AS uuid)",
            BACKFILL,
        ),
        PruneNoun::Emails => (
            "SELECT m.* FROM json_array_elements($1::json) AS e CROSS JOIN email m
             WHERE m.tenant = e.value ->> 0 AND m.key = e.value ->> 1",
            EMAIL,
        ),
        PruneNoun::Poison => (
            "SELECT p.* FROM json_array_elements($1::json) AS e CROSS JOIN poison p
             WHERE p.id = (e.value ->> 0)::bigint",
            POISON,
        ),
        PruneNoun::Discarded | PruneNoun::Keys | PruneNoun::Queues => return None,
    })
}

const ATTEMPTS: &str = "
SELECT a.* FROM json_array_elements($1::json) AS e CROSS JOIN attempt a WHERE a.job_id = CAST(e.value ->> 0 AS uuid)
ORDER BY a.job_id, a.attempt, a.number";

/// Returns rows as JSON objects.
pub(crate) async fn documents<S: Sql>(
    sql: &mut S,
    noun: PruneNoun,
    batch: Option<BatchId>,
    keys: &[String],
) -> Result<Vec<Value>, S::Fault> {
    let Some((statement, columns)) = source(noun) else { return Ok(Vec::new()) };
    let keys = keys.iter().map(|key| parts(noun, batch, key)).collect::<Result<Vec<Value>>>()?;
    let keys = check::json(&keys)?;
    let rows = sql.rows(statement, values![&keys]).await?;
    let mut documents = rows.iter().map(|row| document(noun, columns, row)).collect::<Result<Vec<_>>>()?;
    drop(rows);
    if is_job(noun) {
        let mut attempts: HashMap<String, Vec<Value>> = HashMap::new();
        for row in &sql.rows(ATTEMPTS, values![keys]).await? {
            let job = row.id::<Uuid>("job_id")?.to_string();
            attempts.entry(job).or_default().push(Value::Object(object(ATTEMPT, row)?));
        }
        for document in &mut documents {
            let own = document["id"].as_str().and_then(|id| attempts.remove(id));
            document["attempts"] = Value::Array(own.unwrap_or_default());
        }
    }
    Ok(documents)
}

/// The parts of a key.
fn parts(noun: PruneNoun, batch: Option<BatchId>, key: &str) -> Result<Value> {
    let wrong = || StoreError::Invalid(format!("`{key}` is no key of {noun}"));
    match noun {
        PruneNoun::Ticks | PruneNoun::Triggers | PruneNoun::Emails => serde_json::from_str(key).map_err(|_| wrong()),
        PruneNoun::Results => {
            let batch = batch.ok_or_else(wrong)?;
            Ok(json!([batch, key.parse::<i64>().map_err(|_| wrong())?]))
        }
        PruneNoun::Quarantine | PruneNoun::Poison => Ok(json!([key.parse::<i64>().map_err(|_| wrong())?])),
        _ => Ok(json!([key.parse::<Uuid>().map_err(|_| wrong())?])),
    }
}

fn document(noun: PruneNoun, columns: &[Column], row: &impl Columns) -> Result<Value> {
    let mut document = object(columns, row)?;
    document.insert("noun".to_owned(), json!(noun));
    Ok(Value::Object(document))
}

fn is_job(noun: PruneNoun) -> bool {
    matches!(noun, PruneNoun::Jobs | PruneNoun::DeadLetters | PruneNoun::Chunks)
}

fn object(columns: &[Column], row: &impl Columns) -> Result<Map<String, Value>> {
    columns.iter().map(|(name, holds)| Ok(((*name).to_owned(), value(*holds, name, row)?))).collect()
}

fn value(holds: Holds, name: &str, row: &impl Columns) -> Result<Value> {
    Ok(match holds {
        Text => json!(row.maybe_text(name)?),
        // What cannot be read as JSON is archived as it is.
        Json => match row.maybe_text(name)? {
            Some(text) => gristmill_core::json::kept(&text).unwrap_or(Value::String(text)),
            None => Value::Null,
        },
        Number => json!(row.maybe_number(name)?),
        Id => json!(row.maybe_id(name)?),
        Time => json!(row.maybe_instant(name)?.map(|at: Instant| at.to_rfc3339())),
        Flag => json!(row.flag(name)?),
        Bytes => json!(row.bytes(name)?.iter().map(|byte| format!("{byte:02x}")).collect::<String>()),
    })
}
