//! Hints that work became claimable: LISTEN on a connection of its own, for the whole store.
//!
//! Behind a pooler that hands a connection to somebody else after each transaction no notification
//! arrives; then callers simply poll, which is what they must be able to do anyway.

use std::sync::Mutex;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::work::CHANNEL;

/// The longest wait before a lost connection is tried again.
const RECONNECT_MAX: Duration = Duration::from_secs(30);

/// The listening side. The task starts with the first wait, so that a command line tool that never
/// waits never listens.
pub(super) struct Hints {
    options: PgConnectOptions,
    heard: watch::Sender<u64>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Hints {
    /// Nobody listens yet.
    pub(super) fn new(options: PgConnectOptions) -> Self {
        Self { options, heard: watch::Sender::new(0), task: Mutex::new(None) }
    }

    /// Waits for a hint or for the time to pass. `true` when it was a hint.
    pub(super) async fn wait(&self, at_most: Duration) -> bool {
        let mut heard = self.heard.subscribe();
        self.listen();
        tokio::time::timeout(at_most, heard.changed()).await.is_ok_and(|changed| changed.is_ok())
    }

    fn listen(&self) {
        let mut task = self.task.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if task.as_ref().is_none_or(JoinHandle::is_finished) {
            *task = Some(tokio::spawn(keep_listening(self.options.clone(), self.heard.clone())));
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

async fn keep_listening(options: PgConnectOptions, heard: watch::Sender<u64>) {
    let mut pause = Duration::from_millis(200);
    loop {
        match listen_once(&options, &heard, &mut pause).await {
            Ok(()) => tracing::debug!("the connection for hints was lost"),
            Err(error) => tracing::debug!(%error, "cannot listen for hints; polling goes on"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RECONNECT_MAX);
    }
}

/// Listens until the connection breaks. Its own pool of one: a listener must never take the last
/// connection that the transitions need.
async fn listen_once(
    options: &PgConnectOptions,
    heard: &watch::Sender<u64>,
    pause: &mut Duration,
) -> Result<(), sqlx::Error> {
    let pool = PgPoolOptions::new().max_connections(1).idle_timeout(None).max_lifetime(None);
    let pool = pool.connect_with(options.clone()).await?;
    let mut listener = PgListener::connect_with(&pool).await?;
    listener.listen(CHANNEL).await?;
    // What was sent while nobody listened is lost: have everybody look once.
    heard.send_modify(|count| *count += 1);
    *pause = Duration::from_millis(200);
    while listener.try_recv().await?.is_some() {
        heard.send_modify(|count| *count += 1);
    }
    Ok(())
}
