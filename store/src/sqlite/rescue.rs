//! Rescue: the store closes attempts whose worker is gone or whose time is over.

use gristmill_core::chunk::ChunkPayload;
use gristmill_core::id::JobId;
use gristmill_core::job::{Fence, JobState};
use gristmill_core::retry::RetryPolicy;
use gristmill_core::settle::{self, Ending, Verdict};
use gristmill_core::split::{Loss, LostChunk};
use sqlx::sqlite::SqliteRow;

use super::settle::{Settlement, settle};
use super::split::{self, Parent};
use super::transition::Transition;
use super::{SqliteStore, error, row};
use crate::RescueReport;
use crate::check;
use crate::error::Result;
use crate::split::{LOST, condemned, decide, unclosed};

/// An attempt that its worker will never close, and what becomes of its job.
struct Taken {
    fence: Fence,
    ending: Ending,
    loss: Loss,
    payload: Option<ChunkPayload>,
}

/// Whether there is anything to rescue: a reader looks, so that the one writer is not kept busy every second.
pub(super) const ANY: &str = "
    SELECT EXISTS (SELECT 1 FROM worker WHERE state = 'alive' AND lease_until < ?1)
        OR EXISTS (SELECT 1 FROM job j INDEXED BY job_running LEFT JOIN worker w ON w.id = j.worker_id
                   WHERE j.state = 'running' AND (w.id IS NULL OR w.state <> 'alive' OR j.deadline <= ?1))";

/// An unknown worker counts as lost: no lease protects what it runs. A payload is read when the chunk may be split. All
/// that run are looked at, through their index.
pub(super) const LOST_ATTEMPTS: &str = "
    SELECT j.id, j.attempt, j.max_attempts, j.snoozes, j.worker_id, j.retry, j.items, j.seq, j.half_of IS NOT NULL AS half,
           CASE WHEN j.seq IS NOT NULL AND (j.half_of IS NOT NULL OR j.attempt >= j.max_attempts)
                THEN j.payload END AS payload,
           EXISTS (SELECT 1 FROM batch b WHERE b.id = j.batch_id AND b.sealed_at IS NOT NULL) AS planned,
           (w.id IS NULL OR w.state <> 'alive') AS lost
    FROM job j INDEXED BY job_running LEFT JOIN worker w ON w.id = j.worker_id
    WHERE j.state = 'running' AND (w.id IS NULL OR w.state <> 'alive' OR j.deadline <= ?1)
    ORDER BY j.id LIMIT ?2";

pub(super) async fn rescue(store: &SqliteStore, limit: u32) -> Result<RescueReport> {
    let now = store.now_micros().await?;
    let any = sqlx::query_scalar::<_, bool>(ANY).bind(now).fetch_one(&store.readers).await;
    if !any.map_err(error::database)? {
        return Ok(RescueReport::default());
    }
    let mut t = Transition::begin(store).await?;
    let lost = "UPDATE worker SET state = 'lost' WHERE state = 'alive' AND lease_until < ?1";
    let workers_lost = t.run(sqlx::query(lost).bind(t.now)).await?;
    let found = t.rows(sqlx::query(LOST_ATTEMPTS).bind(t.now).bind(limit)).await?;
    let taken: Vec<Taken> = found.iter().map(taken_back).collect::<Result<_>>()?;
    let mut report = RescueReport { workers_lost, ..RescueReport::default() };
    for one in &taken {
        match one.loss {
            Loss::Split => report.split += 1,
            Loss::Settle(Verdict::Dead) => report.dead += 1,
            Loss::Settle(_) | Loss::Condemn | Loss::Wait(_) => report.requeued += 1,
        }
        prepare(&mut t, one).await?;
    }
    if !taken.is_empty() {
        close(&mut t, &taken).await?;
        // A job past its deadline may still run somewhere.
        t.taken_away();
    }
    if workers_lost > 0 || !taken.is_empty() {
        let committed = t.commit().await?;
        report.dispatched = committed.dispatched;
        report.progress = committed.progress;
    }
    Ok(report)
}

/// Closes the attempts, and replaces chunks that are split with their halves.
async fn close(t: &mut Transition<'_>, taken: &[Taken]) -> Result<()> {
    let settlements: Vec<Settlement<'_>> = taken.iter().map(Taken::settlement).collect();
    let moved = settle(t, &settlements).await?;
    for one in taken.iter().filter(|one| one.loss == Loss::Split) {
        let (Some(job), Some(payload)) = (moved.get(&one.fence.job), &one.payload) else { continue };
        if let Some(batch) = job.chunk_of() {
            // It is not retried: its halves are.
            t.delta(batch).retries -= 1;
        }
        let parent = Parent { job: job.clone(), was: JobState::Retry, payload: payload.clone() };
        split::replace(t, &parent, LOST, true).await?;
    }
    Ok(())
}

impl Taken {
    fn settlement(&self) -> Settlement<'static> {
        Settlement::taken(self.fence, self.ending, self.loss.verdict(), unclosed(self.ending))
    }
}

fn taken_back(row: &SqliteRow) -> Result<Taken> {
    let attempt: u32 = row::number(row, "attempt")?;
    let fence = Fence { job: row::id::<JobId>(row, "id")?, attempt, worker: row::id(row, "worker_id")? };
    // What cannot be read must not hold up the rescue of others.
    let policy: RetryPolicy = row::json(row, "retry").unwrap_or_default();
    let payload: Option<ChunkPayload> = row::maybe_json(row, "payload").unwrap_or_default();
    let unreadable = payload.is_none() && row::get::<Option<&str>>(row, "payload")?.is_some();
    let ending = if row::flag(row, "lost")? { Ending::WorkerLost } else { Ending::TimedOut };
    let (snoozes, most): (u32, u32) = (row::number(row, "snoozes")?, row::number(row, "max_attempts")?);
    let (attempt, max_attempts) = (attempt - snoozes, most - snoozes);
    let loss = if unreadable {
        Loss::Settle(Verdict::Dead)
    } else if ending == Ending::WorkerLost && row::get::<Option<i64>>(row, "seq")?.is_some() {
        let chunk = LostChunk {
            attempt,
            max_attempts,
            items: row::number(row, "items")?,
            half: row::flag(row, "half")?,
            condemned: false,
            planned: row::flag(row, "planned")?,
        };
        decide(&chunk, payload.as_ref(), &policy, check::random())
    } else {
        Loss::Settle(settle::settle(ending, attempt, max_attempts, &policy, check::random()))
    };
    Ok(Taken { fence, ending, loss, payload })
}

/// What must be written before the attempt is closed: a chunk that continues beyond its limit has a higher one.
async fn prepare(t: &mut Transition<'_>, taken: &Taken) -> Result<()> {
    let id = taken.fence.job.0;
    match (taken.loss, &taken.payload) {
        (Loss::Condemn, Some(payload)) => {
            let statement = "SELECT count(*) AS deaths FROM attempt WHERE job_id = ?1 AND ending = 'worker_lost'";
            let deaths = t.row(sqlx::query(statement).bind(id)).await?;
            let deaths: u64 = deaths.map(|row| row::number(&row, "deaths")).transpose()?.unwrap_or(0);
            let payload = ChunkPayload { condemned: Some(condemned(deaths + 1)), ..payload.clone() };
            let statement = "UPDATE job SET payload = ?2, max_attempts = max_attempts + granted WHERE id = ?1";
            t.run(sqlx::query(statement).bind(id).bind(check::json(&payload)?)).await?;
        }
        (Loss::Wait(_), _) => {
            t.run(sqlx::query("UPDATE job SET max_attempts = max_attempts + 1 WHERE id = ?1").bind(id)).await?;
        }
        (Loss::Condemn | Loss::Split | Loss::Settle(_), _) => {}
    }
    Ok(())
}
