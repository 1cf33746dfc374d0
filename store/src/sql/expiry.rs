//! What has ended: one page of one noun at a time, in the order of its primary key, so that a page costs the same
//! however long the history is.
//!
//! The probes of other tables are scalar subqueries with a limit of 1, because a database may turn `EXISTS` into one
//! scan of the whole other table.

use gristmill_core::Instant;
use gristmill_core::batch::BatchState;
use gristmill_core::job::JobState;
use serde::de::DeserializeOwned;
use serde_json::json;
use uuid::Uuid;

use super::{Columns, Sql, Value, values};
use crate::error::{Result, StoreError};
use crate::retention::newest_id;
use crate::{ExpiredRow, ExpiryLook, ExpiryPage, PruneNoun, WALK_ROWS_MAX};

/// A unique key that is held: no other job may have it yet. A period that is over holds nothing.
macro_rules! holds_no_key {
    () => {
        "(j.unique_held IS NULL OR COALESCE(j.unique_rule = 'period' AND j.unique_until <= now(), FALSE))"
    };
}
pub(super) use holds_no_key;

/// A row of the ledger that has ended. It stays as long as its run is there, and the newest of a schedule stays with
/// the schedule.
macro_rules! tick_has_ended {
    () => {
        "NOT t.active AND t.outcome NOT IN ('buffered', 'waiting')
     AND (SELECT 1 FROM batch b WHERE b.id = t.batch_id) IS NULL AND (SELECT 1 FROM job j WHERE j.id = t.job_id) IS NULL
     AND ((SELECT 1 FROM schedule s WHERE s.tenant = t.tenant AND s.name = t.schedule) IS NULL
          OR (SELECT 1 FROM schedule_tick n WHERE n.tenant = t.tenant AND n.schedule = t.schedule AND n.tick > t.tick
              ORDER BY n.tenant, n.schedule, n.tick LIMIT 1) IS NOT NULL)"
    };
}
pub(super) use tick_has_ended;

/// A backfill of which nothing waits or runs. Its ticks lie within its range.
macro_rules! backfill_has_ended {
    () => {
        "(SELECT 1 FROM schedule_tick t WHERE t.tenant = f.tenant AND t.schedule = f.schedule
       AND t.tick >= f.from_at AND t.tick <= f.to_at AND t.backfill_id = f.id
       AND (t.active OR t.outcome IN ('buffered', 'waiting')) LIMIT 1) IS NULL"
    };
}
pub(super) use backfill_has_ended;

const JOBS: &str = concat!(
    "SELECT j.id, j.tenant, j.queue AS name, j.state, j.finished_at AS at, j.attempt + 1 AS weight,
       CASE WHEN j.batch_id IS NULL AND j.finished_at IS NOT NULL AND ",
    holds_no_key!(),
    " THEN 1 ELSE 0 END AS ended
FROM job j WHERE j.id > $1 AND j.id <= $2 ORDER BY j.id LIMIT $3"
);

const BATCHES: &str = "
SELECT b.id, b.tenant, b.name, b.state, b.finished_at AS at, CASE WHEN b.deleting_at IS NULL THEN 0 ELSE 1 END AS deleting,
       CASE WHEN b.finished_at IS NULL THEN 0 WHEN (
            SELECT 1 FROM job j WHERE j.batch_id = b.id AND j.state IN ('scheduled', 'queued', 'running', 'retry') LIMIT 1
       ) IS NULL THEN 1 ELSE 0 END AS ended,
       CASE WHEN (SELECT 1 FROM job j WHERE j.batch_id = b.id AND j.state = 'dead' LIMIT 1) IS NOT NULL THEN 1
            WHEN (SELECT 1 FROM quarantine q WHERE q.batch_id = b.id AND q.state = 'open' LIMIT 1) IS NOT NULL THEN 1
            ELSE 0 END AS unsolved
FROM batch b WHERE b.id > $1 AND b.id <= $2 ORDER BY b.id LIMIT $3";

const CHUNKS: &str = "
SELECT j.id, j.tenant, j.queue AS name, j.state, j.kind, j.finished_at AS at, j.attempt + 1 AS weight
FROM job j WHERE j.batch_id = $1 AND (j.state, j.kind, j.id) > ($2, $3, $4) ORDER BY j.state, j.kind, j.id LIMIT $5";

const RESULTS: &str =
    "SELECT r.seq AS number FROM result r WHERE r.batch_id = $1 AND r.seq > $2 ORDER BY r.seq LIMIT $3";

const QUARANTINE: &str = "
SELECT q.id AS number, q.state FROM quarantine q
WHERE q.batch_id = $1 AND (q.state, q.id) > ($2, $3) ORDER BY q.state, q.id LIMIT $4";

const TICKS: &str = concat!(
    "SELECT t.tenant, t.schedule AS name, t.tick, COALESCE(t.ended_at, t.decided_at) AS at,
       CASE WHEN t.event IS NULL THEN 0 ELSE 1 END AS event, CASE WHEN ",
    tick_has_ended!(),
    " THEN 1 ELSE 0 END AS ended
FROM schedule_tick t WHERE (t.tenant, t.schedule, t.tick) > ($1, $2, $3) ORDER BY t.tenant, t.schedule, t.tick LIMIT $4"
);

const BACKFILLS: &str = concat!(
    "SELECT f.id, f.tenant, f.schedule AS name, f.created_at AS at, CASE WHEN ",
    backfill_has_ended!(),
    " THEN 1 ELSE 0 END AS ended FROM schedule_backfill f WHERE f.id > $1 ORDER BY f.id LIMIT $2"
);

const EMAILS: &str = "
SELECT e.tenant, e.key, e.moved_at AS at,
       CASE WHEN (SELECT 1 FROM job j WHERE j.id = e.job_id) IS NULL THEN 1 ELSE 0 END AS ended
FROM email e WHERE (e.tenant, e.key) > ($1, $2) ORDER BY e.tenant, e.key LIMIT $3";

const POISON: &str = "SELECT p.id AS number, p.last_at AS at FROM poison p WHERE p.id > $1 ORDER BY p.id LIMIT $2";

const DISCARDED: &str = "
SELECT d.batch_id AS id, d.discarded_at AS at FROM discarded d WHERE d.batch_id > $1 ORDER BY d.batch_id LIMIT $2";

const KEYS: &str = "
SELECT i.tenant, i.scope, i.key, i.until AS at, CASE WHEN i.until <= now() THEN 1 ELSE 0 END AS ended
FROM idempotency i WHERE (i.tenant, i.scope, i.key) > ($1, $2, $3) ORDER BY i.tenant, i.scope, i.key LIMIT $4";

const QUEUES: &str = "
SELECT DISTINCT c.tenant, c.queue AS name FROM queue_count c WHERE (c.tenant, c.queue) > ($1, $2)
ORDER BY c.tenant, c.queue LIMIT $3";

/// Each queue has a row for each state and shard.
const COUNTS: &str = "
SELECT c.tenant, c.queue AS name, c.state, sum(c.jobs)::bigint AS number FROM queue_count c
WHERE (c.tenant, c.queue) > ($1, $2) AND (c.tenant, c.queue) <= ($3, $4)
GROUP BY c.tenant, c.queue, c.state ORDER BY c.tenant, c.queue, c.state";

/// Queues that are not there by their counters alone: paused ones, those with settings, those that a worker serves.
const NEEDED: &str = "
SELECT tenant, name, '' AS queues FROM queue WHERE paused UNION ALL SELECT '', name, '' FROM queue_spec
UNION ALL SELECT '', '', queues FROM worker WHERE state = 'alive'";

/// Every statement of a look, for the tests of their plans.
#[cfg(feature = "testing")]
pub(crate) const STATEMENTS: [(&str, &str); 11] = [
    ("look at jobs", JOBS),
    ("look at batches", BATCHES),
    ("look at chunks", CHUNKS),
    ("look at results", RESULTS),
    ("look at quarantine", QUARANTINE),
    ("look at ticks", TICKS),
    ("look at backfills", BACKFILLS),
    ("look at emails", EMAILS),
    ("look at poison", POISON),
    ("look at discarded", DISCARDED),
    ("look at keys", KEYS),
];

/// Returns one page of a noun.
pub(crate) async fn look<S: Sql>(sql: &mut S, look: &ExpiryLook) -> Result<ExpiryPage, S::Fault> {
    let now = sql.now().await?;
    let limit = look.limit.clamp(1, WALK_ROWS_MAX);
    if look.noun == PruneNoun::Queues {
        return queues(sql, look, now).await;
    }
    let (statement, values) = statement(look, limit)?;
    let rows = sql.rows(statement, values).await?;
    let walked = rows.iter().map(|row| walked(look.noun, row)).collect::<Result<Vec<Walked>>>()?;
    let full = walked.len() == usize::try_from(limit).unwrap_or(usize::MAX);
    let next = walked.last().filter(|_| full).map(|last| last.cursor.clone());
    Ok(ExpiryPage { now, rows: walked.into_iter().filter_map(|walked| walked.row).collect(), next })
}

/// The statement that walks a noun, and its parameters.
fn statement(look: &ExpiryLook, limit: u32) -> Result<(&'static str, Vec<Value>)> {
    let bound = look.created_before.map_or(Uuid::max(), newest_id);
    let within = || look.batch.map(|batch| batch.0).ok_or_else(|| unreadable(look, "a batch"));
    Ok(match look.noun {
        PruneNoun::Jobs | PruneNoun::DeadLetters => (JOBS, values![id(look)?, bound, limit]),
        PruneNoun::Batches => (BATCHES, values![id(look)?, bound, limit]),
        PruneNoun::Chunks => {
            let (state, kind, id) = cursor(look, (String::new(), String::new(), Uuid::nil()))?;
            (CHUNKS, values![within()?, state, kind, id, limit])
        }
        PruneNoun::Results => (RESULTS, values![within()?, number(look)?, limit]),
        PruneNoun::Quarantine => {
            let (state, number) = cursor(look, (String::new(), -1_i64))?;
            (QUARANTINE, values![within()?, state, number, limit])
        }
        PruneNoun::Ticks | PruneNoun::Triggers => {
            let (tenant, schedule, tick) = cursor(look, (String::new(), String::new(), 0_i64))?;
            let tick = Instant::from_timestamp_micros(tick).ok_or_else(|| unreadable(look, "an instant"))?;
            (TICKS, values![tenant, schedule, tick, limit])
        }
        PruneNoun::Backfills => (BACKFILLS, values![id(look)?, limit]),
        PruneNoun::Emails => {
            let (tenant, key) = cursor(look, (String::new(), String::new()))?;
            (EMAILS, values![tenant, key, limit])
        }
        PruneNoun::Poison => (POISON, values![number(look)?, limit]),
        PruneNoun::Discarded => (DISCARDED, values![id(look)?, limit]),
        PruneNoun::Keys => {
            let (tenant, scope, key) = cursor(look, (String::new(), String::new(), String::new()))?;
            (KEYS, values![tenant, scope, key, limit])
        }
        PruneNoun::Queues => (NEEDED, Vec::new()),
    })
}

/// A row that was walked: where it is, and what it is if it has ended.
struct Walked {
    cursor: String,
    row: Option<ExpiredRow>,
}

fn walked(noun: PruneNoun, row: &impl Columns) -> Result<Walked> {
    let ended = match noun {
        PruneNoun::Chunks => row.maybe_instant("at")?.is_some(),
        PruneNoun::Results | PruneNoun::Quarantine | PruneNoun::Poison | PruneNoun::Discarded => true,
        _ => row.number::<i64>("ended")? == 1,
    };
    let (cursor, key) = keys(noun, row)?;
    let ended = ended.then(|| expired(noun, key, row)).transpose()?;
    Ok(Walked { cursor, row: ended })
}

/// The cursor of a row, and its key.
fn keys(noun: PruneNoun, row: &impl Columns) -> Result<(String, String)> {
    let one = |key: String| (key.clone(), key);
    Ok(match noun {
        PruneNoun::Jobs | PruneNoun::DeadLetters | PruneNoun::Batches => one(row.id::<Uuid>("id")?.to_string()),
        PruneNoun::Backfills | PruneNoun::Discarded => one(row.id::<Uuid>("id")?.to_string()),
        PruneNoun::Chunks => {
            let id: Uuid = row.id("id")?;
            (json!([row.text("state")?, row.text("kind")?, id]).to_string(), id.to_string())
        }
        PruneNoun::Results | PruneNoun::Poison => one(row.number::<i64>("number")?.to_string()),
        PruneNoun::Quarantine => {
            let number: i64 = row.number("number")?;
            (json!([row.text("state")?, number]).to_string(), number.to_string())
        }
        PruneNoun::Ticks | PruneNoun::Triggers => {
            let tick = row.instant("tick")?.timestamp_micros();
            one(json!([row.text("tenant")?, row.text("name")?, tick]).to_string())
        }
        PruneNoun::Emails => one(json!([row.text("tenant")?, row.text("key")?]).to_string()),
        PruneNoun::Keys => one(json!([row.text("tenant")?, row.text("scope")?, row.text("key")?]).to_string()),
        PruneNoun::Queues => one(json!([row.text("tenant")?, row.text("name")?]).to_string()),
    })
}

fn expired(noun: PruneNoun, key: String, row: &impl Columns) -> Result<ExpiredRow> {
    let mut expired = ExpiredRow {
        noun,
        key,
        at: None,
        tenant: String::new(),
        name: String::new(),
        unsolved: false,
        deleting: false,
        weight: 1,
    };
    if !matches!(noun, PruneNoun::Results | PruneNoun::Quarantine) {
        expired.at = Some(row.instant("at")?);
    }
    match noun {
        PruneNoun::Jobs | PruneNoun::DeadLetters => {
            let dead = row.word::<JobState>("state")? == JobState::Dead;
            expired.noun = if dead { PruneNoun::DeadLetters } else { PruneNoun::Jobs };
        }
        PruneNoun::Batches => {
            row.word::<BatchState>("state")?;
            expired.unsolved = row.number::<i64>("unsolved")? == 1;
            expired.deleting = row.number::<i64>("deleting")? == 1;
        }
        PruneNoun::Ticks | PruneNoun::Triggers => {
            let event = row.number::<i64>("event")? == 1;
            expired.noun = if event { PruneNoun::Triggers } else { PruneNoun::Ticks };
        }
        _ => {}
    }
    match noun {
        PruneNoun::Jobs | PruneNoun::DeadLetters | PruneNoun::Chunks => {
            expired.weight = row.number("weight")?;
            (expired.tenant, expired.name) = (row.text("tenant")?, row.text("name")?);
        }
        PruneNoun::Batches | PruneNoun::Ticks | PruneNoun::Triggers | PruneNoun::Backfills => {
            (expired.tenant, expired.name) = (row.text("tenant")?, row.text("name")?);
        }
        PruneNoun::Emails | PruneNoun::Keys => expired.tenant = row.text("tenant")?,
        _ => {}
    }
    Ok(expired)
}

/// Queues whose counters add up to nothing, and that nothing needs.
async fn queues<S: Sql>(sql: &mut S, look: &ExpiryLook, now: Instant) -> Result<ExpiryPage, S::Fault> {
    let limit = look.limit.clamp(1, WALK_ROWS_MAX);
    let (first_tenant, first): (String, String) = cursor(look, (String::new(), String::new()))?;
    let names = sql.rows(QUEUES, values![&first_tenant, &first, limit]).await?;
    let last: Option<(String, String)> =
        names.last().map(|row| Ok::<_, StoreError>((row.text("tenant")?, row.text("name")?))).transpose()?;
    let full = names.len() == usize::try_from(limit).unwrap_or(usize::MAX);
    drop(names);
    let Some((last_tenant, last)) = last else { return Ok(ExpiryPage { now, rows: Vec::new(), next: None }) };
    let next = full.then(|| json!([last_tenant, last]).to_string());
    let rows = sql.rows(COUNTS, values![first_tenant, first, last_tenant, last]).await?;
    let mut found: Vec<(String, String, bool)> = Vec::new();
    for row in &rows {
        let (tenant, name, empty) = (row.text("tenant")?, row.text("name")?, row.number::<i64>("number")? == 0);
        match found.last_mut() {
            Some(last) if last.0 == tenant && last.1 == name => last.2 &= empty,
            _ => found.push((tenant, name, empty)),
        }
    }
    drop(rows);
    let needed = if found.iter().any(|(.., empty)| *empty) { needed(sql).await? } else { Vec::new() };
    let of = |tenant: &str, name: &str| {
        needed.iter().any(|(owner, queue)| queue == name && (owner.is_empty() || owner == tenant))
    };
    let rows = found.into_iter().filter(|(tenant, name, empty)| *empty && !of(tenant, name));
    let rows = rows.map(|(tenant, name, _)| ExpiredRow {
        noun: PruneNoun::Queues,
        key: json!([tenant, name]).to_string(),
        at: None,
        tenant,
        name,
        unsolved: false,
        deleting: false,
        weight: 1,
    });
    Ok(ExpiryPage { now, rows: rows.collect(), next })
}

/// The queues that stay although they have no job: tenant, empty for all of them, and name.
async fn needed<S: Sql>(sql: &mut S) -> Result<Vec<(String, String)>, S::Fault> {
    let rows = sql.rows(NEEDED, values![]).await?;
    let mut needed = Vec::new();
    for row in &rows {
        let served = row.text("queues")?;
        if served.is_empty() {
            needed.push((row.text("tenant")?, row.text("name")?));
            continue;
        }
        let served: Vec<String> = row.json("queues")?;
        needed.extend(served.into_iter().map(|queue| (String::new(), queue)));
    }
    Ok(needed)
}

fn id(look: &ExpiryLook) -> Result<Uuid> {
    let after = look.after.as_deref();
    after.map_or(Ok(Uuid::nil()), |after| after.parse().map_err(|_| unreadable(look, "an id")))
}

fn number(look: &ExpiryLook) -> Result<i64> {
    look.after.as_deref().map_or(Ok(-1), |after| after.parse().map_err(|_| unreadable(look, "a number")))
}

fn cursor<T: DeserializeOwned>(look: &ExpiryLook, first: T) -> Result<T> {
    let after = look.after.as_deref();
    after.map_or(Ok(first), |after| serde_json::from_str(after).map_err(|_| unreadable(look, "an array")))
}

fn unreadable(look: &ExpiryLook, right: &str) -> StoreError {
    let after = look.after.as_deref().unwrap_or_default();
    StoreError::Invalid(format!("`{after}` is no cursor over {}; {right} is needed", look.noun))
}
