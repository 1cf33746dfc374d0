//! Complete, for attempts of which nothing follows: jobs that are simply done, in a statement that is a transaction by
//! itself.

use std::collections::HashSet;

use uuid::Uuid;

use super::complete::{buckets, output};
use super::fault::{Fault, Outcome};
use super::values::int;
use super::work::Work;
use crate::check;
use crate::error::StoreError;
use crate::{CompleteReport, Completion, Dispatched};

/// The fence is in the WHERE, as in [`super::complete`]. A chunk is never simply done: its result must be there and
/// count its items, so that one among them divides by zero, which takes the whole statement back. The counters come
/// last, since their rows are the most contended.
const DONE: &str = concat!(
    "
WITH moved AS (
UPDATE job j SET state = 'done', worker_id = NULL, deadline = NULL, output = i.output, error = i.error, run_at = NULL,
       finished_at = now()
FROM unnest($1::uuid[], $2::int[], $3::uuid[], $4::text[], $5::text[]) AS i (id, attempt, worker_id, output, error)
WHERE j.id = i.id AND j.attempt = i.attempt AND j.worker_id = i.worker_id
RETURNING j.id, j.tenant, j.queue, j.seq, j.kind, ",
    buckets!(),
    "), flowed AS (
INSERT INTO flow (at, tenant, queue, kind, what, wait, run, jobs)
SELECT now(), tenant, queue, kind, 'done', wait, run, count(*) FROM moved GROUP BY tenant, queue, kind, wait, run), counted AS (
INSERT INTO queue_count (tenant, queue, state, shard, jobs)
SELECT m.tenant, m.queue, s.state, (pg_backend_pid() % 32)::smallint, s.sign * count(*)
FROM moved m CROSS JOIN (VALUES ('running', -1), ('done', 1)) AS s (state, sign)
GROUP BY m.tenant, m.queue, s.state, s.sign ORDER BY 1, 2, 3
ON CONFLICT (tenant, queue, state, shard) DO UPDATE SET jobs = queue_count.jobs + excluded.jobs)
SELECT id FROM moved WHERE 1 / (CASE WHEN seq IS NULL THEN 1 ELSE 0 END) = 1"
);

/// Completes them; `None` when a chunk is among them, and then nothing has happened.
pub(super) async fn done(work: &mut Work<'_>, completions: &&[Completion]) -> Outcome<Option<CompleteReport>> {
    check::completions(completions)?;
    // The same fence twice counts once.
    let mut seen = HashSet::with_capacity(completions.len());
    let (mut order, twice): (Vec<&Completion>, Vec<&Completion>) =
        completions.iter().partition(|one| seen.insert(one.fence.job));
    order.sort_by_key(|one| one.fence.job);
    let outputs: Vec<Option<String>> = order.iter().map(|one| output(one)).collect::<Result<_, StoreError>>()?;
    let moved: Result<Vec<Uuid>, sqlx::Error> = sqlx::query_scalar(DONE)
        .bind(order.iter().map(|one| one.fence.job.0).collect::<Vec<_>>())
        .bind(order.iter().map(|one| int(one.fence.attempt)).collect::<Vec<_>>())
        .bind(order.iter().map(|one| one.fence.worker.0).collect::<Vec<_>>())
        .bind(outputs)
        .bind(order.iter().map(|one| one.error.as_deref().map(error)).collect::<Vec<_>>())
        .fetch_all(&mut *work.conn)
        .await;
    let moved: HashSet<Uuid> = match moved {
        Ok(moved) => moved.into_iter().collect(),
        Err(refusal) if is_a_chunk(&refusal) => return Ok(None),
        Err(refusal) => return Err(Fault::Sql(refusal)),
    };
    let settled = moved.len() as u64;
    work.moved_and_counted(settled);
    let lost = order.iter().filter(|one| !moved.contains(&one.fence.job.0));
    let fenced = twice.iter().chain(lost).map(|one| one.fence).collect();
    let dispatched = Dispatched { moved: settled, ..Dispatched::default() };
    Ok(Some(CompleteReport { settled, fenced, dispatched, progress: Vec::new() }))
}

fn error(text: &str) -> String {
    check::plain(text, check::ERROR_CHARS_MAX)
}

fn is_a_chunk(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|refusal| refusal.code()).as_deref() == Some("22012")
}
