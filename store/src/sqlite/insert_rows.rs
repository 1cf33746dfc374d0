//! The statements that insert jobs: values of many rows as parameters, which cost half of what JSON does.

use std::fmt::Write;
use std::sync::LazyLock;

use super::job_row::JobRow;

/// A statement with its parameters.
type Query = sqlx::query::Query<'static, sqlx::Sqlite, sqlx::sqlite::SqliteArguments>;

/// How many rows one statement inserts at most. SQLite allows 32,766 parameters.
pub(super) const MAX: usize = 512;

/// How many parameters a row has.
const PARAMETERS: usize = 23;

/// How many rows the statements have room for. What is not bound is NULL, and a row without an id is no row: so few
/// statements do, each of which is prepared once.
const SIZES: [usize; 4] = [1, 8, 64, MAX];

/// A statement of each size, and the same for rows of which some may be there.
static PLAIN: LazyLock<[String; SIZES.len()]> = LazyLock::new(|| SIZES.map(|size| statement(size, "")));
static UNLESS_THERE: LazyLock<[String; SIZES.len()]> =
    LazyLock::new(|| SIZES.map(|size| statement(size, " ON CONFLICT DO NOTHING RETURNING id")));

fn statement(size: usize, end: &str) -> String {
    let row = format!("({})", vec!["?"; PARAMETERS].join(", "));
    let mut text = String::from(
        "WITH t (now) AS MATERIALIZED (SELECT ?),
        r (id, tenant, queue, lane, kind, state, max_attempts, timeout_ms, retry, payload, batch_id, seq, items, generation,
           idempotency_key, unique_key, trace, run_at, max_snoozes, version, unique_rule, unique_until, key) AS (VALUES ",
    );
    for index in 0..size {
        let comma = if index == 0 { "" } else { ", " };
        let _ = write!(text, "{comma}{row}");
    }
    let _ = write!(
        text,
        ")
        INSERT INTO job (id, tenant, queue, lane, kind, state, max_attempts, granted, timeout_ms, retry, payload,
                         batch_id, seq, items, generation, idempotency_key, unique_key, trace, run_at, max_snoozes, version,
                         unique_rule, unique_until, key, created_at, queued_at, finished_at, limited)
        SELECT r.id, r.tenant, r.queue, r.lane, r.kind, r.state, r.max_attempts, r.max_attempts, r.timeout_ms, r.retry,
               r.payload, r.batch_id, r.seq, r.items,
               CASE WHEN r.generation IS NOT NULL THEN r.generation WHEN r.batch_id IS NULL THEN 0
                    ELSE coalesce((SELECT b.generation FROM batch b WHERE b.id = r.batch_id), 0) END,
               r.idempotency_key, r.unique_key, r.trace, r.run_at, r.max_snoozes, r.version, r.unique_rule, r.unique_until,
               r.key, t.now, CASE r.state WHEN 'queued' THEN t.now END, CASE r.state WHEN 'cancelled' THEN t.now END,
               r.state = 'queued' AND (r.queue IN (SELECT name FROM managed WHERE scope = 'queue')
                                       OR r.kind IN (SELECT name FROM managed WHERE scope = 'kind'))
        FROM r CROSS JOIN t WHERE r.id IS NOT NULL{end}"
    );
    text
}

/// Inserts all of them, or none when one is there already.
pub(super) fn plain(rows: &[JobRow], now: i64) -> Query {
    bound(&PLAIN, rows, now)
}

/// Inserts those whose keys are free, and returns their ids.
pub(super) fn unless_there(rows: &[JobRow], now: i64) -> Query {
    bound(&UNLESS_THERE, rows, now)
}

fn bound(statements: &'static [String; SIZES.len()], rows: &[JobRow], now: i64) -> Query {
    let size = SIZES.iter().position(|size| *size >= rows.len()).unwrap_or(SIZES.len() - 1);
    let mut query = sqlx::query(sqlx::AssertSqlSafe(statements[size].as_str())).bind(now);
    for row in rows {
        let unique = row.unique.as_ref();
        query = query
            .bind(row.id.0)
            .bind(row.tenant.clone())
            .bind(row.queue.clone())
            .bind(row.priority.rank())
            .bind(row.kind.clone())
            .bind(row.state.as_str())
            .bind(row.max_attempts)
            .bind(row.timeout_ms)
            .bind(row.retry.clone())
            .bind(row.payload.clone())
            .bind(row.batch.map(|batch| batch.0))
            .bind(row.seq)
            .bind(i64::try_from(row.items).unwrap_or(i64::MAX))
            .bind(row.generation)
            .bind(row.idempotency_key.clone())
            .bind(unique.map(|unique| unique.key.clone()))
            .bind(row.trace.clone())
            .bind(row.run_at)
            .bind(row.max_snoozes)
            .bind(row.version)
            .bind(unique.and_then(|unique| unique.rule.clone()))
            .bind(unique.and_then(|unique| unique.until))
            .bind(row.key.clone());
    }
    query
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_group_has_a_statement_with_room_for_it_and_few_parameters_enough() {
        const { assert!(MAX * PARAMETERS < 32_766) };
        for (size, statement) in SIZES.into_iter().zip(PLAIN.iter()) {
            assert_eq!(statement.matches('?').count(), 1 + size * PARAMETERS);
        }
    }
}
