//! The ledger of ticks.

use std::collections::{BTreeSet, HashMap, HashSet};

use gristmill_core::id::{BatchId, JobId};
use gristmill_core::job::NewJob;
use uuid::Uuid;

use super::{Columns, Creating, Sql, events, values};
use crate::check;
use crate::error::Result;
use crate::ticks::{self, check_firings, key};
use crate::{
    FIRE_TRIES_MAX, FireReport, Firing, LEDGERS_MAX, LedgerTally, Run, TALLIED_MAX, TickFilter, TickOutcome, TickView,
};

/// The most events that one question names.
pub(crate) const EVENTS_MAX: usize = 10_000;

/// An instant of a JSON object, which has it in microseconds since 1970.
macro_rules! at {
    ($key:literal) => {
        concat!("('epoch'::timestamptz + (value ->> '", $key, "')::bigint * interval '1 microsecond')")
    };
}

const ADVANCE: &str = concat!(
    "UPDATE schedule AS s SET decided_at = ",
    at!("is"),
    ", next_at = ",
    at!("next"),
    " FROM json_array_elements($1::json) WHERE s.tenant = value ->> 'tenant' AND s.name = value ->> 'name'",
    " AND s.version = (value ->> 'version')::bigint AND s.decided_at = ",
    at!("was"),
    " AND s.enabled RETURNING tenant, name"
);

const WRITE: &str = concat!(
    "INSERT INTO schedule_tick (tenant, schedule, tick, cause, outcome, from_at, to_at, late_ms, ticks, tries, batch_id,
        job_id, active, holder, reason, decided_at, started_at, tzdb)
     SELECT value ->> 'tenant', value ->> 'schedule', ",
    at!("tick"),
    ", value ->> 'cause', value ->> 'outcome', ",
    at!("from"),
    ", ",
    at!("to"),
    ", (value ->> 'late')::bigint, (value ->> 'ticks')::bigint, (value ->> 'ran')::bigint,
        CAST(value ->> 'batch' AS uuid), CAST(value ->> 'job' AS uuid), (value ->> 'ran')::bigint = 1,
        CAST(value ->> 'holder' AS uuid), value ->> 'reason', now(),
        CASE WHEN (value ->> 'ran')::bigint = 1 THEN now() END, value ->> 'tzdb'
     FROM json_array_elements($1::json) WHERE true ON CONFLICT DO NOTHING RETURNING tenant, schedule, tick"
);

const REWRITE: &str = concat!(
    "UPDATE schedule_tick AS t SET outcome = value ->> 'outcome', tries = t.tries + (value ->> 'ran')::bigint,
        cause = CASE WHEN t.cause = 'backfill' THEN t.cause ELSE value ->> 'cause' END,
        batch_id = CAST(value ->> 'batch' AS uuid), job_id = CAST(value ->> 'job' AS uuid),
        active = (value ->> 'ran')::bigint = 1, result = NULL, holder = CAST(value ->> 'holder' AS uuid),
        reason = value ->> 'reason', late_ms = (value ->> 'late')::bigint, ended_at = NULL,
        started_at = CASE WHEN (value ->> 'ran')::bigint = 1 THEN now() ELSE t.started_at END
     FROM json_array_elements($1::json)
     WHERE t.tenant = value ->> 'tenant' AND t.schedule = value ->> 'schedule' AND t.tick = ",
    at!("tick"),
    " AND t.outcome = value ->> 'was' RETURNING tenant, schedule, tick"
);

macro_rules! ended {
    ($before:literal) => {
        concat!(
            $before,
            " t.active
  AND NOT EXISTS (SELECT 1 FROM batch b WHERE b.id = t.batch_id AND b.state NOT IN ('complete', 'halted', 'cancelled'))
  AND NOT EXISTS (SELECT 1 FROM job j WHERE j.id = t.job_id AND j.state NOT IN ('done', 'dead', 'cancelled'))"
        )
    };
}

/// The runs that have ended.
const ENDED: &str = ended!("SELECT t.tick FROM schedule_tick t WHERE");

/// A run that no longer exists, such as a batch that was discarded, has ended too.
const NOTE_ENDED: &str = ended!(
    "UPDATE schedule_tick AS t SET active = FALSE, ended_at = now(), result = COALESCE(
    (SELECT state FROM batch WHERE id = t.batch_id), (SELECT state FROM job WHERE id = t.job_id), 'gone')
WHERE"
);

macro_rules! ticks {
    ($rest:literal) => {
        concat!(
            "SELECT t.tenant, t.schedule, t.tick, t.cause, t.outcome, t.from_at, t.to_at, t.late_ms, t.ticks, t.tries, ",
            "t.batch_id, t.job_id, t.active, t.result, t.backfill_id, t.reason, t.decided_at, t.started_at, t.ended_at, ",
            "t.event, t.about, t.tzdb ",
            $rest
        )
    };
}

/// Those that no backfill made: the first buffered one of each schedule once nothing of it runs, and all that wait.
const STARTABLE: &str = ticks!(
    "FROM (
        SELECT w.*, row_number() OVER (PARTITION BY w.tenant, w.schedule, w.outcome ORDER BY w.tick) AS place
        FROM (SELECT * FROM schedule_tick WHERE outcome IN ('buffered', 'waiting') AND backfill_id IS NULL
              ORDER BY tick) AS w) AS t
    WHERE t.place <= $1 AND (t.outcome = 'waiting' OR (t.place = 1 AND NOT EXISTS (SELECT 1 FROM schedule_tick a
        WHERE a.tenant = t.tenant AND a.schedule = t.schedule AND a.active AND a.cause <> 'backfill')))
    ORDER BY t.tenant, t.schedule, t.place LIMIT $1"
);

/// The backfills that have something waiting, each with how many of its runs may begin. A backfill has as many ticks as
/// it likes: they are never sorted, and the first one shows that there are any; an EXISTS would be joined to all of them.
const BACKFILLS: &str = "
SELECT b.id, b.newest_first, b.concurrency - (SELECT count(*) FROM schedule_tick a
    WHERE a.tenant = b.tenant AND a.schedule = b.schedule AND a.active AND a.backfill_id = b.id) AS room
FROM schedule_backfill b
WHERE NOT b.paused AND (SELECT w.tick FROM schedule_tick w WHERE w.backfill_id = b.id
    AND w.outcome IN ('buffered', 'waiting') AND w.outcome = 'waiting' ORDER BY w.tick LIMIT 1) IS NOT NULL
ORDER BY b.tenant, b.schedule, b.id";

const OLDEST_OF_BACKFILL: &str = ticks!(
    "FROM schedule_tick t WHERE t.backfill_id = $1 AND t.outcome IN ('buffered', 'waiting') AND t.outcome = 'waiting'
            ORDER BY t.tick LIMIT $2"
);

const NEWEST_OF_BACKFILL: &str = ticks!(
    "FROM schedule_tick t WHERE t.backfill_id = $1 AND t.outcome IN ('buffered', 'waiting') AND t.outcome = 'waiting'
            ORDER BY t.tick DESC LIMIT $2"
);

const ORPHANED: &str = "
SELECT b.tenant, b.id FROM schedule_tick t JOIN batch b ON b.id = t.batch_id
WHERE t.active AND b.state = 'open' AND t.holder IS NOT NULL AND NOT EXISTS (
    SELECT 1 FROM worker w WHERE w.id = t.holder AND w.state = 'alive' AND w.lease_until >= now())
ORDER BY b.id LIMIT $1";

const RELEASE: &str = "
UPDATE schedule_tick SET outcome = CASE WHEN tries >= $3 OR NOT $4 THEN 'failed' ELSE 'waiting' END,
    batch_id = NULL, active = FALSE, reason = $2
WHERE batch_id = $1 AND outcome = 'ran'";

const TICKS: &str = ticks!(
    "FROM schedule_tick t WHERE t.tenant = $1 AND t.schedule = $2 AND ($3::timestamptz IS NULL OR t.tick >= $3)
     AND ($4::timestamptz IS NULL OR t.tick <= $4) ORDER BY t.tick DESC LIMIT $5"
);

/// One row by its event.
pub(super) const EVENT: &str = ticks!("FROM schedule_tick t WHERE t.tenant = $1 AND t.schedule = $2 AND t.event = $3");

/// Rows by their events.
const EVENTS: &str = ticks!(
    "FROM schedule_tick t WHERE t.tenant = $1 AND t.schedule = $2
     AND t.event IN (SELECT value FROM json_array_elements_text($3::json))"
);

/// The newest row of each of several ledgers: one look into the primary key for each, whatever the planner believes.
pub(crate) const NEWEST_LATERAL: &str = ticks!(
    "FROM json_array_elements_text($2::json) AS n (name) CROSS JOIN LATERAL (SELECT * FROM schedule_tick w
        WHERE w.tenant = $1 AND w.schedule = n.name ORDER BY w.tick DESC LIMIT 1) AS t"
);

/// The same for SQLite, which reads a CROSS JOIN from the left to the right.
pub(crate) const NEWEST_JOINED: &str = ticks!(
    "FROM json_each($2) AS n CROSS JOIN schedule_tick AS t WHERE t.tenant = $1 AND t.schedule = n.value
     AND t.tick = (SELECT max(w.tick) FROM schedule_tick w WHERE w.tenant = $1 AND w.schedule = n.value)"
);

/// How many rows, of which so many run, wait, have failed: four numbers, so that each ledger is read once.
const TALLIES: &str = "
SELECT value AS schedule,
    (SELECT max(m.tick) FROM schedule_tick m WHERE m.tenant = $1 AND m.schedule = value) AS last,
    (SELECT count(*)::text || ' ' || count(CASE WHEN w.active THEN 1 END)::text
         || ' ' || count(CASE WHEN w.outcome IN ('buffered', 'waiting') THEN 1 END)::text
         || ' ' || count(CASE WHEN w.outcome = 'failed' THEN 1 END)::text
     FROM (SELECT active, outcome FROM schedule_tick t WHERE t.tenant = $1 AND t.schedule = value
           ORDER BY t.tick DESC LIMIT $3) AS w) AS counts
FROM json_array_elements_text($2::json)";

/// Records decided ticks and starts their runs; the caller knows what may be published.
pub(crate) async fn fire<S: Creating>(sql: &mut S, firings: &[Firing]) -> Result<FireReport, S::Fault> {
    check_firings(firings)?;
    let won = sql.rows(ADVANCE, values![ticks::advances(firings)?]).await?;
    let won: HashSet<(String, String)> =
        won.iter().map(|row| Ok((row.text("tenant")?, row.text("name")?))).collect::<Result<_>>()?;
    let holds = |firing: &&Firing| firing.advance.is_none() || won.contains(&key(firing));
    let asked = firings.len();
    let firings: Vec<&Firing> = firings.iter().filter(holds).collect();
    let written = write(sql, &firings).await?;
    events::own::ticks(sql, ticks::reported(&firings, &written)).await?;
    let lost = (asked - firings.len()) as u64;
    let mut report = FireReport { written: written.len() as u64, lost, ..FireReport::default() };
    let mut jobs: Vec<NewJob> = Vec::new();
    for (firing, tick) in ticks::runs(&firings, &written) {
        report.started.push((firing.schedule.clone(), tick.tick));
        match &tick.run {
            Some(Run::Batch(batch)) => sql.create_batch(batch).await?,
            Some(Run::Job(job)) => jobs.push(job.as_ref().clone()),
            None => {}
        }
    }
    if !jobs.is_empty() {
        sql.enqueue(&jobs).await?;
    }
    if let Some(facts) = sql.facts() {
        facts.tell(&report);
    }
    Ok(report)
}

/// Writes rows of the ledger. Returns which were written.
async fn write<S: Sql>(sql: &mut S, firings: &[&Firing]) -> Result<HashSet<(String, String, i64)>, S::Fault> {
    let mut written = HashSet::new();
    for (statement, rows) in [(WRITE, ticks::ledger(firings, true)?), (REWRITE, ticks::ledger(firings, false)?)] {
        let Some(rows) = rows else { continue };
        for row in sql.rows(statement, values![rows]).await? {
            let tick = row.instant("tick")?.timestamp_micros();
            written.insert((row.text("tenant")?, row.text("schedule")?, tick));
        }
    }
    Ok(written)
}

/// Whether any run has ended without being noted.
pub(crate) async fn any_ended<S: Sql>(sql: &mut S) -> Result<bool, S::Fault> {
    Ok(sql.row(ENDED, values![]).await?.is_some())
}

/// Notes which runs have ended.
pub(crate) async fn note_ended<S: Sql>(sql: &mut S, _: &()) -> Result<u64, S::Fault> {
    sql.run(NOTE_ENDED, values![]).await
}

/// Ticks that may start now: those of each schedule take turns.
pub(crate) async fn startable<S: Sql>(sql: &mut S, limit: u32) -> Result<Vec<TickView>, S::Fault> {
    let rows = sql.rows(STARTABLE, values![limit]).await?;
    let mut found = places(rows.iter().map(view).collect::<Result<_>>()?);
    for backfill in sql.rows(BACKFILLS, values![]).await? {
        let (id, room): (Uuid, i64) = (backfill.id("id")?, backfill.maybe_number("room")?.unwrap_or(0));
        if room > 0 {
            let newest: bool = backfill.flag("newest_first")?;
            let statement = if newest { NEWEST_OF_BACKFILL } else { OLDEST_OF_BACKFILL };
            let rows = sql.rows(statement, values![id, room.min(i64::from(limit))]).await?;
            found.extend(places(rows.iter().map(view).collect::<Result<_>>()?));
        }
    }
    found.sort_by(|(a, one), (b, other)| (&one.tenant, &one.schedule, a).cmp(&(&other.tenant, &other.schedule, b)));
    found.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    Ok(found.into_iter().map(|(_, tick)| tick).collect())
}

/// Each with its place among those of its schedule and outcome.
fn places(ticks: Vec<TickView>) -> Vec<(usize, TickView)> {
    let mut seen: HashMap<(String, String, TickOutcome), usize> = HashMap::new();
    let place = |tick: TickView| {
        let place = seen.entry((tick.tenant.clone(), tick.schedule.clone(), tick.outcome)).or_default();
        *place += 1;
        (*place, tick)
    };
    ticks.into_iter().map(place).collect()
}

/// Batches of schedules whose planner is not alive.
pub(crate) async fn orphaned<S: Sql>(sql: &mut S, limit: u32) -> Result<Vec<(String, BatchId)>, S::Fault> {
    let rows = sql.rows(ORPHANED, values![limit]).await?;
    Ok(rows.iter().map(|row| Ok((row.text("tenant")?, row.id("id")?))).collect::<Result<_>>()?)
}

/// Gives a tick back.
pub(crate) async fn release<S: Sql>(
    sql: &mut S,
    (batch, reason, again): &(BatchId, &str, bool),
) -> Result<bool, S::Fault> {
    let reason = check::plain(reason, check::REASON_CHARS_MAX);
    Ok(sql.run(RELEASE, values![batch.0, reason, FIRE_TRIES_MAX, *again]).await? > 0)
}

/// Rows of the ledger.
pub(crate) async fn list<S: Sql>(sql: &mut S, filter: &TickFilter) -> Result<Vec<TickView>, S::Fault> {
    let TickFilter { tenant, schedule, from, until, limit } = filter;
    let rows = sql.rows(TICKS, values![tenant, schedule, *from, *until, (*limit).clamp(1, 10_000)]).await?;
    Ok(rows.iter().map(view).collect::<Result<_>>()?)
}

/// Returns the rows of a ledger that have one of these events.
pub(crate) async fn events<S: Sql>(
    sql: &mut S,
    tenant: &str,
    schedule: &str,
    events: &[String],
) -> Result<Vec<TickView>, S::Fault> {
    check::at_most(events.len(), EVENTS_MAX, "events")?;
    let rows = sql.rows(EVENTS, values![tenant, schedule, check::json(&events)?]).await?;
    Ok(rows.iter().map(view).collect::<Result<_>>()?)
}

/// Returns the newest row of each of several ledgers. `statement` is that of the database.
pub(crate) async fn newest<S: Sql>(
    sql: &mut S,
    statement: &'static str,
    tenant: &str,
    schedules: &[String],
) -> Result<Vec<TickView>, S::Fault> {
    let rows = sql.rows(statement, values![tenant, ledgers(schedules)?]).await?;
    let mut found: Vec<TickView> = rows.iter().map(view).collect::<Result<_>>()?;
    // Not by the database, whose order depends on its collation.
    found.sort_by(|one, other| one.schedule.cmp(&other.schedule));
    Ok(found)
}

/// Returns what is in each of several ledgers.
pub(crate) async fn tallies<S: Sql>(
    sql: &mut S,
    tenant: &str,
    schedules: &[String],
    newest: u32,
) -> Result<Vec<LedgerTally>, S::Fault> {
    let newest = newest.clamp(1, TALLIED_MAX);
    let rows = sql.rows(TALLIES, values![tenant, ledgers(schedules)?, newest]).await?;
    let mut found: Vec<LedgerTally> = rows.iter().map(tally).collect::<Result<_>>()?;
    found.sort_by(|one, other| one.schedule.cmp(&other.schedule));
    Ok(found)
}

/// The names of ledgers as JSON, each once.
fn ledgers(schedules: &[String]) -> Result<String> {
    check::at_most(schedules.len(), LEDGERS_MAX, "ledgers")?;
    check::json(&schedules.iter().collect::<BTreeSet<_>>())
}

fn tally(row: &impl Columns) -> Result<LedgerTally> {
    let counts = row.text("counts")?;
    let mut counts = counts.split(' ').map(|count| count.parse().unwrap_or_default());
    let mut next = || counts.next().unwrap_or_default();
    Ok(LedgerTally {
        schedule: row.text("schedule")?,
        last: row.maybe_instant("last")?,
        rows: next(),
        running: next(),
        waiting: next(),
        failed: next(),
    })
}

/// A row as it is shown.
pub(super) fn view(row: &impl Columns) -> Result<TickView> {
    Ok(TickView {
        tenant: row.text("tenant")?,
        schedule: row.text("schedule")?,
        tick: row.instant("tick")?,
        cause: row.word("cause")?,
        outcome: row.word("outcome")?,
        from: row.instant("from_at")?,
        to: row.instant("to_at")?,
        late_ms: row.number("late_ms")?,
        ticks: row.number("ticks")?,
        tries: row.number("tries")?,
        batch: row.maybe_id("batch_id")?.map(BatchId),
        job: row.maybe_id("job_id")?.map(JobId),
        active: row.flag("active")?,
        result: row.maybe_text("result")?,
        backfill: row.maybe_id("backfill_id")?,
        reason: row.maybe_text("reason")?,
        decided_at: row.instant("decided_at")?,
        tzdb: row.maybe_text("tzdb")?,
        started_at: row.maybe_instant("started_at")?,
        ended_at: row.maybe_instant("ended_at")?,
        event: row.maybe_text("event")?,
        about: row.maybe_any_json("about")?,
    })
}
