//! Complete: attempts are closed, with everything that follows from it, in one transaction.

use std::collections::{HashMap, HashSet};

use gristmill_core::chunk::ChunkResult;
use gristmill_core::history::Passed;
use gristmill_core::id::{JobId, WorkerId};
use gristmill_core::job::{Fence, JobState};
use gristmill_core::settle::{Ending, Verdict};
use sqlx::AssertSqlSafe;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::create;
use super::fan_in::{self, Delta, Deltas};
use super::fault::{Fault, Outcome, in_words_of_sink, refusal_of_sink};
use super::values::{big, int, millis, plain, small};
use super::work::Work;
use crate::check;
use crate::error::{Result, StoreError};
use crate::group;
use crate::row;
use crate::row_search::RowSearch;
use crate::sql::{events, mailing, triggers};
use crate::{BatchEnd, BatchProgress, CompleteReport, Completion, RefusedRow, SqlRows};

/// The bounds between the buckets of times, in seconds: those of `gristmill_core::history`.
macro_rules! bounds {
    () => {
        "0.001,0.002,0.003,0.005,0.007,0.01,0.015,0.02,0.03,0.05,0.07,0.1,0.15,0.2,0.3,0.5,0.7,1,1.5,2,\
             3,5,7,10,15,20,30,45,60,90,120,180,300,420,600,900,1200,1800,2700,3600,5400,7200,10800,18000,\
             28800,43200,86400"
    };
}

/// The buckets of the times that a job waited and ran, as its attempt ends.
macro_rules! buckets {
    () => {
        concat!(
            "width_bucket(date_part('epoch', j.started_at - j.queued_at), '{",
            $crate::postgres::complete::bounds!(),
            "}'::float8[])::smallint AS wait, width_bucket(date_part('epoch', now() - j.started_at), '{",
            $crate::postgres::complete::bounds!(),
            "}'::float8[])::smallint AS run"
        )
    };
}
pub(super) use {bounds, buckets};

/// The fence is in the WHERE: the job still runs, as this attempt, under this incarnation. A job that has a worker is
/// running (a CHECK of the schema); adding `state = 'running'` would offer the planner the index of running jobs, which
/// it takes for tiny and would read whole for each row. The rows come in the order of their ids, and so do the locks.
const SETTLE: &str = concat!(
    "
UPDATE job j SET
    state = i.state,
    attempt = j.attempt - CASE WHEN i.release THEN 1 ELSE 0 END,
    max_attempts = j.max_attempts + CASE WHEN i.snooze THEN 1 ELSE 0 END,
    snoozes = j.snoozes + CASE WHEN i.snooze THEN 1 ELSE 0 END,
    worker_id = NULL,
    deadline = NULL,
    output = i.output,
    error = COALESCE(i.error, CASE WHEN i.state = 'done' THEN NULL ELSE j.error END),
    run_at = CASE WHEN i.state = 'retry' THEN now() + i.wait_ms * interval '1 millisecond' END,
    queued_at = CASE WHEN i.state = 'queued' THEN now() ELSE j.queued_at END,
    finished_at = CASE WHEN i.state IN ('done', 'dead') THEN now() END
FROM unnest($1::uuid[], $2::int[], $3::uuid[], $4::text[], $5::bool[], $6::bigint[], $7::text[], $8::text[],
            $9::bool[]) AS i (id, attempt, worker_id, state, release, wait_ms, error, output, snooze)
WHERE j.id = i.id AND j.attempt = i.attempt AND j.worker_id = i.worker_id
RETURNING j.id, j.tenant, j.queue, j.lane, j.batch_id, j.seq, j.items, j.generation,
    j.attempt >= j.max_attempts AS spent, j.kind, ",
    buckets!()
);

const HOLDS: &str = "SELECT TRUE FROM job WHERE id = $1 AND attempt = $2 AND worker_id = $3";

/// How long the user's own table may be locked before its rows are offered again later: shorter than the time in which
/// a stop, or an outage, should be noticed.
const SINK_WAIT: &str = "SET LOCAL lock_timeout = '2s'";

/// Constraints that the user's own table defers are checked when its rows are written: at the commit their refusal could
/// not be told from one of ours, which are never deferred.
const CHECK_NOW: &str = "SET CONSTRAINTS ALL IMMEDIATE";

const SINK_WAITED: &str = "SET CONSTRAINTS ALL IMMEDIATE; SET LOCAL lock_timeout TO DEFAULT";

const HOLDERS: &str = "
SELECT id, attempt, worker_id FROM job WHERE id = ANY($1) AND worker_id IS NOT NULL ORDER BY id FOR UPDATE";

const ATTEMPTS: &str = "
INSERT INTO attempt (job_id, attempt, worker_id, started_at, ended_at, ending, error)
SELECT i.id, i.attempt, i.worker_id, j.started_at, now(), i.ending, i.error
FROM unnest($1::uuid[], $2::int[], $3::uuid[], $4::text[], $5::text[]) AS i (id, attempt, worker_id, ending, error)
JOIN job j ON j.id = i.id";

const RESULTS: &str = "
INSERT INTO result (batch_id, seq, generation, job_id, result)
SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::int[], $4::uuid[], $5::text[])";

const QUARANTINE: &str = "
INSERT INTO quarantine (tenant, batch_id, seq, generation, position, line, stage, reason, item, created_at)
SELECT i.*, now()
FROM unnest($1::text[], $2::uuid[], $3::bigint[], $4::int[], $5::bigint[], $6::bigint[], $7::text[], $8::text[],
            $9::text[]) AS i";

const BATCH_END: &str = "
UPDATE batch SET state = $3, result = $4, reason = COALESCE($5, CASE WHEN $3 = 'halted' THEN reason END), finished_at = now()
WHERE id = $1 AND state = 'aggregating' AND generation = $2
RETURNING id, state, generation, input, ok, skipped, quarantined, cancelled, remaining, halting, tolerate";

/// One attempt to be closed, in terms of the columns. The worker's completions and the scheduler's rescue both become
/// this.
pub(super) struct Closing {
    pub(super) fence: Fence,
    pub(super) ending: &'static str,
    pub(super) verdict: Verdict,
    pub(super) error: Option<String>,
    pub(super) output: Option<String>,
}

impl Closing {
    fn of(completion: &Completion) -> Result<Self, StoreError> {
        Ok(Self {
            fence: completion.fence,
            ending: completion.ending.as_str(),
            verdict: completion.verdict,
            error: completion.error.as_deref().map(|text| check::plain(text, check::ERROR_CHARS_MAX)),
            output: output(completion)?,
        })
    }

    /// An attempt that cannot begin, because its row cannot be read.
    pub(super) fn unreadable(fence: Fence, error: &StoreError) -> Self {
        Self {
            fence,
            ending: Ending::Permanent.as_str(),
            verdict: Verdict::Dead,
            error: Some(check::unreadable(error)),
            output: None,
        }
    }

    fn state(&self) -> JobState {
        self.verdict.state()
    }

    fn wait_ms(&self) -> Option<i64> {
        match self.verdict {
            Verdict::Retry { after } | Verdict::Snooze { after } => Some(millis(after)),
            Verdict::Done | Verdict::Requeue | Verdict::Release | Verdict::Dead | Verdict::Revoked => None,
        }
    }
}

/// The job's output, as its column takes it.
pub(super) fn output(completion: &Completion) -> Result<Option<String>, StoreError> {
    completion.output.as_ref().map(check::json).transpose()
}

row! {
    /// A job that has moved.
    pub(super) struct Moved {
        pub(super) id: Uuid,
        pub(super) tenant: String,
        pub(super) queue: String,
        pub(super) lane: i16,
        pub(super) batch_id: Option<Uuid>,
        pub(super) seq: Option<i64>,
        pub(super) items: i64,
        pub(super) generation: i32,
        /// Its last attempt is spent.
        spent: bool,
        kind: String,
        /// The buckets of the times that it waited and ran.
        wait: Option<i16>,
        run: Option<i16>,
    }
}

/// Complete.
pub(super) async fn complete(work: &mut Work<'_>, completions: &&[Completion]) -> Outcome<CompleteReport> {
    check::completions(completions)?;
    if completions.is_empty() {
        return Ok(CompleteReport::default());
    }
    if let Some(fenced) = sink_first(work, completions).await? {
        return Ok(CompleteReport { fenced: vec![fenced], ..CompleteReport::default() });
    }
    let contested = group::contested(completions);
    let holders = holders(work, &contested).await?;
    let (mut order, mut fenced) = group::one_each(completions, &contested, &holders);
    let given = order.clone();
    order.sort_by_key(|completion| completion.fence.job);
    let closings = order.iter().map(|completion| Closing::of(completion)).collect::<Result<Vec<_>, _>>()?;
    let moved = settle(work, &closings).await?;
    let held: HashMap<Uuid, &Moved> = moved.iter().map(|row| (row.id, row)).collect();
    let done: Vec<(&Completion, &Moved)> = order
        .iter()
        .filter_map(|completion| held.get(&completion.fence.job.0).map(|row| (*completion, *row)))
        .collect();
    for (completion, row) in &done {
        check::not_spent(completion.fence.job, completion.verdict, row.spent)?;
    }
    // In the order in which they were given: of two failures the first one is reported, and of two jobs that want the
    // same key the first one gets it.
    let given: Vec<(&Completion, &Moved)> = given
        .iter()
        .filter_map(|completion| held.get(&completion.fence.job.0).map(|row| (*completion, *row)))
        .collect();
    write_results(work, &done).await?;
    write_quarantine(work, &given).await?;
    // Before the batch's row is locked: what moves a recipient holds the count first.
    for (completion, _) in given.iter().filter(|(completion, _)| completion.verdict == Verdict::Done) {
        if let Some(messages) = &completion.messages {
            mailing::enqueue(work, messages).await?;
        }
    }
    if done.is_empty() && completions.iter().any(writes_rows) {
        // The fence has been lost since the rows were written: they go with this transaction.
        return Err(Fault::Changed);
    }
    let mut progress = fan_in::count_down(work, &deltas(&done)?).await?;
    let mut ended_before = HashSet::new();
    for (completion, _) in &done {
        if !end_batch(work, completion, &mut progress).await? {
            ended_before.insert(completion.fence.job);
        }
    }
    for (completion, _) in given.iter().filter(|(completion, _)| !ended_before.contains(&completion.fence.job)) {
        create::insert(work, &completion.follow).await?;
        events::published::emit(work, &completion.events).await?;
    }
    let settled = done.len() as u64;
    let lost = order.iter().filter(|completion| !held.contains_key(&completion.fence.job.0));
    fenced.extend(lost.map(|completion| completion.fence));
    Ok(CompleteReport { settled, fenced, dispatched: work.close().await?, progress })
}

/// Writes the rows for the user's own table, before any row of ours is locked: while that table is locked by another
/// session, the job stays within reach of a cancel and of a [`hold`](super::worker::hold). Returns the fence when it
/// does not hold: then nothing is written. It is checked again, with a lock, when the attempt is closed.
async fn sink_first(work: &mut Work<'_>, completions: &[Completion]) -> Outcome<Option<Fence>> {
    let [completion @ Completion { sql: Some(rows), fence, verdict, .. }] = completions else { return Ok(None) };
    if !writes_rows(completion) {
        return Ok(None);
    }
    let holds: Option<bool> = sqlx::query_scalar(HOLDS)
        .bind(fence.job.0)
        .bind(int(fence.attempt))
        .bind(fence.worker.0)
        .fetch_optional(&mut *work.conn)
        .await?;
    if holds.is_none() || *verdict == Verdict::Revoked {
        return Ok(Some(*fence));
    }
    // In a transaction of the user's own, the user decides how long to wait, and when constraints are checked.
    if work.is_the_users() {
        write_sink(work.conn, rows).await?;
    } else {
        sqlx::raw_sql(SINK_WAIT).execute(&mut *work.conn).await?;
        write_sink(work.conn, rows).await?;
        let refused = |error| in_words_of_sink(error, &rows.table);
        sqlx::raw_sql(SINK_WAITED).execute(&mut *work.conn).await.map_err(refused)?;
    }
    Ok(None)
}

fn writes_rows(completion: &Completion) -> bool {
    completion.sql.as_ref().is_some_and(|rows| !rows.rows.is_empty())
}

/// Which attempts hold the jobs now; their rows stay locked until the commit.
async fn holders(work: &mut Work<'_>, jobs: &[JobId]) -> Outcome<HashMap<JobId, (u32, WorkerId)>> {
    if jobs.is_empty() {
        return Ok(HashMap::new());
    }
    let ids: Vec<Uuid> = jobs.iter().map(|job| job.0).collect();
    let rows: Vec<(Uuid, i32, Uuid)> = sqlx::query_as(HOLDERS).bind(ids).fetch_all(&mut *work.conn).await?;
    Ok(rows.into_iter().map(|(id, attempt, worker)| (JobId(id), (small(attempt), WorkerId(worker)))).collect())
}

/// Closes the attempts whose fence holds: the jobs, the rows of attempts that did not end well, the ledger.
pub(super) async fn settle(work: &mut Work<'_>, closings: &[Closing]) -> Outcome<Vec<Moved>> {
    let column = |pick: fn(&Closing) -> Uuid| closings.iter().map(pick).collect::<Vec<Uuid>>();
    let mut moved: Vec<Moved> = sqlx::query_as(SETTLE)
        .bind(column(|closing| closing.fence.job.0))
        .bind(closings.iter().map(|closing| int(closing.fence.attempt)).collect::<Vec<_>>())
        .bind(column(|closing| closing.fence.worker.0))
        .bind(closings.iter().map(|closing| closing.state().as_str()).collect::<Vec<_>>())
        .bind(closings.iter().map(|closing| closing.verdict == Verdict::Release).collect::<Vec<_>>())
        .bind(closings.iter().map(Closing::wait_ms).collect::<Vec<_>>())
        .bind(closings.iter().map(|closing| closing.error.as_deref()).collect::<Vec<_>>())
        .bind(closings.iter().map(|closing| closing.output.as_deref()).collect::<Vec<_>>())
        .bind(closings.iter().map(|closing| matches!(closing.verdict, Verdict::Snooze { .. })).collect::<Vec<_>>())
        .fetch_all(&mut *work.conn)
        .await?;
    moved.sort_by_key(|row| row.id);
    let held: HashMap<Uuid, &Moved> = moved.iter().map(|row| (row.id, row)).collect();
    for closing in closings {
        if let Some(row) = held.get(&closing.fence.job.0) {
            enter(work, closing.state(), row);
            if let Some(what) = Passed::of(closing.verdict) {
                work.flow().count((&row.tenant, &row.queue, &row.kind), what, row.wait, row.run);
            }
        }
    }
    write_attempts(work, closings, &held).await?;
    Ok(moved)
}

fn enter(work: &mut Work<'_>, state: JobState, row: &Moved) {
    work.moved(&row.tenant, &row.queue, JobState::Running, state);
    match state {
        JobState::Queued => work.claimable(&row.queue, row.lane, row.id),
        JobState::Dead => work.dead_letter(&row.queue, row.lane, row.id),
        JobState::Scheduled | JobState::Running | JobState::Retry | JobState::Done | JobState::Cancelled => {}
    }
}

async fn write_attempts(work: &mut Work<'_>, closings: &[Closing], held: &HashMap<Uuid, &Moved>) -> Outcome<()> {
    let bad: Vec<&Closing> = closings
        .iter()
        .filter(|closing| closing.ending != Ending::Done.as_str() && held.contains_key(&closing.fence.job.0))
        .collect();
    if bad.is_empty() {
        return Ok(());
    }
    sqlx::query(ATTEMPTS)
        .bind(bad.iter().map(|closing| closing.fence.job.0).collect::<Vec<_>>())
        .bind(bad.iter().map(|closing| int(closing.fence.attempt)).collect::<Vec<_>>())
        .bind(bad.iter().map(|closing| closing.fence.worker.0).collect::<Vec<_>>())
        .bind(bad.iter().map(|closing| closing.ending).collect::<Vec<_>>())
        .bind(bad.iter().map(|closing| closing.error.as_deref()).collect::<Vec<_>>())
        .execute(&mut *work.conn)
        .await?;
    Ok(())
}

/// The chunks among them that are done, each with its batch, its number and its result.
fn chunks<'a>(done: &[(&'a Completion, &'a Moved)]) -> Vec<(&'a Moved, Uuid, i64, &'a ChunkResult)> {
    done.iter()
        .filter(|(completion, _)| completion.verdict == Verdict::Done)
        .filter_map(|(completion, row)| Some((*row, row.batch_id?, row.seq?, completion.chunk.as_ref()?)))
        .collect()
}

async fn write_results(work: &mut Work<'_>, done: &[(&Completion, &Moved)]) -> Outcome<()> {
    let chunks = chunks(done);
    if chunks.is_empty() {
        return Ok(());
    }
    let results: Vec<String> =
        chunks.iter().map(|(_, _, _, chunk)| check::json(chunk)).collect::<Result<Vec<_>, _>>()?;
    sqlx::query(RESULTS)
        .bind(chunks.iter().map(|(_, batch, _, _)| *batch).collect::<Vec<_>>())
        .bind(chunks.iter().map(|(_, _, seq, _)| *seq).collect::<Vec<_>>())
        .bind(chunks.iter().map(|(row, _, _, _)| row.generation).collect::<Vec<_>>())
        .bind(chunks.iter().map(|(row, _, _, _)| row.id).collect::<Vec<_>>())
        .bind(results)
        .execute(&mut *work.conn)
        .await?;
    Ok(())
}

async fn write_quarantine(work: &mut Work<'_>, done: &[(&Completion, &Moved)]) -> Outcome<()> {
    let chunks = chunks(done);
    let items: Vec<_> = chunks
        .iter()
        .flat_map(|(row, batch, seq, chunk)| chunk.set_aside.iter().map(move |item| (*row, *batch, *seq, item)))
        .collect();
    if items.is_empty() {
        return Ok(());
    }
    let texts: Vec<String> = items.iter().map(|(_, _, _, item)| check::json(&item.item)).collect::<Result<_, _>>()?;
    sqlx::query(QUARANTINE)
        .bind(items.iter().map(|(row, _, _, _)| row.tenant.as_str()).collect::<Vec<_>>())
        .bind(items.iter().map(|(_, batch, _, _)| *batch).collect::<Vec<_>>())
        .bind(items.iter().map(|(_, _, seq, _)| *seq).collect::<Vec<_>>())
        .bind(items.iter().map(|(row, _, _, _)| row.generation).collect::<Vec<_>>())
        .bind(items.iter().map(|(_, _, _, item)| big(item.position)).collect::<Vec<_>>())
        .bind(items.iter().map(|(_, _, _, item)| item.line.map(big)).collect::<Vec<_>>())
        .bind(items.iter().map(|(_, _, _, item)| plain(&item.stage)).collect::<Vec<_>>())
        .bind(
            items.iter().map(|(_, _, _, item)| check::plain(&item.reason, check::REASON_CHARS_MAX)).collect::<Vec<_>>(),
        )
        .bind(texts)
        .execute(&mut *work.conn)
        .await?;
    Ok(())
}

fn deltas(done: &[(&Completion, &Moved)]) -> Result<Deltas, StoreError> {
    let mut deltas = Deltas::new();
    for (completion, row) in done {
        if let (Some(batch), Some(_)) = (row.batch_id, row.seq) {
            let chunk = completion.chunk.as_ref();
            add(deltas.entry(batch).or_default(), completion.verdict, row, chunk)?;
        }
    }
    Ok(deltas)
}

/// What one chunk's verdict changes in its batch.
pub(super) fn add(
    delta: &mut Delta,
    verdict: Verdict,
    row: &Moved,
    chunk: Option<&ChunkResult>,
) -> Result<(), StoreError> {
    match verdict {
        Verdict::Done => {
            delta.finished += 1;
            let chunk = check::counted(JobId(row.id), row.items, chunk)?;
            delta.ok += big(chunk.ok);
            delta.skipped += big(chunk.skipped);
            delta.quarantined += big(chunk.quarantined);
        }
        Verdict::Dead => {
            delta.finished += 1;
            delta.dead += 1;
            delta.quarantined += row.items;
        }
        Verdict::Retry { .. } => delta.retries += 1,
        Verdict::Requeue | Verdict::Release | Verdict::Snooze { .. } | Verdict::Revoked => {}
    }
    Ok(())
}

/// Records the batch's ending; returns whether the completion's further jobs are wanted. What an aggregate enqueues
/// reports that ending, and is left out with it when the guard does not hold.
async fn end_batch(work: &mut Work<'_>, completion: &Completion, progress: &mut Vec<BatchProgress>) -> Outcome<bool> {
    let Some(end) = &completion.batch_end else { return Ok(true) };
    let ended = write_end(work, end).await?;
    let wanted = ended.is_some();
    progress.extend(ended);
    Ok(wanted)
}

async fn write_end(work: &mut Work<'_>, end: &BatchEnd) -> Outcome<Option<BatchProgress>> {
    let row: Option<fan_in::ProgressRow> = sqlx::query_as(BATCH_END)
        .bind(end.batch.0)
        .bind(int(end.generation))
        .bind(end.state.as_str())
        .bind(check::json(&end.result)?)
        .bind(end.reason.as_deref().map(|reason| check::plain(reason, check::REASON_CHARS_MAX)))
        .fetch_optional(&mut *work.conn)
        .await?;
    if row.is_some() {
        triggers::batch_ended(work, end.batch, end.state).await?;
    }
    Ok(row.map(|row| row.progress()).transpose()?)
}

/// Writes rows into the user's own table. PostgreSQL itself converts each value to its column's type.
async fn write_sink(conn: &mut PgConnection, rows: &SqlRows) -> Outcome<()> {
    if rows.rows.is_empty() {
        return Ok(());
    }
    let sql = sink_statement(rows)?;
    let refused = |error| in_words_of_sink(error, &rows.table);
    sqlx::query(AssertSqlSafe(sql)).bind(check::json(&rows.rows)?).execute(conn).await.map_err(refused)?;
    Ok(())
}

/// Searches for the rows that the user's own table refuses. The caller rolls the transaction back.
pub(super) async fn refused_rows(work: &mut Work<'_>, sql: &&SqlRows) -> Outcome<Vec<RefusedRow>> {
    // Deferred constraints as well: at the commit they would not say which row it was.
    sqlx::raw_sql(SINK_WAIT).execute(&mut *work.conn).await?;
    sqlx::raw_sql(CHECK_NOW).execute(&mut *work.conn).await?;
    let mut search = RowSearch::new(sql.rows.len());
    while let Some(piece) = search.next_piece() {
        let rows = sql.piece(piece.clone());
        sqlx::raw_sql("SAVEPOINT piece").execute(&mut *work.conn).await?;
        let values = check::json(&rows.rows)?;
        let written = sqlx::query(AssertSqlSafe(sink_statement(&rows)?)).bind(values).execute(&mut *work.conn).await;
        match written {
            Ok(_) => search.taken(),
            Err(error) => {
                let refusal = refusal_of_sink(error, &sql.table)?;
                sqlx::raw_sql("ROLLBACK TO piece").execute(&mut *work.conn).await?;
                search.refused(piece, refusal);
            }
        }
        sqlx::raw_sql("RELEASE piece").execute(&mut *work.conn).await?;
    }
    Ok(search.found()?)
}

/// Plans the statement that writes the rows: this looks up the table and its columns, and asks for the right to insert.
pub(super) async fn try_sink(conn: &mut PgConnection, table: &str, columns: &[String]) -> Outcome<()> {
    let rows = SqlRows { table: table.to_owned(), columns: columns.to_vec(), rows: Vec::new() };
    let sql = format!("EXPLAIN {}", sink_statement(&rows)?);
    let refused = |error| in_words_of_sink(error, table);
    sqlx::query(AssertSqlSafe(sql)).bind("[]").execute(conn).await.map_err(refused)?;
    Ok(())
}

fn sink_statement(rows: &SqlRows) -> Result<String, StoreError> {
    if rows.columns.is_empty() {
        return Err(StoreError::Invalid("the rows for a table have no columns; name at least one".to_owned()));
    }
    let table = rows.table.split('.').map(quoted).collect::<Result<Vec<_>, _>>()?.join(".");
    let columns = rows.columns.iter().map(|column| quoted(column)).collect::<Result<Vec<_>, _>>()?.join(", ");
    Ok(format!(
        "INSERT INTO {table} ({columns}) SELECT {columns} FROM json_populate_recordset(NULL::{table}, $1::json)"
    ))
}

/// A name as a quoted identifier, whatever it contains.
fn quoted(name: &str) -> Result<String, StoreError> {
    if name.is_empty() || name.contains('\0') {
        return Err(StoreError::Sink(format!("`{}` is not a name of a table or a column", name.replace('\0', "\\0"))));
    }
    Ok(format!("\"{}\"", name.replace('"', "\"\"")))
}

/// The fence as the database stores it.
pub(super) fn fence(job: Uuid, attempt: u32, worker: Uuid) -> Fence {
    Fence { job: JobId(job), attempt, worker: WorkerId(worker) }
}

#[cfg(test)]
mod tests {
    use gristmill_core::history::BOUNDS_MS;

    use super::*;

    #[test]
    fn both_databases_and_the_core_know_the_same_bounds() {
        let here: Vec<u64> = bounds!()
            .split(',')
            .map(|bound| (bound.parse::<f64>().expect("a number") * 1_000.0).round() as u64)
            .collect();
        assert_eq!(here, BOUNDS_MS);
    }

    fn rows(table: &str, column: &str) -> SqlRows {
        SqlRows { table: table.to_owned(), columns: vec![column.to_owned()], rows: Vec::new() }
    }

    #[test]
    fn names_of_tables_and_columns_cannot_break_out_of_their_quotes() {
        let sql = sink_statement(&rows("shop.lines\"; DROP TABLE job; --", "a\"b")).expect("names");
        assert!(
            sql.starts_with(r#"INSERT INTO "shop"."lines""; DROP TABLE job; --" ("a""b") SELECT "a""b" FROM"#),
            "{sql}"
        );
    }

    #[test]
    fn a_name_that_postgres_cannot_hold_is_refused() {
        for name in ["", "a\0b", "shop."] {
            assert!(matches!(sink_statement(&rows(name, "a")), Err(StoreError::Sink(_))), "{name:?}");
        }
    }
}
