//! Unique keys: which job holds them for how long, and what becomes of others.

use std::sync::Arc;
use std::time::Duration;

use gristmill_core::job::{JobState, NewJob, Priority, RunAt};
use gristmill_core::unique::{Hold, OnConflict, Unique};
use gristmill_store::testing::{self, TestStore};
use gristmill_store::{EnqueueOutcome, Enqueued, StoreError};
use serde_json::json;
use tokio::sync::Barrier;

use crate::{TENANT, assert_reconciled, claim, claim_one, complete, enter, job, state};

conformance! {
    a_key_held_while_waiting_is_free_as_soon_as_its_job_has_begun,
    a_key_held_in_listed_states_is_held_by_a_dead_letter_too,
    a_redriven_job_takes_its_key_again_only_where_its_rule_says_so,
    a_holder_that_waits_is_replaced_in_payload_lane_and_time,
    a_holder_that_has_begun_is_not_replaced,
    a_replacement_of_another_kind_is_refused,
    a_conflict_that_is_to_be_refused_refuses_the_whole_group,
    a_refused_job_names_its_holder_and_not_who_took_its_idempotency_key_after_it,
    many_of_one_key_in_one_call_end_in_one_job_with_the_last_payload,
    the_key_of_a_cancelled_job_is_free,
    ; databases only, "rows are changed and counted by SQL":
    a_job_that_has_begun_and_comes_back_leaves_the_key_to_the_one_that_waits,
    a_key_held_for_a_period_outlives_its_job_and_no_more,
    a_debounce_pushes_the_start_and_keeps_the_newest_payload,
    a_debounce_never_waits_longer_than_its_cap,
    many_enqueuers_at_once_make_one_holder,
    many_enqueuers_at_once_replace_one_holder_while_workers_take_it,
    many_enqueuers_at_once_after_a_period_make_one_holder,
}

fn unique(n: i64, hold: Hold, conflict: OnConflict) -> NewJob {
    let unique = Unique::new("the one").hold(hold).on_conflict(conflict);
    NewJob { unique: Some(unique), ..NewJob::new(testing::job_id(), "work", json!({ "n": n })) }
}

async fn put(store: &TestStore, job: &NewJob) -> Enqueued {
    store.enqueue(std::slice::from_ref(job)).await.expect("enqueued").jobs[0]
}

fn outcome(enqueued: Enqueued) -> EnqueueOutcome {
    assert_eq!(enqueued.created, enqueued.outcome == EnqueueOutcome::Created);
    enqueued.outcome
}

async fn a_key_held_while_waiting_is_free_as_soon_as_its_job_has_begun(store: TestStore) {
    let asked = |n| unique(n, Hold::Waiting, OnConflict::Keep);
    let (first, second) = (asked(1), asked(2));
    assert_eq!(outcome(put(&store, &first).await), EnqueueOutcome::Created);
    assert_eq!(put(&store, &second).await, Enqueued::by(first.id, EnqueueOutcome::Existing));
    let worker = enter(&store).await;
    claim_one(&store, worker).await;
    assert_eq!(put(&store, &second).await, Enqueued::created(second.id));
    assert_eq!(put(&store, &asked(3)).await, Enqueued::by(second.id, EnqueueOutcome::Existing));
    assert_reconciled(&store).await;
}

async fn a_job_that_has_begun_and_comes_back_leaves_the_key_to_the_one_that_waits(store: TestStore) {
    let asked = |n| unique(n, Hold::Waiting, OnConflict::Keep);
    let (first, second) = (asked(1), asked(2));
    put(&store, &first).await;
    let worker = enter(&store).await;
    let claimed = claim_one(&store, worker).await;
    put(&store, &second).await;
    // Released at a graceful stop: queued again beside the one that waits, and nothing is lost.
    store.retire_worker(worker).await.expect("retired");
    assert_eq!((state(&store, first.id).await, state(&store, second.id).await), (JobState::Queued, JobState::Queued));
    // Failed, waiting, let run by hand.
    let worker = enter(&store).await;
    let again = claim(&store, worker, 1).await.remove(0);
    assert_eq!(again.fence.job, claimed.fence.job);
    complete(&store, &[testing::retry(&again, Duration::from_secs(600))]).await;
    store.retry_job(TENANT, first.id, false).await.expect("let run");
    // Rescued from a worker whose lease is over.
    let again = claim(&store, worker, 1).await.remove(0);
    assert_eq!(again.fence.job, first.id);
    store.tamper("UPDATE worker SET state = 'lost'").await;
    store.rescue(10).await.expect("rescued");
    assert_eq!((state(&store, first.id).await, state(&store, second.id).await), (JobState::Queued, JobState::Queued));
    assert_eq!(put(&store, &asked(3)).await, Enqueued::by(second.id, EnqueueOutcome::Existing));
    assert_reconciled(&store).await;
}

async fn a_key_held_for_a_period_outlives_its_job_and_no_more(store: TestStore) {
    let asked = |n| unique(n, Hold::Period(Duration::from_secs(3_600)), OnConflict::Keep);
    let (first, second) = (asked(1), asked(2));
    put(&store, &first).await;
    let worker = enter(&store).await;
    let claimed = claim_one(&store, worker).await;
    complete(&store, &[testing::done(&claimed)]).await;
    assert_eq!(put(&store, &second).await, Enqueued::by(first.id, EnqueueOutcome::Existing));
    // The hour is over.
    store.tamper("UPDATE job SET unique_until = created_at").await;
    assert_eq!(put(&store, &second).await, Enqueued::created(second.id));
    assert_eq!(put(&store, &asked(3)).await, Enqueued::by(second.id, EnqueueOutcome::Existing));
}

async fn a_key_held_in_listed_states_is_held_by_a_dead_letter_too(store: TestStore) {
    let hold: Hold = "scheduled,queued,running,retry,dead".parse().expect("no gap");
    let asked = |n| unique(n, hold.clone(), OnConflict::Keep);
    let (first, second) = (asked(1), asked(2));
    put(&store, &first).await;
    let worker = enter(&store).await;
    let claimed = claim_one(&store, worker).await;
    complete(&store, &[testing::dead(&claimed)]).await;
    assert_eq!(put(&store, &second).await, Enqueued::by(first.id, EnqueueOutcome::Existing));
    store.redrive_dead(TENANT, &[first.id], false).await.expect("redriven");
    let again = claim_one(&store, worker).await;
    complete(&store, &[testing::done(&again)]).await;
    assert_eq!(put(&store, &second).await, Enqueued::created(second.id));
}

async fn a_redriven_job_takes_its_key_again_only_where_its_rule_says_so(store: TestStore) {
    let worker = enter(&store).await;
    for (hold, free) in [(Hold::Waiting, true), (Hold::Unfinished, false)] {
        let key = format!("{hold:?}");
        let asked = || {
            let unique = Unique::new(key.clone()).hold(hold.clone());
            NewJob { unique: Some(unique), ..testing::job() }
        };
        let (first, second) = (asked(), asked());
        put(&store, &first).await;
        let claimed = claim_one(&store, worker).await;
        complete(&store, &[testing::dead(&claimed)]).await;
        assert_eq!(put(&store, &second).await, Enqueued::created(second.id));
        let redriven = store.redrive_dead(TENANT, &[first.id], false).await;
        match (free, redriven) {
            (true, Ok(control_report)) => assert_eq!(control_report.affected, 1),
            (false, Err(StoreError::Conflict(text))) => assert!(text.contains(&second.id.to_string()), "{text}"),
            (_, other) => panic!("{hold:?}: {other:?}"),
        }
        store.cancel_job(TENANT, second.id, "enough", false).await.expect("cancelled");
        drop(store.cancel_job(TENANT, first.id, "enough", false).await);
    }
    assert_reconciled(&store).await;
}

async fn a_holder_that_waits_is_replaced_in_payload_lane_and_time(store: TestStore) {
    let asked = |n| unique(n, Hold::Unfinished, OnConflict::Replace);
    let first = NewJob { run: RunAt::In(Duration::from_secs(600)), ..asked(1) };
    put(&store, &first).await;
    assert_eq!(state(&store, first.id).await, JobState::Scheduled);
    // At once, and urgent: its id is dispatched.
    let urgent = NewJob { priority: Priority::High, max_attempts: 9, ..asked(2) };
    let report = store.enqueue(std::slice::from_ref(&urgent)).await.expect("enqueued");
    assert_eq!(report.jobs, [Enqueued::by(first.id, EnqueueOutcome::Replaced)]);
    let [dispatch] = &report.dispatched.dispatches[..] else { panic!("one outbox row") };
    assert_eq!((dispatch.priority, &dispatch.jobs[..]), (Priority::High, &[first.id][..]));
    let seen = job(&store, first.id).await;
    assert_eq!((seen.state, seen.priority, seen.max_attempts), (JobState::Queued, Priority::High, 9));
    assert_eq!(seen.payload, json!({ "n": 2 }));
    // Later again: nothing is dispatched, and the message under way finds nothing.
    let later = NewJob { run: RunAt::In(Duration::from_secs(600)), ..asked(3) };
    let report = store.enqueue(std::slice::from_ref(&later)).await.expect("enqueued");
    assert_eq!((report.jobs[0].outcome, report.dispatched.dispatches.len()), (EnqueueOutcome::Replaced, 0));
    assert_eq!(state(&store, first.id).await, JobState::Scheduled);
    let worker = enter(&store).await;
    let claimed = store.claim(&testing::claim_as(worker, 5), &[first.id]).await.expect("asked");
    assert_eq!((claimed.claimed.len(), &claimed.stale[..]), (0, &[first.id][..]));
    assert_reconciled(&store).await;
}

async fn a_holder_that_has_begun_is_not_replaced(store: TestStore) {
    let asked = |n| unique(n, Hold::Unfinished, OnConflict::Replace);
    let first = asked(1);
    put(&store, &first).await;
    let worker = enter(&store).await;
    let claimed = claim_one(&store, worker).await;
    assert_eq!(put(&store, &asked(2)).await, Enqueued::by(first.id, EnqueueOutcome::Existing));
    // Given back unspent, it waits again, but has begun once.
    store.retire_worker(worker).await.expect("retired");
    assert_eq!(put(&store, &asked(3)).await, Enqueued::by(first.id, EnqueueOutcome::Existing));
    assert_eq!(job(&store, first.id).await.payload, claimed.payload);
}

async fn a_replacement_of_another_kind_is_refused(store: TestStore) {
    put(&store, &unique(1, Hold::Unfinished, OnConflict::Keep)).await;
    let other = NewJob { kind: "email".to_owned(), ..unique(2, Hold::Unfinished, OnConflict::Replace) };
    let error = store.enqueue(&[other]).await.expect_err("refused");
    assert!(matches!(&error, StoreError::Conflict(text) if text.contains("`work`")), "{error}");
    assert_reconciled(&store).await;
}

async fn a_debounce_pushes_the_start_and_keeps_the_newest_payload(store: TestStore) {
    let asked = |n| unique(n, Hold::Waiting, OnConflict::debounce(Duration::from_secs(600)));
    let first = asked(1);
    assert_eq!(put(&store, &first).await, Enqueued::created(first.id));
    let before = job(&store, first.id).await;
    assert_eq!(before.state, JobState::Scheduled, "the first one waits for others too");
    store.tamper("UPDATE job SET run_at = created_at").await;
    assert_eq!(put(&store, &asked(2)).await, Enqueued::by(first.id, EnqueueOutcome::Debounced));
    let after = job(&store, first.id).await;
    assert_eq!((after.state, after.payload), (JobState::Scheduled, json!({ "n": 2 })));
    assert!(after.run_at >= before.run_at, "{:?} is before {:?}", after.run_at, before.run_at);
    // A job that was due already waits anew.
    store.retry_job(TENANT, first.id, false).await.expect("let run");
    assert_eq!(put(&store, &asked(3)).await, Enqueued::by(first.id, EnqueueOutcome::Debounced));
    assert_eq!(state(&store, first.id).await, JobState::Scheduled);
    // Once it has begun, the next one is a job of its own.
    store.retry_job(TENANT, first.id, false).await.expect("let run");
    let worker = enter(&store).await;
    assert_eq!(claim_one(&store, worker).await.payload, json!({ "n": 3 }));
    let next = asked(4);
    assert_eq!(put(&store, &next).await, Enqueued::created(next.id));
    assert_reconciled(&store).await;
}

async fn a_debounce_never_waits_longer_than_its_cap(store: TestStore) {
    let (wait, cap) = (Duration::from_secs(600), Duration::from_secs(900));
    let asked = |n| unique(n, Hold::Waiting, OnConflict::Debounce { wait, cap });
    let first = asked(1);
    put(&store, &first).await;
    put(&store, &asked(2)).await;
    let pushed = job(&store, first.id).await;
    let waits = pushed.run_at.expect("a time") - pushed.created_at;
    assert!(waits.to_std().expect("later") < cap, "{waits}");
    // The first one was created long ago: it starts at its cap, which has passed.
    let long_ago = match store.embedded() {
        true => "UPDATE job SET created_at = created_at - 1000 * 1000000",
        false => "UPDATE job SET created_at = created_at - interval '1000 seconds'",
    };
    store.tamper(long_ago).await;
    assert_eq!(put(&store, &asked(3)).await, Enqueued::by(first.id, EnqueueOutcome::Debounced));
    let seen = job(&store, first.id).await;
    assert_eq!((seen.state, seen.payload), (JobState::Queued, json!({ "n": 3 })));
    assert_reconciled(&store).await;
}

async fn a_conflict_that_is_to_be_refused_refuses_the_whole_group(store: TestStore) {
    let first = unique(1, Hold::Unfinished, OnConflict::Refuse);
    put(&store, &first).await;
    // The same call again is no conflict.
    assert_eq!(put(&store, &first).await, Enqueued::by(first.id, EnqueueOutcome::Existing));
    let other = testing::job();
    let group = [other.clone(), unique(2, Hold::Unfinished, OnConflict::Refuse)];
    let error = store.enqueue(&group).await.expect_err("refused");
    assert!(matches!(&error, StoreError::Conflict(text) if text.contains(&first.id.to_string())), "{error}");
    assert!(store.job(TENANT, other.id).await.expect("asked").is_none());
    assert_reconciled(&store).await;
}

async fn a_refused_job_names_its_holder_and_not_who_took_its_idempotency_key_after_it(store: TestStore) {
    for conflict in [OnConflict::Keep, OnConflict::Replace] {
        let mut holder = unique(1, Hold::default(), conflict);
        let mut refused = unique(2, Hold::default(), conflict);
        for job in [&mut holder, &mut refused] {
            job.unique.as_mut().expect("there").key = format!("{conflict:?}");
        }
        put(&store, &holder).await;
        let key = Some(format!("the same for {conflict:?}"));
        refused.idempotency_key.clone_from(&key);
        let after = NewJob { idempotency_key: key, ..testing::job() };
        let group = [refused.clone(), after.clone()];
        let report = store.enqueue(&group).await.expect("enqueued");
        let outcome = if conflict == OnConflict::Keep { EnqueueOutcome::Existing } else { EnqueueOutcome::Replaced };
        assert_eq!(report.jobs, [Enqueued::by(holder.id, outcome), Enqueued::created(after.id)], "{conflict:?}");
        let kept = if conflict == OnConflict::Keep { 1 } else { 2 };
        assert_eq!(job(&store, holder.id).await.payload, json!({ "n": kept }));
        // Requested again, it finds the key taken, and it is the key that lasts for ever.
        let report = store.enqueue(&[refused]).await.expect("enqueued");
        assert_eq!(report.jobs, [Enqueued::by(after.id, EnqueueOutcome::Existing)], "{conflict:?}");
    }
    assert_reconciled(&store).await;
}

async fn many_of_one_key_in_one_call_end_in_one_job_with_the_last_payload(store: TestStore) {
    let group: Vec<NewJob> = (0..50).map(|n| unique(n, Hold::Unfinished, OnConflict::Replace)).collect();
    let report = store.enqueue(&group).await.expect("enqueued");
    assert!(report.jobs.iter().all(|enqueued| enqueued.id == group[0].id));
    assert_eq!(report.jobs.iter().filter(|enqueued| enqueued.created).count(), 1);
    assert_eq!(job(&store, group[0].id).await.payload, json!({ "n": 49 }));
    assert_reconciled(&store).await;
}

/// That many at once, each in a task of its own; returns how many reported that theirs was created.
async fn at_once(store: &Arc<TestStore>, enqueuers: i64, ask: fn(i64) -> NewJob) -> usize {
    let barrier = Arc::new(Barrier::new(usize::try_from(enqueuers).expect("a few")));
    let tasks: Vec<_> = (0..enqueuers)
        .map(|n| {
            let (store, barrier) = (Arc::clone(store), Arc::clone(&barrier));
            tokio::spawn(async move {
                barrier.wait().await;
                let mut created = 0;
                for _ in 0..5 {
                    created += usize::from(put(&store, &ask(n)).await.created);
                }
                created
            })
        })
        .collect();
    let mut created = 0;
    for task in tasks {
        created += task.await.expect("it ended");
    }
    created
}

async fn many_enqueuers_at_once_make_one_holder(store: TestStore) {
    let store = Arc::new(store);
    let created = at_once(&store, 12, |n| unique(n, Hold::Unfinished, OnConflict::Keep)).await;
    assert_eq!((created, store.count("SELECT count(*) FROM job").await), (1, 1));
    assert_reconciled(&store).await;
}

async fn many_enqueuers_at_once_replace_one_holder_while_workers_take_it(store: TestStore) {
    let store = Arc::new(store);
    let worker = enter(&store).await;
    let taker = Arc::clone(&store);
    let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
    let taking = tokio::spawn(async move {
        let mut taken = 0;
        while stopped.try_recv().is_err() {
            let claimed = taker.claim_next(&testing::claim_as(worker, 3)).await.expect("claimed");
            let done: Vec<_> = claimed.iter().map(testing::done).collect();
            taken += taker.complete(&done).await.expect("completed").settled;
            tokio::task::yield_now().await;
        }
        taken
    });
    let created = at_once(&store, 8, |n| unique(n, Hold::Waiting, OnConflict::Replace)).await;
    stop.send(()).expect("it listens");
    let mut taken = taking.await.expect("it ended");
    loop {
        let claimed = store.claim_next(&testing::claim_as(worker, 3)).await.expect("claimed");
        assert!(claimed.len() <= 1, "two held the key at once");
        if claimed.is_empty() {
            break;
        }
        taken += store.complete(&claimed.iter().map(testing::done).collect::<Vec<_>>()).await.expect("done").settled;
    }
    // Every job that was created has run, and there is no other.
    assert_eq!(u64::try_from(created).expect("a few"), taken);
    assert_eq!(store.count("SELECT count(*) FROM job").await, i64::try_from(taken).expect("a few"));
    assert_reconciled(&store).await;
}

async fn many_enqueuers_at_once_after_a_period_make_one_holder(store: TestStore) {
    let ask = |n| unique(n, Hold::Period(Duration::from_secs(3_600)), OnConflict::Keep);
    put(&store, &ask(0)).await;
    store.tamper("UPDATE job SET unique_until = created_at").await;
    let store = Arc::new(store);
    let created = at_once(&store, 12, ask).await;
    assert_eq!((created, store.count("SELECT count(*) FROM job").await), (1, 2));
    assert_eq!(store.count("SELECT count(*) FROM job WHERE unique_held IS NOT NULL").await, 1);
}

async fn the_key_of_a_cancelled_job_is_free(store: TestStore) {
    let hold: Hold = "scheduled,queued,running,retry,done,dead".parse().expect("no gap");
    let (first, second) = (unique(1, hold.clone(), OnConflict::Keep), unique(2, hold, OnConflict::Keep));
    put(&store, &first).await;
    store.cancel_job(TENANT, first.id, "not needed", false).await.expect("cancelled");
    assert_eq!(put(&store, &second).await, Enqueued::created(second.id));
}
