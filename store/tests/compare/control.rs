//! What operators control, and how the outcome is described.

use std::collections::BTreeMap;

use gristmill_core::batch::FailureBudget;
use gristmill_core::item_patch::{ItemPatch, Patch};
use gristmill_core::job::{Priority, RunAt};
use gristmill_core::job_edit::JobEdit;
use gristmill_store::{
    ControlReport, Page, PatchRedrive, PatchReport, Pause, QuarantineFilter, QuarantineWhich, Restart, Result,
};
use serde_json::json;

use crate::apply::Told;
use crate::made::{LONG, queue_name};
use crate::operation::{Mended, Operation};
use crate::side::{Pair, TENANTS, batch_id};

pub(crate) async fn apply(told: &mut Told<'_>, pair: &Pair<'_>, operation: &Operation) -> Result<String> {
    let side = told.side;
    let (store, tenant) = (&side.store, TENANTS[0]);
    let id = |job: usize| side.id(&pair.job(job));
    let said = Pause { by: Some("somebody".to_owned()), reason: Some("a reason".to_owned()) };
    let control_report = match operation {
        Operation::PauseBatch { batch, paused, dry } => {
            store.pause_batch(tenant, batch_id(*batch), paused.then_some(&said), *dry).await?
        }
        Operation::PauseQueue { queue, paused, dry } => {
            store.pause_queue(tenant, &queue_name(*queue), paused.then_some(&said), *dry).await?
        }
        Operation::CancelBatch { batch, dry } => store.cancel_batch(tenant, batch_id(*batch), "enough", *dry).await?,
        Operation::Halt { batch, generation } => store.halt_batch(batch_id(*batch), *generation, "too many").await?,
        Operation::CancelJob { job, dry } => store.cancel_job(tenant, id(*job), "enough", *dry).await?,
        Operation::CancelJobs { jobs, dry } => {
            let some: Vec<_> = jobs.iter().map(|job| id(*job)).collect();
            store.cancel_jobs(tenant, &some, "enough", *dry).await?
        }
        Operation::RetryJob { job, dry } => store.retry_job(tenant, id(*job), *dry).await?,
        Operation::EditJob { job, priority, queue, run, payload, dry } => {
            let edit = JobEdit {
                priority: priority.map(|at| Priority::ALL[at % 3]),
                queue: queue.map(queue_name),
                run: run.map(|later| if later { RunAt::In(LONG) } else { RunAt::Now }),
                payload: payload.then(|| json!({ "edited": true })),
                edition: None,
            };
            store.edit_job(tenant, id(*job), &edit, *dry).await?
        }
        Operation::RedriveDead { jobs, all, dry } => {
            let some: Vec<_> = jobs.iter().map(|job| id(*job)).collect();
            let every: Vec<_> = pair.jobs.iter().map(|name| side.id(name)).collect();
            store.redrive_dead(tenant, if *all { &every } else { &some }, *dry).await?
        }
        Operation::Restart { batch, failure_budget, dead, dry } => {
            let failure_budget = failure_budget.map(FailureBudget::Count);
            store.restart_batch(tenant, &Restart { batch: batch_id(*batch), failure_budget, dead: *dead }, *dry).await?
        }
        Operation::Split { job, dry } => store.split_chunk(tenant, id(*job), *dry).await?,
        Operation::ItemPatch { .. } => return mend(told, operation).await,
        other => unreachable!("{other:?} steers nothing"),
    };
    Ok(steered_as_text(told, &control_report).await)
}

async fn steered_as_text(told: &mut Told<'_>, control_report: &ControlReport) -> String {
    let mut samples = Vec::new();
    for sample in &control_report.samples {
        samples.push(match sample.parse() {
            Ok(id) => told.name(id).await,
            Err(_) => sample.clone(),
        });
    }
    if control_report.affected > 5 {
        // Which five are shown is not defined.
        samples = vec![format!("{} samples", samples.len())];
    }
    samples.sort();
    let dispatched = told.dispatched(&control_report.dispatched).await;
    format!("affected {} {samples:?} generation {:?} {dispatched}", control_report.affected, control_report.generation)
}

/// The numbers of quarantined items are the store's own: they are identified by their places.
async fn mend(told: &mut Told<'_>, operation: &Operation) -> Result<String> {
    let Operation::ItemPatch { batch, first, how, from, chunk, dry } = operation else { unreachable!("it mends") };
    let store = &told.side.store;
    let filter = QuarantineFilter {
        tenant: TENANTS[0].to_owned(),
        batch: Some(batch_id(*batch)),
        open_only: true,
        ..Default::default()
    };
    let open = store.quarantine(&filter, &Page { after: None, limit: 1_000 }).await?;
    let places: BTreeMap<i64, (i64, u64)> = open.iter().map(|item| (item.id, (item.seq, item.position))).collect();
    let mut ids: Vec<i64> = places.keys().copied().collect();
    ids.sort_unstable_by_key(|id| places.get(id));
    let which = QuarantineWhich {
        items: if *first { ids.first().copied().into_iter().collect() } else { Vec::new() },
        from: *from,
        ..QuarantineWhich::default()
    };
    let mend = match how {
        Mended::AsIs => ItemPatch::AsIs,
        Mended::Patched => {
            let patch = json!([{ "op": "test", "path": "/even", "value": true }, { "op": "add", "path": "/mended", "value": 1 }]);
            ItemPatch::Patch(Patch::parse(&patch.to_string()).expect("a patch"))
        }
        Mended::Replaced => {
            ItemPatch::Replace(ids.iter().step_by(2).map(|id| (*id, json!({ "instead": true }))).collect())
        }
    };
    let patching = PatchRedrive { batch: batch_id(*batch), which, mend, chunk: *chunk };
    let PatchReport { redriven, kept, samples, refused, generation, dispatched } =
        store.redrive_patched(TENANTS[0], &patching, *dry).await?;
    let mut refused: Vec<_> = refused.iter().map(|(id, why)| format!("{:?} {why}", places.get(id))).collect();
    refused.sort();
    let mut samples: Vec<_> = samples
        .iter()
        .map(|sample| format!("{:?} {} {} {}", places.get(&sample.id), sample.position, sample.before, sample.after))
        .collect();
    samples.sort();
    if redriven > 5 {
        samples = vec![format!("{} samples", samples.len())];
    }
    let dispatched = told.dispatched(&dispatched).await;
    Ok(format!("redriven {redriven} kept {kept} {samples:?} {refused:?} generation {generation:?} {dispatched}"))
}
