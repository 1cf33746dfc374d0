//! History: what has passed is moved into minutes and hours, shown, and removed.

use std::collections::BTreeMap;

use gristmill_core::Instant;
use gristmill_core::history::{Histogram, HistoryStep, Throughput};

use super::{Columns, Sql, values};
use crate::check;
use crate::error::Result;
use crate::history::{HISTORY_POINTS_MAX, HistoryFilter, HistoryPoint};

/// The key of a point, from an array: tenant, step, microseconds since 1970, queue, kind.
macro_rules! key {
    () => {
        "h.tenant = e.value ->> 0 AND h.step = e.value ->> 1
    AND h.at = ('epoch'::timestamptz + (e.value ->> 2)::bigint * interval '1 microsecond')
    AND h.queue = e.value ->> 3 AND h.kind = e.value ->> 4"
    };
}

/// Empty points first, so that there is a row to lock for each: of two processes that move rows of the same minute, the
/// second adds to what the first has written.
const ENSURE: &str = "
INSERT INTO history (tenant, step, at, queue, kind)
SELECT e.value ->> 0, e.value ->> 1, ('epoch'::timestamptz + (e.value ->> 2)::bigint * interval '1 microsecond'),
       e.value ->> 3, e.value ->> 4
FROM json_array_elements($1::json) AS e WHERE true
ON CONFLICT (tenant, step, at, queue, kind) DO NOTHING";

const LOCK: &str = concat!(
    "SELECT h.tenant, h.step, h.at, h.queue, h.kind, h.enqueued, h.done, h.failed, h.dead, h.waits, h.runs
FROM json_array_elements($1::json) AS e CROSS JOIN history h WHERE ",
    key!(),
    " FOR UPDATE"
);

const WRITE: &str = concat!(
    "UPDATE history AS h SET enqueued = (e.value ->> 5)::bigint, done = (e.value ->> 6)::bigint,
    failed = (e.value ->> 7)::bigint, dead = (e.value ->> 8)::bigint, waits = e.value ->> 9, runs = e.value ->> 10
FROM json_array_elements($1::json) AS e WHERE ",
    key!()
);

/// The newest first, as far as the limit goes.
const POINTS: &str = "
SELECT at, queue, kind, enqueued, done, failed, dead, waits, runs FROM history
WHERE tenant = $1 AND step = $2 AND at >= $3 AND at < $4
  AND ($5::text IS NULL OR queue = $5) AND ($6::text IS NULL OR kind = $6)
ORDER BY at DESC, queue DESC, kind DESC LIMIT $7";

const PRUNE: &str = "
DELETE FROM history WHERE id IN (SELECT id FROM history WHERE step = $1 AND at < $2 ORDER BY at LIMIT $3)";

const ANY: &str = "SELECT EXISTS (SELECT 1 FROM flow) AS waits";

/// Tenant, step, beginning, queue and kind.
type Key = (String, HistoryStep, Instant, String, String);

/// A key as it is bound, with instants in microseconds.
type BoundKey<'k> = (&'k str, HistoryStep, i64, &'k str, &'k str);

/// Whether anything has passed that was not moved yet.
pub(crate) async fn waits<S: Sql>(sql: &mut S) -> Result<bool, S::Fault> {
    let row = sql.row(ANY, values![]).await?;
    Ok(row.map(|row| row.flag("waits")).transpose()?.unwrap_or(false))
}

/// Moves rows into their minutes and hours. `take` deletes at most as many of them as its parameter says, and returns
/// them: there is no key by which both databases find them.
pub(crate) async fn fold<S: Sql>(sql: &mut S, &(take, limit): &(&'static str, u32)) -> Result<u64, S::Fault> {
    let taken = sql.rows(take, values![limit]).await?;
    if taken.is_empty() {
        return Ok(0);
    }
    let mut fresh = BTreeMap::new();
    for row in &taken {
        count(&mut fresh, row)?;
    }
    let keys: Vec<BoundKey<'_>> = fresh.keys().map(bound).collect();
    let keys = check::json(&keys)?;
    sql.run(ENSURE, values![&keys]).await?;
    for row in sql.rows(LOCK, values![&keys]).await? {
        let key = (row.text("tenant")?, row.word("step")?, row.instant("at")?, row.text("queue")?, row.text("kind")?);
        fresh.entry(key).or_default().add(&throughput(&row)?);
    }
    sql.run(WRITE, values![written(&fresh)?]).await?;
    Ok(taken.len() as u64)
}

/// Counts a row in its minute and in its hour.
fn count(fresh: &mut BTreeMap<Key, Throughput>, row: &impl Columns) -> Result<()> {
    let (at, what, jobs) = (row.instant("at")?, row.word("what")?, row.number("jobs")?);
    let bucket = |column: &str| -> Result<Option<i16>> {
        Ok(row.maybe_number(column)?.and_then(|bucket| i16::try_from(bucket).ok()))
    };
    let (wait, run) = (bucket("wait")?, bucket("run")?);
    for step in HistoryStep::ALL {
        let key = (row.text("tenant")?, step, step.begin(at), row.text("queue")?, row.text("kind")?);
        fresh.entry(key).or_default().count(what, jobs, wait, run);
    }
    Ok(())
}

fn bound((tenant, step, at, queue, kind): &Key) -> BoundKey<'_> {
    (tenant, *step, at.timestamp_micros(), queue, kind)
}

fn written(points: &BTreeMap<Key, Throughput>) -> Result<String> {
    let row = |(key, passed): (&Key, &Throughput)| {
        let (tenant, step, at, queue, kind) = bound(key);
        let Throughput { enqueued, done, failed, dead, waits, runs } = passed;
        let (waits, runs) = (check::json(waits)?, check::json(runs)?);
        check::json(&(tenant, step, at, queue, kind, enqueued, done, failed, dead, waits, runs))
    };
    Ok(format!("[{}]", points.iter().map(row).collect::<Result<Vec<_>>>()?.join(",")))
}

fn throughput(row: &impl Columns) -> Result<Throughput> {
    let histogram = |column: &str| row.json::<Histogram>(column);
    Ok(Throughput {
        enqueued: row.number("enqueued")?,
        done: row.number("done")?,
        failed: row.number("failed")?,
        dead: row.number("dead")?,
        waits: histogram("waits")?,
        runs: histogram("runs")?,
    })
}

/// Points of history by time, queue and kind.
pub(crate) async fn points<S: Sql>(sql: &mut S, filter: &HistoryFilter) -> Result<Vec<HistoryPoint>, S::Fault> {
    let HistoryFilter { tenant, step, from, until, queue, kind, limit } = filter;
    let values =
        values![tenant, step.as_str(), *from, *until, queue.clone(), kind.clone(), (*limit).min(HISTORY_POINTS_MAX)];
    let rows = sql.rows(POINTS, values).await?;
    let point = |row: &S::Row| {
        let (queue, kind) = (row.text("queue")?, row.text("kind")?);
        Ok(HistoryPoint { at: row.instant("at")?, queue, kind, passed: throughput(row)? })
    };
    Ok(rows.iter().rev().map(point).collect::<Result<_>>()?)
}

/// Removes old points.
pub(crate) async fn prune<S: Sql>(
    sql: &mut S,
    &(step, before, limit): &(HistoryStep, Instant, u32),
) -> Result<u64, S::Fault> {
    sql.run(PRUNE, values![step.as_str(), before, limit]).await
}
