//! Writes down what attempts say: once a second while they run, and before their endings. Nothing depends on it.

use std::sync::Arc;
use std::time::Duration;

use gristmill_core::job::Fence;
use gristmill_jobs::attempt_log::Recorder;
use gristmill_store::{Logs, NewLog};
use tokio_util::sync::CancellationToken;

/// How long what was said may wait while its attempt runs.
const LIVE: Duration = Duration::from_secs(1);

/// Writes logs of attempts. Clones share what was said.
#[derive(Debug, Clone)]
pub(crate) struct LogWriter {
    pub(crate) recorder: Recorder,
    pub(crate) store: Arc<dyn Logs>,
}

impl LogWriter {
    /// Writes what is said, until `stop` fires and all of it is written.
    pub(crate) async fn keep(self, stop: CancellationToken) {
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return self.write(self.recorder.take()).await,
                () = self.recorder.said() => {}
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = tokio::time::sleep(LIVE) => {}
            }
            self.write(self.recorder.take()).await;
        }
    }

    /// Writes what these attempts have said, in one statement, before they are settled: a person who sees that a job is over
    /// sees all of it.
    pub(crate) async fn write_of(&self, ended: impl IntoIterator<Item = &Fence>) {
        self.write(self.recorder.take_of(ended)).await;
    }

    async fn write(&self, logs: Vec<NewLog>) {
        if logs.is_empty() {
            return;
        }
        if let Err(error) = self.store.write_logs(&logs).await {
            tracing::warn!(%error, attempts = logs.len(), "what attempts have said could not be written down");
        }
    }
}
