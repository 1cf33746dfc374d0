//! How fast the PostgreSQL store is compared with the bare statements that it cannot do without.
//!
//! `GRISTMILL_TEST_POSTGRES=postgres://… cargo run --release -p gristmill-store --example pg_speed`
//!
//! Everything happens in a schema of its own, which is dropped at the end. Each figure is the median of several rounds;
//! our rounds alternate with the bare ones, so that both meet the same conditions.

use std::time::{Duration, Instant};

use gristmill_core::chunk::ChunkResult;
use gristmill_core::id::{BatchId, JobId, WorkerId};
use gristmill_core::job::NewJob;
use gristmill_core::settle::{Ending, Verdict};
use gristmill_store::postgres::PostgresStore;
use gristmill_store::{
    Batches, Claim, Claims, Completion, Completions, Database, Jobs, NewBatch, NewWorker, Settings, Workers,
};
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use uuid::Uuid;

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

const ROUNDS: usize = 5;

#[tokio::main]
async fn main() -> Outcome<()> {
    let server = std::env::var("GRISTMILL_TEST_POSTGRES")?;
    let schema = format!("gristmill_speed_{}", Uuid::now_v7().simple());
    let mut connection = PgConnection::connect(&server).await?;
    sqlx::query(AssertSqlSafe(format!("CREATE SCHEMA {schema}"))).execute(&mut connection).await?;
    let outcome = measure(&format!("{server}?options[search_path]={schema}")).await;
    sqlx::query(AssertSqlSafe(format!("DROP SCHEMA {schema} CASCADE"))).execute(&mut connection).await?;
    outcome
}

async fn measure(url: &str) -> Outcome<()> {
    let store = PostgresStore::connect(url, &Settings { connections: 8, ..Settings::default() }, false).await?;
    store.migrate().await?;
    enqueue(&store).await?;
    for connections in [1, 4] {
        for group in [100, 500] {
            work(&store, connections, group).await?;
        }
    }
    Ok(())
}

fn say(what: &str, ours: &mut [f64], bare: &mut [f64]) {
    ours.sort_by(f64::total_cmp);
    bare.sort_by(f64::total_cmp);
    let (ours, bare) = (ours[ours.len() / 2], bare[bare.len() / 2]);
    #[expect(clippy::print_stdout, reason = "an example tells what it found")]
    {
        println!("{what}: {ours:.0}/s, bare {bare:.0}/s, ratio {:.2}", ours / bare);
    }
}

/// Groups of a thousand jobs, compared with one bare INSERT of the same rows into a twin of the table.
async fn enqueue(store: &PostgresStore) -> Outcome<()> {
    let pool = store.pool();
    sqlx::query("CREATE TABLE twin (LIKE job INCLUDING ALL)").execute(pool).await?;
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let groups: Vec<Vec<NewJob>> = (0..10).map(|_| jobs("bulk", 1_000)).collect();
        let begun = Instant::now();
        for group in &groups {
            store.enqueue(group).await?;
        }
        ours.push(10_000.0 / begun.elapsed().as_secs_f64());
        let begun = Instant::now();
        for group in &groups {
            insert_bare(pool, group).await?;
        }
        bare.push(10_000.0 / begun.elapsed().as_secs_f64());
    }
    say("enqueue, groups of 1000", &mut ours, &mut bare);
    sqlx::query("TRUNCATE job CASCADE").execute(pool).await?;
    sqlx::query("DROP TABLE twin").execute(pool).await?;
    Ok(())
}

async fn insert_bare(pool: &sqlx::PgPool, jobs: &[NewJob]) -> Outcome<()> {
    let ids: Vec<Uuid> = jobs.iter().map(|job| job.id.0).collect();
    let payloads: Vec<String> = jobs.iter().map(|job| job.payload.to_string()).collect();
    sqlx::query(
        "INSERT INTO twin (id, tenant, queue, lane, kind, state, max_attempts, granted, timeout_ms, retry, payload,
                           created_at, queued_at)
         SELECT id, 'main', 'bulk', 1, 'work', 'queued', 5, 5, 900000, '{\"fixed\":\"1s\"}', payload, now(), now()
         FROM unnest($1::uuid[], $2::text[]) AS i (id, payload)",
    )
    .bind(ids)
    .bind(payloads)
    .execute(pool)
    .await?;
    Ok(())
}

fn jobs(queue: &str, count: usize) -> Vec<NewJob> {
    (0..count)
        .map(|n| {
            let payload = json!({ "n": n, "text": "x".repeat(200) });
            NewJob { queue: queue.to_owned(), ..NewJob::new(JobId(Uuid::now_v7()), "work", payload) }
        })
        .collect()
}

/// Claims and completes the chunks of one batch, compared with the two bare updates and the insert of the results.
async fn work(store: &PostgresStore, connections: usize, group: usize) -> Outcome<()> {
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    let chunks = 10_000;
    for _ in 0..ROUNDS {
        let worker = enter(store).await?;
        fill(store, chunks).await?;
        ours.push(rate(chunks, connections, |_| ours_once(store, worker, group)).await?);
        clear(store).await?;
        fill(store, chunks).await?;
        bare.push(rate(chunks, connections, |_| bare_once(store, worker, group)).await?);
        clear(store).await?;
    }
    say(&format!("claim and complete, groups of {group}, {connections} connections"), &mut ours, &mut bare);
    Ok(())
}

async fn clear(store: &PostgresStore) -> Outcome<()> {
    sqlx::query("TRUNCATE job, batch, queue_count CASCADE").execute(store.pool()).await?;
    Ok(())
}

async fn enter(store: &PostgresStore) -> Outcome<WorkerId> {
    let worker = NewWorker {
        id: WorkerId(Uuid::now_v7()),
        role: "worker".to_owned(),
        host: "here".to_owned(),
        pid: 1,
        version: "0".to_owned(),
        slots: 500,
        queues: Vec::new(),
        kinds: Vec::new(),
        lease: Duration::from_secs(600),
    };
    store.register_worker(&worker).await?;
    Ok(worker.id)
}

async fn fill(store: &PostgresStore, count: usize) -> Outcome<()> {
    let definition = serde_json::from_value(json!({ "source": { "jsonl": "-" } }))?;
    let batch = NewBatch {
        id: BatchId(Uuid::now_v7()),
        tenant: "main".to_owned(),
        name: "speed".to_owned(),
        definition,
        fingerprint: gristmill_core::chunk::SourceFingerprint::default(),
        params: json!(null),
        idempotency_key: None,
        trace: None,
    };
    store.create_batch(&batch).await?;
    let slice = gristmill_core::chunk::Slice::Keys { after: None, upto: None };
    let chunks: Vec<gristmill_store::NewChunk> = (0..count)
        .map(|seq| gristmill_store::NewChunk {
            id: JobId(Uuid::now_v7()),
            seq: i64::try_from(seq).unwrap_or(0),
            payload: gristmill_core::chunk::ChunkPayload::new(slice.clone(), 500, 0),
        })
        .collect();
    for group in chunks.chunks(1_000) {
        store.add_chunks(batch.id, group).await?;
    }
    sqlx::query("VACUUM ANALYZE job").execute(store.pool()).await?;
    Ok(())
}

/// Runs as many loops as there are connections until nothing is left.
async fn rate<F>(jobs: usize, connections: usize, once: impl Fn(usize) -> F) -> Outcome<f64>
where
    F: Future<Output = Outcome<usize>>,
{
    let begun = Instant::now();
    let loops = (0..connections).map(|index| {
        let once = &once;
        async move {
            while once(index).await? > 0 {}
            Outcome::Ok(())
        }
    });
    futures::future::try_join_all(loops).await?;
    #[expect(clippy::cast_precision_loss, reason = "ten thousand jobs")]
    let jobs = jobs as f64;
    Ok(jobs / begun.elapsed().as_secs_f64())
}

async fn ours_once(store: &PostgresStore, worker: WorkerId, group: usize) -> Outcome<usize> {
    let claim = Claim {
        worker,
        queues: vec!["default".to_owned()],
        kinds: vec!["chunk".to_owned()],
        limit: u32::try_from(group)?,
    };
    let claimed = store.claim_next(&claim).await?;
    let done: Vec<Completion> = claimed
        .iter()
        .map(|job| Completion {
            chunk: Some(ChunkResult { ok: 500, ..ChunkResult::default() }),
            ..Completion::new(job.fence, Ending::Done, Verdict::Done)
        })
        .collect();
    if !done.is_empty() {
        store.complete(&done).await?;
    }
    Ok(claimed.len())
}

async fn bare_once(store: &PostgresStore, worker: WorkerId, group: usize) -> Outcome<usize> {
    let claimed: Vec<(Uuid, i32, String)> = sqlx::query_as(
        "WITH c AS (SELECT id FROM job WHERE queue = 'default' AND state = 'queued' ORDER BY lane, id LIMIT $2
                    FOR UPDATE SKIP LOCKED)
         UPDATE job j SET state = 'running', attempt = attempt + 1, worker_id = $1, started_at = now(),
                deadline = now() + interval '15 minutes'
         FROM c WHERE j.id = c.id RETURNING j.id, j.attempt, j.payload",
    )
    .bind(worker.0)
    .bind(i64::try_from(group)?)
    .fetch_all(store.pool())
    .await?;
    let ids: Vec<Uuid> = claimed.iter().map(|(id, _, _)| *id).collect();
    let attempts: Vec<i32> = claimed.iter().map(|(_, attempt, _)| *attempt).collect();
    sqlx::query(
        "UPDATE job j SET state = 'done', worker_id = NULL, deadline = NULL, finished_at = now()
         FROM unnest($1::uuid[], $2::int[]) AS i (id, attempt)
         WHERE j.id = i.id AND j.attempt = i.attempt AND j.worker_id = $3",
    )
    .bind(&ids)
    .bind(attempts)
    .bind(worker.0)
    .execute(store.pool())
    .await?;
    Ok(ids.len())
}
