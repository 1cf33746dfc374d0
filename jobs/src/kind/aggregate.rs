//! Kind `aggregate`: merges the results of a batch's chunks, judges the batch, and enqueues its notifications.
//!
//! It runs once all chunks are final, once for each generation, and again whenever an attempt was cut short: everything
//! it does outside its own transaction can be done twice. The effects are jobs in the transaction that ends the batch,
//! each with its own key, so that they are created exactly once.

use std::path::Path;

use async_trait::async_trait;
use gristmill_core::aggregate::{Merger, Partial};
use gristmill_core::batch::{BatchState, Counts, FailureBudget};
use gristmill_core::chunk::OutputPart;
use gristmill_core::id::BatchId;
use gristmill_core::job::ClaimedJob;
use gristmill_core::mailing::{self, FUNNEL_NAME, Funnel, MailSpec, VARIANTS_NAME};
use gristmill_store::{BatchEnd, BatchPlan, BatchView, Store, Views};
use serde_json::{Map, Value, json};

use super::callbacks::{Settled, effects};
use super::chunk::plan;
use crate::handler::{Finish, Handler, JobContext};
use crate::pipeline::closing;
use crate::sink::{Manifest, OutputDirectory, SinkError};

/// The name of the kind.
pub const AGGREGATE: &str = "aggregate";

/// The most chunks' results that are fetched at once.
const PAGE_MAX: u32 = 200;

/// How many are fetched first, when their size is not known: each may keep 8 MiB of values for a measure.
const PAGE_FIRST: u32 = 4;

/// How many bytes of values one page should have: the memory that the aggregate needs in addition to the merged result.
const PAGE_BYTES: u64 = 4 * 1024 * 1024;

/// Runs aggregates.
#[derive(Debug, Clone, Copy)]
pub struct AggregateHandler;

#[async_trait]
impl Handler for AggregateHandler {
    async fn run(&self, context: JobContext) -> Finish {
        attempt(&context).await.unwrap_or_else(|failed| failed)
    }
}

async fn attempt(context: &JobContext) -> Result<Finish, Finish> {
    let (store, job) = (&*context.store, &context.job);
    let batch = job.batch.ok_or_else(|| Finish::permanent("the aggregate belongs to no batch"))?;
    let plan = plan(store, batch).await?;
    let sent = match &plan.definition.mail {
        None => None,
        Some(mail) => Some(funnel_of(&*context.store, job, batch, mail).await?),
    };
    let (aggregation, sink) =
        closing(&plan.name, &plan.definition, Path::new("")).map_err(|error| Finish::permanent(error.to_string()))?;
    let (partial, parts) = merged(store, batch).await?;
    let directory = sink.and_then(|sink| sink.directory(batch));
    // Before the state is read: see `OutputDirectory::list`.
    let found = match directory.clone() {
        Some(directory) => blocking(move || directory.list()).await?,
        None => Default::default(),
    };
    let view = still_ours(store, job, batch).await?;
    if let Some(directory) = directory {
        let manifest = Manifest::new(batch, &plan.name, job.generation, view.counts, parts);
        blocking(move || OutputDirectory::close(&directory, &manifest, &found)).await?;
    }
    let mut result = aggregation.finish(&partial);
    if let (Some(sent), Some(measures)) = (sent, result.as_object_mut()) {
        measures.extend(sent);
    }
    end(context, &plan, view, result).await
}

/// How far a mailing is, by the names under which it stands in the result, when nothing more is waited for. Until then
/// the aggregate comes again later.
async fn funnel_of(
    store: &dyn Store,
    job: &ClaimedJob,
    batch: BatchId,
    mail: &MailSpec,
) -> Result<Map<String, Value>, Finish> {
    let variants = store.mailing(&job.tenant, batch).await?;
    let mut all = Funnel::default();
    for one in &variants {
        all.merge(&one.funnel);
    }
    // Both instants come from the database's clock.
    let waited = (job.started_at - job.created_at).to_std().unwrap_or_default();
    if !all.is_settled(waited, mail.settle_within()) {
        return Err(Finish::snooze(mailing::waiting_for(&all, mail.settle_within()), mailing::look_again(waited)));
    }
    let whole = |funnel: &Funnel| {
        let mut whole = json!(funnel);
        whole["accepted"] = json!(funnel.accepted());
        whole
    };
    let mut result = Map::new();
    result.insert(FUNNEL_NAME.to_owned(), whole(&all));
    if !mail.variants.is_empty() {
        let each = variants.iter().map(|one| (one.variant.clone(), whole(&one.funnel)));
        result.insert(VARIANTS_NAME.to_owned(), Value::Object(each.collect()));
    }
    Ok(result)
}

/// How many results to fetch next, judging by the size of the last ones.
fn next_page(results: u64, value_bytes: u64) -> u32 {
    let each = value_bytes.div_ceil(results.max(1)).max(1);
    u32::try_from(PAGE_BYTES / each).unwrap_or(PAGE_MAX).clamp(1, PAGE_MAX)
}

/// All results of all generations, page by page: only one page of results and the merged one are in memory.
async fn merged(store: &dyn Views, batch: BatchId) -> Result<(Partial, Vec<OutputPart>), Finish> {
    let (mut merger, mut parts, mut after, mut page_size) = (Merger::default(), Vec::new(), -1, PAGE_FIRST);
    loop {
        let page = store.chunk_results(batch, after, page_size).await?;
        let Some(last) = page.last() else { return Ok((merger.finish(), parts)) };
        after = last.seq;
        page_size = next_page(page.len() as u64, page.iter().map(|one| one.result.partial.value_bytes()).sum());
        for stored in page {
            merger.merge(stored.result.partial).map_err(|error| Finish::permanent(error.to_string()))?;
            parts.extend(stored.result.parts);
        }
    }
}

/// The batch, if it is still this aggregate's: it may have been ended or redriven meanwhile.
async fn still_ours(store: &dyn Views, job: &ClaimedJob, batch: BatchId) -> Result<BatchView, Finish> {
    let view = store.batch(&job.tenant, batch).await?;
    let view = view.ok_or_else(|| Finish::permanent(format!("there is no batch {batch}")))?;
    if view.state == BatchState::Aggregating && view.generation == job.generation {
        return Ok(view);
    }
    Err(Finish::permanent(format!(
        "the batch is {} in generation {}; this is the aggregate of generation {}, whose time is over",
        view.state, view.generation, job.generation
    )))
}

async fn end(context: &JobContext, plan: &BatchPlan, view: BatchView, result: Value) -> Result<Finish, Finish> {
    // The batch's own budget, which a restart may have raised.
    let failure_budget: FailureBudget = view.failure_budget.parse().unwrap_or(plan.definition.failure_budget);
    let Counts { quarantined, input, .. } = view.counts;
    let over = failure_budget.exceeded_by(&view.counts, true);
    let over = over
        .then(|| format!("{quarantined} of {input} items are quarantined, more than the budget of {failure_budget}"));
    // A reason that exists before the end is that of a halt: then chunks were cancelled, and the batch cannot be
    // complete.
    let reason = over.or_else(|| view.reason.clone());
    let state = if reason.is_some() { BatchState::Halted } else { BatchState::Complete };
    let settled = Settled {
        view: BatchView { state, reason: reason.clone(), finished_at: Some(context.store.now().await?), ..view },
        result,
    };
    let mut finish = Finish::done(None);
    finish.follow = effects(&plan.definition, &settled, context.job.trace.as_ref());
    finish.batch_end = Some(BatchEnd {
        batch: settled.view.id,
        generation: context.job.generation,
        state,
        result: settled.result,
        reason,
    });
    Ok(finish)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SinkError> + Send + 'static,
) -> Result<T, Finish> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => Ok(done?),
        Err(_) => Err(Finish::failed("writing the manifest was cut short")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_larger_the_results_are_the_fewer_are_fetched_at_once() {
        assert_eq!(next_page(4, 0), PAGE_MAX, "counts and sums keep no values");
        assert_eq!(next_page(4, 4 * 7 * 1024 * 1024), 1, "7 MiB each");
        assert_eq!(next_page(10, 10 * 64 * 1024), 64);
    }
}
