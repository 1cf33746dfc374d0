//! What must be true when all is quiet. Plain SQL on the tables, own arithmetic over the input, the broker's own
//! queues, the files as they are: nothing of the product's code.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
use sha2::{Digest, Sha256};
use sqlx::PgPool;

use crate::env::{QUEUES, TestEnv};
use crate::input::Input;
use crate::plan::{BatchPlan, Plan};

/// How long a broker that does not answer is asked again.
const BROKER_PATIENCE: Duration = Duration::from_secs(30);

/// How long one answer of it may take.
const ANSWER: Duration = Duration::from_secs(10);

/// Between two questions.
const BREATH: Duration = Duration::from_millis(200);

/// Nothing, or what must not be.
pub(crate) type Verdict = Result<(), String>;

/// Says what is wrong unless it is right.
pub(crate) fn must(right: bool, wrong: impl FnOnce() -> String) -> Verdict {
    if right { Ok(()) } else { Err(wrong()) }
}

pub(crate) fn broken(error: sqlx::Error) -> String {
    format!("the oracle cannot look: {error}")
}

/// Looks at everything.
///
/// # Errors
///
/// The first thing that must not be.
pub async fn judge(env: &TestEnv, plan: &Plan, inputs: &[Input]) -> Verdict {
    for (number, (batch, input)) in plan.batches.iter().zip(inputs).enumerate() {
        batches(env, number, batch, input).await.map_err(|wrong| format!("batch work-{number}: {wrong}"))?;
    }
    crate::oracle_jobs::judge(env, plan).await?;
    everywhere(env).await?;
    dead_letters(env).await?;
    for (queue, depth) in depths(env).await.map_err(|error| format!("the oracle cannot look: {error}"))? {
        if depth > 0 && env.servers.struck {
            stale(env, &queue).await?;
        } else {
            must(depth == 0, || format!("{depth} messages are left on {queue}"))?;
        }
    }
    Ok(())
}

/// A broker that is struck may lose an acknowledgement, and hand its message out again when nobody is left to drop
/// it. Such a message names a job that has ended; one of a job that has not would be work that nobody does.
async fn stale(env: &TestEnv, queue: &str) -> Verdict {
    let left = drained(env, queue).await.map_err(|error| format!("the oracle cannot read {queue}: {error}"))?;
    for message in left {
        let job = message["job_id"].as_str().unwrap_or_default();
        let state: Option<String> = sqlx::query_scalar("SELECT state FROM job WHERE id::text = $1")
            .bind(job)
            .fetch_optional(&env.pool)
            .await
            .map_err(broken)?;
        let ended = state.as_deref().is_some_and(|state| ["done", "dead", "cancelled"].contains(&state));
        must(ended, || format!("{message} is left on {queue}, and its job is {state:?}"))?;
    }
    Ok(())
}

/// What is ready on the queues of ids.
///
/// # Errors
///
/// When the broker does not answer, though asked a few times: it may be that a blow has just fallen on it.
pub async fn depths(env: &TestEnv) -> lapin::Result<BTreeMap<String, i64>> {
    let began = Instant::now();
    loop {
        // A connection that was struck as it began may never answer.
        match tokio::time::timeout(ANSWER, depths_now(env)).await {
            Ok(Err(_)) | Err(_) if began.elapsed() < BROKER_PATIENCE => tokio::time::sleep(BREATH).await,
            Ok(answer) => return answer,
            Err(_) => return Err(lapin::ErrorKind::IOError(std::sync::Arc::new(ErrorKind::TimedOut.into())).into()),
        }
    }
}

async fn depths_now(env: &TestEnv) -> lapin::Result<BTreeMap<String, i64>> {
    let mut depths = BTreeMap::new();
    let connection = lapin::Connection::connect(&env.servers.amqp, lapin::ConnectionProperties::default()).await?;
    for queue in env.priorities().into_iter().chain([env.returned()]) {
        // Asking for a queue that is not there closes the channel.
        let channel = connection.create_channel().await?;
        let passive = lapin::options::QueueDeclareOptions::durable().passive();
        let asked = channel.queue_declare(queue.as_str().into(), passive, lapin::types::FieldTable::default()).await;
        depths.insert(queue, asked.map_or(0, |queue| i64::from(queue.message_count())));
    }
    // All answers are in.
    let _ = connection.close(200, "done".into()).await;
    Ok(depths)
}

gristmill_store::row! {
    #[derive(Debug)]
    pub(crate) struct Batch {
        pub(crate) id: String,
        pub(crate) key: String,
        pub(crate) state: String,
        pub(crate) generation: i32,
        pub(crate) reason: Option<String>,
        chunks: i64,
        pub(crate) remaining: i64,
        chunks_dead: i64,
        input: i64,
        ok: i64,
        skipped: i64,
        quarantined: i64,
        cancelled: i64,
        result: Option<String>,
    }
}

/// All batches of one definition: one of them was confirmed to its client, others were taken back.
async fn batches(env: &TestEnv, number: usize, plan: &BatchPlan, input: &Input) -> Verdict {
    let found: Vec<Batch> = sqlx::query_as(
        "SELECT id::text, idempotency_key AS key, state, generation, reason, chunks, remaining, chunks_dead, input, ok,
                skipped, quarantined, cancelled, result
         FROM batch WHERE name = $1 ORDER BY idempotency_key",
    )
    .bind(format!("work-{number}"))
    .fetch_all(&env.pool)
    .await
    .map_err(broken)?;
    let last = found.last().ok_or("it was confirmed, and is not there")?;
    let control_report = last.reason.as_deref() == Some(crate::plan::REASON);
    must(last.state != "cancelled" || control_report, || {
        format!("the confirmed batch is cancelled: {:?}", last.reason)
    })?;
    let mut in_table = Vec::new();
    for batch in &found {
        must(batch.remaining == 0, || format!("{} has {} chunks remaining", batch.key, batch.remaining))?;
        let done = chunks(env, batch, plan, input).await?;
        reasons(env, batch, plan, input).await?;
        effects(&env.pool, batch).await?;
        match plan.into_table {
            true => in_table.extend(done),
            false if batch.state == "cancelled" => {}
            false => files(&env.file(&format!("out-{number}")), batch, &done)?,
        }
    }
    if plan.into_table {
        table(&env.pool, number, in_table).await?;
    }
    Ok(())
}

gristmill_store::row! {
    #[derive(Debug)]
    pub(crate) struct Chunk {
        seq: i64,
        state: String,
        items: i64,
        first: i64,
        /// A half of one that lost its workers.
        half: bool,
        /// Its one item is set aside instead of being worked on.
        condemned: bool,
    }
}

/// The chunks, the counts, the quarantine and the result. Gives the items that must be in the output: number and
/// amount in hundredths.
async fn chunks(env: &TestEnv, batch: &Batch, plan: &BatchPlan, input: &Input) -> Result<Vec<(i64, i64)>, String> {
    let query = "SELECT seq, state, items, (payload::json ->> 'first')::bigint AS first, half_of IS NOT NULL AS half,
                        payload::json ->> 'condemned' IS NOT NULL AS condemned
                 FROM job WHERE batch_id = $1::uuid AND seq IS NOT NULL ORDER BY seq";
    let chunks: Vec<Chunk> = sqlx::query_as(query).bind(&batch.id).fetch_all(&env.pool).await.map_err(broken)?;
    let seqs = sqlx::query_scalar("SELECT seq FROM result WHERE batch_id = $1::uuid ORDER BY seq");
    let seqs: Vec<i64> = seqs.bind(&batch.id).fetch_all(&env.pool).await.map_err(broken)?;
    let aside = sqlx::query_scalar("SELECT position FROM quarantine WHERE batch_id = $1::uuid ORDER BY position");
    let aside: Vec<i64> = aside.bind(&batch.id).fetch_all(&env.pool).await.map_err(broken)?;
    weigh(batch, &chunks, &seqs, &aside, plan.chunk, input)
}

/// A culprit is set aside with what refused it as its reason; no other item of a chunk that is done is.
async fn reasons(env: &TestEnv, batch: &Batch, plan: &BatchPlan, input: &Input) -> Verdict {
    let query = "SELECT q.position, q.reason FROM quarantine q WHERE q.batch_id = $1::uuid";
    let aside: Vec<(i64, String)> = sqlx::query_as(query).bind(&batch.id).fetch_all(&env.pool).await.map_err(broken)?;
    let said = match (plan.through_program, plan.through_service) {
        (true, _) => "the program",
        (_, true) => "the service answers 500",
        _ => "check constraint",
    };
    for (position, reason) in aside {
        let culprit = u64::try_from(position).is_ok_and(|row| input.culprits.contains(&row));
        // An item whose worker died with it in hand, again and again, is set aside for that.
        let right = !culprit || reason.contains(said) || reason.contains("its worker died");
        must(right, || format!("culprit {position} is set aside because {reason:?}, which says nothing of {said}"))?;
    }
    Ok(())
}

/// Judges a batch by its chunks, the numbers of its results and the items set aside. Gives the items that must be in
/// the output.
pub(crate) fn weigh(
    batch: &Batch,
    chunks: &[Chunk],
    seqs: &[i64],
    aside: &[i64],
    size: u64,
    input: &Input,
) -> Result<Vec<(i64, i64)>, String> {
    let size = usize::try_from(size).unwrap_or(1);
    let slices: Vec<&[Option<i64>]> = input.rows.chunks(size).collect();
    let whole = batch.state != "cancelled";
    let planned = chunks.iter().filter(|chunk| !chunk.half).count();
    must(!whole || planned == slices.len(), || format!("{planned} chunks of {}", slices.len()))?;
    let (mut ok, mut dirty, mut dead, mut cancelled, mut dead_chunks) = (Vec::new(), BTreeSet::new(), 0, 0, 0);
    let mut covered = BTreeSet::new();
    for (number, chunk) in chunks.iter().enumerate() {
        // One that was split has no items any more: its halves have them.
        let split = chunk.state == "cancelled" && chunk.items == 0;
        if !chunk.half {
            let slice = slices.get(number).ok_or("more chunks than the input has")?;
            let right = chunk.seq == number as i64 && (split || chunk.items == slice.len() as i64);
            must(right && chunk.first == (number * size) as i64, || format!("{chunk:?} at {number}"))?;
        }
        for row in chunk.first..chunk.first + chunk.items {
            must(covered.insert(row), || format!("item {row} is in two chunks"))?;
            let amount = usize::try_from(row).ok().and_then(|row| input.rows.get(row)).ok_or("more items than rows")?;
            match (chunk.state.as_str(), amount) {
                ("done", Some(amount)) if !chunk.condemned => ok.push((row, *amount)),
                ("done", _) => drop(dirty.insert(row)),
                ("dead", _) => dead += 1,
                ("cancelled", _) => cancelled += 1,
                (other, _) => return Err(format!("chunk {number} is {other}")),
            }
        }
        dead_chunks += i64::from(chunk.state == "dead");
    }
    must(!whole || covered.len() == input.rows.len(), || format!("{} items are in chunks", covered.len()))?;
    let all = chunks.iter().map(|chunk| chunk.items).sum::<i64>();
    let expected = [all, ok.len() as i64, 0, dirty.len() as i64 + dead, cancelled, dead_chunks, chunks.len() as i64];
    let counted =
        [batch.input, batch.ok, batch.skipped, batch.quarantined, batch.cancelled, batch.chunks_dead, batch.chunks];
    must(counted == expected, || {
        format!(
            "{}: input, ok, skipped, quarantined, cancelled, dead chunks, chunks are {counted:?}, not {expected:?}",
            batch.key
        )
    })?;
    // Exactly one result for each chunk that is done, and none for any other.
    let done: Vec<i64> = chunks.iter().filter(|chunk| chunk.state == "done").map(|chunk| chunk.seq).collect();
    must(seqs == done, || format!("results of chunks {seqs:?}, but {done:?} are done"))?;
    // Each dirty row of a done chunk is set aside exactly once.
    must(aside.iter().eq(&dirty), || format!("quarantined are {aside:?}, not {dirty:?}"))?;
    if whole {
        result(batch, &ok)?;
    }
    Ok(ok)
}

/// The merged result against a plain sum.
fn result(batch: &Batch, ok: &[(i64, i64)]) -> Verdict {
    let result: Value = serde_json::from_str(batch.result.as_deref().unwrap_or("null")).unwrap_or_default();
    let rows = result["rows"].as_u64().unwrap_or(0);
    let total: i64 = ok.iter().map(|(_, amount)| amount).sum();
    let merged = result["total"].as_str().map_or(Ok(0), hundredths)?;
    must(rows == ok.len() as u64 && merged == total, || {
        format!("the result is {result}, not {} rows and {total} hundredths", ok.len())
    })
}

fn hundredths(text: &str) -> Result<i64, String> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let bad = || format!("`{text}` is no amount with two decimals");
    let (part, rest) = part.split_at(part.len().min(2));
    if rest.chars().any(|digit| digit != '0') {
        return Err(bad());
    }
    let part: i64 = format!("{part:0<2}").parse().map_err(|_| bad())?;
    Ok(whole.parse::<i64>().map_err(|_| bad())? * 100 + part)
}

/// One aggregate and one email for each generation; none for a batch that was cancelled.
async fn effects(pool: &PgPool, batch: &Batch) -> Verdict {
    let count = |kind: &'static str| async move {
        // One that somebody has cancelled by itself had come into being all the same.
        let query = "SELECT count(*) FROM job WHERE batch_id = $1::uuid AND kind = $2 AND ($3 OR state <> 'cancelled')";
        let whole = batch.state != "cancelled";
        let counted = sqlx::query_scalar::<_, i64>(query).bind(&batch.id).bind(kind).bind(whole);
        counted.fetch_one(pool).await.map_err(broken)
    };
    let expected = if batch.state == "cancelled" { 0 } else { i64::from(batch.generation) + 1 };
    let (aggregates, emails) = (count("aggregate").await?, count("email").await?);
    // An aggregate that was through before its batch was cancelled would have ended the batch.
    must(aggregates == expected, || format!("{} has {aggregates} aggregates, not {expected}", batch.key))?;
    must(emails == expected, || format!("{} has {emails} emails, not {expected}", batch.key))
}

/// What the manifest lists is there, as it says, and holds each item exactly once.
pub(crate) fn files(folder: &Path, batch: &Batch, expected: &[(i64, i64)]) -> Verdict {
    let path = folder.join(&batch.id).join("manifest.json");
    let text = std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let manifest: Value = serde_json::from_slice(&text).map_err(|error| format!("the manifest: {error}"))?;
    let mut items = Vec::new();
    for part in manifest["parts"].as_array().into_iter().flatten() {
        let path = folder.join(part["path"].as_str().unwrap_or_default());
        let bytes = std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let sum = hex::encode(Sha256::digest(&bytes));
        must(part["sha256"] == sum.as_str(), || format!("{} has another content than listed", path.display()))?;
        for line in String::from_utf8_lossy(&bytes).lines() {
            items.push(item(line)?);
        }
    }
    must(manifest["items"].as_u64() == Some(items.len() as u64), || "the manifest counts other items".to_owned())?;
    same(items, expected, "the files")
}

fn item(line: &str) -> Result<(i64, i64), String> {
    let item: Value = serde_json::from_str(line).map_err(|error| format!("`{line}`: {error}"))?;
    let text = |name: &str| match &item[name] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    Ok((text("id").parse().map_err(|_| format!("`{line}` has no id"))?, hundredths(&text("amount"))?))
}

/// The user's own table holds each item exactly once.
async fn table(pool: &PgPool, number: usize, expected: Vec<(i64, i64)>) -> Verdict {
    let query = format!("SELECT id, (amount * 100)::bigint FROM effect_{number}");
    let rows: Vec<(i64, i64)> = sqlx::query_as(sqlx::AssertSqlSafe(query)).fetch_all(pool).await.map_err(broken)?;
    same(rows, &expected, "the table")
}

/// The same items, each as often, by count, sum and the hash of the sorted set.
fn same(mut found: Vec<(i64, i64)>, expected: &[(i64, i64)], place: &str) -> Verdict {
    let mut expected = expected.to_vec();
    found.sort_unstable();
    expected.sort_unstable();
    let digest = |items: &[(i64, i64)]| hex::encode(Sha256::digest(format!("{items:?}")));
    must(digest(&found) == digest(&expected), || {
        let missing: Vec<_> = expected.iter().filter(|item| !found.contains(item)).take(5).collect();
        let twice: Vec<_> = found.windows(2).filter(|pair| pair[0] == pair[1]).take(5).collect();
        format!("{place} hold {} items, not {}; missing {missing:?}, twice {twice:?}", found.len(), expected.len())
    })
}

/// Statements that must find nothing, and what it means when they do.
const NOTHING: &[(&str, &str)] = &[
    ("a job is beyond its attempts", "SELECT id::text FROM job WHERE attempt > max_attempts"),
    ("a job is not final", "SELECT id::text FROM job WHERE state NOT IN ('done', 'dead', 'cancelled')"),
    ("a job is dead with attempts left and no permanent failure",
     "SELECT j.id::text FROM job j WHERE j.state = 'dead' AND j.attempt < j.max_attempts
        AND NOT EXISTS (SELECT 1 FROM attempt a WHERE a.job_id = j.id AND a.ending = 'permanent')"),
    ("a dead job has no attempt written down",
     "SELECT j.id::text FROM job j WHERE j.state = 'dead' AND NOT EXISTS (SELECT 1 FROM attempt a WHERE a.job_id = j.id)"),
    ("an attempt ended twice",
     "SELECT job_id || ' attempt ' || attempt FROM attempt WHERE ending NOT IN ('interrupted')
      GROUP BY job_id, attempt HAVING count(*) > 1"),
    ("two batches fired the same aggregate",
     "SELECT batch_id || ' generation ' || generation FROM job WHERE kind = 'aggregate' GROUP BY batch_id, generation
      HAVING count(*) > 1"),
    ("a queue's counter is not what it counts",
     "SELECT c.queue || ' ' || c.state FROM
        (SELECT tenant, queue, state, sum(jobs) AS jobs FROM queue_count GROUP BY 1, 2, 3) c
        FULL JOIN (SELECT tenant, queue, state, count(*) AS jobs FROM job GROUP BY 1, 2, 3) j USING (tenant, queue, state)
      WHERE COALESCE(c.jobs, 0) <> COALESCE(j.jobs, 0)"),
    ("something is in the outbox", "SELECT id::text FROM outbox"),
    ("a sent email's job is not done",
     "SELECT e.key FROM email e JOIN job j ON j.id = e.job_id WHERE e.state = 'sent' AND j.state NOT IN ('done', 'dead', 'cancelled')"),
    ("a worker that was stopped in order is still alive",
     "SELECT id::text FROM worker WHERE state = 'alive' AND lease_until > now() + interval '1 hour'"),
];

async fn everywhere(env: &TestEnv) -> Verdict {
    for (wrong, query) in NOTHING {
        let found: Vec<Option<String>> = sqlx::query_scalar(*query).fetch_all(&env.pool).await.map_err(broken)?;
        must(found.is_empty(), || format!("{wrong}: {found:?}"))?;
    }
    Ok(())
}

/// Each dead job has its copy on the queue of dead letters, and nobody else has.
async fn dead_letters(env: &TestEnv) -> Verdict {
    for queue in QUEUES {
        let jobs = "SELECT DISTINCT j.id::text FROM job j WHERE j.queue = $1 AND (j.state = 'dead' OR j.granted < j.max_attempts)";
        let dead: Vec<String> = sqlx::query_scalar(jobs).bind(queue).fetch_all(&env.pool).await.map_err(broken)?;
        let dead: BTreeSet<String> = dead.into_iter().collect();
        let copies = copies(env, queue).await.map_err(|error| format!("the oracle cannot look: {error}"))?;
        let right = if env.servers.forgets { copies.is_subset(&dead) } else { dead == copies };
        must(right, || format!("dead on {queue} are {dead:?}, their copies are of {copies:?}"))?;
    }
    Ok(())
}

/// Of which jobs there are copies on a queue of dead letters.
async fn copies(env: &TestEnv, queue: &str) -> lapin::Result<BTreeSet<String>> {
    let messages = drained(env, &env.dead(queue)).await?;
    Ok(messages.iter().map(|body| body["job_id"].as_str().unwrap_or_default().to_owned()).collect())
}

/// Takes all messages from a queue. What was read before an answer went missing counts.
async fn drained(env: &TestEnv, queue: &str) -> lapin::Result<Vec<Value>> {
    let (began, mut messages) = (Instant::now(), Vec::new());
    loop {
        match take(env, queue, &mut messages).await {
            Err(_) if began.elapsed() < BROKER_PATIENCE => tokio::time::sleep(BREATH).await,
            // A queue that was deleted and declared again under load may be left without a leader: RabbitMQ 3.10 then
            // takes and gives nothing on it. There, copies may be lost.
            Err(_) if env.servers.forgets => return Ok(messages),
            answer => return answer.map(|()| messages),
        }
    }
}

async fn take(env: &TestEnv, queue: &str, messages: &mut Vec<Value>) -> lapin::Result<()> {
    let connection = lapin::Connection::connect(&env.servers.amqp, lapin::ConnectionProperties::default()).await?;
    let passive = lapin::options::QueueDeclareOptions::durable().passive();
    let asked = connection.create_channel().await?;
    if asked.queue_declare(queue.into(), passive, lapin::types::FieldTable::default()).await.is_ok() {
        let options = lapin::options::BasicGetOptions { no_ack: true };
        while let Some(message) = asked.basic_get(queue.into(), options).await? {
            messages.push(serde_json::from_slice(&message.delivery.data).unwrap_or_default());
        }
    }
    // All is read.
    let _ = connection.close(200, "done".into()).await;
    Ok(())
}
