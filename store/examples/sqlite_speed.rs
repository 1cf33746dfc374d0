//! How fast the SQLite store is compared with the bare statements that it cannot do without.
//!
//! `cargo run --release -p gristmill-store --example sqlite_speed`
//!
//! Everything happens in a temporary file in the working directory, which is removed at the end. Each figure is the
//! median of several rounds.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use gristmill_core::id::{JobId, WorkerId};
use gristmill_core::job::NewJob;
use gristmill_core::settle::{Ending, Verdict};
use gristmill_store::sqlite::SqliteStore;
use gristmill_store::{Claim, Claims, Completion, Completions, Database, Jobs, NewWorker, Settings, Workers};
use serde_json::json;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, SqliteConnection};
use uuid::Uuid;

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

const ROUNDS: usize = 5;
const GROUP: usize = 1_000;
const GROUPS: usize = 10;

#[tokio::main]
async fn main() -> Outcome<()> {
    let folder = PathBuf::from(format!("sqlite_speed_{}", Uuid::now_v7().simple()));
    std::fs::create_dir(&folder)?;
    let outcome = measure(&folder).await;
    std::fs::remove_dir_all(&folder)?;
    outcome
}

async fn measure(folder: &Path) -> Outcome<()> {
    let store = SqliteStore::connect(&folder.join("store.db"), &Settings::default(), false).await?;
    store.migrate().await?;
    let mut bare = bare(&folder.join("bare.db")).await?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.push(enqueue(&store).await?);
        theirs.push(insert(&mut bare).await?);
    }
    let (ours, theirs) = (median(&mut ours), median(&mut theirs));
    say(&format!("enqueue in groups of {GROUP}: {ours:.0}/s, bare {theirs:.0}/s, ratio {:.2}", ours / theirs));
    for group in [100, 500] {
        let mut rates = Vec::new();
        for _ in 0..ROUNDS {
            rates.push(work(&store, group).await?);
        }
        say(&format!("claim and complete in groups of {group}: {:.0}/s", median(&mut rates)));
    }
    Ok(())
}

fn new_jobs() -> Vec<NewJob> {
    (0..GROUP).map(|n| NewJob::new(JobId(Uuid::now_v7()), "work", json!({ "n": n, "text": "x".repeat(200) }))).collect()
}

async fn enqueue(store: &SqliteStore) -> Outcome<f64> {
    let groups: Vec<_> = (0..GROUPS).map(|_| new_jobs()).collect();
    let began = Instant::now();
    for group in &groups {
        store.enqueue(group).await?;
    }
    Ok(rate(GROUP * GROUPS, began))
}

/// A twin of our file, with the same schema.
async fn bare(path: &Path) -> Outcome<SqliteConnection> {
    let store = SqliteStore::connect(path, &Settings::default(), false).await?;
    store.migrate().await?;
    let options = SqliteConnectOptions::new().filename(path).journal_mode(SqliteJournalMode::Wal);
    Ok(options.synchronous(SqliteSynchronous::Full).disable_statement_logging().connect().await?)
}

/// Inserts the same rows with one prepared statement for each, in transactions of the same size.
async fn insert(connection: &mut SqliteConnection) -> Outcome<f64> {
    let groups: Vec<_> = (0..GROUPS).map(|_| new_jobs()).collect();
    let began = Instant::now();
    for group in &groups {
        let mut tx = connection.begin_with("BEGIN IMMEDIATE").await?;
        for job in group {
            sqlx::query(
                "INSERT INTO job (id, tenant, queue, lane, kind, state, max_attempts, granted, timeout_ms, retry, payload,
                                  created_at, queued_at)
                 VALUES (?1, ?2, ?3, 1, ?4, 'queued', 5, 5, 900000, ?5, ?6, ?7, ?7)",
            )
            .bind(job.id.0)
            .bind(&job.tenant)
            .bind(&job.queue)
            .bind(&job.kind)
            .bind(serde_json::to_string(&job.retry)?)
            .bind(job.payload.to_string())
            .bind(1_i64)
            .execute(&mut *tx)
            .await?;
        }
        tx.commit().await?;
    }
    Ok(rate(GROUP * GROUPS, began))
}

async fn work(store: &SqliteStore, group: u32) -> Outcome<f64> {
    let worker = WorkerId(Uuid::now_v7());
    let lease = Duration::from_secs(600);
    let entered = NewWorker {
        id: worker,
        role: "worker".to_owned(),
        host: "here".to_owned(),
        pid: 1,
        version: "0".to_owned(),
        slots: group,
        queues: Vec::new(),
        kinds: Vec::new(),
        lease,
    };
    store.register_worker(&entered).await?;
    let claim = Claim { worker, queues: Vec::new(), kinds: vec!["work".to_owned()], limit: group };
    let began = Instant::now();
    let mut done = 0;
    while done < GROUP * GROUPS / 2 {
        let claimed = store.claim_next(&claim).await?;
        let all: Vec<_> = claimed.iter().map(|job| Completion::new(job.fence, Ending::Done, Verdict::Done)).collect();
        done += usize::try_from(store.complete(&all).await?.settled)?;
    }
    Ok(rate(done, began))
}

#[expect(clippy::cast_precision_loss, reason = "a few thousand jobs")]
fn rate(jobs: usize, began: Instant) -> f64 {
    jobs as f64 / began.elapsed().as_secs_f64()
}

fn median(rates: &mut [f64]) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

fn say(line: &str) {
    #[expect(clippy::print_stdout, reason = "an example tells what it found")]
    {
        println!("{line}");
    }
}
