//! The walk of an operation over what is open in the quarantine: from batch to batch, in each by number. An item keeps its
//! number and its batch for good.

use gristmill_core::Instant;
use gristmill_core::id::BatchId;
use gristmill_core::query::{Key, Subject, Value};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::sought::{Sought, Target};
use crate::error::Result;
use crate::selected::takes_item;
use crate::sql::{Columns, Sql, values};

/// How many rows one statement reads.
const PAGE_ROWS: u32 = 1_000;

/// How many batches one step goes through that have nothing for it.
const BATCHES_MAX: u32 = 200;

const PAGE: &str = "
SELECT q.id, q.stage, q.reason, q.created_at FROM quarantine q /* INDEXED BY quarantine_open */
WHERE q.tenant = $1 AND q.state = 'open' AND q.batch_id = $2 AND q.id > $3 ORDER BY q.id LIMIT $4";

const NEXT: &str = "
SELECT q.batch_id FROM quarantine q /* INDEXED BY quarantine_open */
WHERE q.tenant = $1 AND q.state = 'open' AND q.batch_id > $2 ORDER BY q.batch_id LIMIT 1";

/// Every statement of the walk, for the tests of their plans.
#[cfg(feature = "testing")]
pub(crate) const STATEMENTS: [(&str, &str); 2] = [("walk over items", PAGE), ("next batch with items", NEXT)];

/// A place in the walk: behind this number of this batch; `None` is behind all of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ItemPlace {
    batch: Uuid,
    item: Option<i64>,
}

/// An item that the walk has met.
struct Met {
    id: i64,
    batch: Uuid,
    stage: String,
    reason: String,
    created_at: Instant,
}

impl Subject for Met {
    fn value(&self, key: Key) -> Value<'_> {
        match key {
            Key::State => Value::Text("open"),
            Key::Batch => Value::Id(self.batch),
            Key::Stage => Value::Text(&self.stage),
            Key::Reason => Value::Text(&self.reason),
            Key::Created => Value::At(self.created_at),
            _ => Value::None,
        }
    }
}

/// A walk under way.
#[derive(Debug)]
pub(super) struct ItemWalk<'a> {
    sought: Sought<'a>,
    /// The one batch that it goes over, where the query names one.
    only: Option<Uuid>,
    pub(super) place: ItemPlace,
    /// Whether nothing is left behind the place.
    pub(super) over: bool,
    /// How many rows were read.
    pub(super) read: u32,
}

impl<'a> ItemWalk<'a> {
    pub(super) fn new(sought: Sought<'a>, place: ItemPlace) -> Self {
        let only = sought.query.only_id(Key::Batch);
        let place = match only {
            Some(batch) if place.batch != batch => ItemPlace { batch, item: Some(0) },
            _ => place,
        };
        Self { sought, only, place, over: false, read: 0 }
    }

    /// The next items that match, all of one batch: at most so many, of at most so many rows that are read.
    pub(super) async fn next<S: Sql>(&mut self, sql: &mut S, most: u32, rows: u32) -> Result<Vec<Target>, S::Fault> {
        let (mut selected, mut batches) = (Vec::new(), 0);
        while !self.over && batches < BATCHES_MAX && self.read < rows && (selected.len() as u32) < most {
            let Some(after) = self.place.item else {
                if !selected.is_empty() && most != u32::MAX {
                    break;
                }
                batches += 1;
                self.next_batch(sql).await?;
                continue;
            };
            let limit = PAGE_ROWS.min(rows - self.read);
            let found = sql.rows(PAGE, values![self.sought.tenant, self.place.batch, after, limit]).await?;
            let batch = self.place.batch;
            let page = found.iter().map(|row| met(row, batch)).collect::<Result<Vec<Met>>>()?;
            drop(found);
            self.read += page.len() as u32;
            self.take(page, limit, most, &mut selected);
        }
        Ok(selected)
    }

    /// Takes what matches of a page, up to the most that are wanted, and goes on to behind it.
    fn take(&mut self, page: Vec<Met>, limit: u32, most: u32, selected: &mut Vec<Target>) {
        let full = page.len() as u32 == limit;
        for met in page {
            self.place.item = Some(met.id);
            if takes_item(&self.sought.query, self.sought.snapshot, met.created_at, &met) {
                selected.push(Target::Item(met.id, BatchId(met.batch)));
            }
            if selected.len() as u32 == most {
                return;
            }
        }
        if !full {
            self.place.item = None;
            self.over = self.only.is_some();
        }
    }

    /// Goes to the beginning of the next batch that has items.
    async fn next_batch<S: Sql>(&mut self, sql: &mut S) -> Result<(), S::Fault> {
        let found = match self.only {
            Some(_) => None,
            None => sql.row(NEXT, values![self.sought.tenant, self.place.batch]).await?,
        };
        match found {
            Some(row) => self.place = ItemPlace { batch: row.id("batch_id")?, item: Some(0) },
            None => self.over = true,
        }
        Ok(())
    }
}

fn met(row: &impl Columns, batch: Uuid) -> Result<Met> {
    Ok(Met {
        id: row.number("id")?,
        batch,
        stage: row.text("stage")?,
        reason: row.text("reason")?,
        created_at: row.instant("created_at")?,
    })
}
