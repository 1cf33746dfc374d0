//! The walk of an operation over batches: by id, through those that are in one of the verb's states, or are paused.

use gristmill_core::Instant;
use gristmill_core::id::BatchId;
use gristmill_core::operation::{BatchFacts, OperationVerb};
use gristmill_core::query::{Key, Subject, Value};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::sought::Sought;
use crate::error::Result;
use crate::selected::takes_batch;
use crate::sql::{Columns, Sql, values};
use crate::stop::stopping;

/// How many rows one statement reads.
const PAGE_ROWS: u32 = 64;

/// Batches behind an id, by an index that has them in this order.
macro_rules! page {
    ($index:literal, $which:literal) => {
        concat!(
            "SELECT * FROM (SELECT id, state, name, created_at, finished_at, paused,
    CASE WHEN deleting_at IS NULL THEN 0 ELSE 1 END AS deleting, CASE WHEN ",
            stopping!(),
            " THEN 1 ELSE 0 END AS stopping FROM batch ",
            $index,
            " WHERE tenant = $1 AND ",
            $which,
            " AND id > $2 ORDER BY id LIMIT $3) AS page"
        )
    };
}

macro_rules! in_state {
    ($state:literal) => {
        page!("/* INDEXED BY batch_by_state */", $state)
    };
}

macro_rules! merged {
    ($($state:literal),+) => {
        concat!("SELECT * FROM (", merged!(@ $($state),+), ") AS found ORDER BY id LIMIT $3")
    };
    (@ $one:literal) => { in_state!($one) };
    (@ $one:literal, $($more:literal),+) => { concat!(in_state!($one), " UNION ALL ", merged!(@ $($more),+)) };
}

const GOING: &str = merged!("state = 'open'", "state = 'sealed'", "state = 'aggregating'");
const STOPPED: &str = merged!("state = 'halted'", "state = 'cancelled'");
const ENDED: &str = merged!("state = 'complete'", "state = 'halted'", "state = 'cancelled'");
const PAUSED: &str = page!("/* INDEXED BY batch_paused */", "paused");

/// Every statement of the walk, for the tests of their plans.
#[cfg(feature = "testing")]
pub(crate) const STATEMENTS: [(&str, &str); 4] = [
    ("walk over batches that go on", GOING),
    ("walk over batches that were stopped", STOPPED),
    ("walk over batches that have ended", ENDED),
    ("walk over paused batches", PAUSED),
];

/// A place in the walk: behind this batch.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct BatchPlace {
    batch: Uuid,
}

/// A batch that the walk has met.
struct Met {
    id: Uuid,
    name: String,
    facts: BatchFacts,
    created_at: Instant,
    finished_at: Option<Instant>,
}

impl Subject for Met {
    fn value(&self, key: Key) -> Value<'_> {
        match key {
            Key::State => Value::Text(self.facts.state.as_str()),
            Key::Name => Value::Text(&self.name),
            Key::Created => Value::At(self.created_at),
            Key::Ended => self.finished_at.into(),
            _ => Value::None,
        }
    }
}

/// A walk under way.
#[derive(Debug)]
pub(super) struct BatchWalk<'a> {
    sought: Sought<'a>,
    pub(super) place: BatchPlace,
    /// Whether nothing is left behind the place.
    pub(super) over: bool,
    /// How many rows were read.
    pub(super) read: u32,
}

impl<'a> BatchWalk<'a> {
    pub(super) fn new(sought: Sought<'a>, place: BatchPlace) -> Self {
        Self { sought, place, over: false, read: 0 }
    }

    /// The next batches that match: at most so many, of at most so many rows that are read.
    pub(super) async fn next<S: Sql>(&mut self, sql: &mut S, most: u32, rows: u32) -> Result<Vec<BatchId>, S::Fault> {
        let mut selected = Vec::new();
        while !self.over && self.read < rows && (selected.len() as u32) < most {
            let limit = PAGE_ROWS.min(rows - self.read);
            let found = sql.rows(self.statement(), values![self.sought.tenant, self.place.batch, limit]).await?;
            let page = found.iter().map(met).collect::<Result<Vec<Met>>>()?;
            drop(found);
            self.read += page.len() as u32;
            self.take(page, limit, most, &mut selected);
        }
        Ok(selected)
    }

    fn take(&mut self, page: Vec<Met>, limit: u32, most: u32, selected: &mut Vec<BatchId>) {
        let full = page.len() as u32 == limit;
        for met in page {
            self.place.batch = met.id;
            let Sought { verb, query, snapshot, .. } = &self.sought;
            if takes_batch(*verb, query, (*snapshot, met.created_at), met.facts, &met) {
                selected.push(BatchId(met.id));
            }
            if selected.len() as u32 == most {
                return;
            }
        }
        self.over = !full;
    }

    fn statement(&self) -> &'static str {
        match self.sought.verb {
            OperationVerb::ResumeBatches => PAUSED,
            OperationVerb::RestartBatches => STOPPED,
            OperationVerb::DeleteBatches => ENDED,
            _ => GOING,
        }
    }
}

fn met(row: &impl Columns) -> Result<Met> {
    let is = |column: &str| Ok::<_, crate::StoreError>(row.number::<i64>(column)? == 1);
    let facts = BatchFacts {
        state: row.word("state")?,
        paused: row.flag("paused")?,
        stopping: is("stopping")?,
        deleting: is("deleting")?,
    };
    Ok(Met {
        id: row.id("id")?,
        name: row.text("name")?,
        facts,
        created_at: row.instant("created_at")?,
        finished_at: row.maybe_instant("finished_at")?,
    })
}
