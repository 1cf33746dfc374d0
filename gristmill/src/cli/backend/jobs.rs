//! Jobs: list, show, retry, cancel.

use std::time::Duration;

use gristmill_client::http::Call;
use gristmill_core::duration::Span;
use gristmill_core::id::{BatchId, JobId};
use gristmill_core::job::{JobState, RunAt};
use gristmill_core::job_edit::JobEdit;
use gristmill_core::query::Key;
use gristmill_service::Order;
use gristmill_service::control::add;
use gristmill_service::documents::{AttemptLogDocument, JobDocument, ReportDocument};
use gristmill_store::{ControlReport, JobFilter, JobView, LOGS_MAX, Page, Wait, why};
use serde_json::json;

use super::{Backend, asked, paged, part};
use crate::cli::gone::no_job;
use crate::exit_code::{CommandError, Exit, Result};

/// After how many requests it is said how far they are.
const SAY_EVERY: u64 = 1_000;

impl Backend<'_> {
    /// A page of jobs.
    pub(crate) async fn jobs(&self, filter: &JobFilter, page: &Page) -> Result<Vec<JobView>> {
        match self {
            Self::Store(local) => Ok(local.store().jobs(filter, page).await?),
            Self::Server(server) => server.look(&paged(list(filter), page)).await,
        }
    }

    /// A job of the tenant.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub(crate) async fn job(&self, job: JobId) -> Result<JobView> {
        Ok(self.shown_job(job, false).await?.job)
    }

    /// A job with what it waits for.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub(crate) async fn job_in_full(&self, job: JobId) -> Result<JobDocument> {
        self.shown_job(job, true).await
    }

    async fn shown_job(&self, id: JobId, waits: bool) -> Result<JobDocument> {
        let local = match self {
            Self::Store(local) => local,
            Self::Server(server) => return server.look(&Call::get(&["jobs", &part(id)])).await,
        };
        let Some(job) = local.store().job(local.tenant(), id).await? else {
            return Err(no_job(local.store(), local.tenant(), id).await);
        };
        let waits = if waits { Some(why(local.store(), &job).await?) } else { None };
        Ok(JobDocument { job, waits })
    }

    /// What the attempts of a job have said, those of the last one first.
    pub(crate) async fn job_logs(&self, job: JobId, attempt: Option<u32>) -> Result<Vec<AttemptLogDocument>> {
        match self {
            Self::Store(local) => Ok(local.store().logs(local.tenant(), job, attempt, LOGS_MAX).await?),
            Self::Server(server) => {
                server.look(&Call::get(&["jobs", &part(job), "logs"]).maybe("attempt", attempt)).await
            }
        }
    }

    /// What a job waits for.
    pub(crate) async fn why_job(&self, job: &JobView) -> Result<Vec<Wait>> {
        match self {
            Self::Store(local) => Ok(why(local.store(), job).await?),
            Self::Server(_) => Ok(self.job_in_full(job.id).await?.waits.unwrap_or_default()),
        }
    }

    /// Lets a job run now.
    pub(crate) async fn retry_job(&self, order: &Order, job: JobId) -> Result<ControlReport> {
        match self {
            Self::Store(local) => Ok(local.service.retry_job(order, job).await?),
            Self::Server(server) => {
                let report: ReportDocument = server.change(Call::post(&["jobs", &part(job), "retry"]), order).await?;
                Ok(report.into())
            }
        }
    }

    /// Changes a job that waits. Whether its kind reads the payload is checked here, or by the server.
    pub(crate) async fn edit_job(&self, order: &Order, job: JobId, edit: &JobEdit) -> Result<ControlReport> {
        match self {
            Self::Store(local) => {
                let found = self.job(job).await?;
                // Another version of the payload is that of another program's kind.
                if let Some(payload) = edit.payload.as_ref().filter(|_| found.version == 1 && found.seq.is_none()) {
                    let checked = local.process.extensions.check_payload(&found.kind, payload);
                    checked.map_err(CommandError::usage)?;
                }
                Ok(local.service.edit_job(order, job, edit).await?)
            }
            Self::Server(server) => {
                let (after, at) = match edit.run {
                    None => (None, None),
                    Some(RunAt::Now) => (Some(Span(Duration::ZERO)), None),
                    Some(RunAt::In(after)) => (Some(Span(after)), None),
                    Some(RunAt::At(at)) => (None, Some(at)),
                };
                let JobEdit { priority, queue, payload, .. } = edit;
                let body = json!({ "priority": priority, "queue": queue, "in": after, "at": at, "payload": payload });
                let call = Call::patch(&["jobs", &part(job)]).body(&body);
                let report: ReportDocument = server.change(call, order).await?;
                Ok(report.into())
            }
        }
    }

    /// Calls a job off.
    pub(crate) async fn cancel_job(&self, order: &Order, job: JobId) -> Result<ControlReport> {
        match self {
            Self::Store(local) => Ok(local.service.cancel_job(order, job).await?),
            Self::Server(server) => {
                let report: ReportDocument = server.change(Call::post(&["jobs", &part(job), "cancel"]), order).await?;
                Ok(report.into())
            }
        }
    }

    /// The jobs that match now, each with its batch.
    pub(crate) async fn matching_jobs(&self, filter: &JobFilter) -> Result<Vec<(Option<BatchId>, JobId)>> {
        match self {
            Self::Store(local) => Ok(local.service.matching_jobs(filter).await?),
            Self::Server(server) => {
                let jobs: Vec<JobView> = server.all(&list(filter)).await?;
                Ok(jobs.into_iter().map(|job| (job.batch, job.id)).collect())
            }
        }
    }

    /// Calls off those of the jobs that are not final; the others are passed over. A server is asked for one after the
    /// other.
    pub(crate) async fn cancel_jobs(
        &self,
        order: &Order,
        jobs: &[JobId],
        mut progress: impl FnMut(u64) + Send,
    ) -> Result<ControlReport> {
        if let Self::Store(local) = self {
            return Ok(local.service.cancel_jobs(order, jobs, progress).await?);
        }
        let mut total = ControlReport::default();
        for (done, job) in (1..).zip(jobs) {
            match self.cancel_job(order, *job).await {
                Ok(report) => add(&mut total, report),
                Err(error) if matches!(error.exit, Exit::Conflict | Exit::NotFound) => {}
                Err(error) => return Err(error),
            }
            if done % SAY_EVERY == 0 {
                progress(total.affected);
            }
        }
        Ok(total)
    }
}

/// The request for the jobs of a filter. Only dead letters are asked for by their error and their time.
pub(super) fn list(filter: &JobFilter) -> Call {
    let JobFilter { tenant: _, states, queue, kind, key, batch, error, since, query } = filter;
    // Dead letters have no state to ask for.
    let by_state = query.terms.iter().any(|term| term.key == Key::State);
    let dead = *states == [JobState::Dead] && key.is_none() && !by_state;
    let call = Call::get(&[if dead { "dead-letters" } else { "jobs" }]);
    let states = states.iter().filter(|_| !dead);
    let call = states.fold(call, |call, state| call.param("state", state));
    let call = call.maybe("queue", queue.as_ref()).maybe("kind", kind.as_ref()).maybe("key", key.as_ref());
    let call = call.maybe("batch", batch.as_ref()).maybe("error", error.as_ref());
    asked(call.maybe("since", since.map(|since| since.to_rfc3339())), query)
}
