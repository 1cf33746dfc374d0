//! The row of an operation: started, shown, called off, undone.

use std::time::Duration;

use gristmill_core::Instant;
use gristmill_core::id::OperationId;
use gristmill_core::operation::{OperationState, OperationVerb};
use gristmill_core::query::parse;
use serde_json::json;
use uuid::Uuid;

use crate::check;
use crate::error::{Result, StoreError};
use crate::operations::{may_cancel, may_undo, no_operation};
use crate::sql::{Columns, Sql, values};
use crate::{DueOperation, NewOperation, OperationView, Ordered, Page};

macro_rules! operations {
    ($rest:literal) => {
        concat!(
            "SELECT o.id, o.tenant, o.verb, o.query, o.snapshot, o.state, o.ordered, o.actor, o.reason, o.rate, o.preview,
    o.preview_more, o.place, o.done, o.failed, o.skipped, o.undone, o.undo_failed, o.error, o.undo_ms, o.undo_until,
    o.kept, o.due_at, o.created_at, o.ended_at FROM operation o WHERE ",
            $rest
        )
    };
}

const START: &str = "
INSERT INTO operation (id, tenant, verb, query, snapshot, ordered, actor, reason, rate, preview, preview_more, undo_ms, kept,
                       due_at, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, now(), now()) ON CONFLICT (id) DO NOTHING";

const ONE: &str = operations!("o.id = $1 AND o.tenant = $2");

const TO_CHANGE: &str = operations!("o.id = $1 AND o.tenant = $2 FOR UPDATE");

/// Another process that holds the row makes its step.
const TO_STEP: &str = operations!("o.id = $1 FOR UPDATE SKIP LOCKED");

const LIST: &str = operations!("o.tenant = $1 AND ($2::uuid IS NULL OR o.id < $2) ORDER BY o.id DESC LIMIT $3");

const DUE: &str =
    operations!("(o.state IN ('running', 'undoing') OR o.kept) AND o.due_at <= now() ORDER BY o.due_at, o.id LIMIT $1");

const CANCEL: &str = "
UPDATE operation SET state = 'cancelled', ended_at = now(), undo_until = $2, due_at = COALESCE($2, due_at)
WHERE id = $1 AND state = 'running'";

const UNDO: &str = "
UPDATE operation SET state = 'undoing', ended_at = NULL, undo_until = NULL, due_at = now()
WHERE id = $1 AND state IN ('running', 'finished', 'cancelled') AND kept";

const PRUNE: &str = "
DELETE FROM operation WHERE id IN (
    SELECT o.id FROM operation o WHERE o.ended_at < $1 AND o.ended_at IS NOT NULL AND NOT o.kept
    ORDER BY o.ended_at LIMIT $2 FOR UPDATE SKIP LOCKED)";

/// An operation, and what is not shown of it.
pub(crate) struct Stored {
    pub(crate) view: OperationView,
    pub(crate) place: Option<String>,
    pub(crate) undo: Duration,
    pub(crate) kept: bool,
    pub(crate) due_at: Instant,
}

impl Stored {
    fn read(row: &impl Columns, now: Instant) -> Result<Self> {
        let state: OperationState = row.word("state")?;
        let (kept, undo_until) = (row.flag("kept")?, row.maybe_instant("undo_until")?);
        let in_time = state == OperationState::Running || undo_until.is_some_and(|until| now < until);
        let view = OperationView {
            id: row.id("id")?,
            tenant: row.text("tenant")?,
            verb: row.word("verb")?,
            query: row.text("query")?,
            snapshot: row.instant("snapshot")?,
            state,
            actor: row.text("actor")?,
            reason: row.text("reason")?,
            rate: row.maybe_number("rate")?.and_then(|rate| u32::try_from(rate).ok()),
            preview: row.number("preview")?,
            preview_more: row.flag("preview_more")?,
            done: row.number("done")?,
            failed: row.number("failed")?,
            skipped: row.number("skipped")?,
            undone: row.number("undone")?,
            undo_failed: row.number("undo_failed")?,
            error: row.maybe_text("error")?,
            undo_until,
            can_be_undone: kept && in_time && state != OperationState::Undoing,
            created_at: row.instant("created_at")?,
            ended_at: row.maybe_instant("ended_at")?,
        };
        let (place, due_at) = (row.maybe_text("place")?, row.instant("due_at")?);
        Ok(Self { view, place, undo: Duration::from_millis(row.number("undo_ms")?), kept, due_at })
    }

    /// Until when it can be undone if it ends now; `None` when it cannot be.
    pub(crate) fn undo_until(&self, now: Instant) -> Option<Instant> {
        self.kept.then(|| now + self.undo)
    }

    /// The verb.
    pub(crate) fn verb(&self) -> OperationVerb {
        self.view.verb
    }

    /// What it selects.
    pub(crate) fn query(&self) -> Result<gristmill_core::query::Query> {
        parse(self.view.verb.list(), &self.view.query)
            .map_err(|fault| StoreError::Database(format!("the query of operation {}: {fault}", self.view.id)))
    }
}

/// Starts an operation.
pub(crate) async fn start<S: Sql>(sql: &mut S, new: &&NewOperation) -> Result<OperationView, S::Fault> {
    new.check()?;
    let selection = &new.selection;
    let snapshot = match selection.snapshot {
        Some(snapshot) => snapshot.min(sql.now().await?),
        None => sql.now().await?,
    };
    let tenant = check::plain(&selection.tenant, check::REASON_CHARS_MAX);
    let rate = new.rate.map(i64::from);
    let undo = u64::try_from(new.undo.as_millis()).unwrap_or(u64::MAX);
    let values = values![
        new.id.0,
        &tenant,
        selection.verb.as_str(),
        selection.query.to_string(),
        snapshot,
        check::json(&new.ordered)?,
        &new.ordered.actor,
        check::plain(&new.reason, check::REASON_CHARS_MAX),
        rate,
        new.preview,
        new.preview_more,
        undo,
        new.kept(),
    ];
    let begun = sql.run(START, values).await? > 0;
    let started = find(sql, ONE, &tenant, new.id).await?.view;
    if let Some(facts) = sql.facts().filter(|_| begun) {
        facts.change();
        facts.set("verb", started.verb.as_str());
        facts.set("query", started.query.clone());
        facts.set("matches", json!({ "jobs": started.preview, "more": started.preview_more }));
    }
    Ok(started)
}

async fn find<S: Sql>(sql: &mut S, statement: &'static str, tenant: &str, id: OperationId) -> Result<Stored, S::Fault> {
    let now = sql.now().await?;
    let row = sql.row(statement, values![id.0, tenant]).await?;
    let row = row.ok_or_else(|| no_operation(id))?;
    Ok(Stored::read(&row, now)?)
}

/// One operation.
pub(crate) async fn one<S: Sql>(sql: &mut S, tenant: &str, id: OperationId) -> Result<Option<OperationView>, S::Fault> {
    let now = sql.now().await?;
    let row = sql.row(ONE, values![id.0, tenant]).await?;
    Ok(row.map(|row| Stored::read(&row, now)).transpose()?.map(|stored| stored.view))
}

/// The operations of a tenant.
pub(crate) async fn list<S: Sql>(sql: &mut S, tenant: &str, page: &Page) -> Result<Vec<OperationView>, S::Fault> {
    let (now, after): (_, Option<Uuid>) = (sql.now().await?, page.after_id()?);
    let rows = sql.rows(LIST, values![tenant, after, page.rows()]).await?;
    let view = |row: &S::Row| Ok(Stored::read(row, now)?.view);
    Ok(rows.iter().map(view).collect::<Result<_>>()?)
}

/// Operations with a step due.
pub(crate) async fn due<S: Sql>(sql: &mut S, limit: u32) -> Result<Vec<DueOperation>, S::Fault> {
    let now = sql.now().await?;
    let rows = sql.rows(DUE, values![limit]).await?;
    let due = |row: &S::Row| {
        let ordered: Ordered = row.json("ordered")?;
        Ok(DueOperation { view: Stored::read(row, now)?.view, ordered })
    };
    Ok(rows.iter().map(due).collect::<Result<_>>()?)
}

/// An operation whose step is due, locked.
pub(crate) async fn to_step<S: Sql>(sql: &mut S, id: OperationId) -> Result<Option<Stored>, S::Fault> {
    let now = sql.now().await?;
    let row = sql.row(TO_STEP, values![id.0]).await?;
    let stored = row.map(|row| Stored::read(&row, now)).transpose()?;
    Ok(stored.filter(|stored| stored.due_at <= now && (stored.view.state.is_under_way() || stored.kept)))
}

/// Calls an operation off.
pub(crate) async fn cancel<S: Sql>(sql: &mut S, (tenant, id): &(&str, OperationId)) -> Result<OperationView, S::Fault> {
    let stored = find(sql, TO_CHANGE, tenant, *id).await?;
    if !may_cancel(&stored.view)? {
        return Ok(stored.view);
    }
    let now = sql.now().await?;
    sql.run(CANCEL, values![id.0, stored.undo_until(now)]).await?;
    changed(sql, tenant, *id).await
}

/// Undoes an operation.
pub(crate) async fn undo<S: Sql>(sql: &mut S, (tenant, id): &(&str, OperationId)) -> Result<OperationView, S::Fault> {
    let stored = find(sql, TO_CHANGE, tenant, *id).await?;
    if !may_undo(&stored.view)? {
        return Ok(stored.view);
    }
    sql.run(UNDO, values![id.0]).await?;
    changed(sql, tenant, *id).await
}

/// The operation after a change, which the audit is told of.
async fn changed<S: Sql>(sql: &mut S, tenant: &str, id: OperationId) -> Result<OperationView, S::Fault> {
    let view = find(sql, ONE, tenant, id).await?.view;
    if let Some(facts) = sql.facts() {
        facts.change();
        facts.set("state", view.state.as_str());
        facts.set("done", view.done);
    }
    Ok(view)
}

/// Removes operations that ended long ago.
pub(crate) async fn prune<S: Sql>(sql: &mut S, (before, limit): &(Instant, u32)) -> Result<u64, S::Fault> {
    sql.run(PRUNE, values![*before, *limit]).await
}
