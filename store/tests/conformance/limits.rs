//! Claims by limits and turns.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use gristmill_core::id::{JobId, WorkerId};
use gristmill_core::job::{ClaimedJob, JobState, NewJob};
use gristmill_store::testing::{self, TestStore, claim_as};
use gristmill_store::{
    Blocker, LimitOrigin, LimitSpec, LimitedClaim, LostJobs, Pause, QueueSpec, SaveLimit, StoreError, StoreHandle,
};
use tokio::sync::{Barrier, Mutex};

use crate::{TENANT, assert_reconciled, claim, complete, enter, job, state};

conformance! {
    no_more_run_at_any_instant_than_the_limit_says_whoever_claims,
    a_limit_for_each_key_counts_each_key_by_itself,
    keys_of_two_tenants_are_never_the_same,
    several_queues_share_one_limit,
    a_limit_of_a_kind_holds_on_every_queue_and_holds_back_no_other_kind,
    a_limit_of_kinds_on_queues_holds_for_both_together,
    what_a_limit_holds_back_holds_back_nothing_else,
    a_changed_limit_holds_for_what_is_claimed_next,
    whatever_becomes_of_an_attempt_its_place_is_free,
    what_waits_for_a_limit_spends_nothing_and_is_not_moved,
    a_message_for_a_managed_job_is_only_a_wake_up,
    managed_jobs_are_claimed_in_no_other_way,
    what_is_managed_no_more_is_dispatched_again,
    managed_jobs_are_not_dispatched_for_want_of_a_message,
    nothing_managed_is_claimed_that_is_paused_or_of_another_kind_or_by_a_worker_that_is_over,
    a_limit_belongs_to_the_place_where_it_was_made,
    a_limit_that_makes_no_sense_is_refused,
    a_key_that_is_too_long_is_refused,
    what_hinders_a_job_is_told,
}

pub(crate) fn keyed(queue: &str, key: Option<&str>) -> NewJob {
    NewJob { queue: queue.to_owned(), key: key.map(str::to_owned), ..testing::job() }
}

pub(crate) fn many(queue: &str, key: Option<&str>, count: usize) -> Vec<NewJob> {
    (0..count).map(|_| keyed(queue, key)).collect()
}

pub(crate) async fn enqueue(store: &StoreHandle, jobs: &[NewJob]) {
    for group in jobs.chunks(1_000) {
        store.enqueue(group).await.expect("enqueued");
    }
}

pub(crate) fn on(queues: &[&str]) -> LimitSpec {
    LimitSpec { queues: queues.iter().map(|name| (*name).to_owned()).collect(), ..LimitSpec::default() }
}

pub(crate) fn at_once(queues: &[&str], most: u32) -> LimitSpec {
    LimitSpec { concurrency: Some(most), ..on(queues) }
}

pub(crate) async fn limit(store: &TestStore, name: &str, spec: LimitSpec) {
    let save = SaveLimit { name: name.to_owned(), origin: LimitOrigin::Command, spec };
    store.save_limit(&save).await.expect("saved");
}

pub(crate) async fn fair(store: &TestStore, queue: &str) {
    store.save_queue(queue, &QueueSpec { fair: true, age_after: None }).await.expect("saved");
}

pub(crate) async fn take(store: &StoreHandle, worker: WorkerId, limit: u32) -> Vec<ClaimedJob> {
    found(store, worker, limit).await.claimed
}

pub(crate) async fn found(store: &StoreHandle, worker: WorkerId, limit: u32) -> LimitedClaim {
    store.claim_limited(&claim_as(worker, limit)).await.expect("claimed")
}

pub(crate) fn keys(jobs: &[ClaimedJob]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for job in jobs {
        *counts.entry(job.key.clone().unwrap_or_default()).or_default() += 1;
    }
    counts
}

pub(crate) fn done(jobs: &[ClaimedJob]) -> Vec<gristmill_store::Completion> {
    jobs.iter().map(testing::done).collect()
}

async fn no_more_run_at_any_instant_than_the_limit_says_whoever_claims(store: TestStore) {
    const MOST: usize = 5;
    limit(&store, "five", at_once(&["crm"], u32::try_from(MOST).expect("small"))).await;
    enqueue(&store, &many("crm", None, 120)).await;
    let barrier = Arc::new(Barrier::new(8));
    // The oracle: claims enter after their commit and leave before the completion's, so that what it counts is at most
    // what runs; and the rows themselves are counted all the while.
    let runs = Arc::new(Mutex::new((0_usize, 0_usize)));
    let claimers: Vec<_> = (0..8)
        .map(|number| {
            let (store, barrier, runs) = (store.handle(), barrier.clone(), runs.clone());
            tokio::spawn(async move {
                let worker = testing::worker_id();
                barrier.wait().await;
                let mut through = 0;
                loop {
                    let claimed = take(&store, worker, 3).await;
                    {
                        let mut runs = runs.lock().await;
                        runs.0 += claimed.len();
                        runs.1 = runs.1.max(runs.0);
                        assert!(runs.0 <= MOST, "{} run at once, claimer {number}", runs.0);
                    }
                    let running = store.limits().await.expect("listed")[0].running;
                    assert!(running <= MOST as u64, "{running} rows run");
                    if claimed.is_empty() {
                        let queues = store.queues(TENANT).await.expect("listed");
                        if queues.iter().all(|queue| queue.queued + queue.running == 0) {
                            return through;
                        }
                        tokio::task::yield_now().await;
                        continue;
                    }
                    through += claimed.len();
                    runs.lock().await.0 -= claimed.len();
                    store.complete(&done(&claimed)).await.expect("completed");
                }
            })
        })
        .collect();
    let mut through = 0;
    for claimer in claimers {
        through += claimer.await.expect("a claimer ends");
    }
    assert_eq!(through, 120);
    assert!(runs.lock().await.1 > 1, "they did run side by side");
    assert_reconciled(&store).await;
}

async fn a_limit_for_each_key_counts_each_key_by_itself(store: TestStore) {
    limit(&store, "each", LimitSpec { per_key: true, ..at_once(&["crm"], 2) }).await;
    let jobs: Vec<NewJob> = ["a", "b", "c"].iter().flat_map(|key| many("crm", Some(key), 5)).collect();
    enqueue(&store, &jobs).await;
    let worker = enter(&store).await;
    let first = take(&store, worker, 100).await;
    let two = |keys: &[&str]| keys.iter().map(|key| ((*key).to_owned(), 2)).collect::<BTreeMap<_, _>>();
    assert_eq!(keys(&first), two(&["a", "b", "c"]));
    assert!(take(&store, worker, 100).await.is_empty());
    let of_b: Vec<ClaimedJob> = first.into_iter().filter(|job| job.key.as_deref() == Some("b")).collect();
    complete(&store, &done(&of_b)).await;
    assert_eq!(keys(&take(&store, worker, 100).await), two(&["b"]), "the others are full still");
    let seen = &store.limits().await.expect("listed")[0];
    assert_eq!((seen.running, seen.uses.len()), (6, 3));
}

async fn keys_of_two_tenants_are_never_the_same(store: TestStore) {
    limit(&store, "each", LimitSpec { per_key: true, ..at_once(&["crm"], 1) }).await;
    let theirs = NewJob { tenant: "other".to_owned(), ..keyed("crm", Some("acme")) };
    enqueue(&store, &[keyed("crm", Some("acme")), theirs, keyed("crm", Some("acme"))]).await;
    let worker = enter(&store).await;
    let claimed = take(&store, worker, 10).await;
    let mut tenants: Vec<&str> = claimed.iter().map(|job| job.tenant.as_str()).collect();
    tenants.sort_unstable();
    assert_eq!(tenants, [TENANT, "other"]);
}

async fn several_queues_share_one_limit(store: TestStore) {
    limit(&store, "shared", at_once(&["crm", "sync"], 3)).await;
    enqueue(&store, &many("crm", None, 5)).await;
    enqueue(&store, &many("sync", None, 5)).await;
    let worker = enter(&store).await;
    let claimed = take(&store, worker, 10).await;
    assert_eq!(claimed.len(), 3);
    let of_crm = claimed.iter().filter(|job| job.queue == "crm").count();
    assert!((1..3).contains(&of_crm), "both have a share: {of_crm} of 3");
    assert!(take(&store, worker, 10).await.is_empty());
}

async fn a_limit_of_a_kind_holds_on_every_queue_and_holds_back_no_other_kind(store: TestStore) {
    let spec = LimitSpec { kinds: ["email".to_owned()].into(), concurrency: Some(2), ..LimitSpec::default() };
    limit(&store, "mails", spec).await;
    let email = |queue: &str| NewJob { kind: "email".to_owned(), ..keyed(queue, None) };
    enqueue(&store, &[email("a"), email("a"), email("b"), email("b")]).await;
    let others = many("a", None, 3);
    enqueue(&store, &others).await;
    let worker = enter(&store).await;
    let taken = take(&store, worker, 10).await;
    assert_eq!(taken.iter().map(|job| job.kind.as_str()).collect::<Vec<_>>(), ["email", "email"]);
    let free: Vec<JobId> = claim(&store, worker, 10).await.iter().map(|job| job.fence.job).collect();
    assert_eq!(free, others.iter().map(|job| job.id).collect::<Vec<_>>(), "claimed as ever");
}

async fn a_limit_of_kinds_on_queues_holds_for_both_together(store: TestStore) {
    let spec = LimitSpec { kinds: ["email".to_owned()].into(), ..at_once(&["a"], 1) };
    limit(&store, "mails", spec).await;
    let email = |queue: &str| NewJob { kind: "email".to_owned(), ..keyed(queue, None) };
    enqueue(&store, &[email("a"), email("a"), email("b"), email("b"), keyed("a", None), keyed("a", None)]).await;
    let worker = enter(&store).await;
    assert_eq!(claim(&store, worker, 10).await.len(), 2, "those on the other queue");
    let taken = take(&store, worker, 10).await;
    let mut kinds: Vec<&str> = taken.iter().map(|job| job.kind.as_str()).collect();
    kinds.sort_unstable();
    assert_eq!(kinds, ["email", "work", "work"]);
}

async fn what_a_limit_holds_back_holds_back_nothing_else(store: TestStore) {
    limit(&store, "each", LimitSpec { per_key: true, ..at_once(&["crm"], 1) }).await;
    enqueue(&store, &many("crm", Some("big"), 3_000)).await;
    let small = keyed("crm", Some("small"));
    enqueue(&store, std::slice::from_ref(&small)).await;
    let worker = enter(&store).await;
    let claimed = take(&store, worker, 10).await;
    assert_eq!(claimed.len(), 2);
    assert!(claimed.iter().any(|job| job.fence.job == small.id), "behind three thousand that may not begin");
}

async fn a_changed_limit_holds_for_what_is_claimed_next(store: TestStore) {
    limit(&store, "some", at_once(&["crm"], 4)).await;
    enqueue(&store, &many("crm", None, 20)).await;
    let worker = enter(&store).await;
    let running = take(&store, worker, 10).await;
    assert_eq!(running.len(), 4);
    limit(&store, "some", at_once(&["crm"], 2)).await;
    complete(&store, &done(&running[..2])).await;
    assert!(take(&store, worker, 10).await.is_empty(), "two run still");
    limit(&store, "some", at_once(&["crm"], 5)).await;
    assert_eq!(take(&store, worker, 10).await.len(), 3);
    let dropped = store.drop_limit("some", LimitOrigin::Command, true).await.expect("tried");
    assert_eq!((dropped.affected, store.limits().await.expect("listed").len()), (1, 1), "a dry run changes nothing");
    store.drop_limit("some", LimitOrigin::Command, false).await.expect("dropped");
    assert_eq!(claim(&store, worker, 50).await.len(), 13, "nothing holds them any more");
}

async fn whatever_becomes_of_an_attempt_its_place_is_free(store: TestStore) {
    limit(&store, "one", at_once(&["crm"], 1)).await;
    let mut jobs: Vec<NewJob> = many("crm", None, 8).into_iter().map(|job| NewJob { max_attempts: 1, ..job }).collect();
    // The job that is to be retried.
    jobs[4].max_attempts = 2;
    enqueue(&store, &jobs).await;
    let worker = enter(&store).await;
    let one = async |worker| take(&store, worker, 10).await.pop().expect("the place is free");
    let dead = one(worker).await;
    assert!(take(&store, worker, 10).await.is_empty());
    complete(&store, &[testing::dead(&dead)]).await;
    let cancelled = one(worker).await;
    store.cancel_job(TENANT, cancelled.fence.job, "no need", false).await.expect("cancelled");
    let late = one(worker).await;
    store.pass_deadline(late.fence.job).await;
    store.rescue(10).await.expect("rescued");
    let released = one(worker).await;
    store.release_unknown(worker, &[]).await.expect("released");
    assert_eq!(state(&store, released.fence.job).await, JobState::Queued);
    let lost = one(worker).await;
    store.end_lease(worker).await;
    store.rescue(10).await.expect("rescued");
    assert_eq!(state(&store, lost.fence.job).await, JobState::Dead, "its worker was killed, its place is free");
    let next = enter(&store).await;
    let retried = one(next).await;
    complete(&store, &[testing::retry(&retried, Duration::from_secs(600))]).await;
    let stopped = one(next).await;
    store.retire_worker(next).await.expect("retired");
    assert_eq!(state(&store, stopped.fence.job).await, JobState::Queued);
    let last = enter(&store).await;
    assert_eq!(one(last).await.fence.job, stopped.fence.job);
}

async fn what_waits_for_a_limit_spends_nothing_and_is_not_moved(store: TestStore) {
    limit(&store, "one", at_once(&["crm"], 1)).await;
    let jobs = many("crm", None, 2);
    enqueue(&store, &jobs).await;
    let worker = enter(&store).await;
    take(&store, worker, 10).await;
    let before = job(&store, jobs[1].id).await;
    for _ in 0..5 {
        assert!(take(&store, worker, 10).await.is_empty());
    }
    assert_eq!(job(&store, jobs[1].id).await, before);
    assert_eq!((before.state, before.attempt), (JobState::Queued, 0));
}

async fn a_message_for_a_managed_job_is_only_a_wake_up(store: TestStore) {
    limit(&store, "one", at_once(&["crm"], 1)).await;
    let (ours, other) = (keyed("crm", None), NewJob { kind: "unknown".to_owned(), ..keyed("crm", None) });
    enqueue(&store, &[ours.clone(), other.clone()]).await;
    let worker = enter(&store).await;
    let report = store.claim(&claim_as(worker, 10), &[ours.id, other.id]).await.expect("claimed");
    let mut limited = report.limited.clone();
    limited.sort_unstable();
    let mut both = [ours.id, other.id];
    both.sort_unstable();
    assert_eq!(limited, both);
    assert!(report.claimed.is_empty() && report.busy.is_empty() && report.foreign.is_empty());
    assert!(report.stale.is_empty() && report.unknown.is_empty());
    assert!(store.misrouted(&claim_as(worker, 10)).await.expect("asked").is_empty());
    assert_eq!(take(&store, worker, 10).await[0].fence.job, ours.id);
}

async fn managed_jobs_are_claimed_in_no_other_way(store: TestStore) {
    fair(&store, "crm").await;
    enqueue(&store, &many("crm", None, 3)).await;
    let free = testing::job();
    enqueue(&store, std::slice::from_ref(&free)).await;
    let worker = enter(&store).await;
    let claimed = claim(&store, worker, 10).await;
    assert_eq!(claimed.iter().map(|job| job.fence.job).collect::<Vec<_>>(), [free.id]);
    let limited = store.limited().await.expect("asked");
    assert!(limited.has("crm", "work") && !limited.has("default", "work"));
    assert_eq!(take(&store, worker, 10).await.len(), 3);
}

async fn what_is_managed_no_more_is_dispatched_again(store: TestStore) {
    fair(&store, "crm").await;
    limit(&store, "one", at_once(&["crm"], 1)).await;
    let jobs = many("crm", None, 4);
    enqueue(&store, &jobs).await;
    let still = store.drop_limit("one", LimitOrigin::Command, false).await.expect("dropped");
    assert!(still.dispatched.dispatches.is_empty(), "it is fair still");
    let freed = store.save_queue("crm", &QueueSpec::default()).await.expect("saved");
    let ids: Vec<JobId> = freed.dispatches.iter().flat_map(|row| row.jobs.clone()).collect();
    assert_eq!(ids, jobs.iter().map(|job| job.id).collect::<Vec<_>>());
    assert!(!store.limited().await.expect("asked").any());
}

async fn managed_jobs_are_not_dispatched_for_want_of_a_message(store: TestStore) {
    fair(&store, "crm").await;
    enqueue(&store, &many("crm", None, 2)).await;
    enqueue(&store, &[keyed("mail", None)]).await;
    let rows: Vec<i64> =
        store.outbox_take(Duration::ZERO, 100, 100).await.expect("taken").iter().map(|row| row.outbox).collect();
    store.outbox_done(&rows).await.expect("done");
    assert_eq!(
        store
            .redispatch("crm", &LostJobs { older_than: Duration::ZERO, after: None, limit: 100 })
            .await
            .expect("looked")
            .moved,
        0
    );
    assert_eq!(
        store
            .redispatch("mail", &LostJobs { older_than: Duration::ZERO, after: None, limit: 100 })
            .await
            .expect("looked")
            .moved,
        1
    );
}

async fn nothing_managed_is_claimed_that_is_paused_or_of_another_kind_or_by_a_worker_that_is_over(store: TestStore) {
    fair(&store, "crm").await;
    fair(&store, "held").await;
    let unknown = NewJob { kind: "unknown".to_owned(), ..keyed("crm", Some("a")) };
    let newer = NewJob { version: 2, ..keyed("crm", Some("a")) };
    enqueue(&store, &[unknown, newer, keyed("crm", Some("b")), keyed("held", Some("a"))]).await;
    store.pause_queue(TENANT, "held", Some(&Pause::default()), false).await.expect("paused");
    let over = enter(&store).await;
    store.retire_worker(over).await.expect("retired");
    assert!(take(&store, over, 10).await.is_empty());
    let worker = enter(&store).await;
    let only = gristmill_store::Claim { queues: vec!["held".to_owned()], ..claim_as(worker, 10) };
    assert!(store.claim_limited(&only).await.expect("asked").claimed.is_empty());
    let claimed = take(&store, worker, 10).await;
    assert_eq!(keys(&claimed), [("b".to_owned(), 1)].into());
    store.pause_queue(TENANT, "held", None, false).await.expect("resumed");
    assert_eq!(take(&store, worker, 10).await.len(), 1);
}

async fn a_limit_belongs_to_the_place_where_it_was_made(store: TestStore) {
    limit(&store, "one", at_once(&["crm"], 1)).await;
    let save = SaveLimit { name: "one".to_owned(), origin: LimitOrigin::File, spec: at_once(&["crm"], 2) };
    let refused = store.save_limit(&save).await.expect_err("it was made by a command");
    assert!(matches!(refused, StoreError::Conflict(_)), "{refused}");
    let refused = store.drop_limit("one", LimitOrigin::File, false).await.expect_err("as well");
    assert!(matches!(refused, StoreError::Conflict(_)), "{refused}");
    assert_eq!(store.limits().await.expect("listed")[0].spec.concurrency, Some(1));
    assert_eq!(store.drop_limit("none", LimitOrigin::File, false).await.expect("nothing").affected, 0);
}

async fn a_limit_that_makes_no_sense_is_refused(store: TestStore) {
    for spec in [LimitSpec { concurrency: Some(1), ..LimitSpec::default() }, on(&["crm"]), at_once(&["crm"], 0)] {
        let save = SaveLimit { name: "bad".to_owned(), origin: LimitOrigin::Command, spec };
        let refused = store.save_limit(&save).await.expect_err("it makes no sense");
        assert!(matches!(refused, StoreError::Invalid(_)), "{refused}");
    }
    assert!(store.limits().await.expect("listed").is_empty());
}

async fn a_key_that_is_too_long_is_refused(store: TestStore) {
    for key in ["", "a\0b", &"x".repeat(201), &"ä".repeat(101)] {
        let refused = store.enqueue(&[keyed("crm", Some(key))]).await.expect_err("no key");
        assert!(matches!(refused, StoreError::Invalid(_)), "{refused}");
    }
    let longest = keyed("crm", Some(&"ä".repeat(100)));
    enqueue(&store, std::slice::from_ref(&longest)).await;
    assert_eq!(job(&store, longest.id).await.key, longest.key);
}

async fn what_hinders_a_job_is_told(store: TestStore) {
    limit(&store, "one", LimitSpec { per_key: true, ..at_once(&["crm"], 1) }).await;
    let jobs = many("crm", Some("a"), 2);
    enqueue(&store, &jobs).await;
    let worker = enter(&store).await;
    assert!(store.blockers(jobs[1].id).await.expect("asked").hindrances.is_empty());
    assert!(store.blockers(jobs[1].id).await.expect("asked").in_outbox);
    take(&store, worker, 1).await;
    let told = store.blockers(jobs[1].id).await.expect("asked");
    assert_eq!(told.hindrances, [Blocker::Concurrency { limit: "one".to_owned(), running: 1, most: 1 }]);
    let other = keyed("crm", Some("b"));
    enqueue(&store, std::slice::from_ref(&other)).await;
    assert!(store.blockers(other.id).await.expect("asked").hindrances.is_empty());
}
