//! Rescue: the store closes attempts whose worker is gone or whose time is over.

use std::collections::{BTreeMap, HashMap};

use gristmill_core::chunk::ChunkPayload;
use gristmill_core::job::JobState;
use gristmill_core::retry::RetryPolicy;
use gristmill_core::settle::{Ending, Verdict, settle};
use gristmill_core::split::{Loss, LostChunk};
use uuid::Uuid;

use super::complete::{self, Closing, Moved};
use super::fan_in::{self, Deltas};
use super::fault::Outcome;
use super::split::{self, Parent};
use super::values::{count, small};
use super::work::Work;
use crate::RescueReport;
use crate::check;
use crate::row;
use crate::split::{LOST as LOST_AGAIN, condemned, decide, unclosed};

const LOSE: &str = "
UPDATE worker SET state = 'lost' WHERE id IN (
    SELECT id FROM worker WHERE state = 'alive' AND lease_until < now() ORDER BY id FOR UPDATE SKIP LOCKED)";

/// A job whose worker is not alive, for whatever reason, or whose time is over. The random numbers are the database's,
/// so that nothing here is random by itself. A payload is read when the chunk may be split.
///
/// All that run are looked at, through their index. They are chosen in a CTE, apart from the order and the limit: a
/// planner that takes what runs for many would walk the whole table in the order of the ids until it has enough.
pub(super) const LOST: &str = "
WITH lost AS MATERIALIZED (
    SELECT id FROM job
    WHERE state = 'running'
      AND (deadline <= now() OR worker_id NOT IN (SELECT id FROM worker WHERE state = 'alive'))
)
SELECT id, attempt, worker_id, max_attempts, snoozes, retry, random() AS random, random() AS other_random, batch_id, seq, items,
       half_of IS NOT NULL AS half,
       CASE WHEN seq IS NOT NULL AND (half_of IS NOT NULL OR attempt >= max_attempts) THEN payload END AS payload,
       EXISTS (SELECT 1 FROM batch b WHERE b.id = batch_id AND b.sealed_at IS NOT NULL) AS planned,
       worker_id NOT IN (SELECT id FROM worker WHERE state = 'alive') AS worker_lost
FROM job
WHERE id = ANY(ARRAY(SELECT id FROM lost ORDER BY id LIMIT $1))
  AND state = 'running'
  AND (deadline <= now() OR worker_id NOT IN (SELECT id FROM worker WHERE state = 'alive'))
ORDER BY id FOR UPDATE SKIP LOCKED";

const DEATHS: &str = "SELECT count(*) FROM attempt WHERE job_id = $1 AND ending = 'worker_lost'";

const CONDEMN: &str = "UPDATE job SET payload = $2, max_attempts = max_attempts + granted WHERE id = $1";

const ONE_MORE: &str = "UPDATE job SET max_attempts = max_attempts + 1 WHERE id = $1";

const LOCK: &str = "SELECT id FROM batch WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE";

row! {
    struct LostRow {
        id: Uuid,
        attempt: i32,
        worker_id: Uuid,
        max_attempts: i32,
        snoozes: i32,
        retry: String,
        random: f64,
        other_random: f64,
        batch_id: Option<Uuid>,
        seq: Option<i64>,
        items: i64,
        half: bool,
        payload: Option<String>,
        planned: bool,
        worker_lost: bool,
    }
}

/// A row and what becomes of it.
struct Judged {
    row: LostRow,
    payload: Option<ChunkPayload>,
    loss: Loss,
}

impl Judged {
    fn of(row: LostRow) -> Self {
        // What cannot be read must not hold up the rescue of others.
        let policy: RetryPolicy = serde_json::from_str(&row.retry).unwrap_or_default();
        let payload: Option<ChunkPayload> = row.payload.as_deref().and_then(|text| serde_json::from_str(text).ok());
        let (attempt, max_attempts) = (small(row.attempt - row.snoozes), small(row.max_attempts - row.snoozes));
        let loss = if row.payload.is_some() && payload.is_none() {
            Loss::Settle(Verdict::Dead)
        } else if row.worker_lost && row.batch_id.and(row.seq).is_some() {
            let chunk = LostChunk {
                attempt,
                max_attempts,
                items: count(row.items),
                half: row.half,
                condemned: false,
                planned: row.planned,
            };
            decide(&chunk, payload.as_ref(), &policy, row.random)
        } else {
            Loss::Settle(settle(row.ending(), attempt, max_attempts, &policy, row.random))
        };
        Self { row, payload, loss }
    }

    /// What the attempt's closing contains; further consequences of a loss come after it.
    fn closing(&self) -> Closing {
        let ending = self.row.ending();
        let verdict = self.loss.verdict();
        Closing {
            fence: complete::fence(self.row.id, small(self.row.attempt), self.row.worker_id),
            ending: ending.as_str(),
            verdict,
            error: Some(unclosed(ending).to_owned()),
            output: None,
        }
    }
}

impl LostRow {
    fn ending(&self) -> Ending {
        if self.worker_lost { Ending::WorkerLost } else { Ending::TimedOut }
    }
}

/// Rescues attempts.
pub(super) async fn rescue(work: &mut Work<'_>, limit: &u32) -> Outcome<RescueReport> {
    let lost = sqlx::query(LOSE).execute(&mut *work.conn).await?.rows_affected();
    let rows: Vec<LostRow> = sqlx::query_as(LOST).bind(i64::from(*limit)).fetch_all(&mut *work.conn).await?;
    let mut report = RescueReport { workers_lost: lost, ..RescueReport::default() };
    if rows.is_empty() {
        return Ok(report);
    }
    let judged: Vec<Judged> = rows.into_iter().map(Judged::of).collect();
    for one in &judged {
        prepare(work, one).await?;
    }
    let closings: Vec<Closing> = judged.iter().map(Judged::closing).collect();
    let moved = complete::settle(work, &closings).await?;
    let judged: HashMap<Uuid, &Judged> = judged.iter().map(|one| (one.row.id, one)).collect();
    let mut deltas = Deltas::new();
    let mut split = Vec::new();
    for row in &moved {
        let Some(one) = judged.get(&row.id) else { continue };
        let verdict = one.closing().verdict;
        match (one.loss, verdict) {
            (Loss::Split, _) => {
                report.split += 1;
                split.push((row, *one));
                continue;
            }
            (_, Verdict::Dead) => report.dead += 1,
            _ => report.requeued += 1,
        }
        if let (Some(batch), Some(_)) = (row.batch_id, row.seq) {
            complete::add(deltas.entry(batch).or_default(), verdict, row, None)?;
        }
    }
    halve(work, &split, &mut deltas).await?;
    // A job past its deadline may still run somewhere.
    work.taken_away();
    report.progress = fan_in::count_down(work, &deltas).await?;
    report.dispatched = work.close().await?;
    Ok(report)
}

/// What must be written before the attempt is closed: a chunk that continues beyond its limit has a higher one.
async fn prepare(work: &mut Work<'_>, judged: &Judged) -> Outcome<()> {
    let id = judged.row.id;
    match (judged.loss, &judged.payload) {
        (Loss::Condemn, Some(payload)) => {
            let deaths: i64 = sqlx::query_scalar(DEATHS).bind(id).fetch_one(&mut *work.conn).await?;
            let reason = condemned(count(deaths) + 1);
            let payload = ChunkPayload { condemned: Some(reason), ..payload.clone() };
            sqlx::query(CONDEMN).bind(id).bind(check::json(&payload)?).execute(&mut *work.conn).await?;
        }
        (Loss::Wait(_), _) => {
            sqlx::query(ONE_MORE).bind(id).execute(&mut *work.conn).await?;
        }
        (Loss::Condemn | Loss::Split | Loss::Settle(_), _) => {}
    }
    Ok(())
}

/// Replaces chunks that have just been closed with their halves.
async fn halve(work: &mut Work<'_>, split: &[(&Moved, &Judged)], deltas: &mut Deltas) -> Outcome<()> {
    if split.is_empty() {
        return Ok(());
    }
    let mut by_batch: BTreeMap<Uuid, Vec<(&Moved, &Judged)>> = BTreeMap::new();
    for (row, judged) in split {
        if let Some(batch) = row.batch_id {
            by_batch.entry(batch).or_default().push((row, judged));
        }
    }
    // All batches of this transaction, in one order, before any of them changes.
    let all: Vec<Uuid> = deltas.keys().chain(by_batch.keys()).copied().collect();
    sqlx::query(LOCK).bind(&all).execute(&mut *work.conn).await?;
    for (batch, chunks) in by_batch {
        for (row, judged) in chunks {
            let (Some(seq), Some(payload)) = (row.seq, judged.payload.clone()) else { continue };
            let parent = Parent {
                id: row.id,
                tenant: row.tenant.clone(),
                queue: row.queue.clone(),
                was: JobState::Retry,
                batch,
                seq,
                items: row.items,
                payload,
            };
            let waits = Some([judged.row.random, judged.row.other_random]);
            split::replace(work, &parent, LOST_AGAIN, waits, deltas.entry(batch).or_default()).await?;
        }
    }
    Ok(())
}
