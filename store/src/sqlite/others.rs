//! Commits of other processes: who waits in this one learns of them at once.
//!
//! A process that has committed something for a worker knocks: it opens the file `DATABASE.lock`, which the working
//! process watches, and which is there since that one began. Nothing else would tell it at the right moment: writes to
//! the log are reported before the commit that they belong to can be seen. They are looked after all the same, a moment
//! later: not every program that writes is ours. Where the system reports nothing, a look now and then is what there is.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::error;
use super::file_events::{FileEvents, LOCK, beside};
use super::writer::Writer;
use crate::error::Result;

/// How often to look where nothing reports writes to the log.
const LOOK: Duration = Duration::from_millis(50);

/// How often to look although they are reported.
const LOOK_ANYWAY: Duration = Duration::from_secs(1);

/// How long after a write to the log it is looked whether another process has committed, since this process's own writes
/// are reported, too: doubled from the first to the last while looks find nothing, so that a busy process hardly pays for
/// them.
const PAUSE: (Duration, Duration) = (Duration::from_micros(500), Duration::from_millis(8));

/// Looks for other processes' commits while anyone waits.
#[derive(Debug)]
pub(super) struct Others {
    looker: Looker,
    path: PathBuf,
    /// Held a second time while this process works: then it need not knock, because no other process waits for work.
    working: Arc<()>,
    /// Whether knocks are heard.
    hears: Arc<AtomicBool>,
    task: Mutex<Option<JoinHandle<()>>>,
}

/// What a look needs.
#[derive(Debug, Clone)]
struct Looker {
    /// The connection whose own commits do not change the version that it sees.
    writer: Writer,
    /// The version that was seen last.
    seen: Arc<tokio::sync::Mutex<i64>>,
    /// Those that wait, each for something else.
    waiting: [watch::Sender<u64>; 3],
}

impl Others {
    pub(super) fn new(path: &Path, writer: &Writer, waiting: [&watch::Sender<u64>; 3]) -> Self {
        let looker = Looker { writer: writer.clone(), seen: Arc::default(), waiting: waiting.map(Clone::clone) };
        Self { looker, path: path.to_owned(), working: Arc::default(), hears: Arc::default(), task: Mutex::new(None) }
    }

    /// Looks once. Whether another process has committed since the last look; if so, all that wait are woken.
    pub(super) async fn look(&self) -> Result<bool> {
        self.looker.look().await
    }

    /// To be held while this process works.
    pub(super) fn working(&self) -> Arc<()> {
        Arc::clone(&self.working)
    }

    /// Tells the working process, if it is another one, that something was committed which concerns it.
    pub(super) fn knock(&self) {
        if Arc::strong_count(&self.working) == 1 {
            // Where it does not exist no process has ever worked.
            let _ = File::open(beside(&self.path, LOCK));
        }
    }

    /// Whether a commit of one of our processes is heard at once.
    pub(super) fn hears(&self) -> bool {
        self.hears.load(Ordering::Relaxed)
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
            *task = Some(tokio::spawn(listen(self.looker.clone(), self.path.clone(), Arc::clone(&self.hears))));
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
        let mut turn = self.writer.short_turn().await?;
        let conn = turn.conn()?;
        let version: i64 = sqlx::query_scalar("PRAGMA data_version").fetch_one(conn).await.map_err(error::database)?;
        drop(turn);
        let others = std::mem::replace(&mut *seen, version) != version;
        if others {
            self.wake();
        }
        Ok(others)
    }

    /// What the others did is not known: all waiting callers look, whatever they wait for.
    fn wake(&self) {
        for waiting in &self.waiting {
            waiting.send_modify(|count| *count += 1);
        }
    }

    fn anyone_waits(&self) -> bool {
        self.waiting.iter().any(|waiting| waiting.receiver_count() > 0)
    }
}

async fn listen(looker: Looker, path: PathBuf, hears: Arc<AtomicBool>) {
    let log = FileEvents::of_writes(&beside(&path, "-wal"));
    let knocks = FileEvents::of_openings(&beside(&path, LOCK));
    hears.store(knocks.is_some(), Ordering::Relaxed);
    let every = if log.is_some() { LOOK_ANYWAY } else { LOOK };
    let (mut pause, mut look, mut written) = (PAUSE.0, Instant::now() + every, false);
    loop {
        tokio::select! {
            () = next(knocks.as_ref()) => looker.wake(),
            () = next(log.as_ref()), if !written => {
                written = true;
                look = Instant::now() + pause;
            }
            () = sleep_until(look) => {
                // A store that does not answer reports nothing new.
                let found = looker.anyone_waits() && looker.look().await.unwrap_or(false);
                pause = if found { PAUSE.0 } else { (pause * 2).min(PAUSE.1) };
                (look, written) = (Instant::now() + every, false);
            }
        }
    }
}

async fn next(events: Option<&FileEvents>) {
    match events {
        Some(events) => events.next().await,
        None => std::future::pending().await,
    }
}
