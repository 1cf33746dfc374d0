//! Claims by limits and turns: the mirror of PostgreSQL's, with one writer, so that nothing need be locked.

use std::collections::{BTreeMap, BTreeSet};

use gristmill_core::Instant;
use gristmill_core::id::JobId;
use gristmill_core::job::{ClaimedJob, Priority};
use gristmill_core::limit::{Buckets, Choice, Facts, Group, Key, Limit, Running, Turn, Turns, choose, hindrances};
use sqlx::sqlite::SqliteRow;

use super::claim::{
    claiming, first_limited, let_go, limited_streams, may_run, served, take as claimed_by, waiting, with,
};
use super::error::database;
use super::limits::{catch, limits};
use super::transition::{Query, Transition, micros};
use super::{SqliteStore, row};
use crate::check;
use crate::error::Result;
use crate::limits::{self, CAUGHT_MAX, KEYS_LOOK, Stream, Walked};
use crate::{Claim, JobBlockers, LimitedClaim};

/// Walks the index from kind to kind in the priorities of all queues.
const STREAMS: &str = concat!(
    "WITH RECURSIVE ",
    limited_streams!(),
    " SELECT queue, lane, kind FROM stream
    WHERE (?1 = '[]' OR queue IN (SELECT value FROM json_each(?1)))
      AND (queue IN (SELECT name FROM managed WHERE scope = 'queue')
           OR kind IN (SELECT name FROM managed WHERE scope = 'kind'))"
);

/// The first job of the next key after row `$x` that has a job which this worker may claim: of the same tenant, or else
/// of the next one, because two columns of which one is an expression are not sought in the index at once. Binds as
/// `may_run`.
macro_rules! next_key {
    ($x:literal) => {
        concat!(
            "coalesce(",
            next_of!($x, "j.tenant = ", ".tenant AND coalesce(j.key, '') > ", ".key"),
            ", ",
            next_of!($x, "j.tenant > ", ".tenant AND ", ".key IS NOT NULL"),
            ")"
        )
    };
}

macro_rules! next_of {
    ($x:literal, $tenant:literal, $key:literal, $end:literal) => {
        concat!(
            "(SELECT j.id FROM job j INDEXED BY job_limited WHERE j.limited AND j.queue = ",
            $x,
            ".queue AND j.lane = ",
            $x,
            ".lane AND j.kind = ",
            $x,
            ".kind AND ",
            $tenant,
            $x,
            $key,
            $x,
            $end,
            " AND ",
            may_run!(),
            " ORDER BY j.tenant, coalesce(j.key, ''), j.id LIMIT 1)"
        )
    };
}

/// For each stream in `?5`: the keys after the one that had the last turn, and those from the beginning up to it.
const GROUPS: &str = concat!(
    "
    WITH RECURSIVE s (n, queue, lane, kind, tenant, key, until_tenant, until_key) AS MATERIALIZED (
        SELECT e.key, e.value ->> 0, e.value ->> 1, e.value ->> 2, e.value ->> 3, e.value ->> 4, e.value ->> 5, e.value ->> 6
        FROM json_each(?5) e
        WHERE NOT EXISTS (SELECT 1 FROM worker WHERE id = ?2 AND state <> 'alive') AND ?1 IS NOT NULL
    ), w (n, queue, lane, kind, tenant, key, until_tenant, until_key, id, step) AS (
        SELECT s.n, s.queue, s.lane, s.kind, h.tenant, coalesce(h.key, ''), s.until_tenant, s.until_key, h.id, 1
        FROM s CROSS JOIN job h ON h.id = ",
    next_key!("s"),
    "
        UNION ALL
        SELECT w.n, w.queue, w.lane, w.kind, h.tenant, coalesce(h.key, ''), w.until_tenant, w.until_key, h.id, w.step + 1
        FROM w CROSS JOIN job h ON h.id = ",
    next_key!("w"),
    "
        WHERE w.step < ?3
          AND (w.until_tenant IS NULL OR (w.tenant, w.key) < (w.until_tenant, w.until_key)))
    SELECT n, queue, lane, kind, tenant, key, id, step FROM w
    WHERE until_tenant IS NULL OR (tenant, key) <= (until_tenant, until_key)"
);

/// What runs, by everything that a limit can distinguish, through the index of running jobs.
pub(super) const RUNNING: &str = "
    SELECT queue, kind, tenant, coalesce(key, '') AS key, count(*) AS jobs
    FROM job INDEXED BY job_running WHERE state = 'running' GROUP BY 1, 2, 3, 4";

const BUCKETS: &str = "
    SELECT b.name, b.tenant, b.key, b.used_to FROM json_each(?1) e
    CROSS JOIN limit_bucket b ON b.name = e.value ->> 0 AND b.tenant = e.value ->> 1 AND b.key = e.value ->> 2";

/// Claims by limits and turns.
pub(super) async fn claim_limited(store: &SqliteStore, claim: &Claim) -> Result<LimitedClaim> {
    let any = "SELECT EXISTS (SELECT 1 FROM managed)";
    let any: bool = sqlx::query_scalar(any).fetch_one(&store.readers).await.map_err(database)?;
    if claim.limit == 0 || !any || !waiting(store).await? {
        return Ok(LimitedClaim::default());
    }
    let mut t = Transition::begin(store).await?;
    catch(&mut t, CAUGHT_MAX).await?;
    let streams = t.rows(sqlx::query(STREAMS).bind(check::json(&claim.queues)?)).await?;
    let streams: Vec<Stream> = streams.iter().map(stream).collect::<Result<_>>()?;
    if streams.is_empty() {
        return Ok(LimitedClaim::default());
    }
    let turns = turns(&mut t).await?;
    let (groups, cut) = groups(&mut t, claim, &streams, &turns).await?;
    let covering = limits::covering(limits(&mut t).await?, &streams);
    let facts = Facts { turns, cut, ..facts(&mut t, covering, &groups).await? };
    let choice = choose(&facts, &groups, claim.limit);
    let claimed = take(&mut t, claim, &choice).await?;
    spend(&mut t, &limits::spent(&facts, &claimed)).await?;
    serve(&mut t, &choice.turns, limits::served_at(&facts)).await?;
    t.commit().await?;
    Ok(LimitedClaim { claimed, wait: limits::wait(&choice, facts.now) })
}

/// What keeps a job from beginning.
pub(super) async fn blockers(store: &SqliteStore, job: JobId) -> Result<JobBlockers> {
    // A transaction that writes nothing: one snapshot, and the same functions as for a claim.
    let mut t = Transition::begin(store).await?;
    let statement = "SELECT queue, lane, kind, tenant, coalesce(key, '') AS key FROM job WHERE id = ?1";
    let Some(found) = t.row(sqlx::query(statement).bind(job.0)).await? else { return Ok(JobBlockers::default()) };
    let (stream, key) = (stream(&found)?, key(&found)?);
    let covering = limits::covering(limits(&mut t).await?, std::slice::from_ref(&stream));
    let group = limits::group_of(stream, key, job);
    let facts = facts(&mut t, covering, std::slice::from_ref(&group)).await?;
    let statement = "
        SELECT EXISTS (SELECT 1 FROM outbox WHERE purpose = 'dispatch' AND queue = ?1 AND instr(jobs, ?2) > 0) AS there";
    let there = t.row(sqlx::query(statement).bind(group.queue.clone()).bind(job.to_string())).await?;
    let in_outbox = there.map(|row| row::flag(&row, "there")).transpose()?.unwrap_or(false);
    Ok(JobBlockers { hindrances: hindrances(&facts, &group.queue, &group.kind, &group.key), in_outbox })
}

fn stream(row: &SqliteRow) -> Result<Stream> {
    Ok(Stream { queue: row::get(row, "queue")?, priority: row::priority(row)?, kind: row::get(row, "kind")? })
}

fn key(row: &SqliteRow) -> Result<Key> {
    Ok(Key { tenant: row::get(row, "tenant")?, key: row::get(row, "key")? })
}

async fn facts(t: &mut Transition<'_>, limits: Vec<Limit>, groups: &[Group]) -> Result<Facts> {
    let counts = limits.iter().any(|limit| limit.spec.concurrency.is_some());
    let running = if counts { t.rows(sqlx::query(RUNNING)).await? } else { Vec::new() };
    let running = running.iter().map(running_of).collect::<Result<_>>()?;
    let buckets = buckets(t, &limits, groups).await?;
    let now = row::at(t.now, "now")?;
    Ok(Facts { now, limits, running, buckets, turns: Turns::new(), cut: BTreeSet::new() })
}

/// Reads a row of [`RUNNING`].
pub(super) fn running_of(row: &SqliteRow) -> Result<Running> {
    let (queue, kind) = (row::get(row, "queue")?, row::get(row, "kind")?);
    Ok(Running { queue, kind, key: key(row)?, jobs: row::number(row, "jobs")? })
}

async fn turns(t: &mut Transition<'_>) -> Result<Turns> {
    let rows = t.rows(sqlx::query("SELECT queue, lane, tenant, key, served_at FROM queue_turn")).await?;
    rows.iter()
        .map(|row| {
            let turn = Turn { key: key(row)?, at: row::instant(row, "served_at")? };
            Ok(((row::get(row, "queue")?, row::priority(row)?), turn))
        })
        .collect()
}

async fn groups(
    t: &mut Transition<'_>,
    claim: &Claim,
    streams: &[Stream],
    turns: &Turns,
) -> Result<(Vec<Group>, BTreeSet<(String, Priority)>)> {
    // Each stream once after the last turn, and, if there was one, once up to it.
    let last = |stream: &Stream| turns.get(&(stream.queue.clone(), stream.priority)).map(|turn| turn.key.clone());
    let walk = |stream: &Stream, from: Key, until: Option<Key>| {
        let until = until.map(|key| (key.tenant, key.key)).unzip();
        (stream.queue.clone(), stream.priority.rank(), stream.kind.clone(), from.tenant, from.key, until.0, until.1)
    };
    let after = streams.iter().map(|stream| walk(stream, last(stream).unwrap_or_default(), None));
    let before = streams.iter().filter_map(|stream| Some(walk(stream, Key::default(), Some(last(stream)?))));
    let walks = check::json(&after.chain(before).collect::<Vec<_>>())?;
    let query = sqlx::query(GROUPS).bind(t.now).bind(claim.worker.0).bind(KEYS_LOOK).bind(check::json(&claim.kinds)?);
    let rows = t.rows(query.bind(walks)).await?;
    let walked = rows.iter().map(|row| {
        let number: usize = row::number(row, "n")?;
        let group = limits::group_of(stream(row)?, key(row)?, row::id(row, "id")?);
        Ok(Walked { after: number < streams.len(), group, step: row::get(row, "step")? })
    });
    Ok(limits::window(walked.collect::<Result<_>>()?))
}

async fn buckets(t: &mut Transition<'_>, limits: &[Limit], groups: &[Group]) -> Result<Buckets> {
    let wanted = limits::wanted_buckets(limits, groups);
    if wanted.is_empty() {
        return Ok(Buckets::new());
    }
    let wanted: Vec<_> = wanted.into_iter().map(|(name, key)| (name, key.tenant, key.key)).collect();
    let rows = t.rows(sqlx::query(BUCKETS).bind(check::json(&wanted)?)).await?;
    rows.iter().map(|row| Ok(((row::get(row, "name")?, key(row)?), row::instant(row, "used_to")?))).collect()
}

async fn take(t: &mut Transition<'_>, claim: &Claim, choice: &Choice) -> Result<Vec<ClaimedJob>> {
    let mut claimed = Vec::new();
    // One statement for each group: SQLite cannot join a subquery that has a limit of its own for each row.
    let statement = claiming!(concat!(
        "SELECT j.id FROM job j INDEXED BY job_limited WHERE j.limited AND j.queue = ?5 ->> 0 AND j.lane = ?5 ->> 1 AND j.kind = ?5 ->> 2
           AND j.tenant = ?5 ->> 3 AND coalesce(j.key, '') = ?5 ->> 4 AND ",
        may_run!(),
        " ORDER BY j.id LIMIT ?3"
    ));
    for pick in &choice.picks {
        let Group { queue, priority, kind, key, .. } = &pick.group;
        let group = check::json(&(queue, priority.rank(), kind, &key.tenant, &key.key))?;
        let some = Claim { limit: pick.jobs, ..claim.clone() };
        let query: Query = with(sqlx::query(statement), t, &some)?.bind(group);
        claimed.extend(claimed_by(t, &some, query).await?);
    }
    claimed.sort_by_key(|job| (job.priority, job.fence.job));
    Ok(claimed)
}

async fn spend(t: &mut Transition<'_>, spent: &Buckets) -> Result<()> {
    if spent.is_empty() {
        return Ok(());
    }
    let rows: Vec<_> =
        spent.iter().map(|((name, key), used_to)| (name, &key.tenant, &key.key, micros(*used_to))).collect();
    let statement = "
        INSERT INTO limit_bucket (name, tenant, key, used_to)
        SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3 FROM json_each(?1) WHERE true
        ON CONFLICT (name, tenant, key) DO UPDATE SET used_to = excluded.used_to";
    t.run(sqlx::query(statement).bind(check::json(&rows)?)).await?;
    Ok(())
}

async fn serve(t: &mut Transition<'_>, turns: &BTreeMap<(String, Priority), Key>, at: Instant) -> Result<()> {
    if turns.is_empty() {
        return Ok(());
    }
    let rows: Vec<_> =
        turns.iter().map(|((queue, priority), key)| (queue, priority.rank(), &key.tenant, &key.key)).collect();
    let statement = "
        INSERT INTO queue_turn (queue, lane, tenant, key, served_at)
        SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, ?2 FROM json_each(?1) WHERE true
        ON CONFLICT (queue, lane) DO UPDATE SET tenant = excluded.tenant, key = excluded.key, served_at = excluded.served_at";
    t.run(sqlx::query(statement).bind(check::json(&rows)?).bind(micros(at))).await?;
    Ok(())
}
