//! Logs of attempts.

use std::collections::HashSet;

use gristmill_core::Instant;
use gristmill_core::id::JobId;
use serde_json::json;

use super::{Columns, Sql, values};
use crate::check;
use crate::error::Result;
use crate::{LOGS_MAX, LogView, NewLog};

// A worker may have given the job back, and another one holds or held the same attempt: only who holds it now may take the
// place of the other's log, and who comes late does not.
const WRITE: &str = "
INSERT INTO attempt_log (job_id, attempt, tenant, worker_id, revision, said, lines, written_at)
SELECT j.id, (e.value ->> 1)::bigint, j.tenant, CAST(e.value ->> 2 AS uuid), (e.value ->> 3)::bigint,
       (e.value ->> 4)::bigint, e.value ->> 5, now()
FROM json_array_elements($1::json) AS e CROSS JOIN job j
WHERE j.id = CAST(e.value ->> 0 AS uuid) AND j.attempt >= (e.value ->> 1)::bigint
  AND (j.attempt > (e.value ->> 1)::bigint OR j.worker_id IS NULL OR j.worker_id = CAST(e.value ->> 2 AS uuid))
ON CONFLICT (job_id, attempt) DO UPDATE SET
    worker_id = excluded.worker_id, revision = excluded.revision, said = excluded.said, lines = excluded.lines,
    written_at = excluded.written_at
WHERE CASE WHEN attempt_log.worker_id = excluded.worker_id THEN attempt_log.revision < excluded.revision
      ELSE EXISTS (SELECT 1 FROM job AS held WHERE held.id = excluded.job_id AND held.attempt = excluded.attempt
                   AND held.worker_id = excluded.worker_id) END";

const LOGS: &str = "
SELECT attempt, said, lines, written_at FROM attempt_log
WHERE job_id = $1 AND tenant = $2 AND ($3::bigint IS NULL OR attempt = $3) ORDER BY attempt DESC LIMIT $4";

const PRUNE: &str = "
DELETE FROM attempt_log WHERE (job_id, attempt) IN (
    SELECT job_id, attempt FROM attempt_log WHERE written_at < $1 ORDER BY written_at LIMIT $2)";

/// Keeps what attempts have said. In the order of their jobs, so that two processes do not deadlock.
pub(crate) async fn write<S: Sql>(sql: &mut S, logs: &[NewLog]) -> Result<u64, S::Fault> {
    let mut sorted: Vec<&NewLog> = logs.iter().collect();
    sorted.sort_unstable_by_key(|log| (log.fence, log.revision));
    // Of two of the same fence the last one counts.
    sorted.dedup_by(|later, kept| {
        let same = later.fence == kept.fence;
        if same {
            std::mem::swap(later, kept);
        }
        same
    });
    let mut written = 0;
    // A statement changes a row once: a process whose lease was lost may write for two of its incarnations.
    while !sorted.is_empty() {
        let mut keys = HashSet::new();
        let (now, later): (Vec<_>, Vec<_>) =
            sorted.into_iter().partition(|log| keys.insert((log.fence.job, log.fence.attempt)));
        let rows = now.iter().map(|log| {
            let fence = &log.fence;
            Ok(json!([fence.job, fence.attempt, fence.worker, log.revision, log.said, check::json(&log.lines)?]))
        });
        let rows = rows.collect::<Result<Vec<_>>>()?;
        written += sql.run(WRITE, values![check::json(&rows)?]).await?;
        sorted = later;
    }
    Ok(written)
}

/// The logs of a job.
pub(crate) async fn logs<S: Sql>(
    sql: &mut S,
    (tenant, job, attempt, limit): &(&str, JobId, Option<u32>, u32),
) -> Result<Vec<LogView>, S::Fault> {
    let values = values![job.0, *tenant, attempt.map(i64::from), (*limit).min(LOGS_MAX)];
    let rows = sql.rows(LOGS, values).await?;
    Ok(rows.iter().map(view).collect::<Result<_>>()?)
}

fn view(row: &impl Columns) -> Result<LogView> {
    Ok(LogView {
        attempt: row.number("attempt")?,
        written_at: row.instant("written_at")?,
        said: row.number("said")?,
        lines: row.json("lines")?,
    })
}

/// Removes logs of long ago.
pub(crate) async fn prune<S: Sql>(sql: &mut S, &(before, limit): &(Instant, u32)) -> Result<u64, S::Fault> {
    sql.run(PRUNE, values![before, limit]).await
}
