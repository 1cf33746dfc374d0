//! Hints that work became claimable, or was taken away: LISTEN on a connection of its own, for the whole store.
//!
//! Behind a pooler that gives a connection to another client after each transaction no notification arrives; then
//! callers simply poll, which they must be able to do anyway.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gristmill_core::backoff;
use sqlx::Executor;
use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::guarded::is_alive;
use super::notifier::{CHANNEL, EVENTS_CHANNEL, GONE_CHANNEL};

/// How long without a hint before the server is checked: no hint ever comes over a half-open connection, and nothing
/// else would show that.
const SILENCE_MAX: Duration = Duration::from_secs(15);

/// The listening side. The task starts with the first wait, so that a command line tool that never waits never listens.
pub(super) struct Hints {
    options: PgConnectOptions,
    silence: Duration,
    heard: Heard,
    task: Mutex<Option<JoinHandle<()>>>,
}

/// How many hints of each sort have come, counted from 1, so that 0 means "nothing seen yet".
#[derive(Clone)]
struct Heard {
    work: watch::Sender<u64>,
    gone: watch::Sender<u64>,
    events: watch::Sender<u64>,
    /// Whether there is a listener at the moment.
    listens: Arc<AtomicBool>,
}

impl Hints {
    /// Creates it without listening yet. `patience` is how long to wait for answers.
    pub(super) fn new(options: PgConnectOptions, patience: Duration) -> Self {
        let (work, gone, events) = (watch::Sender::new(1), watch::Sender::new(1), watch::Sender::new(1));
        let heard = Heard { work, gone, events, listens: Arc::default() };
        Self { options, silence: patience.min(SILENCE_MAX), heard, task: Mutex::new(None) }
    }

    /// Waits until work may have become claimable since `seen`, at most for the given time. Returns the value to pass
    /// the next time.
    pub(super) async fn wait_for_work(&self, seen: u64, at_most: Duration) -> u64 {
        self.wait(&self.heard.work, seen, at_most).await
    }

    /// The same for attempts that may have been taken away.
    pub(super) async fn wait_for_revocation(&self, seen: u64, at_most: Duration) -> u64 {
        self.wait(&self.heard.gone, seen, at_most).await
    }

    /// The same for events that may have been published.
    pub(super) async fn wait_for_events(&self, seen: u64, at_most: Duration) -> u64 {
        self.wait(&self.heard.events, seen, at_most).await
    }

    /// Whether hints of other processes arrive at the moment.
    pub(super) fn hears(&self) -> bool {
        self.heard.listens.load(Ordering::Relaxed)
    }

    async fn wait(&self, hints: &watch::Sender<u64>, seen: u64, at_most: Duration) -> u64 {
        let mut heard = hints.subscribe();
        self.listen();
        // The sender lives as long as we do: whether a hint came or the time ran out does not matter.
        let _ = tokio::time::timeout(at_most, heard.wait_for(|count| *count != seen)).await;
        *heard.borrow()
    }

    fn listen(&self) {
        let mut task = self.task.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if task.as_ref().is_none_or(JoinHandle::is_finished) {
            *task = Some(tokio::spawn(keep_listening(self.options.clone(), self.silence, self.heard.clone())));
        }
    }
}

impl Drop for Hints {
    fn drop(&mut self) {
        let task = self.task.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(task) = task.take() {
            task.abort();
        }
    }
}

async fn keep_listening(options: PgConnectOptions, silence: Duration, heard: Heard) {
    let mut failures = 0;
    loop {
        let listened = listen_once(&options, silence, &heard, &mut failures).await;
        heard.listens.store(false, Ordering::Relaxed);
        match listened {
            Ok(()) => tracing::debug!("the connection for hints was lost"),
            Err(error) => tracing::debug!(%error, "cannot listen for hints; polling goes on"),
        }
        failures += 1;
        // The random bits of an identifier are enough; a generator has no other use here.
        let random = f64::from(uuid::Uuid::new_v4().as_fields().0) / f64::from(u32::MAX);
        tokio::time::sleep(backoff::HINTS.wait(failures, random)).await;
    }
}

/// Listens until the connection breaks. It has its own pool of one: a listener must never take the last connection that
/// the transitions need.
async fn listen_once(
    options: &PgConnectOptions,
    silence: Duration,
    heard: &Heard,
    failures: &mut u32,
) -> Result<(), sqlx::Error> {
    let pool = PgPoolOptions::new().max_connections(1).idle_timeout(None).max_lifetime(None);
    let pool = pool.connect_with(options.clone()).await?;
    let mut listener = PgListener::connect_with(&pool).await?;
    listener.listen_all([CHANNEL, GONE_CHANNEL, EVENTS_CHANNEL]).await?;
    heard.listens.store(true, Ordering::Relaxed);
    // What was sent while there was no listener is lost: make all waiters look once.
    heard.work.send_modify(|count| *count += 1);
    heard.gone.send_modify(|count| *count += 1);
    heard.events.send_modify(|count| *count += 1);
    *failures = 0;
    loop {
        match tokio::time::timeout(silence, listener.try_recv()).await.ok().transpose()? {
            Some(Some(hint)) => {
                let sort = match hint.channel() {
                    GONE_CHANNEL => &heard.gone,
                    EVENTS_CHANNEL => &heard.events,
                    _ => &heard.work,
                };
                sort.send_modify(|count| *count += 1);
            }
            Some(None) => return Ok(()),
            None if is_alive(async { listener.execute("SELECT 1").await.map(drop) }).await => {}
            None => return Ok(()),
        }
    }
}
