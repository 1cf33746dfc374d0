//! The thin client against both databases: what it enqueues, how it waits, and what it refuses.

use std::time::Duration;

use gristmill_client::{
    BatchId, Client, ClientError, EnqueueOutcome, Hold, JobId, JobState, NewJob, OnConflict, Payload, Priority,
    RetryPolicy, RunState, Unique, WaitError,
};
use gristmill_core::duration::Span;
use gristmill_store::testing::{TestStore, claim_as, dead, done, worker};
use gristmill_store::{Completion, StoreError, StoreHandle};
use serde::Serialize;
use serde_json::json;

#[derive(Serialize)]
struct Resize {
    path: String,
}

impl Payload for Resize {
    const KIND: &str = "resize";
    const VERSION: u32 = 3;

    fn queue() -> &'static str {
        "images"
    }

    fn max_attempts() -> u32 {
        2
    }

    fn timeout() -> Duration {
        Duration::from_secs(7)
    }

    fn unique(&self) -> Option<Unique> {
        Some(Unique::new(self.path.clone()))
    }
}

fn resize(path: &str) -> Resize {
    Resize { path: path.to_owned() }
}

async fn client(store: &TestStore) -> Client {
    if !store.url().starts_with("postgres") {
        return Client::connect(store.url()).await.expect("connected");
    }
    let settings = gristmill_store::Settings { url: store.url().to_owned(), connections: 2, ..Default::default() };
    Client::with_settings(settings, gristmill_broker::Settings::default()).await.expect("connected")
}

/// Runs a test on a fresh store of each database.
macro_rules! on_both {
    ($($name:ident),* $(,)?) => {
        mod sqlite {
            use super::*;
            $(#[tokio::test] async fn $name() { super::$name(TestStore::sqlite(false).await).await; })*
        }
        mod postgres {
            use super::*;
            $(#[tokio::test] async fn $name() { super::$name(TestStore::postgres(false).await).await; })*
        }
    };
}

on_both!(
    a_payload_says_what_holds_for_its_jobs,
    the_builder_says_everything_else_and_wins_over_the_kind,
    a_job_for_later_is_scheduled_at_its_time,
    ten_thousand_and_one_jobs_are_enqueued_in_order,
    a_group_that_is_refused_leaves_the_groups_before_it,
    a_held_unique_key_refuses_where_that_is_asked,
    a_wait_gives_the_output_of_a_job_that_ends_meanwhile,
    a_wait_says_how_a_job_failed,
    a_wait_ends_when_its_time_is_over,
    tenants_see_their_own_jobs_alone,
    a_run_of_a_batch_is_asked_for_once_for_its_key,
    what_makes_no_sense_is_refused_with_what_would,
);

async fn view(client: &Client, job: JobId) -> gristmill_client::JobView {
    client.job_view(job).await.expect("asked").expect("there")
}

async fn a_payload_says_what_holds_for_its_jobs(store: TestStore) {
    let client = client(&store).await;
    let first = client.enqueue(&resize("a.png")).await.expect("enqueued");
    let found = view(&client, first.id).await;
    assert_eq!((found.kind.as_str(), found.version, found.queue.as_str()), ("resize", 3, "images"));
    assert_eq!((found.max_attempts, found.state, found.payload), (2, JobState::Queued, json!({ "path": "a.png" })));
    let second = client.enqueue(&resize("a.png")).await.expect("known");
    assert_eq!((second.id, second.outcome), (first.id, EnqueueOutcome::Existing));
    assert!(client.enqueue(&resize("b.png")).await.expect("enqueued").created);
}

async fn the_builder_says_everything_else_and_wins_over_the_kind(store: TestStore) {
    let client = client(&store).await;
    let retry = RetryPolicy::Fixed(Span(Duration::from_secs(9)));
    let job = |path: &str| {
        client
            .job(&resize(path))
            .queue("mail")
            .priority(Priority::High)
            .key("acme")
            .unique(Unique::new("one").hold(Hold::Waiting).on_conflict(OnConflict::Replace))
            .idempotency_key("once")
            .max_attempts(5)
            .max_snoozes(4)
            .timeout(Duration::from_secs(90))
            .retry(retry.clone())
            .version(7)
            .trace("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
    };
    let built = job("a.png").build().expect("a job");
    let expected = NewJob {
        id: built.id,
        queue: "mail".to_owned(),
        priority: Priority::High,
        key: Some("acme".to_owned()),
        version: 7,
        max_attempts: 5,
        max_snoozes: 4,
        timeout: Duration::from_secs(90),
        retry: retry.clone(),
        idempotency_key: Some("once".to_owned()),
        unique: Some(Unique::new("one").hold(Hold::Waiting).on_conflict(OnConflict::Replace)),
        trace: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned()),
        ..NewJob::new(built.id, "resize", json!({ "path": "a.png" }))
    };
    assert_eq!(built, expected);
    let first = job("a.png").enqueue().await.expect("enqueued");
    let known = job("a.png").unique(Unique::new("another")).enqueue().await.expect("known");
    assert_eq!((known.id, known.created), (first.id, false), "its idempotency key is known");
    let replaced = job("z.png").idempotency_key("twice").priority(Priority::Low).enqueue().await.expect("replaced");
    assert_eq!((replaced.id, replaced.outcome), (first.id, EnqueueOutcome::Replaced));

    let claimed = claimed(&store, &["resize@7"]).await;
    assert_eq!(claimed.retry, retry);
    assert_eq!(claimed.max_snoozes, 4);
    assert_eq!(claimed.timeout, Duration::from_secs(90));
    assert_eq!(claimed.trace.as_deref(), Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"));
    let found = view(&client, first.id).await;
    assert_eq!((found.queue.as_str(), found.priority, found.key.as_deref()), ("mail", Priority::Low, Some("acme")));
    assert_eq!((found.version, found.max_attempts, found.payload), (7, 5, json!({ "path": "z.png" })));
}

async fn a_job_for_later_is_scheduled_at_its_time(store: TestStore) {
    let client = client(&store).await;
    let hour = Duration::from_secs(3_600);
    let before = store.now().await.expect("a time");
    let delayed = client.job_of_kind("call", json!([1])).delay(hour).enqueue().await.expect("enqueued");
    let delayed = view(&client, delayed.id).await;
    assert_eq!(delayed.state, JobState::Scheduled);
    let waits = delayed.run_at.expect("a time") - before;
    assert!((3_600..3_700).contains(&waits.num_seconds()), "{waits}");
    let at = before + hour * 2;
    let at_an_instant = client.job_of_kind("call", ()).delay(hour).at(at).enqueue().await.expect("enqueued");
    let found = view(&client, at_an_instant.id).await;
    let micros = |instant: gristmill_core::Instant| instant.timestamp_micros();
    assert_eq!((found.run_at.map(micros), found.state), (Some(micros(at)), JobState::Scheduled));
}

async fn ten_thousand_and_one_jobs_are_enqueued_in_order(store: TestStore) {
    let client = client(&store).await;
    let key = |number: usize| format!("n-{number}");
    let job = |number: usize| client.job_of_kind("count", number).idempotency_key(key(number)).build().expect("a job");
    let seventh = client.prepared(Ok(job(7))).enqueue().await.expect("enqueued");
    let jobs: Vec<NewJob> = (0..10_001).map(job).collect();
    let ids: Vec<JobId> = jobs.iter().map(|job| job.id).collect();
    let many = client.enqueue_many(jobs).await.expect("enqueued");
    assert_eq!(many.jobs.len(), 10_001);
    assert_eq!((many.count(EnqueueOutcome::Created), many.count(EnqueueOutcome::Existing)), (10_000, 1));
    for (number, (enqueued, id)) in many.jobs.iter().zip(&ids).enumerate() {
        let expected = if number == 7 { seventh.id } else { *id };
        assert_eq!(enqueued.id, expected, "{number}");
    }
    let queues = store.queues("main").await.expect("asked");
    assert_eq!(queues.iter().map(|queue| queue.queued).sum::<u64>(), 10_001);
    let none = client.enqueue_many([]).await.expect("nothing to do");
    assert!(none.jobs.is_empty());
}

async fn a_group_that_is_refused_leaves_the_groups_before_it(store: TestStore) {
    let client = client(&store).await;
    let job = |number: usize| client.job_of_kind("count", number).build().expect("a job");
    let mut jobs: Vec<NewJob> = (0..2_500).map(job).collect();
    jobs[1_700].max_attempts = 0;
    let error = client.enqueue_many(jobs.clone()).await.expect_err("refused");
    assert_eq!((error.failed.clone(), error.committed.len()), (1_000..2_000, 1_000));
    assert!(error.to_string().contains("jobs 1001 to 2000"), "{error}");
    assert!(matches!(&error.source, StoreError::Invalid(wrong) if wrong.contains("attempts")), "{}", error.source);
    assert!(error.committed.iter().zip(&jobs).all(|(enqueued, job)| enqueued.id == job.id));
    let queued = |store: StoreHandle| async move {
        store.queues("main").await.expect("asked").iter().map(|queue| queue.queued).sum::<u64>()
    };
    assert_eq!(queued(store.handle()).await, 1_000);
    // Once the job is repaired, all of them may be given again: those that are committed are found.
    jobs[1_700].max_attempts = 1;
    let many = client.enqueue_many(jobs).await.expect("enqueued");
    assert_eq!((many.count(EnqueueOutcome::Existing), many.jobs.len()), (1_000, 2_500));
    assert_eq!(queued(store.handle()).await, 2_500);
}

async fn a_held_unique_key_refuses_where_that_is_asked(store: TestStore) {
    let client = client(&store).await;
    let unique = || Unique::new("nightly").on_conflict(OnConflict::Refuse);
    let holder = client.job_of_kind("report", ()).unique(unique()).enqueue().await.expect("enqueued");
    let refused = client.job_of_kind("report", ()).unique(unique()).enqueue().await.expect_err("refused");
    let ClientError::Store(StoreError::Conflict(reason)) = &refused else { panic!("{refused}") };
    assert!(reason.contains(&holder.id.to_string()), "{reason}");
}

/// The one job that a worker of these kinds claims.
async fn claimed(store: &StoreHandle, kinds: &[&str]) -> gristmill_core::job::ClaimedJob {
    let kinds: Vec<String> = kinds.iter().map(|kind| (*kind).to_owned()).collect();
    let mut new = worker(Duration::from_secs(60));
    new.kinds = kinds.clone();
    store.register_worker(&new).await.expect("registered");
    let claim = gristmill_store::Claim { kinds, ..claim_as(new.id, 10) };
    let mut jobs = store.claim_next(&claim).await.expect("claimed");
    assert_eq!(jobs.len(), 1);
    jobs.remove(0)
}

async fn complete(store: &StoreHandle, completion: Completion) {
    let report = store.complete(&[completion]).await.expect("completed");
    assert!(report.fenced.is_empty(), "{report:?}");
}

async fn a_wait_gives_the_output_of_a_job_that_ends_meanwhile(store: TestStore) {
    let client = client(&store).await;
    let job = client.job_of_kind("test", 1).enqueue().await.expect("enqueued").id;
    let waits = tokio::spawn({
        let client = client.clone();
        async move { client.wait(job).at_most(Duration::from_secs(60)).await }
    });
    let attempt = claimed(&store, &["test"]).await;
    assert_eq!(client.job_state(job).await.expect("asked"), Some(JobState::Running));
    complete(&store, Completion { output: Some(json!({ "width": 80 })), ..done(&attempt) }).await;
    assert_eq!(waits.await.expect("no panic").expect("done"), json!({ "width": 80 }));
    // It is final now: one look is enough.
    assert_eq!(client.wait(job).at_most(Duration::ZERO).await.expect("done"), json!({ "width": 80 }));
}

async fn a_wait_says_how_a_job_failed(store: TestStore) {
    let client = client(&store).await;
    let job = client.job_of_kind("test", 1).enqueue().await.expect("enqueued").id;
    let attempt = claimed(&store, &["test"]).await;
    complete(&store, dead(&attempt)).await;
    let failed = client.wait(job).await.expect_err("dead");
    assert!(
        matches!(&failed, WaitError::Dead { job: id, attempts: 1, error } if *id == job && error == "it will never work"),
        "{failed}"
    );
    let cancelled = client.job_of_kind("test", 2).enqueue().await.expect("enqueued").id;
    store.cancel_job("main", cancelled, "a test", false).await.expect("cancelled");
    let failed = client.wait(cancelled).await.expect_err("cancelled");
    assert!(matches!(failed, WaitError::Cancelled(id) if id == cancelled), "{failed}");
}

async fn a_wait_ends_when_its_time_is_over(store: TestStore) {
    let client = client(&store).await;
    let job = client.job_of_kind("test", 1).enqueue().await.expect("enqueued").id;
    for at_most in [Duration::ZERO, Duration::from_millis(100)] {
        let over = client.wait(job).at_most(at_most).await.expect_err("nobody runs it");
        assert!(matches!(&over, WaitError::TimedOut { state, .. } if state == "queued"), "{over}");
        assert_eq!(over.to_string(), format!("the wait is over: job {job} is queued"));
    }
    assert_eq!(client.job_state(job).await.expect("asked"), Some(JobState::Queued), "it goes on");
}

async fn tenants_see_their_own_jobs_alone(store: TestStore) {
    let ours = client(&store).await;
    let theirs = ours.clone().tenant("other");
    let job = ours.job_of_kind("test", 1).idempotency_key("k").enqueue().await.expect("enqueued");
    let other = theirs.job_of_kind("test", 1).idempotency_key("k").enqueue().await.expect("enqueued");
    assert!(job.created && other.created && job.id != other.id, "keys belong to a tenant");
    assert_eq!(theirs.job_state(job.id).await.expect("asked"), None);
    let missing = theirs.wait(job.id).await.expect_err("not theirs");
    assert_eq!(missing.to_string(), format!("the tenant `other` has no job {}", job.id));
    assert_eq!(theirs.job_view(other.id).await.expect("asked").expect("there").tenant, "other");
    let built = ours.job_of_kind("test", 2).build().expect("a job");
    let many = theirs.enqueue_many([built.clone()]).await.expect("enqueued");
    assert_eq!(theirs.job_state(many.jobs[0].id).await.expect("asked"), Some(JobState::Queued));
    let run = ours.batch("retail").start().await.expect("asked for");
    assert_eq!(theirs.run_state(&run).await.expect("asked"), None);
    assert_eq!(theirs.batch_state(BatchId(run.key.parse().expect("an id"))).await.expect("asked"), None);
}

async fn a_run_of_a_batch_is_asked_for_once_for_its_key(store: TestStore) {
    let client = client(&store).await;
    let ask = || client.batch("retail").param("day", "2026-11-29").param("shops", 3).idempotency_key("2026-11-29");
    let first = ask().start().await.expect("asked for");
    let second = ask().start().await.expect("known");
    assert!(first.created && !second.created);
    assert_eq!(first.tick, second.tick);
    assert!(client.batch("other").idempotency_key("2026-11-29").start().await.expect("asked for").created);
    assert_eq!(client.run_state(&first).await.expect("asked"), Some(RunState::Waiting));
    let kept = serde_json::to_string(&first).expect("written");
    let kept: gristmill_client::BatchRun = serde_json::from_str(&kept).expect("read");
    let over = client.wait_for_batch(&kept).at_most(Duration::ZERO).await.expect_err("no scheduler is alive");
    assert_eq!(
        over.to_string(),
        "the wait is over: the run `2026-11-29` of the batch `retail` is not started by any scheduler of the tenant \
         `main` yet"
    );
    let rows = store.startable_ticks(10).await.expect("asked");
    let row = rows.iter().find(|row| row.schedule == "client/retail").expect("it waits for a scheduler");
    assert_eq!(row.about, Some(json!({ "params": { "day": "2026-11-29", "shops": 3 } })));
}

async fn what_makes_no_sense_is_refused_with_what_would(store: TestStore) {
    let client = client(&store).await;
    let named = client.batch("re/tail").start().await.expect_err("no name");
    assert!(named.to_string().contains("1 to 100 letters"), "{named}");
    for (kind, queue, what) in [("te st", "mail", "kind of job"), ("test", "", "queue")] {
        let named = client.job_of_kind(kind, 1).queue(queue).enqueue().await.expect_err("no name");
        assert!(matches!(&named, ClientError::Invalid(wrong) if wrong.contains(what)), "{named}");
    }
    let long = client.batch("retail").idempotency_key("k".repeat(301)).start().await.expect_err("too long");
    assert!(long.to_string().contains("1 to 300 characters"), "{long}");
    let no_time = client.job_of_kind("test", 1).timeout(Duration::ZERO).enqueue().await.expect_err("no time");
    assert!(no_time.to_string().contains("1ms or more"), "{no_time}");
    let keyed = client.job_of_kind("test", std::collections::BTreeMap::from([(vec![1], 2)]));
    let unwritable = keyed.queue("mail").enqueue().await.expect_err("JSON has no such keys");
    assert!(matches!(unwritable, ClientError::Payload(_)), "{unwritable}");
    assert!(store.queues("main").await.expect("asked").iter().all(|queue| queue.queued == 0));
}
