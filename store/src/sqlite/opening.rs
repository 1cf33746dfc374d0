//! The first connection to the file, which sets the mode of its log.

use std::time::Duration;

use gristmill_core::backoff;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode};
use sqlx::{ConnectOptions, Connection};
use tokio::time::Instant;

use super::error;
use crate::check;
use crate::error::Result;

/// Connects, and makes sure that the file has a write-ahead log. The mode is a property of the file and is set once,
/// before there are connections for which it could be refused.
///
/// When several programs do so at once on a new file, SQLite refuses all but one of them without waiting, whatever its
/// timeout: each holds a lock that the others would have to release. They try again, at most for `patience`.
pub(super) async fn first(options: &SqliteConnectOptions, patience: Duration) -> Result<SqliteConnection> {
    let deadline = Instant::now() + patience;
    let mut failures = 0;
    loop {
        match with_log(options).await {
            Err(refusal) if error::busy(&refusal) && Instant::now() < deadline => {
                failures += 1;
                tokio::time::sleep(backoff::OPENING.wait(failures, check::random())).await;
            }
            opened => return opened.map_err(error::database),
        }
    }
}

async fn with_log(options: &SqliteConnectOptions) -> sqlx::Result<SqliteConnection> {
    let mut connection = options.clone().journal_mode(SqliteJournalMode::Wal).connect().await?;
    connection.ping().await?;
    Ok(connection)
}

#[cfg(test)]
mod tests {
    use crate::settings::Settings;
    use crate::sqlite::SqliteStore;

    #[tokio::test(flavor = "multi_thread", worker_threads = 8)]
    async fn a_new_file_that_many_open_at_once_is_opened_by_all_of_them() {
        for round in 0..40 {
            let folder = tempfile::tempdir().expect("a folder");
            let path = folder.path().join("store.db");
            let opening = (0..16).map(|_| {
                let path = path.clone();
                tokio::spawn(async move { SqliteStore::connect(&path, &Settings::default(), false).await.map(drop) })
            });
            for opened in futures::future::join_all(opening).await {
                opened.expect("no panic").unwrap_or_else(|error| panic!("in round {round}: {error}"));
            }
        }
    }
}
