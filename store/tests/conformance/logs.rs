//! What attempts have said: written again as a whole, shown, and gone with the job or before it.

use chrono::TimeDelta;
use gristmill_core::Instant;
use gristmill_core::attempt_log::{LogLevel, LogLine, LogSource};
use gristmill_core::id::JobId;
use gristmill_core::job::{ClaimedJob, Fence};
use gristmill_core::settle::{Ending, Verdict};
use gristmill_store::testing::{self, TestStore};
use gristmill_store::{Completion, ExpiryLook, LOGS_MAX, LogView, NewLog, Prune, PruneNoun};
use std::time::Duration;
use uuid::Uuid;

use crate::{TENANT, claim_one, complete, enter};

conformance! {
    a_log_takes_the_place_of_an_older_one_of_its_attempt,
    the_same_attempt_of_another_worker_begins_anew,
    a_worker_that_has_given_the_job_back_writes_over_no_log_of_the_next_one,
    a_log_of_no_attempt_is_left_out,
    the_logs_of_a_job_come_last_attempt_first_and_to_its_own_tenant,
    logs_are_removed_after_their_time_the_oldest_first,
    a_log_goes_with_its_job,
}

fn line(number: u64, text: &str) -> LogLine {
    let at = Instant::from_timestamp_micros(1_700_000_000_123_456).expect("an instant");
    LogLine { number, at, source: LogSource::Handler, level: Some(LogLevel::Warn), text: text.to_owned() }
}

fn log(fence: Fence, revision: u64, texts: &[&str]) -> NewLog {
    let lines: Vec<LogLine> = (1..).zip(texts).map(|(number, text)| line(number, text)).collect();
    NewLog { fence, revision, said: lines.len() as u64, lines }
}

/// Writes and returns how many counted.
async fn write(store: &TestStore, logs: &[NewLog]) -> u64 {
    store.write_logs(logs).await.expect("written")
}

async fn logs(store: &TestStore, job: JobId) -> Vec<LogView> {
    store.logs(TENANT, job, None, LOGS_MAX).await.expect("asked")
}

async fn texts(store: &TestStore, job: JobId) -> Vec<Vec<String>> {
    let all = logs(store, job).await;
    all.into_iter().map(|log| log.lines.into_iter().map(|line| line.text).collect()).collect()
}

/// A job that runs.
async fn running(store: &TestStore) -> ClaimedJob {
    store.enqueue(&testing::jobs(1)).await.expect("enqueued");
    claim_one(store, enter(store).await).await
}

async fn a_log_takes_the_place_of_an_older_one_of_its_attempt(store: TestStore) {
    let fence = running(&store).await.fence;
    assert_eq!(write(&store, &[]).await, 0);
    let whole = NewLog { said: 900, ..log(fence, 3, &["one", "ein \"Zitat\" \\ ünd 😀"]) };
    assert_eq!(write(&store, std::slice::from_ref(&whole)).await, 1);
    let kept = logs(&store, fence.job).await;
    assert_eq!((kept[0].attempt, kept[0].said, &kept[0].lines), (1, 900, &whole.lines));
    assert_eq!(write(&store, &[log(fence, 3, &["the same again"])]).await, 0);
    assert_eq!(write(&store, &[log(fence, 2, &["late"])]).await, 0);
    // Of two at once the later one counts, in whatever order they come.
    write(&store, &[log(fence, 5, &["five"]), log(fence, 4, &["four"])]).await;
    assert_eq!(texts(&store, fence.job).await, [["five"]]);
    write(&store, &[log(fence, 6, &[])]).await;
    assert_eq!(texts(&store, fence.job).await, [Vec::<String>::new()], "what was taken back is gone");
}

/// The job given back, and claimed by another worker: the same attempt once more.
async fn given_to_another(store: &TestStore, fence: Fence) -> ClaimedJob {
    complete(store, &[Completion::new(fence, Ending::Interrupted, Verdict::Release)]).await;
    let claimed = claim_one(store, enter(store).await).await;
    assert_eq!((claimed.fence.job, claimed.fence.attempt), (fence.job, fence.attempt));
    assert_ne!(claimed.fence.worker, fence.worker);
    claimed
}

async fn the_same_attempt_of_another_worker_begins_anew(store: TestStore) {
    let fence = running(&store).await.fence;
    write(&store, &[log(fence, 7, &["before it was given back"])]).await;
    let other = given_to_another(&store, fence).await.fence;
    assert_eq!(write(&store, &[log(other, 0, &["anew"])]).await, 1);
    assert_eq!(texts(&store, fence.job).await, [["anew"]]);
    assert_eq!(write(&store, &[log(other, 1, &["and on"])]).await, 1);
}

async fn a_worker_that_has_given_the_job_back_writes_over_no_log_of_the_next_one(store: TestStore) {
    let fence = running(&store).await.fence;
    let other = given_to_another(&store, fence).await;
    assert_eq!(write(&store, &[log(fence, 8, &["late"])]).await, 0, "another worker holds the attempt");
    assert_eq!(logs(&store, fence.job).await, []);
    assert_eq!(write(&store, &[log(other.fence, 0, &["its own"])]).await, 1);
    assert_eq!(write(&store, &[log(fence, 9, &["late"])]).await, 0, "the log of the one that holds it stays");
    complete(&store, &[testing::done(&other)]).await;
    assert_eq!(write(&store, &[log(fence, 9, &["late"])]).await, 0, "and after its end");
    assert_eq!(write(&store, &[log(other.fence, 1, &["its last words"])]).await, 1);
    assert_eq!(texts(&store, fence.job).await, [["its last words"]]);
    // Two at once, of which one comes late: in whatever order, the one that holds the attempt counts.
    let next = running(&store).await.fence;
    let holds = given_to_another(&store, next).await.fence;
    assert_eq!(write(&store, &[log(next, 5, &["late"]), log(holds, 0, &["in time"])]).await, 1);
    assert_eq!(write(&store, &[log(holds, 1, &["in time"]), log(next, 6, &["late"])]).await, 1);
    assert_eq!(texts(&store, next.job).await, [["in time"]]);
}

async fn a_log_of_no_attempt_is_left_out(store: TestStore) {
    let job = running(&store).await;
    let fence = job.fence;
    let later = Fence { attempt: 2, ..fence };
    let stranger = Fence { job: JobId(Uuid::from_u128(9)), ..fence };
    let all = [log(stranger, 0, &["x"]), log(later, 0, &["x"]), log(fence, 0, &["x"])];
    assert_eq!(write(&store, &all).await, 1);
    assert_eq!(logs(&store, fence.job).await.len(), 1);
    assert_eq!(logs(&store, stranger.job).await, []);
    // An attempt that is over may still have its last words.
    complete(&store, &[testing::done(&job)]).await;
    assert_eq!(write(&store, &[log(fence, 1, &["last words"])]).await, 1);
}

async fn the_logs_of_a_job_come_last_attempt_first_and_to_its_own_tenant(store: TestStore) {
    store.enqueue(&testing::jobs(1)).await.expect("enqueued");
    let worker = enter(&store).await;
    let mut job = JobId(Uuid::nil());
    for text in ["first", "second"] {
        let claimed = claim_one(&store, worker).await;
        job = claimed.fence.job;
        write(&store, &[log(claimed.fence, 1, &[text])]).await;
        complete(&store, &[testing::retry(&claimed, Duration::ZERO)]).await;
        store.promote(10).await.expect("promoted");
    }
    assert_eq!(texts(&store, job).await, [["second"], ["first"]]);
    let of_one = store.logs(TENANT, job, Some(1), LOGS_MAX).await.expect("asked");
    assert_eq!((of_one.len(), of_one[0].attempt), (1, 1));
    assert_eq!(store.logs(TENANT, job, None, 1).await.expect("asked")[0].attempt, 2);
    assert_eq!(store.logs(TENANT, job, Some(3), LOGS_MAX).await.expect("asked"), []);
    assert_eq!(store.logs("other", job, None, LOGS_MAX).await.expect("asked"), []);
}

async fn logs_are_removed_after_their_time_the_oldest_first(store: TestStore) {
    let (one, other) = (running(&store).await.fence, running(&store).await.fence);
    write(&store, &[log(one, 0, &["one"])]).await;
    write(&store, &[log(other, 0, &["other"])]).await;
    let now = store.now().await.expect("a clock");
    assert_eq!(store.prune_logs(now - TimeDelta::hours(1), 10).await.expect("asked"), 0);
    let later = now + TimeDelta::hours(1);
    assert_eq!(store.prune_logs(later, 1).await.expect("removed"), 1);
    assert_eq!((logs(&store, one.job).await.len(), logs(&store, other.job).await.len()), (0, 1));
    assert_eq!(store.prune_logs(later, 10).await.expect("removed"), 1);
    assert_eq!(store.prune_logs(later, 10).await.expect("removed"), 0);
}

async fn a_log_goes_with_its_job(store: TestStore) {
    let job = running(&store).await;
    let fence = job.fence;
    write(&store, &[log(fence, 0, &["x"])]).await;
    complete(&store, &[testing::done(&job)]).await;
    let look = ExpiryLook::first(PruneNoun::Jobs);
    let rows = store.expired(&look).await.expect("looked").rows;
    let rows = rows.into_iter().map(|row| (row.key, row.at)).collect();
    let keys = Duration::ZERO;
    store.prune(&Prune { noun: PruneNoun::Jobs, batch: None, rows, keys }).await.expect("deleted");
    assert_eq!(logs(&store, fence.job).await, []);
    let later = store.now().await.expect("a clock") + TimeDelta::hours(1);
    assert_eq!(store.prune_logs(later, 10).await.expect("asked"), 0, "nothing is left of it");
}
