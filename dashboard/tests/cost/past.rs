//! What pages show besides jobs: batches that have ended, schedules and triggers with long ledgers, operations, the audit,
//! processes that have gone.

use gristmill_dashboard::gate::Endpoint;
use gristmill_dashboard::pages::routes;
use gristmill_mail::signed::{Signed, Unsubscribe};
use uuid::Uuid;

use crate::env::MAIL_SECRET;
use crate::history::{Dialect, id, series};

/// How many schedules there are, and how many rows their ledgers have together.
const SCHEDULES: u32 = 60;
const TICKS: u32 = 30_000;

/// How many emails there are, and as many addresses to which nothing is sent.
const EMAILS: u32 = 50_000;

/// How many events there are.
const EVENTS: u32 = 5_000;

/// The statements that make it, after those of `history`.
pub(crate) fn statements(dialect: &Dialect) -> Vec<String> {
    let (now, ago, tomorrow) = (dialect.now, dialect.minutes_ago, dialect.tomorrow);
    let of = |from: u32, count: u32| series(dialect, from, from + count - 1);
    let own = |n: &str| id(dialect, n);
    let work = vec![
        "UPDATE job SET error = 'HTTP 503 from host ' || (items % 7) || ' for order ' || queue WHERE state = 'dead'".to_owned(),
        format!(
            "INSERT INTO batch (id, tenant, name, state, definition, stamp, tolerate, chunks, input, ok, created_at, planned_at,
                                sealed_at, finished_at)
             SELECT {}, 'main', 'b' || (n % 9), 'complete', '{{\"source\":{{\"jsonl\":\"-\"}}}}', '{{}}', '100%', 10, 100, 100,
                    {ago}, {ago}, {ago}, {ago} FROM {}",
            own("n"),
            of(10_000, 5_000)
        ),
        format!(
            "INSERT INTO schedule (tenant, name, origin, spec, enabled, decided_at, next_at, created_at, updated_at)
             SELECT 'main', 's' || n, 'command', '{{\"cron\":\"0 2 * * *\",\"job\":{{\"kind\":\"report\"}}}}', TRUE, {now}, {tomorrow},
                    {now}, {now} FROM {}",
            of(0, SCHEDULES)
        ),
        format!(
            "INSERT INTO schedule_tick (tenant, schedule, tick, cause, outcome, from_at, to_at, decided_at)
             SELECT 'main', 's' || (n % {SCHEDULES}), {ago}, 'tick', 'skipped_missed', {ago}, {ago}, {ago} FROM {}",
            of(0, TICKS)
        ),
        format!(
            "INSERT INTO schedule_tick (tenant, schedule, tick, cause, outcome, from_at, to_at, decided_at, event, about)
             SELECT 'main', 'hook/orders', {ago}, 'manual', 'failed', {ago}, {ago}, {ago}, 'evt_' || n, '{{}}' FROM {}",
            of(0, 20_000)
        ),
        format!(
            "INSERT INTO operation (id, tenant, verb, query, snapshot, state, ordered, actor, reason, preview, preview_more, undo_ms,
                                    kept, due_at, created_at, ended_at)
             SELECT {}, 'main', 'cancel', 'state:queued', {now}, 'finished', '{{\"actor\":{{\"operator\":\"test\"}},\"origin\":{{}}}}', 'test', 'no', 1, {}, 0,
                    {}, {now}, {ago}, {now} FROM {}",
            own("n"),
            flag(dialect),
            flag(dialect),
            of(20_000, 3_000)
        ),
        format!(
            "INSERT INTO audit_entry (tenant, seq, at, order_id, step_id, actor_kind, actor, action, target, details, previous, hash)
             SELECT 'main', n, {ago}, {0}, {0}, 'operator', 'test', 'queue.pause', 'queue ' || (n % 100), '{{}}', 'x', 'x' FROM {1}",
            own("n"),
            of(1, 20_000)
        ),
        format!(
            "INSERT INTO worker (id, role, host, pid, version, slots, queues, state, started_at, seen_at, lease_until)
             SELECT {}, 'worker', 'host' || n, n, '0.1.0', 4, '[]', 'stopped', {now}, {now}, {now} FROM {}",
            own("n"),
            of(30_000, 400)
        ),
    ];
    [work, emails(dialect), events(dialect)].concat()
}

/// Emails with a recipient each, and addresses to which nothing is sent.
fn emails(dialect: &Dialect) -> Vec<String> {
    let (ago, of) = (dialect.minutes_ago, series(dialect, 0, EMAILS - 1));
    let own = id(dialect, "n");
    vec![
        format!(
            "INSERT INTO email (tenant, key, job_id, state, message_id, subject, created_at, moved_at)
             SELECT 'main', 'e' || (100000 + n), {}, CASE WHEN n % 500 = 0 THEN 'failed' ELSE 'sent' END, '<' || n || '@here>', 'Hello',
                    {ago}, {ago} FROM {}",
            own,
            of
        ),
        format!(
            "INSERT INTO email_recipient (tenant, key, position, role, address, address_hash, state, moved_at)
             SELECT 'main', 'e' || (100000 + n), 0, 'to', 'a' || n || '@here', {}, 'sent', {ago} FROM {}",
            hash(dialect),
            of
        ),
        format!(
            "INSERT INTO suppression (tenant, address_hash, stream, reason, created_at)
             SELECT 'main', {}, '', 'bounce', {ago} FROM {}",
            hash(dialect),
            of
        ),
    ]
}

/// Events of a thousand streams, and a subscription that has a thousand of them before it.
fn events(dialect: &Dialect) -> Vec<String> {
    let (now, ago) = (dialect.now, dialect.minutes_ago);
    vec![
        format!(
            "INSERT INTO event (position, seq, tenant, id, source, type, version, subject, stream, time, data, extensions, correlation,
                                depth, sha256, accepted_at)
             SELECT n, 1 + n / 1000, 'main', 'evt_' || n, 'shop', 'order.paid', 1, 'order ' || (n % 1000), 'shop/' || (n % 1000), {ago},
                    '{{}}', '{{}}', 'evt_' || n, 0, 'x', {ago} FROM {}",
            series(dialect, 1, EVENTS)
        ),
        format!("UPDATE event_head SET position = {EVENTS}"),
        format!(
            "INSERT INTO event_subscription (tenant, name, spec, origin, version, cursor, created_at, updated_at)
             VALUES ('main', 'orders', '{{\"types\":\"order.*\",\"job\":{{\"kind\":\"note\"}}}}', 'command', 1, {}, {now}, {now})",
            EVENTS - 1_000
        ),
    ]
}

/// 32 bytes that follow from `n`.
fn hash(dialect: &Dialect) -> &'static str {
    match dialect.now {
        "now()" => "convert_to(lpad(n::text, 32, '0'), 'UTF8')",
        _ => "CAST(printf('%032d', n) AS BLOB)",
    }
}

/// What is false in a column of either database.
fn flag(dialect: &Dialect) -> &'static str {
    if dialect.now == "now()" { "FALSE" } else { "0" }
}

/// The id with a number.
fn numbered(n: u32) -> String {
    Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 + u128::from(n)).to_string()
}

fn filled(endpoint: &Endpoint, fingerprint: &str) -> String {
    let about = Unsubscribe { tenant: "main".to_owned(), stream: "news".to_owned(), address_hash: [1; 32] };
    let parts = [
        ("{fingerprint}", fingerprint.to_owned()),
        ("{queue}", "mail".to_owned()),
        ("{limit}", "none".to_owned()),
        ("{operation}", numbered(20_001)),
        ("{schedule}", "s1".to_owned()),
        ("{item}", "1".to_owned()),
        // The one that is paused, with ten thousand chunks that wait.
        ("{batch}", numbered(2)),
        ("{job}", numbered(400_000)),
        ("{entry}", "100".to_owned()),
        ("{position}", "100".to_owned()),
        ("{sort}/{name}", "hook/orders".to_owned()),
        ("{email}", "e101000".to_owned()),
        ("{token}", Signed::new(MAIL_SECRET).expect("long enough").unsubscribe_token(&about)),
    ];
    parts.iter().fold(endpoint.path.clone(), |path, (name, value)| path.replace(name, value))
}

/// Every page, with the other faces of those that have several. `fingerprint` is that of an error.
pub(crate) fn addresses(fingerprint: &str) -> Vec<String> {
    let own = routes();
    let pages = own.endpoints().filter(|endpoint| endpoint.method == "GET" && endpoint.is_page());
    // What is saved as a file, and the ways to a login elsewhere and back.
    let apart = ["/quarantine/export", "/login/", "/account/logins/back/"];
    let pages = pages.filter(|endpoint| !apart.iter().any(|path| endpoint.path.starts_with(path)));
    let faces = [
        "/jobs?state=done".to_owned(),
        "/jobs?q=state:queued%20kind:foreign".to_owned(),
        "/jobs?key=none".to_owned(),
        "/dead?by=job".to_owned(),
        "/dead?q=kind:none".to_owned(),
        "/quarantine?by=item".to_owned(),
        "/quarantine?q=stage:validate".to_owned(),
        "/batches?state=complete".to_owned(),
        "/batches?q=name:b3".to_owned(),
        "/audit?actor=nobody".to_owned(),
        "/operations/start?verb=cancel&q=state:queued".to_owned(),
        "/events?type=order.*".to_owned(),
        "/email?state=failed".to_owned(),
        "/email?state=uncertain".to_owned(),
        "/email?address=a@here".to_owned(),
        "/email/suppressions?address=a@here".to_owned(),
        format!("/batches/{}", numbered(1)),
        format!("/batches/{}?tab=chunks&state=queued", numbered(2)),
        format!("/batches/{}?tab=quarantine", numbered(1)),
        format!("/batches/{}?tab=errors", numbered(1)),
        format!("/jobs/{}", numbered(600_001)),
    ];
    pages.map(|endpoint| filled(endpoint, fingerprint)).chain(faces).collect()
}
