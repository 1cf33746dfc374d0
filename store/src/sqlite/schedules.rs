//! Schedules, the ledger of their ticks, and backfills: the mirror of PostgreSQL's. Groups travel as one JSON array.

use std::collections::HashSet;

use async_trait::async_trait;
use gristmill_core::Instant;
use gristmill_core::id::BatchId;
use gristmill_core::job::NewJob;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use super::error::database;
use super::transition::{Query, Transition, micros};
use super::{SqliteStore, create, insert, row};
use crate::backfills::{check_backfill, no_backfill};
use crate::check;
use crate::error::Result;
use crate::schedules::{changed_meanwhile, check_save};
use crate::ticks::{self, check_firings, key};
use crate::{
    BackfillView, Backfills, FIRE_TRIES_MAX, FireReport, Firing, NewBackfill, Run, SaveSchedule, ScheduleView,
    Schedules, TickFilter, TickView, Ticks,
};

const SCHEDULES: &str = "
    SELECT s.*, (SELECT count(*) FROM schedule_tick t WHERE t.tenant = s.tenant AND t.schedule = s.name
                 AND t.active AND t.cause <> 'backfill') AS running,
           (SELECT count(*) FROM schedule_tick t WHERE t.tenant = s.tenant AND t.schedule = s.name
            AND t.outcome = 'buffered') AS buffered
    FROM schedule s ";

#[async_trait]
impl Schedules for SqliteStore {
    async fn save_schedule(&self, save: &SaveSchedule) -> Result<ScheduleView> {
        check_save(save)?;
        let mut t = Transition::begin(self).await?;
        let create = "
            INSERT INTO schedule (tenant, name, origin, spec, enabled, decided_at, next_at, created_at, updated_at, follows)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8, ?9) ON CONFLICT DO NOTHING";
        let edit = "
            UPDATE schedule SET origin = ?3, spec = ?4, enabled = ?5, decided_at = ?6, next_at = ?7, version = version + 1,
                updated_at = ?8, follows = ?9
            WHERE tenant = ?1 AND name = ?2 AND version = ?10 AND decided_at = ?11";
        let query = sqlx::query(if save.seen.is_some() { edit } else { create })
            .bind(save.tenant.clone())
            .bind(save.name.clone())
            .bind(save.origin.as_str())
            .bind(check::json(&save.spec)?)
            .bind(save.enabled)
            .bind(micros(save.decided_at))
            .bind(save.next_at.map(micros))
            .bind(t.now)
            .bind(save.spec.after.clone());
        let query = match save.seen {
            Some((version, decided_at)) => query.bind(version).bind(micros(decided_at)),
            None => query,
        };
        if t.run(query).await? == 0 {
            return Err(changed_meanwhile(&save.name));
        }
        let saved = format!("{SCHEDULES} WHERE s.tenant = ?1 AND s.name = ?2");
        let query = sqlx::query(sqlx::AssertSqlSafe(saved)).bind(save.tenant.clone()).bind(save.name.clone());
        let saved = t.row(query).await?.ok_or_else(|| changed_meanwhile(&save.name))?;
        let view = schedule_view(&saved)?;
        t.commit().await?;
        Ok(view)
    }

    async fn remove_schedule(&self, tenant: &str, name: &str) -> Result<bool> {
        let mut t = Transition::begin(self).await?;
        let statement = "DELETE FROM schedule WHERE tenant = ?1 AND name = ?2";
        let gone = t.run(sqlx::query(statement).bind(tenant.to_owned()).bind(name.to_owned())).await?;
        t.commit().await?;
        Ok(gone > 0)
    }

    async fn schedules(&self, tenant: Option<&str>, name: Option<&str>) -> Result<Vec<ScheduleView>> {
        let statement = format!(
            "{SCHEDULES} WHERE (?1 IS NULL OR s.tenant = ?1) AND (?2 IS NULL OR s.name = ?2) ORDER BY s.tenant, s.name"
        );
        let query =
            sqlx::query(sqlx::AssertSqlSafe(statement)).bind(tenant.map(str::to_owned)).bind(name.map(str::to_owned));
        look(self, query, schedule_view).await
    }

    async fn due_schedules(&self, now: Instant, limit: u32) -> Result<Vec<ScheduleView>> {
        let statement =
            format!("{SCHEDULES} WHERE s.enabled AND s.next_at <= ?1 ORDER BY s.next_at, s.tenant, s.name LIMIT ?2");
        look(self, sqlx::query(sqlx::AssertSqlSafe(statement)).bind(micros(now)).bind(limit), schedule_view).await
    }
}

#[async_trait]
impl Ticks for SqliteStore {
    async fn fire(&self, firings: &[Firing]) -> Result<FireReport> {
        check_firings(firings)?;
        let mut t = Transition::begin(self).await?;
        let won = advance(&mut t, firings).await?;
        let holds = |firing: &&Firing| firing.advance.is_none() || won.contains(&key(firing));
        let held: Vec<&Firing> = firings.iter().filter(holds).collect();
        let written = write(&mut t, &held).await?;
        let lost = (firings.len() - held.len()) as u64;
        let mut report = FireReport { written: written.len() as u64, lost, ..FireReport::default() };
        let mut jobs: Vec<NewJob> = Vec::new();
        for (firing, tick) in ticks::runs(&held, &written) {
            report.started.push((firing.schedule.clone(), tick.tick));
            match &tick.run {
                Some(Run::Batch(batch)) => {
                    create::insert_batch(&mut t, batch).await?;
                }
                Some(Run::Job(job)) => jobs.push(job.as_ref().clone()),
                None => {}
            }
        }
        if !jobs.is_empty() {
            insert::new_jobs(&mut t, &jobs).await?;
        }
        report.dispatched = t.commit().await?.dispatched;
        Ok(report)
    }

    async fn note_ended_runs(&self) -> Result<u64> {
        // Which they are is asked beside the writer: mostly there are none.
        let ended = "
            t.active
            AND NOT EXISTS (SELECT 1 FROM batch b WHERE b.id = t.batch_id AND b.state NOT IN ('complete', 'halted', 'cancelled'))
            AND NOT EXISTS (SELECT 1 FROM job j WHERE j.id = t.job_id AND j.state NOT IN ('done', 'dead', 'cancelled'))";
        let any = format!("SELECT EXISTS (SELECT 1 FROM schedule_tick t WHERE {ended})");
        let any = sqlx::query_scalar::<_, bool>(sqlx::AssertSqlSafe(any)).fetch_one(&self.readers).await;
        if !any.map_err(database)? {
            return Ok(0);
        }
        let mut t = Transition::begin(self).await?;
        let statement = format!(
            "UPDATE schedule_tick AS t SET active = 0, ended_at = ?1, result = coalesce(
                 (SELECT state FROM batch WHERE id = t.batch_id), (SELECT state FROM job WHERE id = t.job_id), 'gone')
             WHERE {ended}"
        );
        let now = t.now;
        let noted = t.run(sqlx::query(sqlx::AssertSqlSafe(statement)).bind(now)).await?;
        t.commit().await?;
        Ok(noted)
    }

    async fn startable_ticks(&self, limit: u32) -> Result<Vec<TickView>> {
        let statement = "
            SELECT * FROM (
                SELECT w.*, b.concurrency,
                       row_number() OVER (PARTITION BY w.tenant, w.schedule, w.outcome, w.backfill_id ORDER BY
                           CASE WHEN b.newest_first THEN w.tick END DESC, w.tick) AS place
                FROM schedule_tick w LEFT JOIN schedule_backfill b ON b.id = w.backfill_id
                WHERE w.outcome IN ('buffered', 'waiting') AND NOT coalesce(b.paused, 0)) AS t
            WHERE CASE
                WHEN t.outcome = 'buffered' THEN t.place = 1 AND NOT EXISTS (SELECT 1 FROM schedule_tick a
                    WHERE a.tenant = t.tenant AND a.schedule = t.schedule AND a.active AND a.cause <> 'backfill')
                WHEN t.backfill_id IS NULL THEN 1
                ELSE t.place <= t.concurrency - (SELECT count(*) FROM schedule_tick a
                    WHERE a.tenant = t.tenant AND a.schedule = t.schedule AND a.active AND a.backfill_id = t.backfill_id)
                END
            ORDER BY t.tenant, t.schedule, t.place LIMIT ?1";
        look(self, sqlx::query(statement).bind(limit), tick_view).await
    }

    async fn orphaned_plans(&self, limit: u32) -> Result<Vec<(String, BatchId)>> {
        let statement = "
            SELECT b.tenant, b.id FROM schedule_tick t JOIN batch b ON b.id = t.batch_id
            WHERE t.active AND b.state = 'open' AND t.holder IS NOT NULL AND NOT EXISTS (
                SELECT 1 FROM worker w WHERE w.id = t.holder AND w.state = 'alive' AND w.lease_until >= ?1)
            ORDER BY b.id LIMIT ?2";
        let now = self.now_micros().await?;
        let query = sqlx::query(statement).bind(now).bind(limit);
        look(self, query, |row| Ok((row::get(row, "tenant")?, row::id(row, "id")?))).await
    }

    async fn release_tick(&self, batch: BatchId, reason: &str, again: bool) -> Result<bool> {
        let mut t = Transition::begin(self).await?;
        let statement = "
            UPDATE schedule_tick SET outcome = CASE WHEN tries >= ?3 OR NOT ?4 THEN 'failed' ELSE 'waiting' END,
                batch_id = NULL, active = 0, reason = ?2
            WHERE batch_id = ?1 AND outcome = 'ran'";
        let reason = check::plain(reason, check::REASON_CHARS_MAX);
        let query = sqlx::query(statement).bind(batch.0).bind(reason).bind(FIRE_TRIES_MAX).bind(again);
        let given_back = t.run(query).await?;
        t.commit().await?;
        Ok(given_back > 0)
    }

    async fn ticks(&self, filter: &TickFilter) -> Result<Vec<TickView>> {
        let statement = "
            SELECT * FROM schedule_tick WHERE tenant = ?1 AND schedule = ?2 AND (?3 IS NULL OR tick >= ?3)
                AND (?4 IS NULL OR tick <= ?4) ORDER BY tick DESC LIMIT ?5";
        let query = sqlx::query(statement)
            .bind(filter.tenant.clone())
            .bind(filter.schedule.clone())
            .bind(filter.from.map(micros))
            .bind(filter.until.map(micros))
            .bind(filter.limit.clamp(1, 10_000));
        look(self, query, tick_view).await
    }
}

/// Moves the clocks of the schedules that nobody else has moved: which they were.
async fn advance(t: &mut Transition<'_>, firings: &[Firing]) -> Result<HashSet<(String, String)>> {
    let statement = "
        UPDATE schedule AS s SET decided_at = value ->> 'is', next_at = value ->> 'next' FROM json_each(?1)
        WHERE s.tenant = value ->> 'tenant' AND s.name = value ->> 'name' AND s.version = value ->> 'version'
          AND s.decided_at = value ->> 'was' AND s.enabled
        RETURNING tenant, name";
    let rows = t.rows(sqlx::query(statement).bind(ticks::advances(firings)?)).await?;
    rows.iter().map(|row| Ok((row::get(row, "tenant")?, row::get(row, "name")?))).collect()
}

/// Writes rows of the ledger: which were written.
async fn write(t: &mut Transition<'_>, firings: &[&Firing]) -> Result<HashSet<(String, String, i64)>> {
    let new = "
        INSERT INTO schedule_tick (tenant, schedule, tick, cause, outcome, from_at, to_at, late_ms, ticks, tries, batch_id,
            job_id, active, holder, reason, decided_at, started_at)
        SELECT value ->> 'tenant', value ->> 'schedule', value ->> 'tick', value ->> 'cause', value ->> 'outcome',
            value ->> 'from', value ->> 'to', value ->> 'late', value ->> 'ticks', value ->> 'ran',
            unhex(value ->> 'batch', '-'), unhex(value ->> 'job', '-'), value ->> 'ran', unhex(value ->> 'holder', '-'),
            value ->> 'reason', ?2, CASE WHEN value ->> 'ran' THEN ?2 END
        FROM json_each(?1) WHERE true ON CONFLICT DO NOTHING RETURNING tenant, schedule, tick";
    let known = "
        UPDATE schedule_tick AS t SET outcome = value ->> 'outcome', tries = t.tries + (value ->> 'ran'),
            cause = CASE WHEN t.cause = 'backfill' THEN t.cause ELSE value ->> 'cause' END,
            batch_id = unhex(value ->> 'batch', '-'), job_id = unhex(value ->> 'job', '-'), active = value ->> 'ran',
            result = NULL, holder = unhex(value ->> 'holder', '-'), reason = value ->> 'reason',
            late_ms = value ->> 'late', ended_at = NULL, started_at = CASE WHEN value ->> 'ran' THEN ?2 ELSE t.started_at END
        FROM json_each(?1)
        WHERE t.tenant = value ->> 'tenant' AND t.schedule = value ->> 'schedule' AND t.tick = value ->> 'tick'
          AND t.outcome = value ->> 'was'
        RETURNING tenant, schedule, tick";
    let mut written = HashSet::new();
    for (statement, rows) in [(new, ticks::ledger(firings, true)?), (known, ticks::ledger(firings, false)?)] {
        let Some(rows) = rows else { continue };
        let now = t.now;
        for row in &t.rows(sqlx::query(statement).bind(rows).bind(now)).await? {
            written.insert((row::get(row, "tenant")?, row::get(row, "schedule")?, row::get(row, "tick")?));
        }
    }
    Ok(written)
}

#[async_trait]
impl Backfills for SqliteStore {
    async fn backfill(&self, backfill: &NewBackfill) -> Result<u64> {
        let rows = check_backfill(backfill)?;
        let mut t = Transition::begin(self).await?;
        let statement = "
            INSERT INTO schedule_backfill (id, tenant, schedule, from_at, to_at, concurrency, newest_first, created_at)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
        let now = t.now;
        let query = sqlx::query(statement)
            .bind(backfill.id)
            .bind(backfill.tenant.clone())
            .bind(backfill.schedule.clone())
            .bind(micros(backfill.range.0))
            .bind(micros(backfill.range.1))
            .bind(backfill.concurrency)
            .bind(backfill.newest_first)
            .bind(now);
        t.run(query).await?;
        let statement = "
            INSERT INTO schedule_tick AS t (tenant, schedule, tick, cause, outcome, from_at, to_at, backfill_id, decided_at)
            SELECT ?2, ?3, value ->> 0, 'backfill', 'waiting', value ->> 1, value ->> 2, ?1, ?5 FROM json_each(?4) WHERE true
            ON CONFLICT (tenant, schedule, tick) DO UPDATE SET cause = 'backfill', outcome = 'waiting', backfill_id = ?1,
                ticks = 1, tries = 0, late_ms = 0, reason = NULL, result = NULL, holder = NULL, started_at = NULL,
                ended_at = NULL, decided_at = ?5
            WHERE t.outcome IN ('skipped_missed', 'skipped_overlap', 'failed')";
        let query = sqlx::query(statement)
            .bind(backfill.id)
            .bind(backfill.tenant.clone())
            .bind(backfill.schedule.clone())
            .bind(rows)
            .bind(now);
        let waiting = t.run(query).await?;
        t.commit().await?;
        Ok(waiting)
    }

    async fn control_backfill(&self, tenant: &str, id: Uuid, paused: Option<bool>) -> Result<u64> {
        let mut t = Transition::begin(self).await?;
        let statement = "UPDATE schedule_backfill SET paused = ?3 WHERE tenant = ?1 AND id = ?2";
        let query = sqlx::query(statement).bind(tenant.to_owned()).bind(id).bind(paused.unwrap_or(true));
        if t.run(query).await? == 0 {
            return Err(no_backfill(id));
        }
        let waits = "tenant = ?1 AND backfill_id = ?2 AND outcome = 'waiting'";
        let bound = |statement: String| -> Query {
            sqlx::query(sqlx::AssertSqlSafe(statement)).bind(tenant.to_owned()).bind(id)
        };
        let count = t.row(bound(format!("SELECT count(*) AS waiting FROM schedule_tick WHERE {waits}"))).await?;
        if paused.is_none() {
            t.run(bound(format!("DELETE FROM schedule_tick WHERE {waits}"))).await?;
        }
        t.commit().await?;
        count.as_ref().map_or(Ok(0), |row| row::number(row, "waiting"))
    }

    async fn backfills(&self, tenant: &str, schedule: &str) -> Result<Vec<BackfillView>> {
        let statement = "
            SELECT b.*, count(*) FILTER (WHERE t.outcome IN ('waiting', 'buffered')) AS waiting,
                   count(*) FILTER (WHERE t.active) AS running,
                   count(*) FILTER (WHERE t.outcome = 'ran' AND NOT t.active) AS ended,
                   count(*) FILTER (WHERE t.outcome = 'failed') AS failed
            FROM schedule_backfill b
            LEFT JOIN schedule_tick t ON t.tenant = b.tenant AND t.schedule = b.schedule AND t.backfill_id = b.id
            WHERE b.tenant = ?1 AND b.schedule = ?2 GROUP BY b.id ORDER BY b.id DESC LIMIT 100";
        look(self, sqlx::query(statement).bind(tenant.to_owned()).bind(schedule.to_owned()), backfill_view).await
    }
}

async fn look<T>(store: &SqliteStore, query: Query, view: impl Fn(&SqliteRow) -> Result<T>) -> Result<Vec<T>> {
    query.fetch_all(&store.readers).await.map_err(database)?.iter().map(view).collect()
}

fn schedule_view(row: &SqliteRow) -> Result<ScheduleView> {
    Ok(ScheduleView {
        tenant: row::get(row, "tenant")?,
        name: row::get(row, "name")?,
        origin: row::word(row, "origin")?,
        spec: row::json(row, "spec")?,
        enabled: row::flag(row, "enabled")?,
        version: row::get(row, "version")?,
        decided_at: row::instant(row, "decided_at")?,
        next_at: row::maybe_instant(row, "next_at")?,
        created_at: row::instant(row, "created_at")?,
        updated_at: row::instant(row, "updated_at")?,
        running: row::number(row, "running")?,
        buffered: row::number(row, "buffered")?,
    })
}

pub(super) fn tick_view(row: &SqliteRow) -> Result<TickView> {
    Ok(TickView {
        tenant: row::get(row, "tenant")?,
        schedule: row::get(row, "schedule")?,
        tick: row::instant(row, "tick")?,
        cause: row::word(row, "cause")?,
        outcome: row::word(row, "outcome")?,
        from: row::instant(row, "from_at")?,
        to: row::instant(row, "to_at")?,
        late_ms: row::get(row, "late_ms")?,
        ticks: row::number(row, "ticks")?,
        tries: row::number(row, "tries")?,
        batch: row::maybe_id(row, "batch_id")?,
        job: row::maybe_id(row, "job_id")?,
        active: row::flag(row, "active")?,
        result: row::get(row, "result")?,
        backfill: row::maybe_id(row, "backfill_id")?,
        reason: row::get(row, "reason")?,
        decided_at: row::instant(row, "decided_at")?,
        started_at: row::maybe_instant(row, "started_at")?,
        ended_at: row::maybe_instant(row, "ended_at")?,
        event: row::get(row, "event")?,
        about: row::maybe_json(row, "about")?,
    })
}

fn backfill_view(row: &SqliteRow) -> Result<BackfillView> {
    Ok(BackfillView {
        id: row::id(row, "id")?,
        schedule: row::get(row, "schedule")?,
        from: row::instant(row, "from_at")?,
        to: row::instant(row, "to_at")?,
        concurrency: row::number(row, "concurrency")?,
        newest_first: row::flag(row, "newest_first")?,
        paused: row::flag(row, "paused")?,
        waiting: row::number(row, "waiting")?,
        running: row::number(row, "running")?,
        ended: row::number(row, "ended")?,
        failed: row::number(row, "failed")?,
        created_at: row::instant(row, "created_at")?,
    })
}
