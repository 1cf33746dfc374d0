//! New rows of table `job`, written by UNNEST: one statement for a group, whatever its size.

use std::collections::HashMap;

use gristmill_core::Instant;
use gristmill_core::job::{JobState, NewJob, PAYLOAD_BYTES_MAX, RunAt};
use gristmill_core::retry::RetryPolicy;
use gristmill_core::unique::OnConflict;
use serde_json::Value;
use uuid::Uuid;

use super::fault::Outcome;
use super::values::{int, millis, plain, state_of};
use super::work::Work;
use crate::check;
use crate::error::StoreError;

const TAKE_BACK: &str = "
DELETE FROM job j USING idempotency i
WHERE j.id = ANY($1) AND i.tenant = j.tenant AND i.scope = 'job' AND i.key = j.idempotency_key AND i.until > now()
RETURNING j.id";

/// The state is decided here by the database's clock: a job whose time has already come is `queued`.
macro_rules! inserting {
    () => {
        "
INSERT INTO job (id, tenant, queue, lane, kind, state, max_attempts, granted, max_snoozes, version, timeout_ms, retry, payload,
                 batch_id, seq, items, generation, idempotency_key, unique_key,
                 unique_rule, unique_until, trace, key, created_at, run_at, queued_at, finished_at, limited)
SELECT i.id, i.tenant, i.queue, i.lane, i.kind, COALESCE(i.state, CASE WHEN i.due > now() THEN 'scheduled' ELSE 'queued' END),
       i.max_attempts, i.max_attempts, i.max_snoozes, i.version, i.timeout_ms, i.retry, i.payload,
       i.batch_id, i.seq, i.items,
       COALESCE(i.generation, (SELECT b.generation FROM batch b WHERE b.id = i.batch_id), 0), i.idempotency_key, i.unique_key,
       i.unique_rule, now() + i.unique_ms * interval '1 millisecond', i.trace, i.key,
       now(), CASE WHEN i.due > now() THEN i.due END, CASE WHEN i.due > now() THEN NULL ELSE now() END,
       CASE WHEN i.state = 'cancelled' THEN now() END,
       i.state IS NULL AND COALESCE(i.due <= now(), TRUE)
           AND (i.queue IN (SELECT name FROM managed WHERE scope = 'queue')
                OR i.kind IN (SELECT name FROM managed WHERE scope = 'kind'))
FROM (SELECT u.*, COALESCE(u.run_at, now() + u.wait_ms * interval '1 millisecond') AS due
      FROM unnest($1::uuid[], $2::text[], $3::text[], $4::smallint[], $5::text[], $6::int[], $7::bigint[],
                  $8::text[], $9::text[], $10::uuid[], $11::bigint[], $12::bigint[], $13::int[],
                  $14::text[], $15::text[], $16::text[], $17::timestamptz[], $18::bigint[], $19::text[], $20::int[], $21::int[],
                  $22::text[], $23::bigint[], $24::text[])
           AS u (id, tenant, queue, lane, kind, max_attempts, timeout_ms,
                 retry, payload, batch_id, seq, items, generation,
                 idempotency_key, unique_key, trace, run_at, wait_ms, state, max_snoozes, version,
                 unique_rule, unique_ms, key)) AS i
ON CONFLICT DO NOTHING
RETURNING id, state"
    };
}

const INSERT: &str = inserting!();

/// The same as a transaction by itself: it counts what it inserts, and notes it for the history.
const INSERT_ALONE: &str = concat!(
    "WITH made AS (",
    inserting!(),
    ", tenant, queue, kind), counted AS (
INSERT INTO queue_count (tenant, queue, state, shard, jobs)
SELECT tenant, queue, state, (pg_backend_pid() % 32)::smallint, count(*) FROM made GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
ON CONFLICT (tenant, queue, state, shard) DO UPDATE SET jobs = queue_count.jobs + excluded.jobs), flowed AS (
INSERT INTO flow (at, tenant, queue, kind, what, jobs)
SELECT now(), tenant, queue, kind, 'enqueued', count(*) FROM made GROUP BY tenant, queue, kind)
SELECT id, state FROM made"
);

/// Columns of new jobs, gathered row by row.
#[derive(Default)]
pub(super) struct JobRows<'a> {
    ids: Vec<Uuid>,
    tenants: Vec<std::borrow::Cow<'a, str>>,
    queues: Vec<std::borrow::Cow<'a, str>>,
    lanes: Vec<i16>,
    keys: Vec<Option<std::borrow::Cow<'a, str>>>,
    kinds: Vec<std::borrow::Cow<'a, str>>,
    max_attempts: Vec<i32>,
    timeouts: Vec<i64>,
    retries: Vec<String>,
    payloads: Vec<String>,
    batches: Vec<Option<Uuid>>,
    seqs: Vec<Option<i64>>,
    items: Vec<i64>,
    generations: Vec<Option<i32>>,
    idempotency_keys: Vec<Option<std::borrow::Cow<'a, str>>>,
    unique_keys: Vec<Option<std::borrow::Cow<'a, str>>>,
    unique_rules: Vec<Option<String>>,
    unique_periods: Vec<Option<i64>>,
    traces: Vec<Option<std::borrow::Cow<'a, str>>>,
    run_ats: Vec<Option<Instant>>,
    waits: Vec<Option<i64>>,
    states: Vec<Option<&'static str>>,
    max_snoozes: Vec<i32>,
    versions: Vec<i32>,
    last_retry: Option<(&'a RetryPolicy, String)>,
}

/// What makes a job a chunk or gives it a place in its batch.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Place {
    pub(super) seq: Option<i64>,
    pub(super) items: i64,
    /// `None` takes the batch's own.
    pub(super) generation: Option<i32>,
    /// It is cancelled before it has begun: a late chunk of a batch that halts.
    pub(super) cancelled: bool,
}

impl<'a> JobRows<'a> {
    /// Rows for jobs that callers enqueue.
    pub(super) fn of(jobs: impl IntoIterator<Item = &'a NewJob>) -> Result<Self, StoreError> {
        let mut rows = Self::default();
        for job in jobs {
            rows.push(job, check::json(&job.payload)?, Place::default())?;
        }
        Ok(rows)
    }

    /// Adds one row. The payload comes as text, because a chunk's has not been a JSON value before.
    pub(super) fn push(&mut self, job: &'a NewJob, payload: String, place: Place) -> Result<(), StoreError> {
        if payload.len() > PAYLOAD_BYTES_MAX {
            return Err(too_long(job, payload.len()));
        }
        self.ids.push(job.id.0);
        self.tenants.push(plain(&job.tenant));
        self.queues.push(plain(&job.queue));
        self.lanes.push(job.priority.rank());
        self.keys.push(job.key.as_deref().map(plain));
        self.kinds.push(plain(&job.kind));
        self.max_attempts.push(int(job.max_attempts));
        self.timeouts.push(millis(job.timeout).max(1));
        let retry = self.retry_as_json(&job.retry)?;
        self.retries.push(retry);
        self.payloads.push(payload);
        self.batches.push(job.batch.map(|batch| batch.0));
        self.seqs.push(place.seq);
        self.items.push(place.items);
        self.generations.push(place.generation);
        self.idempotency_keys.push(job.idempotency_key.as_deref().map(plain));
        self.unique_keys.push(job.unique.as_ref().map(|unique| plain(&unique.key)));
        self.unique_rules.push(job.unique.as_ref().and_then(|unique| unique.hold.rule()));
        self.unique_periods.push(job.unique.as_ref().and_then(|unique| unique.hold.period()).map(millis));
        self.traces.push(job.trace.as_deref().map(plain));
        let (run_at, wait) = due(job);
        self.run_ats.push(run_at);
        self.waits.push(wait);
        self.max_snoozes.push(int(job.max_snoozes));
        self.versions.push(int(job.version.max(1)));
        self.states.push(place.cancelled.then_some(JobState::Cancelled.as_str()));
        Ok(())
    }

    /// A group mostly shares one policy, which is serialized once.
    fn retry_as_json(&mut self, policy: &'a RetryPolicy) -> Result<String, StoreError> {
        if let Some((last, text)) = &self.last_retry
            && *last == policy
        {
            return Ok(text.clone());
        }
        let text = check::json(policy)?;
        self.last_retry = Some((policy, text.clone()));
        Ok(text)
    }

    /// Inserts the rows that collide with nothing, enters them into the ledger, and returns which they were.
    pub(super) async fn insert(&self, work: &mut Work<'_>) -> Outcome<HashMap<Uuid, JobState>> {
        if self.ids.is_empty() {
            return Ok(HashMap::new());
        }
        let mut inserted = self.run(work, INSERT).await?;
        self.take_back(work, &mut inserted).await?;
        self.enter(work, &inserted);
        Ok(inserted)
    }

    /// The same in a transaction of its own, which is the statement itself: for rows that enter no outbox.
    pub(super) async fn insert_alone(&self, work: &mut Work<'_>) -> Outcome<HashMap<Uuid, JobState>> {
        let inserted = self.run(work, INSERT_ALONE).await?;
        work.moved_and_counted(inserted.len() as u64);
        for (index, id) in self.ids.iter().enumerate() {
            if inserted.get(id) == Some(&JobState::Queued) {
                work.claimable(&self.queues[index], self.lanes[index], *id);
            }
        }
        Ok(inserted)
    }

    async fn run(&self, work: &mut Work<'_>, statement: &'static str) -> Outcome<HashMap<Uuid, JobState>> {
        let inserted: Vec<(Uuid, String)> = sqlx::query_as(statement)
            .bind(&self.ids)
            .bind(&self.tenants)
            .bind(&self.queues)
            .bind(&self.lanes)
            .bind(&self.kinds)
            .bind(&self.max_attempts)
            .bind(&self.timeouts)
            .bind(&self.retries)
            .bind(&self.payloads)
            .bind(&self.batches)
            .bind(&self.seqs)
            .bind(&self.items)
            .bind(&self.generations)
            .bind(&self.idempotency_keys)
            .bind(&self.unique_keys)
            .bind(&self.traces)
            .bind(&self.run_ats)
            .bind(&self.waits)
            .bind(&self.states)
            .bind(&self.max_snoozes)
            .bind(&self.versions)
            .bind(&self.unique_rules)
            .bind(&self.unique_periods)
            .bind(&self.keys)
            .fetch_all(&mut *work.conn)
            .await?;
        let state = |(id, word): (Uuid, String)| Ok((id, state_of(&word)?));
        Ok(inserted.into_iter().map(state).collect::<Result<_, StoreError>>()?)
    }

    /// Takes back those whose idempotency key has outlived its job. Looked for after the insert: a job that was deleted
    /// while the insert waited for its row has left its key behind by then.
    async fn take_back(&self, work: &mut Work<'_>, inserted: &mut HashMap<Uuid, JobState>) -> Outcome<()> {
        let keyed = self.ids.iter().zip(&self.idempotency_keys).filter(|(_, key)| key.is_some());
        let ids: Vec<Uuid> = keyed.map(|(id, _)| *id).filter(|id| inserted.contains_key(id)).collect();
        if ids.is_empty() {
            return Ok(());
        }
        let taken: Vec<Uuid> = sqlx::query_scalar(TAKE_BACK).bind(ids).fetch_all(&mut *work.conn).await?;
        for id in taken {
            inserted.remove(&id);
        }
        Ok(())
    }

    fn enter(&self, work: &mut Work<'_>, inserted: &HashMap<Uuid, JobState>) {
        // An id that the caller passed twice was inserted once.
        let mut left = inserted.clone();
        for (index, id) in self.ids.iter().enumerate() {
            let Some(state) = left.remove(id) else { continue };
            work.entered(&self.tenants[index], &self.queues[index], state, 1);
            work.flow().enqueued((&self.tenants[index], &self.queues[index], &self.kinds[index]));
            if state == JobState::Queued {
                work.claimable(&self.queues[index], self.lanes[index], *id);
            }
        }
    }
}

/// When a new job is due: at an instant, or this many milliseconds from now. A job to be debounced waits for others
/// from the start.
pub(super) fn due(job: &NewJob) -> (Option<Instant>, Option<i64>) {
    match (job.run, job.unique.as_ref().map(|unique| unique.conflict)) {
        (RunAt::Now, Some(OnConflict::Debounce { wait, .. })) => (None, Some(millis(wait))),
        (RunAt::Now, _) => (None, None),
        (RunAt::In(wait), _) => (None, Some(millis(wait))),
        (RunAt::At(instant), _) => (Some(instant), None),
    }
}

fn too_long(job: &NewJob, bytes: usize) -> StoreError {
    StoreError::Invalid(format!(
        "the payload of job {} has {bytes} bytes as JSON, the most is {PAYLOAD_BYTES_MAX}; keep the data elsewhere \
         and name it in the payload",
        job.id
    ))
}

/// A payload that only refers to the results.
pub(super) fn payload_of_aggregate(batch: Uuid, generation: i32) -> Value {
    serde_json::json!({ "batch": batch, "generation": generation })
}
