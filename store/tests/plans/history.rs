//! A database with a past: jobs that have ended, and jobs that wait and may not be claimed.

use gristmill_core::id::BatchId;
use uuid::Uuid;

/// The queue that is paused.
pub(crate) const PAUSED: &str = "reports";

/// The queue whose jobs are to be claimed: behind jobs of a kind that the worker lacks, and of a paused batch.
pub(crate) const MAIL: &str = "mail";

/// The queue under a limit.
pub(crate) const LIMITED: &str = "crm";

/// How one database spells what the other spells otherwise.
pub(crate) struct Dialect {
    /// The numbers from `{from}` to `{to}` as `n`.
    pub(crate) series: &'static str,
    /// The id with the number `{n}`; those of `testing::job_id` are younger.
    pub(crate) id: &'static str,
    /// The current time.
    pub(crate) now: &'static str,
    /// The time `n` minutes ago.
    pub(crate) minutes_ago: &'static str,
    /// A day from now.
    pub(crate) tomorrow: &'static str,
}

/// How SQLite spells it.
pub(crate) const SQLITE: Dialect = Dialect {
    series: "(WITH RECURSIVE s (n) AS (SELECT {from} UNION ALL SELECT n + 1 FROM s WHERE n < {to}) SELECT n FROM s)",
    id: "unhex(printf('01900000000070008000%012x', {n}))",
    now: "unixepoch() * 1000000",
    minutes_ago: "(unixepoch() - n * 60) * 1000000",
    tomorrow: "(unixepoch() + 86400) * 1000000",
};

/// How PostgreSQL spells it.
pub(crate) const POSTGRES: Dialect = Dialect {
    series: "generate_series({from}, {to}) AS n",
    id: "('01900000-0000-7000-8000-' || lpad(to_hex({n}), 12, '0'))::uuid",
    now: "now()",
    minutes_ago: "now() - n * interval '1 minute'",
    tomorrow: "now() + interval '1 day'",
};

/// Jobs of one sort.
struct Sort {
    from: u32,
    count: u32,
    queue: &'static str,
    kind: &'static str,
    state: &'static str,
    /// Which batch they are chunks of, by the number of its id.
    batch: Option<u32>,
    key: bool,
}

const fn sort(from: u32, count: u32, queue: &'static str, kind: &'static str, state: &'static str) -> Sort {
    Sort { from, count, queue, kind, state, batch: None, key: false }
}

/// Numbers of batches: what has ended, and what is paused.
const ENDED: u32 = 1;
const HELD: u32 = 2;

/// The paused batch.
pub(crate) fn held() -> BatchId {
    BatchId(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 + u128::from(HELD)))
}

const SORTS: [Sort; 10] = [
    sort(100_000, 40_000, MAIL, "work", "done"),
    sort(200_000, 20_000, PAUSED, "email", "done"),
    Sort { batch: Some(ENDED), ..sort(300_000, 10_000, MAIL, "chunk", "done") },
    sort(400_000, 5_000, MAIL, "work", "dead"),
    sort(410_000, 2_000, MAIL, "work", "cancelled"),
    sort(420_000, 3_000, MAIL, "work", "scheduled"),
    sort(500_000, 10_000, PAUSED, "work", "queued"),
    Sort { batch: Some(HELD), ..sort(600_000, 10_000, MAIL, "chunk", "queued") },
    sort(700_000, 10_000, MAIL, "foreign", "queued"),
    Sort { key: true, ..sort(800_000, 10_000, LIMITED, "work", "queued") },
];

/// The statements that make so many jobs besides, nearly all of them done: before those of [`statements`], which count
/// them.
pub(crate) fn further(dialect: &Dialect, jobs: u32) -> Vec<String> {
    const AT_ONCE: u32 = 500_000;
    let hundredth = jobs / 100;
    let done = jobs - 3 * hundredth;
    let mut from = 10_000_000;
    let mut all = Vec::new();
    for (count, kind, state) in [
        (hundredth, "import", "dead"),
        (hundredth, "work", "cancelled"),
        (hundredth, "work", "scheduled"),
        (done, "work", "done"),
    ] {
        for first in (0..count).step_by(usize::try_from(AT_ONCE).unwrap_or(1)) {
            let some = AT_ONCE.min(count - first);
            all.push(jobs_of(dialect, &sort(from, some, MAIL, kind, state)));
            from += some;
        }
    }
    all
}

/// The statements that make it.
pub(crate) fn statements(dialect: &Dialect) -> Vec<String> {
    let mut all = Vec::new();
    for (batch, state, paused) in [(ENDED, "complete", false), (HELD, "sealed", true)] {
        let (id, now) = (id(dialect, &batch.to_string()), dialect.now);
        let remaining = if paused { 10_000 } else { 0 };
        let finished = if paused { "NULL" } else { now };
        all.push(format!(
            "INSERT INTO batch (id, tenant, name, state, paused, definition, stamp, tolerate, chunks, remaining, input,
                                created_at, planned_at, sealed_at, finished_at)
             VALUES ({id}, 'main', 'old', '{state}', {paused}, '{{\"source\":{{\"jsonl\":\"-\"}}}}', '{{}}', '100%', 10000,
                     {remaining}, 10000, {now}, {now}, {now}, {finished})"
        ));
    }
    all.extend(SORTS.iter().map(|sort| jobs_of(dialect, sort)));
    all.push(
        "INSERT INTO queue_count (tenant, queue, state, shard, jobs)
         SELECT tenant, queue, state, 0, count(*) FROM job GROUP BY tenant, queue, state"
            .to_owned(),
    );
    let (paused, now) = (PAUSED, dialect.now);
    all.push(format!("INSERT INTO queue (tenant, name, paused, paused_at) VALUES ('main', '{paused}', TRUE, {now})"));
    let (backfill, waiting) = (id(dialect, "3"), series(dialect, 1, 10_000));
    all.push(format!(
        "INSERT INTO schedule_backfill (id, tenant, schedule, from_at, to_at, concurrency, newest_first, created_at)
         VALUES ({backfill}, 'main', 'nightly', {now}, {now}, 2, FALSE, {now})"
    ));
    all.push(format!(
        "INSERT INTO schedule_tick (tenant, schedule, tick, cause, outcome, from_at, to_at, backfill_id, decided_at)
         SELECT 'main', 'nightly', {}, 'backfill', 'waiting', {now}, {now}, {backfill}, {now} FROM {waiting}",
        dialect.minutes_ago
    ));
    let quarantined = series(dialect, 1, 10_000);
    all.push(format!(
        "INSERT INTO quarantine (tenant, batch_id, seq, generation, position, stage, reason, item, created_at)
         SELECT 'main', {}, n, 0, n, 'validate', 'no', '1', {} FROM {quarantined}",
        id(dialect, &ENDED.to_string()),
        dialect.now
    ));
    all
}

fn jobs_of(dialect: &Dialect, sort: &Sort) -> String {
    let Sort { from, count, queue, kind, state, batch, key } = *sort;
    let now = dialect.now;
    let batch_id = batch.map_or_else(|| "NULL".to_owned(), |batch| id(dialect, &batch.to_string()));
    let seq = if batch.is_some() { format!("n - {from}") } else { "NULL".to_owned() };
    let (queued, final_state) = (state == "queued", ["done", "dead", "cancelled"].contains(&state));
    let when = |is: bool, then: &'static str| if is { then } else { "NULL" };
    format!(
        "INSERT INTO job (id, tenant, queue, lane, kind, state, attempt, max_attempts, granted, timeout_ms, retry, payload,
                          batch_id, seq, items, key, created_at, run_at, queued_at, finished_at, limited)
         SELECT {}, 'main', '{queue}', 1, '{kind}', '{state}', {}, 3, 3, 60000, '{{\"list\":[]}}', '{{}}', {batch_id}, {seq}, 1,
                {}, {now}, {}, {}, {}, {} FROM {}",
        id(dialect, "n"),
        u8::from(final_state),
        if key { "'key ' || (n / 100)" } else { "NULL" },
        when(state == "scheduled", dialect.tomorrow),
        when(queued, now),
        when(final_state, now),
        queue == LIMITED,
        series(dialect, from, from + count - 1),
    )
}

pub(crate) fn id(dialect: &Dialect, n: &str) -> String {
    dialect.id.replace("{n}", n)
}

pub(crate) fn series(dialect: &Dialect, from: u32, to: u32) -> String {
    dialect.series.replace("{from}", &from.to_string()).replace("{to}", &to.to_string())
}
