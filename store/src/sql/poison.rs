//! Messages that no process can act upon.

use gristmill_core::id::BatchId;

use super::{Columns, Sql, values};
use crate::check;
use crate::error::Result;
use crate::{ControlReport, NewPoison, POISON_BYTES_MAX, Page, PoisonMessage, PoisonView};

/// The transaction that began first need not be the first to write: the times are the earliest and the latest.
const RECORD: &str = "
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

const DROP: &str = "
DELETE FROM poison WHERE id IN (SELECT value::bigint FROM json_array_elements_text($1::json)) RETURNING id";

/// Older servers have neither `min` nor `max` for ids.
const REMEMBER: &str = "
INSERT INTO discarded (batch_id, first_job, last_job, discarded_at)
SELECT $1, f.id, l.id, now()
FROM (SELECT id FROM job WHERE batch_id = $1 ORDER BY id LIMIT 1) AS f,
     (SELECT id FROM job WHERE batch_id = $1 ORDER BY id DESC LIMIT 1) AS l
WHERE true ON CONFLICT DO NOTHING";

/// Keeps messages, or counts those that are already kept. In the order of their keys, so that two processes which
/// record the same messages do not deadlock.
pub(crate) async fn record<S: Sql>(sql: &mut S, poison: &[NewPoison]) -> Result<(), S::Fault> {
    let mut sorted: Vec<&NewPoison> = poison.iter().collect();
    sorted.sort_by(|one, other| (&one.queue, &one.sha256).cmp(&(&other.queue, &other.sha256)));
    for one in sorted {
        let values = values![
            check::plain(&one.queue, check::REASON_CHARS_MAX),
            &one.sha256,
            one.size,
            one.bytes[..one.bytes.len().min(POISON_BYTES_MAX)].to_vec(),
            check::json(&one.headers)?,
            check::plain(&one.reason, check::REASON_CHARS_MAX),
            one.source.as_str(),
        ];
        sql.run(RECORD, values).await?;
    }
    Ok(())
}

/// Returns kept messages, newest first.
pub(crate) async fn list<S: Sql>(sql: &mut S, page: &Page) -> Result<Vec<PoisonView>, S::Fault> {
    let rows = sql.rows(LIST, values![page.after_number()?, page.rows()]).await?;
    Ok(rows.iter().map(view).collect::<Result<_>>()?)
}

/// Returns one of them, whole.
pub(crate) async fn message<S: Sql>(sql: &mut S, id: i64) -> Result<Option<PoisonMessage>, S::Fault> {
    let Some(row) = sql.row(MESSAGE, values![id]).await? else { return Ok(None) };
    Ok(Some(PoisonMessage {
        view: view(&row)?,
        headers: row.maybe_any_json("headers")?.unwrap_or_default(),
        bytes: row.bytes("bytes")?,
    }))
}

/// Deletes messages.
pub(crate) async fn drop<S: Sql>(sql: &mut S, ids: &[i64]) -> Result<ControlReport, S::Fault> {
    let gone = sql.rows(DROP, values![check::json(ids)?]).await?;
    let mut gone: Vec<i64> = gone.iter().map(|row| row.number("id")).collect::<Result<_>>()?;
    gone.sort_unstable();
    let samples = gone.iter().take(5).map(i64::to_string).collect();
    Ok(ControlReport { affected: gone.len() as u64, samples, ..ControlReport::default() })
}

/// Remembers that a batch's jobs are about to be deleted: messages that name them are not poison.
pub(crate) async fn remember_discarded<S: Sql>(sql: &mut S, batch: BatchId) -> Result<(), S::Fault> {
    sql.run(REMEMBER, values![batch.0]).await?;
    Ok(())
}

fn view(row: &impl Columns) -> Result<PoisonView> {
    Ok(PoisonView {
        id: row.number("id")?,
        queue: row.text("queue")?,
        sha256: row.text("sha256")?,
        size: row.number("size")?,
        reason: row.text("reason")?,
        source: row.text("source")?,
        seen: row.number("seen")?,
        first_at: row.instant("first_at")?,
        last_at: row.instant("last_at")?,
    })
}
