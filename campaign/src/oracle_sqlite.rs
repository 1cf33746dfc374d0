//! What must be true on SQLite when all is quiet: the same promises, in plain SQL of its own.

use crate::oracle::{Batch, Chunk, Verdict, broken, files, must, weigh};
use crate::oracle_jobs::{Job, email};
use crate::sqlite_env::{SqliteEnv, close, whole};

/// An id as people write it.
const ID: &str =
    "lower(substr(hex(id), 1, 8) || '-' || substr(hex(id), 9, 4) || '-' || substr(hex(id), 13, 4) || '-' ||
                        substr(hex(id), 17, 4) || '-' || substr(hex(id), 21))";

/// Statements that must find nothing, and what it means when they do.
const NOTHING: &[(&str, &str)] = &[
    ("a job is beyond its attempts", "SELECT hex(id) FROM job WHERE attempt > max_attempts"),
    ("a job is not final", "SELECT hex(id) FROM job WHERE state NOT IN ('done', 'dead', 'cancelled')"),
    ("a job is dead", "SELECT hex(id) || ' ' || error FROM job WHERE state = 'dead'"),
    (
        "an attempt ended twice",
        "SELECT hex(job_id) || ' attempt ' || attempt FROM attempt WHERE ending NOT IN ('interrupted')
         GROUP BY job_id, attempt HAVING count(*) > 1",
    ),
    (
        "an aggregate was fired twice",
        "SELECT hex(batch_id) FROM job WHERE kind = 'aggregate' GROUP BY batch_id, generation HAVING count(*) > 1",
    ),
    (
        "a queue's counter is not what it counts",
        "SELECT queue || ' ' || state FROM
           (SELECT tenant, queue, state, sum(jobs) AS jobs FROM queue_count GROUP BY 1, 2, 3
            UNION ALL SELECT tenant, queue, state, -count(*) FROM job GROUP BY 1, 2, 3)
         GROUP BY tenant, queue, state HAVING sum(jobs) <> 0",
    ),
    ("something is in the outbox", "SELECT CAST(id AS TEXT) FROM outbox"),
    (
        "an email is sent, its job is not done",
        "SELECT e.key FROM email e JOIN job j ON j.id = e.job_id WHERE e.state = 'sent' AND j.state <> 'done'",
    ),
];

/// Looks at everything.
///
/// # Errors
///
/// The first thing that must not be.
pub(crate) async fn judge(env: &SqliteEnv) -> Verdict {
    let mut connection = env.look().await?;
    whole(&mut connection).await?;
    let query = format!(
        "SELECT {ID} AS id, idempotency_key AS key, state, generation, reason, chunks, remaining, chunks_dead, input,
                ok, skipped, quarantined, cancelled, result
         FROM batch WHERE name = 'work-0' ORDER BY idempotency_key"
    );
    let batches: Vec<Batch> =
        sqlx::query_as(sqlx::AssertSqlSafe(query)).fetch_all(&mut connection).await.map_err(broken)?;
    let last = batches.last().ok_or("the batch was confirmed, and is not there")?;
    must(last.state == "complete", || format!("the confirmed batch is {}: {:?}", last.state, last.reason))?;
    for batch in &batches {
        must(batch.remaining == 0, || format!("{} has {} chunks remaining", batch.key, batch.remaining))?;
        let query = format!(
            "SELECT seq, state, items, payload ->> 'first' AS first, half_of IS NOT NULL AS half,
                    payload ->> 'condemned' IS NOT NULL AS condemned
             FROM job WHERE {} = ?1 AND seq IS NOT NULL ORDER BY seq",
            ID.replace("id", "batch_id")
        );
        let chunks: Vec<Chunk> = sqlx::query_as(sqlx::AssertSqlSafe(query))
            .bind(&batch.id)
            .fetch_all(&mut connection)
            .await
            .map_err(broken)?;
        let mut numbers = async |column: &str, table: &str| {
            let id = ID.replace("id", "batch_id");
            let query = format!("SELECT {column} FROM {table} WHERE {id} = ?1 ORDER BY 1");
            let query = sqlx::query_scalar::<_, i64>(sqlx::AssertSqlSafe(query)).bind(&batch.id);
            query.fetch_all(&mut connection).await.map_err(broken)
        };
        let (results, aside) = (numbers("seq", "result").await?, numbers("position", "quarantine").await?);
        let ok = weigh(batch, &chunks, &results, &aside, env.plan.chunk, &env.input)?;
        let whole = i64::from(batch.state == "complete");
        for kind in ["aggregate", "email"] {
            let found = numbers("1", &format!("(SELECT * FROM job WHERE kind = '{kind}')")).await?.len();
            must(found as i64 == whole, || format!("{} has {found} jobs `{kind}`, not {whole}", batch.key))?;
        }
        if batch.state == "complete" {
            files(&env.file("out-0"), batch, &ok)?;
        }
    }
    for (wrong, query) in NOTHING {
        let found: Vec<Option<String>> = sqlx::query_scalar(*query).fetch_all(&mut connection).await.map_err(broken)?;
        must(found.is_empty(), || format!("{wrong}: {found:?}"))?;
    }
    let emails = "SELECT hex(j.id) AS id, idempotency_key AS key, kind, j.state, j.attempt, max_attempts, payload,
            e.state AS email, (SELECT count(*) FROM attempt a WHERE a.job_id = j.id
             AND a.ending IN ('worker_lost', 'timed_out', 'interrupted')) AS lost
         FROM job j LEFT JOIN email e ON e.job_id = j.id WHERE kind = 'email'";
    let emails: Vec<Job> = sqlx::query_as(emails).fetch_all(&mut connection).await.map_err(broken)?;
    let mail = env.smtp.mail();
    emails.iter().try_for_each(|job| email(job, &mail))?;
    close(connection).await;
    Ok(())
}
