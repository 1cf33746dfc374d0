//! A batch as it is shown, while it is under way and at its end.

use std::time::Duration;

use gristmill_core::duration;
use gristmill_core::id::BatchId;
use gristmill_core::job::JobState;
use gristmill_jobs::kind::payload::{EMAIL, WEBHOOK};
use gristmill_service::documents::{BatchWithResult, EtaDocument, EtaRecordDocument, EtaState};
use gristmill_store::{BatchView, JobFilter, Page};
use serde_json::Value;

use super::list::describe_pause;
use super::wait::Ended;
use super::waits::describe;
use crate::cli::context::CommandContext;
use crate::cli::output::{Format, Output, grouped, result_fields};
use crate::exit_code::{Exit, Result};

/// The most messages of a kind that are named because they could not be sent.
const UNSENT_MAX: u32 = 3;

/// One batch of the tenant.
pub(super) async fn find(context: &CommandContext, batch: BatchId) -> Result<BatchView> {
    context.backend().await?.batch(batch).await
}

/// Prints a batch with what it waits for.
///
/// # Errors
///
/// Those of the store.
pub(super) async fn show(context: &CommandContext, batch: &BatchView) -> Result<()> {
    let backend = context.backend().await?;
    let (waits, eta) = (backend.why_batch(batch).await?, backend.eta(batch).await?);
    let record = backend.eta_record(batch).await?;
    print(&context.output, batch, BatchWithResult::from(batch).waiting_for(waits).ending(eta).recorded(record));
    unsent(context, batch).await
}

/// Reports which of a batch's messages could not be sent: a report that is not expected is not missed.
async fn unsent(context: &CommandContext, batch: &BatchView) -> Result<()> {
    if !batch.state.is_final() {
        return Ok(());
    }
    for kind in [EMAIL, WEBHOOK] {
        let filter = JobFilter {
            tenant: batch.tenant.clone(),
            states: vec![JobState::Dead],
            kind: Some(kind.to_owned()),
            batch: Some(batch.id),
            ..JobFilter::default()
        };
        let page = Page { after: None, limit: UNSENT_MAX };
        for job in context.backend().await?.jobs(&filter, &page).await? {
            let why = job.error.as_deref().unwrap_or("it left no error");
            let see = format!("{} dead show {}", context.program_here(), job.id);
            context.output.error(&format!("a message of this batch ({kind}) could not be sent: {why}; see `{see}`"));
        }
    }
    Ok(())
}

/// Prints how a wait ended, and returns the exit code for it.
///
/// # Errors
///
/// Those of the store.
pub(super) async fn end(context: &CommandContext, ended: &Ended) -> Result<Exit> {
    match ended {
        Ended::Final(batch) => {
            print(&context.output, batch, BatchWithResult::from(&**batch));
            unsent(context, batch).await?;
        }
        Ended::TimedOut(batch) => {
            show(context, batch).await?;
            context.output.error("the wait is over; the batch goes on where workers are");
            context.output.note(&format!("follow it: {} batch watch {}", context.program_here(), batch.id));
        }
        Ended::Detached { batch, worked, .. } => {
            let program = context.program_here();
            if *worked {
                context.output.note("the work that this process did has stopped; the batch keeps what is done");
                context.output.note(&format!("go on with it: {program} dev"));
            }
            context.output.note(&format!("follow it: {program} batch watch {}", batch.id));
        }
    }
    Ok(ended.exit())
}

/// When a batch will have ended, in words.
fn ends(eta: &EtaDocument, output: &Output) -> String {
    match (eta.state, eta.soonest, eta.likely, eta.latest) {
        (EtaState::Between, Some(soonest), Some(likely), Some(latest)) => {
            let [soonest, likely, latest] = [soonest, likely, latest].map(|at| output.time(at));
            format!("{soonest} to {latest}, likely {likely} (four times in five)")
        }
        (EtaState::AtLeast, Some(soonest), ..) => {
            format!("not before {}: a few chunks take far longer than the others", output.time(soonest))
        }
        (EtaState::TooEarly, ..) => "too early to say: too few chunks have finished".to_owned(),
        (EtaState::Stalled, ..) => "stalled: no chunk has finished for longer than nearly all of them took".to_owned(),
        _ => "no chunk runs; what they wait for decides".to_owned(),
    }
}

/// How what was said of its end has held, in words.
fn held(record: &EtaRecordDocument) -> Option<String> {
    let slipped = record.slipped_seconds?;
    let by = duration::format(Duration::from_secs(slipped.unsigned_abs()));
    let moved = match slipped {
        ..0 => format!("{by} earlier than was first said"),
        0 => "when it was first said".to_owned(),
        1.. => format!("{by} later than was first said"),
    };
    Some(match record.ended_at {
        Some(_) => format!("{moved}; {} of {} ranges held", record.held, record.ranges),
        None => moved,
    })
}

/// A batch in full: one document, or lines.
pub(super) fn print(output: &Output, batch: &BatchView, shown: BatchWithResult) {
    if output.format == Format::Json {
        return output.document(&shown);
    }
    let BatchWithResult { waits, eta, eta_record, .. } = shown;
    let counts = &batch.counts;
    let mut fields = vec![
        ("id", batch.id.to_string()),
        ("name", batch.name.clone()),
        ("state", if batch.paused { format!("{}, paused", batch.state) } else { batch.state.to_string() }),
        ("generation", batch.generation.to_string()),
        ("input", grouped(counts.input)),
        ("ok", grouped(counts.ok)),
        ("skipped", grouped(counts.skipped)),
        ("quarantined", format!("{} (budget {})", grouped(counts.quarantined), batch.failure_budget)),
        ("cancelled", grouped(counts.cancelled)),
        ("pending", grouped(counts.pending())),
        ("chunks", format!("{}, {} not final, {} dead", batch.chunks, batch.remaining, batch.chunks_dead)),
        ("retries", grouped(batch.retries)),
        ("created", output.time(batch.created_at)),
        ("finished", output.time_or_dash(batch.finished_at)),
    ];
    if let Some(pause) = &batch.pause {
        fields.push(("paused", describe_pause(pause, output)));
    }
    fields.extend(eta.iter().map(|eta| ("ends", ends(eta, output))));
    fields.extend(eta_record.as_ref().and_then(held).map(|held| ("estimates", held)));
    fields.extend(waits.iter().flatten().map(|wait| ("waits", describe(wait, output))));
    if let Some(reason) = &batch.reason {
        fields.push(("reason", reason.clone()));
    }
    if let Some(Value::Object(result)) = &batch.result {
        fields.extend(result_fields(result, output.format));
    }
    output.fields(&Value::Null, &fields);
}
