//! The walk of an operation over the jobs: from queue to queue, in each from kind to kind, in each by id. No change of
//! state moves a job in this order. Of a single batch it goes from kind to kind.
//!
//! A place in it is behind a job, or behind all of a queue and kind. The rows that an index leads to are compared here,
//! with the same code on both databases.

use gristmill_core::Instant;
use gristmill_core::id::JobId;
use gristmill_core::job::JobState;
use gristmill_core::operation::OperationVerb;
use gristmill_core::query::{Key, Subject, Value};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::sought::Sought;
use crate::error::Result;
use crate::selected::{Taken, takes};
use crate::sql::{Columns, Sql, values};

/// How many rows one statement reads.
const PAGE_ROWS: u32 = 500;

/// How many queues and kinds one step goes through that have nothing for it.
const STREAMS_MAX: u32 = 200;

/// The rows of one state of a queue and kind.
macro_rules! page {
    ($state:literal) => {
        concat!(
            "SELECT * FROM (SELECT j.id, j.state, j.queue, j.kind, j.key, j.batch_id, j.seq, j.error, j.attempt, j.created_at,
    j.finished_at FROM job j /* INDEXED BY job_listed */ WHERE j.tenant = $1 AND j.state = '",
            $state,
            "' AND j.state <> 'running' AND j.queue = $2 AND j.kind = $3 AND j.id > $4 ORDER BY j.id LIMIT $5) AS page"
        )
    };
}

/// The first queue and kind of one state behind another.
macro_rules! next {
    ($state:literal) => {
        concat!(
            "SELECT * FROM (SELECT j.queue, j.kind FROM job j /* INDEXED BY job_listed */ WHERE j.tenant = $1 AND j.state = '",
            $state,
            "' AND j.state <> 'running' AND (j.queue, j.kind) > ($2, $3) ORDER BY j.queue, j.kind LIMIT 1) AS next"
        )
    };
}

/// The same within a batch.
macro_rules! page_of_batch {
    ($state:literal) => {
        concat!(
            "SELECT * FROM (SELECT j.id, j.state, j.queue, j.kind, j.key, j.batch_id, j.seq, j.error, j.attempt, j.created_at,
    j.finished_at FROM job j /* INDEXED BY job_in_batch */ WHERE j.batch_id = $2 AND j.tenant = $1 AND j.state = '",
            $state,
            "' AND j.kind = $3 AND j.id > $4 ORDER BY j.id LIMIT $5) AS page"
        )
    };
}

macro_rules! next_of_batch {
    ($state:literal) => {
        concat!(
            "SELECT * FROM (SELECT j.kind FROM job j /* INDEXED BY job_in_batch */ WHERE j.batch_id = $1 AND j.state = '",
            $state,
            "' AND j.kind > $2 ORDER BY j.kind LIMIT 1) AS next"
        )
    };
}

/// What waits; no batch, and a batch.
macro_rules! waiting {
    ($one:ident, $columns:literal, $order:literal, $limit:literal) => {
        concat!(
            "SELECT ",
            $columns,
            " FROM (",
            $one!("queued"),
            " UNION ALL ",
            $one!("retry"),
            " UNION ALL ",
            $one!("scheduled"),
            ") AS found ORDER BY ",
            $order,
            " LIMIT ",
            $limit
        )
    };
}

const WAITING: Statements = Statements {
    page: waiting!(page, "*", "id", "$5"),
    next: waiting!(next, "queue, kind", "queue, kind", "1"),
    page_of_batch: waiting!(page_of_batch, "*", "id", "$5"),
    next_of_batch: waiting!(next_of_batch, "kind", "kind", "1"),
};

const DEAD: Statements = Statements {
    page: page!("dead"),
    next: next!("dead"),
    page_of_batch: page_of_batch!("dead"),
    next_of_batch: next_of_batch!("dead"),
};

/// The statements of a verb's states.
struct Statements {
    page: &'static str,
    next: &'static str,
    page_of_batch: &'static str,
    next_of_batch: &'static str,
}

/// Every statement of a walk, for the tests of their plans.
#[cfg(feature = "testing")]
pub(crate) const STATEMENTS: [(&str, &str); 8] = [
    ("walk over what waits", WAITING.page),
    ("next of what waits", WAITING.next),
    ("walk over what waits of a batch", WAITING.page_of_batch),
    ("next of what waits of a batch", WAITING.next_of_batch),
    ("walk over dead letters", DEAD.page),
    ("next of dead letters", DEAD.next),
    ("walk over dead letters of a batch", DEAD.page_of_batch),
    ("next of dead letters of a batch", DEAD.next_of_batch),
];

/// A place in the walk.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    queue: String,
    kind: String,
    /// Behind this job; `None` is behind all of the queue and kind.
    id: Option<Uuid>,
}

/// A job that the walk has met.
#[derive(Debug, Clone)]
pub(crate) struct Met {
    pub(crate) id: JobId,
    state: JobState,
    queue: String,
    kind: String,
    key: Option<String>,
    batch: Option<Uuid>,
    chunk: bool,
    error: Option<String>,
    attempt: u32,
    created_at: Instant,
    finished_at: Option<Instant>,
}

impl Met {
    fn read(row: &impl Columns) -> Result<Self> {
        Ok(Self {
            id: row.id("id")?,
            state: row.word("state")?,
            queue: row.text("queue")?,
            kind: row.text("kind")?,
            key: row.maybe_text("key")?,
            batch: row.maybe_id("batch_id")?,
            chunk: row.maybe_number("seq")?.is_some(),
            error: row.maybe_text("error")?,
            attempt: row.number("attempt")?,
            created_at: row.instant("created_at")?,
            finished_at: row.maybe_instant("finished_at")?,
        })
    }
}

impl Subject for Met {
    fn value(&self, key: Key) -> Value<'_> {
        match key {
            Key::State => Value::Text(self.state.as_str()),
            Key::Queue => Value::Text(&self.queue),
            Key::Kind => Value::Text(&self.kind),
            Key::Key => self.key.as_deref().into(),
            Key::Batch => self.batch.into(),
            Key::Error => self.error.as_deref().into(),
            Key::Attempts => Value::Number(self.attempt),
            Key::Created => Value::At(self.created_at),
            Key::Ended => self.finished_at.into(),
            Key::Name | Key::Stage | Key::Reason | Key::Age => Value::None,
        }
    }
}

impl Taken for Met {
    fn state(&self) -> JobState {
        self.state
    }

    fn created_at(&self) -> Instant {
        self.created_at
    }

    fn is_for(&self, verb: OperationVerb) -> bool {
        verb.takes(&self.kind, self.batch.is_some(), self.chunk)
    }
}

/// A walk under way.
#[derive(Debug)]
pub(crate) struct Walk<'a> {
    sought: Sought<'a>,
    batch: Option<Uuid>,
    pub(crate) place: Place,
    /// Whether nothing is left behind the place.
    pub(crate) over: bool,
    /// How many rows were read.
    pub(crate) read: u32,
}

impl<'a> Walk<'a> {
    /// A walk that goes on from a place.
    pub(crate) fn new(sought: Sought<'a>, place: Place) -> Self {
        let batch = sought.query.only_id(Key::Batch);
        Self { sought, batch, place, over: false, read: 0 }
    }

    /// The next jobs that match: at most so many, of at most so many rows that are read.
    pub(crate) async fn next<S: Sql>(&mut self, sql: &mut S, jobs: u32, rows: u32) -> Result<Vec<JobId>, S::Fault> {
        let mut selected = Vec::new();
        let mut streams = 0;
        while !self.over && streams < STREAMS_MAX && self.read < rows && (selected.len() as u32) < jobs {
            if self.place.id.is_none() {
                streams += 1;
                self.next_stream(sql).await?;
                continue;
            }
            let limit = PAGE_ROWS.min(rows - self.read);
            let page = self.page(sql, limit).await?;
            let full = page.len() as u32 == limit;
            self.read += page.len() as u32;
            self.take(page, full, jobs, &mut selected);
        }
        Ok(selected)
    }

    /// Takes what matches of a page, up to the most that are wanted, and goes on to behind it.
    fn take(&mut self, page: Vec<Met>, full: bool, jobs: u32, selected: &mut Vec<JobId>) {
        for met in page {
            self.place.id = Some(met.id.0);
            if takes(self.sought.verb, &self.sought.query, self.sought.snapshot, &met) {
                selected.push(met.id);
            }
            if selected.len() as u32 == jobs {
                return;
            }
        }
        if !full {
            self.place.id = None;
        }
    }

    fn statements(&self) -> &'static Statements {
        match self.sought.verb {
            OperationVerb::Cancel => &WAITING,
            _ => &DEAD,
        }
    }

    async fn page<S: Sql>(&self, sql: &mut S, limit: u32) -> Result<Vec<Met>, S::Fault> {
        let Place { queue, kind, id } = &self.place;
        let rows = match self.batch {
            Some(batch) => {
                let values = values![self.sought.tenant, batch, kind, *id, limit];
                sql.rows(self.statements().page_of_batch, values).await?
            }
            None => {
                let values = values![self.sought.tenant, queue, kind, *id, limit];
                sql.rows(self.statements().page, values).await?
            }
        };
        Ok(rows.iter().map(Met::read).collect::<Result<_>>()?)
    }

    /// Goes to the beginning of the next queue and kind, or to behind all of it where nothing of it can match.
    async fn next_stream<S: Sql>(&mut self, sql: &mut S) -> Result<(), S::Fault> {
        let Place { queue, kind, .. } = &self.place;
        let found = match self.batch {
            Some(batch) => sql.row(self.statements().next_of_batch, values![batch, kind]).await?,
            None => sql.row(self.statements().next, values![self.sought.tenant, queue, kind]).await?,
        };
        let Some(row) = found else {
            self.over = true;
            return Ok(());
        };
        let kind = row.text("kind")?;
        let queue = if self.batch.is_some() { String::new() } else { row.text("queue")? };
        let named = self.batch.is_some() || self.sought.query.allows_name(Key::Queue, &queue);
        let matches = named && self.sought.query.allows_name(Key::Kind, &kind);
        self.place = Place { queue, kind, id: matches.then_some(Uuid::nil()) };
        Ok(())
    }
}
