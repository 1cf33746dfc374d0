//! Jobs that cannot be read back, and times without end: none of them costs another job anything.

use std::time::Duration;

use gristmill_core::batch::BatchState;
use gristmill_core::job::{JobState, NewJob};
use gristmill_store::StoreError;
use gristmill_store::testing::{self, TestStore, claim_as};
use serde_json::{Value, json};

use crate::{assert_reconciled, batch, claim, complete, enter, job, state};

conformance! {
    a_payload_that_could_not_be_read_back_is_refused,
    a_key_that_means_something_to_a_library_is_an_ordinary_key,
    a_timeout_without_end_is_a_hundred_years;
    databases only, "rows are changed by SQL":
    a_row_that_cannot_be_read_becomes_a_dead_letter_and_costs_no_other,
    a_row_that_cannot_be_read_is_a_dead_letter_by_message_too,
    a_chunk_that_cannot_be_read_counts_as_dead_in_its_batch,
    a_row_that_cannot_be_read_is_rescued_with_the_others,
}

/// Arrays inside one another.
fn nested(levels: usize) -> Value {
    (1..levels).fold(json!([]), |inner, _| json!([inner]))
}

async fn a_payload_that_could_not_be_read_back_is_refused(store: TestStore) {
    let with = |payload: Value| NewJob { payload, ..testing::job() };
    let deepest = with(nested(100));
    store.enqueue(std::slice::from_ref(&deepest)).await.expect("a hundred levels are read back");
    let magic = json!({ "$serde_json::private::RawValue": "[]" });
    for refused in [nested(101), nested(500), json!({ "a": [magic, nested(99)] })] {
        let error = store.enqueue(&[with(refused)]).await.expect_err("it could not be read back");
        let text = error.to_string();
        assert!(matches!(error, StoreError::Invalid(_)) && text.contains("more than 100 deep"), "{text}");
    }
    let worker = enter(&store).await;
    let claimed = claim(&store, worker, 10).await;
    assert_eq!(claimed.iter().map(|job| &job.payload).collect::<Vec<_>>(), [&deepest.payload]);
}

async fn a_key_that_means_something_to_a_library_is_an_ordinary_key(store: TestStore) {
    for text in ["1", "[[[", "x", &"[".repeat(300)] {
        let payload =
            json!({ "$serde_json::private::RawValue": text, "inside": [{ "$serde_json::private::RawValue": text }] });
        let own = NewJob { payload: payload.clone(), ..testing::job() };
        store.enqueue(std::slice::from_ref(&own)).await.expect("enqueued");
        let worker = enter(&store).await;
        let claimed = claim(&store, worker, 1).await;
        assert_eq!((&claimed[0].payload, &job(&store, own.id).await.payload), (&payload, &payload), "{text}");
    }
}

async fn a_timeout_without_end_is_a_hundred_years(store: TestStore) {
    let endless = NewJob { timeout: Duration::MAX, ..testing::job() };
    store.enqueue(&[endless, testing::job()]).await.expect("enqueued");
    let worker = enter(&store).await;
    let claimed = claim(&store, worker, 10).await;
    assert_eq!(claimed.len(), 2, "both of them");
    let longest = claimed.iter().map(|job| job.timeout).max().expect("two");
    assert_eq!(longest, Duration::from_secs(100 * 366 * 86_400));
    assert_eq!(store.rescue(10).await.expect("rescued").requeued, 0, "its time is not over");
}

/// Three jobs, the second of which cannot be read any more.
async fn broken(store: &TestStore) -> Vec<NewJob> {
    let mut jobs = testing::jobs(3);
    jobs[1].idempotency_key = Some("broken".to_owned());
    store.enqueue(&jobs).await.expect("enqueued");
    store.tamper("UPDATE job SET payload = '{\"n\":' WHERE idempotency_key = 'broken'").await;
    jobs
}

async fn assert_dead(store: &TestStore, broken: &NewJob) {
    let seen = job(store, broken.id).await;
    assert_eq!((seen.state, seen.attempt), (JobState::Dead, 1));
    let error = seen.error.expect("a reason");
    assert!(error.starts_with("no worker can begin it: ") && error.len() < 300, "{error}");
    assert_eq!(seen.payload, json!("{\"n\":"), "what is there is shown");
    assert_eq!(seen.attempts.iter().map(|attempt| attempt.ending.as_str()).collect::<Vec<_>>(), ["permanent"]);
    assert_reconciled(store).await;
}

async fn a_row_that_cannot_be_read_becomes_a_dead_letter_and_costs_no_other(store: TestStore) {
    let jobs = broken(&store).await;
    let worker = enter(&store).await;
    let claimed = claim(&store, worker, 10).await;
    assert_eq!(claimed.iter().map(|job| job.fence.job).collect::<Vec<_>>(), [jobs[0].id, jobs[2].id]);
    assert_dead(&store, &jobs[1]).await;
    assert_eq!(claim(&store, worker, 10).await, [], "it is not claimed again");
}

async fn a_row_that_cannot_be_read_is_a_dead_letter_by_message_too(store: TestStore) {
    let jobs = broken(&store).await;
    let worker = enter(&store).await;
    let ids: Vec<_> = jobs.iter().map(|job| job.id).collect();
    let report = store.claim(&claim_as(worker, 10), &ids).await.expect("claimed");
    assert_eq!(report.claimed.iter().map(|job| job.fence.job).collect::<Vec<_>>(), [jobs[0].id, jobs[2].id]);
    assert_eq!(report.stale, [jobs[1].id], "its message is dropped");
    assert_dead(&store, &jobs[1]).await;
}

async fn a_chunk_that_cannot_be_read_counts_as_dead_in_its_batch(store: TestStore) {
    let id = testing::sealed(&store, 2, 3).await;
    store.tamper("UPDATE job SET payload = '[' WHERE seq = 0").await;
    let worker = enter(&store).await;
    let claimed = claim(&store, worker, 10).await;
    assert_eq!(claimed.iter().map(|job| job.seq).collect::<Vec<_>>(), [Some(1)]);
    let seen = batch(&store, id).await;
    assert_eq!((seen.chunks_dead, seen.counts.quarantined, seen.remaining), (1, 3, 1));
    complete(&store, &[testing::chunk_done(&claimed[0], 3)]).await;
    assert_eq!(batch(&store, id).await.state, BatchState::Aggregating);
    assert_reconciled(&store).await;
}

async fn a_row_that_cannot_be_read_is_rescued_with_the_others(store: TestStore) {
    let id = testing::sealed(&store, 2, 3).await;
    let lost = testing::worker(Duration::ZERO);
    store.register_worker(&lost).await.expect("entered");
    let claimed = store.claim_next(&claim_as(lost.id, 10)).await.expect("claimed");
    assert_eq!(claimed.len(), 2);
    store.tamper("UPDATE job SET payload = '[', max_attempts = attempt WHERE seq = 0").await;
    let rescued = testing::eventually("the rescue", async || {
        let report = store.rescue(10).await.expect("rescued");
        (report.workers_lost > 0 || report.dead > 0).then_some(report)
    })
    .await;
    assert_eq!((rescued.dead, rescued.requeued), (1, 1));
    let broken = claimed.iter().find(|job| job.seq == Some(0)).expect("it was claimed");
    assert_eq!(state(&store, broken.fence.job).await, JobState::Dead);
    assert_eq!(batch(&store, id).await.chunks_dead, 1);
    assert_reconciled(&store).await;
}
