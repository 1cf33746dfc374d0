//! What a query looks at in what the store shows, and which jobs, items and batches an operation takes.

use gristmill_core::Instant;
use gristmill_core::job::JobState;
use gristmill_core::operation::{BatchFacts, OperationVerb};
use gristmill_core::query::{Key, Query, Subject, Value};

use crate::{BatchView, JobView, QuarantineView};

impl Subject for JobView {
    fn value(&self, key: Key) -> Value<'_> {
        match key {
            Key::State => Value::Text(self.state.as_str()),
            Key::Queue => Value::Text(&self.queue),
            Key::Kind => Value::Text(&self.kind),
            Key::Key => self.key.as_deref().into(),
            Key::Batch => self.batch.map(|batch| batch.0).into(),
            Key::Error => self.error.as_deref().into(),
            Key::Attempts => Value::Number(self.attempt),
            Key::Created => Value::At(self.created_at),
            Key::Ended => self.finished_at.into(),
            Key::Name | Key::Stage | Key::Reason | Key::Age => Value::None,
        }
    }
}

impl Subject for BatchView {
    fn value(&self, key: Key) -> Value<'_> {
        match key {
            Key::State => Value::Text(self.state.as_str()),
            Key::Name => Value::Text(&self.name),
            Key::Created => Value::At(self.created_at),
            Key::Ended => self.finished_at.into(),
            _ => Value::None,
        }
    }
}

impl Subject for QuarantineView {
    fn value(&self, key: Key) -> Value<'_> {
        match key {
            Key::State => Value::Text(&self.state),
            Key::Batch => Value::Id(self.batch.0),
            Key::Stage => Value::Text(&self.stage),
            Key::Reason => Value::Text(&self.reason),
            Key::Created => Value::At(self.created_at),
            _ => Value::None,
        }
    }
}

/// Whether an operation takes a job: its verb, its query as of its snapshot, its time.
pub(crate) fn takes(verb: OperationVerb, query: &Query, snapshot: Instant, job: &impl Taken) -> bool {
    verb.job_states().contains(&job.state()) && job.created_at() <= snapshot && job.is_for(verb) && query.matches(job)
}

/// Whether an operation takes a quarantined item that is open.
pub(crate) fn takes_item(query: &Query, snapshot: Instant, created_at: Instant, item: &impl Subject) -> bool {
    created_at <= snapshot && query.matches(item)
}

/// Whether an operation takes a batch.
pub(crate) fn takes_batch(
    verb: OperationVerb,
    query: &Query,
    (snapshot, created_at): (Instant, Instant),
    facts: BatchFacts,
    batch: &impl Subject,
) -> bool {
    created_at <= snapshot && verb.takes_batch(facts) && query.matches(batch)
}

/// What an operation must know of a job.
pub(crate) trait Taken: Subject {
    /// Its state.
    fn state(&self) -> JobState;
    /// When it was created.
    fn created_at(&self) -> Instant;
    /// Whether a verb could ever be done to it.
    fn is_for(&self, verb: OperationVerb) -> bool;
}

impl Taken for JobView {
    fn state(&self) -> JobState {
        self.state
    }

    fn created_at(&self) -> Instant {
        self.created_at
    }

    fn is_for(&self, verb: OperationVerb) -> bool {
        verb.takes(&self.kind, self.batch.is_some(), self.seq.is_some())
    }
}
