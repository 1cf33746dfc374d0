//! Chunks of a batch for a picture. The mirror of PostgreSQL's, which says how.

use gristmill_core::id::BatchId;
use gristmill_core::job::JobState;

use super::error::database;
use super::{SqliteStore, row};
use crate::check;
use crate::chunks::{CHUNK_BRIEFS_MAX, CHUNKS_COUNTED_MAX, COUNTED};
use crate::error::Result;
use crate::{ChunkBrief, ChunkRanges};

const BRIEFS: &str = "
    SELECT seq, id, state, attempt, items, started_at, finished_at FROM job INDEXED BY job_chunk_number
    WHERE batch_id = ?1 AND seq >= ?2 AND seq IS NOT NULL ORDER BY seq LIMIT ?3";

const DONE: &str =
    "SELECT seq / ?2 AS part, 'done' AS state, count(*) AS chunks FROM result WHERE batch_id = ?1 GROUP BY 1";

const OTHERS: &str = "
    SELECT n.seq / ?2 AS part, n.state, count(*) AS chunks
    FROM json_each(?3) s CROSS JOIN job n ON n.id IN (
        SELECT i.id FROM job i INDEXED BY job_in_batch
        WHERE i.batch_id = ?1 AND i.state = s.value AND i.kind = 'chunk' ORDER BY i.id LIMIT ?4)
    WHERE n.seq IS NOT NULL GROUP BY 1, 2";

/// Chunks by their numbers.
pub(super) async fn briefs(store: &SqliteStore, batch: BatchId, first: i64, limit: u32) -> Result<Vec<ChunkBrief>> {
    let query = sqlx::query(BRIEFS).bind(batch.0).bind(first).bind(limit.min(CHUNK_BRIEFS_MAX));
    let rows = query.fetch_all(&store.readers).await.map_err(database)?;
    rows.iter()
        .map(|row| {
            Ok(ChunkBrief {
                seq: row::get(row, "seq")?,
                job: row::id(row, "id")?,
                state: row::word(row, "state")?,
                attempt: row::number(row, "attempt")?,
                items: row::number(row, "items")?,
                started_at: row::maybe_instant(row, "started_at")?,
                finished_at: row::maybe_instant(row, "finished_at")?,
            })
        })
        .collect()
}

/// All chunks, counted by ranges of so many numbers.
pub(super) async fn ranges(store: &SqliteStore, batch: BatchId, width: u32) -> Result<ChunkRanges> {
    let width = i64::from(width.max(1));
    let done = sqlx::query(DONE).bind(batch.0).bind(width).fetch_all(&store.readers).await.map_err(database)?;
    let states = check::json(&COUNTED.map(JobState::as_str).to_vec())?;
    let others = sqlx::query(OTHERS).bind(batch.0).bind(width).bind(states).bind(CHUNKS_COUNTED_MAX);
    let others = others.fetch_all(&store.readers).await.map_err(database)?;
    let counts = done
        .iter()
        .chain(&others)
        .map(|row| Ok((row::get(row, "part")?, row::word(row, "state")?, row::number(row, "chunks")?)));
    Ok(ChunkRanges::of(counts.collect::<Result<Vec<_>>>()?, width))
}
