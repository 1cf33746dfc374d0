//! Events as they are written: once for each id of a source.

use std::collections::{BTreeMap, BTreeSet};

use gristmill_core::event::{Cause, EventDraft};
use gristmill_core::id::JobId;
use serde_json::json;
use uuid::Uuid;

use super::super::{Columns, Sql, values};
use crate::check;
use crate::error::{Result, StoreError};
use crate::{Publication, Published};

/// In the order in which they are given.
const INSERT: &str = "
INSERT INTO event (tenant, id, source, type, version, subject, stream, time, data, trace, caused_by, extensions,
                   correlation, causation, depth, sha256, accepted_at)
SELECT e.value ->> 0, e.value ->> 1, e.value ->> 2, e.value ->> 3, (e.value ->> 4)::bigint, e.value ->> 5, e.value ->> 6,
       COALESCE(('epoch'::timestamptz + (e.value ->> 7)::bigint * interval '1 microsecond'), now()), e.value ->> 8,
       e.value ->> 9, e.value ->> 10, e.value ->> 11, e.value ->> 12, e.value ->> 13, (e.value ->> 14)::bigint,
       e.value ->> 15, now()
FROM json_array_elements($1::json) AS e WHERE true
ON CONFLICT (tenant, source, id) DO NOTHING
RETURNING tenant, source, id";

const KNOWN: &str = "SELECT sha256 FROM event WHERE tenant = $1 AND source = $2 AND id = $3";

const NEWEST_SCHEMA: &str = "SELECT max(version) AS version FROM event_schema WHERE tenant = $1 AND type = $2";

/// What started these jobs: the event of the delivery that enqueued one, or that requested the run of its batch.
const CAUSES: &str = "
SELECT j.id AS job, e.id, e.correlation, e.depth
FROM json_array_elements($1::json) AS g CROSS JOIN job j CROSS JOIN event_delivery d CROSS JOIN event e
WHERE j.id = CAST(g.value ->> 0 AS uuid) AND d.job_id = j.id AND e.position = d.position
UNION ALL
SELECT j.id, e.id, e.correlation, e.depth
FROM json_array_elements($1::json) AS g CROSS JOIN job j CROSS JOIN schedule_tick t CROSS JOIN event_delivery d
     CROSS JOIN event e
WHERE j.id = CAST(g.value ->> 0 AS uuid) AND t.batch_id = j.batch_id AND d.tenant = t.tenant AND d.run = t.event
  AND e.position = d.position";

/// What requested the run of a batch.
const CAUSE_OF_BATCH: &str = "
SELECT e.id, e.correlation, e.depth
FROM schedule_tick t CROSS JOIN event_delivery d CROSS JOIN event e
WHERE t.batch_id = $1 AND d.tenant = t.tenant AND d.run = t.event AND e.position = d.position LIMIT 1";

/// An event as it is written.
pub(crate) struct Row {
    pub(crate) tenant: String,
    pub(crate) draft: EventDraft,
    pub(crate) version: u32,
    pub(crate) user: Option<String>,
    pub(crate) cause: Option<Cause>,
}

/// Publishes events, all or none.
pub(crate) async fn publish<S: Sql>(sql: &mut S, events: &[Publication]) -> Result<Vec<Published>, S::Fault> {
    check::publications(events)?;
    let rows = rows(sql, events).await?;
    let mut inserted = insert(sql, &rows).await?;
    let mut published = Vec::with_capacity(rows.len());
    for row in &rows {
        let EventDraft { id, source, .. } = &row.draft;
        // Of the same id twice in one group the first one is new.
        let fresh = inserted.remove(&(row.tenant.clone(), source.clone(), id.clone()));
        if !fresh {
            let known = sql.row(KNOWN, values![&row.tenant, source, id]).await?;
            let known = known.map(|row| row.text("sha256")).transpose()?;
            check_same(&row.draft, known.as_deref())?;
        }
        published.push(Published { id: id.clone(), source: source.clone(), fresh });
    }
    Ok(published)
}

/// Publishes what a job has emitted, with its completion, which does not fail for an id that was used before.
pub(crate) async fn emit<S: Sql>(sql: &mut S, events: &[Publication]) -> Result<(), S::Fault> {
    if events.is_empty() {
        return Ok(());
    }
    let rows = rows(sql, events).await?;
    insert(sql, &rows).await?;
    Ok(())
}

/// Events with what the store adds to them: their version, and what caused them.
async fn rows<S: Sql>(sql: &mut S, events: &[Publication]) -> Result<Vec<Row>, S::Fault> {
    let jobs: BTreeSet<JobId> = events.iter().filter_map(|event| event.job).collect();
    let causes = causes(sql, &jobs.into_iter().map(|job| job.0).collect::<Vec<_>>()).await?;
    let mut newest = BTreeMap::new();
    let mut rows = Vec::with_capacity(events.len());
    for event in events {
        let version = match event.draft.version {
            Some(version) => version,
            None => newest_version(sql, &mut newest, &event.tenant, &event.draft.kind).await?,
        };
        rows.push(Row {
            tenant: event.tenant.clone(),
            draft: event.draft.clone(),
            version,
            user: event.user.clone(),
            cause: event.job.and_then(|job| causes.get(&job.0).cloned()),
        });
    }
    Ok(rows)
}

/// The same id means the same content.
pub(crate) fn check_same(draft: &EventDraft, known: Option<&str>) -> Result<()> {
    let EventDraft { id, source, .. } = draft;
    match known {
        Some(known) if known == draft.content_hash() => Ok(()),
        Some(_) => Err(StoreError::Conflict(format!(
            "the source `{source}` has published an event with the id `{id}` before, and it said something else; an id \
             stands for one event"
        ))),
        None => Err(StoreError::Conflict(format!("the event `{id}` was removed meanwhile; publish it again"))),
    }
}

async fn newest_version<S: Sql>(
    sql: &mut S,
    newest: &mut BTreeMap<(String, String), u32>,
    tenant: &str,
    kind: &str,
) -> Result<u32, S::Fault> {
    let key = (tenant.to_owned(), kind.to_owned());
    if let Some(version) = newest.get(&key) {
        return Ok(*version);
    }
    let found = sql.row(NEWEST_SCHEMA, values![tenant, kind]).await?;
    let found = found.map(|row| row.maybe_number("version")).transpose()?.flatten();
    let version = found.and_then(|version| u32::try_from(version).ok()).unwrap_or(1);
    newest.insert(key, version);
    Ok(version)
}

/// Writes events, and returns which of them are new: by tenant, source and id.
pub(crate) async fn insert<S: Sql>(sql: &mut S, rows: &[Row]) -> Result<BTreeSet<(String, String, String)>, S::Fault> {
    if rows.is_empty() {
        return Ok(BTreeSet::new());
    }
    let group = rows.iter().map(written).collect::<Result<Vec<_>>>()?;
    let inserted = sql.rows(INSERT, values![check::json(&group)?]).await?;
    let key = |row: &S::Row| Ok((row.text("tenant")?, row.text("source")?, row.text("id")?));
    let inserted: BTreeSet<_> = inserted.iter().map(key).collect::<Result<_>>()?;
    if !inserted.is_empty() {
        sql.publishes();
    }
    Ok(inserted)
}

fn written(row: &Row) -> Result<serde_json::Value> {
    let Row { tenant, draft, version, user, cause } = row;
    let one_line = |text: &Option<String>| text.as_deref().map(|text| check::plain(text, check::REASON_CHARS_MAX));
    Ok(json!([
        tenant,
        draft.id,
        draft.source,
        draft.kind,
        version,
        draft.subject,
        draft.stream(),
        draft.time.map(|time| time.timestamp_micros()),
        check::json(&draft.data)?,
        draft.trace,
        one_line(user),
        check::json(&draft.extensions)?,
        cause.as_ref().map_or(&draft.id, |cause| &cause.correlation),
        cause.as_ref().map(|cause| &cause.id),
        cause.as_ref().map_or(0, |cause| cause.depth.saturating_add(1)),
        draft.content_hash(),
    ]))
}

/// What started jobs, by their ids; most were started by no event.
pub(crate) async fn causes<S: Sql>(sql: &mut S, jobs: &[Uuid]) -> Result<BTreeMap<Uuid, Cause>, S::Fault> {
    if jobs.is_empty() {
        return Ok(BTreeMap::new());
    }
    let group: Vec<[Uuid; 1]> = jobs.iter().map(|job| [*job]).collect();
    let rows = sql.rows(CAUSES, values![check::json(&group)?]).await?;
    let read = |row: &S::Row| Ok((row.id("job")?, cause(row)?));
    Ok(rows.iter().map(read).collect::<Result<_>>()?)
}

/// What requested the run of a batch, if an event did.
pub(crate) async fn cause_of_batch<S: Sql>(sql: &mut S, batch: Uuid) -> Result<Option<Cause>, S::Fault> {
    let row = sql.row(CAUSE_OF_BATCH, values![batch]).await?;
    Ok(row.as_ref().map(cause).transpose()?)
}

fn cause(row: &impl Columns) -> Result<Cause> {
    Ok(Cause { id: row.text("id")?, correlation: row.text("correlation")?, depth: row.number("depth")? })
}
