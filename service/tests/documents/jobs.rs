//! Jobs, what they wait for, and what an enqueue answers.

use gristmill_core::attempt_log::{LogLevel, LogSource};
use gristmill_core::job::{JobState, NewJob, Priority};
use gristmill_service::documents::{
    AcknowledgementDocument, AttemptDocument, AttemptLogDocument, EndedJobsDocument, EnqueuedDocument,
    EnqueuedManyDocument, EnqueuedOneDocument, JobDocument, JobOnlyDocument, LogLineDocument, WouldEnqueueDocument,
    WouldEnqueueManyDocument,
};
use gristmill_store::{EnqueueOutcome, JobView, Wait};
use serde_json::{Value, json};

use super::batches::{chunk_job, pause};
use super::{Sample, at, id, sample};

fn attempt() -> AttemptDocument {
    AttemptDocument {
        attempt: 1,
        worker: Some(id(12)),
        started_at: Some(at(5)),
        ended_at: at(6),
        ending: "timed_out".to_owned(),
        error: Some("the attempt took longer than 15m".to_owned()),
    }
}

fn short_attempt() -> AttemptDocument {
    AttemptDocument {
        attempt: 2,
        worker: None,
        started_at: None,
        ended_at: at(7),
        ending: "interrupted".to_owned(),
        error: None,
    }
}

fn seen() -> [AcknowledgementDocument; 2] {
    let (fingerprint, by) = ("a1b2c3d4e5f6".to_owned(), "ada".to_owned());
    let full = AcknowledgementDocument { fingerprint, by, reason: Some("the provider knows".to_owned()), at: at(3) };
    [full.clone(), AcknowledgementDocument { reason: None, ..full }]
}

fn lines() -> [LogLineDocument; 2] {
    let text = "row 7 has no price";
    let event = LogLineDocument {
        number: 1,
        at: at(5),
        source: LogSource::Handler,
        level: Some(LogLevel::Warn),
        text: text.to_owned(),
    };
    [event.clone(), LogLineDocument { number: 9, source: LogSource::Stderr, level: None, ..event }]
}

fn said() -> [AttemptLogDocument; 2] {
    let [event, line] = lines();
    let full = AttemptLogDocument { attempt: 2, written_at: at(6), said: 9, lines: vec![event, line] };
    [full, AttemptLogDocument { attempt: 1, written_at: at(5), said: 0, lines: Vec::new() }]
}

fn full() -> JobView {
    JobView {
        id: id(10),
        tenant: "acme".to_owned(),
        queue: "mail".to_owned(),
        priority: Priority::High,
        key: Some("customer-7".to_owned()),
        kind: "email".to_owned(),
        version: 2,
        state: JobState::Retry,
        attempt: 3,
        max_attempts: 6,
        snoozes: 1,
        payload: json!({ "to": "a@example.com" }),
        output: Some(json!({ "message_id": "<1@example.com>" })),
        run_at: Some(at(8)),
        attempts: vec![attempt(), short_attempt()],
        ..chunk_job()
    }
}

fn minimal() -> JobView {
    JobView {
        state: JobState::Queued,
        attempt: 0,
        batch: None,
        seq: None,
        generation: 0,
        items: 0,
        error: None,
        worker: None,
        started_at: None,
        finished_at: None,
        ..chunk_job()
    }
}

/// Everything that a job can wait for.
fn waits() -> Vec<Wait> {
    vec![
        Wait::Time { at: at(8) },
        Wait::QueuePaused { queue: "mail".to_owned(), pause: Some(pause()) },
        Wait::BatchPaused { batch: id(1), pause: None },
        Wait::NoWorker,
        Wait::NoWorkerForQueue { queue: "mail".to_owned() },
        Wait::NoWorkerForKind { kind: "email@2".to_owned(), other_version: true },
        Wait::NoScheduler,
        Wait::NotDispatched,
        Wait::Slot { turns: true },
        Wait::Concurrency { limit: "crm".to_owned(), running: 5, most: 5 },
        Wait::Rate { limit: "mails".to_owned(), next: at(9) },
    ]
}

fn enqueued() -> Vec<Sample> {
    let made = EnqueuedDocument::created(id(10));
    let known = EnqueuedDocument::by(id(11), EnqueueOutcome::Debounced);
    let mut many = EnqueuedManyDocument::default();
    many.add(&[made, known, EnqueuedDocument::by(id(12), EnqueueOutcome::Replaced), made]);
    many.add(&[EnqueuedDocument::by(id(13), EnqueueOutcome::Existing)]);
    let ids = [10, 11, 12, 10, 13].map(id).to_vec();
    let ended = Some(EndedJobsDocument { done: 3, dead: 1, cancelled: 1 });
    assert_eq!(many, EnqueuedManyDocument { enqueued: 2, existing: 1, replaced: 1, debounced: 1, ids, ended: None });
    many.ended = ended;
    let job = NewJob { priority: Priority::Low, ..NewJob::new(id(10), "email", Value::Null) };
    let would = |jobs| WouldEnqueueManyDocument { dry_run: true, would_enqueue: jobs };
    vec![
        sample("EnqueuedDocument", made, known),
        sample("EnqueuedOneDocument", EnqueuedOneDocument { job: made }, EnqueuedOneDocument { job: known }),
        sample("EnqueuedManyDocument", many, EnqueuedManyDocument::default()),
        sample("EndedJobsDocument", ended, EndedJobsDocument::default()),
        sample("WouldEnqueueDocument", WouldEnqueueDocument::from(&job), WouldEnqueueDocument::from(&job)),
        sample("WouldEnqueueManyDocument", would(2_000), would(0)),
    ]
}

pub(super) fn samples() -> Vec<Sample> {
    let whole = JobDocument::from(&full()).waiting_for(waits());
    let mut samples = vec![
        sample("AcknowledgementDocument", &seen()[0], &seen()[1]),
        sample("AttemptLogDocument", &said()[0], &said()[1]),
        sample("LogLineDocument", &lines()[0], &lines()[1]),
        sample("JobDocument", &whole, JobDocument::from(&minimal())),
        sample("JobOnlyDocument", JobOnlyDocument { job: whole }, JobOnlyDocument { job: (&minimal()).into() }),
        sample("AttemptDocument", attempt(), short_attempt()),
    ];
    samples.extend(enqueued());
    samples
}

#[test]
fn a_job_that_waits_for_nothing_says_so_and_one_in_a_list_says_nothing() {
    let shown = json!(JobDocument::from(&minimal()).waiting_for(Vec::new()));
    assert_eq!(shown["waits"], json!([]));
    assert_eq!(json!(JobDocument::from(&minimal())).get("waits"), None);
}
