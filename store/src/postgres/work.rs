//! One transaction at work: its connection, and the ledger of what it moved.
//!
//! A step records in the ledger what it moved; [`Work::close`] turns the ledger into queue counters and outbox rows at
//! the end of the same transaction, and notes what is to be notified after its commit. Counters come last, because
//! their rows are the most contended: they are locked for the shortest time.

use std::collections::BTreeMap;

use gristmill_core::dispatch::{Dispatch, Purpose};
use gristmill_core::id::JobId;
use gristmill_core::job::{JobState, Priority};
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::fault::Outcome;
use super::notifier::Signals;
use crate::Dispatched;
use crate::audit::{Facts, Summary};
use crate::error::StoreError;
use crate::flow::Flow;
use crate::sql::{batch_ends, events, quota};

/// How many ids one outbox row holds at most.
const OUTBOX_JOBS_MAX: usize = 1_000;

/// Each connection has its own shard of the counters, so that writers do not wait for one another. Two
/// connections that share one are merely slower.
const COUNT: &str = "
WITH flowed AS (
INSERT INTO flow (at, tenant, queue, kind, what, wait, run, jobs)
SELECT now(), f.* FROM unnest($5::text[], $6::text[], $7::text[], $8::text[], $9::smallint[], $10::smallint[],
                              $11::bigint[]) AS f)
INSERT INTO queue_count (tenant, queue, state, shard, jobs)
SELECT i.tenant, i.queue, i.state, (pg_backend_pid() % 32)::smallint, i.jobs
FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[]) AS i (tenant, queue, state, jobs)
ORDER BY 1, 2, 3
ON CONFLICT (tenant, queue, state, shard) DO UPDATE SET jobs = queue_count.jobs + excluded.jobs";

const OUTBOX: &str = "
INSERT INTO outbox (purpose, queue, lane, jobs, created_at)
SELECT i.purpose, i.queue, i.lane, i.jobs, now()
FROM unnest($1::text[], $2::text[], $3::smallint[], $4::text[]) WITH ORDINALITY
     AS i (purpose, queue, lane, jobs, number)
ORDER BY i.number
RETURNING id";

/// A transaction under way.
pub(super) struct Work<'c> {
    pub(super) conn: &'c mut PgConnection,
    /// Whether a broker carries ids: only then is anything written to the outbox.
    with_outbox: bool,
    /// Whether the transaction is one of the user's own, whose end is not ours to see.
    users: bool,
    counts: BTreeMap<(String, String, &'static str), i64>,
    /// What has passed, for the history.
    flow: Flow,
    outbox_rows: BTreeMap<(&'static str, String, i16), Vec<Uuid>>,
    signals: Signals,
    /// Jobs that have died: a batch whose aggregate is among them ends with it.
    dead: Vec<Uuid>,
    moved: u64,
    wrote: bool,
    /// What the transaction says of itself, where an entry of the audit is to be written with it.
    facts: Option<Facts>,
    /// Whether that entry was written.
    audited: bool,
    /// Whether what is added is held to the quotas of tenants.
    metered: bool,
}

impl<'c> Work<'c> {
    /// Begins an empty ledger on a connection that is inside a transaction.
    pub(super) fn new(conn: &'c mut PgConnection, with_outbox: bool) -> Self {
        Self {
            conn,
            with_outbox,
            users: false,
            counts: BTreeMap::new(),
            flow: Flow::default(),
            outbox_rows: BTreeMap::new(),
            signals: Signals::default(),
            dead: Vec::new(),
            moved: 0,
            wrote: false,
            facts: None,
            audited: false,
            metered: false,
        }
    }

    /// The same inside a transaction of the user's own.
    pub(super) fn of_the_user(conn: &'c mut PgConnection, with_outbox: bool) -> Self {
        Self { users: true, ..Self::new(conn, with_outbox) }
    }

    /// Whether the transaction is one of the user's own.
    pub(super) fn is_the_users(&self) -> bool {
        self.users
    }

    /// Whether anything is written to the outbox.
    pub(super) fn with_outbox(&self) -> bool {
        self.with_outbox
    }

    /// Whether anything was entered at all.
    pub(super) fn wrote(&self) -> bool {
        self.wrote
    }

    /// What is added is held to the quotas of tenants.
    pub(super) fn hold_to_quotas(&mut self) {
        self.metered = true;
    }

    /// Whether what is added is held to the quotas of tenants.
    pub(super) fn is_metered(&self) -> bool {
        self.metered
    }

    /// An entry of the audit is to be written: facts for it are gathered from now on.
    pub(super) fn gather_facts(&mut self) {
        self.facts = Some(Facts::default());
    }

    /// The facts, if the transaction has changed anything. They are gathered no more.
    pub(super) fn take_facts(&mut self) -> Option<Facts> {
        let wrote = self.wrote;
        self.facts.take().filter(|facts| facts.call_for_an_entry(wrote))
    }

    /// The facts, where they are gathered.
    pub(super) fn facts_mut(&mut self) -> Option<&mut Facts> {
        self.facts.as_mut()
    }

    /// Something was changed that the ledger does not show.
    pub(super) fn changed(&mut self) {
        if let Some(facts) = &mut self.facts {
            facts.change();
        }
    }

    /// What a report says goes into the audit.
    pub(super) fn tell(&mut self, report: &impl Summary) {
        if let Some(facts) = &mut self.facts {
            facts.tell(report);
        }
    }

    /// Whether the entry of the audit was written.
    pub(super) fn audit_entered(&mut self, written: bool) {
        self.audited = written;
    }

    /// Whether the entry of the audit was written.
    pub(super) fn entered_audit(&self) -> bool {
        self.audited
    }

    /// What is to be notified after the commit.
    pub(super) fn signals(&self) -> Signals {
        self.signals
    }

    /// This many jobs were moved and counted by the statement that moved them.
    pub(super) fn moved_and_counted(&mut self, jobs: u64) {
        self.wrote |= jobs > 0;
        self.moved += jobs;
    }

    /// This many jobs entered a state.
    pub(super) fn entered(&mut self, tenant: &str, queue: &str, state: JobState, jobs: i64) {
        self.wrote = true;
        self.moved += u64::try_from(jobs).unwrap_or(0);
        *self.counts.entry((tenant.to_owned(), queue.to_owned(), state.as_str())).or_default() += jobs;
    }

    /// One job went from one state into another.
    pub(super) fn moved(&mut self, tenant: &str, queue: &str, from: JobState, to: JobState) {
        self.entered(tenant, queue, from, -1);
        self.entered(tenant, queue, to, 1);
    }

    /// What has passed, to be added to.
    pub(super) fn flow(&mut self) -> &mut Flow {
        &mut self.flow
    }

    /// A job became claimable.
    pub(super) fn claimable(&mut self, queue: &str, lane: i16, job: Uuid) {
        self.signals.work = true;
        self.add_outbox_row("dispatch", queue, lane, job);
    }

    /// Events were published.
    pub(super) fn published(&mut self) {
        self.signals.events = true;
    }

    /// An attempt that a worker may still be running was closed by another process.
    pub(super) fn taken_away(&mut self) {
        self.signals.gone = true;
    }

    /// A job became a dead letter.
    pub(super) fn dead_letter(&mut self, queue: &str, lane: i16, job: Uuid) {
        self.dead.push(job);
        self.add_outbox_row("dead_letter", queue, lane, job);
    }

    fn add_outbox_row(&mut self, purpose: &'static str, queue: &str, lane: i16, job: Uuid) {
        if self.with_outbox {
            self.outbox_rows.entry((purpose, queue.to_owned(), lane)).or_default().push(job);
        }
    }

    /// Writes the ledger. Its result may be published once the transaction is committed.
    pub(super) async fn close(&mut self) -> Outcome<Dispatched> {
        let dead = std::mem::take(&mut self.dead);
        events::own::jobs_died(self, &dead).await?;
        batch_ends::aggregates_died(self, &dead).await?;
        if self.metered {
            let changes = self.counts.iter().map(|((tenant, _, state), jobs)| (tenant.as_str(), *state, *jobs));
            let arrivals = quota::arrivals(changes);
            quota::hold_jobs(self, arrivals).await?;
        }
        self.write_counts().await?;
        let dispatches = self.write_outbox().await?;
        self.notify().await?;
        Ok(Dispatched { dispatches, moved: std::mem::take(&mut self.moved) })
    }

    async fn write_counts(&mut self) -> Outcome<()> {
        let (mut tenants, mut queues, mut states, mut jobs) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for ((tenant, queue, state), count) in std::mem::take(&mut self.counts) {
            if count != 0 {
                tenants.push(tenant);
                queues.push(queue);
                states.push(state);
                jobs.push(count);
            }
        }
        if jobs.is_empty() && self.flow.is_empty() {
            return Ok(());
        }
        let flow = self.flow.take();
        sqlx::query(COUNT)
            .bind(tenants)
            .bind(queues)
            .bind(states)
            .bind(jobs)
            .bind(flow.iter().map(|row| row.tenant.as_str()).collect::<Vec<_>>())
            .bind(flow.iter().map(|row| row.queue.as_str()).collect::<Vec<_>>())
            .bind(flow.iter().map(|row| row.kind.as_str()).collect::<Vec<_>>())
            .bind(flow.iter().map(|row| row.what.as_str()).collect::<Vec<_>>())
            .bind(flow.iter().map(|row| row.wait).collect::<Vec<_>>())
            .bind(flow.iter().map(|row| row.run).collect::<Vec<_>>())
            .bind(flow.iter().map(|row| row.jobs).collect::<Vec<_>>())
            .execute(&mut *self.conn)
            .await?;
        Ok(())
    }

    async fn write_outbox(&mut self) -> Outcome<Vec<Dispatch>> {
        let mut dispatches = Vec::new();
        let (mut purposes, mut queues, mut lanes, mut texts) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for ((purpose, queue, lane), jobs) in std::mem::take(&mut self.outbox_rows) {
            for group in jobs.chunks(OUTBOX_JOBS_MAX) {
                purposes.push(purpose);
                queues.push(queue.clone());
                lanes.push(lane);
                texts.push(ids_as_json(group));
                dispatches.push(dispatch(0, purpose, queue.clone(), lane, group.iter().copied().map(JobId).collect())?);
            }
        }
        if dispatches.is_empty() {
            return Ok(dispatches);
        }
        let ids: Vec<i64> = sqlx::query_scalar(OUTBOX)
            .bind(purposes)
            .bind(queues)
            .bind(lanes)
            .bind(texts)
            .fetch_all(&mut *self.conn)
            .await?;
        for (dispatch, id) in dispatches.iter_mut().zip(ids) {
            dispatch.outbox = id;
        }
        Ok(dispatches)
    }

    /// In a transaction of ours they are sent after its commit; when one of the user's own commits is not ours to see.
    /// Workers learn of work from the broker, where there is one.
    async fn notify(&mut self) -> Outcome<()> {
        self.signals.work &= !self.with_outbox;
        if !self.users {
            return Ok(());
        }
        let signals = std::mem::take(&mut self.signals);
        for channel in signals.channels() {
            sqlx::query("SELECT pg_notify($1, '')").bind(channel).execute(&mut *self.conn).await?;
        }
        Ok(())
    }
}

/// One outbox row as the core's dispatch.
pub(super) fn dispatch(
    outbox: i64,
    purpose: &str,
    queue: String,
    lane: i16,
    jobs: Vec<JobId>,
) -> Result<Dispatch, StoreError> {
    let purpose = match purpose {
        "dispatch" => Purpose::Dispatch,
        "dead_letter" => Purpose::DeadLetter,
        other => return Err(StoreError::Database(format!("outbox row {outbox} has the unknown purpose `{other}`"))),
    };
    Ok(Dispatch { outbox, queue, priority: priority_of(lane)?, purpose, jobs })
}

/// The priority of a rank from the database.
pub(super) fn priority_of(rank: i16) -> Result<Priority, StoreError> {
    Priority::from_rank(rank)
        .ok_or_else(|| StoreError::Database(format!("there is no lane {rank}; lanes are 0, 1 and 2")))
}

/// `["id","id"]`, without going through a JSON value.
fn ids_as_json(ids: &[Uuid]) -> String {
    let mut text = String::with_capacity(ids.len() * 39 + 2);
    text.push('[');
    for (index, id) in ids.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        text.push('"');
        text.push_str(id.hyphenated().encode_lower(&mut Uuid::encode_buffer()));
        text.push('"');
    }
    text.push(']');
    text
}
