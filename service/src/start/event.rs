//! Starts the run of an event: a delivery to a hook, a file in a watched folder.

use std::time::Duration;

use gristmill_core::schedule::{ScheduleSpec, Target};
use gristmill_store::{NewEvent, NotedEvent, StoreError};
use serde_json::Value;

use super::RunContext;
use super::render::RenderError;
use super::run::event_tick;
use crate::Service;
use crate::order::Order;

/// Something that happened and starts a run, once for each key.
#[derive(Debug, Clone)]
pub struct EventRequest<'a> {
    /// The name of its ledger: `hook/NAME`, `watch/NAME`.
    pub ledger: String,
    /// What it starts.
    pub spec: &'a ScheduleSpec,
    /// Its key in that ledger, such as the id of a delivery or the hash of a file.
    pub key: String,
    /// What its run learns about it.
    pub about: Value,
    /// How long the store may take; `None` waits as long as it takes. When the time is over, it is not known whether
    /// the event was committed, and asking again does no harm.
    pub patience: Option<Duration>,
}

/// Why an event started nothing.
#[derive(Debug, thiserror::Error)]
pub enum EventError {
    /// Its job cannot be built, because the configuration is wrong: how, in words.
    #[error("{0}")]
    Job(String),
    /// It lacks something that its run needs, or has something that its run cannot use: what, in words. The same event
    /// never fits.
    #[error("{0}")]
    Unfit(String),
    /// The store did not accept it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<RenderError> for EventError {
    fn from(error: RenderError) -> Self {
        match error {
            RenderError::Wrong(wrong) => Self::Job(wrong),
            RenderError::Unfit(wrong) => Self::Unfit(wrong),
        }
    }
}

impl Service {
    /// Writes an event into its ledger and enqueues its job, in one transaction: once for each key, however often it is
    /// called. The batch of an event is started by a scheduler, for which its row waits. `None` at a dry run, which
    /// only builds the job.
    ///
    /// # Errors
    ///
    /// See [`EventError`]. Nothing has happened then, unless `patience` was over.
    pub async fn start_event(
        &self,
        order: &Order,
        run_context: &RunContext,
        event: EventRequest<'_>,
    ) -> Result<Option<NotedEvent>, EventError> {
        let EventRequest { ledger, spec, key, about, patience } = event;
        let job = match spec.target() {
            Ok(Target::Batch(_)) => match run_context.lacks(&ledger, spec, &event_tick(about.clone())) {
                Some(wrong) => return Err(EventError::Unfit(wrong)),
                None => None,
            },
            Ok(Target::Job(_)) | Err(_) => {
                let job = run_context.job(&order.tenant, &ledger, spec, &event_tick(about.clone()));
                Some(Box::new(job?))
            }
        };
        let event = NewEvent { tenant: order.tenant.clone(), schedule: ledger, event: key, about, job };
        if order.dry_run {
            return Ok(None);
        }
        let store = self.store.clone().metered();
        let noted = store.note_event(&event);
        let Some(patience) = patience else { return Ok(Some(self.after(noted).await?)) };
        let in_time = async {
            let noted = tokio::time::timeout(patience, noted).await;
            noted.unwrap_or_else(|_| Err(StoreError::Unavailable("the store takes too long".to_owned())))
        };
        Ok(Some(self.after(in_time).await?))
    }
}
