//! Process incarnations and their leases, judged by the database's clock only; and leadership.

use std::time::Duration;

use async_trait::async_trait;
use gristmill_core::Instant;
use gristmill_core::id::WorkerId;
use gristmill_core::job::Fence;
use gristmill_core::settle::{Ending, Verdict};
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::PostgresStore;
use super::claim::claims_lock;
use super::complete::{self, Closing};
use super::connect::{lease, look, single, transact, transact_lease};
use super::fault::Outcome;
use super::values::{from_json, int, plain, seconds, small};
use super::work::Work;
use crate::check;
use crate::error::{Result, StoreError};
use crate::row;
use crate::{Dispatched, NewWorker, WorkerView, Workers};

const REGISTER: &str = "
INSERT INTO worker (id, role, host, pid, version, slots, queues, kinds, started_at, seen_at, lease_until)
VALUES ($1, $2, $3, $4, $5, $6, $7, $9, now(), now(), now() + make_interval(secs => $8))
ON CONFLICT DO NOTHING";

/// Incarnations are never reused; one that was last seen a week ago is of no more interest.
const FORGET: &str = "DELETE FROM worker WHERE state <> 'alive' AND seen_at < now() - interval '7 days'";

const BEAT: &str = "
UPDATE worker SET seen_at = now(), lease_until = now() + make_interval(secs => $2), running = $3
WHERE id = $1 AND state = 'alive'";

/// A job that has a worker is running, as in `complete`. A row that another transaction holds is left alone: it is
/// being completed, cancelled or rescued, and the beat must not wait for that.
const HOLD: &str = "
UPDATE job SET deadline = now() + make_interval(secs => $4) WHERE id IN (
    SELECT j.id FROM unnest($1::uuid[], $2::int[], $3::uuid[]) AS k (id, attempt, worker_id)
    JOIN job j ON j.id = k.id AND j.attempt = k.attempt AND j.worker_id = k.worker_id
    JOIN worker w ON w.id = k.worker_id AND w.state = 'alive'
    WHERE j.deadline < now() + make_interval(secs => $4)
    ORDER BY j.id FOR UPDATE OF j SKIP LOCKED)";

const STOP: &str = "
UPDATE worker SET state = 'stopped', seen_at = now(), lease_until = now(), running = 0
WHERE id = $1 AND state = 'alive'";

/// Whether no transaction of its claims is open. The calling transaction keeps the lock until its own commit.
const NO_CLAIM: &str = concat!("SELECT pg_try_advisory_xact_lock(", claims_lock!("$1"), ")");

/// How often, and at what interval, to check whether a claim has ended: five seconds in all.
const CLAIM_LOOKS: u32 = 100;
const CLAIM_LOOK: Duration = Duration::from_millis(50);

const ITS_JOBS: &str = "
SELECT j.id, j.attempt FROM job j
WHERE j.state = 'running' AND j.worker_id = $1
  AND (j.id, j.attempt) NOT IN (SELECT k.id, k.attempt FROM unnest($2::uuid[], $3::int[]) AS k (id, attempt))
ORDER BY j.id FOR UPDATE OF j";

/// A job that has a worker is running, as in `complete`. A job that is done as this attempt was completed by its
/// holder.
const GONE: &str = "
SELECT k.id, k.attempt, k.worker_id FROM unnest($1::uuid[], $2::int[], $3::uuid[]) AS k (id, attempt, worker_id)
LEFT JOIN job j ON j.id = k.id AND j.attempt = k.attempt AND (j.worker_id = k.worker_id OR j.state = 'done')
WHERE j.id IS NULL";

const WORKERS: &str = "
SELECT id, role, host, pid, version, slots, running, queues, kinds, started_at, seen_at,
       CASE WHEN state = 'alive' AND lease_until < now() THEN 'lost' ELSE state END AS state
FROM worker
WHERE state = 'alive' OR seen_at > now() - interval '1 day' ORDER BY started_at DESC, id DESC";

/// The same holder keeps its epoch; a new one gets the next.
const LEAD: &str = "
INSERT INTO leader (name, holder, epoch, lease_until) VALUES ($1, $2, 1, now() + make_interval(secs => $3))
ON CONFLICT (name) DO UPDATE SET
    epoch = leader.epoch + CASE WHEN leader.holder = excluded.holder THEN 0 ELSE 1 END,
    holder = excluded.holder, lease_until = excluded.lease_until
WHERE leader.holder = excluded.holder OR leader.lease_until <= now()
RETURNING epoch";

row! {
    struct WorkerRow {
        id: Uuid,
        role: String,
        host: String,
        pid: i64,
        version: String,
        slots: i32,
        running: i32,
        queues: String,
        kinds: String,
        started_at: Instant,
        seen_at: Instant,
        state: String,
    }
}

#[async_trait]
impl Workers for PostgresStore {
    async fn register_worker(&self, worker: &NewWorker) -> Result<()> {
        transact_lease!(self, register, worker).await
    }

    async fn beat(&self, worker: WorkerId, lease: Duration, running: u32) -> Result<bool> {
        lease!(self, beat, (worker, lease, running)).await
    }

    async fn hold(&self, lease: Duration, held: &[Fence]) -> Result<u64> {
        if held.is_empty() {
            return Ok(0);
        }
        lease!(self, hold, (lease, held)).await
    }

    async fn revoked(&self, held: &[Fence]) -> Result<Vec<Fence>> {
        if held.is_empty() {
            return Ok(Vec::new());
        }
        single!(self, revoked, held)
    }

    async fn wait_for_revocation(&self, seen: u64, at_most: Duration) -> u64 {
        self.hints.wait_for_revocation(seen, at_most).await
    }

    async fn retire_worker(&self, worker: WorkerId) -> Result<Dispatched> {
        transact_lease!(self, retire, worker).await
    }

    async fn release_unknown(&self, worker: WorkerId, known: &[Fence]) -> Result<Dispatched> {
        transact!(self, release_unknown, (worker, known)).await
    }

    async fn workers(&self) -> Result<Vec<WorkerView>> {
        look!(self, list)
    }

    async fn lead(&self, name: &str, holder: WorkerId, lease: Duration) -> Result<Option<i64>> {
        lease!(self, lead, (name, holder, lease)).await
    }
}

/// Registers an incarnation.
pub(super) async fn register(work: &mut Work<'_>, worker: &&NewWorker) -> Outcome<()> {
    sqlx::query(FORGET).execute(&mut *work.conn).await?;
    sqlx::query(REGISTER)
        .bind(worker.id.0)
        .bind(plain(&worker.role))
        .bind(plain(&worker.host))
        .bind(i64::from(worker.pid))
        .bind(plain(&worker.version))
        .bind(int(worker.slots))
        .bind(check::json(&worker.queues)?)
        .bind(seconds(worker.lease))
        .bind(check::json(&worker.kinds)?)
        .execute(&mut *work.conn)
        .await?;
    Ok(())
}

/// Extends a lease. Returns `false` when the incarnation is over.
pub(super) async fn beat(
    conn: &mut PgConnection,
    (worker, lease, running): &(WorkerId, Duration, u32),
) -> Outcome<bool> {
    let beaten = sqlx::query(BEAT).bind(worker.0).bind(seconds(*lease)).bind(int(*running)).execute(conn).await?;
    Ok(beaten.rows_affected() > 0)
}

/// Moves deadlines that would pass within the lease to its end. Returns how many.
pub(super) async fn hold(conn: &mut PgConnection, (lease, held): &(Duration, &[Fence])) -> Outcome<u64> {
    let moved = sqlx::query(HOLD)
        .bind(held.iter().map(|fence| fence.job.0).collect::<Vec<_>>())
        .bind(held.iter().map(|fence| int(fence.attempt)).collect::<Vec<_>>())
        .bind(held.iter().map(|fence| fence.worker.0).collect::<Vec<_>>())
        .bind(seconds(*lease))
        .execute(conn)
        .await?;
    Ok(moved.rows_affected())
}

/// Which attempts no longer run.
pub(super) async fn revoked(conn: &mut PgConnection, held: &[Fence]) -> Outcome<Vec<Fence>> {
    let rows: Vec<(Uuid, i32, Uuid)> = sqlx::query_as(GONE)
        .bind(held.iter().map(|fence| fence.job.0).collect::<Vec<_>>())
        .bind(held.iter().map(|fence| int(fence.attempt)).collect::<Vec<_>>())
        .bind(held.iter().map(|fence| fence.worker.0).collect::<Vec<_>>())
        .fetch_all(conn)
        .await?;
    Ok(rows.into_iter().map(|(job, attempt, worker)| complete::fence(job, small(attempt), worker)).collect())
}

/// Ends an incarnation; whatever it still runs is released.
pub(super) async fn retire(work: &mut Work<'_>, worker: &WorkerId) -> Outcome<Dispatched> {
    sqlx::query(STOP).bind(worker.0).execute(&mut *work.conn).await?;
    release(work, *worker, &[], "the worker stopped").await
}

/// Releases what an incarnation runs without knowing it.
pub(super) async fn release_unknown(
    work: &mut Work<'_>,
    (worker, known): &(WorkerId, &[Fence]),
) -> Outcome<Dispatched> {
    claims_have_ended(work, *worker).await?;
    release(work, *worker, known, "the claim's result was lost").await
}

/// Waits until no claim of this incarnation whose COMMIT may still land is under way. A claim that hangs in a
/// connection which no process ends is not waited for indefinitely: the jobs that it claims then wait for their
/// deadlines.
async fn claims_have_ended(work: &mut Work<'_>, worker: WorkerId) -> Outcome<()> {
    for _ in 0..CLAIM_LOOKS {
        let ended: bool = sqlx::query_scalar(NO_CLAIM).bind(worker.0).fetch_one(&mut *work.conn).await?;
        if ended {
            return Ok(());
        }
        tokio::time::sleep(CLAIM_LOOK).await;
    }
    tracing::warn!(worker.id = %worker, "a claim whose result is unknown is still under way; its jobs may wait for their deadline");
    Ok(())
}

/// Gives back what runs under an incarnation, except what is kept.
async fn release(work: &mut Work<'_>, worker: WorkerId, kept: &[Fence], why: &str) -> Outcome<Dispatched> {
    let (ids, attempts): (Vec<Uuid>, Vec<i32>) = kept.iter().map(|fence| (fence.job.0, int(fence.attempt))).unzip();
    let jobs: Vec<(Uuid, i32)> =
        sqlx::query_as(ITS_JOBS).bind(worker.0).bind(ids).bind(attempts).fetch_all(&mut *work.conn).await?;
    let closings: Vec<Closing> = jobs
        .into_iter()
        .map(|(job, attempt)| Closing {
            fence: complete::fence(job, small(attempt), worker.0),
            ending: Ending::Interrupted.as_str(),
            verdict: Verdict::Release,
            error: Some(why.to_owned()),
            output: None,
        })
        .collect();
    if !closings.is_empty() {
        complete::settle(work, &closings).await?;
    }
    work.close().await
}

/// Those that are alive or were seen within the last day.
pub(super) async fn list(conn: &mut PgConnection) -> Outcome<Vec<WorkerView>> {
    let rows: Vec<WorkerRow> = sqlx::query_as(WORKERS).fetch_all(conn).await?;
    let views: Result<Vec<WorkerView>, StoreError> = rows.into_iter().map(view).collect();
    Ok(views?)
}

fn view(row: WorkerRow) -> Result<WorkerView, StoreError> {
    Ok(WorkerView {
        queues: from_json(&row.queues, &format!("worker {}", row.id))?,
        kinds: from_json(&row.kinds, &format!("worker {}", row.id))?,
        id: WorkerId(row.id),
        role: row.role,
        host: row.host,
        pid: u32::try_from(row.pid).unwrap_or(0),
        version: row.version,
        slots: small(row.slots),
        running: small(row.running),
        started_at: row.started_at,
        seen_at: row.seen_at,
        state: row.state,
    })
}

/// Takes or keeps a lease of leadership.
pub(super) async fn lead(
    conn: &mut PgConnection,
    (name, holder, lease): &(&str, WorkerId, Duration),
) -> Outcome<Option<i64>> {
    check::name("lease", name)?;
    let epoch =
        sqlx::query_scalar(LEAD).bind(plain(name)).bind(holder.0).bind(seconds(*lease)).fetch_optional(conn).await?;
    Ok(epoch)
}
