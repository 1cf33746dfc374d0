//! What only PostgreSQL has: many connections at once, hints, transactions of the user's own, and connections that
//! break at the worst moment.

use std::time::{Duration, Instant};

use gristmill_core::batch::BatchState;
use gristmill_core::duration::Span;
use gristmill_core::event::EventDraft;
use gristmill_core::id::{DEFAULT_TENANT, WorkerId};
use gristmill_core::job::{ClaimedJob, JobState, NewJob};
use gristmill_store::postgres::PostgresStore;
use gristmill_store::testing::{self, TestStore};
use gristmill_store::{
    Claims, Completion, Control, Database, EventFilter, JobFilter, Jobs, Page, Publication, Settings, SqlRows,
    StoreError, StoreHandle, Views, Workers,
};
use gristmill_testkit::proxy::{Break, Proxy};
use sqlx::{Connection, PgConnection};

const LONG: Duration = Duration::from_secs(600);

fn postgres(store: &StoreHandle) -> &PostgresStore {
    store.as_any().downcast_ref().expect("it is PostgreSQL")
}

async fn enter(store: &StoreHandle) -> WorkerId {
    let worker = testing::worker(LONG);
    store.register_worker(&worker).await.expect("entered");
    worker.id
}

async fn claim(store: &StoreHandle, worker: WorkerId, limit: u32) -> Vec<ClaimedJob> {
    store.claim_next(&testing::claim_as(worker, limit)).await.expect("claimed")
}

async fn state(store: &StoreHandle, job: &ClaimedJob) -> JobState {
    store.job(DEFAULT_TENANT, job.fence.job).await.expect("asked").expect("it is there").state
}

/// Claims and completes until nothing is left; returns how many.
async fn grind(store: StoreHandle, ok: u64) -> usize {
    let worker = enter(&store).await;
    let mut ground = 0;
    loop {
        let claimed = claim(&store, worker, 7).await;
        if claimed.is_empty() {
            return ground;
        }
        // The aggregate is left running: one that is done without ending its batch would be a finding.
        let chunks = claimed.iter().filter(|job| job.kind == "chunk");
        let done: Vec<_> = chunks.map(|job| testing::chunk_done(job, ok)).collect();
        let report = store.complete(&done).await.expect("completed");
        assert_eq!(report.fenced, []);
        ground += claimed.iter().filter(|job| job.kind == "chunk").count();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_workers_on_four_connections_grind_each_chunk_once_and_fire_one_aggregate() {
    let store = TestStore::postgres(false).await;
    let batch = testing::sealed(&store, 200, 3).await;
    let workers: Vec<_> = (0..4).map(|_| tokio::spawn(grind(store.handle(), 3))).collect();
    let mut ground = 0;
    for worker in workers {
        ground += worker.await.expect("it ended");
    }
    assert_eq!(ground, 200);
    let view = store.batch(DEFAULT_TENANT, batch).await.expect("asked").expect("it is there");
    assert_eq!((view.state, view.remaining, view.counts.ok), (BatchState::Aggregating, 0, 600));
    assert_eq!(store.count("SELECT count(*) FROM job WHERE kind = 'aggregate'").await, 1);
    assert_eq!(store.reconcile(true).await.expect("compared").findings, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn indexes_are_built_beside_rows_and_anew_when_that_was_interrupted() {
    let store = TestStore::postgres(false).await;
    store.enqueue(&testing::jobs(3)).await.expect("enqueued");
    let all = "SELECT count(*) FROM pg_indexes WHERE schemaname = current_schema()";
    let broken = "SELECT count(*) FROM pg_index WHERE NOT indisvalid AND indrelid = 'job'::regclass";
    let indexes = store.count(all).await;
    // As after a build that was interrupted: one index is broken, another has not been begun.
    store.tamper("UPDATE pg_index SET indisvalid = FALSE WHERE indexrelid = 'job_listed'::regclass").await;
    store.tamper("DROP INDEX job_waiting; DELETE FROM _gristmill_migrations WHERE version = 11").await;
    assert_eq!(store.count(broken).await, 1);
    let (one, two) = (store.second_unchecked().await, store.handle());
    let (first, second) = tokio::join!(one.migrate(), two.migrate());
    first.expect("migrated");
    second.expect("migrated by the other one");
    assert_eq!((store.count(all).await, store.count(broken).await), (indexes, 0));
    let worker = enter(&store).await;
    assert_eq!(claim(&store, worker, 10).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_enqueue_elsewhere_ends_a_wait_for_work() {
    let store = TestStore::postgres(false).await;
    // The first hint only shows that the listener is ready.
    let seen = store.wait_for_work(0, Duration::ZERO).await;
    let ready = store.wait_for_work(seen, Duration::from_secs(120)).await;
    assert_ne!(ready, seen);
    let other = store.second().await;
    let waiter = store.handle();
    let waiting = tokio::spawn(async move { waiter.wait_for_work(ready, Duration::from_secs(120)).await });
    // A hint that is sent before the other side waits is missed, so it is sent again.
    testing::eventually("the hint", async || {
        other.enqueue(&testing::jobs(1)).await.expect("enqueued");
        waiting.is_finished().then_some(())
    })
    .await;
    assert_ne!(waiting.await.expect("it ended"), ready);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_users_writes_the_fence_and_further_jobs_commit_together() {
    let store = TestStore::postgres(false).await;
    store.tamper("CREATE TABLE paid (job UUID)").await;
    store.enqueue(&testing::jobs(1)).await.expect("enqueued");
    let worker = enter(&store).await;
    let job = claim(&store, worker, 1).await.remove(0);
    for commit in [false, true] {
        let ours = postgres(&store);
        let mut transaction = ours.begin().await.expect("begun");
        sqlx::query("INSERT INTO paid VALUES ($1)")
            .bind(job.fence.job.0)
            .execute(&mut *transaction)
            .await
            .expect("paid");
        let report = ours.complete_in(&mut transaction, &testing::done(&job)).await.expect("completed");
        assert_eq!(report.settled, 1);
        ours.enqueue_in(&mut transaction, &testing::jobs(2)).await.expect("enqueued");
        if commit {
            transaction.commit().await.expect("committed");
        } else {
            transaction.rollback().await.expect("rolled back");
        }
        let expected = if commit { (JobState::Done, 1, 3) } else { (JobState::Running, 0, 1) };
        let paid = store.count("SELECT count(*) FROM paid").await;
        let jobs = store.count("SELECT count(*) FROM job").await;
        assert_eq!((state(&store, &job).await, paid, jobs), expected);
    }
    assert_eq!(store.reconcile(true).await.expect("compared").findings, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_transaction_whose_fence_is_gone_is_told_to_roll_back() {
    let store = TestStore::postgres(false).await;
    store.enqueue(&testing::jobs(1)).await.expect("enqueued");
    let worker = enter(&store).await;
    let job = claim(&store, worker, 1).await.remove(0);
    store.retire_worker(worker).await.expect("retired");
    let mut transaction = postgres(&store).begin().await.expect("begun");
    let error = postgres(&store).complete_in(&mut transaction, &testing::done(&job)).await.expect_err("fenced");
    assert!(matches!(&error, StoreError::Conflict(text) if text.contains("roll the transaction back")), "{error}");
}

/// Fires inside the COMMIT, after everything else in the transaction has been done.
const BREAK_AT_COMMIT: &str = "
CREATE FUNCTION break_off() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER break_off AFTER INSERT ON result DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION break_off()";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_completion_whose_connection_breaks_off_at_the_commit_may_be_made_again() {
    let store = TestStore::postgres(true).await;
    let batch = testing::sealed(&store, 1, 5).await;
    let worker = enter(&store).await;
    let job = claim(&store, worker, 1).await.remove(0);
    let done = [testing::chunk_done(&job, 5)];
    store.tamper(BREAK_AT_COMMIT).await;
    let error = store.complete(&done).await.expect_err("the connection is gone");
    assert!(error.is_transient(), "{error}");
    store.tamper("DROP TRIGGER break_off ON result").await;
    assert_eq!(store.complete(&done).await.expect("completed").settled, 1);
    // As if the first answer alone had been lost.
    let again = store.complete(&done).await.expect("a no-op");
    assert_eq!((again.settled, again.fenced), (0, vec![job.fence]));
    let view = store.batch(DEFAULT_TENANT, batch).await.expect("asked").expect("it is there");
    assert_eq!((view.state, view.counts.ok), (BatchState::Aggregating, 5));
    assert_eq!(store.reconcile(true).await.expect("compared").findings, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_victim_of_a_deadlock_tries_again_by_itself() {
    let store = TestStore::postgres(false).await;
    store.enqueue(&testing::jobs(2)).await.expect("enqueued");
    let worker = enter(&store).await;
    let claimed = claim(&store, worker, 2).await;
    let (first, last) = (claimed[0].fence.job.0, claimed[1].fence.job.0);
    let mut other = PgConnection::connect(store.url()).await.expect("connected");
    // The store's side must be the one that notices, after the usual second.
    let begin = "SET deadlock_timeout = '60s'; BEGIN; SET LOCAL lock_timeout = '30s'";
    sqlx::raw_sql(begin).execute(&mut other).await.expect("begun");
    let lock = "SELECT id FROM job WHERE id = $1 FOR UPDATE";
    sqlx::query(lock).bind(last).execute(&mut other).await.expect("locked");
    let handle = store.handle();
    let done: Vec<_> = claimed.iter().map(testing::done).collect();
    let completing = tokio::spawn(async move { handle.complete(&done).await });
    let waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND transactionid::text IN
        (SELECT transactionid::text FROM pg_locks WHERE granted AND transactionid IS NOT NULL AND pid = $1)";
    let pid: i32 = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut other).await.expect("a pid");
    let waiting = waiting.replace("$1", &pid.to_string());
    testing::eventually("the wait for the lock", async || (store.count(&waiting).await > 0).then_some(())).await;
    sqlx::query(lock).bind(first).execute(&mut other).await.expect("locked, once the victim has let go");
    sqlx::raw_sql("COMMIT").execute(&mut other).await.expect("committed");
    let report = completing.await.expect("it ended").expect("completed after all");
    assert_eq!((report.settled, report.fenced), (2, vec![]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_password_is_neither_described_nor_shown_nor_told_in_errors() {
    let settings = Settings { acquire_timeout: Span(Duration::from_millis(300)), ..Settings::default() };
    let url = "postgres://me:sesame@127.0.0.1:1/none";
    let error = PostgresStore::connect(url, &settings, false).await.expect_err("nobody listens there");
    assert!(error.is_transient() && error.to_string().contains("127.0.0.1:1") && !error.to_string().contains("sesame"));
    let error = PostgresStore::connect("postgres://me:sesame@[half/none", &settings, false).await.expect_err("no URL");
    assert!(!error.to_string().contains("sesame"), "{error}");
    let store = TestStore::postgres(false).await;
    assert!(!format!("{store:?}", store = store.handle()).contains('@'), "{}", store.describe());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exhausted_pool_is_called_just_that_and_is_got_over() {
    let store = TestStore::postgres(false).await;
    let settings = Settings { connections: 1, acquire_timeout: Span(Duration::from_secs(1)), ..Settings::default() };
    let connected = async || PostgresStore::connect(store.url(), &settings, false).await.ok();
    let narrow = testing::eventually("a pool", connected).await;
    let held = testing::eventually("its only connection", async || narrow.begin().await.ok()).await;
    // On a busy machine the check of the server may take too long, too: then it is asked again.
    let refused = async || {
        let error = narrow.enqueue(&testing::jobs(1)).await.expect_err("no connection is left");
        assert!(error.is_transient(), "{error}");
        error.to_string().contains("all 1 connections of the pool are in use").then_some(())
    };
    testing::eventually("the right word for it", refused).await;
    assert!(narrow.outage().is_some_and(|trouble| trouble.reason.contains("`[store] connections`")));
    held.rollback().await.expect("given back");
    let enqueued = async || narrow.enqueue(&testing::jobs(1)).await.ok();
    testing::eventually("work again", enqueued).await;
    assert_eq!(narrow.outage(), None, "what is over is not told any more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_is_prolonged_while_every_connection_of_the_pool_is_held() {
    let store = TestStore::postgres(false).await;
    let settings =
        Settings { connections: 1, acquire_timeout: Span(Duration::from_millis(100)), ..Settings::default() };
    let connected = async || PostgresStore::connect(store.url(), &settings, false).await.ok();
    let narrow = testing::eventually("a pool", connected).await;
    let worker = testing::worker(LONG);
    narrow.register_worker(&worker).await.expect("entered");
    let claimed = testing::eventually("a claim", async || {
        narrow.enqueue(&testing::jobs(1)).await.ok()?;
        narrow.claim_next(&testing::claim_as(worker.id, 1)).await.ok()?.pop()
    })
    .await;
    let held = testing::eventually("its only connection", async || narrow.begin().await.ok()).await;
    narrow.now().await.expect_err("the pool is exhausted");
    // What keeps a lease, a job that waits to be written down, and leadership does not wait for the pool.
    assert!(narrow.beat(worker.id, LONG, 1).await.expect("a beat"));
    store.pass_deadline(claimed.fence.job).await;
    assert_eq!(narrow.hold(LONG, &[claimed.fence]).await.expect("held"), 1);
    assert!(narrow.lead("scheduler", worker.id, LONG).await.expect("asked").is_some());
    let seen = store.workers().await.expect("listed");
    assert_eq!(seen.iter().find(|seen| seen.id == worker.id).map(|seen| seen.running), Some(1));
    // Neither does the end of a lease, nor the beginning of the next.
    assert_eq!(narrow.retire_worker(worker.id).await.expect("retired").moved, 1);
    narrow.register_worker(&testing::worker(LONG)).await.expect("entered anew");
    held.rollback().await.expect("given back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_connection_for_leases_comes_back_by_itself() {
    let home = TestStore::postgres(false).await;
    let mut url = url::Url::parse(home.url()).expect("an address");
    let worker = testing::worker(LONG);
    // The server is shared: the name shows which connections are this test's own.
    let name = format!("leases-{}", worker.id);
    url.query_pairs_mut().append_pair("application_name", &name);
    let connected = async || PostgresStore::connect(url.as_str(), &Settings::default(), false).await.ok();
    let store = testing::eventually("a pool", connected).await;
    store.register_worker(&worker).await.expect("entered");
    let end =
        format!("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = '{name}'");
    assert!(home.count(&end).await >= 2, "one of the pool, and the one for leases");
    assert!(store.beat(worker.id, LONG, 0).await.expect("a beat, on another connection"));
}

#[tokio::test]
async fn a_row_is_found_that_a_deferred_constraint_or_a_trigger_refuses() {
    let store = TestStore::postgres(false).await;
    store.tamper("CREATE TABLE shop (id BIGINT PRIMARY KEY); INSERT INTO shop VALUES (1), (2)").await;
    store.tamper("CREATE TABLE sink (id BIGINT, shop BIGINT REFERENCES shop DEFERRABLE INITIALLY DEFERRED)").await;
    store
        .tamper(
            "CREATE FUNCTION odd() RETURNS trigger AS $$ BEGIN
                IF NEW.id = 7 THEN RAISE EXCEPTION 'seven is odd'; END IF; RETURN NEW; END $$ LANGUAGE plpgsql;
             CREATE TRIGGER odd BEFORE INSERT ON sink FOR EACH ROW EXECUTE FUNCTION odd()",
        )
        .await;
    let row = |id: i64| serde_json::json!({ "id": id, "shop": if id == 4 { 3 } else { 1 + id % 2 } });
    let columns = vec!["id".to_owned(), "shop".to_owned()];
    let mut rows = SqlRows { table: "sink".to_owned(), columns, rows: (0..10).map(row).collect() };
    store.enqueue(&testing::jobs(1)).await.expect("enqueued");
    let worker = enter(&store).await;
    let job = claim(&store, worker, 1).await.remove(0);
    let error = store.complete(&[Completion { sql: Some(rows.clone()), ..testing::done(&job) }]).await;
    assert!(matches!(error, Err(StoreError::Sink(_))), "{error:?}");
    let found = store.refused_rows(&rows).await.expect("they are at fault");
    assert_eq!(found.iter().map(|row| row.index).collect::<Vec<_>>(), [4, 7]);
    assert!(found[0].reason.contains("foreign key") && found[1].reason.contains("seven is odd"), "{found:?}");
    rows.rows.retain(|row| row["id"] != 4 && row["id"] != 7);
    store.complete(&[Completion { sql: Some(rows), ..testing::done(&job) }]).await.expect("the others are taken");
    assert_eq!(store.count("SELECT count(*) FROM sink").await, 8);
}

/// Rows for a table that another session has locked, and that session.
async fn with_a_locked_sink(store: &TestStore) -> (SqlRows, PgConnection) {
    store.tamper("CREATE TABLE sink (id BIGINT)").await;
    let mut other = PgConnection::connect(store.url()).await.expect("connected");
    sqlx::raw_sql("BEGIN; LOCK TABLE sink").execute(&mut other).await.expect("locked");
    let rows = vec![serde_json::json!({ "id": 1 })];
    (SqlRows { table: "sink".to_owned(), columns: vec!["id".to_owned()], rows }, other)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locked_table_of_the_users_is_not_waited_for_and_is_no_outage() {
    let store = TestStore::postgres(false).await;
    let (rows, mut other) = with_a_locked_sink(&store).await;
    store.enqueue(&testing::jobs(1)).await.expect("enqueued");
    let worker = enter(&store).await;
    let job = claim(&store, worker, 1).await.remove(0);
    let done = [Completion { sql: Some(rows), ..testing::done(&job) }];
    let error = store.complete(&done).await.expect_err("it is locked");
    assert!(matches!(&error, StoreError::SinkLocked(text) if text.contains("sink")), "{error}");
    assert!(error.is_transient() && store.outage().is_none(), "the store itself is well");
    assert_eq!(state(&store, &job).await, JobState::Running);
    sqlx::raw_sql("COMMIT").execute(&mut other).await.expect("let go");
    assert_eq!(store.complete(&done).await.expect("completed").settled, 1);
    assert_eq!(store.count("SELECT count(*) FROM sink").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_whose_rows_wait_for_a_locked_table_can_be_held_and_cancelled() {
    let store = TestStore::postgres(false).await;
    let (rows, mut other) = with_a_locked_sink(&store).await;
    store.enqueue(&testing::jobs(1)).await.expect("enqueued");
    let worker = enter(&store).await;
    let job = claim(&store, worker, 1).await.remove(0);
    let (handle, done) = (store.handle(), Completion { sql: Some(rows), ..testing::done(&job) });
    let completing = tokio::spawn(async move { handle.complete(&[done]).await });
    let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'sink'::regclass";
    testing::eventually("it waits for the table", async || (store.count(waits).await > 0).then_some(())).await;
    store.pass_deadline(job.fence.job).await;
    assert_eq!(store.hold(LONG, &[job.fence]).await.expect("held"), 1, "its row is not locked meanwhile");
    store.cancel_job(DEFAULT_TENANT, job.fence.job, "of no more use", false).await.expect("cancelled");
    sqlx::raw_sql("COMMIT").execute(&mut other).await.expect("let go");
    // On a slow machine its patience may have ended first: then it is offered again.
    let report = match completing.await.expect("it ended") {
        Ok(report) => report,
        Err(StoreError::SinkLocked(_)) => store.complete(&[testing::done(&job)]).await.expect("asked"),
        Err(error) => panic!("{error}"),
    };
    assert_eq!(report.fenced, [job.fence]);
    assert_eq!(store.count("SELECT count(*) FROM sink").await, 0, "its rows went with the fence");
    assert_eq!(state(&store, &job).await, JobState::Cancelled);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_of_plain_jobs_with_a_chunk_among_them_is_refused_whole() {
    let store = TestStore::postgres(false).await;
    testing::sealed(&store, 1, 3).await;
    store.enqueue(&testing::jobs(2)).await.expect("enqueued");
    let worker = enter(&store).await;
    let claimed = claim(&store, worker, 3).await;
    let done: Vec<_> = claimed.iter().map(testing::done).collect();
    let error = store.complete(&done).await.expect_err("a chunk is done with a result only");
    assert!(matches!(&error, StoreError::Invalid(text) if text.contains("without a result")), "{error}");
    assert_eq!(store.count("SELECT count(*) FROM job WHERE state = 'running'").await, 3);
    assert_eq!(store.reconcile(true).await.expect("compared").findings, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_enqueued_again_after_a_lost_answer_is_there_once() {
    let store = TestStore::postgres(false).await;
    let asked = testing::jobs(3);
    let first = store.enqueue(&asked[..2]).await.expect("enqueued");
    assert_eq!((first.jobs.iter().filter(|job| job.created).count(), first.dispatched.moved), (2, 2));
    let twice: Vec<_> = asked.iter().chain(&asked[2..]).cloned().collect();
    let again = store.enqueue(&twice).await.expect("enqueued");
    let created: Vec<bool> = again.jobs.iter().map(|job| job.created).collect();
    assert_eq!((created, again.dispatched.moved), (vec![false, false, true, false], 1));
    assert_eq!(store.reconcile(true).await.expect("compared").findings, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_of_the_users_is_planned_as_usual() {
    let store = TestStore::postgres(false).await;
    let mut transaction = postgres(&store).begin().await.expect("begun");
    let set: (String, String, String) = sqlx::query_as(
        "SELECT current_setting('enable_seqscan'), current_setting('enable_hashjoin'), current_setting('enable_mergejoin')",
    )
    .fetch_one(&mut *transaction)
    .await
    .expect("asked");
    assert_eq!(set, ("on".to_owned(), "on".to_owned(), "on".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_half_open_is_given_up_and_got_over() {
    let store = TestStore::postgres(false).await;
    let mut url = url::Url::parse(store.url()).expect("an address");
    let proxy = Proxy::start(&format!("127.0.0.1:{}", url.port().unwrap_or(5432))).await;
    url.set_host(Some("127.0.0.1")).expect("it has a host");
    url.set_port(Some(proxy.port)).expect("it may have a port");
    let settings = Settings { connections: 2, answer_timeout: Span(Duration::from_secs(2)), ..Settings::default() };
    let connected = async || PostgresStore::connect(url.as_str(), &settings, false).await.ok();
    let far = std::sync::Arc::new(testing::eventually("a pool", connected).await);
    let asked = testing::jobs(3);
    // It listens for hints, holds an idle connection, and waits for an answer on another one: all three hang.
    let seen = far.wait_for_work(0, Duration::ZERO).await;
    assert_ne!(far.wait_for_work(seen, Duration::from_secs(60)).await, seen, "it hears that it listens");
    far.now().await.expect("it answers");
    let mut lock = PgConnection::connect(store.url()).await.expect("connected");
    let mut held = lock.begin().await.expect("begun");
    sqlx::query("LOCK TABLE job").execute(&mut *held).await.expect("locked");
    let waiting = tokio::spawn({
        let (far, asked) = (std::sync::Arc::clone(&far), asked.clone());
        async move { far.enqueue(&asked).await }
    });
    let blocked = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'job'::regclass";
    let blocks = async || sqlx::query_scalar::<_, i64>(blocked).fetch_one(far.pool()).await.ok().filter(|n| *n > 0);
    testing::eventually("it waits for an answer", blocks).await;
    proxy.cut(Break::Hang);
    let error = waiting.await.expect("it ends").expect_err("nobody answers");
    assert!(error.is_transient() && error.to_string().contains("has not answered for 2s"), "{error}");
    held.rollback().await.expect("given back");
    let enqueued = async || far.enqueue(&asked).await.ok();
    testing::eventually("work again", enqueued).await;
    let listed = far
        .jobs(&JobFilter { tenant: DEFAULT_TENANT.to_owned(), ..JobFilter::default() }, &Page::default())
        .await
        .expect("listed");
    assert_eq!(listed.len(), 3, "each of them once");
    let heard = async || {
        let (seen, more) = (far.wait_for_work(0, Duration::ZERO).await, testing::jobs(1));
        let (heard, _) = tokio::join!(far.wait_for_work(seen, Duration::from_secs(3)), store.enqueue(&more));
        (heard != seen).then_some(())
    };
    testing::eventually("it listens on another connection", heard).await;
}

/// How many statements wait in the server while another transaction holds the table of jobs.
const AT_WORK: &str = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'job'::regclass";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_that_is_given_up_does_not_go_on_in_the_server() {
    let store = TestStore::postgres(false).await;
    let batch = testing::sealed(&store, 2, 1).await;
    // An operator's command is waited for fifteen times as long.
    let settings = Settings { answer_timeout: Span(Duration::from_millis(200)), ..Settings::default() };
    let connected = async || PostgresStore::connect(store.url(), &settings, false).await.ok();
    let hasty = testing::eventually("a pool", connected).await;
    let mut lock = PgConnection::connect(store.url()).await.expect("connected");
    let mut held = lock.begin().await.expect("begun");
    sqlx::query("LOCK TABLE job").execute(&mut *held).await.expect("locked");
    let keyed = vec![NewJob { idempotency_key: Some("once".to_owned()), ..testing::job() }];
    let every = JobFilter { tenant: DEFAULT_TENANT.to_owned(), ..JobFilter::default() };
    let refused = [
        ("a statement by itself", hasty.enqueue(&testing::jobs(1)).await.map(drop)),
        ("a transaction", hasty.enqueue(&keyed).await.map(drop)),
        ("a command", hasty.cancel_batch(DEFAULT_TENANT, batch, "no", false).await.map(drop)),
        ("a view", hasty.jobs(&every, &Page::default()).await.map(drop)),
    ];
    let mut watch = PgConnection::connect(store.url()).await.expect("connected");
    let deadline = Instant::now() + Duration::from_secs(10);
    for (what, outcome) in refused {
        let error = outcome.expect_err(what);
        assert!(error.is_transient(), "{what}: {error}");
    }
    while sqlx::query_scalar::<_, i64>(AT_WORK).fetch_one(&mut watch).await.expect("asked") > 0 {
        assert!(Instant::now() < deadline, "the server goes on with what no caller waits for");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    held.rollback().await.expect("given back");
    let cancelled = async || hasty.cancel_batch(DEFAULT_TENANT, batch, "no", false).await.ok();
    testing::eventually("the same asked once more", cancelled).await;
}

#[tokio::test]
async fn a_server_that_is_away_is_not_called_an_exhausted_pool() {
    // Nothing listens on port 9.
    let url = "postgres://nobody@127.0.0.1:9/nowhere";
    let settings = Settings { acquire_timeout: Span(Duration::from_millis(50)), ..Settings::default() };
    let error = PostgresStore::connect(url, &settings, false).await.expect_err("nobody answers");
    let text = error.to_string();
    assert!(matches!(error, StoreError::Unavailable(_)), "{text}");
    assert!(text.contains("postgres://127.0.0.1:9/nowhere") && text.contains("refused"), "{text}");
    assert!(!text.contains("pool"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_migration_that_fails_leaves_no_lock_behind() {
    let store = TestStore::postgres(false).await;
    let other = store.second().await;
    // All tables exist, but none is recorded: each migration fails at the first of them.
    store.tamper("DELETE FROM _gristmill_migrations").await;
    store.migrate().await.expect_err("the table is there");
    let second = tokio::time::timeout(Duration::from_secs(120), other.migrate()).await.expect("it is not held up");
    second.expect_err("the table is there");
}

/// The lock that a claim holds until its transaction has ended.
const CLAIMS: &str = "1735553389, hashtext($1::uuid::text)";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_whose_commit_lands_late_is_waited_for_and_given_back() {
    let store = TestStore::postgres(false).await;
    let worker = enter(&store.handle()).await;
    store.enqueue(&testing::jobs(2)).await.expect("enqueued");
    let known = claim(&store.handle(), worker, 1).await;
    // A claim of this worker lacks only its commit, and its answer is lost.
    let mut late = PgConnection::connect(store.url()).await.expect("connected");
    late_claim(&mut late, worker).await;
    let (handle, fences) = (store.handle(), vec![known[0].fence]);
    let release = tokio::spawn(async move { handle.release_unknown(worker, &fences).await.expect("released") });
    let looks = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_try_advisory_xact_lock%' AND state = 'idle in transaction'";
    let looked = async || (store.count(looks).await > 0).then_some(());
    testing::eventually("the release looks for the claim", looked).await;
    assert!(!release.is_finished(), "the claim may still land");
    sqlx::raw_sql("COMMIT").execute(&mut late).await.expect("it landed");
    assert_eq!(release.await.expect("no panic").moved, 1);
    assert_eq!(store.count("SELECT count(*) FROM job WHERE state = 'queued'").await, 1, "what came late is given back");
    assert_eq!(state(&store.handle(), &known[0]).await, JobState::Running);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_holds_its_lock_until_its_transaction_has_ended() {
    let store = TestStore::postgres(false).await;
    let worker = enter(&store.handle()).await;
    store.enqueue(&testing::jobs(1)).await.expect("enqueued");
    let mut other = PgConnection::connect(store.url()).await.expect("connected");
    let alone = format!("SELECT pg_advisory_lock({CLAIMS})");
    sqlx::query(sqlx::AssertSqlSafe(alone)).bind(worker.0).execute(&mut other).await.expect("locked");
    let (handle, asked) = (store.handle(), testing::claim_as(worker, 1));
    let claiming = tokio::spawn(async move { handle.claim_next(&asked).await.expect("claimed") });
    let waits = format!(
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND classid = 1735553389
           AND objid::bigint = hashtext('{worker}')::bigint & 4294967295"
    );
    let waiting = async || (store.count(&waits).await > 0).then_some(());
    testing::eventually("the claim waits for the lock", waiting).await;
    other.close().await.expect("closed");
    assert_eq!(claiming.await.expect("no panic").len(), 1);
}

async fn late_claim(connection: &mut PgConnection, worker: WorkerId) {
    sqlx::raw_sql("BEGIN").execute(&mut *connection).await.expect("begun");
    let lock = format!("SELECT pg_advisory_xact_lock_shared({CLAIMS})");
    sqlx::query(sqlx::AssertSqlSafe(lock)).bind(worker.0).execute(&mut *connection).await.expect("locked");
    let claim = "UPDATE job SET state = 'running', attempt = 1, worker_id = $1, started_at = now(),
                 deadline = now() + interval '1 hour' WHERE state = 'queued'";
    sqlx::query(claim).bind(worker.0).execute(connection).await.expect("claimed");
}

/// A reader that goes by the numbers of rows would pass over it, and one behind the oldest transaction would wait for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_commits_late_is_not_passed_over_and_holds_no_other_back() {
    let store = TestStore::postgres(false).await;
    let event = |id: &str| Publication {
        tenant: "main".to_owned(),
        draft: EventDraft::new(id, "shop", "order.paid"),
        user: None,
        job: None,
    };
    let mut late = PgConnection::connect(store.url()).await.expect("connected");
    let mut late = late.begin().await.expect("begun");
    let insert = "
        INSERT INTO event (tenant, id, source, type, version, stream, time, data, extensions, correlation, depth, sha256,
                           accepted_at)
        VALUES ('main', 'late', 'shop', 'order.paid', 1, 'shop', now(), 'null', '{}', 'late', 0, 'x', now())";
    sqlx::query(insert).execute(&mut *late).await.expect("inserted");
    store.publish_events(&[event("early")]).await.expect("published");
    assert_eq!(store.sequence_events(10).await.expect("sequenced"), 1, "what is not committed holds no other back");
    late.commit().await.expect("committed");
    assert_eq!(store.sequence_events(10).await.expect("sequenced"), 1, "what commits late is not passed over");
    let all = EventFilter { tenant: "main".to_owned(), limit: 10, ..EventFilter::default() };
    let events = store.list_events(&all).await.expect("listed");
    let places: Vec<_> = events.iter().map(|event| (event.id.as_str(), event.position, event.seq)).collect();
    assert_eq!(places, [("early", Some(1), Some(1)), ("late", Some(2), Some(2))]);
}
