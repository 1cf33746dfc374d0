//! A history of finished jobs, put in by the database itself: real jobs are run first, and their rows are multiplied.
//! So the history has whatever a finished job leaves, and goes on to when that changes.

use std::path::Path;
use std::time::Duration;

use crate::fault::Result;
use crate::own::enqueue::backlog;
use crate::own::tables::Tables;
use crate::pace::until;
use crate::size::{Size, WARM_UP_FIRST};
use crate::stand::Stand;

/// How many jobs are run and then multiplied.
const PATTERN: u64 = 1_000;

/// How many times the pattern is put in by one statement.
const COPIES_AT_ONCE: u64 = 100;

/// The columns of a job, with their types.
const COLUMNS: &str = "
SELECT column_name::text, data_type::text FROM information_schema.columns
WHERE table_schema = current_schema() AND table_name = 'job' AND is_generated = 'NEVER' ORDER BY ordinal_position";

const COLUMNS_OF_SQLITE: &str = "SELECT name, type FROM pragma_table_xinfo('job') WHERE hidden = 0";

/// The value of a column in copy number `n` of a row.
fn value(name: &str, kind: &str, postgres: bool) -> String {
    match (name, postgres) {
        // The time in it stays, and what is random is random anew.
        ("id", true) => "overlay(t.id::text placing left(c.hash, 3) || '-8' || substr(c.hash, 4, 3) || '-' || \
                         substr(c.hash, 7, 12) from 16)::uuid"
            .to_owned(),
        ("id", false) => "CAST(substr(t.id, 1, 8) || randomblob(8) AS BLOB)".to_owned(),
        (_, true) if kind.starts_with("timestamp") => format!("t.{name} - n * interval '1 second'"),
        _ => format!("t.{name}"),
    }
}

/// The statement that puts in the copies `from` to `to`.
fn copies(columns: &[(String, String)], postgres: bool, from: u64, to: u64) -> String {
    let names: Vec<&str> = columns.iter().map(|(name, _)| name.as_str()).collect();
    let values: Vec<String> = columns.iter().map(|(name, kind)| value(name, kind, postgres)).collect();
    let (names, values, table) = (names.join(", "), values.join(", "), "job");
    if postgres {
        format!(
            "INSERT INTO {table} ({names}) SELECT {values} FROM bench_pattern t CROSS JOIN generate_series({from}, {to}) \
             AS n CROSS JOIN LATERAL (SELECT md5(t.id::text || n) AS hash) AS c"
        )
    } else {
        format!(
            "INSERT INTO {table} ({names}) WITH RECURSIVE s(n) AS (VALUES({from}) UNION ALL SELECT n + 1 FROM s WHERE \
             n < {to}) SELECT {values} FROM bench_pattern t CROSS JOIN s"
        )
    }
}

/// Puts in so many finished jobs, rounded up to whole patterns, and checks that all counters agree with their rows.
///
/// # Errors
///
/// Those of the database, and when the counters do not agree.
pub async fn put_in(stand: &Stand, jobs: u64) -> Result<()> {
    let (client, tables) = (stand.client().await?, Tables::of(stand).await?);
    backlog(&client, WARM_UP_FIRST, u32::try_from(PATTERN)?).await?;
    client.close().await;
    work_off(stand, Size::of(u32::try_from(PATTERN)?)).await?;
    let postgres = tables.is_postgres();
    let columns = tables.pairs(if postgres { COLUMNS } else { COLUMNS_OF_SQLITE }).await?;
    tables.run("CREATE TABLE bench_pattern AS SELECT * FROM job WHERE state = 'done'".to_owned()).await?;
    let copies_in_all = jobs.div_ceil(PATTERN).saturating_sub(1);
    let (mut from, mut added) = (1, 0);
    while from <= copies_in_all {
        let to = (from + COPIES_AT_ONCE - 1).min(copies_in_all);
        added += tables.run(copies(&columns, postgres, from, to)).await?;
        from = to + 1;
    }
    let one = if postgres { "ctid" } else { "rowid" };
    let counter = format!(
        "UPDATE queue_count SET jobs = jobs + {added} WHERE {one} = \
         (SELECT {one} FROM queue_count WHERE state = 'done' AND jobs > 0 LIMIT 1)"
    );
    if tables.run(counter).await? != 1 {
        return Err("no counter of finished jobs was found".into());
    }
    tables.run("DROP TABLE bench_pattern".to_owned()).await?;
    tables.run(if postgres { "VACUUM ANALYZE job" } else { "ANALYZE" }.to_owned()).await?;
    check(stand, &tables, added + PATTERN).await
}

/// Compares the counters with their rows: by the program, and by counting, because the program does not count millions
/// of finished jobs.
async fn check(stand: &Stand, tables: &Tables, expected: u64) -> Result<()> {
    stand.finish(&["doctor", "--reconcile", "--dry-run"], Path::new("/dev/null")).await?;
    let rows = tables.pairs("SELECT 'done', CAST(count(*) AS TEXT) FROM job WHERE state = 'done'").await?;
    let (rows, counted) = (rows.first().map(|(_, rows)| rows.clone()), tables.jobs("done").await?);
    if rows.as_deref() == Some(&expected.to_string()) && counted == i64::try_from(expected)? {
        return Ok(());
    }
    Err(format!("{rows:?} jobs are done and {counted} are counted; {expected} were put in").into())
}

/// Lets a worker do all that waits.
///
/// # Errors
///
/// Those of the program, and when it does not get done.
pub async fn work_off(stand: &Stand, size: Size) -> Result<()> {
    let (tables, worker, scheduler) =
        (Tables::of(stand).await?, stand.worker(&stand.file("records"))?, stand.scheduler()?);
    until("all that waits is done", size.patience(), Duration::from_millis(50), async || {
        let left = tables.jobs("queued").await? + tables.jobs("running").await?;
        Ok((left == 0).then_some(()))
    })
    .await?;
    worker.stop().await?;
    if let Some(scheduler) = scheduler {
        scheduler.stop().await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_has_every_column_and_an_id_of_its_own() {
        let columns = [("id", "uuid"), ("kind", "text"), ("finished_at", "timestamp with time zone")];
        let columns = columns.map(|(name, kind)| (name.to_owned(), kind.to_owned()));
        let statement = copies(&columns, true, 1, 100);
        assert!(statement.contains("(id, kind, finished_at) SELECT overlay(t.id::text"), "{statement}");
        assert!(statement.contains("t.kind, t.finished_at - n * interval '1 second' FROM"), "{statement}");
        assert!(copies(&columns, false, 1, 9).contains("randomblob(8) AS BLOB), t.kind, t.finished_at FROM"));
    }
}
