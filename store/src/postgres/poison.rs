//! Messages that nobody can act upon.

use std::collections::HashSet;

use gristmill_core::Instant;
use gristmill_core::id::{BatchId, JobId};
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{FromRow, Row};
use uuid::Uuid;

use super::control::control_report;
use super::fault::Outcome;
use super::values::{big, count, from_json, plain};
use super::view::{after_number, limit};
use super::work::Work;
use crate::check;
use crate::row;
use crate::{ControlReport, NewPoison, POISON_BYTES_MAX, Page, PoisonMessage, PoisonView};

/// Whose transaction began first need not be the first to write: the times are the earliest and the latest.
const BURY: &str = "
INSERT INTO poison (queue, sha256, size, bytes, headers, reason, source, first_at, last_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, now(), now())
ON CONFLICT (queue, sha256) DO UPDATE SET
    seen = poison.seen + 1, first_at = LEAST(poison.first_at, excluded.first_at),
    last_at = GREATEST(poison.last_at, excluded.last_at), headers = excluded.headers, reason = excluded.reason,
    source = excluded.source";

const LIST: &str = "
SELECT id, queue, sha256, size, reason, source, seen, first_at, last_at FROM poison
WHERE $1::bigint IS NULL OR id < $1 ORDER BY id DESC LIMIT $2";

const MESSAGE: &str = "
SELECT id, queue, sha256, size, reason, source, seen, first_at, last_at, headers, bytes FROM poison WHERE id = $1";

const DROP: &str = "DELETE FROM poison WHERE id = ANY($1) RETURNING id";

/// Those of these ids that no job has, and that none of a batch that was taken back had.
const UNKNOWN: &str = "
SELECT e.id FROM unnest($1::uuid[]) AS e (id)
WHERE NOT EXISTS (SELECT 1 FROM job j WHERE j.id = e.id)
  AND NOT EXISTS (SELECT 1 FROM discarded d WHERE e.id BETWEEN d.first_job AND d.last_job)";

/// Older servers know neither the least nor the greatest of ids.
const REMEMBER: &str = "
INSERT INTO discarded (batch_id, first_job, last_job, discarded_at)
SELECT $1, f.id, l.id, now()
FROM (SELECT id FROM job WHERE batch_id = $1 ORDER BY id LIMIT 1) AS f,
     (SELECT id FROM job WHERE batch_id = $1 ORDER BY id DESC LIMIT 1) AS l
ON CONFLICT DO NOTHING";

row! {
    struct PoisonRow {
        id: i64,
        queue: String,
        sha256: String,
        size: i64,
        reason: String,
        source: String,
        seen: i64,
        first_at: Instant,
        last_at: Instant,
    }
}

struct MessageRow {
    row: PoisonRow,
    headers: String,
    bytes: Vec<u8>,
}

impl<'r> FromRow<'r, PgRow> for MessageRow {
    fn from_row(row: &'r PgRow) -> sqlx::Result<Self> {
        Ok(Self { row: PoisonRow::from_row(row)?, headers: row.try_get("headers")?, bytes: row.try_get("bytes")? })
    }
}

impl PoisonRow {
    fn view(self) -> PoisonView {
        PoisonView {
            id: self.id,
            queue: self.queue,
            sha256: self.sha256,
            size: count(self.size),
            reason: self.reason,
            source: self.source,
            seen: count(self.seen),
            first_at: self.first_at,
            last_at: self.last_at,
        }
    }
}

/// Keeps messages, or counts those that are kept already. In the order of their keys, so that two who bury the
/// same wait for each other and not for ever.
pub(super) async fn record_poison(work: &mut Work<'_>, poison: &&[NewPoison]) -> Outcome<()> {
    let mut sorted: Vec<&NewPoison> = poison.iter().collect();
    sorted.sort_by(|one, other| (&one.queue, &one.sha256).cmp(&(&other.queue, &other.sha256)));
    for one in sorted {
        sqlx::query(BURY)
            .bind(check::plain(&one.queue, check::REASON_CHARS_MAX))
            .bind(&one.sha256)
            .bind(big(one.size))
            .bind(&one.bytes[..one.bytes.len().min(POISON_BYTES_MAX)])
            .bind(plain(&check::json(&one.headers)?))
            .bind(check::plain(&one.reason, check::REASON_CHARS_MAX))
            .bind(one.source.as_str())
            .execute(&mut *work.conn)
            .await?;
    }
    Ok(())
}

pub(super) async fn list(conn: &mut PgConnection, page: &Page) -> Outcome<Vec<PoisonView>> {
    let rows: Vec<PoisonRow> = sqlx::query_as(LIST).bind(after_number(page)?).bind(limit(page)).fetch_all(conn).await?;
    Ok(rows.into_iter().map(PoisonRow::view).collect())
}

pub(super) async fn message(conn: &mut PgConnection, id: i64) -> Outcome<Option<PoisonMessage>> {
    let found: Option<MessageRow> = sqlx::query_as(MESSAGE).bind(id).fetch_optional(conn).await?;
    let Some(found) = found else { return Ok(None) };
    let headers = from_json(&found.headers, &format!("the headers of poison {id}"))?;
    Ok(Some(PoisonMessage { view: found.row.view(), headers, bytes: found.bytes }))
}

pub(super) async fn drop(work: &mut Work<'_>, ids: &&[i64]) -> Outcome<ControlReport> {
    let mut gone: Vec<i64> = sqlx::query_scalar(DROP).bind(*ids).fetch_all(&mut *work.conn).await?;
    gone.sort_unstable();
    Ok(control_report(gone.len(), gone))
}

pub(super) async fn unknown(conn: &mut PgConnection, ids: &[Uuid]) -> Outcome<HashSet<JobId>> {
    let unknown: Vec<Uuid> = sqlx::query_scalar(UNKNOWN).bind(ids).fetch_all(conn).await?;
    Ok(unknown.into_iter().map(JobId).collect())
}

/// Remembers that a batch's jobs are about to vanish: messages that name them are no poison.
pub(super) async fn remember_discarded(work: &mut Work<'_>, batch: BatchId) -> Outcome<()> {
    sqlx::query(REMEMBER).bind(batch.0).execute(&mut *work.conn).await?;
    Ok(())
}
