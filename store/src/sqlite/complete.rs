//! Complete: workers' attempts end.

use std::collections::HashMap;

use gristmill_core::id::{JobId, WorkerId};
use serde_json::Value;
use sqlx::AssertSqlSafe;

use super::transition::Transition;
use super::{SqliteStore, error, row};
use crate::check;
use crate::error::{Result, StoreError};
use crate::row_search::{Refusal, RowSearch};
use crate::sql::triggers;
use crate::{Completion, RefusedRow, SqlRows};

/// Which attempts hold the jobs now.
pub(super) async fn holders(t: &mut Transition<'_>, jobs: &[JobId]) -> Result<HashMap<JobId, (u32, WorkerId)>> {
    if jobs.is_empty() {
        return Ok(HashMap::new());
    }
    let statement = "
        SELECT id, attempt, worker_id FROM job
        WHERE state = 'running' AND id IN (SELECT unhex(value, '-') FROM json_each(?1))";
    let rows = t.rows(sqlx::query(statement).bind(check::json(jobs)?)).await?;
    rows.iter()
        .map(|row| Ok((row::id(row, "id")?, (row::number(row, "attempt")?, row::id(row, "worker_id")?))))
        .collect()
}

/// Records how a batch ends, guarded by its state and generation; returns whether the completion's further jobs are
/// wanted. What an aggregate enqueues reports that ending, and is left out with it when the guard does not hold.
pub(super) async fn end_batch(t: &mut Transition<'_>, completion: &Completion) -> Result<bool> {
    let Some(end) = &completion.batch_end else { return Ok(true) };
    let statement = "
        UPDATE batch SET state = ?3, result = ?4, finished_at = ?6,
            reason = coalesce(?5, CASE ?3 WHEN 'halted' THEN reason END)
        WHERE id = ?1 AND state = 'aggregating' AND generation = ?2";
    let query = sqlx::query(statement)
        .bind(end.batch.0)
        .bind(end.generation)
        .bind(end.state.as_str())
        .bind(check::json(&end.result)?)
        .bind(end.reason.as_deref().map(|reason| check::plain(reason, check::REASON_CHARS_MAX)))
        .bind(t.now);
    let ended = t.run(query).await? > 0;
    if ended {
        // An empty change, so that the report contains where the batch stands now.
        t.delta(end.batch);
        triggers::batch_ended(t, end.batch, end.state).await?;
    }
    Ok(ended)
}

/// Writes rows into the user's own table.
pub(super) async fn write_sink(t: &mut Transition<'_>, sql: &SqlRows) -> Result<()> {
    if sql.rows.is_empty() {
        return Ok(());
    }
    let (statement, values) = (sink_statement(sql)?, sink_values(sql)?);
    t.run_or(sqlx::query(AssertSqlSafe(statement)).bind(values), error::sink).await?;
    Ok(())
}

/// The values of the rows, in the order of the columns.
fn sink_values(sql: &SqlRows) -> Result<String> {
    let values: Vec<Vec<&Value>> = sql
        .rows
        .iter()
        .map(|row| sql.columns.iter().map(|column| row.get(column).unwrap_or(&Value::Null)).collect())
        .collect();
    check::json(&values)
}

/// Searches for the rows that the user's own table refuses. Nothing is committed.
pub(super) async fn refused_rows(store: &SqliteStore, sql: &SqlRows) -> Result<Vec<RefusedRow>> {
    let mut t = Transition::begin(store).await?;
    let mut search = RowSearch::new(sql.rows.len());
    while let Some(piece) = search.next_piece() {
        let rows = sql.piece(piece.clone());
        t.run(sqlx::query("SAVEPOINT piece")).await?;
        match write_piece(&mut t, &rows).await? {
            None => search.taken(),
            Some(refusal) => {
                t.run(sqlx::query("ROLLBACK TO piece")).await?;
                search.refused(piece, refusal);
            }
        }
        t.run(sqlx::query("RELEASE piece")).await?;
    }
    search.found()
}

async fn write_piece(t: &mut Transition<'_>, rows: &SqlRows) -> Result<Option<Refusal>> {
    let (statement, values) = (sink_statement(rows)?, sink_values(rows)?);
    let refusal = t.refusal(sqlx::query(AssertSqlSafe(statement)).bind(values)).await;
    let Err(refused) = refusal else { return Ok(None) };
    error::refusal(refused).map(Some)
}

/// Plans the statement that writes the rows: this looks up the table and its columns.
pub(super) async fn try_sink(store: &SqliteStore, table: &str, columns: &[String]) -> Result<()> {
    let rows = SqlRows { table: table.to_owned(), columns: columns.to_vec(), rows: Vec::new() };
    let statement = format!("EXPLAIN {}", sink_statement(&rows)?);
    let planned = sqlx::query(AssertSqlSafe(statement)).bind("[]").fetch_all(&store.readers).await;
    planned.map(drop).map_err(error::sink)
}

fn sink_statement(sql: &SqlRows) -> Result<String> {
    if sql.columns.is_empty() {
        return Err(StoreError::Invalid("the rows for a table have no columns; name at least one".to_owned()));
    }
    let columns: Vec<String> = sql.columns.iter().map(|column| quoted(column)).collect();
    let values: Vec<String> = (0..columns.len()).map(|index| format!("value ->> {index}")).collect();
    // A column may have any name, so it is quoted; the values go by position, as parameters.
    Ok(format!(
        "INSERT INTO {} ({}) SELECT {} FROM json_each(?1) ORDER BY key",
        sql.table.split('.').map(quoted).collect::<Vec<_>>().join("."),
        columns.join(", "),
        values.join(", ")
    ))
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
