//! Whose turn it is: keys and queues that take turns, and jobs that wait too long.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use gristmill_core::duration::Span;
use gristmill_core::job::{JobState, NewJob, Priority};
use gristmill_store::testing::TestStore;
use gristmill_store::{LimitSpec, QueueSpec};

use crate::limits::{at_once, enqueue, fair, keyed, keys, limit, many, take};
use crate::{assert_reconciled, claim, enter, job};

conformance! {
    ten_jobs_of_one_key_are_served_beside_ten_thousand_of_another,
    turns_go_on_from_claim_to_claim_and_from_worker_to_worker,
    queues_that_are_managed_take_turns,
    two_queues_take_turns_however_fast_they_are_served,
    a_claim_of_a_worker_that_is_over_is_nobodys_turn,
    the_urgent_lane_comes_before_any_turn,
    whoever_has_no_key_has_a_turn_like_a_key,
    jobs_that_wait_too_long_move_up_a_lane;
    databases only, "the model looks at all that waits":
    blocked_keys_beyond_what_one_claim_looks_at_hide_nobody;
    databases only, "rows are changed by SQL":
    queues_take_turns_though_the_clock_goes_back,
}

async fn ten_jobs_of_one_key_are_served_beside_ten_thousand_of_another(store: TestStore) {
    let most = if store.knows_sql() { 10_000 } else { 300 };
    fair(&store, "crm").await;
    enqueue(&store, &many("crm", Some("big"), most)).await;
    enqueue(&store, &many("crm", Some("small"), 10)).await;
    let worker = enter(&store).await;
    let (mut small, mut big) = (0, 0);
    while small < 10 {
        let claimed = take(&store, worker, 4).await;
        assert_eq!(claimed.len(), 4);
        small += keys(&claimed).get("small").copied().unwrap_or(0);
        big += keys(&claimed).get("big").copied().unwrap_or(0);
        assert!(big <= small + 1, "{big} of the big one came before {small} of the small one");
    }
}

async fn turns_go_on_from_claim_to_claim_and_from_worker_to_worker(store: TestStore) {
    fair(&store, "crm").await;
    let names = ["a", "b", "c", "d", "e"];
    let jobs: Vec<NewJob> = names.iter().flat_map(|key| many("crm", Some(key), 4)).collect();
    enqueue(&store, &jobs).await;
    let workers = [enter(&store).await, enter(&store).await, enter(&store).await];
    let mut order = Vec::new();
    for turn in 0..20 {
        let claimed = take(&store, workers[turn % 3], 1).await;
        order.extend(claimed.into_iter().filter_map(|job| job.key));
    }
    assert_eq!(order, names.repeat(4));
}

async fn queues_that_are_managed_take_turns(store: TestStore) {
    fair(&store, "a").await;
    fair(&store, "b").await;
    enqueue(&store, &many("a", None, 20)).await;
    enqueue(&store, &many("b", None, 20)).await;
    let worker = enter(&store).await;
    let mut counts: HashMap<String, usize> = HashMap::new();
    for _ in 0..10 {
        for job in take(&store, worker, 1).await {
            *counts.entry(job.queue).or_default() += 1;
        }
    }
    assert_eq!((counts["a"], counts["b"]), (5, 5));
}

/// A clock of milliseconds shows the same time to several claims.
async fn two_queues_take_turns_however_fast_they_are_served(store: TestStore) {
    fair(&store, "a").await;
    fair(&store, "b").await;
    enqueue(&store, &many("a", None, 60)).await;
    enqueue(&store, &many("b", None, 60)).await;
    let worker = enter(&store).await;
    let mut order = Vec::new();
    for _ in 0..120 {
        order.extend(take(&store, worker, 1).await.into_iter().map(|job| job.queue));
    }
    assert_eq!(order, ["a", "b"].repeat(60));
}

async fn queues_take_turns_though_the_clock_goes_back(store: TestStore) {
    fair(&store, "a").await;
    fair(&store, "b").await;
    enqueue(&store, &many("a", None, 5)).await;
    enqueue(&store, &many("b", None, 5)).await;
    let worker = enter(&store).await;
    assert_eq!(take(&store, worker, 1).await[0].queue, "a");
    let later = if store.embedded() { "served_at + 3600000000" } else { "served_at + interval '1 hour'" };
    store.tamper(&format!("UPDATE queue_turn SET served_at = {later}")).await;
    let mut order = Vec::new();
    for _ in 0..4 {
        order.extend(take(&store, worker, 1).await.into_iter().map(|job| job.queue));
    }
    assert_eq!(order, ["b", "a"].repeat(2));
}

async fn a_claim_of_a_worker_that_is_over_is_nobodys_turn(store: TestStore) {
    fair(&store, "crm").await;
    enqueue(&store, &[keyed("crm", Some("a")), keyed("crm", Some("b"))]).await;
    let (over, alive) = (enter(&store).await, enter(&store).await);
    store.end_lease(over).await;
    store.rescue(10).await.expect("rescued");
    assert!(take(&store, over, 1).await.is_empty());
    assert_eq!(take(&store, alive, 1).await[0].key.as_deref(), Some("a"), "the first is still the first");
}

async fn the_urgent_lane_comes_before_any_turn(store: TestStore) {
    fair(&store, "crm").await;
    enqueue(&store, &many("crm", Some("a"), 3)).await;
    let urgent = NewJob { priority: Priority::High, ..keyed("crm", Some("b")) };
    enqueue(&store, std::slice::from_ref(&urgent)).await;
    let worker = enter(&store).await;
    assert_eq!(take(&store, worker, 1).await[0].fence.job, urgent.id);
}

async fn whoever_has_no_key_has_a_turn_like_a_key(store: TestStore) {
    fair(&store, "crm").await;
    enqueue(&store, &many("crm", Some("a"), 10)).await;
    enqueue(&store, &many("crm", None, 10)).await;
    let worker = enter(&store).await;
    let expected: BTreeMap<String, usize> = [("a".to_owned(), 3), (String::new(), 3)].into();
    assert_eq!(keys(&take(&store, worker, 6).await), expected);
}

async fn jobs_that_wait_too_long_move_up_a_lane(store: TestStore) {
    let age_after = Some(Span(Duration::from_millis(1)));
    store.save_queue("crm", &QueueSpec { fair: false, age_after }).await.expect("saved");
    let low = NewJob { priority: Priority::Low, ..keyed("crm", None) };
    let elsewhere = NewJob { priority: Priority::Low, ..keyed("mail", None) };
    let high = NewJob { priority: Priority::High, ..keyed("crm", None) };
    enqueue(&store, &[low.clone(), elsewhere.clone(), high.clone()]).await;
    let mut priorities = Vec::new();
    while job(&store, low.id).await.priority != Priority::High {
        let raised = store.raise_aged(100).await.expect("raised");
        if raised.moved > 0 {
            assert_eq!((raised.moved, &raised.dispatches[0].jobs), (1, &vec![low.id]));
            priorities.push(raised.dispatches[0].priority);
        }
    }
    assert_eq!(priorities, [Priority::Normal, Priority::High], "one lane at a time, each dispatched");
    assert_eq!(job(&store, elsewhere.id).await.priority, Priority::Low);
    let seen = job(&store, low.id).await;
    assert_eq!((seen.state, seen.attempt), (JobState::Queued, 0));
    // Among equals age decides: the job that waited is first now.
    let worker = enter(&store).await;
    assert_eq!(claim(&store, worker, 1).await[0].fence.job, low.id);
    assert_reconciled(&store).await;
}

async fn blocked_keys_beyond_what_one_claim_looks_at_hide_nobody(store: TestStore) {
    limit(&store, "each", LimitSpec { per_key: true, ..at_once(&["crm"], 1) }).await;
    let jobs: Vec<NewJob> = (0..1_500).flat_map(|n| many("crm", Some(&format!("k{n:04}")), 2)).collect();
    enqueue(&store, &jobs).await;
    let worker = enter(&store).await;
    let mut running = 0;
    for _ in 0..100 {
        running += take(&store, worker, 200).await.len();
    }
    assert_eq!(running, 1_500, "one of each key");
    let late = keyed("crm", Some("z"));
    enqueue(&store, std::slice::from_ref(&late)).await;
    let mut claimed = Vec::new();
    for _ in 0..3 {
        claimed.extend(take(&store, worker, 10).await);
    }
    assert_eq!(claimed.iter().map(|job| job.fence.job).collect::<Vec<_>>(), [late.id]);
}
