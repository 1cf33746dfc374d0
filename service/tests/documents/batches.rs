//! Batches, chunks, callbacks, quarantined items.

use std::time::Duration;

use gristmill_core::batch::{BatchState, Counts};
use gristmill_core::chunk::{ChunkResult, OutputPart};
use gristmill_core::eta::Estimate;
use gristmill_core::job::{JobState, Priority};
use gristmill_service::documents::{
    BatchDocument, BatchWithResult, CallbackDocument, ChunkDocument, CountsDocument, EtaDocument, EtaRecordDocument,
    EtaSaidDocument, ExportedItemDocument, FailureDocument, News, OutputDocument, PatchReportDocument, PauseDocument,
    QuarantineItemDocument, RefusedItemDocument, WouldStartDocument,
};
use gristmill_store::{BatchView, JobView, MendSample, PatchReport, StoredResult, Wait};
use serde_json::{Value, json};

use super::{Sample, at, id, sample};

fn record() -> EtaRecordDocument {
    let said = vec![EtaSaidDocument { at: at(0), eta: eta() }];
    EtaRecordDocument { slipped_seconds: Some(-90), ended_at: Some(at(600)), ranges: 1, held: 1, said }
}

fn eta() -> EtaDocument {
    let [soonest, likely, latest] = [60, 90, 150].map(Duration::from_secs);
    EtaDocument::new(Estimate::Between { soonest, likely, latest }, at(0))
}

pub(super) fn pause() -> PauseDocument {
    PauseDocument { since: at(1), by: Some("ada@desk".to_owned()), reason: Some("the supplier is down".to_owned()) }
}

fn nobodys_pause() -> PauseDocument {
    PauseDocument { since: at(0), by: None, reason: None }
}

pub(super) fn full() -> BatchView {
    BatchView {
        id: id(1),
        tenant: "acme".to_owned(),
        name: "retail".to_owned(),
        state: BatchState::Halted,
        paused: true,
        pause: Some(pause()),
        generation: 2,
        counts: Counts { input: 100, ok: 80, skipped: 5, quarantined: 10, cancelled: 3 },
        chunks: 4,
        remaining: 1,
        chunks_dead: 1,
        retries: 6,
        failure_budget: "2.5%".to_owned(),
        result: Some(json!({ "revenue": "9.45" })),
        reason: Some("10 of 100 items are quarantined".to_owned()),
        created_at: at(2),
        finished_at: Some(at(3)),
    }
}

fn minimal() -> BatchView {
    BatchView {
        id: id(2),
        tenant: "main".to_owned(),
        name: "retail".to_owned(),
        state: BatchState::Open,
        paused: false,
        pause: None,
        generation: 0,
        counts: Counts::default(),
        chunks: 0,
        remaining: 0,
        chunks_dead: 0,
        retries: 0,
        failure_budget: "0".to_owned(),
        result: None,
        reason: None,
        created_at: at(0),
        finished_at: None,
    }
}

/// A chunk's job.
pub(super) fn chunk_job() -> JobView {
    JobView {
        id: id(11),
        tenant: "acme".to_owned(),
        queue: "default".to_owned(),
        priority: Priority::Normal,
        key: None,
        kind: "chunk".to_owned(),
        version: 1,
        state: JobState::Done,
        attempt: 2,
        max_attempts: 5,
        snoozes: 0,
        batch: Some(id(1)),
        seq: Some(3),
        generation: 2,
        items: 25,
        payload: Value::Null,
        output: None,
        error: Some("the worker's lease ran out before the attempt ended".to_owned()),
        worker: Some(id(12)),
        created_at: at(0),
        run_at: None,
        started_at: Some(at(1)),
        finished_at: Some(at(2)),
        attempts: Vec::new(),
    }
}

fn chunks() -> Sample {
    let part =
        OutputPart { path: "0198f9c1/part-00003-2.jsonl".to_owned(), items: 20, bytes: 4_096, sha256: "ab".repeat(32) };
    let result = ChunkResult { ok: 20, skipped: 2, quarantined: 3, parts: vec![part], ..ChunkResult::default() };
    let stored = StoredResult { seq: 3, generation: 2, result };
    let waiting = JobView {
        state: JobState::Queued,
        attempt: 0,
        error: None,
        worker: None,
        started_at: None,
        finished_at: None,
        ..chunk_job()
    };
    sample(
        "ChunkDocument",
        ChunkDocument::new(&chunk_job(), Some(&stored)).expect("a chunk"),
        ChunkDocument::new(&waiting, None).expect("a chunk"),
    )
}

#[test]
fn a_job_that_is_no_chunk_has_no_chunk_document() {
    assert_eq!(ChunkDocument::new(&JobView { seq: None, ..chunk_job() }, None), None);
}

fn output() -> Sample {
    let output = OutputDocument {
        name: "part-000003-a1-8f3c5d20b1e6.jsonl".to_owned(),
        chunk: 3,
        items: 500,
        bytes: 41_932,
        sha256: "9f".repeat(32),
    };
    sample("OutputDocument", output.clone(), output)
}

fn failure() -> FailureDocument {
    FailureDocument {
        seq: 3,
        position: Some(57),
        line: Some(59),
        stage: Some("parse".to_owned()),
        reason: "`abc` is not a number".to_owned(),
    }
}

fn callbacks() -> Sample {
    let result = News::Ended { result: Value::Null, result_bytes: Some(600_000) };
    let failed = News::FirstFailure { failure: FailureDocument { seq: 0, ..FailureDocument::default() } };
    sample(
        "CallbackDocument",
        CallbackDocument { batch: (&full()).into(), news: result },
        CallbackDocument { batch: (&minimal()).into(), news: failed },
    )
}

#[test]
fn each_event_of_a_batch_has_what_there_is_to_say_of_it() {
    let news = [
        News::FirstFailure { failure: failure() },
        News::Late { late_after: Some("2h".to_owned()) },
        News::Ended { result: json!({ "revenue": "9.45" }), result_bytes: None },
    ];
    let batch = BatchDocument::from(&minimal());
    let said = news.map(|news| {
        let Value::Object(mut said) = json!(CallbackDocument { batch: batch.clone(), news }) else {
            panic!("an object")
        };
        assert_eq!(said.remove("batch"), Some(json!(batch)));
        said
    });
    insta::assert_json_snapshot!("callback_news", said);
}

fn item(line: Option<u64>) -> QuarantineItemDocument {
    QuarantineItemDocument {
        id: 17,
        batch: id(1),
        seq: 3,
        generation: 2,
        position: 57,
        line,
        stage: "parse".to_owned(),
        reason: "`abc` is not a number".to_owned(),
        item: json!({ "Quantity": "abc" }),
        state: "open".to_owned(),
        created_at: at(4),
    }
}

fn quarantine() -> Vec<Sample> {
    let mended =
        MendSample { id: 17, position: 57, line: Some(59), before: json!({ "n": "abc" }), after: json!({ "n": 1 }) };
    let report = PatchReport {
        redriven: 1,
        kept: 1,
        samples: vec![mended],
        refused: vec![(18, "there is no /Quantity".to_owned())],
        generation: Some(3),
        dispatched: gristmill_store::Dispatched::default(),
    };
    let refused = RefusedItemDocument { id: 18, reason: "there is no /Quantity".to_owned() };
    vec![
        sample("QuarantineItemDocument", item(Some(59)), item(None)),
        sample(
            "ExportedItemDocument",
            ExportedItemDocument::from(&item(Some(59))),
            ExportedItemDocument::from(&item(None)),
        ),
        sample(
            "PatchReportDocument",
            PatchReportDocument { meanwhile: Some(1), ..PatchReportDocument::new(false, &report, Some(4)) },
            PatchReportDocument::new(true, &PatchReport::default(), None),
        ),
        sample("RefusedItemDocument", &refused, &refused),
    ]
}

pub(super) fn samples() -> Vec<Sample> {
    let counts = |view: BatchView| CountsDocument::from(&view.counts);
    let would = WouldStartDocument::new("retail", 4, 100);
    let mut samples = vec![
        sample("BatchDocument", BatchDocument::from(&full()), BatchDocument::from(&minimal())),
        sample("CountsDocument", counts(full()), counts(minimal())),
        sample("PauseDocument", pause(), nobodys_pause()),
        sample(
            "BatchWithResult",
            BatchWithResult::from(&full())
                .waiting_for(vec![Wait::NoWorker])
                .ending(Some(eta()))
                .recorded(Some(record())),
            BatchWithResult::from(&minimal()),
        ),
        sample(
            "EtaRecordDocument",
            record(),
            EtaRecordDocument { slipped_seconds: None, ended_at: None, ranges: 0, held: 0, said: Vec::new() },
        ),
        sample("EtaDocument", eta(), EtaDocument::new(Estimate::Idle, at(0))),
        sample("WouldStartDocument", &would, WouldStartDocument::new("retail", 0, 0)),
        sample("PlannedBatchDocument", &would.batch, &would.batch),
        callbacks(),
        sample("FailureDocument", failure(), FailureDocument::default()),
        chunks(),
        output(),
    ];
    samples.extend(quarantine());
    samples
}

#[test]
fn the_fields_that_templates_are_checked_against_are_those_of_the_document() {
    let shown = json!(BatchDocument::from(&full()));
    assert_eq!(shown.as_object().expect("an object").keys().collect::<Vec<_>>(), BatchDocument::FIELDS);
}
