//! The right to work: a lock on the file `DATABASE.lock`, which names its holder.
//!
//! The lock is the operating system's, so that it ends with its process however that ends. The lock of the database
//! itself would not do: it is taken and released with each transaction.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

use super::file_events::{LOCK, beside};
use super::transition::Transition;
use super::{SqliteStore, rescue};
use crate::Dispatched;
use crate::error::{Result, StoreError};
use crate::guard::WorkGuard;

/// How many jobs are taken back at most in one transaction.
const TAKEN_AT_ONCE: u32 = 1_000;

pub(super) async fn begin_work(store: &SqliteStore) -> Result<WorkGuard> {
    let path = beside(&store.path, LOCK);
    let started = store.now_micros().await?;
    let database = store.path.clone();
    let taken = tokio::task::spawn_blocking(move || take(&database, &path, started)).await;
    let lock = taken.map_err(|error| StoreError::Unavailable(error.to_string()))??;
    let rescued = take_back(store).await?;
    Ok(WorkGuard::holding(lock, store.others.working(), rescued))
}

/// No other process works: every worker that seems alive is dead, and its jobs are rescued.
async fn take_back(store: &SqliteStore) -> Result<Dispatched> {
    let mut t = Transition::begin(store).await?;
    let statement = "UPDATE worker SET state = 'lost', lease_until = min(lease_until, ?1) WHERE state = 'alive'";
    t.run(sqlx::query(statement).bind(t.now)).await?;
    t.commit().await?;
    let mut all = Dispatched::default();
    loop {
        let report = rescue::rescue(store, TAKEN_AT_ONCE).await?;
        if report.requeued + report.dead + report.split == 0 {
            return Ok(all);
        }
        all.moved += report.dispatched.moved;
        all.dispatches.extend(report.dispatched.dispatches);
    }
}

fn take(database: &Path, path: &Path, started: i64) -> Result<File> {
    let broken = |error: std::io::Error| {
        StoreError::Unavailable(format!("the lock file {} cannot be used: {error}", path.display()))
    };
    let mut options = OpenOptions::new();
    let mut file = options.read(true).write(true).create(true).truncate(false).open(path).map_err(broken)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            file.read_to_string(&mut holder).map_err(broken)?;
            let pid = holder.lines().next().filter(|line| !line.is_empty());
            return Err(locked(database, pid.unwrap_or("another process")));
        }
        Err(TryLockError::Error(error)) => return Err(broken(error)),
    }
    file.set_len(0).map_err(broken)?;
    file.rewind().map_err(broken)?;
    let seconds = started / 1_000_000;
    writeln!(file, "process {}\nstarted {seconds} (seconds since 1970)", std::process::id()).map_err(broken)?;
    Ok(file)
}

/// The error for a second working process.
fn locked(path: &Path, holder: &str) -> StoreError {
    StoreError::Locked(format!(
        "{holder} already works on {}; stop that process, or use PostgreSQL for several working processes (enqueueing, looking and steering go on beside it)",
        path.display()
    ))
}
