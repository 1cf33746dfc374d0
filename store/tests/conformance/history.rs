//! History: everything that passes counts once, in its own minute and hour, by queue and kind.

use std::time::Duration;

use chrono::TimeDelta;
use gristmill_core::Instant;
use gristmill_core::history::{HistoryStep, Throughput};
use gristmill_core::job::NewJob;
use gristmill_store::testing::{self, TestStore};
use gristmill_store::{FOLD_ROWS_MAX, HISTORY_POINTS_MAX, HistoryFilter, HistoryPoint};

use crate::{TENANT, claim, claim_one, complete, enter};

conformance! {
    what_passes_is_counted_by_queue_and_kind_in_its_minute_and_hour,
    a_job_counts_once_however_often_and_by_whomever_it_is_moved,
    what_is_fenced_refused_or_there_already_is_not_counted,
    chunks_and_what_follows_of_a_batch_are_counted_too,
    a_lost_attempt_is_counted_as_failed,
    an_attempt_that_was_given_back_is_not_counted,
    tenants_do_not_see_each_others_history,
    the_newest_points_come_when_there_are_more_than_asked_for,
    old_points_are_removed_by_step_and_time;
    databases only, "rows are changed by SQL":
    what_is_committed_late_counts_in_its_own_minute,
}

fn job(queue: &str, kind: &str) -> NewJob {
    NewJob { queue: queue.to_owned(), kind: kind.to_owned(), ..testing::job() }
}

fn asked(step: HistoryStep) -> HistoryFilter {
    let now = chrono::Utc::now();
    HistoryFilter {
        tenant: TENANT.to_owned(),
        step,
        from: now - TimeDelta::hours(3),
        until: now + TimeDelta::hours(3),
        queue: None,
        kind: None,
        limit: HISTORY_POINTS_MAX,
    }
}

async fn points(store: &TestStore, filter: &HistoryFilter) -> Vec<HistoryPoint> {
    while store.fold_history(FOLD_ROWS_MAX).await.expect("moved") > 0 {}
    store.history(filter).await.expect("read")
}

/// What passed of each queue and kind in all, as `[enqueued, done, failed, dead]`.
async fn totals(store: &TestStore, filter: &HistoryFilter) -> Vec<(String, [u64; 4])> {
    let mut all = std::collections::BTreeMap::<String, Throughput>::new();
    for point in points(store, filter).await {
        all.entry(format!("{} {}", point.queue, point.kind)).or_default().add(&point.passed);
    }
    all.into_iter().map(|(name, sum)| (name, [sum.enqueued, sum.done, sum.failed, sum.dead])).collect()
}

fn total(name: &str, counts: [u64; 4]) -> (String, [u64; 4]) {
    (name.to_owned(), counts)
}

async fn what_passes_is_counted_by_queue_and_kind_in_its_minute_and_hour(store: TestStore) {
    let before = store.now().await.expect("a clock");
    let jobs = [
        job("mail", "email"),
        job("mail", "email"),
        job("mail", "email"),
        job("mail", "webhook"),
        job("slow", "email"),
    ];
    store.enqueue(&jobs).await.expect("enqueued");
    let worker = enter(&store).await;
    let claimed = claim(&store, worker, 10).await;
    let of = |kind: &str, queue: &str| {
        claimed.iter().filter(|job| job.kind == kind && job.queue == queue).collect::<Vec<_>>()
    };
    let a = of("email", "mail");
    complete(&store, &[testing::done(a[0])]).await;
    complete(&store, &[testing::retry(a[1], Duration::from_secs(60)), testing::dead(a[2])]).await;
    complete(&store, &[testing::done(of("webhook", "mail")[0]), testing::done(of("email", "slow")[0])]).await;
    let expected =
        [total("mail email", [3, 1, 2, 1]), total("mail webhook", [1, 1, 0, 0]), total("slow email", [1, 1, 0, 0])];
    for step in HistoryStep::ALL {
        assert_eq!(totals(&store, &asked(step)).await, expected, "by {step}");
        let found = points(&store, &asked(step)).await;
        for point in &found {
            assert_eq!(point.at, step.begin(point.at), "a point is a whole {step}");
            assert!(point.at >= step.begin(before), "{point:?}");
        }
        let attempts: u64 = found.iter().map(|point| point.passed.runs.count()).sum();
        let waits: u64 = found.iter().map(|point| point.passed.waits.count()).sum();
        assert_eq!((attempts, waits), (5, 5), "each attempt has its time");
    }
    let only =
        HistoryFilter { queue: Some("mail".to_owned()), kind: Some("webhook".to_owned()), ..asked(HistoryStep::Hour) };
    assert_eq!(totals(&store, &only).await, [total("mail webhook", [1, 1, 0, 0])]);
}

async fn a_job_counts_once_however_often_and_by_whomever_it_is_moved(store: TestStore) {
    for _ in 0..20 {
        store.enqueue(&[job("mail", "email"), job("mail", "webhook")]).await.expect("enqueued");
    }
    assert!(store.fold_history(1).await.expect("moved") <= 1, "no more than was asked for");
    let (one, other) = tokio::join!(store.fold_history(7), store.fold_history(9));
    one.expect("moved");
    other.expect("moved");
    let expected = [total("mail email", [20, 0, 0, 0]), total("mail webhook", [20, 0, 0, 0])];
    assert_eq!(totals(&store, &asked(HistoryStep::Minute)).await, expected);
    assert_eq!(store.fold_history(FOLD_ROWS_MAX).await.expect("moved"), 0, "nothing is left");
    assert_eq!(totals(&store, &asked(HistoryStep::Hour)).await, expected);
}

async fn what_is_fenced_refused_or_there_already_is_not_counted(store: TestStore) {
    let keyed = NewJob { idempotency_key: Some("once".to_owned()), ..job("mail", "email") };
    store.enqueue(std::slice::from_ref(&keyed)).await.expect("enqueued");
    store
        .enqueue(&[keyed, NewJob { idempotency_key: Some("once".to_owned()), ..job("mail", "email") }])
        .await
        .expect("met");
    let worker = enter(&store).await;
    let claimed = claim_one(&store, worker).await;
    complete(&store, &[testing::done(&claimed)]).await;
    let again = store.complete(&[testing::done(&claimed)]).await.expect("fenced");
    assert_eq!(again.fenced.len(), 1);
    store.enqueue(&[job("", "email")]).await.expect_err("no name of a queue");
    assert_eq!(totals(&store, &asked(HistoryStep::Minute)).await, [total("mail email", [1, 1, 0, 0])]);
}

async fn chunks_and_what_follows_of_a_batch_are_counted_too(store: TestStore) {
    testing::sealed(&store, 2, 5).await;
    let worker = enter(&store).await;
    let claimed = claim(&store, worker, 2).await;
    complete(&store, &[testing::chunk_done(&claimed[0], 5)]).await;
    complete(&store, &[testing::chunk_done(&claimed[1], 5)]).await;
    let queue = &claimed[0].queue;
    let expected = [total(&format!("{queue} aggregate"), [1, 0, 0, 0]), total(&format!("{queue} chunk"), [2, 2, 0, 0])];
    assert_eq!(totals(&store, &asked(HistoryStep::Minute)).await, expected);
}

async fn a_lost_attempt_is_counted_as_failed(store: TestStore) {
    let twice = NewJob { max_attempts: 2, ..job("mail", "email") };
    store.enqueue(&[twice]).await.expect("enqueued");
    for _ in 0..2 {
        let worker = enter(&store).await;
        claim_one(&store, worker).await;
        store.end_lease(worker).await;
        store.rescue(10).await.expect("rescued");
    }
    let found = totals(&store, &asked(HistoryStep::Minute)).await;
    // Whose worker died is queued again at once, which is no failure of its own; the last attempt is one.
    assert_eq!(found, [total("mail email", [1, 0, 1, 1])]);
}

async fn an_attempt_that_was_given_back_is_not_counted(store: TestStore) {
    store.enqueue(&[job("mail", "email")]).await.expect("enqueued");
    let worker = enter(&store).await;
    claim_one(&store, worker).await;
    store.retire_worker(worker).await.expect("retired");
    assert_eq!(totals(&store, &asked(HistoryStep::Minute)).await, [total("mail email", [1, 0, 0, 0])]);
}

async fn tenants_do_not_see_each_others_history(store: TestStore) {
    let theirs = NewJob { tenant: "other".to_owned(), ..job("mail", "email") };
    store.enqueue(&[theirs, job("mail", "email")]).await.expect("enqueued");
    assert_eq!(totals(&store, &asked(HistoryStep::Minute)).await, [total("mail email", [1, 0, 0, 0])]);
    let theirs = HistoryFilter { tenant: "other".to_owned(), ..asked(HistoryStep::Minute) };
    assert_eq!(totals(&store, &theirs).await, [total("mail email", [1, 0, 0, 0])]);
}

async fn the_newest_points_come_when_there_are_more_than_asked_for(store: TestStore) {
    store.enqueue(&[job("mail", "email"), job("mail", "webhook"), job("mail", "work")]).await.expect("enqueued");
    let two = HistoryFilter { limit: 2, ..asked(HistoryStep::Hour) };
    let kinds: Vec<String> = points(&store, &two).await.into_iter().map(|point| point.kind).collect();
    assert_eq!(kinds, ["webhook", "work"], "in their order");
}

async fn old_points_are_removed_by_step_and_time(store: TestStore) {
    store.enqueue(&[job("mail", "email"), job("mail", "webhook"), job("mail", "work")]).await.expect("enqueued");
    assert_eq!(points(&store, &asked(HistoryStep::Minute)).await.len(), 3);
    let (past, future): (Instant, Instant) =
        (chrono::Utc::now() - TimeDelta::hours(2), chrono::Utc::now() + TimeDelta::hours(2));
    let remove = |before, limit| {
        let store = &store;
        async move { store.prune_history(HistoryStep::Minute, before, limit).await.expect("removed") }
    };
    assert_eq!(remove(past, 10).await, 0, "none is that old");
    assert_eq!(remove(future, 2).await, 2, "no more than was asked for");
    assert_eq!(remove(future, 10).await, 1);
    assert_eq!(points(&store, &asked(HistoryStep::Minute)).await, []);
    assert_eq!(points(&store, &asked(HistoryStep::Hour)).await.len(), 3, "the hours stay");
}

/// As if its transaction had taken two hours: rows have the instant of their own transaction, whenever they are moved.
async fn what_is_committed_late_counts_in_its_own_minute(store: TestStore) {
    store.enqueue(&[job("mail", "email")]).await.expect("enqueued");
    let hours = if store.url().starts_with("sqlite") { "at - 7200000000" } else { "at - interval '2 hours'" };
    store.tamper(&format!("UPDATE flow SET at = {hours}")).await;
    store.enqueue(&[job("mail", "email")]).await.expect("enqueued");
    let found = points(&store, &asked(HistoryStep::Hour)).await;
    assert_eq!(found.iter().map(|point| point.passed.enqueued).collect::<Vec<_>>(), [1, 1]);
    assert_eq!(found[1].at - found[0].at, TimeDelta::hours(2));
}
