//! The raw limits of SQLite, in write-ahead mode with `synchronous=FULL`: statements of many rows, so that what a call
//! costs hardly counts.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};
use tokio::time::sleep;
use uuid::Uuid;

use super::CLAIMED_AT_ONCE;
use crate::fault::Result;
use crate::note::Note;
use crate::record::{Record, Records, now};

const SCHEMA: &str = "
CREATE TABLE raw_job (
    id          BLOB    PRIMARY KEY,
    queue       TEXT    NOT NULL,
    state       INTEGER NOT NULL DEFAULT 0,
    payload     TEXT    NOT NULL,
    created_at  INTEGER NOT NULL,
    finished_at INTEGER
) STRICT;
CREATE INDEX raw_waiting ON raw_job (queue, id) WHERE state = 0;";

const CLAIM: &str = "
UPDATE raw_job SET state = 1
WHERE id IN (SELECT id FROM raw_job WHERE state = 0 AND queue = 'default' ORDER BY id LIMIT ?)
RETURNING id, payload";

/// How often another process's commit is looked for.
const LOOK_EVERY: Duration = Duration::from_micros(500);

/// A claimed job.
type Claimed = (Uuid, Note);

/// A file with the raw table in it.
#[derive(Debug)]
pub struct RawSqlite {
    path: PathBuf,
    connection: SqliteConnection,
}

impl RawSqlite {
    /// Makes one.
    ///
    /// # Errors
    ///
    /// Those of SQLite.
    pub async fn new(path: &Path) -> Result<Self> {
        let mut connection = open(path).await?;
        sqlx::raw_sql(SCHEMA).execute(&mut connection).await?;
        Ok(Self { path: path.to_owned(), connection })
    }

    /// The version, and what durability rests on: the journal and `synchronous`, as SQLite reports them.
    ///
    /// # Errors
    ///
    /// Those of SQLite, and when it is not durable.
    pub async fn durability(&mut self) -> Result<String> {
        let version: String = sqlx::query_scalar("SELECT sqlite_version()").fetch_one(&mut self.connection).await?;
        let mode: String = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&mut self.connection).await?;
        let synchronous: i64 = sqlx::query_scalar("PRAGMA synchronous").fetch_one(&mut self.connection).await?;
        if (mode.as_str(), synchronous) != ("wal", 2) {
            return Err(format!("SQLite is in mode {mode} with synchronous = {synchronous}: not durable").into());
        }
        Ok(format!("{version} journal_mode={mode} synchronous=FULL"))
    }

    /// Enqueues jobs in groups, each a transaction.
    ///
    /// # Errors
    ///
    /// Those of SQLite.
    pub async fn enqueue(&mut self, jobs: u32) -> Result<()> {
        let numbers: Vec<u32> = (0..jobs).collect();
        for group in numbers.chunks(CLAIMED_AT_ONCE) {
            insert(&mut self.connection, group).await?;
        }
        Ok(())
    }

    /// Enqueues jobs one by one, each committed before the next.
    ///
    /// # Errors
    ///
    /// Those of SQLite.
    pub async fn enqueue_singly(&mut self, jobs: u32) -> Result<()> {
        for number in 0..jobs {
            insert(&mut self.connection, &[number]).await?;
        }
        Ok(())
    }

    /// Claims, runs and completes all jobs that wait.
    ///
    /// # Errors
    ///
    /// Those of SQLite and of the records' file.
    pub async fn drain(&mut self, records: &Path) -> Result<()> {
        let records = Records::append_to(records)?;
        while work(&mut self.connection, &records).await? > 0 {}
        Ok(())
    }

    /// Enqueues jobs at a steady pace over one connection while another one looks for commits, and claims and runs each
    /// as soon as it sees it. SQLite has no notifications across processes: looking is what there is.
    ///
    /// # Errors
    ///
    /// Those of SQLite and of the records' file.
    pub async fn latency(&mut self, jobs: u32, a_second: u32, records: &Path) -> Result<()> {
        let (mut worker, records) = (open(&self.path).await?, Records::append_to(records)?);
        let working = tokio::spawn(async move {
            let (mut seen, mut done) = (0_i64, 0);
            while done < jobs as usize {
                let version = sqlx::query_scalar("PRAGMA data_version").fetch_one(&mut worker).await?;
                if version == seen {
                    sleep(LOOK_EVERY).await;
                } else {
                    done += work(&mut worker, &records).await?;
                    seen = version;
                }
            }
            Ok::<_, crate::fault::Fault>(())
        });
        let mut ticks = tokio::time::interval(Duration::from_secs(1) / a_second);
        for number in 0..jobs {
            ticks.tick().await;
            insert(&mut self.connection, &[number]).await?;
        }
        working.await?
    }

    /// One pass over a batch: a row for each chunk, all claimed at once, each with its sum, and the sum of those.
    ///
    /// # Errors
    ///
    /// Those of SQLite.
    pub async fn batch(&mut self, chunks: &[Vec<i64>]) -> Result<i64> {
        let numbers: Vec<u32> = (0..u32::try_from(chunks.len())?).collect();
        insert(&mut self.connection, &numbers).await?;
        let claimed = claim(&mut self.connection).await?;
        let mut transaction = self.connection.begin().await?;
        for (id, note) in claimed {
            let sum: i64 = chunks.get(note.number as usize).map_or(0, |amounts| amounts.iter().sum());
            sqlx::query("UPDATE raw_job SET state = 2, finished_at = ?, payload = ? WHERE id = ? AND state = 1")
                .bind(now())
                .bind(sum.to_string())
                .bind(id)
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        let total = "
            INSERT INTO raw_job (id, queue, state, payload, created_at)
            SELECT ?, 'results', 2, CAST(sum(CAST(payload AS INTEGER)) AS TEXT), ? FROM raw_job RETURNING payload";
        let total: String =
            sqlx::query_scalar(total).bind(Uuid::now_v7()).bind(now()).fetch_one(&mut self.connection).await?;
        Ok(total.parse()?)
    }
}

async fn open(path: &Path) -> Result<SqliteConnection> {
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
    let options = options.journal_mode(SqliteJournalMode::Wal).synchronous(SqliteSynchronous::Full);
    Ok(options.busy_timeout(Duration::from_secs(10)).connect().await?)
}

/// `one` so many times, with commas between.
fn list(one: &str, times: usize) -> String {
    vec![one; times].join(", ")
}

/// Inserts one group in one transaction. Its statement is the same for groups of the same size, and prepared once.
async fn insert(connection: &mut SqliteConnection, numbers: &[u32]) -> Result<()> {
    let rows = list("(?, 'default', ?, ?)", numbers.len());
    let statement = format!("INSERT INTO raw_job (id, queue, payload, created_at) VALUES {rows}");
    let mut query = sqlx::query(AssertSqlSafe(statement));
    for number in numbers {
        let note = Note::now(*number);
        query = query.bind(Uuid::now_v7()).bind(serde_json::to_string(&note)?).bind(note.enqueued_at);
    }
    query.execute(connection).await?;
    Ok(())
}

async fn claim(connection: &mut SqliteConnection) -> Result<Vec<Claimed>> {
    let rows: Vec<(Uuid, String)> =
        sqlx::query_as(CLAIM).bind(i64::try_from(CLAIMED_AT_ONCE)?).fetch_all(connection).await?;
    rows.into_iter().map(|(id, payload)| Ok((id, serde_json::from_str(&payload)?))).collect()
}

/// Claims a group, runs it, completes it; returns its size.
async fn work(connection: &mut SqliteConnection, records: &Records) -> Result<usize> {
    let claimed = claim(connection).await?;
    if claimed.is_empty() {
        return Ok(0);
    }
    for (_, note) in &claimed {
        records.write(Record::begun(note.number, note.enqueued_at))?;
    }
    let ids = list("?", claimed.len());
    let statement = format!("UPDATE raw_job SET state = 2, finished_at = ? WHERE id IN ({ids}) AND state = 1");
    let mut query = sqlx::query(AssertSqlSafe(statement)).bind(now());
    for (id, _) in &claimed {
        query = query.bind(*id);
    }
    query.execute(connection).await?;
    Ok(claimed.len())
}
