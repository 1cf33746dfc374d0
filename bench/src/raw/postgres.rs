//! The raw limits of PostgreSQL: one statement a transaction, over as many connections as help.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgListener, PgPool, PgPoolOptions};
use uuid::Uuid;

use super::{CLAIMED_AT_ONCE, CLAIMERS, ENQUEUED_AT_ONCE};
use crate::fault::Result;
use crate::note::Note;
use crate::pace::{by_callers, steadily};
use crate::record::{Record, Records};

const SCHEMA: &str = "
CREATE TABLE raw_job (
    id          UUID        PRIMARY KEY,
    queue       TEXT        NOT NULL,
    state       SMALLINT    NOT NULL DEFAULT 0,
    payload     TEXT        NOT NULL,
    created_at  TIMESTAMPTZ NOT NULL DEFAULT now(),
    finished_at TIMESTAMPTZ
);
CREATE INDEX raw_waiting ON raw_job (queue, id) WHERE state = 0;";

const INSERT: &str = "
INSERT INTO raw_job (id, queue, payload) SELECT id, 'default', payload FROM unnest($1::uuid[], $2::text[]) AS t (id, payload)";

const INSERT_AND_NOTIFY: &str = "
WITH job AS (INSERT INTO raw_job (id, queue, payload) VALUES ($1, 'default', $2)) SELECT pg_notify('raw_work', '')";

const CLAIM: &str = "
WITH waiting AS (
    SELECT id FROM raw_job WHERE state = 0 AND queue = 'default' ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED)
UPDATE raw_job SET state = 1 FROM waiting WHERE raw_job.id = waiting.id RETURNING raw_job.id, raw_job.payload";

const CLAIM_THESE: &str = "
UPDATE raw_job SET state = 1 WHERE id = ANY($1) AND state = 0 RETURNING id, payload";

const COMPLETE: &str = "UPDATE raw_job SET state = 2, finished_at = now() WHERE id = ANY($1) AND state = 1";

/// A claimed job.
pub type Claimed = (Uuid, Note);

/// A database with the raw table in it.
#[derive(Debug, Clone)]
pub struct RawPostgres {
    pool: PgPool,
}

impl RawPostgres {
    /// Makes the table in an empty database.
    ///
    /// # Errors
    ///
    /// Those of the server.
    pub async fn new(url: &str) -> Result<Self> {
        let pool = PgPoolOptions::new().max_connections(16).test_before_acquire(false).connect(url).await?;
        sqlx::raw_sql(SCHEMA).execute(&pool).await?;
        Ok(Self { pool })
    }

    /// Removes all jobs.
    ///
    /// # Errors
    ///
    /// Those of the server.
    pub async fn empty(&self) -> Result<()> {
        sqlx::query("TRUNCATE raw_job").execute(&self.pool).await?;
        Ok(())
    }

    /// Closes its connections.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// Inserts one group in one transaction; returns its ids.
    ///
    /// # Errors
    ///
    /// Those of the server.
    pub async fn insert(&self, numbers: &[u32]) -> Result<Vec<Uuid>> {
        let ids: Vec<Uuid> = numbers.iter().map(|_| Uuid::now_v7()).collect();
        let payloads = numbers.iter().map(|number| serde_json::to_string(&Note::now(*number)));
        let payloads: Vec<String> = payloads.collect::<std::result::Result<_, _>>()?;
        sqlx::query(INSERT).bind(&ids).bind(payloads).execute(&self.pool).await?;
        Ok(ids)
    }

    /// Enqueues jobs in groups, each a transaction.
    ///
    /// # Errors
    ///
    /// Those of the server.
    pub async fn enqueue(&self, jobs: u32) -> Result<()> {
        let numbers: Vec<u32> = (0..jobs).collect();
        for group in numbers.chunks(ENQUEUED_AT_ONCE) {
            self.insert(group).await?;
        }
        Ok(())
    }

    /// Enqueues jobs one by one, by so many callers, each job a transaction.
    ///
    /// # Errors
    ///
    /// Those of the server.
    pub async fn enqueue_singly(&self, jobs: u32, callers: u32) -> Result<()> {
        by_callers(callers, jobs, |share| {
            let raw = self.clone();
            async move {
                for number in share {
                    raw.insert(&[number]).await?;
                }
                Ok(())
            }
        })
        .await
    }

    async fn claim(&self, most: usize) -> Result<Vec<Claimed>> {
        let rows: Vec<(Uuid, String)> = sqlx::query_as(CLAIM).bind(i64::try_from(most)?).fetch_all(&self.pool).await?;
        read(rows)
    }

    /// Claims those of these jobs that wait.
    ///
    /// # Errors
    ///
    /// Those of the server.
    pub async fn claim_these(&self, ids: &[Uuid]) -> Result<Vec<Claimed>> {
        read(sqlx::query_as(CLAIM_THESE).bind(ids).fetch_all(&self.pool).await?)
    }

    /// Runs claimed jobs and completes them in one transaction.
    ///
    /// # Errors
    ///
    /// Those of the server and of the records' file.
    pub async fn run(&self, claimed: &[Claimed], records: &Records) -> Result<()> {
        for (_, note) in claimed {
            records.write(Record::begun(note.number, note.enqueued_at))?;
        }
        let ids: Vec<Uuid> = claimed.iter().map(|(id, _)| *id).collect();
        sqlx::query(COMPLETE).bind(ids).execute(&self.pool).await?;
        Ok(())
    }

    /// Claims, runs and completes all jobs that wait, by two claimers at once.
    ///
    /// # Errors
    ///
    /// Those of the server and of the records' file.
    pub async fn drain(&self, records: &Path) -> Result<()> {
        let records = Arc::new(Records::append_to(records)?);
        by_callers(CLAIMERS, CLAIMERS, |_| {
            let (raw, records) = (self.clone(), Arc::clone(&records));
            async move {
                loop {
                    let claimed = raw.claim(CLAIMED_AT_ONCE).await?;
                    if claimed.is_empty() {
                        return Ok(());
                    }
                    raw.run(&claimed, &records).await?;
                }
            }
        })
        .await
    }

    /// Enqueues jobs at a steady pace, each with a notification in its transaction, upon which they are claimed and run.
    ///
    /// # Errors
    ///
    /// Those of the server and of the records' file.
    pub async fn latency(&self, jobs: u32, a_second: u32, records: &Path) -> Result<()> {
        let mut listener = PgListener::connect_with(&self.pool).await?;
        listener.listen("raw_work").await?;
        let (raw, records) = (self.clone(), Records::append_to(records)?);
        let working = tokio::spawn(async move {
            let mut done = 0;
            while done < jobs as usize {
                let hint = tokio::time::timeout(Duration::from_secs(1), listener.recv()).await;
                hint.map_or(Ok(()), |hint| hint.map(drop))?;
                let claimed = raw.claim(CLAIMED_AT_ONCE).await?;
                if !claimed.is_empty() {
                    raw.run(&claimed, &records).await?;
                    done += claimed.len();
                }
            }
            Ok::<_, crate::fault::Fault>(())
        });
        steadily(jobs, a_second, |number| {
            let (raw, note) = (self.clone(), Note::now(number));
            async move {
                let payload = serde_json::to_string(&note)?;
                sqlx::query(INSERT_AND_NOTIFY).bind(Uuid::now_v7()).bind(payload).execute(&raw.pool).await?;
                Ok(())
            }
        })
        .await?;
        working.await?
    }

    /// One pass over a batch: a row for each chunk, all claimed at once, each with its sum, and the sum of those.
    ///
    /// # Errors
    ///
    /// Those of the server.
    pub async fn batch(&self, chunks: &[Vec<i64>]) -> Result<i64> {
        let numbers: Vec<u32> = (0..u32::try_from(chunks.len())?).collect();
        self.insert(&numbers).await?;
        let claimed = self.claim(chunks.len()).await?;
        let sum = |note: &Note| chunks.get(note.number as usize).map_or(0, |amounts| amounts.iter().sum::<i64>());
        let (ids, sums): (Vec<Uuid>, Vec<String>) =
            claimed.iter().map(|(id, note)| (*id, sum(note).to_string())).unzip();
        sqlx::query(
            "UPDATE raw_job SET state = 2, finished_at = now(), payload = t.sum
             FROM unnest($1::uuid[], $2::text[]) AS t (id, sum) WHERE raw_job.id = t.id AND state = 1",
        )
        .bind(ids)
        .bind(sums)
        .execute(&self.pool)
        .await?;
        let total = "
            INSERT INTO raw_job (id, queue, state, payload)
            SELECT $1, 'results', 2, sum(payload::bigint)::text FROM raw_job WHERE state = 2 RETURNING payload::bigint";
        Ok(sqlx::query_scalar(total).bind(Uuid::now_v7()).fetch_one(&self.pool).await?)
    }
}

fn read(rows: Vec<(Uuid, String)>) -> Result<Vec<Claimed>> {
    rows.into_iter().map(|(id, payload)| Ok((id, serde_json::from_str(&payload)?))).collect()
}
