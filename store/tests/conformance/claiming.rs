//! Claim: workers take queued jobs.

use std::sync::Arc;
use std::time::Duration;

use gristmill_core::job::{JobState, Priority};
use gristmill_store::testing::{self, TestStore, claim_as};
use gristmill_store::{Pause, StoreHandle};
use tokio::sync::Barrier;

use crate::{TENANT, assert_reconciled, claim, claim_one, complete, enter, job, state};

conformance! {
    a_claim_raises_the_attempt_and_sets_the_deadline,
    a_claim_never_takes_more_than_its_limit,
    the_urgent_lane_goes_first_and_then_the_oldest,
    only_the_kinds_that_have_a_handler_are_claimed,
    only_the_queues_that_are_served_are_claimed,
    many_claimers_never_get_the_same_job,
    a_claim_by_id_takes_what_may_run,
    an_id_over_the_limit_is_busy,
    an_id_that_is_not_queued_any_more_is_stale,
    an_id_of_a_kind_without_handler_is_foreign,
    an_id_named_twice_is_claimed_once,
    nothing_is_claimed_from_a_paused_queue,
    nothing_is_claimed_of_a_paused_batch,
    a_second_message_for_the_same_job_finds_nothing,
    a_commit_wakes_whoever_waits_for_work,
    a_commit_of_another_process_wakes_too,
    a_hint_that_comes_between_two_waits_is_not_lost,
    a_wait_without_work_ends,
}

async fn a_claim_raises_the_attempt_and_sets_the_deadline(store: TestStore) {
    let mut asked = testing::job();
    asked.timeout = Duration::from_secs(90);
    asked.trace = Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned());
    store.enqueue(std::slice::from_ref(&asked)).await.expect("enqueued");
    let worker = enter(&store).await;
    let claimed = claim_one(&store, worker).await;
    assert_eq!((claimed.fence.attempt, claimed.fence.worker, claimed.fence.job), (1, worker, asked.id));
    assert_eq!((&claimed.payload, &claimed.trace, &claimed.retry), (&asked.payload, &asked.trace, &asked.retry));
    assert_eq!((claimed.timeout, claimed.max_attempts), (asked.timeout, asked.max_attempts));
    assert!(claimed.created_at <= claimed.queued_at && claimed.queued_at <= claimed.started_at);
    let seen = job(&store, asked.id).await;
    assert_eq!((seen.state, seen.attempt, seen.worker), (JobState::Running, 1, Some(worker)));
    assert_reconciled(&store).await;
}

async fn a_claim_never_takes_more_than_its_limit(store: TestStore) {
    store.enqueue(&testing::jobs(10)).await.expect("enqueued");
    let worker = enter(&store).await;
    assert_eq!(claim(&store, worker, 3).await.len(), 3);
    assert_eq!(claim(&store, worker, 0).await.len(), 0);
    assert_eq!(claim(&store, worker, 100).await.len(), 7);
}

async fn the_urgent_lane_goes_first_and_then_the_oldest(store: TestStore) {
    let mut asked = testing::jobs(6);
    for (index, priority) in
        [Priority::Low, Priority::Normal, Priority::High, Priority::Normal, Priority::High, Priority::Low]
            .into_iter()
            .enumerate()
    {
        asked[index].priority = priority;
        asked[index].queue = if index % 2 == 0 { "even" } else { "odd" }.to_owned();
    }
    store.enqueue(&asked).await.expect("enqueued");
    let worker = enter(&store).await;
    let mut order = Vec::new();
    for _ in 0..3 {
        order.extend(claim(&store, worker, 2).await.iter().map(|job| job.fence.job));
    }
    assert_eq!(order, [2, 4, 1, 3, 0, 5].map(|index| asked[index].id));
}

async fn only_the_kinds_that_have_a_handler_are_claimed(store: TestStore) {
    let mut asked = testing::jobs(2);
    asked[0].kind = "unknown".to_owned();
    store.enqueue(&asked).await.expect("enqueued");
    let worker = enter(&store).await;
    assert_eq!(claim_one(&store, worker).await.fence.job, asked[1].id);
    let mut none = claim_as(worker, 10);
    none.kinds.clear();
    assert!(store.claim_next(&none).await.expect("asked").is_empty());
}

async fn only_the_queues_that_are_served_are_claimed(store: TestStore) {
    let mut asked = testing::jobs(3);
    asked[0].queue = "mail".to_owned();
    asked[1].queue = "reports".to_owned();
    store.enqueue(&asked).await.expect("enqueued");
    let worker = enter(&store).await;
    let mut some = claim_as(worker, 10);
    some.queues = vec!["mail".to_owned(), "reports".to_owned(), "nothing here".to_owned()];
    let claimed = store.claim_next(&some).await.expect("claimed");
    assert_eq!(claimed.iter().map(|job| job.fence.job).collect::<Vec<_>>(), [asked[0].id, asked[1].id]);
}

async fn many_claimers_never_get_the_same_job(store: TestStore) {
    store.enqueue(&testing::jobs(200)).await.expect("enqueued");
    let barrier = Arc::new(Barrier::new(8));
    let claimers: Vec<_> = (0..8)
        .map(|_| {
            let (store, barrier) = (store.handle(), barrier.clone());
            tokio::spawn(async move {
                let worker = testing::worker_id();
                barrier.wait().await;
                let mut got = Vec::new();
                loop {
                    let claimed = store.claim_next(&claim_as(worker, 7)).await.expect("claimed");
                    if claimed.is_empty() {
                        return got;
                    }
                    got.extend(claimed.into_iter().map(|job| (job.fence.job, job.fence.attempt)));
                }
            })
        })
        .collect();
    let mut all = Vec::new();
    for claimer in claimers {
        all.extend(claimer.await.expect("a claimer ends"));
    }
    // A claimer may see nothing while others hold the rows: what is left then is claimed now.
    let worker = enter(&store).await;
    all.extend(claim(&store, worker, 200).await.into_iter().map(|job| (job.fence.job, job.fence.attempt)));
    assert!(all.iter().all(|(_, attempt)| *attempt == 1));
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 200);
    assert_reconciled(&store).await;
}

async fn a_claim_by_id_takes_what_may_run(store: TestStore) {
    let asked = testing::jobs(3);
    store.enqueue(&asked).await.expect("enqueued");
    let worker = enter(&store).await;
    let report = store.claim(&claim_as(worker, 10), &[asked[2].id, asked[0].id]).await.expect("claimed");
    let claimed: Vec<_> = report.claimed.iter().map(|job| job.fence.job).collect();
    assert_eq!(claimed, [asked[0].id, asked[2].id]);
    assert!(report.busy.is_empty() && report.stale.is_empty());
    assert_eq!(state(&store, asked[1].id).await, JobState::Queued);
    assert_eq!(store.claim(&claim_as(worker, 10), &[]).await.expect("nothing asked"), Default::default());
}

async fn an_id_over_the_limit_is_busy(store: TestStore) {
    let asked = testing::jobs(3);
    let ids: Vec<_> = asked.iter().map(|job| job.id).collect();
    store.enqueue(&asked).await.expect("enqueued");
    let worker = enter(&store).await;
    let report = store.claim(&claim_as(worker, 1), &ids).await.expect("claimed");
    assert_eq!(report.claimed.len(), 1);
    assert_eq!((report.busy, report.stale), (ids[1..].to_vec(), Vec::new()));
}

async fn an_id_that_is_not_queued_any_more_is_stale(store: TestStore) {
    let asked = testing::jobs(3);
    store.enqueue(&asked).await.expect("enqueued");
    store.cancel_job(TENANT, asked[1].id, "no need", false).await.expect("cancelled");
    let worker = enter(&store).await;
    let unknown = testing::job_id();
    let ids = [asked[0].id, asked[1].id, unknown, asked[2].id];
    let report = store.claim(&claim_as(worker, 10), &ids).await.expect("claimed");
    assert_eq!(report.claimed.len(), 2);
    assert_eq!((report.busy, report.stale, report.unknown), (Vec::new(), vec![asked[1].id], vec![unknown]));
}

async fn an_id_of_a_kind_without_handler_is_foreign(store: TestStore) {
    let mut asked = testing::job();
    asked.kind = "unknown".to_owned();
    store.enqueue(std::slice::from_ref(&asked)).await.expect("enqueued");
    let worker = enter(&store).await;
    let report = store.claim(&claim_as(worker, 10), &[asked.id]).await.expect("asked");
    assert_eq!((report.claimed.len(), report.busy.len(), report.foreign), (0, 0, vec![asked.id]));
}

async fn an_id_named_twice_is_claimed_once(store: TestStore) {
    let asked = testing::jobs(2);
    store.enqueue(&asked).await.expect("enqueued");
    let worker = enter(&store).await;
    let ids = [asked[0].id, asked[0].id, asked[1].id];
    let report = store.claim(&claim_as(worker, 2), &ids).await.expect("claimed");
    assert_eq!((report.claimed.len(), report.busy.len(), report.stale.len()), (2, 0, 0));
}

async fn nothing_is_claimed_from_a_paused_queue(store: TestStore) {
    let mut asked = testing::jobs(2);
    asked[1].queue = "mail".to_owned();
    store.enqueue(&asked).await.expect("enqueued");
    store.pause_queue(TENANT, "default", Some(&Pause::default()), false).await.expect("paused");
    let worker = enter(&store).await;
    assert_eq!(claim_one(&store, worker).await.fence.job, asked[1].id);
    let report = store.claim(&claim_as(worker, 10), &[asked[0].id]).await.expect("asked");
    assert_eq!(report.stale, [asked[0].id], "its message is dropped: resuming dispatches it anew");
}

async fn nothing_is_claimed_of_a_paused_batch(store: TestStore) {
    let id = testing::sealed(&store, 2, 1).await;
    store.pause_batch(TENANT, id, Some(&Pause::default()), false).await.expect("paused");
    let worker = enter(&store).await;
    assert!(claim(&store, worker, 10).await.is_empty());
    let resumed = store.pause_batch(TENANT, id, None, false).await.expect("resumed");
    assert_eq!(resumed.affected, 2);
    assert_eq!(resumed.dispatched.dispatches.iter().map(|row| row.jobs.len()).sum::<usize>(), 2);
    assert_eq!(claim(&store, worker, 10).await.len(), 2);
}

async fn a_second_message_for_the_same_job_finds_nothing(store: TestStore) {
    let asked = testing::job();
    store.enqueue(std::slice::from_ref(&asked)).await.expect("enqueued");
    let (one, two) = (enter(&store).await, enter(&store).await);
    let first = store.claim(&claim_as(one, 1), &[asked.id]).await.expect("claimed");
    let second = store.claim(&claim_as(two, 1), &[asked.id]).await.expect("asked");
    assert_eq!((first.claimed.len(), second.claimed.len(), second.stale), (1, 0, vec![asked.id]));
    complete(&store, &[testing::done(&first.claimed[0])]).await;
}

/// Uses up the hints left over from the opening. A hint may be false, and on a shared server it often is: so only for a
/// limited time.
async fn settle_down(store: &StoreHandle) -> u64 {
    let mut seen = store.wait_for_work(0, Duration::ZERO).await;
    for _ in 0..10 {
        let next = store.wait_for_work(seen, Duration::from_millis(100)).await;
        if next == seen {
            break;
        }
        seen = next;
    }
    seen
}

/// Where a broker carries ids, its messages wake.
async fn a_commit_wakes_whoever_waits_for_work(store: TestStore) {
    let store = store.brokerless().await;
    let seen = settle_down(&store).await;
    let waiting = store.clone();
    let waiter = tokio::spawn(async move { waiting.wait_for_work(seen, Duration::from_secs(120)).await });
    store.enqueue(&[testing::job()]).await.expect("enqueued");
    assert_ne!(waiter.await.expect("the waiter ends"), seen, "it was a hint");
}

async fn a_hint_that_comes_between_two_waits_is_not_lost(store: TestStore) {
    let store = store.brokerless().await;
    let seen = settle_down(&store).await;
    store.enqueue(&[testing::job()]).await.expect("enqueued");
    // As a claimer that claims while the hint comes.
    testing::eventually("the hint", async || {
        (store.wait_for_work(seen, Duration::from_millis(20)).await != seen).then_some(())
    })
    .await;
    assert_ne!(store.wait_for_work(seen, Duration::from_secs(120)).await, seen, "it is still there");
}

async fn a_commit_of_another_process_wakes_too(store: TestStore) {
    let (store, other) = (store.brokerless().await, store.brokerless().await);
    let seen = settle_down(&store).await;
    let waiting = store.clone();
    let waiter = tokio::spawn(async move { waiting.wait_for_work(seen, Duration::from_secs(120)).await });
    other.enqueue(&[testing::job()]).await.expect("enqueued elsewhere");
    assert_ne!(waiter.await.expect("the waiter ends"), seen, "it was a hint");
}

async fn a_wait_without_work_ends(store: TestStore) {
    let seen = settle_down(&store).await;
    let began = tokio::time::Instant::now();
    let hint = store.wait_for_work(seen, Duration::from_millis(120)).await != seen;
    assert!(hint || began.elapsed() >= Duration::from_millis(120), "no hint comes before the time");
    assert!(began.elapsed() < Duration::from_secs(120), "and the time ends the wait");
}
