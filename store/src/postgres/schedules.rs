//! Schedules, the ledger of their ticks, and backfills. Groups travel as one JSON array of objects; instants in it
//! are microseconds since 1970.

use std::collections::HashSet;

use gristmill_core::Instant;
use gristmill_core::id::{BatchId, JobId};
use gristmill_core::job::NewJob;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::create;
use super::fault::Outcome;
use super::values::{count, from_json, int, plain, small};
use super::work::Work;
use crate::error::StoreError;
use crate::row;
use crate::schedules::{self, changed_meanwhile, check_backfill, check_firings, check_save, key, no_backfill};
use crate::{
    BackfillView, FIRE_TRIES_MAX, FireReport, Firing, NewBackfill, Run, SaveSchedule, ScheduleView, TickFilter,
    TickView, check,
};

/// An instant out of a JSON object.
macro_rules! at {
    ($key:literal) => {
        concat!("('epoch'::timestamptz + (i ->> '", $key, "')::bigint * interval '1 microsecond')")
    };
}

const CREATE: &str = "
INSERT INTO schedule (tenant, name, origin, spec, enabled, decided_at, next_at, follows, created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, now(), now()) ON CONFLICT DO NOTHING";

const EDIT: &str = "
UPDATE schedule SET origin = $3, spec = $4, enabled = $5, decided_at = $6, next_at = $7, follows = $8,
    version = version + 1, updated_at = now()
WHERE tenant = $1 AND name = $2 AND version = $9 AND decided_at = $10";

macro_rules! schedules {
    ($rest:literal) => {
        concat!(
            "SELECT s.tenant, s.name, s.origin, s.spec, s.enabled, s.version, s.decided_at, s.next_at, s.created_at, ",
            "s.updated_at, (SELECT count(*) FROM schedule_tick t WHERE t.tenant = s.tenant AND t.schedule = s.name ",
            "AND t.active AND t.cause <> 'backfill') AS running, ",
            "(SELECT count(*) FROM schedule_tick t WHERE t.tenant = s.tenant AND t.schedule = s.name ",
            "AND t.outcome = 'buffered') AS buffered FROM schedule s ",
            $rest
        )
    };
}

const LIST: &str = schedules!(
    "WHERE ($1::text IS NULL OR s.tenant = $1) AND ($2::text IS NULL OR s.name = $2) ORDER BY s.tenant, s.name"
);

const DUE: &str = schedules!("WHERE s.enabled AND s.next_at <= $1 ORDER BY s.next_at, s.tenant, s.name LIMIT $2");

const ADVANCE: &str = concat!(
    "UPDATE schedule s SET decided_at = ",
    at!("is"),
    ", next_at = ",
    at!("next"),
    " FROM json_array_elements($1::json) AS i WHERE s.tenant = i ->> 'tenant' AND s.name = i ->> 'name'",
    " AND s.version = (i ->> 'version')::bigint AND s.decided_at = ",
    at!("was"),
    " AND s.enabled RETURNING s.tenant, s.name"
);

const WRITE: &str = concat!(
    "INSERT INTO schedule_tick (tenant, schedule, tick, cause, outcome, from_at, to_at, late_ms, ticks, tries, batch_id,
        job_id, active, holder, reason, decided_at, started_at)
     SELECT i ->> 'tenant', i ->> 'schedule', ",
    at!("tick"),
    ", i ->> 'cause', i ->> 'outcome', ",
    at!("from"),
    ", ",
    at!("to"),
    ", (i ->> 'late')::bigint, (i ->> 'ticks')::bigint, (i ->> 'ran')::int, (i ->> 'batch')::uuid, (i ->> 'job')::uuid,
        i ->> 'ran' = '1', (i ->> 'holder')::uuid, i ->> 'reason', now(), CASE WHEN i ->> 'ran' = '1' THEN now() END
     FROM json_array_elements($1::json) AS i ON CONFLICT DO NOTHING RETURNING tenant, schedule, tick"
);

const REWRITE: &str = concat!(
    "UPDATE schedule_tick t SET outcome = i ->> 'outcome', tries = t.tries + (i ->> 'ran')::int,
        cause = CASE WHEN t.cause = 'backfill' THEN t.cause ELSE i ->> 'cause' END,
        batch_id = (i ->> 'batch')::uuid, job_id = (i ->> 'job')::uuid, active = i ->> 'ran' = '1', result = NULL,
        holder = (i ->> 'holder')::uuid, reason = i ->> 'reason', late_ms = (i ->> 'late')::bigint, ended_at = NULL,
        started_at = CASE WHEN i ->> 'ran' = '1' THEN now() ELSE t.started_at END
     FROM json_array_elements($1::json) AS i
     WHERE t.tenant = i ->> 'tenant' AND t.schedule = i ->> 'schedule' AND t.tick = ",
    at!("tick"),
    " AND t.outcome = i ->> 'was' RETURNING t.tenant, t.schedule, t.tick"
);

/// A run that is gone altogether, such as a batch that was taken back, has ended too.
const NOTE_ENDED: &str = "
UPDATE schedule_tick t SET active = FALSE, ended_at = now(),
    result = COALESCE((SELECT state FROM batch WHERE id = t.batch_id), (SELECT state FROM job WHERE id = t.job_id), 'gone')
WHERE t.active
  AND NOT EXISTS (SELECT 1 FROM batch b WHERE b.id = t.batch_id AND b.state NOT IN ('complete', 'halted', 'cancelled'))
  AND NOT EXISTS (SELECT 1 FROM job j WHERE j.id = t.job_id AND j.state NOT IN ('done', 'dead', 'cancelled'))";

macro_rules! ticks {
    ($rest:literal) => {
        concat!(
            "SELECT t.tenant, t.schedule, t.tick, t.cause, t.outcome, t.from_at, t.to_at, t.late_ms, t.ticks, t.tries, ",
            "t.batch_id, t.job_id, t.active, t.result, t.backfill_id, t.reason, t.decided_at, t.started_at, t.ended_at, ",
            "t.event, t.about ",
            $rest
        )
    };
}

const STARTABLE: &str = ticks!(
    "FROM (
        SELECT w.*, b.concurrency,
               row_number() OVER (PARTITION BY w.tenant, w.schedule, w.outcome, w.backfill_id ORDER BY
                   CASE WHEN b.newest_first THEN w.tick END DESC, w.tick) AS place
        FROM schedule_tick w LEFT JOIN schedule_backfill b ON b.id = w.backfill_id
        WHERE w.outcome IN ('buffered', 'waiting') AND NOT COALESCE(b.paused, FALSE)) AS t
    WHERE CASE
        WHEN t.outcome = 'buffered' THEN t.place = 1 AND NOT EXISTS (SELECT 1 FROM schedule_tick a
            WHERE a.tenant = t.tenant AND a.schedule = t.schedule AND a.active AND a.cause <> 'backfill')
        WHEN t.backfill_id IS NULL THEN TRUE
        ELSE t.place <= t.concurrency - (SELECT count(*) FROM schedule_tick a
            WHERE a.tenant = t.tenant AND a.schedule = t.schedule AND a.active AND a.backfill_id = t.backfill_id)
        END
    ORDER BY t.tenant, t.schedule, t.place LIMIT $1"
);

const ORPHANED: &str = "
SELECT b.tenant, b.id FROM schedule_tick t JOIN batch b ON b.id = t.batch_id
WHERE t.active AND b.state = 'open' AND t.holder IS NOT NULL AND NOT EXISTS (
    SELECT 1 FROM worker w WHERE w.id = t.holder AND w.state = 'alive' AND w.lease_until >= now())
ORDER BY b.id LIMIT $1";

const UNFIRE: &str = "
UPDATE schedule_tick SET outcome = CASE WHEN tries >= $3 OR NOT $4 THEN 'failed' ELSE 'waiting' END,
    batch_id = NULL, active = FALSE, reason = $2
WHERE batch_id = $1 AND outcome = 'ran'";

const TICKS: &str = ticks!(
    "FROM schedule_tick t WHERE t.tenant = $1 AND t.schedule = $2 AND ($3::timestamptz IS NULL OR t.tick >= $3)
     AND ($4::timestamptz IS NULL OR t.tick <= $4) ORDER BY t.tick DESC LIMIT $5"
);

/// One row by its event.
pub(super) const EVENT: &str = ticks!("FROM schedule_tick t WHERE t.tenant = $1 AND t.schedule = $2 AND t.event = $3");

const NEW_BACKFILL: &str = "
INSERT INTO schedule_backfill (id, tenant, schedule, from_at, to_at, concurrency, newest_first, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, now())";

const BACKFILL_TICKS: &str = "
INSERT INTO schedule_tick AS t (tenant, schedule, tick, cause, outcome, from_at, to_at, backfill_id, decided_at)
SELECT $2, $3, ('epoch'::timestamptz + (i ->> 0)::bigint * interval '1 microsecond'), 'backfill', 'waiting',
       ('epoch'::timestamptz + (i ->> 1)::bigint * interval '1 microsecond'),
       ('epoch'::timestamptz + (i ->> 2)::bigint * interval '1 microsecond'), $1, now()
FROM json_array_elements($4::json) AS i
ON CONFLICT (tenant, schedule, tick) DO UPDATE SET cause = 'backfill', outcome = 'waiting', backfill_id = $1,
    ticks = 1, tries = 0, late_ms = 0, reason = NULL, result = NULL, holder = NULL, started_at = NULL,
    ended_at = NULL, decided_at = now()
WHERE t.outcome IN ('skipped_missed', 'skipped_overlap', 'failed')";

const PAUSE_BACKFILL: &str =
    "UPDATE schedule_backfill SET paused = $3 WHERE tenant = $1 AND id = $2 RETURNING schedule";

const END_BACKFILL: &str = "
DELETE FROM schedule_tick WHERE tenant = $1 AND schedule = $3 AND backfill_id = $2 AND outcome = 'waiting'";

const BACKFILLS: &str = "
SELECT b.id, b.schedule, b.from_at, b.to_at, b.concurrency, b.newest_first, b.paused, b.created_at,
       count(*) FILTER (WHERE t.outcome IN ('waiting', 'buffered')) AS waiting, count(*) FILTER (WHERE t.active) AS running,
       count(*) FILTER (WHERE t.outcome = 'ran' AND NOT t.active) AS ended,
       count(*) FILTER (WHERE t.outcome = 'failed') AS failed
FROM schedule_backfill b
LEFT JOIN schedule_tick t ON t.tenant = b.tenant AND t.schedule = b.schedule AND t.backfill_id = b.id
WHERE b.tenant = $1 AND b.schedule = $2 GROUP BY b.id ORDER BY b.id DESC LIMIT 100";

row! {
    struct ScheduleRow {
        tenant: String,
        name: String,
        origin: String,
        spec: String,
        enabled: bool,
        version: i64,
        decided_at: Instant,
        next_at: Option<Instant>,
        created_at: Instant,
        updated_at: Instant,
        running: i64,
        buffered: i64,
    }
}

impl ScheduleRow {
    fn view(self) -> Result<ScheduleView, StoreError> {
        Ok(ScheduleView {
            origin: word(&self.origin)?,
            spec: from_json(&self.spec, &format!("the schedule `{}`", self.name))?,
            tenant: self.tenant,
            name: self.name,
            enabled: self.enabled,
            version: self.version,
            decided_at: self.decided_at,
            next_at: self.next_at,
            created_at: self.created_at,
            updated_at: self.updated_at,
            running: count(self.running),
            buffered: count(self.buffered),
        })
    }
}

row! {
    pub(super) struct TickRow {
        tenant: String,
        schedule: String,
        tick: Instant,
        cause: String,
        outcome: String,
        from_at: Instant,
        to_at: Instant,
        late_ms: i64,
        ticks: i64,
        tries: i32,
        batch_id: Option<Uuid>,
        job_id: Option<Uuid>,
        active: bool,
        result: Option<String>,
        backfill_id: Option<Uuid>,
        reason: Option<String>,
        decided_at: Instant,
        started_at: Option<Instant>,
        ended_at: Option<Instant>,
        event: Option<String>,
        about: Option<String>,
    }
}

impl TickRow {
    pub(super) fn view(self) -> Result<TickView, StoreError> {
        Ok(TickView {
            cause: word(&self.cause)?,
            outcome: word(&self.outcome)?,
            tenant: self.tenant,
            schedule: self.schedule,
            tick: self.tick,
            from: self.from_at,
            to: self.to_at,
            late_ms: self.late_ms,
            ticks: count(self.ticks),
            tries: small(self.tries),
            batch: self.batch_id.map(BatchId),
            job: self.job_id.map(JobId),
            active: self.active,
            result: self.result,
            backfill: self.backfill_id,
            reason: self.reason,
            decided_at: self.decided_at,
            started_at: self.started_at,
            ended_at: self.ended_at,
            about: self.about.map(|about| from_json(&about, "what is known of an event")).transpose()?,
            event: self.event,
        })
    }
}

row! {
    struct BackfillRow {
        id: Uuid,
        schedule: String,
        from_at: Instant,
        to_at: Instant,
        concurrency: i32,
        newest_first: bool,
        paused: bool,
        created_at: Instant,
        waiting: i64,
        running: i64,
        ended: i64,
        failed: i64,
    }
}

impl BackfillRow {
    fn view(self) -> BackfillView {
        BackfillView {
            id: self.id,
            schedule: self.schedule,
            from: self.from_at,
            to: self.to_at,
            concurrency: small(self.concurrency),
            newest_first: self.newest_first,
            paused: self.paused,
            waiting: count(self.waiting),
            running: count(self.running),
            ended: count(self.ended),
            failed: count(self.failed),
            created_at: self.created_at,
        }
    }
}

pub(super) fn word<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, StoreError> {
    text.parse().map_err(|error| StoreError::Database(format!("a word of a schedule: {error}")))
}

/// Makes or edits a schedule.
pub(super) async fn save(work: &mut Work<'_>, save: &SaveSchedule) -> Outcome<ScheduleView> {
    check_save(save)?;
    let query = sqlx::query(if save.seen.is_some() { EDIT } else { CREATE })
        .bind(plain(&save.tenant))
        .bind(plain(&save.name))
        .bind(save.origin.as_str())
        .bind(check::json(&save.spec)?)
        .bind(save.enabled)
        .bind(save.decided_at)
        .bind(save.next_at)
        .bind(save.spec.after.as_deref().map(plain));
    let query = match save.seen {
        Some((version, decided_at)) => query.bind(version).bind(decided_at),
        None => query,
    };
    if query.execute(&mut *work.conn).await?.rows_affected() == 0 {
        return Err(changed_meanwhile(&save.name).into());
    }
    let saved = list(&mut *work.conn, Some(&save.tenant), Some(&save.name)).await?;
    saved.into_iter().next().ok_or_else(|| changed_meanwhile(&save.name).into())
}

/// Takes a schedule away.
pub(super) async fn remove(work: &mut Work<'_>, (tenant, name): &(&str, &str)) -> Outcome<bool> {
    let query =
        sqlx::query("DELETE FROM schedule WHERE tenant = $1 AND name = $2").bind(plain(tenant)).bind(plain(name));
    Ok(query.execute(&mut *work.conn).await?.rows_affected() > 0)
}

/// Schedules by name.
pub(super) async fn list(
    conn: &mut PgConnection,
    tenant: Option<&str>,
    name: Option<&str>,
) -> Outcome<Vec<ScheduleView>> {
    let rows: Vec<ScheduleRow> =
        sqlx::query_as(LIST).bind(tenant.map(plain)).bind(name.map(plain)).fetch_all(conn).await?;
    Ok(rows.into_iter().map(ScheduleRow::view).collect::<Result<_, _>>()?)
}

/// Schedules with a tick to decide.
pub(super) async fn due(conn: &mut PgConnection, now: Instant, limit: u32) -> Outcome<Vec<ScheduleView>> {
    let rows: Vec<ScheduleRow> = sqlx::query_as(DUE).bind(now).bind(i64::from(limit)).fetch_all(conn).await?;
    Ok(rows.into_iter().map(ScheduleRow::view).collect::<Result<_, _>>()?)
}

/// Writes decided ticks down and starts their runs.
pub(super) async fn fire(work: &mut Work<'_>, firings: &[Firing]) -> Outcome<FireReport> {
    check_firings(firings)?;
    let steps = schedules::advances(firings)?;
    let won: HashSet<(String, String)> =
        sqlx::query_as(ADVANCE).bind(steps).fetch_all(&mut *work.conn).await?.into_iter().collect();
    let holds = |firing: &&Firing| firing.advance.is_none() || won.contains(&key(firing));
    let asked = firings.len();
    let firings: Vec<&Firing> = firings.iter().filter(holds).collect();
    let mut written = HashSet::new();
    for (statement, rows) in
        [(WRITE, schedules::ledger(&firings, true)?), (REWRITE, schedules::ledger(&firings, false)?)]
    {
        let Some(rows) = rows else { continue };
        let found: Vec<(String, String, Instant)> =
            sqlx::query_as(statement).bind(rows).fetch_all(&mut *work.conn).await?;
        written.extend(found.into_iter().map(|(tenant, name, tick)| (tenant, name, tick.timestamp_micros())));
    }
    let lost = (asked - firings.len()) as u64;
    let mut report = FireReport { written: written.len() as u64, lost, ..FireReport::default() };
    let mut jobs: Vec<NewJob> = Vec::new();
    for (firing, tick) in schedules::runs(&firings, &written) {
        report.started.push((firing.schedule.clone(), tick.tick));
        match &tick.run {
            Some(Run::Batch(batch)) => {
                create::create_batch(work, batch).await?;
            }
            Some(Run::Job(job)) => jobs.push(job.as_ref().clone()),
            None => {}
        }
    }
    if !jobs.is_empty() {
        create::insert(work, &jobs).await?;
    }
    report.dispatched = work.close().await?;
    Ok(report)
}

/// Notes which runs have ended.
pub(super) async fn note_ended(work: &mut Work<'_>, _: &()) -> Outcome<u64> {
    Ok(sqlx::query(NOTE_ENDED).execute(&mut *work.conn).await?.rows_affected())
}

/// Ticks that may start now.
pub(super) async fn startable(conn: &mut PgConnection, limit: u32) -> Outcome<Vec<TickView>> {
    let rows: Vec<TickRow> = sqlx::query_as(STARTABLE).bind(i64::from(limit)).fetch_all(conn).await?;
    Ok(rows.into_iter().map(TickRow::view).collect::<Result<_, _>>()?)
}

/// Batches of schedules whose planner is not alive.
pub(super) async fn orphaned(conn: &mut PgConnection, limit: u32) -> Outcome<Vec<(String, BatchId)>> {
    let rows: Vec<(String, Uuid)> = sqlx::query_as(ORPHANED).bind(i64::from(limit)).fetch_all(conn).await?;
    Ok(rows.into_iter().map(|(tenant, batch)| (tenant, BatchId(batch))).collect())
}

/// Gives a tick back.
pub(super) async fn release_tick(work: &mut Work<'_>, (batch, reason, again): &(BatchId, &str, bool)) -> Outcome<bool> {
    let reason = check::plain(reason, check::REASON_CHARS_MAX);
    let query = sqlx::query(UNFIRE).bind(batch.0).bind(reason).bind(FIRE_TRIES_MAX).bind(again);
    Ok(query.execute(&mut *work.conn).await?.rows_affected() > 0)
}

/// Rows of the ledger.
pub(super) async fn ticks(conn: &mut PgConnection, filter: &TickFilter) -> Outcome<Vec<TickView>> {
    let rows: Vec<TickRow> = sqlx::query_as(TICKS)
        .bind(plain(&filter.tenant))
        .bind(plain(&filter.schedule))
        .bind(filter.from)
        .bind(filter.until)
        .bind(i64::from(filter.limit.clamp(1, 10_000)))
        .fetch_all(conn)
        .await?;
    Ok(rows.into_iter().map(TickRow::view).collect::<Result<_, _>>()?)
}

/// Puts a past stretch into the ledger.
pub(super) async fn backfill(work: &mut Work<'_>, backfill: &NewBackfill) -> Outcome<u64> {
    let rows = check_backfill(backfill)?;
    sqlx::query(NEW_BACKFILL)
        .bind(backfill.id)
        .bind(plain(&backfill.tenant))
        .bind(plain(&backfill.schedule))
        .bind(backfill.range.0)
        .bind(backfill.range.1)
        .bind(int(backfill.concurrency))
        .bind(backfill.newest_first)
        .execute(&mut *work.conn)
        .await?;
    let query = sqlx::query(BACKFILL_TICKS)
        .bind(backfill.id)
        .bind(plain(&backfill.tenant))
        .bind(plain(&backfill.schedule))
        .bind(rows);
    Ok(query.execute(&mut *work.conn).await?.rows_affected())
}

/// Stops, lets go or ends a backfill.
pub(super) async fn control_backfill(
    work: &mut Work<'_>,
    (tenant, id, paused): &(&str, Uuid, Option<bool>),
) -> Outcome<u64> {
    let found: Option<String> = sqlx::query_scalar(PAUSE_BACKFILL)
        .bind(plain(tenant))
        .bind(id)
        .bind(paused.unwrap_or(true))
        .fetch_optional(&mut *work.conn)
        .await?;
    let schedule = found.ok_or_else(|| no_backfill(*id))?;
    if paused.is_none() {
        let query = sqlx::query(END_BACKFILL).bind(plain(tenant)).bind(id).bind(schedule);
        return Ok(query.execute(&mut *work.conn).await?.rows_affected());
    }
    let waiting = "SELECT count(*) FROM schedule_tick
        WHERE tenant = $1 AND schedule = $3 AND backfill_id = $2 AND outcome = 'waiting'";
    let waiting: i64 =
        sqlx::query_scalar(waiting).bind(plain(tenant)).bind(id).bind(schedule).fetch_one(&mut *work.conn).await?;
    Ok(count(waiting))
}

/// Backfills of a schedule.
pub(super) async fn backfills(conn: &mut PgConnection, tenant: &str, schedule: &str) -> Outcome<Vec<BackfillView>> {
    let rows: Vec<BackfillRow> =
        sqlx::query_as(BACKFILLS).bind(plain(tenant)).bind(plain(schedule)).fetch_all(conn).await?;
    Ok(rows.into_iter().map(BackfillRow::view).collect())
}
