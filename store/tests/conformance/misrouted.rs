//! Kinds and versions that not every worker has: their jobs stay queued, are found, and are reported.

use std::time::Duration;

use gristmill_core::id::{JobId, WorkerId};
use gristmill_core::job::{JobState, NewJob};
use gristmill_store::testing::{self, TestStore, claim_as, job_id};
use gristmill_store::{Claim, LostJobs, Pause, UnhandledView};
use serde_json::json;

use crate::{LONG, TENANT, assert_reconciled, enter, job, state};

conformance! {
    a_version_is_claimed_only_by_who_reads_it,
    a_message_for_a_kind_that_the_worker_lacks_leaves_the_job_to_others,
    what_is_astray_is_not_published_again_and_again,
    what_is_astray_is_left_alone_while_it_is_paused,
    no_more_are_found_astray_than_may_be_claimed,
    what_no_live_worker_has_is_reported,
    a_worker_is_seen_with_its_kinds,
}

async fn enqueued(store: &TestStore, kind: &str, version: u32) -> JobId {
    let new = NewJob { version, ..NewJob::new(job_id(), kind, json!({})) };
    store.enqueue(std::slice::from_ref(&new)).await.expect("enqueued");
    new.id
}

fn claim_of(worker: WorkerId, kinds: &[&str]) -> Claim {
    Claim { worker, queues: Vec::new(), kinds: kinds.iter().map(|kind| (*kind).to_owned()).collect(), limit: 10 }
}

async fn a_version_is_claimed_only_by_who_reads_it(store: TestStore) {
    let (old, new) = (enqueued(&store, "resize", 1).await, enqueued(&store, "resize", 2).await);
    let worker = enter(&store).await;
    let of = async |kinds: &[&str]| {
        let claimed = store.claim_next(&claim_of(worker, kinds)).await.expect("claimed");
        claimed.iter().map(|job| (job.fence.job, job.version)).collect::<Vec<_>>()
    };
    assert_eq!(of(&["resize@3", "resize2", "resize@"]).await, []);
    assert_eq!(of(&["resize"]).await, [(old, 1)]);
    assert_eq!(of(&["resize"]).await, []);
    assert_eq!(of(&["resize", "resize@2"]).await, [(new, 2)]);
    assert_eq!(job(&store, new).await.version, 2);
    assert_reconciled(&store).await;
}

async fn a_message_for_a_kind_that_the_worker_lacks_leaves_the_job_to_others(store: TestStore) {
    let (foreign, newer, ours) =
        (enqueued(&store, "resize", 1).await, enqueued(&store, "work", 2).await, enqueued(&store, "work", 1).await);
    let worker = enter(&store).await;
    let all = [foreign, newer, ours, job_id()];
    let lacks = claim_as(worker, 10);
    let report = store.claim(&lacks, &all).await.expect("claimed");
    assert_eq!(report.claimed.iter().map(|job| job.fence.job).collect::<Vec<_>>(), [ours]);
    assert_eq!((&report.busy[..], &report.foreign[..], &report.unknown[..]), (&[][..], &all[..2], &all[3..]));
    assert_eq!(state(&store, foreign).await, JobState::Queued, "neither failed nor dropped");
    let again = store.claim(&lacks, &all[..2]).await.expect("a repeated message");
    assert_eq!(again.foreign, all[..2]);
    assert_eq!(store.misrouted(&lacks).await.expect("asked"), []);
    let other = enter(&store).await;
    let has = claim_of(other, &["resize", "work@2"]);
    assert_eq!(store.misrouted(&has).await.expect("asked"), all[..2], "who has them need not wait for a message");
    let elsewhere = Claim { queues: vec!["mail".to_owned()], ..has.clone() };
    assert_eq!(store.misrouted(&elsewhere).await.expect("asked"), []);
    let claimed = store.claim(&has, &all[..2]).await.expect("claimed").claimed;
    assert_eq!(claimed.len(), 2);
    assert_eq!(store.misrouted(&has).await.expect("asked"), []);
    // A job that comes back later has a message of its own again.
    let failed: Vec<_> = claimed.iter().map(|job| testing::retry(job, Duration::ZERO)).collect();
    store.complete(&failed).await.expect("completed");
    store.promote(10).await.expect("promoted");
    assert_eq!(store.misrouted(&has).await.expect("asked"), []);
    assert_reconciled(&store).await;
}

async fn what_is_astray_is_not_published_again_and_again(store: TestStore) {
    let (foreign, lost) = (enqueued(&store, "resize", 1).await, enqueued(&store, "work", 1).await);
    let rows = store.outbox_take(Duration::ZERO, 100, 100).await.expect("taken");
    store.outbox_done(&rows.iter().map(|row| row.outbox).collect::<Vec<_>>()).await.expect("published");
    let worker = enter(&store).await;
    assert_eq!(store.claim(&claim_as(worker, 10), &[foreign]).await.expect("claimed").foreign, [foreign]);
    let again = store
        .redispatch("default", &LostJobs { older_than: Duration::ZERO, after: None, limit: 100 })
        .await
        .expect("asked");
    assert_eq!(again.dispatches.iter().flat_map(|row| row.jobs.clone()).collect::<Vec<_>>(), [lost]);
}

async fn what_is_astray_is_left_alone_while_it_is_paused(store: TestStore) {
    let foreign = enqueued(&store, "resize", 1).await;
    let worker = enter(&store).await;
    store.claim(&claim_as(worker, 10), &[foreign]).await.expect("claimed");
    store.pause_queue(TENANT, "default", Some(&Pause::default()), false).await.expect("paused");
    let has = claim_of(worker, &["resize"]);
    assert_eq!(store.misrouted(&has).await.expect("asked"), []);
    store.pause_queue(TENANT, "default", None, false).await.expect("resumed");
    assert_eq!(store.misrouted(&has).await.expect("asked"), [foreign]);
    store.cancel_job(TENANT, foreign, "no", false).await.expect("cancelled");
    assert_eq!(store.misrouted(&has).await.expect("asked"), []);
}

async fn no_more_are_found_astray_than_may_be_claimed(store: TestStore) {
    let mut ids = Vec::new();
    for kind in ["resize", "crop", "resize", "crop", "resize"] {
        ids.push(enqueued(&store, kind, 1).await);
    }
    let worker = enter(&store).await;
    assert_eq!(store.claim(&claim_as(worker, 10), &ids).await.expect("claimed").foreign.len(), 5);
    let few = Claim { limit: 3, ..claim_of(worker, &["resize", "crop"]) };
    assert_eq!(store.misrouted(&few).await.expect("asked"), ids[..3], "the oldest first");
}

async fn what_no_live_worker_has_is_reported(store: TestStore) {
    let unhandled = async || store.unhandled(TENANT).await.expect("asked");
    let waits = |queue: &str, kind: &str, version: u32, jobs: u64| UnhandledView {
        queue: queue.to_owned(),
        kind: kind.to_owned(),
        version,
        jobs,
    };
    for (kind, version) in [("resize", 1), ("resize", 1), ("resize", 2), ("work", 1)] {
        enqueued(&store, kind, version).await;
    }
    let mail = NewJob { queue: "mail".to_owned(), ..NewJob::new(job_id(), "work", json!({})) };
    store.enqueue(&[mail]).await.expect("enqueued");
    let resizes = [waits("default", "resize", 1, 2), waits("default", "resize", 2, 1)];
    let mut all = resizes.to_vec();
    all.extend([waits("default", "work", 1, 1), waits("mail", "work", 1, 1)]);
    assert_eq!(unhandled().await, all, "nobody works at all");
    let mut here = testing::worker(LONG);
    here.queues = vec!["default".to_owned()];
    store.register_worker(&here).await.expect("entered");
    all.remove(2);
    assert_eq!(unhandled().await, all, "it has the kind, on one queue");
    enter(&store).await;
    assert_eq!(unhandled().await, resizes);
    let mut newer = testing::worker(LONG);
    newer.kinds = vec!["resize@2".to_owned()];
    store.register_worker(&newer).await.expect("entered");
    assert_eq!(unhandled().await, resizes[..1]);
    store.retire_worker(newer.id).await.expect("gone");
    assert_eq!(unhandled().await, resizes, "who has stopped serves nothing");
    assert_eq!(store.unhandled("other").await.expect("asked"), []);
}

async fn a_worker_is_seen_with_its_kinds(store: TestStore) {
    let mut entered = testing::worker(LONG);
    entered.kinds = vec!["resize".to_owned(), "resize@2".to_owned()];
    store.register_worker(&entered).await.expect("entered");
    assert_eq!(store.workers().await.expect("listed")[0].kinds, entered.kinds);
}
