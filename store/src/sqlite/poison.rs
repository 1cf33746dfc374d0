//! Messages that nobody can act upon.

use std::collections::HashSet;

use async_trait::async_trait;
use gristmill_core::id::{BatchId, JobId};
use sqlx::sqlite::SqliteRow;

use super::error::database;
use super::transition::Transition;
use super::{SqliteStore, row};
use crate::check;
use crate::error::Result;
use crate::{ControlReport, NewPoison, POISON_BYTES_MAX, Page, Poison, PoisonMessage, PoisonView};

#[async_trait]
impl Poison for SqliteStore {
    async fn record_poison(&self, poison: &[NewPoison]) -> Result<()> {
        if poison.is_empty() {
            return Ok(());
        }
        let mut t = Transition::begin(self).await?;
        let statement = "
            INSERT INTO poison (queue, sha256, size, bytes, headers, reason, source, first_at, last_at)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8)
            ON CONFLICT (queue, sha256) DO UPDATE SET
                seen = poison.seen + 1, first_at = min(poison.first_at, excluded.first_at),
                last_at = max(poison.last_at, excluded.last_at), headers = excluded.headers,
                reason = excluded.reason, source = excluded.source";
        for one in poison {
            let query = sqlx::query(statement)
                .bind(check::plain(&one.queue, check::REASON_CHARS_MAX))
                .bind(one.sha256.clone())
                .bind(i64::try_from(one.size).unwrap_or(i64::MAX))
                .bind(one.bytes[..one.bytes.len().min(POISON_BYTES_MAX)].to_vec())
                .bind(check::json(&one.headers)?)
                .bind(check::plain(&one.reason, check::REASON_CHARS_MAX))
                .bind(one.source.as_str())
                .bind(t.now);
            t.run(query).await?;
        }
        t.commit().await?;
        Ok(())
    }

    async fn unknown_jobs(&self, ids: &[JobId]) -> Result<Vec<JobId>> {
        let rows = sqlx::query(UNKNOWN).bind(check::json(ids)?).fetch_all(&self.readers).await.map_err(database)?;
        rows.iter().map(|row| row::id(row, "id")).collect()
    }

    async fn poison(&self, page: &Page) -> Result<Vec<PoisonView>> {
        let statement = "SELECT * FROM poison WHERE ?1 IS NULL OR id < ?1 ORDER BY id DESC LIMIT ?2";
        let query = sqlx::query(statement).bind(super::view::after_number(page)?).bind(super::view::limit(page));
        query.fetch_all(&self.readers).await.map_err(database)?.iter().map(view).collect()
    }

    async fn poison_message(&self, id: i64) -> Result<Option<PoisonMessage>> {
        let found = sqlx::query("SELECT * FROM poison WHERE id = ?1").bind(id).fetch_optional(&self.readers).await;
        let Some(found) = found.map_err(database)? else { return Ok(None) };
        let (headers, bytes) = (row::json(&found, "headers")?, row::get(&found, "bytes")?);
        Ok(Some(PoisonMessage { view: view(&found)?, headers, bytes }))
    }

    async fn drop_poison(&self, ids: &[i64], dry_run: bool) -> Result<ControlReport> {
        let mut t = Transition::begin(self).await?;
        let statement = "DELETE FROM poison WHERE id IN (SELECT value FROM json_each(?1)) RETURNING id";
        let gone = t.rows(sqlx::query(statement).bind(check::json(ids)?)).await?;
        let mut gone: Vec<i64> = gone.iter().map(|row| row::get(row, "id")).collect::<Result<_>>()?;
        gone.sort_unstable();
        let samples = gone.iter().take(5).map(i64::to_string).collect();
        let control_report = ControlReport { affected: gone.len() as u64, samples, ..ControlReport::default() };
        super::control::finish(t, control_report, dry_run).await
    }
}

/// Those of these ids that no job has, and that none of a batch that was taken back had.
const UNKNOWN: &str = "
    SELECT unhex(e.value, '-') AS id FROM json_each(?1) e
    WHERE NOT EXISTS (SELECT 1 FROM job j WHERE j.id = unhex(e.value, '-'))
      AND NOT EXISTS (SELECT 1 FROM discarded d WHERE unhex(e.value, '-') BETWEEN d.first_job AND d.last_job)";

/// The same inside a transaction.
pub(super) async fn unknown_in(t: &mut Transition<'_>, ids: &[JobId]) -> Result<HashSet<JobId>> {
    let rows = t.rows(sqlx::query(UNKNOWN).bind(check::json(ids)?)).await?;
    rows.iter().map(|row| row::id(row, "id")).collect()
}

/// Remembers that a batch's jobs are about to vanish: messages that name them are no poison.
pub(super) async fn remember_discarded(t: &mut Transition<'_>, batch: BatchId) -> Result<()> {
    let statement = "
        INSERT INTO discarded (batch_id, first_job, last_job, discarded_at)
        SELECT ?1, min(id), max(id), ?2 FROM job WHERE batch_id = ?1 HAVING count(*) > 0
        ON CONFLICT DO NOTHING";
    t.run(sqlx::query(statement).bind(batch.0).bind(t.now)).await?;
    Ok(())
}

fn view(row: &SqliteRow) -> Result<PoisonView> {
    Ok(PoisonView {
        id: row::get(row, "id")?,
        queue: row::get(row, "queue")?,
        sha256: row::get(row, "sha256")?,
        size: row::number(row, "size")?,
        reason: row::get(row, "reason")?,
        source: row::get(row, "source")?,
        seen: row::number(row, "seen")?,
        first_at: row::instant(row, "first_at")?,
        last_at: row::instant(row, "last_at")?,
    })
}
