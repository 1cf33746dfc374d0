//! Queues: list, pause, resume, delete.

use std::collections::BTreeSet;

use chrono::SecondsFormat;
use gristmill_client::http::Call;
use gristmill_core::Instant;
use gristmill_core::job::DEFAULT_QUEUE;
use gristmill_service::Order;
use gristmill_service::documents::{DeletedQueueDocument, HistoryDocument, QueueDocument, ReportDocument};
use gristmill_service::history::{HistoryAsk, history};
use gristmill_store::ControlReport;

use super::{Backend, Local};
use crate::exit_code::{CommandError, Exit, Result};
use crate::runtime::retention::{pruner_options, queue_names};

impl Backend<'_> {
    /// Every queue with its counters, and which jobs no worker can run.
    pub(crate) async fn queues(&self) -> Result<Vec<QueueDocument>> {
        match self {
            Self::Store(local) => {
                let unhandled = local.store().unhandled(local.tenant()).await?;
                Ok(QueueDocument::all(local.store().queues(local.tenant()).await?, unhandled))
            }
            Self::Server(server) => server.look(&Call::get(&["queues"])).await,
        }
    }

    /// How much passed in a range of time.
    pub(crate) async fn history(&self, ask: &HistoryAsk) -> Result<HistoryDocument> {
        match self {
            Self::Store(local) => Ok(history(local.store(), local.tenant(), ask).await?),
            Self::Server(server) => {
                let instant = |at: Instant| at.to_rfc3339_opts(SecondsFormat::Micros, true);
                let call = Call::get(&["history"])
                    .param("from", instant(ask.from))
                    .param("until", instant(ask.until))
                    .param("step", ask.step().as_str())
                    .param("by", ask.by.as_str())
                    .maybe("queue", ask.queue.as_deref())
                    .maybe("kind", ask.kind.as_deref());
                server.look(&call).await
            }
        }
    }

    /// Every queue that has or had jobs, that a worker serves, or that the configuration names. What the configuration
    /// of a server names, only the server knows.
    pub(crate) async fn queue_names(&self) -> Result<BTreeSet<String>> {
        let mut known: BTreeSet<String> = self.queues().await?.into_iter().map(|row| row.queue.name).collect();
        known.extend(self.workers().await?.into_iter().flat_map(|worker| worker.queues));
        if let Self::Store(local) = self {
            known.extend(local.store().queue_names().await?);
            known.extend(queue_names(&local.process.loaded.config).into_keys());
            let defaults = local.process.extensions.defaults.values();
            known.extend(defaults.filter_map(|defaults| defaults.queue.clone()));
        }
        known.insert(DEFAULT_QUEUE.to_owned());
        Ok(known)
    }

    /// Stops claiming from a queue.
    pub(crate) async fn pause_queue(&self, order: &Order, queue: &str) -> Result<ControlReport> {
        match self {
            Self::Store(local) => Ok(local.service.pause_queue(order, queue).await?),
            Self::Server(server) => {
                let report: ReportDocument = server.change(Call::post(&["queues", queue, "pause"]), order).await?;
                Ok(report.into())
            }
        }
    }

    /// Lets a queue be claimed from again.
    pub(crate) async fn resume_queue(&self, order: &Order, queue: &str) -> Result<ControlReport> {
        match self {
            Self::Store(local) => Ok(local.service.resume_queue(order, queue).await?),
            Self::Server(server) => {
                let report: ReportDocument = server.change(Call::post(&["queues", queue, "resume"]), order).await?;
                Ok(report.into())
            }
        }
    }

    /// Deletes a queue that has no jobs; also returns why the broker has not deleted its own.
    pub(crate) async fn delete_queue(
        &self,
        order: &Order,
        queue: &str,
        finished: bool,
    ) -> Result<(DeletedQueueDocument, Option<String>)> {
        match self {
            Self::Store(local) => {
                refuse_named(local, queue).await?;
                let options = pruner_options(&local.process.loaded.config, true);
                let deleted = local.service.delete_queue(order, queue, finished, options).await?;
                Ok((DeletedQueueDocument::new(order.dry_run, queue, &deleted), deleted.broker))
            }
            Self::Server(server) => {
                let call = Call::delete(&["queues", queue]).flag("finished", finished);
                Ok((server.change(call, order).await?, None))
            }
        }
    }
}

/// What names it would make it again.
async fn refuse_named(local: &Local<'_>, queue: &str) -> Result<()> {
    let hint = "change that first, or the queue comes back";
    if let Some(key) = queue_names(&local.process.loaded.config).get(queue) {
        return Err(CommandError::new(Exit::Conflict, format!("`{key}` names queue {queue}")).hint(hint));
    }
    for schedule in local.store().schedules(None, None).await? {
        if schedule.spec.job.is_some_and(|job| job.queue.as_deref() == Some(queue)) {
            let text = format!("the schedule `{}` names queue {queue}", schedule.name);
            return Err(CommandError::new(Exit::Conflict, text).hint(hint));
        }
    }
    Ok(())
}
