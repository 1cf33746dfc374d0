//! Commits of other processes: who waits in this one learns of them at once where the system reports writes to the
//! log, and by a look now and then elsewhere.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::SqlitePool;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::error;
use super::log_file::LogFile;
use crate::error::Result;

/// How often to look where nothing reports writes to the log.
const LOOK: Duration = Duration::from_millis(50);

/// How often to look although they are reported.
const LOOK_ANYWAY: Duration = Duration::from_secs(1);

/// The pause after a look that found nothing, since this process's own commits are reported, too: doubled from the
/// first to the last while looks find nothing, so that a busy process hardly pays for them.
const PAUSE: (Duration, Duration) = (Duration::from_micros(500), Duration::from_millis(8));

/// Looks for other processes' commits while anyone waits.
#[derive(Debug)]
pub(super) struct Others {
    looker: Looker,
    path: PathBuf,
    task: Mutex<Option<JoinHandle<()>>>,
}

/// What a look needs.
#[derive(Debug, Clone)]
struct Looker {
    /// The connection whose own commits do not change the version that it sees.
    writer: SqlitePool,
    /// The version that was seen last.
    seen: Arc<tokio::sync::Mutex<i64>>,
    work: watch::Sender<u64>,
    gone: watch::Sender<u64>,
}

impl Others {
    pub(super) fn new(path: &Path, writer: &SqlitePool, work: &watch::Sender<u64>, gone: &watch::Sender<u64>) -> Self {
        let looker = Looker { writer: writer.clone(), seen: Arc::default(), work: work.clone(), gone: gone.clone() };
        Self { looker, path: path.to_owned(), task: Mutex::new(None) }
    }

    /// Looks once. Whether another process has committed since the last look; if so, all that wait are woken.
    pub(super) async fn look(&self) -> Result<bool> {
        self.looker.look().await
    }

    /// Waits until a counter of hints is no longer `seen`, at most for `at_most`, and returns it. Another process's
    /// commit raises all of them.
    pub(super) async fn wait(&self, hints: &watch::Sender<u64>, seen: u64, at_most: Duration) -> u64 {
        let mut hints = hints.subscribe();
        self.wake_waiting();
        // Neither a sender that is gone nor a time that is over tells anything new.
        let _ = tokio::time::timeout(at_most, hints.wait_for(|count| *count != seen)).await;
        *hints.borrow()
    }

    /// Makes sure that commits of others wake those that wait, from now until this is dropped.
    fn wake_waiting(&self) {
        let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        // It ends with the runtime that it was started on.
        if task.as_ref().is_none_or(JoinHandle::is_finished) {
            *task = Some(tokio::spawn(watch_log(self.looker.clone(), self.path.clone())));
        }
    }
}

impl Drop for Others {
    fn drop(&mut self) {
        if let Some(task) = self.task.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            task.abort();
        }
    }
}

impl Looker {
    async fn look(&self) -> Result<bool> {
        let mut seen = self.seen.lock().await;
        let version: i64 =
            sqlx::query_scalar("PRAGMA data_version").fetch_one(&self.writer).await.map_err(error::database)?;
        let others = std::mem::replace(&mut *seen, version) != version;
        if others {
            // What the others did is not known: all waiting callers look, whatever they wait for.
            self.work.send_modify(|count| *count += 1);
            self.gone.send_modify(|count| *count += 1);
        }
        Ok(others)
    }

    fn anyone_waits(&self) -> bool {
        self.work.receiver_count() > 0 || self.gone.receiver_count() > 0
    }
}

async fn watch_log(looker: Looker, path: PathBuf) {
    let log = LogFile::watch(&path);
    let every = if log.is_some() { LOOK_ANYWAY } else { LOOK };
    let mut pause = PAUSE.0;
    loop {
        let written = async {
            match &log {
                Some(log) => log.written().await,
                None => std::future::pending().await,
            }
        };
        // Not written for that long, or nothing reports it.
        let _ = tokio::time::timeout(every, written).await;
        // A store that does not answer reports nothing new.
        let found = looker.anyone_waits() && looker.look().await.unwrap_or(false);
        pause = if found { PAUSE.0 } else { (pause * 2).min(PAUSE.1) };
        tokio::time::sleep(pause).await;
    }
}
