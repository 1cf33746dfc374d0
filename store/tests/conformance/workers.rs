//! Process incarnations, their leases, and rescue.

use std::time::Duration;

use gristmill_core::id::WorkerId;
use gristmill_core::job::{Fence, JobState};
use gristmill_store::RescueReport;
use gristmill_store::testing::{self, TestStore, eventually};

use crate::{LONG, TENANT, assert_reconciled, batch, claim, claim_one, complete, enter, job, state};

conformance! {
    an_incarnation_is_seen_with_what_it_said,
    a_beat_prolongs_the_lease,
    a_beat_after_the_rescue_says_that_it_is_over,
    a_lost_workers_jobs_are_queued_again,
    a_lost_workers_last_attempt_makes_a_dead_letter,
    a_rescued_job_fences_whoever_ran_it,
    a_rescue_leaves_living_workers_alone,
    a_job_past_its_deadline_is_taken_from_a_living_worker,
    a_deadline_leaves_a_lease_for_what_must_be_written_down,
    what_has_ended_is_held_until_it_is_written_down,
    a_hold_needs_the_fence_and_a_living_incarnation,
    a_hold_brings_no_deadline_forward,
    a_job_of_a_worker_that_nobody_knows_is_rescued,
    two_rescues_at_once_take_each_job_once,
    a_rescue_takes_no_more_than_its_limit,
    a_retired_worker_gives_its_attempts_back,
    what_nobody_knows_to_run_is_released_and_the_rest_goes_on,
    an_attempt_that_is_known_no_more_is_not_the_one_that_runs,
    a_worker_that_is_not_there_has_no_beat,
    a_lost_worker_claims_nothing,
    a_stopped_worker_claims_nothing,
    the_lease_of_a_leader_is_kept_by_its_holder,
    a_lost_worker_shows_what_it_said_last,
}

/// A worker whose lease is over at once.
async fn dying(store: &TestStore) -> WorkerId {
    let entered = testing::worker(Duration::from_millis(1));
    store.register_worker(&entered).await.expect("entered");
    entered.id
}

/// Rescues until something was rescued.
async fn rescue(store: &TestStore) -> RescueReport {
    let ask = || async {
        let report = store.rescue(100).await.expect("asked");
        (report.requeued + report.dead > 0).then_some(report)
    };
    eventually("a rescue", ask).await
}

async fn an_incarnation_is_seen_with_what_it_said(store: TestStore) {
    let mut entered = testing::worker(LONG);
    entered.queues = vec!["mail".to_owned(), "nul \u{0}".to_owned()];
    store.register_worker(&entered).await.expect("entered");
    store.register_worker(&entered).await.expect("again, after an unknown commit result");
    assert!(store.beat(entered.id, LONG, 3).await.expect("a beat"));
    let all = store.workers().await.expect("listed");
    let [seen] = &all[..] else { panic!("one worker: {all:?}") };
    assert_eq!((seen.id, seen.role.as_str(), seen.host.as_str(), seen.pid), (entered.id, "worker", "here", 1));
    assert_eq!((seen.slots, seen.running, &seen.queues, seen.state.as_str()), (10, 3, &entered.queues, "alive"));
    assert!(seen.started_at <= seen.seen_at);
}

async fn a_beat_prolongs_the_lease(store: TestStore) {
    store.enqueue(&[testing::job()]).await.expect("enqueued");
    let worker = dying(&store).await;
    let claimed = claim_one(&store, worker).await;
    // The lease has run out, but nothing has been taken: the beat comes in time.
    assert!(store.beat(worker, LONG, 1).await.expect("a beat"));
    assert_eq!(store.rescue(100).await.expect("asked"), RescueReport::default());
    complete(&store, &[testing::done(&claimed)]).await;
}

async fn a_beat_after_the_rescue_says_that_it_is_over(store: TestStore) {
    store.enqueue(&[testing::job()]).await.expect("enqueued");
    let worker = dying(&store).await;
    claim_one(&store, worker).await;
    rescue(&store).await;
    assert!(!store.beat(worker, LONG, 1).await.expect("a beat"));
    let seen = store.workers().await.expect("listed");
    assert_eq!(seen[0].state, "lost");
}

async fn a_lost_workers_jobs_are_queued_again(store: TestStore) {
    store.enqueue(&testing::jobs(3)).await.expect("enqueued");
    let worker = dying(&store).await;
    let claimed = claim(&store, worker, 2).await;
    let report = rescue(&store).await;
    assert_eq!((report.workers_lost, report.requeued, report.dead), (1, 2, 0));
    assert_eq!(report.dispatched.dispatches.iter().map(|row| row.jobs.len()).sum::<usize>(), 2);
    let seen = job(&store, claimed[0].fence.job).await;
    assert_eq!((seen.state, seen.attempt, seen.worker), (JobState::Queued, 1, None));
    assert_eq!((seen.attempts[0].ending.as_str(), seen.attempts[0].worker), ("worker_lost", Some(worker)));
    let other = enter(&store).await;
    let again = claim(&store, other, 10).await;
    assert_eq!((again.len(), again[0].fence.attempt), (3, 2));
    assert_reconciled(&store).await;
}

async fn a_lost_workers_last_attempt_makes_a_dead_letter(store: TestStore) {
    let mut asked = testing::job();
    asked.max_attempts = 3;
    store.enqueue(std::slice::from_ref(&asked)).await.expect("enqueued");
    for attempt in 1..=3 {
        let worker = dying(&store).await;
        assert_eq!(claim_one(&store, worker).await.fence.attempt, attempt);
        let report = rescue(&store).await;
        assert_eq!((report.requeued, report.dead), if attempt < 3 { (1, 0) } else { (0, 1) });
    }
    assert_eq!(state(&store, asked.id).await, JobState::Dead);
    assert_reconciled(&store).await;
}

async fn a_rescued_job_fences_whoever_ran_it(store: TestStore) {
    let id = testing::sealed(&store, 1, 10).await;
    let zombie = dying(&store).await;
    let old = claim_one(&store, zombie).await;
    rescue(&store).await;
    let worker = enter(&store).await;
    let new = claim_one(&store, worker).await;
    let report = store.complete(&[testing::chunk_done(&old, 10)]).await.expect("asked");
    assert_eq!(report.fenced, [old.fence], "the zombie wakes too late");
    complete(&store, &[testing::chunk_done(&new, 10)]).await;
    assert_eq!(batch(&store, id).await.counts.ok, 10);
}

async fn a_rescue_leaves_living_workers_alone(store: TestStore) {
    store.enqueue(&[testing::job()]).await.expect("enqueued");
    let worker = enter(&store).await;
    let claimed = claim_one(&store, worker).await;
    assert_eq!(store.rescue(100).await.expect("asked"), RescueReport::default());
    assert_eq!(state(&store, claimed.fence.job).await, JobState::Running);
}

async fn a_job_past_its_deadline_is_taken_from_a_living_worker(store: TestStore) {
    let stuck = testing::job();
    store.enqueue(std::slice::from_ref(&stuck)).await.expect("enqueued");
    let worker = enter(&store).await;
    claim_one(&store, worker).await;
    store.pass_deadline(stuck.id).await;
    let report = rescue(&store).await;
    assert_eq!((report.workers_lost, report.requeued, report.dead), (0, 1, 0));
    let seen = job(&store, stuck.id).await;
    // A timeout is the job's own fault: it waits as after any failure.
    assert_eq!((seen.state, seen.attempts[0].ending.as_str()), (JobState::Retry, "timed_out"));
    assert!(store.beat(worker, LONG, 0).await.expect("a beat"), "its worker lives on");
}

async fn a_deadline_leaves_a_lease_for_what_must_be_written_down(store: TestStore) {
    let mut hasty = testing::job();
    hasty.timeout = Duration::from_millis(1);
    store.enqueue(std::slice::from_ref(&hasty)).await.expect("enqueued");
    let worker = enter(&store).await;
    let claimed = claim_one(&store, worker).await;
    // Its time is over, and a beat is still to come that says whether it waits to be written down.
    let over = claimed.started_at + hasty.timeout;
    eventually("the end of its time", || async { (store.now().await.expect("a time") > over).then_some(()) }).await;
    assert_eq!(store.rescue(100).await.expect("asked"), RescueReport::default());
    complete(&store, &[testing::done(&claimed)]).await;
}

async fn what_has_ended_is_held_until_it_is_written_down(store: TestStore) {
    store.enqueue(&testing::jobs(2)).await.expect("enqueued");
    let worker = enter(&store).await;
    let claimed = claim(&store, worker, 2).await;
    for late in &claimed {
        store.pass_deadline(late.fence.job).await;
    }
    assert_eq!(store.hold(LONG, &[claimed[0].fence]).await.expect("held"), 1);
    assert_eq!(store.hold(LONG, &[]).await.expect("nothing to hold"), 0);
    assert_eq!(rescue(&store).await.requeued, 1);
    assert_eq!(state(&store, claimed[1].fence.job).await, JobState::Retry);
    complete(&store, &[testing::done(&claimed[0])]).await;
    assert_reconciled(&store).await;
}

async fn a_hold_needs_the_fence_and_a_living_incarnation(store: TestStore) {
    store.enqueue(&testing::jobs(2)).await.expect("enqueued");
    let (worker, stranger) = (enter(&store).await, testing::worker_id());
    let (own, strange) = (claim(&store, worker, 1).await.remove(0), claim(&store, stranger, 1).await.remove(0));
    for late in [&own, &strange] {
        store.pass_deadline(late.fence.job).await;
    }
    let other = Fence { attempt: own.fence.attempt + 1, ..own.fence };
    let another = Fence { worker: stranger, ..own.fence };
    assert_eq!(store.hold(LONG, &[other, another, strange.fence]).await.expect("asked"), 0);
    assert_eq!(rescue(&store).await.requeued, 2);
    assert_eq!(store.hold(LONG, &[own.fence]).await.expect("asked"), 0, "it was rescued");
}

async fn a_hold_brings_no_deadline_forward(store: TestStore) {
    store.enqueue(&[testing::job()]).await.expect("enqueued");
    let worker = enter(&store).await;
    let claimed = claim_one(&store, worker).await;
    assert_eq!(store.hold(Duration::ZERO, &[claimed.fence]).await.expect("asked"), 0);
    assert_eq!(store.rescue(100).await.expect("asked"), RescueReport::default());
}

async fn a_job_of_a_worker_that_nobody_knows_is_rescued(store: TestStore) {
    store.enqueue(&[testing::job()]).await.expect("enqueued");
    let stranger = claim_one(&store, testing::worker_id()).await;
    let report = store.rescue(100).await.expect("rescued");
    assert_eq!((report.requeued, state(&store, stranger.fence.job).await), (1, JobState::Queued));
}

async fn two_rescues_at_once_take_each_job_once(store: TestStore) {
    store.enqueue(&testing::jobs(40)).await.expect("enqueued");
    let stranger = testing::worker_id();
    assert_eq!(claim(&store, stranger, 40).await.len(), 40);
    let (one, two) = tokio::join!(store.rescue(100), store.rescue(100));
    let (one, two) = (one.expect("rescued"), two.expect("rescued"));
    assert_eq!(one.requeued + two.requeued, 40);
    assert_reconciled(&store).await;
}

async fn a_rescue_takes_no_more_than_its_limit(store: TestStore) {
    store.enqueue(&testing::jobs(5)).await.expect("enqueued");
    claim(&store, testing::worker_id(), 5).await;
    assert_eq!(store.rescue(3).await.expect("rescued").requeued, 3);
    assert_eq!(store.rescue(3).await.expect("rescued").requeued, 2);
}

async fn a_retired_worker_gives_its_attempts_back(store: TestStore) {
    store.enqueue(&testing::jobs(2)).await.expect("enqueued");
    let worker = enter(&store).await;
    let claimed = claim(&store, worker, 2).await;
    complete(&store, &[testing::done(&claimed[0])]).await;
    let given = store.retire_worker(worker).await.expect("retired");
    assert_eq!((given.moved, given.dispatches.len()), (1, 1));
    let seen = job(&store, claimed[1].fence.job).await;
    assert_eq!((seen.state, seen.attempt, seen.attempts[0].ending.as_str()), (JobState::Queued, 0, "interrupted"));
    assert_eq!(store.workers().await.expect("listed")[0].state, "stopped");
    assert!(!store.beat(worker, LONG, 0).await.expect("a beat"), "an incarnation that is over does not come back");
    assert_eq!(store.retire_worker(worker).await.expect("again").moved, 0);
    assert!(store.job(TENANT, claimed[0].fence.job).await.expect("asked").is_some());
    assert_reconciled(&store).await;
}

async fn what_nobody_knows_to_run_is_released_and_the_rest_goes_on(store: TestStore) {
    testing::sealed(&store, 4, 10).await;
    let (worker, other) = (enter(&store).await, enter(&store).await);
    let known = claim(&store, worker, 1).await.remove(0);
    let lost = claim(&store, worker, 2).await;
    let others = claim_one(&store, other).await;
    let released = store.release_unknown(worker, &[known.fence]).await.expect("released");
    assert_eq!((released.moved, released.dispatches.len(), released.dispatches[0].jobs.len()), (2, 1, 2));
    for job in &lost {
        let seen = self::job(&store, job.fence.job).await;
        assert_eq!((seen.state, seen.attempt, seen.worker), (JobState::Queued, 0, None));
        assert_eq!((seen.attempts.len(), seen.attempts[0].ending.as_str()), (1, "interrupted"));
    }
    for job in [&known, &others] {
        let seen = self::job(&store, job.fence.job).await;
        assert_eq!((seen.state, seen.attempt, seen.worker), (JobState::Running, 1, Some(job.fence.worker)));
    }
    assert_reconciled(&store).await;
    let again = store.release_unknown(worker, &[known.fence]).await.expect("again, after an unknown commit result");
    assert_eq!((again.moved, again.dispatches.len()), (0, 0));
    assert!(store.beat(worker, LONG, 1).await.expect("a beat"), "the incarnation lives on");
    let found = claim(&store, worker, 10).await;
    assert_eq!(found.len(), 2, "what was released can be claimed at once");
    let all: Vec<_> = found.iter().chain([&known, &others]).map(|job| testing::chunk_done(job, 10)).collect();
    complete(&store, &all).await;
    assert_reconciled(&store).await;
}

async fn an_attempt_that_is_known_no_more_is_not_the_one_that_runs(store: TestStore) {
    store.enqueue(&[testing::job()]).await.expect("enqueued");
    let worker = enter(&store).await;
    let first = claim_one(&store, worker).await;
    complete(&store, &[testing::retry(&first, Duration::ZERO)]).await;
    assert_eq!(store.promote(10).await.expect("promoted").moved, 1);
    let second = claim_one(&store, worker).await;
    assert_eq!(second.fence.attempt, 2);
    assert_eq!(store.release_unknown(worker, &[first.fence]).await.expect("released").moved, 1);
    let seen = job(&store, second.fence.job).await;
    assert_eq!((seen.state, seen.attempt), (JobState::Queued, 1));
    assert_reconciled(&store).await;
}

async fn a_worker_that_is_not_there_has_no_beat(store: TestStore) {
    assert!(!store.beat(testing::worker_id(), LONG, 0).await.expect("a beat"));
}

/// Claims nothing in either way; and a message that reached it is put back, for another worker.
async fn assert_claims_nothing(store: &TestStore, over: WorkerId) {
    let asked = testing::job();
    store.enqueue(std::slice::from_ref(&asked)).await.expect("enqueued");
    assert_eq!(claim(store, over, 10).await, []);
    let report = store.claim(&testing::claim_as(over, 10), &[asked.id]).await.expect("asked");
    assert_eq!((report.claimed, report.busy, report.stale), (vec![], vec![asked.id], vec![]));
    assert_eq!(state(store, asked.id).await, JobState::Queued);
    let living = enter(store).await;
    assert_eq!(claim_one(store, living).await.fence.job, asked.id);
    assert_reconciled(store).await;
}

async fn a_lost_worker_claims_nothing(store: TestStore) {
    store.enqueue(&[testing::job()]).await.expect("enqueued");
    let worker = dying(&store).await;
    claim_one(&store, worker).await;
    rescue(&store).await;
    let other = enter(&store).await;
    let rescued = claim_one(&store, other).await;
    complete(&store, &[testing::done(&rescued)]).await;
    assert_claims_nothing(&store, worker).await;
}

async fn a_stopped_worker_claims_nothing(store: TestStore) {
    let worker = enter(&store).await;
    store.retire_worker(worker).await.expect("retired");
    assert_claims_nothing(&store, worker).await;
}

async fn the_lease_of_a_leader_is_kept_by_its_holder(store: TestStore) {
    let (one, two) = (testing::worker_id(), testing::worker_id());
    assert_eq!(store.lead("sweeper", one, LONG).await.expect("asked"), Some(1));
    assert_eq!(store.lead("sweeper", two, LONG).await.expect("asked"), None);
    assert_eq!(store.lead("another", two, LONG).await.expect("asked"), Some(1));
    assert_eq!(
        store.lead("sweeper", one, Duration::from_millis(1)).await.expect("asked"),
        Some(1),
        "kept, not taken anew"
    );
    let ask = || async { store.lead("sweeper", two, LONG).await.expect("asked") };
    assert_eq!(eventually("a change of leader", ask).await, 2);
    assert_eq!(store.lead("sweeper", one, LONG).await.expect("asked"), None);
}

async fn a_lost_worker_shows_what_it_said_last(store: TestStore) {
    let worker = enter(&store).await;
    assert!(store.beat(worker, LONG, 3).await.expect("a beat"));
    store.end_lease(worker).await;
    assert_eq!(store.rescue(10).await.expect("rescued").workers_lost, 1);
    let workers = store.workers().await.expect("listed");
    assert_eq!((workers[0].state.as_str(), workers[0].running), ("lost", 3));
}
