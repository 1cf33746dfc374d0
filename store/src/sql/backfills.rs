//! Backfills.

use serde_json::json;
use uuid::Uuid;

use super::{Columns, Sql, values};
use crate::backfills::{check_backfill, no_backfill};
use crate::check;
use crate::error::Result;
use crate::{BackfillView, NewBackfill};

const CREATE: &str = "
INSERT INTO schedule_backfill (id, tenant, schedule, from_at, to_at, concurrency, newest_first, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, now())";

const TICKS: &str = "
INSERT INTO schedule_tick AS t (tenant, schedule, tick, cause, outcome, from_at, to_at, backfill_id, decided_at,
    tzdb)
SELECT $2, $3, ('epoch'::timestamptz + (value ->> 0)::bigint * interval '1 microsecond'), 'backfill', 'waiting',
       ('epoch'::timestamptz + (value ->> 1)::bigint * interval '1 microsecond'),
       ('epoch'::timestamptz + (value ->> 2)::bigint * interval '1 microsecond'), $1, now(), $5
FROM json_array_elements($4::json) WHERE true
ON CONFLICT (tenant, schedule, tick) DO UPDATE SET cause = 'backfill', outcome = 'waiting', backfill_id = $1,
    ticks = 1, tries = 0, late_ms = 0, reason = NULL, result = NULL, holder = NULL, started_at = NULL,
    ended_at = NULL, decided_at = now(), tzdb = $5
WHERE t.outcome IN ('skipped_missed', 'skipped_overlap', 'failed')";

const PAUSE: &str = "UPDATE schedule_backfill SET paused = $3 WHERE tenant = $1 AND id = $2 RETURNING schedule";

const END: &str = "
DELETE FROM schedule_tick WHERE tenant = $1 AND schedule = $3 AND backfill_id = $2 AND outcome = 'waiting'";

const WAITING: &str = "
SELECT count(*) AS waiting FROM schedule_tick
WHERE tenant = $1 AND schedule = $3 AND backfill_id = $2 AND outcome = 'waiting'";

const LIST: &str = "
SELECT b.id, b.schedule, b.from_at, b.to_at, b.concurrency, b.newest_first, b.paused, b.created_at,
       count(*) FILTER (WHERE t.outcome IN ('waiting', 'buffered')) AS waiting, count(*) FILTER (WHERE t.active) AS running,
       count(*) FILTER (WHERE t.outcome = 'ran' AND NOT t.active) AS ended,
       count(*) FILTER (WHERE t.outcome = 'failed') AS failed
FROM schedule_backfill b
LEFT JOIN schedule_tick t ON t.tenant = b.tenant AND t.schedule = b.schedule AND t.backfill_id = b.id
WHERE b.tenant = $1 AND b.schedule = $2 GROUP BY b.id ORDER BY b.id DESC LIMIT 100";

/// Puts a past stretch into the ledger.
pub(crate) async fn create<S: Sql>(sql: &mut S, backfill: &NewBackfill) -> Result<u64, S::Fault> {
    let rows = check_backfill(backfill)?;
    let NewBackfill { id, tenant, schedule, range: (from, to), concurrency, newest_first, tzdb, ticks: _ } = backfill;
    sql.run(CREATE, values![*id, tenant, schedule, *from, *to, *concurrency, *newest_first]).await?;
    let edition = tzdb.as_deref().map(|tzdb| check::plain(tzdb, check::EDITION_CHARS_MAX));
    let waiting = sql.run(TICKS, values![*id, tenant, schedule, rows, edition]).await?;
    if let Some(facts) = sql.facts() {
        facts.set("backfill", id.to_string());
        facts.set("from", json!(from));
        facts.set("to", json!(to));
        facts.set("affected", waiting);
    }
    Ok(waiting)
}

/// Pauses, resumes or ends a backfill.
pub(crate) async fn control<S: Sql>(
    sql: &mut S,
    (tenant, id, paused): &(&str, Uuid, Option<bool>),
) -> Result<u64, S::Fault> {
    let found = sql.row(PAUSE, values![*tenant, *id, paused.unwrap_or(true)]).await?;
    if let Some(facts) = sql.facts() {
        facts.change();
    }
    let schedule = found.ok_or_else(|| no_backfill(*id))?.text("schedule")?;
    let values = values![*tenant, *id, schedule];
    if paused.is_none() {
        return sql.run(END, values).await;
    }
    let waiting = sql.row(WAITING, values).await?;
    Ok(waiting.map_or(Ok(0), |row| row.number("waiting"))?)
}

/// Backfills of a schedule.
pub(crate) async fn list<S: Sql>(sql: &mut S, tenant: &str, schedule: &str) -> Result<Vec<BackfillView>, S::Fault> {
    let rows = sql.rows(LIST, values![tenant, schedule]).await?;
    Ok(rows.iter().map(view).collect::<Result<_>>()?)
}

fn view(row: &impl Columns) -> Result<BackfillView> {
    Ok(BackfillView {
        id: row.id("id")?,
        schedule: row.text("schedule")?,
        from: row.instant("from_at")?,
        to: row.instant("to_at")?,
        concurrency: row.number("concurrency")?,
        newest_first: row.flag("newest_first")?,
        paused: row.flag("paused")?,
        waiting: row.number("waiting")?,
        running: row.number("running")?,
        ended: row.number("ended")?,
        failed: row.number("failed")?,
        created_at: row.instant("created_at")?,
    })
}
