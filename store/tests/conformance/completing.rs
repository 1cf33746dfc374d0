//! Complete: attempts end, and only the one that counts is recorded.

use std::time::Duration;

use gristmill_core::chunk::{ChunkResult, SetAside};
use gristmill_core::job::{JobState, NewJob};
use gristmill_core::settle::{Ending, Verdict};
use gristmill_store::testing::{self, TestStore};
use gristmill_store::{Completion, Page, Purpose, QuarantineFilter, SqlRows, StoreError};
use serde_json::json;

use crate::{TENANT, assert_reconciled, batch, claim, claim_one, complete, counts, enter, job, state};

conformance! {
    a_job_that_is_done_keeps_its_output_and_no_attempt,
    a_failed_attempt_waits_for_its_time_and_is_remembered,
    the_last_failure_makes_a_dead_letter_and_a_copy_for_the_broker,
    a_release_gives_the_attempt_back,
    a_requeue_keeps_the_attempt_spent,
    a_job_whose_last_attempt_is_spent_cannot_be_tried_again,
    the_same_completion_again_is_a_no_op,
    the_same_fence_twice_in_one_group_counts_once,
    an_ending_that_came_too_late_does_not_take_the_next_one_with_it,
    a_stale_attempt_is_fenced,
    another_worker_is_fenced,
    a_cancelled_job_is_fenced,
    a_completion_after_release_is_fenced,
    one_lost_fence_does_not_stop_the_others,
    what_follows_is_enqueued_only_if_the_fence_holds,
    what_follows_has_its_keys_respected,
    of_two_that_follow_with_one_key_the_first_of_the_group_is_made,
    a_result_and_its_quarantine_are_written_with_the_completion,
    a_chunk_that_does_not_count_each_item_once_is_refused,
    a_fenced_chunk_leaves_no_result,
    retries_of_chunks_are_counted,
    texts_with_nul_are_kept_without_it_and_long_ones_are_cut,
    rows_for_a_table_must_come_alone,
    rows_for_our_own_tables_are_refused,
    a_group_of_many_endings_is_one_transaction,
    a_group_over_the_limit_is_refused;
    databases only, "the table is made by SQL":
    rows_for_a_table_commit_with_the_completion,
    rows_for_a_table_vanish_with_a_lost_fence,
    refused_rows_leave_the_job_running,
    the_rows_that_a_table_refuses_are_found_and_nothing_is_written,
}

async fn a_job_that_is_done_keeps_its_output_and_no_attempt(store: TestStore) {
    store.enqueue(&[testing::job()]).await.expect("enqueued");
    let worker = enter(&store).await;
    let claimed = claim_one(&store, worker).await;
    let output = Some(json!({ "sum": "1.50", "nul": "\u{0}" }));
    complete(&store, &[Completion { output: output.clone(), ..testing::done(&claimed) }]).await;
    let seen = job(&store, claimed.fence.job).await;
    assert_eq!(
        (seen.state, seen.attempt, seen.worker, seen.output, seen.error),
        (JobState::Done, 1, None, output, None)
    );
    assert!(seen.finished_at.is_some() && seen.attempts.is_empty());
    assert_reconciled(&store).await;
}

async fn a_failed_attempt_waits_for_its_time_and_is_remembered(store: TestStore) {
    store.enqueue(&[testing::job()]).await.expect("enqueued");
    let worker = enter(&store).await;
    let claimed = claim_one(&store, worker).await;
    let before = store.now().await.expect("a clock");
    let report = complete(&store, &[testing::retry(&claimed, Duration::from_secs(30))]).await;
    assert!(report.dispatched.dispatches.is_empty(), "nothing may run yet");
    let seen = job(&store, claimed.fence.job).await;
    assert_eq!((seen.state, seen.attempt, seen.error.as_deref()), (JobState::Retry, 1, Some("not this time")));
    assert!(seen.run_at.expect("a time") >= before + Duration::from_secs(30));
    let [attempt] = &seen.attempts[..] else { panic!("one attempt: {:?}", seen.attempts) };
    assert_eq!((attempt.attempt, attempt.worker, attempt.ending.as_str()), (1, Some(worker), "failed"));
    assert_eq!(attempt.error.as_deref(), Some("not this time"));
    assert!(attempt.started_at.expect("it began") <= attempt.ended_at);
    assert_reconciled(&store).await;
}

async fn the_last_failure_makes_a_dead_letter_and_a_copy_for_the_broker(store: TestStore) {
    store.enqueue(&[testing::job()]).await.expect("enqueued");
    let worker = enter(&store).await;
    let claimed = claim_one(&store, worker).await;
    let report = complete(&store, &[testing::dead(&claimed)]).await;
    let [copy] = &report.dispatched.dispatches[..] else { panic!("one outbox row") };
    assert_eq!((copy.purpose, &copy.jobs[..]), (Purpose::DeadLetter, &[claimed.fence.job][..]));
    let seen = job(&store, claimed.fence.job).await;
    assert_eq!((seen.state, seen.attempts[0].ending.as_str()), (JobState::Dead, "permanent"));
    assert_reconciled(&store).await;
}

async fn a_release_gives_the_attempt_back(store: TestStore) {
    store.enqueue(&[testing::job()]).await.expect("enqueued");
    let (one, two) = (enter(&store).await, enter(&store).await);
    let claimed = claim_one(&store, one).await;
    let release = Completion::new(claimed.fence, Ending::Interrupted, Verdict::Release);
    let report = complete(&store, &[release]).await;
    assert_eq!(report.dispatched.dispatches[0].jobs, [claimed.fence.job], "it is put on the road again");
    assert_eq!(
        (job(&store, claimed.fence.job).await.attempt, state(&store, claimed.fence.job).await),
        (0, JobState::Queued)
    );
    let again = claim_one(&store, two).await;
    assert_eq!((again.fence.job, again.fence.attempt), (claimed.fence.job, 1));
    complete(&store, &[Completion::new(again.fence, Ending::Interrupted, Verdict::Release)]).await;
    assert_eq!(job(&store, claimed.fence.job).await.attempts.len(), 2, "both interruptions are remembered");
}

async fn a_requeue_keeps_the_attempt_spent(store: TestStore) {
    store.enqueue(&[testing::job()]).await.expect("enqueued");
    let worker = enter(&store).await;
    let claimed = claim_one(&store, worker).await;
    let report = complete(&store, &[Completion::new(claimed.fence, Ending::WorkerLost, Verdict::Requeue)]).await;
    assert_eq!(report.dispatched.dispatches.len(), 1);
    assert_eq!(claim_one(&store, worker).await.fence.attempt, 2);
}

async fn a_job_whose_last_attempt_is_spent_cannot_be_tried_again(store: TestStore) {
    let (mut last, innocent) = (testing::job(), testing::job());
    last.max_attempts = 1;
    store.enqueue(&[last, innocent]).await.expect("enqueued");
    let worker = enter(&store).await;
    let claimed = claim(&store, worker, 2).await;
    let requeued = Completion::new(claimed[0].fence, Ending::WorkerLost, Verdict::Requeue);
    for again in [testing::retry(&claimed[0], Duration::from_secs(1)), requeued] {
        let group = [again, testing::done(&claimed[1])];
        let error = store.complete(&group).await.expect_err("refused");
        assert!(matches!(&error, StoreError::Invalid(text) if text.contains("last attempt")), "{error}");
        for one in &claimed {
            assert_eq!(state(&store, one.fence.job).await, JobState::Running, "nothing of the group has happened");
        }
    }
    // A stop and a snooze spend nothing, and may follow the last attempt too.
    complete(&store, &[Completion::new(claimed[0].fence, Ending::Interrupted, Verdict::Release)]).await;
    let again = claim_one(&store, worker).await;
    complete(&store, &[testing::dead(&again), testing::done(&claimed[1])]).await;
    assert_reconciled(&store).await;
}

async fn the_same_completion_again_is_a_no_op(store: TestStore) {
    let id = testing::sealed(&store, 2, 10).await;
    let worker = enter(&store).await;
    let claimed = claim(&store, worker, 10).await;
    let completion = testing::chunk_done(&claimed[0], 10);
    complete(&store, std::slice::from_ref(&completion)).await;
    // As after a commit whose answer was lost on the way.
    let again = store.complete(std::slice::from_ref(&completion)).await.expect("asked");
    assert_eq!((again.settled, again.fenced), (0, vec![claimed[0].fence]));
    assert!(again.progress.is_empty() && again.dispatched.dispatches.is_empty());
    let seen = batch(&store, id).await;
    assert_eq!((seen.remaining, counts(&seen.counts)), (1, [20, 10, 0, 0, 0]));
    assert_reconciled(&store).await;
}

async fn the_same_fence_twice_in_one_group_counts_once(store: TestStore) {
    let id = testing::sealed(&store, 2, 10).await;
    let worker = enter(&store).await;
    let claimed = claim(&store, worker, 1).await;
    let completion = testing::chunk_done(&claimed[0], 10);
    let report = store.complete(&[completion.clone(), completion]).await.expect("completed");
    assert_eq!((report.settled, report.fenced), (1, vec![claimed[0].fence]));
    assert_eq!(batch(&store, id).await.remaining, 1);
}

/// As when the store was unreachable for a while: the ending of an attempt that was rescued meanwhile waits in the same
/// process for the same commit as that of the attempt after it.
async fn an_ending_that_came_too_late_does_not_take_the_next_one_with_it(store: TestStore) {
    store.enqueue(&[testing::job()]).await.expect("enqueued");
    let (old, new) = (enter(&store).await, enter(&store).await);
    let late = claim_one(&store, old).await;
    store.retire_worker(old).await.expect("its incarnation is over");
    let held = claim_one(&store, new).await;
    let report = store.complete(&[testing::done(&late), testing::done(&held)]).await.expect("completed");
    assert_eq!((report.settled, report.fenced), (1, vec![late.fence]));
    assert_eq!(state(&store, held.fence.job).await, JobState::Done);
    assert_reconciled(&store).await;
}

async fn a_stale_attempt_is_fenced(store: TestStore) {
    let id = testing::sealed(&store, 1, 10).await;
    let worker = enter(&store).await;
    let first = claim_one(&store, worker).await;
    complete(&store, &[testing::retry(&first, Duration::ZERO)]).await;
    store.promote(10).await.expect("promoted");
    let second = claim_one(&store, worker).await;
    assert_eq!((second.fence.job, second.fence.attempt), (first.fence.job, 2));
    // The same worker, still running: only the attempt distinguishes the two.
    let stale = store.complete(&[testing::chunk_done(&first, 10)]).await.expect("asked");
    assert_eq!((stale.settled, stale.fenced), (0, vec![first.fence]));
    assert_eq!(state(&store, first.fence.job).await, JobState::Running);
    complete(&store, &[testing::chunk_done(&second, 10)]).await;
    assert_eq!(batch(&store, id).await.counts.ok, 10);
}

async fn another_worker_is_fenced(store: TestStore) {
    store.enqueue(&[testing::job()]).await.expect("enqueued");
    let worker = enter(&store).await;
    let mut claimed = claim_one(&store, worker).await;
    claimed.fence.worker = testing::worker_id();
    let report = store.complete(&[testing::done(&claimed)]).await.expect("asked");
    assert_eq!((report.settled, report.fenced), (0, vec![claimed.fence]));
}

async fn a_cancelled_job_is_fenced(store: TestStore) {
    let id = testing::sealed(&store, 2, 10).await;
    let worker = enter(&store).await;
    let claimed = claim(&store, worker, 1).await.remove(0);
    store.cancel_job(TENANT, claimed.fence.job, "changed our mind", false).await.expect("cancelled");
    let report = store.complete(&[testing::chunk_done(&claimed, 10)]).await.expect("asked");
    assert_eq!(report.fenced, [claimed.fence]);
    assert_eq!(counts(&batch(&store, id).await.counts), [20, 0, 0, 0, 10]);
    assert_reconciled(&store).await;
}

async fn a_completion_after_release_is_fenced(store: TestStore) {
    store.enqueue(&[testing::job()]).await.expect("enqueued");
    let worker = enter(&store).await;
    let claimed = claim_one(&store, worker).await;
    store.retire_worker(worker).await.expect("retired");
    let report = store.complete(&[testing::done(&claimed)]).await.expect("asked");
    assert_eq!(report.fenced, [claimed.fence]);
    assert_eq!(state(&store, claimed.fence.job).await, JobState::Queued);
}

async fn one_lost_fence_does_not_stop_the_others(store: TestStore) {
    store.enqueue(&testing::jobs(3)).await.expect("enqueued");
    let worker = enter(&store).await;
    let claimed = claim(&store, worker, 3).await;
    store.cancel_job(TENANT, claimed[1].fence.job, "no", false).await.expect("cancelled");
    let all: Vec<_> = claimed.iter().map(testing::done).collect();
    let report = store.complete(&all).await.expect("completed");
    assert_eq!((report.settled, report.fenced), (2, vec![claimed[1].fence]));
    assert_reconciled(&store).await;
}

async fn what_follows_is_enqueued_only_if_the_fence_holds(store: TestStore) {
    store.enqueue(&[testing::job()]).await.expect("enqueued");
    let worker = enter(&store).await;
    let claimed = claim_one(&store, worker).await;
    let (kept, lost) = (testing::job(), testing::job());
    let with = |follow| Completion { follow: vec![follow], ..testing::done(&claimed) };
    let report = complete(&store, &[with(kept.clone())]).await;
    assert_eq!(report.dispatched.dispatches[0].jobs, [kept.id]);
    store.complete(&[with(lost.clone())]).await.expect("asked");
    assert_eq!(state(&store, kept.id).await, JobState::Queued);
    assert!(store.job(TENANT, lost.id).await.expect("asked").is_none());
}

async fn what_follows_has_its_keys_respected(store: TestStore) {
    store.enqueue(&testing::jobs(2)).await.expect("enqueued");
    let worker = enter(&store).await;
    let claimed = claim(&store, worker, 2).await;
    let mut effects = testing::jobs(2);
    for callback in &mut effects {
        callback.idempotency_key = Some("mail of batch 1".to_owned());
    }
    let all: Vec<_> = claimed
        .iter()
        .zip(&effects)
        .map(|(job, callback)| Completion { follow: vec![callback.clone()], ..testing::done(job) })
        .collect();
    complete(&store, &all).await;
    let made = futures::future::join_all(effects.iter().map(|callback| store.job(TENANT, callback.id))).await;
    assert_eq!(made.into_iter().filter(|job| job.as_ref().expect("asked").is_some()).count(), 1);
}

fn with_two_set_aside() -> ChunkResult {
    let aside = |position, reason: &str| SetAside {
        position,
        line: Some(position + 1),
        stage: "validate".to_owned(),
        reason: reason.to_owned(),
        item: json!({ "id": position, "nul": "\u{0}" }),
    };
    let set_aside = vec![aside(3, "`amount` is missing"), aside(7, "a NUL \u{0} in it")];
    ChunkResult { ok: 7, skipped: 1, quarantined: 2, set_aside, ..ChunkResult::default() }
}

async fn of_two_that_follow_with_one_key_the_first_of_the_group_is_made(store: TestStore) {
    store.enqueue(&testing::jobs(2)).await.expect("enqueued");
    let worker = enter(&store).await;
    let mut claimed = claim(&store, worker, 2).await;
    // Given in an order that is not that of their ids.
    claimed.reverse();
    let follows: Vec<NewJob> =
        (0..2).map(|_| NewJob { idempotency_key: Some("one".to_owned()), ..testing::job() }).collect();
    let group: Vec<Completion> = claimed
        .iter()
        .zip(&follows)
        .map(|(job, follow)| Completion { follow: vec![follow.clone()], ..testing::done(job) })
        .collect();
    complete(&store, &group).await;
    assert_eq!(state(&store, follows[0].id).await, JobState::Queued);
    assert!(store.job(TENANT, follows[1].id).await.expect("asked").is_none(), "its key was taken");
    assert_reconciled(&store).await;
}

async fn a_result_and_its_quarantine_are_written_with_the_completion(store: TestStore) {
    let id = testing::sealed(&store, 1, 10).await;
    let worker = enter(&store).await;
    let chunk = claim_one(&store, worker).await;
    let report = complete(&store, &[Completion { chunk: Some(with_two_set_aside()), ..testing::done(&chunk) }]).await;
    assert_eq!(counts(&report.progress[0].counts), [10, 7, 1, 2, 0]);
    let results = store.chunk_results(id, -1, 10).await.expect("read");
    let kept = ChunkResult { set_aside: Vec::new(), ..with_two_set_aside() };
    assert_eq!((results.len(), results[0].seq, results[0].generation, &results[0].result), (1, 0, 0, &kept));
    let filter = QuarantineFilter { tenant: TENANT.to_owned(), batch: Some(id), open_only: true, ..Default::default() };
    let items = store.quarantine(&filter, &Page::default()).await.expect("listed");
    assert_eq!(items.iter().map(|item| item.position).collect::<Vec<_>>(), [3, 7]);
    assert_eq!((&items[0].item, items[0].line), (&json!({ "id": 3, "nul": "\u{0}" }), Some(4)));
    assert_eq!((items[1].reason.as_str(), items[1].stage.as_str()), ("a NUL \u{FFFD} in it", "validate"));
    assert_reconciled(&store).await;
}

async fn a_chunk_that_does_not_count_each_item_once_is_refused(store: TestStore) {
    let id = testing::sealed(&store, 1, 10).await;
    let worker = enter(&store).await;
    let chunk = claim_one(&store, worker).await;
    let counting = |ok, skipped, quarantined| {
        let result = ChunkResult { ok, skipped, quarantined, ..ChunkResult::default() };
        Completion { chunk: Some(result), ..testing::done(&chunk) }
    };
    let wrong =
        [testing::done(&chunk), counting(9, 0, 0), counting(7, 3, 1), counting(0, 0, 0), counting(u64::MAX, 11, 0)];
    for completion in wrong {
        let error = store.complete(std::slice::from_ref(&completion)).await.expect_err("it does not add up");
        assert!(matches!(error, StoreError::Invalid(_)), "{error} for {:?}", completion.chunk);
        assert_eq!(job(&store, chunk.fence.job).await.state, JobState::Running);
        assert_eq!(counts(&batch(&store, id).await.counts), [10, 0, 0, 0, 0]);
    }
    assert!(store.chunk_results(id, -1, 10).await.expect("read").is_empty());
    complete(&store, &[counting(7, 1, 2)]).await;
    assert_eq!(counts(&batch(&store, id).await.counts), [10, 7, 1, 2, 0]);
    assert_reconciled(&store).await;
}

async fn a_fenced_chunk_leaves_no_result(store: TestStore) {
    let id = testing::sealed(&store, 1, 10).await;
    let worker = enter(&store).await;
    let chunk = claim_one(&store, worker).await;
    store.retire_worker(worker).await.expect("retired");
    store.complete(&[Completion { chunk: Some(with_two_set_aside()), ..testing::done(&chunk) }]).await.expect("asked");
    assert!(store.chunk_results(id, -1, 10).await.expect("read").is_empty());
    let filter = QuarantineFilter { tenant: TENANT.to_owned(), ..QuarantineFilter::default() };
    assert!(store.quarantine(&filter, &Page::default()).await.expect("listed").is_empty());
    assert_eq!(counts(&batch(&store, id).await.counts), [10, 0, 0, 0, 0]);
}

async fn retries_of_chunks_are_counted(store: TestStore) {
    let id = testing::sealed(&store, 1, 10).await;
    let worker = enter(&store).await;
    for attempt in 1..=2 {
        let chunk = claim_one(&store, worker).await;
        let report = complete(&store, &[testing::retry(&chunk, Duration::ZERO)]).await;
        assert_eq!((report.progress.len(), report.progress[0].remaining), (1, 1));
        assert_eq!(batch(&store, id).await.retries, attempt);
        store.promote(10).await.expect("promoted");
    }
}

async fn texts_with_nul_are_kept_without_it_and_long_ones_are_cut(store: TestStore) {
    store.enqueue(&[testing::job()]).await.expect("enqueued");
    let worker = enter(&store).await;
    let claimed = claim_one(&store, worker).await;
    let error = Some(format!("bad \u{0} byte, ü{}", "x".repeat(10_000)));
    complete(&store, &[Completion { error, ..testing::dead(&claimed) }]).await;
    let seen = job(&store, claimed.fence.job).await;
    let kept = seen.error.expect("an error");
    assert!(kept.starts_with("bad \u{FFFD} byte, üx"), "{}", &kept[..40]);
    assert_eq!(kept.chars().count(), 4_000);
    assert_eq!(seen.attempts[0].error.as_deref(), Some(kept.as_str()));
}

const SINK: &str = "CREATE TABLE sink (id BIGINT PRIMARY KEY, \"the \"\"name\"\"\" TEXT NOT NULL, amount NUMERIC)";

fn sink(rows: Vec<serde_json::Value>) -> Option<SqlRows> {
    let columns = ["id", "the \"name\"", "amount"].map(str::to_owned).to_vec();
    Some(SqlRows { table: "sink".to_owned(), columns, rows })
}

async fn rows_for_a_table_commit_with_the_completion(store: TestStore) {
    store.tamper(SINK).await;
    store.enqueue(&[testing::job()]).await.expect("enqueued");
    let worker = enter(&store).await;
    let claimed = claim_one(&store, worker).await;
    let rows = vec![
        json!({ "id": 1, "the \"name\"": "Ada", "amount": 1.5, "other": true }),
        json!({ "the \"name\"": "O'Hara", "id": 2, "amount": null }),
    ];
    complete(&store, &[Completion { sql: sink(rows), ..testing::done(&claimed) }]).await;
    assert_eq!(store.count("SELECT count(*) FROM sink WHERE \"the \"\"name\"\"\" IN ('Ada', 'O''Hara')").await, 2);
    assert_eq!(store.count("SELECT count(*) FROM sink WHERE amount IS NULL").await, 1);
    assert_eq!(state(&store, claimed.fence.job).await, JobState::Done);
}

async fn rows_for_a_table_vanish_with_a_lost_fence(store: TestStore) {
    store.tamper(SINK).await;
    store.enqueue(&[testing::job()]).await.expect("enqueued");
    let worker = enter(&store).await;
    let claimed = claim_one(&store, worker).await;
    store.retire_worker(worker).await.expect("retired");
    let rows = vec![json!({ "id": 1, "the \"name\"": "Ada" })];
    let report = store.complete(&[Completion { sql: sink(rows), ..testing::done(&claimed) }]).await.expect("asked");
    assert_eq!((report.settled, store.count("SELECT count(*) FROM sink").await), (0, 0));
}

async fn refused_rows_leave_the_job_running(store: TestStore) {
    store.tamper(SINK).await;
    store.enqueue(&[testing::job()]).await.expect("enqueued");
    let worker = enter(&store).await;
    let claimed = claim_one(&store, worker).await;
    let good = json!({ "id": 1, "the \"name\"": "Ada" });
    let bad = json!({ "id": 2, "the \"name\"": null });
    let follow = testing::job();
    let completion = Completion { sql: sink(vec![good, bad]), follow: vec![follow.clone()], ..testing::done(&claimed) };
    let error = store.complete(&[completion]).await.expect_err("NULL is refused");
    assert!(matches!(error, StoreError::Sink(_)), "{error}");
    assert_eq!(store.count("SELECT count(*) FROM sink").await, 0, "not even the good row");
    assert_eq!(state(&store, claimed.fence.job).await, JobState::Running);
    assert!(store.job(TENANT, follow.id).await.expect("asked").is_none());
    let nowhere = Some(SqlRows { table: "nowhere".to_owned(), ..sink(vec![json!({ "id": 1 })]).expect("rows") });
    let error = store.complete(&[Completion { sql: nowhere, ..testing::done(&claimed) }]).await.expect_err("no table");
    assert!(matches!(error, StoreError::Sink(_)), "{error}");
    complete(&store, &[testing::done(&claimed)]).await;
    assert_reconciled(&store).await;
}

async fn the_rows_that_a_table_refuses_are_found_and_nothing_is_written(store: TestStore) {
    store.tamper(SINK).await;
    let row = |id: i64, name: Option<&str>| json!({ "id": id, "the \"name\"": name });
    let mut rows: Vec<_> = (0..20).map(|id| row(id, Some("Ada"))).collect();
    rows[3] = row(3, None);
    rows[12] = row(2, Some("the key of another row of the chunk"));
    rows[19] = row(19, None);
    let asked = sink(rows).expect("rows");
    let found = store.refused_rows(&asked).await.expect("they are at fault");
    assert_eq!(found.iter().map(|row| row.index).collect::<Vec<_>>(), [3, 12, 19]);
    assert!(found.iter().all(|row| row.reason.to_lowercase().contains("constraint")), "{found:?}");
    assert_eq!(store.count("SELECT count(*) FROM sink").await, 0, "it was only a trial");
    let good = sink(vec![row(1, Some("Ada"))]).expect("rows");
    assert_eq!(store.refused_rows(&good).await.expect("taken"), []);
    let nowhere = SqlRows { table: "nowhere".to_owned(), ..asked };
    let error = store.refused_rows(&nowhere).await.expect_err("no row is at fault");
    assert!(matches!(error, StoreError::Sink(_)), "{error}");
}

async fn rows_for_a_table_must_come_alone(store: TestStore) {
    store.enqueue(&testing::jobs(2)).await.expect("enqueued");
    let worker = enter(&store).await;
    let claimed = claim(&store, worker, 2).await;
    let one = Completion { sql: sink(Vec::new()), ..testing::done(&claimed[0]) };
    let error = store.complete(&[one, testing::done(&claimed[1])]).await.expect_err("refused");
    assert!(matches!(error, StoreError::Invalid(_)), "{error}");
    assert_eq!(state(&store, claimed[1].fence.job).await, JobState::Running);
}

async fn rows_for_our_own_tables_are_refused(store: TestStore) {
    store.enqueue(&testing::jobs(1)).await.expect("enqueued");
    let worker = enter(&store).await;
    let claimed = claim_one(&store, worker).await;
    for table in ["job", "public.batch", "\"Outbox\""] {
        let rows = sink(Vec::new()).map(|rows| SqlRows { table: table.to_owned(), ..rows });
        let error = store.complete(&[Completion { sql: rows, ..testing::done(&claimed) }]).await.expect_err("refused");
        assert!(matches!(error, StoreError::Sink(_)), "{error}");
    }
    assert_eq!(state(&store, claimed.fence.job).await, JobState::Running);
}

async fn a_group_of_many_endings_is_one_transaction(store: TestStore) {
    let id = testing::sealed(&store, 5, 10).await;
    let worker = enter(&store).await;
    let c = claim(&store, worker, 5).await;
    let all = [
        testing::chunk_done(&c[0], 10),
        testing::retry(&c[1], Duration::from_secs(60)),
        testing::dead(&c[2]),
        Completion::new(c[3].fence, Ending::Interrupted, Verdict::Release),
        Completion { chunk: Some(with_two_set_aside()), ..testing::done(&c[4]) },
    ];
    let report = complete(&store, &all).await;
    let [progress] = &report.progress[..] else { panic!("one batch moved") };
    assert_eq!((progress.batch, progress.remaining, counts(&progress.counts)), (id, 2, [50, 17, 1, 12, 0]));
    let seen = batch(&store, id).await;
    assert_eq!((seen.chunks_dead, seen.retries, seen.counts.pending()), (1, 1, 20));
    assert_reconciled(&store).await;
}

async fn a_group_over_the_limit_is_refused(store: TestStore) {
    store.enqueue(&[testing::job()]).await.expect("enqueued");
    let worker = enter(&store).await;
    let claimed = claim_one(&store, worker).await;
    let error = store.complete(&vec![testing::done(&claimed); 1_001]).await.expect_err("refused");
    assert!(matches!(error, StoreError::Invalid(_)), "{error}");
    assert_eq!(store.complete(&[]).await.expect("nothing at all"), Default::default());
}
