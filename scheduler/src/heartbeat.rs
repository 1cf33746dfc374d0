//! The heartbeat: once a second, in UTC, from the crate `tokio-cron-scheduler`.
//!
//! It is used for nothing else. Its own jobs lose ticks while nobody runs, and forget about summer
//! time; what is due is a matter of the store, and a beat only says that it is time to look.

use std::sync::Arc;

use tokio::sync::Notify;
use tokio_cron_scheduler::{Job, JobScheduler, JobSchedulerError};

/// Every second.
const EVERY_SECOND: &str = "* * * * * *";

/// Beats until it is stopped.
pub(crate) struct Heartbeat {
    cron: JobScheduler,
    beats: Arc<Notify>,
    ticks: Arc<Notify>,
}

impl Heartbeat {
    pub(crate) async fn start() -> Result<Self, JobSchedulerError> {
        let beats = Arc::new(Notify::new());
        let cron = JobScheduler::new().await?;
        let ticks = Arc::new(Notify::new());
        let (beat, tick) = (Arc::clone(&beats), Arc::clone(&ticks));
        // A beat that comes while the duties are still at work is remembered, two are one.
        cron.add(Job::new(EVERY_SECOND, move |_, _| {
            beat.notify_one();
            tick.notify_one();
        })?)
        .await?;
        cron.start().await?;
        Ok(Self { cron, beats, ticks })
    }

    /// Wakes the general duties.
    pub(crate) async fn beat(&self) {
        self.beats.notified().await;
    }

    /// Wakes whoever decides ticks: on the same beat, but not waiting for the others.
    pub(crate) async fn tick(&self) {
        self.ticks.notified().await;
    }

    pub(crate) async fn stop(mut self) {
        if let Err(error) = self.cron.shutdown().await {
            tracing::debug!(%error, "the heartbeat did not stop in order");
        }
    }
}
