//! Claims by limits and turns: the store chooses, for the queues and kinds that are managed.
//!
//! The waiting keys are found by walking an index from key to key, so that the cost depends on the keys and not on the
//! jobs. Running jobs are counted from their rows. A first look locks nothing, because it mostly finds that nothing may
//! begin; if something may, the rows of the limits are locked, by name, and everything is read again.

use std::collections::{BTreeMap, BTreeSet};

use gristmill_core::Instant;
use gristmill_core::id::JobId;
use gristmill_core::job::{ClaimedJob, Priority};
use gristmill_core::limit::{Buckets, Choice, Facts, Group, Key, Limit, Running, Turn, Turns, choose, hindrances};
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::claim::{self, ClaimedRow, claiming, claims_lock, let_go, served};
use super::fault::Outcome;
use super::limits::{catch, limits};
use super::values::count;
use super::work::{Work, priority_of};
use crate::limits::{self, CAUGHT_MAX, KEYS_LOOK, Stream, Walked};
use crate::{Claim, JobBlockers, LimitedClaim};

/// Walks the index from kind to kind in the priorities of all queues.
const STREAMS: &str = r#"
WITH RECURSIVE s (queue, lane, kind) AS (
    (SELECT queue, lane, kind FROM job WHERE state = 'queued' AND limited ORDER BY queue, lane, kind LIMIT 1)
    UNION ALL
    SELECT n.queue, n.lane, n.kind FROM s CROSS JOIN LATERAL (
        SELECT j.queue, j.lane, j.kind FROM job j
        WHERE j.state = 'queued' AND j.limited AND (j.queue, j.lane, j.kind) > (s.queue, s.lane, s.kind)
        ORDER BY j.queue, j.lane, j.kind LIMIT 1) AS n
)
SELECT queue, lane, kind FROM s
WHERE (cardinality($1::text[]) = 0 OR queue = ANY($1))
  AND (queue IN (SELECT name FROM managed WHERE scope = 'queue') OR kind IN (SELECT name FROM managed WHERE scope = 'kind'))"#;

/// The first job of the next key after row `$x` that has a job which this worker may claim.
macro_rules! next_key {
    ($x:literal) => {
        concat!(
            "(SELECT j.id FROM job j WHERE j.queue = ",
            $x,
            ".queue AND j.lane = ",
            $x,
            ".lane AND j.kind = ",
            $x,
            r#".kind AND j.state = 'queued' AND j.limited
    AND (j.tenant COLLATE "C", COALESCE(j.key, '') COLLATE "C") > ("#,
            $x,
            r#".tenant COLLATE "C", "#,
            $x,
            r#".key COLLATE "C") AND "#,
            served!(),
            " = ANY($1) AND ",
            let_go!(),
            r#" ORDER BY j.tenant COLLATE "C", COALESCE(j.key, '') COLLATE "C", j.id LIMIT 1)"#
        )
    };
}

/// For each stream: the keys after the one that had the last turn, and those from the beginning up to it.
const GROUPS: &str = concat!(
    "
WITH RECURSIVE s (n, queue, lane, kind, tenant, key, until_tenant, until_key) AS MATERIALIZED (
    SELECT u.n, u.queue, u.lane, u.kind, u.tenant, u.key, u.until_tenant, u.until_key
    FROM unnest($3::text[], $4::smallint[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[]) WITH ORDINALITY
         AS u (queue, lane, kind, tenant, key, until_tenant, until_key, n)
    WHERE NOT EXISTS (SELECT 1 FROM worker WHERE id = $2 AND state <> 'alive')
), w (n, queue, lane, kind, tenant, key, until_tenant, until_key, id, step) AS (
    SELECT s.n, s.queue, s.lane, s.kind, h.tenant, COALESCE(h.key, ''), s.until_tenant, s.until_key, h.id, 1::bigint
    FROM s JOIN job h ON h.id = ",
    next_key!("s"),
    "
    UNION ALL
    SELECT w.n, w.queue, w.lane, w.kind, h.tenant, COALESCE(h.key, ''), w.until_tenant, w.until_key, h.id, w.step + 1
    FROM w JOIN job h ON h.id = ",
    next_key!("w"),
    r#"
    WHERE w.step < $10 AND (w.until_tenant IS NULL
        OR (w.tenant COLLATE "C", w.key COLLATE "C") < (w.until_tenant COLLATE "C", w.until_key COLLATE "C"))
)
SELECT n, queue, lane, kind, tenant, key, id, step FROM w
WHERE until_tenant IS NULL OR (tenant COLLATE "C", key COLLATE "C") <= (until_tenant COLLATE "C", until_key COLLATE "C")"#
);

/// Uses the index of running jobs, whatever the statistics say: the order forces it.
pub(super) const RUNNING: &str = "
SELECT r.queue, r.kind, r.tenant, COALESCE(r.key, '') AS key, count(*) AS jobs
FROM (SELECT queue, kind, tenant, key FROM job WHERE state = 'running' ORDER BY worker_id) AS r
GROUP BY 1, 2, 3, 4";

const BUCKETS: &str = "
SELECT b.name, b.tenant, b.key, b.used_to FROM unnest($1::text[], $2::text[], $3::text[]) AS i (name, tenant, key)
JOIN limit_bucket b ON b.name = i.name AND b.tenant = i.tenant AND b.key = i.key";

const SPEND: &str = "
INSERT INTO limit_bucket (name, tenant, key, used_to)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[])
ON CONFLICT (name, tenant, key) DO UPDATE SET used_to = excluded.used_to";

const TURNS: &str = "SELECT queue, lane, tenant, key, served_at FROM queue_turn WHERE queue = ANY($1)";

/// In the order of their keys, so that two transactions cannot wait for each other.
const SERVE: &str = "
INSERT INTO queue_turn (queue, lane, tenant, key, served_at)
SELECT i.queue, i.lane, i.tenant, i.key, $5 FROM unnest($1::text[], $2::smallint[], $3::text[], $4::text[])
    WITH ORDINALITY AS i (queue, lane, tenant, key, n) ORDER BY i.n
ON CONFLICT (queue, lane) DO UPDATE SET tenant = excluded.tenant, key = excluded.key, served_at = excluded.served_at";

/// The oldest of each group, skipping rows that other transactions hold.
const TAKE: &str = claiming!(concat!(
    r#"SELECT j.id FROM unnest($3::text[], $4::smallint[], $5::text[], $6::text[], $7::text[], $8::bigint[])
        AS g (queue, lane, kind, tenant, key, jobs)
    CROSS JOIN LATERAL (
        SELECT j.id FROM job j WHERE j.queue = g.queue AND j.lane = g.lane AND j.kind = g.kind
          AND j.tenant COLLATE "C" = g.tenant COLLATE "C" AND COALESCE(j.key, '') COLLATE "C" = g.key COLLATE "C"
          AND j.state = 'queued' AND j.limited AND "#,
    served!(),
    " = ANY($2) AND ",
    let_go!(),
    " AND NOT EXISTS (SELECT 1 FROM worker WHERE id = $1 AND state <> 'alive')
        ORDER BY j.id LIMIT g.jobs FOR UPDATE SKIP LOCKED) AS j"
));

/// Claims by limits and turns.
pub(super) async fn claim_limited(work: &mut Work<'_>, claim: &&Claim) -> Outcome<LimitedClaim> {
    catch(work, CAUGHT_MAX).await?;
    let streams = streams(work.conn, &claim.queues).await?;
    if streams.is_empty() || claim.limit == 0 {
        return Ok(LimitedClaim::default());
    }
    let found = limits::covering(limits(work.conn, None).await?, &streams);
    let (mut facts, mut choice) = look(work.conn, claim, &streams, found).await?;
    if choice.picks.is_empty() && choice.turns.is_empty() {
        return Ok(LimitedClaim { claimed: Vec::new(), wait: limits::wait(&choice, facts.now) });
    }
    if !facts.limits.is_empty() {
        let names: Vec<String> = facts.limits.iter().map(|limit| limit.name.clone()).collect();
        let locked = limits(work.conn, Some(&names)).await?;
        (facts, choice) = look(work.conn, claim, &streams, locked).await?;
    }
    let claimed = take(work, claim, &choice).await?;
    spend(work.conn, &limits::spent(&facts, &claimed)).await?;
    serve(work.conn, &choice.turns, limits::served_at(&facts)).await?;
    work.close().await?;
    Ok(LimitedClaim { claimed, wait: limits::wait(&choice, facts.now) })
}

/// A job as limits see it, the time, and whether its message is still in the outbox.
const BLOCKED: &str = "
SELECT j.queue, j.lane, j.kind, j.tenant, COALESCE(j.key, ''), now(),
       EXISTS (SELECT 1 FROM outbox o WHERE o.purpose = 'dispatch' AND o.queue = j.queue AND strpos(o.jobs, $2) > 0)
FROM job j WHERE j.id = $1";

/// What keeps a job from beginning.
pub(super) async fn blockers(conn: &mut PgConnection, job: JobId) -> Outcome<JobBlockers> {
    let row: Option<(String, i16, String, String, String, Instant, bool)> =
        sqlx::query_as(BLOCKED).bind(job.0).bind(job.to_string()).fetch_optional(&mut *conn).await?;
    let Some((queue, lane, kind, tenant, key, now, in_outbox)) = row else { return Ok(JobBlockers::default()) };
    let stream = Stream { queue, priority: priority_of(lane)?, kind };
    let found = limits::covering(limits_now(conn).await?, std::slice::from_ref(&stream));
    let group = limits::group_of(stream, Key { tenant, key }, job);
    let facts = facts(conn, now, found, std::slice::from_ref(&group)).await?;
    Ok(JobBlockers { hindrances: hindrances(&facts, &group.queue, &group.kind, &group.key), in_outbox })
}

async fn limits_now(conn: &mut PgConnection) -> Outcome<Vec<Limit>> {
    limits(conn, None).await
}

async fn streams(conn: &mut PgConnection, queues: &[String]) -> Outcome<Vec<Stream>> {
    let rows: Vec<(String, i16, String)> = sqlx::query_as(STREAMS).bind(queues).fetch_all(conn).await?;
    let streams = rows.into_iter().map(|(queue, lane, kind)| Ok(Stream { queue, priority: priority_of(lane)?, kind }));
    Ok(streams.collect::<Result<_, crate::StoreError>>()?)
}

/// What waits, what is used up, and what follows from that.
async fn look(
    conn: &mut PgConnection,
    claim: &Claim,
    streams: &[Stream],
    limits: Vec<Limit>,
) -> Outcome<(Facts, Choice)> {
    let turns = turns(conn, streams).await?;
    let (groups, cut) = groups(conn, claim, streams, &turns).await?;
    let now: Instant = sqlx::query_scalar("SELECT now()").fetch_one(&mut *conn).await?;
    let facts = Facts { turns, cut, ..facts(conn, now, limits, &groups).await? };
    let choice = choose(&facts, &groups, claim.limit);
    Ok((facts, choice))
}

/// What is used up.
async fn facts(conn: &mut PgConnection, now: Instant, limits: Vec<Limit>, groups: &[Group]) -> Outcome<Facts> {
    let counts = limits.iter().any(|limit| limit.spec.concurrency.is_some());
    let running = if counts { running(conn).await? } else { Vec::new() };
    let buckets = buckets(conn, &limits, groups).await?;
    Ok(Facts { now, limits, running, buckets, turns: Turns::new(), cut: BTreeSet::new() })
}

/// What runs, by everything that a limit can distinguish.
pub(super) async fn running(conn: &mut PgConnection) -> Outcome<Vec<Running>> {
    let rows: Vec<(String, String, String, String, i64)> = sqlx::query_as(RUNNING).fetch_all(conn).await?;
    let some = |(queue, kind, tenant, key, jobs)| Running { queue, kind, key: Key { tenant, key }, jobs: count(jobs) };
    Ok(rows.into_iter().map(some).collect())
}

async fn turns(conn: &mut PgConnection, streams: &[Stream]) -> Outcome<Turns> {
    let queues: Vec<&str> = streams.iter().map(|stream| stream.queue.as_str()).collect();
    let rows: Vec<(String, i16, String, String, Instant)> = sqlx::query_as(TURNS).bind(queues).fetch_all(conn).await?;
    let turn = |(queue, lane, tenant, key, at): (String, i16, String, String, Instant)| {
        Ok(((queue, priority_of(lane)?), Turn { key: Key { tenant, key }, at }))
    };
    Ok(rows.into_iter().map(turn).collect::<Result<_, crate::StoreError>>()?)
}

async fn groups(
    conn: &mut PgConnection,
    claim: &Claim,
    streams: &[Stream],
    turns: &Turns,
) -> Outcome<(Vec<Group>, BTreeSet<(String, Priority)>)> {
    // Each stream once after the last turn, and, if there was one, once up to it.
    let last = |stream: &Stream| turns.get(&(stream.queue.clone(), stream.priority)).map(|turn| turn.key.clone());
    let after = streams.iter().map(|stream| (stream, last(stream).unwrap_or_default(), None));
    let before = streams.iter().filter_map(|stream| Some((stream, Key::default(), Some(last(stream)?))));
    let walks: Vec<(&Stream, Key, Option<Key>)> = after.chain(before).collect();
    type Row = (i64, String, i16, String, String, String, Uuid, i64);
    let rows: Vec<Row> = sqlx::query_as(GROUPS)
        .bind(&claim.kinds)
        .bind(claim.worker.0)
        .bind(walks.iter().map(|(stream, ..)| stream.queue.as_str()).collect::<Vec<_>>())
        .bind(walks.iter().map(|(stream, ..)| stream.priority.rank()).collect::<Vec<_>>())
        .bind(walks.iter().map(|(stream, ..)| stream.kind.as_str()).collect::<Vec<_>>())
        .bind(walks.iter().map(|(_, from, _)| from.tenant.as_str()).collect::<Vec<_>>())
        .bind(walks.iter().map(|(_, from, _)| from.key.as_str()).collect::<Vec<_>>())
        .bind(walks.iter().map(|(_, _, until)| until.as_ref().map(|key| key.tenant.as_str())).collect::<Vec<_>>())
        .bind(walks.iter().map(|(_, _, until)| until.as_ref().map(|key| key.key.as_str())).collect::<Vec<_>>())
        .bind(KEYS_LOOK)
        .fetch_all(conn)
        .await?;
    let walked = rows.into_iter().map(|(n, queue, lane, kind, tenant, key, id, step)| {
        let stream = Stream { queue, priority: priority_of(lane)?, kind };
        let after = usize::try_from(n).is_ok_and(|n| n <= streams.len());
        Ok(Walked { after, group: limits::group_of(stream, Key { tenant, key }, JobId(id)), step })
    });
    Ok(limits::window(walked.collect::<Result<_, crate::StoreError>>()?))
}

async fn buckets(conn: &mut PgConnection, limits: &[Limit], groups: &[Group]) -> Outcome<Buckets> {
    let wanted = limits::wanted_buckets(limits, groups);
    if wanted.is_empty() {
        return Ok(Buckets::new());
    }
    let rows: Vec<(String, String, String, Instant)> = sqlx::query_as(BUCKETS)
        .bind(wanted.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>())
        .bind(wanted.iter().map(|(_, key)| key.tenant.as_str()).collect::<Vec<_>>())
        .bind(wanted.iter().map(|(_, key)| key.key.as_str()).collect::<Vec<_>>())
        .fetch_all(conn)
        .await?;
    Ok(rows.into_iter().map(|(name, tenant, key, at)| ((name, Key { tenant, key }), at)).collect())
}

async fn take(work: &mut Work<'_>, claim: &Claim, choice: &Choice) -> Outcome<Vec<ClaimedJob>> {
    if choice.picks.is_empty() {
        return Ok(Vec::new());
    }
    let picks = || choice.picks.iter().map(|pick| &pick.group);
    let rows: Vec<ClaimedRow> = sqlx::query_as(TAKE)
        .bind(claim.worker.0)
        .bind(&claim.kinds)
        .bind(picks().map(|group| group.queue.as_str()).collect::<Vec<_>>())
        .bind(picks().map(|group| group.priority.rank()).collect::<Vec<_>>())
        .bind(picks().map(|group| group.kind.as_str()).collect::<Vec<_>>())
        .bind(picks().map(|group| group.key.tenant.as_str()).collect::<Vec<_>>())
        .bind(picks().map(|group| group.key.key.as_str()).collect::<Vec<_>>())
        .bind(choice.picks.iter().map(|pick| i64::from(pick.jobs)).collect::<Vec<_>>())
        .fetch_all(&mut *work.conn)
        .await?;
    let taken = claim::taken(work, rows, claim.worker);
    if !taken.unreadable.is_empty() {
        claim::close_unreadable(work, &taken.unreadable).await?;
    }
    Ok(taken.jobs)
}

async fn spend(conn: &mut PgConnection, spent: &Buckets) -> Outcome<()> {
    if !spent.is_empty() {
        sqlx::query(SPEND)
            .bind(spent.keys().map(|(name, _)| name.as_str()).collect::<Vec<_>>())
            .bind(spent.keys().map(|(_, key)| key.tenant.as_str()).collect::<Vec<_>>())
            .bind(spent.keys().map(|(_, key)| key.key.as_str()).collect::<Vec<_>>())
            .bind(spent.values().copied().collect::<Vec<Instant>>())
            .execute(conn)
            .await?;
    }
    Ok(())
}

async fn serve(conn: &mut PgConnection, turns: &BTreeMap<(String, Priority), Key>, at: Instant) -> Outcome<()> {
    if !turns.is_empty() {
        sqlx::query(SERVE)
            .bind(turns.keys().map(|(queue, _)| queue.as_str()).collect::<Vec<_>>())
            .bind(turns.keys().map(|(_, lane)| lane.rank()).collect::<Vec<_>>())
            .bind(turns.values().map(|key| key.tenant.as_str()).collect::<Vec<_>>())
            .bind(turns.values().map(|key| key.key.as_str()).collect::<Vec<_>>())
            .bind(at)
            .execute(conn)
            .await?;
    }
    Ok(())
}
