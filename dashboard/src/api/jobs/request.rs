//! A job as a request describes it.

use chrono::{DateTime, Utc};
use gristmill_core::job::NewJob;
use gristmill_service::JobRequest;

use crate::gate::{Caller, Fault, Fields, Moment, Object};

/// A job as a request describes it.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::api) struct JobBody(pub(in crate::api) JobRequest);

impl Fields for JobBody {
    const NAME: &'static str = "JobRequest";
    const EXAMPLE: &'static str = r#"{"kind": "email", "payload": {"to": "ada@example.com", "subject": "Hello", "text": "Good morning"}, "in": "5m", "idempotency_key": "order-7"}"#;

    fn read(object: &mut Object) -> Option<Self> {
        let kind = object.required("kind", "What it does: `email`, `webhook`, `exec`, `http`, or a kind of your own");
        let request = JobRequest {
            kind: String::new(),
            payload: object.any("payload", "Its input: any JSON of at most 1 MiB"),
            version: object.optional("version", "Which version of its kind's payload that is; 1 unless said"),
            queue: object.optional("queue", "The queue on which it waits"),
            priority: object.optional("priority", "Its priority: `high`, `normal`, `low`"),
            key: object.optional("key", "Whose turn and limit it falls under, such as a customer"),
            after: object.optional("in", "Start after so long, such as `5m`"),
            at: at(object),
            unique: object.optional("unique", "Only one job with this key at a time"),
            unique_while: object.optional("unique_while", "In which states it holds that key"),
            unique_for: object.optional("unique_for", "How long it holds that key, whatever its state"),
            on_conflict: object.optional("on_conflict", "What happens when another job holds the key"),
            idempotency_key: object
                .optional("idempotency_key", "Nothing is enqueued when a job with this key ever was"),
            max_attempts: object.optional("max_attempts", "How many attempts it has"),
            timeout: object.optional("timeout", "How long one attempt may take, such as `90s`"),
        };
        kind.map(|kind| Self(JobRequest { kind, ..request }))
    }
}

fn at(object: &mut Object) -> Option<DateTime<Utc>> {
    let text: String = object.optional("at", "Start at this instant, such as `2030-01-31T08:00:00Z`")?;
    match text.parse::<Moment>() {
        Ok(Moment(at)) => Some(at),
        Err(wrong) => {
            object.fault("at", wrong);
            None
        }
    }
}

/// The job that a request describes, part of the trace of that request.
///
/// # Errors
///
/// Everything that is wrong with it.
pub(crate) fn job_of(caller: &Caller, request: JobRequest) -> Result<NewJob, Vec<Fault>> {
    let program = caller.api().program();
    let fault = |field: &str, message: String| Fault::new(format!("/{field}"), message);
    let job = request.job(&caller.api().run_context().job_defaults);
    let mut job =
        job.map_err(|wrong| wrong.into_iter().map(|wrong| fault(wrong.field, wrong.message)).collect::<Vec<_>>())?;
    program.check_kind(&job.kind).map_err(|wrong| vec![fault("kind", wrong)])?;
    // Another version of the payload is that of another program's kind.
    if job.version == 1 {
        program.check_payload(&job.kind, &job.payload).map_err(|wrong| vec![fault("payload", wrong)])?;
    }
    job.trace = Some(caller.info.trace.to_string());
    Ok(job)
}
