//! The heartbeat: once a second, in UTC, from the crate `tokio-cron-scheduler`.
//!
//! It is used for nothing else. Its own jobs lose ticks while nobody runs, and forget about summer
//! time; what is due is a matter of the store, and a beat only says that it is time to look.

use tokio::sync::watch;
use tokio_cron_scheduler::{Job, JobScheduler, JobSchedulerError};
use tokio_util::sync::CancellationToken;

/// Every second.
const EVERY_SECOND: &str = "* * * * * *";

/// Beats until it is stopped.
pub(crate) struct Heartbeat {
    cron: JobScheduler,
    beats: watch::Receiver<()>,
}

impl Heartbeat {
    pub(crate) async fn start() -> Result<Self, JobSchedulerError> {
        let (beat, beats) = watch::channel(());
        let cron = JobScheduler::new().await?;
        cron.add(Job::new(EVERY_SECOND, move |_, _| beat.send_replace(()))?).await?;
        cron.start().await?;
        Ok(Self { cron, beats })
    }

    /// The beats for one who listens. Those that come while it is at work are one.
    pub(crate) fn beats(&self) -> Beats {
        Beats(self.beats.clone())
    }

    pub(crate) async fn stop(mut self) {
        if let Err(error) = self.cron.shutdown().await {
            tracing::debug!(%error, "the heartbeat did not stop in order");
        }
    }
}

/// The beats as one listener hears them.
pub(crate) struct Beats(watch::Receiver<()>);

impl Beats {
    /// The next beat. There is none after the heartbeat has stopped.
    pub(crate) async fn beat(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// The next beat; `false` when it is time to stop.
    pub(crate) async fn next(&mut self, stop: &CancellationToken) -> bool {
        tokio::select! {
            biased;
            () = stop.cancelled() => false,
            () = self.beat() => true,
        }
    }
}
