//! Subscriptions: each event is delivered once, in order, whatever happens in between; replays beside them.

use std::time::Duration;

use chrono::TimeDelta;
use gristmill_core::event::route::Refusal;
use gristmill_core::event::subscription::{From, SubscriptionSpec};
use gristmill_core::job::NewJob;
use gristmill_core::one_or_many::OneOrMany;
use gristmill_core::schedule::JobSpec;
use gristmill_store::testing::{self, TestStore};
use gristmill_store::{
    Delivered, Delivery, Effect, NewEvent, NewReplay, NewSubscription, Pause, Publication, ReplayState, StoreError,
    SubscriptionHold, SubscriptionOrigin, SubscriptionView, requests_ledger,
};
use serde_json::json;
use uuid::Uuid;

use super::events::{event, listed, sequence};
use super::{TENANT, claim_one, complete, enter};

conformance! {
    a_subscription_begins_where_it_says_and_is_saved_once,
    a_subscription_of_the_file_is_changed_there,
    what_is_no_subscription_is_refused,
    each_event_has_one_effect_at_each_subscription,
    many_that_deliver_at_once_deliver_once,
    a_pause_holds_a_subscription_and_a_failure_makes_it_wait,
    what_was_started_by_an_event_is_its_consequence,
    a_run_of_a_batch_is_requested_once,
    a_replay_goes_over_the_same_events_again_beside_the_subscription,
    what_a_subscription_waits_for_is_not_pruned,
}

fn subscription(name: &str, from: From) -> NewSubscription {
    let job = JobSpec { kind: "k".to_owned(), ..JobSpec::default() };
    let types = OneOrMany::One("**".to_owned());
    let spec = SubscriptionSpec { types, job: Some(job), from, ..SubscriptionSpec::default() };
    let (tenant, name, origin) = (TENANT.to_owned(), name.to_owned(), SubscriptionOrigin::Command);
    NewSubscription { tenant, name, spec, origin }
}

async fn seen(store: &TestStore, name: &str) -> SubscriptionView {
    let all = store.subscriptions(Some(TENANT)).await.expect("listed");
    all.into_iter().find(|view| view.name == name).expect("it is there")
}

async fn published(store: &TestStore, events: u64) {
    let group: Vec<Publication> = (1..=events).map(|n| event(&format!("e{n}"), "order.paid")).collect();
    store.publish_events(&group).await.expect("published");
    sequence(store).await;
}

/// A job for each position behind the cursor, up to one.
fn over(view: &SubscriptionView, from: u64, to: u64) -> Delivery {
    let job = |position| Delivered { position, effect: Effect::Job(Box::new(testing::job())) };
    Delivery {
        tenant: view.tenant.clone(),
        subscription: view.name.clone(),
        version: view.version,
        replay: None,
        from,
        to,
        skipped: 0,
        events: (from + 1..=to).map(job).collect(),
        next: None,
    }
}

async fn a_subscription_begins_where_it_says_and_is_saved_once(store: TestStore) {
    published(&store, 3).await;
    for (name, from, cursor, lag) in [("new", From::Now, 3, 0), ("old", From::Beginning, 0, 3)] {
        let new = subscription(name, from);
        assert_eq!(store.save_subscription(&new, true).await.expect("tried").affected, 1);
        assert_eq!(store.save_subscription(&new, false).await.expect("saved").affected, 1);
        assert_eq!(store.save_subscription(&new, false).await.expect("saved").affected, 0, "it says what it said");
        let view = seen(&store, name).await;
        assert_eq!((view.cursor, view.lag, view.behind_since.is_some()), (cursor, lag, lag > 0));
    }
    let due: Vec<String> = store.due_subscriptions().await.expect("due").into_iter().map(|view| view.name).collect();
    assert_eq!(due, ["old"]);
    let mut changed = subscription("old", From::Now);
    changed.spec.rows = Some(7);
    assert_eq!(store.save_subscription(&changed, false).await.expect("saved").affected, 1);
    let view = seen(&store, "old").await;
    assert_eq!((view.cursor, view.version, view.spec.rows), (0, 2, Some(7)), "a change leaves it where it is");
    assert_eq!(store.remove_subscription(TENANT, "old", true).await.expect("tried").affected, 1);
    assert_eq!(store.remove_subscription(TENANT, "old", false).await.expect("removed").affected, 1);
    assert_eq!(store.remove_subscription(TENANT, "old", false).await.expect("once more").affected, 0);
    assert_eq!(store.subscriptions(None).await.expect("listed").len(), 1);
}

async fn a_subscription_of_the_file_is_changed_there(store: TestStore) {
    let file = NewSubscription { origin: SubscriptionOrigin::File, ..subscription("s", From::Now) };
    store.save_subscription(&file, false).await.expect("saved");
    let mut changed = subscription("s", From::Now);
    changed.spec.rows = Some(7);
    let refused = store.save_subscription(&changed, false).await.expect_err("one of the file");
    assert!(matches!(refused, StoreError::Conflict(_)), "{refused}");
    // The file takes over what a command has made.
    store.save_subscription(&subscription("t", From::Now), false).await.expect("saved");
    let taken = NewSubscription { origin: SubscriptionOrigin::File, ..subscription("t", From::Now) };
    assert_eq!(store.save_subscription(&taken, false).await.expect("saved").affected, 1);
    assert_eq!(seen(&store, "t").await.origin, SubscriptionOrigin::File);
}

async fn what_is_no_subscription_is_refused(store: TestStore) {
    let mut both = subscription("s", From::Now);
    both.spec.batch = Some("b".to_owned());
    let mut pattern = subscription("s", From::Now);
    pattern.spec.types = OneOrMany::One("a b".to_owned());
    for wrong in [both, pattern, subscription("a name", From::Now), subscription("", From::Now)] {
        let refused = store.save_subscription(&wrong, false).await.expect_err("refused");
        assert!(matches!(refused, StoreError::Invalid(_)), "{refused}");
    }
    let missing = store.pause_subscription(TENANT, "s", None, false).await.expect_err("none");
    assert!(matches!(missing, StoreError::NotFound(_)), "{missing}");
}

async fn each_event_has_one_effect_at_each_subscription(store: TestStore) {
    published(&store, 4).await;
    for name in ["a", "b"] {
        store.save_subscription(&subscription(name, From::Beginning), false).await.expect("saved");
    }
    let view = seen(&store, "a").await;
    let mut first = over(&view, 0, 3);
    first.events[1].effect = Effect::Refused(Refusal::Predicate, "no\u{0}".to_owned());
    first.events.remove(2);
    first.skipped = 1;
    let moved = store.deliver_events(&first).await.expect("delivered").expect("it was there");
    assert_eq!(moved.moved, 1);
    assert_eq!(store.deliver_events(&first).await.expect("asked"), None, "it is not there any more");
    let view = seen(&store, "a").await;
    assert_eq!((view.cursor, view.lag, view.delivered, view.skipped, view.refused), (3, 1, 1, 1, 1));
    assert_eq!(seen(&store, "b").await.cursor, 0, "each has its own place");
    let effects = store.event_deliveries(TENANT, 1).await.expect("listed");
    let Effect::Job(job) = &first.events[0].effect else { panic!("a job") };
    assert_eq!((effects.len(), effects[0].job, effects[0].refusal), (1, Some(job.id), None));
    let refused = store.refused_events(TENANT, "a", 10).await.expect("listed");
    assert_eq!((refused.len(), refused[0].position, refused[0].refusal), (1, 2, Some(Refusal::Predicate)));
    assert_eq!(refused[0].reason.as_deref(), Some("no\u{fffd}"));
    assert_eq!(store.event_deliveries("other", 1).await.expect("listed"), []);
    // What was decided by what it said before is not delivered.
    let stale = over(&view, 3, 4);
    let mut changed = subscription("a", From::Now);
    changed.spec.rows = Some(7);
    store.save_subscription(&changed, false).await.expect("saved");
    assert_eq!(store.deliver_events(&stale).await.expect("asked"), None);
}

async fn many_that_deliver_at_once_deliver_once(store: TestStore) {
    published(&store, 40).await;
    store.save_subscription(&subscription("s", From::Beginning), false).await.expect("saved");
    let delivering = (0..4).map(|_| {
        let store = store.handle();
        tokio::spawn(async move {
            loop {
                let all = store.subscriptions(None).await.expect("listed");
                let view = &all[0];
                if view.cursor == 40 {
                    return;
                }
                store.deliver_events(&over(view, view.cursor, view.cursor + 4)).await.expect("asked");
            }
        })
    });
    for task in delivering.collect::<Vec<_>>() {
        task.await.expect("no panic");
    }
    for position in 1..=40 {
        assert_eq!(store.event_deliveries(TENANT, position).await.expect("listed").len(), 1);
    }
    assert_eq!(seen(&store, "s").await.delivered, 40);
}

async fn a_pause_holds_a_subscription_and_a_failure_makes_it_wait(store: TestStore) {
    published(&store, 2).await;
    store.save_subscription(&subscription("s", From::Beginning), false).await.expect("saved");
    let pause = Pause { by: Some("ada".to_owned()), reason: None };
    let step = over(&seen(&store, "s").await, 0, 1);
    assert_eq!(store.pause_subscription(TENANT, "s", Some(&pause), true).await.expect("tried").affected, 1);
    assert_eq!(store.pause_subscription(TENANT, "s", Some(&pause), false).await.expect("paused").affected, 1);
    assert_eq!(store.pause_subscription(TENANT, "s", Some(&pause), false).await.expect("again").affected, 0);
    assert_eq!(store.due_subscriptions().await.expect("due").len(), 0);
    assert_eq!(store.deliver_events(&step).await.expect("asked"), None, "it is paused");
    assert_eq!(seen(&store, "s").await.paused_by.as_deref(), Some("ada"));
    assert_eq!(store.pause_subscription(TENANT, "s", None, false).await.expect("resumed").affected, 1);
    let hold = |cursor| SubscriptionHold {
        tenant: TENANT.to_owned(),
        name: "s".to_owned(),
        cursor,
        wait: Duration::from_secs(600),
        error: "no quota".to_owned(),
    };
    assert!(!store.hold_subscription(&hold(1)).await.expect("asked"), "it is not there");
    assert!(store.hold_subscription(&hold(0)).await.expect("held"));
    assert_eq!(store.due_subscriptions().await.expect("due").len(), 0);
    let view = seen(&store, "s").await;
    assert_eq!((view.tries, view.error.as_deref(), view.retry_at.is_some()), (1, Some("no quota"), true));
    assert!(store.deliver_events(&step).await.expect("delivered").is_some());
    let view = seen(&store, "s").await;
    assert_eq!((view.tries, view.error, view.retry_at), (0, None, None), "what succeeds is not waited for");
}

async fn what_was_started_by_an_event_is_its_consequence(store: TestStore) {
    published(&store, 1).await;
    store.save_subscription(&subscription("s", From::Beginning), false).await.expect("saved");
    let mut step = over(&seen(&store, "s").await, 0, 1);
    let job = NewJob { max_attempts: 1, ..testing::job() };
    step.events[0].effect = Effect::Job(Box::new(job.clone()));
    store.deliver_events(&step).await.expect("delivered").expect("it was there");
    let by_job = Publication { job: Some(job.id), ..event("next", "order.sent") };
    store.publish_events(&[by_job]).await.expect("published");
    let worker = enter(&store).await;
    let claimed = claim_one(&store, worker).await;
    complete(&store, &[testing::dead(&claimed)]).await;
    let chain = listed(&store).await;
    let kinds: Vec<&str> = chain.iter().map(|event| event.kind.as_str()).collect();
    assert_eq!(kinds, ["order.paid", "order.sent", "job.dead"]);
    for event in &chain[1..] {
        let cause = (event.correlation.as_str(), event.causation.as_deref(), event.depth);
        assert_eq!(cause, ("e1", Some("e1"), 1), "{}", event.kind);
    }
}

async fn a_run_of_a_batch_is_requested_once(store: TestStore) {
    published(&store, 1).await;
    store.save_subscription(&subscription("s", From::Beginning), false).await.expect("saved");
    let mut step = over(&seen(&store, "s").await, 0, 1);
    let run = NewEvent {
        tenant: TENANT.to_owned(),
        schedule: requests_ledger("nightly"),
        event: "event/s/1".to_owned(),
        about: json!({ "params": { "n": 1 } }),
        job: None,
    };
    step.events[0].effect = Effect::Run(Box::new(run));
    store.deliver_events(&step).await.expect("delivered").expect("it was there");
    let waiting = store.startable_ticks(10).await.expect("listed");
    assert_eq!((waiting.len(), waiting[0].event.as_deref()), (1, Some("event/s/1")));
    assert_eq!(store.event_deliveries(TENANT, 1).await.expect("listed")[0].run.as_deref(), Some("event/s/1"));
}

async fn a_replay_goes_over_the_same_events_again_beside_the_subscription(store: TestStore) {
    published(&store, 4).await;
    let new = subscription("s", From::Beginning);
    store.save_subscription(&new, false).await.expect("saved");
    let view = seen(&store, "s").await;
    store.deliver_events(&over(&view, 0, 3)).await.expect("delivered").expect("it was there");
    let replay = |id: Uuid, after, until| NewReplay {
        id,
        tenant: TENANT.to_owned(),
        subscription: "s".to_owned(),
        types: vec!["order.*".to_owned()],
        after,
        until,
        rate: Some(100),
        by: "ada".to_owned(),
        reason: None,
    };
    let (id, empty) = (Uuid::now_v7(), Uuid::now_v7());
    assert_eq!(store.start_replay(&replay(id, 1, 1_000), true).await.expect("tried").affected, 1);
    assert_eq!(store.due_replays().await.expect("due"), []);
    assert_eq!(store.start_replay(&replay(id, 1, 1_000), false).await.expect("started").affected, 1);
    assert_eq!(store.start_replay(&replay(empty, 4, 9), false).await.expect("nothing to do").affected, 1);
    let due = store.due_replays().await.expect("due");
    assert_eq!((due.len(), due[0].id, due[0].cursor, due[0].until), (1, id, 1, 4), "the end as it is now");
    let step = |from, to, next| Delivery { replay: Some(id), next, ..over(&view, from, to) };
    let soon = step(1, 3, Some(Duration::ZERO));
    store.deliver_events(&soon).await.expect("delivered").expect("it was there");
    assert_eq!(store.deliver_events(&soon).await.expect("asked"), None);
    // The subscription goes on meanwhile, to an event that the replay has not reached.
    store.deliver_events(&over(&view, 3, 4)).await.expect("delivered").expect("it was there");
    store.deliver_events(&step(3, 4, None)).await.expect("delivered").expect("it was there");
    let views = store.replays(TENANT).await.expect("listed");
    let of = |id| views.iter().find(|view| view.id == id).expect("it is there");
    assert_eq!((of(id).state, of(id).delivered, of(id).ended_at.is_some()), (ReplayState::Finished, 3, true));
    assert_eq!(of(empty).state, ReplayState::Finished);
    let twice = store.event_deliveries(TENANT, 4).await.expect("listed");
    let replays: Vec<Option<Uuid>> = twice.iter().map(|one| one.replay).collect();
    assert_eq!((replays.len(), replays.contains(&None), replays.contains(&Some(id))), (2, true, true));
    let over_already = store.cancel_replay(TENANT, id, false).await.expect("asked");
    assert_eq!(over_already.affected, 0);
    let missing = store.cancel_replay("other", id, false).await.expect_err("not theirs");
    assert!(matches!(missing, StoreError::NotFound(_)), "{missing}");
    let backwards = store.start_replay(&replay(Uuid::now_v7(), 3, 2), false).await.expect_err("backwards");
    assert!(matches!(backwards, StoreError::Invalid(_)), "{backwards}");
}

async fn what_a_subscription_waits_for_is_not_pruned(store: TestStore) {
    published(&store, 3).await;
    store.save_subscription(&subscription("s", From::Beginning), false).await.expect("saved");
    let view = seen(&store, "s").await;
    store.deliver_events(&over(&view, 0, 1)).await.expect("delivered").expect("it was there");
    let later = store.now().await.expect("the time") + TimeDelta::days(1);
    assert_eq!(store.prune_events(later, 10).await.expect("pruned"), 1);
    assert_eq!(store.event_deliveries(TENANT, 1).await.expect("listed"), [], "what became of it goes with it");
    store.deliver_events(&over(&view, 1, 3)).await.expect("delivered").expect("it was there");
    assert_eq!(store.prune_events(later, 10).await.expect("pruned"), 2);
}
