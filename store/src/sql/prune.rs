//! Deletes what has ended: exactly the rows that were decided upon, as far as they are still as they were seen.
//!
//! Rows that another transaction holds are skipped, so that a step never waits for the hot path: the next walk comes
//! back to them.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use gristmill_core::Instant;
use gristmill_core::job::JobState;
use serde_json::{Value, json};
use uuid::Uuid;

use super::expiry::{backfill_has_ended, holds_no_key, tick_has_ended};
use super::{Columns, Sql, values};
use crate::check;
use crate::error::{Result, StoreError};
use crate::retention::{check_prune, dies_with_batch, newest_id};
use crate::{Prune, PruneNoun, PruneReport};

/// A database in a transaction that keeps the queue counters.
pub(crate) trait Counting: Sql {
    /// This many jobs left a state, because they are deleted.
    fn left(&mut self, tenant: &str, queue: &str, state: JobState, jobs: i64);
}

/// An instant of an array, which has it in microseconds since 1970.
macro_rules! at {
    ($index:literal) => {
        concat!("('epoch'::timestamptz + (e.value ->> ", $index, ")::bigint * interval '1 microsecond')")
    };
}

const JOBS: &str = concat!(
    "DELETE FROM job WHERE id IN (
    SELECT j.id FROM json_array_elements($1::json) AS e CROSS JOIN job j
    WHERE j.id = CAST(e.value ->> 0 AS uuid) AND j.finished_at = ",
    at!("1"),
    " AND j.batch_id IS NULL AND ",
    holds_no_key!(),
    " FOR UPDATE SKIP LOCKED)
RETURNING id, tenant, queue, state, idempotency_key, created_at"
);

/// Only of a batch that is being deleted, and that has not begun again. The rows are found by their own keys: a batch may
/// have a million, and a condition on it that an index could serve would read them all in each step.
const CHUNKS: &str = concat!(
    "DELETE FROM job WHERE id IN (
    SELECT j.id FROM json_array_elements($1::json) AS e CROSS JOIN job j
    WHERE j.id = CAST(e.value ->> 0 AS uuid) AND j.finished_at = ",
    at!("1"),
    " AND COALESCE(j.batch_id = $2, FALSE)
      AND (SELECT 1 FROM batch b WHERE b.id = $2 AND b.deleting_at IS NOT NULL AND b.finished_at IS NOT NULL) IS NOT NULL
    FOR UPDATE SKIP LOCKED)
RETURNING id, tenant, queue, state, idempotency_key, created_at"
);

const RESULTS: &str = "
DELETE FROM result WHERE (batch_id, seq) IN (
    SELECT CAST(e.value ->> 0 AS uuid), (e.value ->> 1)::bigint FROM json_array_elements($1::json) AS e)
  AND (SELECT 1 FROM batch b WHERE b.id = $2 AND b.deleting_at IS NOT NULL AND b.finished_at IS NOT NULL) IS NOT NULL";

const QUARANTINE: &str = "
DELETE FROM quarantine WHERE id IN (SELECT (e.value ->> 0)::bigint FROM json_array_elements($1::json) AS e)
  AND COALESCE(batch_id = $2, FALSE)
  AND (SELECT 1 FROM batch b WHERE b.id = $2 AND b.deleting_at IS NOT NULL AND b.finished_at IS NOT NULL) IS NOT NULL";

/// The last of a batch: nothing of it is left, in the database or among the spools.
const BATCHES: &str = concat!(
    "DELETE FROM batch WHERE id IN (
    SELECT b.id FROM json_array_elements($1::json) AS e CROSS JOIN batch b
    WHERE b.id = CAST(e.value ->> 0 AS uuid) AND b.finished_at = ",
    at!("1"),
    " AND b.deleting_at IS NOT NULL AND COALESCE(b.spool, 'gone') = 'gone'
      AND (SELECT 1 FROM job j WHERE j.batch_id = b.id LIMIT 1) IS NULL
      AND (SELECT 1 FROM result r WHERE r.batch_id = b.id LIMIT 1) IS NULL
      AND (SELECT 1 FROM quarantine q WHERE q.batch_id = b.id LIMIT 1) IS NULL
    FOR UPDATE SKIP LOCKED)
RETURNING id, tenant, idempotency_key, created_at"
);

const TICKS: &str = concat!(
    "DELETE FROM schedule_tick WHERE (tenant, schedule, tick) IN (
    SELECT t.tenant, t.schedule, t.tick FROM json_array_elements($1::json) AS e CROSS JOIN schedule_tick t
    WHERE t.tenant = e.value ->> 0 AND t.schedule = e.value ->> 1 AND t.tick = ",
    at!("2"),
    " AND COALESCE(t.ended_at, t.decided_at) = ",
    at!("3"),
    " AND ",
    tick_has_ended!(),
    " FOR UPDATE SKIP LOCKED)
RETURNING CASE WHEN event IS NULL THEN 0 ELSE 1 END AS event"
);

const BACKFILLS: &str = concat!(
    "DELETE FROM schedule_backfill WHERE id IN (
    SELECT f.id FROM json_array_elements($1::json) AS e CROSS JOIN schedule_backfill f
    WHERE f.id = CAST(e.value ->> 0 AS uuid) AND f.created_at = ",
    at!("1"),
    " AND ",
    backfill_has_ended!(),
    ")"
);

const EMAILS: &str = concat!(
    "DELETE FROM email WHERE (tenant, key) IN (
    SELECT m.tenant, m.key FROM json_array_elements($1::json) AS e CROSS JOIN email m
    WHERE m.tenant = e.value ->> 0 AND m.key = e.value ->> 1 AND m.moved_at = ",
    at!("2"),
    " AND (SELECT 1 FROM job j WHERE j.id = m.job_id) IS NULL FOR UPDATE SKIP LOCKED)"
);

const POISON: &str = concat!(
    "DELETE FROM poison WHERE id IN (
    SELECT p.id FROM json_array_elements($1::json) AS e CROSS JOIN poison p
    WHERE p.id = (e.value ->> 0)::bigint AND p.last_at = ",
    at!("1"),
    " FOR UPDATE SKIP LOCKED)"
);

const DISCARDED: &str = "
DELETE FROM discarded WHERE batch_id IN (SELECT CAST(e.value ->> 0 AS uuid) FROM json_array_elements($1::json) AS e)
RETURNING last_job AS id";

const KEYS: &str = "
DELETE FROM idempotency WHERE until <= now() AND (tenant, scope, key) IN (
    SELECT e.value ->> 0, e.value ->> 1, e.value ->> 2 FROM json_array_elements($1::json) AS e)";

/// In the order of their keys, as all who change several of them lock them.
const COUNTERS: &str = "
SELECT tenant, queue, state, shard, jobs FROM queue_count WHERE tenant = $1 AND queue = $2
ORDER BY tenant, queue, state, shard FOR UPDATE";

const DROP_COUNTERS: &str = "
DELETE FROM queue_count WHERE (tenant, queue, state, shard) IN (
    SELECT $1, $2, e.value ->> 0, (e.value ->> 1)::smallint FROM json_array_elements($3::json) AS e)";

const KEEP_KEYS: &str = concat!(
    "INSERT INTO idempotency (tenant, scope, key, id, until)
SELECT e.value ->> 0, e.value ->> 1, e.value ->> 2, CAST(e.value ->> 3 AS uuid), ",
    at!("4"),
    " FROM json_array_elements($1::json) AS e WHERE true
ON CONFLICT (tenant, scope, key) DO UPDATE SET id = excluded.id, until = excluded.until"
);

const COUNT: &str = "
INSERT INTO pruned (noun, deleted, since, last_at, horizon) VALUES ($1, $2, now(), now(), $3)
ON CONFLICT (noun) DO UPDATE SET deleted = pruned.deleted + excluded.deleted, last_at = excluded.last_at,
    horizon = CASE WHEN pruned.horizon IS NULL OR excluded.horizon > pruned.horizon THEN excluded.horizon
                   ELSE pruned.horizon END";

/// Every statement that deletes rows, for the tests of their plans.
#[cfg(feature = "testing")]
pub(crate) const STATEMENTS: [(&str, &str); 11] = [
    ("delete jobs", JOBS),
    ("delete chunks", CHUNKS),
    ("delete results", RESULTS),
    ("delete quarantine", QUARANTINE),
    ("delete batches", BATCHES),
    ("delete ticks", TICKS),
    ("delete backfills", BACKFILLS),
    ("delete emails", EMAILS),
    ("delete poison", POISON),
    ("delete discarded", DISCARDED),
    ("delete keys", KEYS),
];

/// What a step has deleted so far.
#[derive(Default)]
pub(super) struct Tally {
    rows: BTreeMap<PruneNoun, (u64, Option<Uuid>)>,
    keys: Vec<Value>,
}

impl Tally {
    /// One row, and its id where a message may name it.
    pub(super) fn add(&mut self, noun: PruneNoun, id: Option<Uuid>) {
        self.add_rows(noun, 1);
        let horizon = &mut self.rows.entry(noun).or_default().1;
        *horizon = (*horizon).max(id);
    }

    fn add_rows(&mut self, noun: PruneNoun, rows: u64) {
        if rows > 0 {
            self.rows.entry(noun).or_default().0 += rows;
        }
    }

    /// An idempotency key that is promised for longer than its row was there.
    pub(super) fn keep_key(&mut self, scope: &str, row: &impl Columns, keep: Keep) -> Result<()> {
        let Some(key) = row.maybe_text("idempotency_key")? else { return Ok(()) };
        let until = TimeDelta::from_std(keep.keys).ok();
        let until = until.and_then(|keys| row.instant("created_at").ok()?.checked_add_signed(keys));
        let until = until.unwrap_or(Instant::MAX_UTC).min(far());
        if until > keep.now && !(keep.in_batch && dies_with_batch(&key)) {
            let id: Uuid = row.id("id")?;
            self.keys.push(json!([row.text("tenant")?, scope, key, id, until.timestamp_micros()]));
        }
        Ok(())
    }

    /// Writes the keys and the counts, in the order of their nouns.
    pub(super) async fn write<S: Sql>(mut self, sql: &mut S) -> Result<PruneReport, S::Fault> {
        let now = sql.now().await?;
        let keys_kept = self.keys.len() as u64;
        if keys_kept > 0 {
            // Of two rows that had the same key one after the other the later one counts.
            self.keys.sort_by_key(|key| key[4].as_i64());
            let last: BTreeMap<String, Value> =
                self.keys.into_iter().map(|key| (json!([key[0], key[1], key[2]]).to_string(), key)).collect();
            sql.run(KEEP_KEYS, values![check::json(&last.into_values().collect::<Vec<_>>())?]).await?;
        }
        let mut report = PruneReport { deleted: Vec::new(), keys_kept };
        for (noun, (rows, horizon)) in self.rows {
            // A clock that runs ahead must not make what is to come look old.
            let horizon = horizon.map(|id| id.min(newest_id(now)));
            sql.run(COUNT, values![noun.as_str(), rows, horizon]).await?;
            report.deleted.push((noun, rows));
        }
        Ok(report)
    }
}

/// How long keys are kept, and since when.
#[derive(Clone, Copy)]
pub(super) struct Keep {
    pub(super) keys: std::time::Duration,
    pub(super) now: Instant,
    pub(super) in_batch: bool,
}

/// An instant that every database can hold.
fn far() -> Instant {
    Instant::from_timestamp_micros(253_402_300_799_000_000).unwrap_or(Instant::MAX_UTC)
}

/// Deletes rows of one noun.
pub(crate) async fn prune<S: Counting>(sql: &mut S, prune: &Prune) -> Result<PruneReport, S::Fault> {
    check_prune(prune)?;
    let mut tally = Tally::default();
    match prune.noun {
        PruneNoun::Jobs | PruneNoun::DeadLetters | PruneNoun::Chunks => jobs(sql, prune, &mut tally).await?,
        PruneNoun::Batches => batches(sql, prune, &mut tally).await?,
        PruneNoun::Results | PruneNoun::Quarantine => within(sql, prune, &mut tally).await?,
        PruneNoun::Ticks | PruneNoun::Triggers => {
            for row in sql.rows(TICKS, values![elements(prune)?]).await? {
                let event = row.number::<i64>("event")? == 1;
                tally.add(if event { PruneNoun::Triggers } else { PruneNoun::Ticks }, None);
            }
        }
        PruneNoun::Discarded => {
            for row in sql.rows(DISCARDED, values![elements(prune)?]).await? {
                tally.add(PruneNoun::Discarded, Some(row.id("id")?));
            }
        }
        PruneNoun::Queues => {
            for (key, _) in &prune.rows {
                let (tenant, queue): (String, String) = serde_json::from_str(key).map_err(|_| no_key(prune, key))?;
                tally.add_rows(PruneNoun::Queues, u64::from(drop_counters(sql, &tenant, &queue).await?));
            }
        }
        PruneNoun::Backfills | PruneNoun::Emails | PruneNoun::Poison | PruneNoun::Keys => {
            let rows = sql.run(plain(prune.noun), values![elements(prune)?]).await?;
            tally.add_rows(prune.noun, rows);
        }
    }
    let report = tally.write(sql).await?;
    if let Some(facts) = sql.facts() {
        facts.tell(&report);
    }
    Ok(report)
}

/// The statement for rows that nothing else follows from.
fn plain(noun: PruneNoun) -> &'static str {
    match noun {
        PruneNoun::Backfills => BACKFILLS,
        PruneNoun::Emails => EMAILS,
        PruneNoun::Keys => KEYS,
        _ => POISON,
    }
}

async fn jobs<S: Counting>(sql: &mut S, prune: &Prune, tally: &mut Tally) -> Result<(), S::Fault> {
    let in_batch = prune.noun == PruneNoun::Chunks;
    let keep = Keep { keys: prune.keys, now: sql.now().await?, in_batch };
    let rows = if in_batch {
        sql.rows(CHUNKS, values![elements(prune)?, batch(prune)?]).await?
    } else {
        sql.rows(JOBS, values![elements(prune)?]).await?
    };
    for row in &rows {
        let state = deleted_job(sql, row)?;
        let noun = match state {
            _ if in_batch => PruneNoun::Chunks,
            JobState::Dead => PruneNoun::DeadLetters,
            _ => PruneNoun::Jobs,
        };
        tally.add(noun, Some(row.id("id")?));
        tally.keep_key("job", row, keep)?;
    }
    Ok(())
}

/// Counts a job that was deleted, and returns its state.
pub(super) fn deleted_job<S: Counting>(sql: &mut S, row: &S::Row) -> Result<JobState> {
    let state: JobState = row.word("state")?;
    sql.left(&row.text("tenant")?, &row.text("queue")?, state, 1);
    Ok(state)
}

async fn batches<S: Sql>(sql: &mut S, prune: &Prune, tally: &mut Tally) -> Result<(), S::Fault> {
    let keep = Keep { keys: prune.keys, now: sql.now().await?, in_batch: false };
    for row in &sql.rows(BATCHES, values![elements(prune)?]).await? {
        tally.add(PruneNoun::Batches, Some(row.id("id")?));
        tally.keep_key("batch", row, keep)?;
    }
    Ok(())
}

async fn within<S: Sql>(sql: &mut S, prune: &Prune, tally: &mut Tally) -> Result<(), S::Fault> {
    let statement = if prune.noun == PruneNoun::Results { RESULTS } else { QUARANTINE };
    let rows = sql.run(statement, values![elements(prune)?, batch(prune)?]).await?;
    tally.add_rows(prune.noun, rows);
    Ok(())
}

/// Deletes the counters of a queue if they add up to nothing. Returns whether they did.
pub(super) async fn drop_counters<S: Sql>(sql: &mut S, tenant: &str, queue: &str) -> Result<bool, S::Fault> {
    let rows = sql.rows(COUNTERS, values![tenant, queue]).await?;
    let (mut sums, mut keys) = (BTreeMap::<String, i64>::new(), Vec::new());
    for row in &rows {
        let (state, shard) = (row.text("state")?, row.number::<i64>("shard")?);
        *sums.entry(state.clone()).or_default() += row.number::<i64>("jobs")?;
        keys.push((state, shard));
    }
    drop(rows);
    if keys.is_empty() || sums.values().any(|sum| *sum != 0) {
        return Ok(false);
    }
    sql.run(DROP_COUNTERS, values![tenant, queue, check::json(&keys)?]).await?;
    Ok(true)
}

/// The rows as one JSON text: the parts of each key, and when it ended.
fn elements(prune: &Prune) -> Result<String> {
    let element = |(key, at): &(String, Option<Instant>)| {
        let mut parts = match prune.noun {
            PruneNoun::Ticks | PruneNoun::Triggers | PruneNoun::Emails | PruneNoun::Keys => {
                serde_json::from_str::<Vec<Value>>(key).map_err(|_| no_key(prune, key))?
            }
            PruneNoun::Results => {
                let seq = key.parse::<i64>().map_err(|_| no_key(prune, key))?;
                vec![Value::from(batch(prune)?.to_string()), Value::from(seq)]
            }
            PruneNoun::Quarantine | PruneNoun::Poison => {
                vec![Value::from(key.parse::<i64>().map_err(|_| no_key(prune, key))?)]
            }
            _ => vec![Value::from(key.parse::<Uuid>().map_err(|_| no_key(prune, key))?.to_string())],
        };
        parts.extend(at.map(|at| Value::from(at.timestamp_micros())));
        Ok(Value::Array(parts))
    };
    check::json(&prune.rows.iter().map(element).collect::<Result<Vec<Value>>>()?)
}

fn batch(prune: &Prune) -> Result<Uuid> {
    let missing = || StoreError::Invalid(format!("{} are deleted within a batch; name it", prune.noun));
    prune.batch.map(|batch| batch.0).ok_or_else(missing)
}

fn no_key(prune: &Prune, key: &str) -> StoreError {
    StoreError::Invalid(format!("`{key}` is no key of {}", prune.noun))
}
