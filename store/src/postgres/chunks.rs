//! Chunks of a batch for a picture. The index of their numbers finds them one by one; ranges are counted from the index of
//! the results and from the batch's streams of the few states that are neither done nor waiting.

use gristmill_core::Instant;
use gristmill_core::id::{BatchId, JobId};
use gristmill_core::job::JobState;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::fault::Outcome;
use super::values::{count, small, state_of};
use crate::chunks::{CHUNK_BRIEFS_MAX, CHUNKS_COUNTED_MAX, COUNTED};
use crate::error::StoreError;
use crate::{ChunkBrief, ChunkRanges};

const BRIEFS: &str = "
SELECT seq, id, state, attempt, items, started_at, finished_at FROM job
WHERE batch_id = $1 AND seq >= $2 AND seq IS NOT NULL ORDER BY seq LIMIT $3";

const DONE: &str = "SELECT seq / $2 AS part, count(*) FROM result WHERE batch_id = $1 GROUP BY 1";

const OTHERS: &str = "
SELECT c.seq / $2 AS part, s.state, count(*)
FROM unnest($3::text[]) AS s (state) CROSS JOIN LATERAL (
    SELECT j.seq FROM job j WHERE j.batch_id = $1 AND j.state = s.state AND j.kind = 'chunk' ORDER BY j.id LIMIT $4) AS c
WHERE c.seq IS NOT NULL GROUP BY 1, 2";

/// Chunks by their numbers.
pub(super) async fn briefs(
    conn: &mut PgConnection,
    batch: BatchId,
    first: i64,
    limit: u32,
) -> Outcome<Vec<ChunkBrief>> {
    type Row = (i64, Uuid, String, i32, i64, Option<Instant>, Option<Instant>);
    let limit = i64::from(limit.min(CHUNK_BRIEFS_MAX));
    let rows: Vec<Row> = sqlx::query_as(BRIEFS).bind(batch.0).bind(first).bind(limit).fetch_all(conn).await?;
    let read = |(seq, job, state, attempt, items, started_at, finished_at): Row| {
        let (state, attempt, items) = (state_of(&state)?, small(attempt), count(items));
        Ok(ChunkBrief { seq, job: JobId(job), state, attempt, items, started_at, finished_at })
    };
    Ok(rows.into_iter().map(read).collect::<Result<_, StoreError>>()?)
}

/// All chunks, counted by ranges of so many numbers.
pub(super) async fn ranges(conn: &mut PgConnection, batch: BatchId, width: u32) -> Outcome<ChunkRanges> {
    let width = i64::from(width.max(1));
    let done: Vec<(i64, i64)> = sqlx::query_as(DONE).bind(batch.0).bind(width).fetch_all(&mut *conn).await?;
    let states: Vec<&str> = COUNTED.into_iter().map(JobState::as_str).collect();
    let query = sqlx::query_as(OTHERS).bind(batch.0).bind(width).bind(states).bind(CHUNKS_COUNTED_MAX);
    let others: Vec<(i64, String, i64)> = query.fetch_all(conn).await?;
    let others = others.into_iter().map(|(part, state, chunks)| Ok((part, state_of(&state)?, count(chunks))));
    let others = others.collect::<Result<Vec<_>, StoreError>>()?;
    let done = done.into_iter().map(|(part, chunks)| (part, JobState::Done, count(chunks)));
    Ok(ChunkRanges::of(done.chain(others), width))
}
