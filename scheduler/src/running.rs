//! The scheduler as a process: it enters, runs its duties until it is stopped, and leaves.

use std::sync::Arc;

use chrono::Utc;
use gristmill_broker::BrokerError;
use gristmill_service::audit::AuditSettings;
use gristmill_service::dispatcher::Dispatcher;
use gristmill_service::retention::PrunerOptions;
use gristmill_store::{StoreError, StoreHandle};
use tokio::task::JoinSet;
use tokio_cron_scheduler::JobSchedulerError;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::duties::{self, returned};
use crate::duty;
use crate::leadership::Leadership;
use crate::schedules::RunContext;
use crate::settings::Settings;

/// What a scheduler is made of.
#[derive(Debug, Clone)]
pub struct SchedulerOptions {
    /// The source of truth.
    pub store: StoreHandle,
    /// Publishes over the broker. The caller that connected the broker closes it, after the scheduler.
    pub dispatcher: Dispatcher,
    /// How often it does its duties.
    pub settings: Settings,
    /// What schedules are served with; `None` serves none.
    pub schedules: Option<RunContext>,
    /// How long what has ended is kept.
    pub retention: PrunerOptions,
    /// How the heads of the audit are signed.
    pub audit: AuditSettings,
}

/// Why a scheduler could not begin.
#[derive(Debug, thiserror::Error)]
pub enum SchedulerError {
    /// The store did not admit it.
    #[error("the scheduler cannot enter the store: {0}")]
    Store(#[from] StoreError),
    /// The broker refused it for good.
    #[error("the scheduler cannot take returned messages: {0}")]
    Broker(#[from] BrokerError),
    /// The clock of the duties did not start.
    #[error("the clock of the scheduler's duties did not start: {0}")]
    Clock(#[from] JobSchedulerError),
}

/// Runs the duties until `shutdown`. A duty that fails is tried again at its next time.
///
/// # Errors
///
/// When it cannot begin.
pub async fn run(options: SchedulerOptions, shutdown: impl Future<Output = ()>) -> Result<(), SchedulerError> {
    duty::describe();
    let stop = CancellationToken::new();
    let leadership = Arc::new(Leadership::enter(Arc::clone(&options.store)).await?);
    let clock = Clock::new().await?;
    let mut kept = JoinSet::new();
    for duty in duties::all(&options, &leadership) {
        let beats = clock.register(duty.every(), Utc::now()).await?;
        kept.spawn(duty::keep(duty, beats, leadership.leads(), stop.clone()));
    }
    clock.start().await?;
    tracing::info!("scheduler begins");
    let asked = async {
        tokio::select! {
            () = shutdown => stop.cancel(),
            () = stop.cancelled() => {}
        }
    };
    let (returned, (), ()) =
        tokio::join!(returned::keep(&options.store, &options.dispatcher, &stop), ended(&mut kept), asked);
    clock.stop().await;
    leadership.leave().await;
    tracing::info!("scheduler ends");
    returned.map_err(SchedulerError::from)
}

/// Waits for the end of all duties. A duty that panics takes the scheduler down, as a bug should.
async fn ended(kept: &mut JoinSet<()>) {
    while let Some(joined) = kept.join_next().await {
        if let Err(error) = joined
            && error.is_panic()
        {
            std::panic::resume_unwind(error.into_panic());
        }
    }
}
