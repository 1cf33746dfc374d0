//! Process incarnations, their leases, and leadership.

use std::time::Duration;

use async_trait::async_trait;
use gristmill_core::id::{JobId, WorkerId};
use gristmill_core::job::Fence;
use gristmill_core::settle::{Ending, Verdict};
use sqlx::sqlite::SqliteRow;

use super::settle::{Settlement, settle};
use super::transition::{Transition, later};
use super::{SqliteStore, error, lock, row};
use crate::check;
use crate::error::Result;
use crate::{Dispatched, NewWorker, WorkGuard, WorkerView, Workers};

/// How long an incarnation that is over is still shown: a day, in microseconds.
const SHOWN_MICROS: i64 = 86_400 * 1_000_000;

#[async_trait]
impl Workers for SqliteStore {
    async fn begin_work(&self) -> Result<WorkGuard> {
        lock::begin_work(self).await
    }

    async fn register_worker(&self, worker: &NewWorker) -> Result<()> {
        let mut t = Transition::begin(self).await?;
        let statement = "
            INSERT INTO worker (id, role, host, pid, version, slots, queues, started_at, seen_at, lease_until, kinds)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8, ?9, ?10)
            ON CONFLICT DO NOTHING";
        let query = sqlx::query(statement)
            .bind(worker.id.0)
            .bind(check::plain(&worker.role, check::REASON_CHARS_MAX))
            .bind(check::plain(&worker.host, check::REASON_CHARS_MAX))
            .bind(worker.pid)
            .bind(check::plain(&worker.version, check::REASON_CHARS_MAX))
            .bind(worker.slots)
            .bind(check::json(&worker.queues)?)
            .bind(t.now)
            .bind(later(t.now, worker.lease))
            .bind(check::json(&worker.kinds)?);
        t.run(query).await?;
        t.commit().await?;
        Ok(())
    }

    async fn beat(&self, worker: WorkerId, lease: Duration, running: u32) -> Result<bool> {
        let mut t = Transition::begin_short(self).await?;
        // A lease that has run out unnoticed may still be extended: nothing has been taken from its holder.
        let statement = "
            UPDATE worker SET lease_until = ?3, seen_at = ?2, running = ?4 WHERE id = ?1 AND state = 'alive'";
        let query = sqlx::query(statement).bind(worker.0).bind(t.now).bind(later(t.now, lease)).bind(running);
        let alive = t.run(query).await? == 1;
        t.commit().await?;
        Ok(alive)
    }

    async fn hold(&self, lease: Duration, held: &[Fence]) -> Result<u64> {
        if held.is_empty() {
            return Ok(0);
        }
        let mut t = Transition::begin_short(self).await?;
        let statement = "
            UPDATE job SET deadline = ?2
            FROM json_each(?1) k, worker w
            WHERE job.id = unhex(k.value ->> 0, '-') AND job.attempt = k.value ->> 1
              AND job.worker_id = unhex(k.value ->> 2, '-') AND job.deadline < ?2
              AND w.id = job.worker_id AND w.state = 'alive'";
        let asked: Vec<_> = held.iter().map(|fence| (fence.job, fence.attempt, fence.worker)).collect();
        let moved = t.run(sqlx::query(statement).bind(check::json(&asked)?).bind(later(t.now, lease))).await?;
        t.commit().await?;
        Ok(moved)
    }

    async fn revoked(&self, held: &[Fence]) -> Result<Vec<Fence>> {
        if held.is_empty() {
            return Ok(Vec::new());
        }
        let statement = "
            SELECT k.key AS place FROM json_each(?1) k
            LEFT JOIN job j ON j.id = unhex(k.value ->> 0, '-') AND j.attempt = k.value ->> 1
                           AND (j.worker_id = unhex(k.value ->> 2, '-') OR j.state = 'done')
            WHERE j.id IS NULL";
        let asked: Vec<_> = held.iter().map(|fence| (fence.job, fence.attempt, fence.worker)).collect();
        let rows = sqlx::query(statement).bind(check::json(&asked)?).fetch_all(&self.readers).await;
        let places = rows.map_err(error::database)?;
        places.iter().map(|row| row::number::<usize>(row, "place").map(|at| held[at])).collect()
    }

    async fn wait_for_revocation(&self, seen: u64, at_most: Duration) -> u64 {
        self.others.wait(&self.gone, seen, at_most).await
    }

    async fn retire_worker(&self, worker: WorkerId) -> Result<Dispatched> {
        let mut t = Transition::begin(self).await?;
        let statement = "
            UPDATE worker SET state = 'stopped', lease_until = ?2, seen_at = ?2, running = 0
            WHERE id = ?1 AND state = 'alive'";
        t.run(sqlx::query(statement).bind(worker.0).bind(t.now)).await?;
        release(&mut t, worker, &[], "the worker stopped").await?;
        Ok(t.commit().await?.dispatched)
    }

    async fn release_unknown(&self, worker: WorkerId, known: &[Fence]) -> Result<Dispatched> {
        let mut t = Transition::begin(self).await?;
        release(&mut t, worker, known, "the claim's result was lost").await?;
        Ok(t.commit().await?.dispatched)
    }

    async fn workers(&self) -> Result<Vec<WorkerView>> {
        let statement = "
            SELECT *, CASE WHEN state = 'alive' AND lease_until < ?1 THEN 'lost' ELSE state END AS seen_state FROM worker
            WHERE state = 'alive' OR seen_at > ?1 - ?2 ORDER BY started_at DESC, id DESC";
        let now = self.now_micros().await?;
        let rows = sqlx::query(statement).bind(now).bind(SHOWN_MICROS).fetch_all(&self.readers).await;
        rows.map_err(error::database)?.iter().map(view).collect()
    }

    async fn lead(&self, name: &str, holder: WorkerId, lease: Duration) -> Result<Option<i64>> {
        check::name("lease", name)?;
        let mut t = Transition::begin(self).await?;
        let statement = "
            INSERT INTO leader (name, holder, epoch, lease_until) VALUES (?1, ?2, 1, ?4)
            ON CONFLICT (name) DO UPDATE SET
                epoch = leader.epoch + (leader.holder <> excluded.holder),
                holder = excluded.holder, lease_until = excluded.lease_until
            WHERE leader.holder = excluded.holder OR leader.lease_until <= ?3
            RETURNING epoch";
        let query = sqlx::query(statement).bind(name.to_owned()).bind(holder.0).bind(t.now).bind(later(t.now, lease));
        let epoch = t.row(query).await?.map(|row| row::get(&row, "epoch")).transpose()?;
        t.commit().await?;
        Ok(epoch)
    }
}

/// Gives back what runs under an incarnation, except what is kept.
async fn release(t: &mut Transition<'_>, worker: WorkerId, kept: &[Fence], why: &str) -> Result<()> {
    let kept: Vec<(JobId, u32)> = kept.iter().map(|fence| (fence.job, fence.attempt)).collect();
    let running = "
        SELECT id, attempt FROM job
        WHERE worker_id = ?1 AND state = 'running'
          AND (id, attempt) NOT IN (SELECT unhex(value ->> 0, '-'), value ->> 1 FROM json_each(?2))
        ORDER BY id";
    let running = t.rows(sqlx::query(running).bind(worker.0).bind(check::json(&kept)?)).await?;
    let released: Vec<Settlement<'_>> = running
        .iter()
        .map(|row| {
            let fence = Fence { job: row::id(row, "id")?, attempt: row::number(row, "attempt")?, worker };
            Ok(Settlement::taken(fence, Ending::Interrupted, Verdict::Release, why))
        })
        .collect::<Result<_>>()?;
    if !released.is_empty() {
        settle(t, &released).await?;
    }
    Ok(())
}

fn view(row: &SqliteRow) -> Result<WorkerView> {
    Ok(WorkerView {
        id: row::id(row, "id")?,
        role: row::get(row, "role")?,
        host: row::get(row, "host")?,
        pid: row::number(row, "pid")?,
        version: row::get(row, "version")?,
        slots: row::number(row, "slots")?,
        running: row::number(row, "running")?,
        queues: row::json(row, "queues")?,
        kinds: row::json(row, "kinds")?,
        started_at: row::instant(row, "started_at")?,
        seen_at: row::instant(row, "seen_at")?,
        state: row::get(row, "seen_state")?,
    })
}
