//! Snoozes, and attempts that are taken away from their workers.

use std::time::Duration;

use gristmill_core::duration::Span;
use gristmill_core::id::JobId;
use gristmill_core::job::{ClaimedJob, JobState};
use gristmill_core::retry::RetryPolicy;
use gristmill_core::settle::{Ending, Verdict};
use gristmill_store::testing::{self, TestStore};
use gristmill_store::{Completion, StoreError};

use crate::{LONG, TENANT, assert_reconciled, batch, claim, claim_one, complete, counts, enter, job, state};

conformance! {
    a_snooze_spends_no_attempt_and_uses_no_fence_twice,
    a_snoozed_chunk_is_no_retry_of_its_batch,
    the_ceiling_of_snoozes_is_kept_with_the_job,
    a_deadline_after_snoozes_is_judged_by_the_attempts_that_were_spent,
    a_completion_that_is_gone_changes_nothing,
    only_attempts_that_are_taken_away_are_gone,
    a_cancelled_attempt_is_closed_with_its_job,
    cancelling_a_batch_closes_the_attempts_that_run,
    who_waits_hears_of_a_cancel_and_misses_none,
    many_jobs_are_cancelled_at_once_and_those_that_have_ended_are_passed_over,
    cancelling_many_jobs_on_trial_changes_nothing,
    too_many_jobs_at_once_are_refused,
}

/// A completion that snoozes the job.
fn snoozed(job: &ClaimedJob, wait: Duration) -> Completion {
    let error = Some("not before the doors open".to_owned());
    Completion { error, ..Completion::new(job.fence, Ending::Snoozed { wait }, Verdict::Snooze { after: wait }) }
}

async fn a_snooze_spends_no_attempt_and_uses_no_fence_twice(store: TestStore) {
    let mut once = testing::job();
    once.max_attempts = 1;
    store.enqueue(std::slice::from_ref(&once)).await.expect("enqueued");
    let worker = enter(&store).await;
    for snoozes in 0..3 {
        let claimed = claim_one(&store, worker).await;
        assert_eq!((claimed.fence.attempt, claimed.max_attempts, claimed.snoozes), (snoozes + 1, snoozes + 1, snoozes));
        let report = complete(&store, &[snoozed(&claimed, Duration::ZERO)]).await;
        assert!(report.dispatched.dispatches.is_empty(), "it waits for its time");
        let again = store.complete(&[snoozed(&claimed, Duration::ZERO)]).await.expect("asked");
        assert_eq!((again.settled, again.fenced), (0, vec![claimed.fence]), "after an unknown commit result");
        let seen = job(&store, once.id).await;
        assert_eq!((seen.state, seen.attempt, seen.max_attempts), (JobState::Retry, snoozes + 1, snoozes + 2));
        assert!(seen.run_at.is_some());
        assert_eq!(store.promote(10).await.expect("promoted").moved, 1);
    }
    let claimed = claim_one(&store, worker).await;
    complete(&store, &[testing::dead(&claimed)]).await;
    let seen = job(&store, once.id).await;
    assert_eq!((seen.state, seen.attempt, seen.max_attempts, seen.snoozes), (JobState::Dead, 4, 4, 3));
    let history: Vec<_> = seen.attempts.iter().map(|attempt| (attempt.attempt, attempt.ending.as_str())).collect();
    assert_eq!(history, [(1, "snoozed"), (2, "snoozed"), (3, "snoozed"), (4, "permanent")]);
    assert_reconciled(&store).await;
}

async fn a_snoozed_chunk_is_no_retry_of_its_batch(store: TestStore) {
    let id = testing::sealed(&store, 1, 10).await;
    let worker = enter(&store).await;
    let claimed = claim_one(&store, worker).await;
    complete(&store, &[snoozed(&claimed, Duration::from_secs(600))]).await;
    let seen = batch(&store, id).await;
    assert_eq!((seen.retries, seen.remaining, counts(&seen.counts)), (0, 1, [10, 0, 0, 0, 0]));
    assert_reconciled(&store).await;
}

async fn the_ceiling_of_snoozes_is_kept_with_the_job(store: TestStore) {
    let mut patient = testing::job();
    patient.max_snoozes = 7;
    store.enqueue(&[patient]).await.expect("enqueued");
    testing::sealed(&store, 1, 10).await;
    let worker = enter(&store).await;
    let mut most: Vec<u32> = claim(&store, worker, 10).await.iter().map(|claimed| claimed.max_snoozes).collect();
    most.sort_unstable();
    assert_eq!(most, [7, 100]);
}

async fn a_deadline_after_snoozes_is_judged_by_the_attempts_that_were_spent(store: TestStore) {
    let mut hasty = testing::job();
    hasty.max_attempts = 2;
    hasty.retry = RetryPolicy::Fixed(Span(Duration::ZERO));
    store.enqueue(std::slice::from_ref(&hasty)).await.expect("enqueued");
    let worker = enter(&store).await;
    let claimed = claim_one(&store, worker).await;
    complete(&store, &[snoozed(&claimed, Duration::ZERO)]).await;
    for (spent, dead) in [(1, 0), (2, 1)] {
        store.promote(10).await.expect("promoted");
        let late = claim_one(&store, worker).await;
        store.pass_deadline(late.fence.job).await;
        let rescued = testing::eventually("a rescue", || async {
            let report = store.rescue(10).await.expect("asked");
            (report.requeued + report.dead > 0).then_some(report)
        });
        assert_eq!(rescued.await.dead, dead, "after {spent} of 2 attempts");
    }
    assert_eq!(state(&store, hasty.id).await, JobState::Dead);
}

async fn a_completion_that_is_gone_changes_nothing(store: TestStore) {
    store.enqueue(&[testing::job()]).await.expect("enqueued");
    let worker = enter(&store).await;
    let claimed = claim_one(&store, worker).await;
    let gone = Completion::new(claimed.fence, Ending::LeaseLost, Verdict::Revoked);
    let report = store.complete(&[gone]).await.expect("asked");
    assert_eq!((report.settled, report.fenced), (0, vec![claimed.fence]));
    let seen = job(&store, claimed.fence.job).await;
    assert_eq!((seen.state, seen.attempts.len()), (JobState::Running, 0));
}

async fn only_attempts_that_are_taken_away_are_gone(store: TestStore) {
    store.enqueue(&testing::jobs(4)).await.expect("enqueued");
    let worker = enter(&store).await;
    let claimed = claim(&store, worker, 10).await;
    let held: Vec<_> = claimed.iter().map(|job| job.fence).collect();
    assert_eq!(store.revoked(&held).await.expect("asked"), []);
    assert_eq!(store.revoked(&[]).await.expect("asked"), []);
    store.cancel_job(TENANT, held[0].job, "no", false).await.expect("cancelled");
    complete(&store, &[testing::retry(&claimed[1], Duration::ZERO)]).await;
    store.promote(10).await.expect("promoted");
    let again = claim_one(&store, worker).await.fence;
    assert_eq!(again.job, held[1].job);
    complete(&store, &[testing::done(&claimed[3])]).await;
    let mut gone = store.revoked(&[held[0], held[1], held[2], held[3], again]).await.expect("asked");
    gone.sort_unstable();
    assert_eq!(gone, [held[0], held[1]], "neither another attempt nor what its holder has done");
    let stranger = gristmill_core::job::Fence { worker: testing::worker_id(), ..held[2] };
    assert_eq!(store.revoked(&[stranger]).await.expect("asked"), [stranger]);
}

async fn a_cancelled_attempt_is_closed_with_its_job(store: TestStore) {
    store.enqueue(&testing::jobs(2)).await.expect("enqueued");
    let worker = enter(&store).await;
    let claimed = claim(&store, worker, 1).await;
    let id = claimed[0].fence.job;
    assert_eq!(store.cancel_job(TENANT, id, "wrong customer", true).await.expect("asked").affected, 1);
    assert!(job(&store, id).await.attempts.is_empty(), "a trial closes nothing");
    store.cancel_job(TENANT, id, "wrong customer", false).await.expect("cancelled");
    store.cancel_job(TENANT, id, "again", false).await.expect("a no-op");
    let seen = job(&store, id).await;
    assert_eq!((seen.state, seen.attempt, seen.worker), (JobState::Cancelled, 1, None));
    let [attempt] = &seen.attempts[..] else { panic!("one attempt: {:?}", seen.attempts) };
    assert_eq!((attempt.attempt, attempt.worker, attempt.ending.as_str()), (1, Some(worker), "cancelled"));
    assert_eq!((attempt.error.as_deref(), attempt.started_at), (Some("wrong customer"), seen.started_at));
    // A job that waited has no attempt to close.
    let waited = store.jobs(&crate::filter(JobState::Queued), &gristmill_store::Page::default()).await.expect("listed");
    store.cancel_job(TENANT, waited[0].id, "no", false).await.expect("cancelled");
    assert!(job(&store, waited[0].id).await.attempts.is_empty());
    assert_reconciled(&store).await;
}

async fn cancelling_a_batch_closes_the_attempts_that_run(store: TestStore) {
    let id = testing::sealed(&store, 3, 10).await;
    let worker = enter(&store).await;
    let claimed = claim(&store, worker, 2).await;
    store.cancel_batch(TENANT, id, "wrong file", false).await.expect("cancelled");
    for running in &claimed {
        let seen = job(&store, running.fence.job).await;
        assert_eq!((seen.attempts.len(), seen.attempts[0].ending.as_str()), (1, "cancelled"));
    }
    let held: Vec<_> = claimed.iter().map(|job| job.fence).collect();
    assert_eq!(store.revoked(&held).await.expect("asked").len(), 2);
    assert_reconciled(&store).await;
}

async fn who_waits_hears_of_a_cancel_and_misses_none(store: TestStore) {
    store.enqueue(&testing::jobs(3)).await.expect("enqueued");
    let worker = enter(&store).await;
    let claimed = claim(&store, worker, 3).await;
    let seen = store.wait_for_revocation(0, LONG).await;
    // No worker waits while this happens, but it is noticed all the same.
    store.cancel_job(TENANT, claimed[0].fence.job, "no", false).await.expect("cancelled");
    let seen = heard(&store, seen, claimed[0].fence.job).await;
    // By another process.
    let other = store.second().await;
    other.cancel_jobs(TENANT, &[claimed[1].fence.job], "no", false).await.expect("cancelled");
    let seen = heard(&store, seen, claimed[1].fence.job).await;
    let waiting = heard(&store, seen, claimed[2].fence.job);
    let cancelling = other.cancel_job(TENANT, claimed[2].fence.job, "no", false);
    let (_, cancelled) = tokio::join!(waiting, cancelling);
    cancelled.expect("cancelled");
}

/// Waits, as a worker does, until the job is cancelled. A hint may be about something else.
async fn heard(store: &TestStore, mut seen: u64, job: JobId) -> u64 {
    let hearing = async {
        loop {
            let now = store.wait_for_revocation(seen, LONG).await;
            assert_ne!(now, seen, "with so long a wait only a hint ends it");
            seen = now;
            if state(store, job).await == JobState::Cancelled {
                return seen;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(120), hearing).await.expect("the hint comes")
}

async fn many_jobs_are_cancelled_at_once_and_those_that_have_ended_are_passed_over(store: TestStore) {
    let id = testing::sealed(&store, 2, 10).await;
    testing::sealed(&store, 0, 0).await;
    store.enqueue(&testing::jobs(3)).await.expect("enqueued");
    let page = gristmill_store::Page { after: None, limit: 100 };
    let everything = gristmill_store::JobFilter { tenant: TENANT.to_owned(), ..Default::default() };
    let ids: Vec<JobId> = store.jobs(&everything, &page).await.expect("listed").iter().map(|job| job.id).collect();
    assert_eq!(ids.len(), 6);
    let worker = enter(&store).await;
    let claimed = claim(&store, worker, 10).await;
    let of_kind = |kind: &str| claimed.iter().filter(|job| job.kind == kind).cloned().collect::<Vec<_>>();
    complete(&store, &[testing::done(&of_kind("work")[0])]).await;
    assert_eq!(store.cancel_jobs("other", &ids, "no", false).await.expect("asked").affected, 0);
    let control_report = store.cancel_jobs(TENANT, &ids, "all wrong \u{0}", false).await.expect("cancelled");
    assert_eq!(
        (control_report.affected, control_report.samples.len()),
        (4, 4),
        "neither what is done nor the aggregate"
    );
    assert_eq!(store.cancel_jobs(TENANT, &ids, "again", false).await.expect("a no-op").affected, 0);
    assert_eq!(state(&store, of_kind("aggregate")[0].fence.job).await, JobState::Running);
    let seen = batch(&store, id).await;
    assert_eq!((seen.remaining, counts(&seen.counts)), (0, [20, 0, 0, 0, 20]), "its aggregate is on the way");
    let cancelled = job(&store, of_kind("chunk")[0].fence.job).await;
    assert_eq!(cancelled.error.as_deref(), Some("all wrong \u{FFFD}"));
    assert_eq!(cancelled.attempts[0].ending, "cancelled");
    assert_reconciled(&store).await;
}

async fn cancelling_many_jobs_on_trial_changes_nothing(store: TestStore) {
    let jobs = testing::jobs(7);
    store.enqueue(&jobs).await.expect("enqueued");
    let ids: Vec<JobId> = jobs.iter().map(|job| job.id).collect();
    let control_report = store.cancel_jobs(TENANT, &ids, "no", true).await.expect("asked");
    assert_eq!((control_report.affected, control_report.samples.len()), (7, 5));
    assert_eq!(state(&store, ids[0]).await, JobState::Queued);
    assert_reconciled(&store).await;
}

async fn too_many_jobs_at_once_are_refused(store: TestStore) {
    let ids: Vec<JobId> = (0..=gristmill_store::GROUP_JOBS_MAX).map(|_| testing::job_id()).collect();
    let error = store.cancel_jobs(TENANT, &ids, "no", false).await.expect_err("refused");
    assert!(matches!(error, StoreError::Invalid(_)), "{error}");
}
