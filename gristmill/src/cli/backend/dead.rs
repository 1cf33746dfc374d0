//! Dead letters: redrive, discard.

use gristmill_client::http::Call;
use gristmill_core::Instant;
use gristmill_core::id::JobId;
use gristmill_service::Order;
use gristmill_service::control::add;
use gristmill_service::control::dead::RedriveReport;
use gristmill_service::documents::DeadReportDocument;
use gristmill_store::{JobFilter, JobView};
use serde_json::json;

use super::Backend;
use crate::exit_code::Result;
use crate::remote::Remote;
use crate::runtime::retention::pruner_options;

/// The most dead letters that a request names.
const NAMED_MAX: usize = 1_000;

/// The most reasons that are kept.
const REASONS_MAX: usize = 5;

impl Backend<'_> {
    /// The dead letters that match now, each with when it died.
    pub(crate) async fn matching_dead(&self, filter: &JobFilter) -> Result<Vec<(JobId, Instant)>> {
        match self {
            Self::Store(local) => Ok(local.service.matching_dead(filter).await?),
            Self::Server(server) => {
                let jobs: Vec<JobView> = server.all(&super::jobs::list(filter)).await?;
                Ok(jobs.into_iter().filter_map(|job| Some((job.id, job.finished_at?))).collect())
            }
        }
    }

    /// Brings dead letters back; those that cannot be redriven now are counted.
    pub(crate) async fn redrive_each(&self, order: &Order, jobs: &[JobId]) -> Result<RedriveReport> {
        match self {
            Self::Store(local) => Ok(local.service.redrive_each(order, jobs).await?),
            Self::Server(server) => each(server, order, "redrive", jobs).await,
        }
    }

    /// Deletes dead letters for good; those that cannot be discarded are counted.
    pub(crate) async fn discard_dead(&self, order: &Order, dead: &[(JobId, Instant)]) -> Result<RedriveReport> {
        match self {
            Self::Store(local) => {
                let options = pruner_options(&local.process.loaded.config, true);
                Ok(local.service.discard_dead(order, dead, &options).await?)
            }
            Self::Server(server) => {
                let jobs: Vec<JobId> = dead.iter().map(|(job, _)| *job).collect();
                each(server, order, "discard", &jobs).await
            }
        }
    }
}

async fn each(server: &Remote, order: &Order, verb: &str, jobs: &[JobId]) -> Result<RedriveReport> {
    let mut total = RedriveReport::default();
    for group in jobs.chunks(NAMED_MAX) {
        let call = Call::post(&["dead-letters", verb]).body(&json!({ "jobs": group }));
        let report: DeadReportDocument = server.change(call, order).await?;
        let RedriveReport { redriven, refused, reasons } = report.into();
        add(&mut total.redriven, redriven);
        total.refused += refused;
        total.reasons.extend(reasons);
        total.reasons.truncate(REASONS_MAX);
    }
    Ok(total)
}
