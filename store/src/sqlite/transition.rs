//! One write transaction: what it moves is noted while it runs, and what follows from that (counters, fan-in, outbox)
//! is written once, just before the commit.

use gristmill_core::id::{BatchId, JobId};
use gristmill_core::job::{JobState, Priority};
use sqlx::Sqlite;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use super::error::{database, taken};
use super::row::{self, Moved};
pub(super) use super::row::{later, micros};
pub(super) use super::writer::Query;
use super::writer::{Last, Turn, now};
use super::{SqliteStore, fan_in};
use crate::audit::{Attributed, Facts, Summary};
use crate::check;
use crate::error::Result;
use crate::failpoint;
use crate::flow::Flow;
use crate::sql::{audit, batch_ends, events, quota};
use crate::{BatchProgress, Dispatch, Dispatched, Purpose};

/// The database's own clock, in microseconds, accurate to a millisecond.
pub(super) const NOW: &str = now!();

/// Notes what has passed, and changes the counters, which come last. There is one writer, for which shards would be of no use, so everything is in
/// shard 0.
macro_rules! count {
    ($then:literal) => {
        concat!(
            "INSERT INTO flow (at, tenant, queue, kind, what, wait, run, jobs)
             SELECT ?3, value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6
             FROM json_each(?2);
             INSERT INTO queue_count (tenant, queue, state, shard, jobs)
             SELECT value ->> 0, value ->> 1, value ->> 2, 0, value ->> 3 FROM json_each(?1) WHERE true
             ON CONFLICT (tenant, queue, state, shard) DO UPDATE SET jobs = queue_count.jobs + excluded.jobs",
            $then
        )
    };
}

/// How many ids one outbox row holds at most.
const OUTBOX_IDS_MAX: usize = 1_000;

/// A write transaction under way. If it is dropped without [`Transition::commit`], nothing has happened.
pub(super) struct Transition<'s> {
    turn: Turn,
    store: &'s SqliteStore,
    /// The database's time at the beginning, in microseconds: one instant for the whole transaction.
    pub(super) now: i64,
    counts: Vec<Count>,
    /// What has passed, for the history.
    pub(super) flow: Flow,
    ready: Vec<Ready>,
    deltas: Vec<(BatchId, Delta)>,
    /// Jobs that have died: a batch whose aggregate is among them ends with it.
    dead: Vec<Uuid>,
    /// A batch that was cancelled, to be reported with its last counts.
    pub(super) cancelled: Option<BatchId>,
    /// How many jobs changed their state.
    pub(super) moved: u64,
    claimable: bool,
    taken_away: bool,
    /// Whether events are published.
    pub(super) published: bool,
    /// Whether it has changed anything.
    wrote: bool,
    /// What it says of itself, where an entry of the audit is to be written with it.
    facts: Option<Facts>,
}

/// What a transaction left behind.
pub(super) struct Committed {
    pub(super) dispatched: Dispatched,
    pub(super) progress: Vec<BatchProgress>,
}

/// By how much a queue's counter changes.
struct Count {
    tenant: String,
    queue: String,
    state: JobState,
    by: i64,
}

/// Ids for one outbox row or several.
struct Ready {
    purpose: Purpose,
    queue: String,
    priority: Priority,
    jobs: Vec<JobId>,
}

/// By how much a batch changes. All zero is an empty change: it fires the fan-in if nothing remains.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Delta {
    pub(super) chunks: i64,
    pub(super) remaining: i64,
    pub(super) dead: i64,
    pub(super) retries: i64,
    pub(super) input: i64,
    pub(super) ok: i64,
    pub(super) skipped: i64,
    pub(super) quarantined: i64,
    pub(super) cancelled: i64,
}

impl<'s> Transition<'s> {
    /// Waits for the one writer and begins.
    pub(super) async fn begin(store: &'s SqliteStore) -> Result<Self> {
        Self::begin_on(store, noted(store, store.writer.turn().await)?).await
    }

    /// The same for what is short and frequent: it may be committed together with others.
    pub(super) async fn begin_short(store: &'s SqliteStore) -> Result<Self> {
        Self::begin_on(store, noted(store, store.writer.short_turn().await)?).await
    }

    async fn begin_on(store: &'s SqliteStore, mut turn: Turn) -> Result<Self> {
        let now = noted(store, turn.begin().await)?;
        Ok(Self {
            turn,
            store,
            now,
            counts: Vec::new(),
            flow: Flow::default(),
            ready: Vec::new(),
            deltas: Vec::new(),
            dead: Vec::new(),
            cancelled: None,
            moved: 0,
            claimable: false,
            taken_away: false,
            published: false,
            wrote: false,
            facts: store.pending().map(|_| Facts::default()),
        })
    }

    /// Runs a statement and returns its rows.
    pub(super) async fn rows(&mut self, query: Query) -> Result<Vec<SqliteRow>> {
        let rows = query.fetch_all(self.turn.conn()?).await.map_err(database);
        noted(self.store, rows)
    }

    /// Runs a statement that was put together, and returns its rows.
    pub(super) async fn built(&mut self, query: &mut sqlx::QueryBuilder<Sqlite>) -> Result<Vec<SqliteRow>> {
        let rows = query.build().fetch_all(self.turn.conn()?).await.map_err(database);
        noted(self.store, rows)
    }

    /// Runs a statement that returns at most one row.
    pub(super) async fn row(&mut self, query: Query) -> Result<Option<SqliteRow>> {
        let row = query.fetch_optional(self.turn.conn()?).await.map_err(database);
        noted(self.store, row)
    }

    /// Runs a statement and returns how many rows it changed.
    pub(super) async fn run(&mut self, query: Query) -> Result<u64> {
        self.run_or(query, database).await
    }

    /// As [`Transition::run`], but maps a refusal differently.
    pub(super) async fn run_or(&mut self, query: Query, map: fn(sqlx::Error) -> crate::StoreError) -> Result<u64> {
        let changed = query.execute(self.turn.conn()?).await.map(|done| done.rows_affected()).map_err(map);
        let changed = noted(self.store, changed)?;
        self.wrote |= changed > 0;
        Ok(changed)
    }

    /// Runs a statement that inserts; returns whether it did. When one of its rows is there already, nothing has happened.
    pub(super) async fn run_unless_taken(&mut self, query: Query) -> Result<bool> {
        match query.execute(self.turn.conn()?).await {
            Ok(done) => {
                self.wrote |= done.rows_affected() > 0;
                Ok(true)
            }
            Err(error) if taken(&error) => Ok(false),
            Err(error) => noted(self.store, Err(database(error))),
        }
    }

    /// Runs a statement whose refusal is wanted as it is.
    pub(super) async fn refusal(&mut self, query: Query) -> Result<(), sqlx::Error> {
        query.execute(self.turn.conn().map_err(|_| sqlx::Error::PoolClosed)?).await.map(drop)
    }

    /// Notes that a job entered a state, or left one.
    pub(super) fn count(&mut self, tenant: &str, queue: &str, state: JobState, by: i64) {
        let known =
            self.counts.iter_mut().find(|count| count.state == state && count.queue == queue && count.tenant == tenant);
        match known {
            Some(count) => count.by += by,
            None => self.counts.push(Count { tenant: tenant.to_owned(), queue: queue.to_owned(), state, by }),
        }
    }

    /// Notes that a job went from one state to another, and what is to be dispatched.
    pub(super) fn moved(&mut self, job: &Moved, from: JobState, to: JobState) {
        self.count(&job.tenant, &job.queue, from, -1);
        self.arrived(job.id, &job.tenant, &job.queue, job.priority, to);
    }

    /// Notes that a job is in a state now.
    pub(super) fn arrived(&mut self, id: JobId, tenant: &str, queue: &str, priority: Priority, to: JobState) {
        self.moved += 1;
        self.count(tenant, queue, to, 1);
        match to {
            JobState::Queued => self.ready(Purpose::Dispatch, queue, priority, id),
            JobState::Dead => {
                self.dead.push(id.0);
                self.ready(Purpose::DeadLetter, queue, priority, id);
            }
            JobState::Scheduled | JobState::Running | JobState::Retry | JobState::Done | JobState::Cancelled => {}
        }
    }

    /// Notes that an attempt which a worker may still be running was closed by another process.
    pub(super) fn taken_away(&mut self) {
        self.taken_away = true;
    }

    /// Notes an id to be dispatched.
    pub(super) fn ready(&mut self, purpose: Purpose, queue: &str, priority: Priority, id: JobId) {
        self.claimable |= purpose == Purpose::Dispatch;
        if !self.store.with_outbox {
            return;
        }
        let known = self.ready.iter_mut().find(|ready| {
            ready.purpose == purpose
                && ready.priority == priority
                && ready.jobs.len() < OUTBOX_IDS_MAX
                && ready.queue == queue
        });
        match known {
            Some(ready) => ready.jobs.push(id),
            None => self.ready.push(Ready { purpose, queue: queue.to_owned(), priority, jobs: vec![id] }),
        }
    }

    /// The change of a batch so far, to be added to.
    pub(super) fn delta(&mut self, batch: BatchId) -> &mut Delta {
        let index = match self.deltas.iter().position(|(id, _)| *id == batch) {
            Some(index) => index,
            None => {
                self.deltas.push((batch, Delta::default()));
                self.deltas.len() - 1
            }
        };
        &mut self.deltas[index].1
    }

    /// Writes what follows from everything that was noted, and commits.
    pub(super) async fn commit(mut self) -> Result<Committed> {
        let deltas = std::mem::take(&mut self.deltas);
        let progress = fan_in::apply(&mut self, deltas).await?;
        let dead = std::mem::take(&mut self.dead);
        events::own::jobs_died(&mut self, &dead).await?;
        batch_ends::aggregates_died(&mut self, &dead).await?;
        if let Some(batch) = self.cancelled {
            batch_ends::cancelled(&mut self, batch).await?;
        }
        if self.is_metered() {
            let changes = self.counts.iter().map(|count| (count.tenant.as_str(), count.state.as_str(), count.by));
            let arrivals = quota::arrivals(changes);
            quota::hold_jobs(&mut self, arrivals).await?;
        }
        let dispatches = self.write_outbox().await?;
        let audited = self.write_audit().await?;
        // Only what changes the file counts: timers read it again and again, and change nothing.
        let writes = self.wrote || self.moved > 0;
        if writes {
            failpoint::point("sqlite.before_commit");
        }
        let counts = self.counts_to_write()?;
        let wrote = self.wrote || counts.is_some();
        noted(self.store, self.turn.end(counts).await)?;
        self.store.condition.well(wrote);
        if let Some(attributed) = audited {
            attributed.written();
        }
        if writes {
            failpoint::point("sqlite.committed");
        }
        if self.claimable {
            self.store.hint();
        }
        if self.taken_away {
            self.store.gone.send_modify(|count| *count += 1);
        }
        if self.published {
            self.store.events.send_modify(|count| *count += 1);
        }
        if self.claimable || self.taken_away || self.published {
            self.store.others.knock();
        }
        Ok(Committed { dispatched: Dispatched { dispatches, moved: self.moved }, progress })
    }

    /// Whether what is added is held to the quotas of tenants.
    pub(super) fn is_metered(&self) -> bool {
        self.store.metered
    }

    /// The facts for the audit, where they are gathered.
    pub(super) fn facts_mut(&mut self) -> Option<&mut Facts> {
        self.facts.as_mut()
    }

    /// What a report says goes into the audit.
    pub(super) fn tell(&mut self, report: &impl Summary) {
        if let Some(facts) = &mut self.facts {
            facts.tell(report);
        }
    }

    /// Writes the entry of an attributed step that has changed something. Returns the step when it was written.
    async fn write_audit(&mut self) -> Result<Option<&'s Attributed>> {
        let (store, changed) = (self.store, self.wrote || self.moved > 0);
        let facts = self.facts.take().filter(|facts| facts.call_for_an_entry(changed));
        let (Some(facts), Some(attributed)) = (facts, store.pending()) else { return Ok(None) };
        let written = audit::append(self, &facts.attribution(&attributed.attribution), &facts.fields).await?;
        Ok(written.then_some(attributed))
    }

    fn counts_to_write(&mut self) -> Result<Option<Last>> {
        let counts: Vec<(&str, &str, &str, i64)> = self
            .counts
            .iter()
            .filter(|count| count.by != 0)
            .map(|count| (count.tenant.as_str(), count.queue.as_str(), count.state.as_str(), count.by))
            .collect();
        if counts.is_empty() && self.flow.is_empty() {
            return Ok(None);
        }
        let counts = check::json(&counts)?;
        let flow = self.flow.take();
        let flow = flow.iter().map(|row| (&row.tenant, &row.queue, &row.kind, row.what, row.wait, row.run, row.jobs));
        let (flow, now) = (check::json(&flow.collect::<Vec<_>>())?, self.now);
        let with = |statement: &'static str| sqlx::query(statement).bind(counts.clone()).bind(flow.clone()).bind(now);
        Ok(Some(Last {
            alone: with(count!("")),
            and_commit: with(count!("; COMMIT")),
            and_leave: with(count!("; RELEASE member")),
        }))
    }

    async fn write_outbox(&mut self) -> Result<Vec<Dispatch>> {
        let ready = std::mem::take(&mut self.ready);
        if ready.is_empty() {
            return Ok(Vec::new());
        }
        let rows: Vec<(&str, &str, i16, String)> = ready
            .iter()
            .map(|ready| {
                let jobs = check::json(&ready.jobs)?;
                Ok((row::purpose_word(ready.purpose), ready.queue.as_str(), ready.priority.rank(), jobs))
            })
            .collect::<Result<_>>()?;
        let statement = "
            INSERT INTO outbox (purpose, queue, lane, jobs, created_at)
            SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, ?2 FROM json_each(?1) ORDER BY key
            RETURNING id, purpose, queue, lane, jobs";
        let rows = check::json(&rows)?;
        let written = self.rows(sqlx::query(statement).bind(rows).bind(self.now)).await?;
        written.iter().map(row::dispatch).collect()
    }
}

/// Notes what went wrong.
fn noted<T>(store: &SqliteStore, result: Result<T>) -> Result<T> {
    if let Err(error) = &result {
        store.condition.failed(error);
    }
    result
}

/// Where a batch stands after its change.
pub(super) fn progress(row: &SqliteRow) -> Result<BatchProgress> {
    Ok(BatchProgress {
        batch: row::id(row, "id")?,
        state: row::word(row, "state")?,
        generation: row::number(row, "generation")?,
        counts: row::counts(row)?,
        remaining: row::number(row, "remaining")?,
        halting: row::flag(row, "halting")?,
        failure_budget: row::word(row, "tolerate")?,
    })
}
