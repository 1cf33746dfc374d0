//! Batches: list, show, start, steer, delete; chunks: split.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::Utc;
use gristmill_client::http::{Call, HttpBatch, Upload};
use gristmill_core::id::{BatchId, JobId};
use gristmill_service::Order;
use gristmill_service::control::add;
use gristmill_service::documents::{
    BatchDocument, BatchWithResult, DeletedBatchesDocument, EtaDocument, EtaRecordDocument, ReportDocument,
    WouldStartDocument,
};
use gristmill_service::eta::eta;
use gristmill_service::eta_record::eta_record;
use gristmill_service::uploads::UploadDocument;
use gristmill_store::{BatchFilter, BatchView, ControlReport, Page, Restart, Wait, why_batch};
use serde_json::json;

use super::{Backend, asked, paged, part};
use crate::cli::gone::no_batch;
use crate::exit_code::Result;
use crate::remote::Remote;
use crate::runtime::retention::pruner_options;

/// How long a server may take for what concerns all chunks of a batch, or its whole input.
const WHOLE: Duration = Duration::from_secs(3_600);

/// What is done with a batch by its id alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Steer {
    /// Stop claiming its chunks.
    Pause,
    /// Claim them again.
    Resume,
    /// Call it off.
    Cancel,
}

impl Backend<'_> {
    /// A page of batches.
    pub(crate) async fn batches(&self, filter: &BatchFilter, page: &Page) -> Result<Vec<BatchDocument>> {
        match self {
            Self::Store(local) => {
                Ok(local.store().batches(filter, page).await?.iter().map(BatchDocument::from).collect())
            }
            Self::Server(server) => {
                let call = Call::get(&["batches"]).maybe("name", filter.name.as_ref()).maybe("state", filter.state);
                let call = asked(call, &filter.query);
                server.look(&paged(call, page)).await
            }
        }
    }

    /// A batch of the tenant.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub(crate) async fn batch(&self, batch: BatchId) -> Result<BatchView> {
        match self {
            Self::Store(local) => match local.store().batch(local.tenant(), batch).await? {
                Some(found) => Ok(found),
                None => Err(no_batch(local.store(), local.tenant(), batch).await),
            },
            Self::Server(server) => Ok(shown(server, batch).await?.into()),
        }
    }

    /// What a batch waits for.
    pub(crate) async fn why_batch(&self, batch: &BatchView) -> Result<Vec<Wait>> {
        match self {
            Self::Store(local) => Ok(why_batch(local.store(), batch).await?),
            Self::Server(server) => Ok(shown(server, batch.id).await?.waits.unwrap_or_default()),
        }
    }

    /// When a batch will have ended, as far as that is known.
    pub(crate) async fn eta(&self, batch: &BatchView) -> Result<Option<EtaDocument>> {
        match self {
            Self::Store(local) => Ok(eta(local.store(), batch, Utc::now()).await?),
            Self::Server(server) => Ok(shown(server, batch.id).await?.eta),
        }
    }

    /// What was said of the end of a batch before, as far as that is known.
    pub(crate) async fn eta_record(&self, batch: &BatchView) -> Result<Option<EtaRecordDocument>> {
        match self {
            Self::Store(local) => Ok(eta_record(local.store(), batch).await?),
            Self::Server(server) => Ok(shown(server, batch.id).await?.eta_record),
        }
    }

    /// Pauses, resumes or cancels a batch.
    pub(crate) async fn steer_batch(&self, order: &Order, batch: BatchId, steer: Steer) -> Result<ControlReport> {
        match self {
            Self::Store(local) => Ok(match steer {
                Steer::Pause => local.service.pause_batch(order, batch).await?,
                Steer::Resume => local.service.resume_batch(order, batch).await?,
                Steer::Cancel => local.service.cancel_batch(order, batch).await?,
            }),
            Self::Server(server) => {
                let verb = match steer {
                    Steer::Pause => "pause",
                    Steer::Resume => "resume",
                    Steer::Cancel => "cancel",
                };
                let call = Call::post(&["batches", &part(batch), verb]).within(WHOLE);
                let report: ReportDocument = server.change(call, order).await?;
                Ok(report.into())
            }
        }
    }

    /// Lets a batch go on that halted or was cancelled.
    pub(crate) async fn restart_batch(&self, order: &Order, restart: &Restart) -> Result<ControlReport> {
        match self {
            Self::Store(local) => Ok(local.service.restart_batch(order, restart).await?),
            Self::Server(server) => {
                let budget = restart.failure_budget.as_ref().map(ToString::to_string);
                let body = json!({ "failure_budget": budget, "dead": restart.dead });
                let call = Call::post(&["batches", &part(restart.batch), "restart"]).body(&body).within(WHOLE);
                let report: ReportDocument = server.change(call, order).await?;
                Ok(report.into())
            }
        }
    }

    /// Deletes batches that have ended; when one of them cannot be deleted, none is. A server is asked for one after the
    /// other, after it was asked whether each can be.
    pub(crate) async fn delete_batches(&self, order: &Order, batches: &[BatchId]) -> Result<DeletedBatchesDocument> {
        let dry_run = order.dry_run;
        match self {
            Self::Store(local) => {
                let options = pruner_options(&local.process.loaded.config, true);
                let (report, deleted) = local.service.delete_batches(order, batches, options, |_| {}).await?;
                Ok(DeletedBatchesDocument { dry_run, chunks: report.affected, deleted: deleted.rows })
            }
            Self::Server(server) => {
                let rehearsal = delete_each(server, &order.clone().rehearsed(true), batches).await?;
                if dry_run { Ok(rehearsal) } else { delete_each(server, order, batches).await }
            }
        }
    }

    /// Puts two halves in the place of a chunk.
    pub(crate) async fn split_chunk(&self, order: &Order, chunk: JobId) -> Result<ControlReport> {
        match self {
            Self::Store(local) => Ok(local.service.split_chunk(order, chunk).await?),
            Self::Server(server) => {
                let report: ReportDocument =
                    server.change(Call::post(&["chunks", &part(chunk), "split"]), order).await?;
                Ok(report.into())
            }
        }
    }

    /// Cancels several batches one after the other; `passed` receives why one that was not named cannot be.
    pub(crate) async fn cancel_batches(
        &self,
        order: &Order,
        batches: &[BatchId],
        mut passed: impl FnMut(String) + Send,
    ) -> Result<ControlReport> {
        let mut total = ControlReport::default();
        for batch in batches {
            match self.steer_batch(order, *batch, Steer::Cancel).await {
                Ok(report) => add(&mut total, report),
                // It has ended since it was found.
                Err(error) if error.exit == crate::exit_code::Exit::Conflict => passed(error.message),
                Err(error) => return Err(error),
            }
        }
        Ok(total)
    }
}

/// Starts a batch of a definition of the server's configuration.
pub(crate) async fn start(server: &Remote, order: &Order, batch: &HttpBatch) -> Result<BatchView> {
    let call = Call::post(&["batches"]).body(batch).within(WHOLE);
    let started: BatchWithResult = server.change(call, order).await?;
    Ok(started.into())
}

/// Starts a batch over a whole upload.
pub(crate) async fn start_from(
    server: &Remote,
    order: &Order,
    batch: &HttpBatch,
    upload: &UploadDocument,
) -> Result<BatchView> {
    let mut body = json!(batch);
    body["upload"] = json!(upload.id);
    let started: BatchWithResult = server.change(Call::post(&["batches"]).body(&body).within(WHOLE), order).await?;
    Ok(started.into())
}

/// What such a batch would be.
pub(crate) async fn rehearse(server: &Remote, order: &Order, batch: &HttpBatch) -> Result<WouldStartDocument> {
    server.change(Call::post(&["batches"]).body(batch).within(WHOLE), order).await
}

/// What is started with an input of the caller.
pub(crate) fn with_input(batch: &HttpBatch, params: &[String]) -> Call {
    let call = Call::post(&["definitions", &batch.name, "batches"]).maybe("chunk", batch.chunk);
    let call = call.maybe("failure_budget", batch.failure_budget.as_ref());
    let call = call.maybe("idempotency_key", batch.idempotency_key.as_ref());
    params.iter().fold(call, |call, param| call.param("param", param))
}

/// Starts a batch over an input that is sent.
pub(crate) async fn start_over(server: &Remote, order: &Order, call: Call, input: Upload) -> Result<BatchView> {
    let started: BatchWithResult = server.upload(call, order, input).await?;
    Ok(started.into())
}

/// What such a batch would be.
pub(crate) async fn rehearse_over(
    server: &Remote,
    order: &Order,
    call: Call,
    input: Upload,
) -> Result<WouldStartDocument> {
    server.upload(call, order, input).await
}

async fn shown(server: &Remote, batch: BatchId) -> Result<BatchWithResult> {
    server.look(&Call::get(&["batches", &part(batch)])).await
}

async fn delete_each(server: &Remote, order: &Order, batches: &[BatchId]) -> Result<DeletedBatchesDocument> {
    let mut total = DeletedBatchesDocument { dry_run: order.dry_run, chunks: 0, deleted: BTreeMap::new() };
    for batch in batches {
        let call = Call::delete(&["batches", &part(batch)]).within(WHOLE);
        let one: DeletedBatchesDocument = server.change(call, order).await?;
        total.chunks += one.chunks;
        for (noun, rows) in one.deleted {
            *total.deleted.entry(noun).or_default() += rows;
        }
    }
    Ok(total)
}
