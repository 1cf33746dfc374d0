//! What the operations make: jobs, batches, chunks, claims and completions, the same on both sides.

use std::time::Duration;

use gristmill_core::batch::BatchState;
use gristmill_core::chunk::{ChunkPayload, ChunkResult, FileFingerprint, SetAside, Slice, SourceFingerprint};
use gristmill_core::duration::Span;
use gristmill_core::job::{JobState, NewJob, Priority, RunAt};
use gristmill_core::retry::RetryPolicy;
use gristmill_core::settle::{Ending, settle};
use gristmill_core::unique::{HeldStates, Hold, OnConflict, Unique};
use gristmill_store::testing;
use gristmill_store::{BatchEnd, Claim, Completion, NewBatch, NewChunk, NewPoison, PoisonSource};
use serde_json::json;

use crate::operation::{Asked, Ended, How, Kept};
use crate::side::{Claimed, Side, TENANTS, batch_id, chunk_id, job_id, worker_id};

/// Long enough not to pass by itself.
pub(crate) const LONG: Duration = Duration::from_secs(100 * 3_600);

pub(crate) fn queue_name(queue: usize) -> String {
    format!("queue{queue}")
}

/// The key by which a job takes turns and is limited.
pub(crate) fn turn_key(key: usize) -> String {
    format!("turn{key}")
}

pub(crate) fn new_job(asked: &Asked) -> NewJob {
    NewJob {
        tenant: TENANTS[usize::from(asked.other_tenant)].to_owned(),
        queue: queue_name(asked.queue),
        priority: Priority::ALL[asked.priority % 3],
        run: if asked.later { RunAt::In(LONG) } else { RunAt::Now },
        max_attempts: asked.attempts,
        timeout: LONG,
        retry: RetryPolicy::Fixed(Span(LONG)),
        key: asked.turn.map(turn_key),
        idempotency_key: asked.key.map(|key| format!("key{key}")),
        unique: asked.unique.map(unique),
        version: asked.version,
        batch: asked.batch.map(batch_id),
        ..NewJob::new(job_id(asked.number), if asked.odd { "odd" } else { "work" }, json!({ "n": asked.number }))
    }
}

fn unique(asked: Kept) -> Unique {
    let hold = match asked.hold {
        0 => Hold::Unfinished,
        1 => Hold::Waiting,
        2 => Hold::Period(LONG),
        _ => Hold::States(HeldStates::new(&JobState::ALL).expect("none is missing")),
    };
    let conflict = match asked.conflict {
        0 => OnConflict::Keep,
        1 => OnConflict::Replace,
        2 => OnConflict::debounce(LONG),
        _ => OnConflict::Refuse,
    };
    Unique::new(format!("unique{}", asked.key)).hold(hold).on_conflict(conflict)
}

pub(crate) fn claim_of(worker: usize, limit: u32, odd: bool) -> Claim {
    let mut claim = testing::claim_as(worker_id(worker), limit);
    claim.kinds.extend(odd.then(|| ["odd".to_owned(), "work@2".to_owned()]).into_iter().flatten());
    claim
}

pub(crate) fn poison(message: usize) -> NewPoison {
    let (queue, source) =
        if message.is_multiple_of(2) { ("queue0", PoisonSource::Worker) } else { ("", PoisonSource::Returned) };
    NewPoison {
        queue: queue.to_owned(),
        sha256: format!("{message:064}"),
        size: 3,
        bytes: vec![0, 1, 2],
        headers: json!({ "of": message }),
        reason: "nobody can read it".to_owned(),
        source,
    }
}

/// The fingerprint of an input that was spooled.
fn copied(batch: usize) -> SourceFingerprint {
    let file = FileFingerprint {
        path: format!("/nowhere/{}.spool", batch_id(batch)),
        name: "-".to_owned(),
        bytes: 1,
        modified_ns: 0,
        edges: String::new(),
        columns: Vec::new(),
    };
    SourceFingerprint { files: vec![file] }
}

pub(crate) fn new_batch(batch: usize, key: Option<usize>, attempts: u32, other_tenant: bool) -> NewBatch {
    let spelled = json!({
        "source": { "jsonl": "-" }, "tolerate": "50%", "max_attempts": attempts, "queue": queue_name(batch % 2),
        "key": (batch == 1).then(|| turn_key(0)),
        "timeout": "100h", "retry": { "fixed": "100h" }, "late_after": "100h",
        "on": {
            "first_failure": [{ "webhook": "https://example.com/failure" }],
            "late": [{ "email": { "to": "ops@example.com" } }],
        },
    });
    NewBatch {
        id: batch_id(batch),
        tenant: TENANTS[usize::from(other_tenant)].to_owned(),
        definition: testing::definition(spelled),
        idempotency_key: key.map(|key| format!("key{key}")),
        fingerprint: if batch == 1 { copied(batch) } else { SourceFingerprint::default() },
        ..testing::batch()
    }
}

pub(crate) fn chunk(number: usize, seq: usize, items: u64) -> NewChunk {
    let slice = Slice::Bytes { file: 0, from: 0, to: items, line: 1 };
    let seq = i64::try_from(seq).unwrap_or(0);
    NewChunk {
        id: chunk_id(number),
        seq,
        payload: ChunkPayload { condemned: None, slice, items, first: seq.unsigned_abs() * 10 },
    }
}

pub(crate) fn completion(side: &Side, claimed: &Claimed, ended: &Ended) -> Completion {
    let fence = side.fence(claimed);
    let ending = match ended.how {
        How::Done | How::Aside | How::Miscounted | How::Ends { .. } => Ending::Done,
        How::Failed | How::Again => Ending::Failed { retry_after: None },
        How::Permanent => Ending::Permanent,
        How::Interrupted => Ending::Interrupted,
        How::Lost => Ending::WorkerLost,
        How::Snoozed => Ending::Snoozed { wait: LONG },
    };
    let most = if matches!(ended.how, How::Again) { u32::MAX } else { claimed.max_attempts };
    let verdict = settle(ending, claimed.attempt, most, &RetryPolicy::Fixed(Span(LONG)), 0.5);
    let mut completion = Completion::new(fence, ending, verdict);
    completion.error = (ending != Ending::Done).then(|| "it failed".to_owned());
    completion.output = (ending == Ending::Done).then(|| json!({ "of": claimed.name }));
    completion.chunk = (claimed.chunk && ending == Ending::Done).then(|| chunk_result(claimed, ended.how));
    completion.follow = ended.follow.iter().map(new_job).collect();
    if let (How::Ends { halted, wrong_generation }, Some(batch), "aggregate") =
        (ended.how, claimed.batch, claimed.kind.as_str())
    {
        let state = if halted { BatchState::Halted } else { BatchState::Complete };
        let generation = claimed.generation + u32::from(wrong_generation);
        let reason = halted.then(|| "over the budget".to_owned());
        completion.batch_end = Some(BatchEnd { batch, generation, state, result: json!({ "sum": "1.50" }), reason });
    }
    completion
}

/// Every item is counted once, unless a wrong count is being tested.
fn chunk_result(claimed: &Claimed, how: How) -> ChunkResult {
    let items = claimed.items;
    match how {
        How::Miscounted => ChunkResult { ok: items + 1, ..ChunkResult::default() },
        How::Aside => {
            let aside = |position: u64| SetAside {
                position,
                line: None,
                stage: "parse".to_owned(),
                reason: "no".to_owned(),
                item: json!({ "position": position, "even": position.is_multiple_of(2) }),
            };
            let set_aside: Vec<SetAside> = (0..items.min(2)).map(aside).collect();
            let quarantined = set_aside.len() as u64;
            ChunkResult { ok: items - quarantined, quarantined, set_aside, ..ChunkResult::default() }
        }
        _ => ChunkResult { ok: items, ..ChunkResult::default() },
    }
}
