//! What this program reports by itself, in the transaction of what it reports.

use std::collections::BTreeMap;

use gristmill_core::audit::AuditEntry;
use gristmill_core::event::own::OwnType;
use gristmill_core::event::{ATTRIBUTE_CHARS_MAX, Cause, EventDraft, OWN_SOURCE};
use gristmill_core::id::BatchId;
use gristmill_core::letter::RecipientState;
use serde_json::{Value, json};
use uuid::Uuid;

use super::super::{Columns, Sql, values};
use super::published::{Row, cause_of_batch, causes, insert};
use crate::check;
use crate::error::Result;
use crate::{EmailKey, Pause};

const BATCH: &str = "
SELECT tenant, name, state, generation, input, ok, skipped, quarantined, cancelled, reason, trace FROM batch WHERE id = $1";

const DEAD: &str = "
SELECT j.id, j.tenant, j.queue, j.kind, j.attempt, j.error, j.batch_id, j.trace
FROM json_array_elements($1::json) AS g CROSS JOIN job j
WHERE j.id = CAST(g.value ->> 0 AS uuid) AND j.state = 'dead' ORDER BY j.id";

/// How many jobs that died together are reported by one statement.
const GROUP: usize = 500;

/// An event of this program's own.
pub(crate) fn row(tenant: &str, kind: OwnType, subject: String, data: Value) -> Row {
    let id = Uuid::now_v7().to_string();
    let draft =
        EventDraft { subject: Some(subject), version: Some(1), data, ..EventDraft::new(id, OWN_SOURCE, kind.as_str()) };
    Row { tenant: tenant.to_owned(), draft, version: 1, user: None, cause: None }
}

/// Reports what has happened to a batch.
pub(crate) async fn batch<S: Sql>(sql: &mut S, id: BatchId, kind: OwnType) -> Result<(), S::Fault> {
    let Some(found) = sql.row(BATCH, values![id.0]).await? else { return Ok(()) };
    let count = |column| found.number::<u64>(column);
    let data = json!({
        "batch": id,
        "name": found.text("name")?,
        "state": found.text("state")?,
        "generation": count("generation")?,
        "counts": {
            "input": count("input")?,
            "ok": count("ok")?,
            "skipped": count("skipped")?,
            "quarantined": count("quarantined")?,
            "cancelled": count("cancelled")?,
        },
        "reason": found.maybe_text("reason")?,
    });
    let mut event = row(&found.text("tenant")?, kind, format!("batch/{id}"), data);
    event.draft.trace = found.maybe_text("trace")?;
    drop(found);
    event.cause = cause_of_batch(sql, id.0).await?;
    insert(sql, &[event]).await?;
    Ok(())
}

/// Reports jobs that have just died.
pub(crate) async fn jobs_died<S: Sql>(sql: &mut S, dead: &[Uuid]) -> Result<(), S::Fault> {
    for group in dead.chunks(GROUP) {
        let ids: Vec<[Uuid; 1]> = group.iter().map(|id| [*id]).collect();
        let found = sql.rows(DEAD, values![check::json(&ids)?]).await?;
        let events = found.iter().map(died).collect::<Result<Vec<_>>>()?;
        drop(found);
        let causes = causes(sql, group).await?;
        let events: Vec<Row> = events.into_iter().map(|(id, event)| caused(event, id, &causes)).collect();
        insert(sql, &events).await?;
    }
    Ok(())
}

fn caused(event: Row, job: Uuid, causes: &BTreeMap<Uuid, Cause>) -> Row {
    Row { cause: causes.get(&job).cloned(), ..event }
}

fn died(found: &impl Columns) -> Result<(Uuid, Row)> {
    let id: Uuid = found.id("id")?;
    let data = json!({
        "job": id,
        "queue": found.text("queue")?,
        "kind": found.text("kind")?,
        "attempt": found.number::<u32>("attempt")?,
        "error": found.maybe_text("error")?,
        "batch": found.maybe_id("batch_id")?,
    });
    let mut event = row(&found.text("tenant")?, OwnType::JobDead, format!("job/{id}"), data);
    event.draft.trace = found.maybe_text("trace")?;
    Ok((id, event))
}

/// Reports something that needs no look.
pub(crate) async fn report<S: Sql>(
    sql: &mut S,
    tenant: &str,
    kind: OwnType,
    subject: String,
    data: Value,
) -> Result<(), S::Fault> {
    insert(sql, &[row(tenant, kind, subject, data)]).await?;
    Ok(())
}

/// What is reported of a queue that was paused, or resumed.
pub(crate) fn of_queue(queue: &str, pause: Option<&Pause>) -> (OwnType, String, Value) {
    let kind = if pause.is_some() { OwnType::QueuePaused } else { OwnType::QueueResumed };
    let plain = |text: &String| check::plain(text, check::REASON_CHARS_MAX);
    let by = pause.and_then(|pause| pause.by.as_ref()).map(plain);
    let reason = pause.and_then(|pause| pause.reason.as_ref()).map(plain);
    (kind, format!("queue/{queue}"), json!({ "queue": queue, "by": by, "reason": reason }))
}

/// Reports that a queue was paused, or resumed.
pub(crate) async fn queue<S: Sql>(
    sql: &mut S,
    tenant: &str,
    queue: &str,
    pause: Option<&Pause>,
) -> Result<(), S::Fault> {
    let (kind, subject, data) = of_queue(queue, pause);
    report(sql, tenant, kind, subject, data).await
}

/// Reports what became of ticks that did not run.
pub(crate) async fn ticks<S: Sql>(
    sql: &mut S,
    reported: Vec<(String, OwnType, String, Value)>,
) -> Result<(), S::Fault> {
    let events: Vec<Row> =
        reported.into_iter().map(|(tenant, kind, subject, data)| row(&tenant, kind, subject, data)).collect();
    for group in events.chunks(GROUP) {
        insert(sql, group).await?;
    }
    Ok(())
}

/// What is reported with an entry of the audit, if anything.
pub(crate) fn of_entry(entry: &AuditEntry) -> Option<Row> {
    let kind = OwnType::of_action(&entry.action)?;
    // A user is known by an address, which is for those who may read the audit.
    let tenant = (kind == OwnType::TenantChanged).then_some(&entry.target);
    let subject = tenant.map_or_else(|| "user".to_owned(), |tenant| format!("tenant/{tenant}"));
    let data = json!({ "action": entry.action, "tenant": tenant, "audit": entry.seq });
    Some(row(&entry.tenant, kind, subject, data))
}

/// What is reported of a recipient of an email that has entered a state, if anything: not the address.
pub(crate) fn of_recipient(key: &EmailKey, position: u32, state: RecipientState, status: Option<&str>) -> Option<Row> {
    let kind = OwnType::of_recipient(state)?;
    let data = json!({ "email": key.key, "recipient": position, "state": state, "status": status });
    let subject: String = format!("email/{}", key.key).chars().take(ATTRIBUTE_CHARS_MAX).collect();
    Some(row(&key.tenant, kind, subject, data))
}
