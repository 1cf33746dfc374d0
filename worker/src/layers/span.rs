//! The span of an attempt: everything logged while it runs carries the job's fields. It is apalis' `TraceLayer`.

use std::time::Duration;

use apalis::layers::tracing::{Trace, TraceLayer};
use apalis_core::task::Task;
use gristmill_core::job::ClaimedJob;
use gristmill_core::trace::TraceContext;
use tracing::Span;

use crate::attempt::{ClaimedAttempt, Settled};

type MakeSpan = fn(&Task<ClaimedAttempt>) -> Span;
type OnRequest = fn(&Task<ClaimedAttempt>, &Span);
type OnResponse = fn(&Option<Settled>, Duration, &Span);

/// A service inside the span of its job.
pub(super) type Spanned<S> = Trace<S, MakeSpan, OnRequest, OnResponse, ()>;

/// Only the span: the meaning of an attempt's ending is logged where it is decided.
pub(super) fn span_layer() -> TraceLayer<MakeSpan, OnRequest, OnResponse, ()> {
    TraceLayer::new()
        .make_span_with((|task| span(&task.args.job)) as MakeSpan)
        .on_request((|_, _| {}) as OnRequest)
        .on_response((|_, _, _| {}) as OnResponse)
        .on_failure(())
}

/// The fields of a job, named once.
fn span(job: &ClaimedJob) -> Span {
    let span = tracing::info_span!(
        "job",
        job.id = %job.fence.job,
        job.kind = %job.kind,
        queue = %job.queue,
        attempt = job.fence.attempt,
        batch.id = tracing::field::Empty,
        trace_id = tracing::field::Empty,
    );
    if let Some(batch) = job.batch {
        span.record("batch.id", tracing::field::display(batch));
    }
    if let Some(trace) = job.trace.as_deref().and_then(TraceContext::parse) {
        span.record("trace_id", format_args!("{:032x}", trace.trace_id).to_string());
    }
    span
}
