//! Redispatch, reconcile, promote and the outbox: what the scheduler looks after.

use std::time::Duration;

use gristmill_core::batch::BatchState;
use gristmill_core::job::{JobState, NewJob, Priority, RunAt};
use gristmill_store::testing::{self, TestStore, eventually};
use gristmill_store::{DeadLetter, Dispatch, LostJobs, OutboxBacklog, Pause};

use crate::{LONG, TENANT, aggregates, assert_reconciled, batch, claim, claim_one, complete, enter, job, state};

conformance! {
    what_is_due_is_promoted_and_put_on_the_road,
    what_is_not_due_stays,
    a_promotion_takes_no_more_than_its_limit,
    two_promotions_at_once_move_each_job_once,
    an_outbox_row_is_held_by_whoever_takes_it,
    each_queue_has_its_share_of_the_outbox_rows_that_are_taken,
    an_outbox_row_goes_when_it_is_done,
    a_copy_says_what_is_known_of_a_job_that_is_dead,
    a_young_outbox_row_is_left_to_its_creator,
    without_a_road_nothing_is_written_to_the_outbox,
    the_probe_dispatches_what_the_broker_lost,
    the_probe_goes_on_after_the_last_page_from_priority_to_priority,
    the_probe_leaves_alone_what_is_in_the_outbox_or_paused,
    a_plan_without_a_planner_is_seen,
    a_healthy_store_reconciles,
    only_open_plans_that_stand_still_are_stalled;
    databases only, "rows are changed by SQL":
    a_broken_remainder_is_found_and_mended,
    a_batch_that_was_never_fired_is_fired,
    a_lost_aggregate_is_enqueued_again,
    a_dry_reconciliation_changes_nothing;
    databases only, "the model counts queues anew each time":
    a_broken_queue_counter_is_found_and_mended,
    two_reconcilers_at_once_mend_a_counter_once,
}

async fn what_is_due_is_promoted_and_put_on_the_road(store: TestStore) {
    let mut later = testing::job();
    later.run = RunAt::In(Duration::from_millis(2));
    store.enqueue(&[later.clone(), testing::job()]).await.expect("enqueued");
    let worker = enter(&store).await;
    let claimed = claim(&store, worker, 1).await;
    complete(&store, &[testing::retry(&claimed[0], Duration::from_millis(2))]).await;
    let mut promoted = Vec::new();
    while promoted.len() < 2 {
        let ask = || async {
            let report = store.promote(10).await.expect("promoted");
            (report.moved > 0).then_some(report)
        };
        let report = eventually("a promotion", ask).await;
        promoted.extend(report.dispatches.into_iter().flat_map(|row| row.jobs));
    }
    promoted.sort_unstable();
    let mut expected = vec![later.id, claimed[0].fence.job];
    expected.sort_unstable();
    assert_eq!(promoted, expected);
    let seen = job(&store, later.id).await;
    assert_eq!((seen.state, seen.run_at), (JobState::Queued, None));
    assert_eq!(claim(&store, worker, 10).await.len(), 2);
    assert_reconciled(&store).await;
}

async fn what_is_not_due_stays(store: TestStore) {
    let mut later = testing::job();
    later.run = RunAt::In(Duration::from_secs(60));
    store.enqueue(std::slice::from_ref(&later)).await.expect("enqueued");
    assert_eq!(store.promote(10).await.expect("asked"), Default::default());
    assert_eq!(state(&store, later.id).await, JobState::Scheduled);
}

/// That many jobs that are due to be promoted.
async fn due(store: &TestStore, count: usize) {
    store.enqueue(&testing::jobs(count)).await.expect("enqueued");
    let worker = enter(store).await;
    let all: Vec<_> = claim(store, worker, 1_000).await.iter().map(|job| testing::retry(job, Duration::ZERO)).collect();
    complete(store, &all).await;
}

async fn a_promotion_takes_no_more_than_its_limit(store: TestStore) {
    due(&store, 5).await;
    assert_eq!(store.promote(3).await.expect("promoted").moved, 3);
    assert_eq!(store.promote(3).await.expect("promoted").moved, 2);
}

async fn two_promotions_at_once_move_each_job_once(store: TestStore) {
    due(&store, 40).await;
    let (one, two) = tokio::join!(store.promote(100), store.promote(100));
    assert_eq!(one.expect("promoted").moved + two.expect("promoted").moved, 40);
    assert_reconciled(&store).await;
}

async fn take(store: &TestStore) -> Vec<Dispatch> {
    store.outbox_take(Duration::ZERO, 100, 100).await.expect("taken")
}

async fn an_outbox_row_is_held_by_whoever_takes_it(store: TestStore) {
    let report = store.enqueue(&testing::jobs(2)).await.expect("enqueued");
    let taken = take(&store).await;
    assert_eq!(taken, report.dispatched.dispatches);
    assert!(take(&store).await.is_empty(), "another sweeper finds nothing");
    assert_eq!(store.outbox_backlog().await.expect("asked").rows, 1, "held is not gone");
}

async fn each_queue_has_its_share_of_the_outbox_rows_that_are_taken(store: TestStore) {
    for queue in ["default", "default", "default", "default", "mail", "mail", "sms"] {
        store.enqueue(&[NewJob { queue: queue.to_owned(), ..testing::job() }]).await.expect("enqueued");
    }
    let queues = async |share, limit| {
        let taken = store.outbox_take(Duration::ZERO, share, limit).await.expect("taken");
        let mut queues: Vec<_> = taken.iter().map(|row| row.queue.clone()).collect();
        queues.sort();
        (queues, taken)
    };
    let (first, rows) = queues(2, 4).await;
    assert_eq!(first, ["default", "default", "mail", "sms"], "each in its turn, the oldest first");
    assert_eq!(queues(2, 100).await.0, ["mail"], "of one queue no more than its share is held at a time");
    assert!(queues(2, 100).await.0.is_empty());
    let done: Vec<_> = rows.iter().filter(|row| row.queue == "default").map(|row| row.outbox).collect();
    store.outbox_done(&done).await.expect("removed");
    assert_eq!(queues(2, 100).await.0, ["default", "default"]);
}

async fn a_copy_says_what_is_known_of_a_job_that_is_dead(store: TestStore) {
    let mut jobs = testing::jobs(2);
    jobs[0].trace = Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned());
    store.enqueue(&jobs).await.expect("enqueued");
    let worker = enter(&store).await;
    let claimed = store.claim_next(&testing::claim_as(worker, 1)).await.expect("claimed");
    store.complete(&[testing::dead(&claimed[0])]).await.expect("completed");
    let ids = [jobs[0].id, jobs[1].id, testing::job_id()];
    let error = store.job(TENANT, jobs[0].id).await.expect("asked").expect("there").error;
    let trace = jobs[0].trace.clone();
    let copy = DeadLetter { job: jobs[0].id, kind: jobs[0].kind.clone(), attempt: 1, error, trace };
    assert_eq!(store.dead_letters(&ids).await.expect("asked"), [copy], "neither of one that lives nor of a stranger");
    store.redrive_dead(TENANT, &ids[..1], false).await.expect("redriven");
    assert_eq!(store.dead_letters(&ids).await.expect("asked"), []);
}

async fn an_outbox_row_goes_when_it_is_done(store: TestStore) {
    assert_eq!(store.outbox_backlog().await.expect("asked"), OutboxBacklog::default());
    let one = store.enqueue(&[testing::job()]).await.expect("enqueued").dispatched.dispatches;
    store.enqueue(&[testing::job()]).await.expect("enqueued");
    let backlog = store.outbox_backlog().await.expect("asked");
    assert!(backlog.rows == 2 && backlog.oldest.is_some());
    store.outbox_done(&[one[0].outbox]).await.expect("removed");
    store.outbox_done(&[one[0].outbox]).await.expect("removed again");
    store.outbox_done(&[]).await.expect("nothing to remove");
    assert_eq!(store.outbox_backlog().await.expect("asked").rows, 1);
    assert_eq!(take(&store).await.len(), 1);
}

async fn a_young_outbox_row_is_left_to_its_creator(store: TestStore) {
    store.enqueue(&[testing::job()]).await.expect("enqueued");
    assert!(store.outbox_take(Duration::from_secs(60), 10, 10).await.expect("asked").is_empty());
    assert_eq!(store.outbox_take(Duration::ZERO, 10, 10).await.expect("taken").len(), 1);
}

async fn without_a_road_nothing_is_written_to_the_outbox(store: TestStore) {
    let brokerless = store.brokerless().await;
    let report = brokerless.enqueue(&testing::jobs(2)).await.expect("enqueued");
    assert_eq!((report.dispatched.moved, report.dispatched.dispatches.len()), (2, 0));
    let worker = enter(&store).await;
    let claimed = brokerless.claim_next(&testing::claim_as(worker, 1)).await.expect("claimed");
    let report = brokerless.complete(&[testing::dead(&claimed[0])]).await.expect("completed");
    assert!(report.dispatched.dispatches.is_empty(), "nor a copy of a dead letter");
    assert_eq!(brokerless.redispatch("default", &lost(10)).await.expect("asked"), Default::default());
    assert_eq!(store.outbox_backlog().await.expect("asked").rows, 0);
}

/// As if everything had been published.
async fn publish_all(store: &TestStore) {
    let ids: Vec<_> = take(store).await.iter().map(|row| row.outbox).collect();
    store.outbox_done(&ids).await.expect("removed");
}

/// However young they are.
fn lost(limit: u32) -> LostJobs {
    LostJobs { older_than: Duration::ZERO, after: None, limit }
}

async fn the_probe_dispatches_what_the_broker_lost(store: TestStore) {
    let asked = testing::jobs(3);
    store.enqueue(&asked).await.expect("enqueued");
    publish_all(&store).await;
    let young = LostJobs { older_than: Duration::from_secs(60), ..lost(10) };
    assert_eq!(store.redispatch("default", &young).await.expect("asked").moved, 0, "too young");
    assert_eq!(store.redispatch("other", &lost(10)).await.expect("asked").moved, 0);
    let report = store.redispatch("default", &lost(2)).await.expect("dispatched");
    assert_eq!((report.moved, &report.dispatches[0].jobs[..]), (2, &[asked[0].id, asked[1].id][..]));
    assert_reconciled(&store).await;
}

async fn the_probe_goes_on_after_the_last_page_from_priority_to_priority(store: TestStore) {
    let mut asked = testing::jobs(4);
    asked[3].priority = Priority::High;
    asked[0].priority = Priority::Low;
    store.enqueue(&asked).await.expect("enqueued");
    publish_all(&store).await;
    let mut page = lost(2);
    let mut seen = Vec::new();
    loop {
        let report = store.redispatch("default", &page).await.expect("dispatched");
        let jobs: Vec<_> =
            report.dispatches.iter().flat_map(|row| row.jobs.iter().map(|job| (row.priority, *job))).collect();
        seen.extend(jobs.iter().map(|(_, job)| *job));
        publish_all(&store).await;
        let Some(last) = jobs.into_iter().max() else { break };
        page.after = Some(last);
    }
    assert_eq!(seen, [3, 1, 2, 0].map(|job: usize| asked[job].id), "by priority, then by age, each once");
}

async fn the_probe_leaves_alone_what_is_in_the_outbox_or_paused(store: TestStore) {
    let id = testing::sealed(&store, 2, 1).await;
    assert_eq!(store.redispatch("default", &lost(10)).await.expect("asked").moved, 0);
    let urgent = NewJob { priority: Priority::High, ..testing::job() };
    store.enqueue(std::slice::from_ref(&urgent)).await.expect("enqueued");
    let (of_urgent, others): (Vec<_>, Vec<_>) =
        take(&store).await.into_iter().partition(|row| row.priority == Priority::High);
    store.outbox_done(&[of_urgent[0].outbox]).await.expect("removed");
    let report = store.redispatch("default", &lost(10)).await.expect("asked");
    assert_eq!(report.dispatches[0].jobs, [urgent.id], "of a priority for which nothing waits in the outbox");
    store.cancel_job(TENANT, urgent.id, "no", false).await.expect("cancelled");
    store.outbox_done(&others.iter().map(|row| row.outbox).collect::<Vec<_>>()).await.expect("removed");
    publish_all(&store).await;
    store.pause_batch(TENANT, id, Some(&Pause::default()), false).await.expect("paused");
    assert_eq!(store.redispatch("default", &lost(10)).await.expect("asked").moved, 0);
    store.pause_batch(TENANT, id, None, false).await.expect("resumed");
    publish_all(&store).await;
    store.pause_queue(TENANT, "default", Some(&Pause::default()), false).await.expect("paused");
    assert_eq!(store.redispatch("default", &lost(10)).await.expect("asked").moved, 0);
}

async fn a_plan_without_a_planner_is_seen(store: TestStore) {
    let (first, mut second) = (testing::batch(), testing::batch());
    second.tenant = "other".to_owned();
    for new in [&first, &second] {
        store.create_batch(new).await.expect("created");
    }
    store.add_chunks(second.id, &testing::chunks(2, 1)).await.expect("added");
    let stalled = store.stalled_plans(Duration::ZERO, 10).await.expect("looked");
    let expected = [(TENANT.to_owned(), first.id), ("other".to_owned(), second.id)];
    assert_eq!(stalled, expected, "the oldest first, whose ever they are");
    assert_eq!(store.stalled_plans(Duration::ZERO, 1).await.expect("looked"), expected[..1]);
    assert_eq!(store.stalled_plans(LONG, 10).await.expect("looked"), [], "their planners may be at work");
    assert_eq!(batch(&store, first.id).await.state, BatchState::Open, "a look changes nothing");
}

async fn only_open_plans_that_stand_still_are_stalled(store: TestStore) {
    let (still, goes_on, taken_back) = (testing::batch(), testing::batch(), testing::batch());
    for new in [&still, &goes_on, &taken_back] {
        store.create_batch(new).await.expect("created");
    }
    testing::sealed(&store, 2, 1).await;
    store.discard_batch(taken_back.id).await.expect("discarded");
    store.age_plans().await;
    assert_eq!(store.stalled_plans(LONG, 10).await.expect("looked").len(), 2);
    // Each group of chunks shows that the planner lives.
    store.add_chunks(goes_on.id, &testing::chunks(1, 1)).await.expect("added");
    assert_eq!(store.stalled_plans(LONG, 10).await.expect("looked"), [(TENANT.to_owned(), still.id)]);
    store.seal(still.id).await.expect("sealed");
    assert_eq!(store.stalled_plans(LONG, 10).await.expect("looked"), []);
}

async fn a_healthy_store_reconciles(store: TestStore) {
    testing::sealed(&store, 3, 1).await;
    testing::sealed(&store, 0, 0).await;
    store.enqueue(&testing::jobs(3)).await.expect("enqueued");
    let report = store.reconcile(false).await.expect("compared");
    assert_eq!((report.batches, report.findings), (2, Vec::new()));
}

async fn a_broken_remainder_is_found_and_mended(store: TestStore) {
    let id = testing::sealed(&store, 3, 1).await;
    store.tamper("UPDATE batch SET remaining = 1, chunks_dead = 2").await;
    let report = store.reconcile(false).await.expect("mended");
    assert_eq!(report.findings.len(), 2, "{:?}", report.findings);
    assert!(report.findings.iter().all(|finding| finding.contains(&id.to_string())));
    let seen = batch(&store, id).await;
    assert_eq!((seen.remaining, seen.chunks_dead), (3, 0));
    assert_reconciled(&store).await;
}

async fn a_batch_that_was_never_fired_is_fired(store: TestStore) {
    let new = testing::batch();
    store.create_batch(&new).await.expect("created");
    store.tamper("UPDATE batch SET state = 'sealed'").await;
    let report = store.reconcile(false).await.expect("mended");
    assert_eq!((report.findings.len(), report.dispatched.dispatches.len()), (1, 1), "{:?}", report.findings);
    assert_eq!((batch(&store, new.id).await.state, aggregates(&store, new.id).await), (BatchState::Aggregating, 1));
    assert_reconciled(&store).await;
}

async fn a_lost_aggregate_is_enqueued_again(store: TestStore) {
    let id = testing::sealed(&store, 0, 0).await;
    store.tamper("DELETE FROM job WHERE kind = 'aggregate'; UPDATE queue_count SET jobs = 0").await;
    let report = store.reconcile(false).await.expect("mended");
    assert_eq!(report.findings.len(), 1, "{:?}", report.findings);
    assert_eq!(aggregates(&store, id).await, 1);
    let worker = enter(&store).await;
    assert_eq!(claim_one(&store, worker).await.kind, "aggregate");
}

async fn a_broken_queue_counter_is_found_and_mended(store: TestStore) {
    store.enqueue(&testing::jobs(3)).await.expect("enqueued");
    store.tamper("UPDATE queue_count SET jobs = jobs + 5 WHERE state = 'queued'").await;
    let report = store.reconcile(false).await.expect("mended");
    assert!(report.findings.iter().any(|finding| finding.contains("`default`")), "{:?}", report.findings);
    let queues = store.queues(TENANT).await.expect("listed");
    assert_eq!((queues.len(), queues[0].queued), (1, 3));
    assert_reconciled(&store).await;
}

async fn a_dry_reconciliation_changes_nothing(store: TestStore) {
    let id = testing::sealed(&store, 3, 1).await;
    store.tamper("UPDATE batch SET remaining = 1").await;
    let report = store.reconcile(true).await.expect("compared");
    assert_eq!(report.findings.len(), 1);
    assert_eq!(batch(&store, id).await.remaining, 1);
}

async fn two_reconcilers_at_once_mend_a_counter_once(store: TestStore) {
    store.enqueue(&testing::jobs(3)).await.expect("enqueued");
    for round in 0..20 {
        store.tamper("UPDATE queue_count SET jobs = jobs + 5 WHERE state = 'queued'").await;
        let handles = [store.handle(), store.second().await, store.second().await];
        let all = handles.iter().map(|handle| handle.reconcile(false));
        for report in futures::future::join_all(all).await {
            report.unwrap_or_else(|error| panic!("round {round}: {error}"));
        }
        assert_reconciled(&store).await;
    }
}
