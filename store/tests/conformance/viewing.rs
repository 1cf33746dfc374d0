//! Lists and pages.

use gristmill_core::batch::BatchState;
use gristmill_core::chunk::OutputPart;
use gristmill_core::job::JobState;
use gristmill_core::job::NewJob;
use gristmill_store::testing::{self, TestStore};
use gristmill_store::{BatchFilter, ChunkRange, JobFilter, Page, Pause, QuarantineFilter, StoreError, StoredParts};

use crate::{TENANT, claim, complete, enter};

conformance! {
    pages_of_jobs_meet_without_gap_or_overlap,
    jobs_are_filtered_by_all_that_is_said,
    lists_leave_the_payload_out,
    pages_of_batches_are_newest_first,
    a_key_that_is_none_is_refused,
    pages_of_results_and_quarantine_are_oldest_first,
    chunks_are_shown_one_by_one_and_counted_by_ranges,
    files_are_listed_by_the_chunks_that_wrote_them,
    what_is_not_there_is_none,
    tenants_are_those_with_a_queue,
    the_names_of_queues_are_those_of_all_tenants_each_once,
}

fn of_tenant() -> JobFilter {
    JobFilter { tenant: TENANT.to_owned(), ..JobFilter::default() }
}

async fn pages_of_jobs_meet_without_gap_or_overlap(store: TestStore) {
    let asked = testing::jobs(25);
    store.enqueue(&asked).await.expect("enqueued");
    let mut page = Page { after: None, limit: 10 };
    let mut seen = Vec::new();
    loop {
        let rows = store.jobs(&of_tenant(), &page).await.expect("listed");
        let Some(last) = rows.last() else { break };
        page.after = Some(last.id.to_string());
        seen.extend(rows.iter().map(|row| row.id));
        // Jobs that are enqueued meanwhile are newer, and so on no later page.
        store.enqueue(&[testing::job()]).await.expect("enqueued");
    }
    let expected: Vec<_> = asked.iter().rev().map(|job| job.id).collect();
    assert_eq!(seen, expected);
}

async fn jobs_are_filtered_by_all_that_is_said(store: TestStore) {
    let id = testing::sealed(&store, 3, 1).await;
    let mut asked = testing::jobs(3);
    asked[0].queue = "mail".to_owned();
    asked[1].kind = "email".to_owned();
    asked[2].tenant = "other".to_owned();
    store.enqueue(&asked).await.expect("enqueued");
    let worker = enter(&store).await;
    claim(&store, worker, 1).await;
    let count = async |filter: JobFilter| store.jobs(&filter, &Page::default()).await.expect("listed").len();
    assert_eq!(count(of_tenant()).await, 5);
    assert_eq!(count(JobFilter { batch: Some(id), ..of_tenant() }).await, 3);
    assert_eq!(count(JobFilter { queue: Some("mail".to_owned()), ..of_tenant() }).await, 1);
    assert_eq!(count(JobFilter { kind: Some("email".to_owned()), ..of_tenant() }).await, 1);
    assert_eq!(count(JobFilter { states: vec![JobState::Running], ..of_tenant() }).await, 1);
    assert_eq!(count(JobFilter { states: vec![JobState::Running, JobState::Queued], ..of_tenant() }).await, 5);
    let none = JobFilter { batch: Some(id), kind: Some("email".to_owned()), ..of_tenant() };
    assert_eq!(count(none).await, 0);
}

async fn lists_leave_the_payload_out(store: TestStore) {
    store.enqueue(&[testing::job()]).await.expect("enqueued");
    let rows = store.jobs(&of_tenant(), &Page::default()).await.expect("listed");
    assert!(rows[0].payload.is_null() && rows[0].attempts.is_empty());
    assert_eq!((rows[0].kind.as_str(), rows[0].queue.as_str(), rows[0].max_attempts), ("work", "default", 5));
}

async fn pages_of_batches_are_newest_first(store: TestStore) {
    let mut ids = Vec::new();
    for name in ["orders", "invoices", "orders"] {
        let mut new = testing::batch();
        new.name = name.to_owned();
        store.create_batch(&new).await.expect("created");
        ids.push(new.id);
    }
    store.seal(ids[1]).await.expect("sealed");
    let filter = BatchFilter { tenant: TENANT.to_owned(), ..BatchFilter::default() };
    let list = async |filter: BatchFilter, page: Page| {
        let rows = store.batches(&filter, &page).await.expect("listed");
        rows.iter().map(|row| row.id).collect::<Vec<_>>()
    };
    assert_eq!(list(filter.clone(), Page { after: None, limit: 2 }).await, [ids[2], ids[1]]);
    let next = Page { after: Some(ids[1].to_string()), limit: 2 };
    assert_eq!(list(filter.clone(), next).await, [ids[0]]);
    let named = BatchFilter { name: Some("orders".to_owned()), ..filter.clone() };
    assert_eq!(list(named, Page::default()).await, [ids[2], ids[0]]);
    let open = BatchFilter { state: Some(BatchState::Open), ..filter };
    assert_eq!(list(open, Page::default()).await, [ids[2], ids[0]]);
}

async fn a_key_that_is_none_is_refused(store: TestStore) {
    let page = Page { after: Some("yesterday".to_owned()), limit: 10 };
    let quarantine = QuarantineFilter { tenant: TENANT.to_owned(), ..QuarantineFilter::default() };
    let batches = BatchFilter { tenant: TENANT.to_owned(), ..BatchFilter::default() };
    for error in [
        store.jobs(&of_tenant(), &page).await.expect_err("refused"),
        store.batches(&batches, &page).await.expect_err("refused"),
        store.quarantine(&quarantine, &page).await.expect_err("refused"),
    ] {
        assert!(matches!(&error, StoreError::Invalid(text) if text.contains("yesterday")), "{error}");
    }
}

async fn pages_of_results_and_quarantine_are_oldest_first(store: TestStore) {
    let id = testing::sealed(&store, 5, 2).await;
    let worker = enter(&store).await;
    let claimed = claim(&store, worker, 5).await;
    for chunk in claimed.iter().rev() {
        let seq = u64::try_from(chunk.seq.expect("a chunk")).expect("not negative");
        let aside = gristmill_core::chunk::SetAside {
            position: seq * 2,
            line: None,
            stage: "validate".to_owned(),
            reason: "no".to_owned(),
            item: serde_json::Value::String("unreadable".to_owned()),
        };
        let mut completion = testing::chunk_done(chunk, 1);
        let result = completion.chunk.as_mut().expect("a result");
        (result.quarantined, result.set_aside) = (1, vec![aside]);
        complete(&store, &[completion]).await;
    }
    let results = store.chunk_results(id, 1, 2).await.expect("read");
    assert_eq!(results.iter().map(|result| result.seq).collect::<Vec<_>>(), [2, 3]);
    let filter = QuarantineFilter { tenant: TENANT.to_owned(), batch: Some(id), open_only: true, ..Default::default() };
    let first = store.quarantine(&filter, &Page { after: None, limit: 3 }).await.expect("listed");
    let after = first.last().map(|item| item.id.to_string());
    let next = store.quarantine(&filter, &Page { after, limit: 3 }).await.expect("listed");
    let seqs: Vec<_> = first.iter().chain(&next).map(|item| item.seq).collect();
    assert_eq!(seqs, [4, 3, 2, 1, 0]);
    assert_eq!((first[0].line, first[0].state.as_str()), (None, "open"));
}

async fn chunks_are_shown_one_by_one_and_counted_by_ranges(store: TestStore) {
    let id = testing::sealed(&store, 7, 3).await;
    let worker = enter(&store).await;
    let claimed = claim(&store, worker, 5).await;
    let number = |chunk: &gristmill_core::job::ClaimedJob| chunk.seq.expect("a chunk");
    complete(&store, &[testing::chunk_done(&claimed[0], 3), testing::chunk_done(&claimed[1], 3)]).await;
    complete(&store, &[testing::dead(&claimed[2]), testing::retry(&claimed[3], crate::LONG)]).await;
    let briefs = store.chunk_briefs(id, 1, 4).await.expect("listed");
    assert_eq!(briefs.iter().map(|chunk| chunk.seq).collect::<Vec<_>>(), [1, 2, 3, 4]);
    let chunk = briefs.iter().find(|chunk| chunk.seq == number(&claimed[2])).expect("listed");
    assert_eq!((chunk.job, chunk.state, chunk.attempt, chunk.items), (claimed[2].fence.job, JobState::Dead, 1, 3));
    assert!(chunk.started_at.is_some() && chunk.finished_at >= chunk.started_at);
    assert_eq!(store.chunk_briefs(id, 7, 10).await.expect("listed"), []);
    let states = [JobState::Queued, JobState::Dead, JobState::Running, JobState::Cancelled];
    let first = store.first_chunks(id, &states, 1).await.expect("listed");
    let seen: Vec<_> = first.iter().map(|chunk| (chunk.state, chunk.id, chunk.payload.is_null())).collect();
    let waits = store.chunk_briefs(id, 5, 1).await.expect("listed")[0].job;
    let expected =
        [(JobState::Queued, waits), (JobState::Dead, claimed[2].fence.job), (JobState::Running, claimed[4].fence.job)];
    assert_eq!(seen, expected.map(|(state, job)| (state, job, true)));
    assert_eq!(store.first_chunks(id, &states, 9).await.expect("listed").len(), 4);
    let ranges = store.chunk_ranges(id, 2).await.expect("counted");
    let expected = [
        ChunkRange { first: 0, done: 2, ..ChunkRange::default() },
        ChunkRange { first: 2, dead: 1, retry: 1, ..ChunkRange::default() },
        ChunkRange { first: 4, running: 1, ..ChunkRange::default() },
    ];
    assert_eq!((ranges.ranges.as_slice(), ranges.complete), (expected.as_slice(), true), "what waits is the rest");
    store.cancel_batch(TENANT, id, "test", false).await.expect("cancelled");
    let ranges = store.chunk_ranges(id, 100).await.expect("counted");
    assert_eq!(ranges.ranges, [ChunkRange { first: 0, done: 2, dead: 1, cancelled: 4, ..ChunkRange::default() }]);
}

async fn files_are_listed_by_the_chunks_that_wrote_them(store: TestStore) {
    let id = testing::sealed(&store, 4, 2).await;
    let worker = enter(&store).await;
    for chunk in claim(&store, worker, 4).await {
        let seq = chunk.seq.expect("a chunk");
        let mut completion = testing::chunk_done(&chunk, 2);
        // One wrote nothing.
        if seq != 1 {
            completion.chunk.as_mut().expect("a result").parts = vec![part(seq, "é \" \u{1F600}")];
        }
        complete(&store, &[completion]).await;
    }
    let listed = async |after, limit| store.output_parts(id, after, limit).await.expect("listed");
    let wrote = |seq: i64| StoredParts { seq, parts: vec![part(seq, "é \" \u{1F600}")] };
    assert_eq!(listed(-1, 10).await, [wrote(0), wrote(2), wrote(3)]);
    assert_eq!(listed(-1, 2).await, [wrote(0), wrote(2)]);
    assert_eq!(listed(0, 1).await, [wrote(2)]);
    assert_eq!(listed(3, 10).await, []);
}

fn part(seq: i64, name: &str) -> OutputPart {
    OutputPart { path: format!("x/{name}-{seq}"), items: 2, bytes: u64::MAX >> 11, sha256: "ab".repeat(32) }
}

async fn what_is_not_there_is_none(store: TestStore) {
    assert!(store.batch(TENANT, testing::batch().id).await.expect("asked").is_none());
    assert!(store.batch_plan(testing::batch().id).await.expect("asked").is_none());
    assert!(store.job(TENANT, testing::job_id()).await.expect("asked").is_none());
    assert!(store.chunk_results(testing::batch().id, -1, 10).await.expect("asked").is_empty());
    assert!(store.output_parts(testing::batch().id, -1, 10).await.expect("asked").is_empty());
    assert!(store.queues(TENANT).await.expect("asked").is_empty());
    assert!(store.workers().await.expect("asked").is_empty());
}

async fn tenants_are_those_with_a_queue(store: TestStore) {
    assert_eq!(store.tenants().await.expect("listed"), Vec::<String>::new());
    for tenant in ["z", "Z\u{fc}rich", "z"] {
        let job = NewJob { tenant: tenant.to_owned(), ..testing::job() };
        store.enqueue(&[job]).await.expect("enqueued");
    }
    store.pause_queue("a", "not used yet", Some(&Pause::default()), false).await.expect("paused");
    assert_eq!(store.tenants().await.expect("listed"), ["Z\u{fc}rich", "a", "z"]);
    let worker = enter(&store).await;
    for claimed in claim(&store, worker, 10).await {
        complete(&store, &[testing::done(&claimed)]).await;
    }
    assert_eq!(store.tenants().await.expect("listed").len(), 3, "whose jobs are all done is still there");
}

async fn the_names_of_queues_are_those_of_all_tenants_each_once(store: TestStore) {
    assert_eq!(store.queue_names().await.expect("listed"), Vec::<String>::new());
    for (tenant, queue) in [("one", "mail"), ("other", "mail"), ("other", "_last"), ("one", "Zoo")] {
        let job = NewJob { tenant: tenant.to_owned(), queue: queue.to_owned(), ..testing::job() };
        store.enqueue(&[job]).await.expect("enqueued");
    }
    store.pause_queue("a", "not used yet", Some(&Pause::default()), false).await.expect("paused");
    assert_eq!(store.queue_names().await.expect("listed"), ["Zoo", "_last", "mail", "not used yet"]);
}
