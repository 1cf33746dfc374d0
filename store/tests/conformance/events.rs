//! The log of events: published once, in one order without gaps, reported with what happens, looked at, pruned.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use gristmill_core::event::own::OwnType;
use gristmill_core::event::{Event, EventDraft};
use gristmill_store::testing::{self, TestStore};
use gristmill_store::{Completion, EventFilter, NewEvent, NewEventSchema, Pause, Publication, StoreError};
use serde_json::json;

use super::{TENANT, claim_one, complete, enter};

conformance! {
    an_event_is_kept_once_and_its_id_stands_for_its_content,
    a_group_of_events_is_published_whole_or_not_at_all,
    the_order_of_all_and_of_each_stream_has_no_gaps,
    many_publishers_and_sequencers_lose_nothing,
    events_are_selected_by_every_condition,
    what_happens_is_reported_with_it_and_a_job_that_succeeds_is_not,
    what_happens_to_a_batch_and_to_a_trigger_is_reported,
    what_a_job_emits_is_there_if_its_attempt_counts,
    a_rehearsal_reports_nothing,
    versions_of_a_schema_stay_what_they_are,
    what_is_over_is_pruned_and_streams_go_on_counting,
}

pub(super) fn event(id: &str, kind: &str) -> Publication {
    let draft = EventDraft { data: json!({ "n": id }), ..EventDraft::new(id, "shop", kind) };
    Publication { tenant: TENANT.to_owned(), draft, user: Some("ada".to_owned()), job: None }
}

fn in_stream(id: &str, stream: &str) -> Publication {
    let mut event = event(id, "order.paid");
    event.draft.stream = Some(stream.to_owned());
    event
}

pub(super) async fn sequence(store: &TestStore) -> u64 {
    let mut all = 0;
    loop {
        match store.sequence_events(100).await.expect("sequenced") {
            0 => return all,
            some => all += some,
        }
    }
}

fn all() -> EventFilter {
    EventFilter { tenant: TENANT.to_owned(), limit: 1_000, ..EventFilter::default() }
}

/// Every event, in its place.
pub(super) async fn listed(store: &TestStore) -> Vec<Event> {
    sequence(store).await;
    store.list_events(&all()).await.expect("listed")
}

async fn an_event_is_kept_once_and_its_id_stands_for_its_content(store: TestStore) {
    let first = event("1", "order.paid");
    let published = store.publish_events(std::slice::from_ref(&first)).await.expect("published");
    assert!(published[0].fresh);
    let again = store.publish_events(std::slice::from_ref(&first)).await.expect("published again");
    assert!(!again[0].fresh, "the same id with the same content");
    let mut other = first.clone();
    other.draft.data = json!({ "n": "2" });
    let refused = store.publish_events(&[other]).await.expect_err("another content");
    assert!(matches!(refused, StoreError::Conflict(_)), "{refused}");
    let mut elsewhere = first.clone();
    elsewhere.draft.source = "store".to_owned();
    assert!(store.publish_events(&[elsewhere]).await.expect("another source")[0].fresh);
    let found = store.events_by_id(TENANT, "1", None).await.expect("found");
    assert_eq!(found.iter().map(|event| event.source.as_str()).collect::<Vec<_>>(), ["shop", "store"]);
    assert_eq!(found[0].position, None, "it has no position before it is sequenced");
    let events = listed(&store).await;
    assert_eq!(events.iter().map(|event| event.position).collect::<Vec<_>>(), [Some(1), Some(2)]);
    let kept = &events[0];
    assert_eq!((kept.kind.as_str(), &kept.data, kept.user.as_deref()), ("order.paid", &first.draft.data, Some("ada")));
    assert_eq!((kept.correlation.as_str(), kept.causation.as_deref(), kept.depth), ("1", None, 0));
    assert_eq!(kept.time, kept.accepted_at, "one that does not say when happened now");
    assert_eq!(store.events_by_id("other", "1", None).await.expect("asked"), []);
}

async fn a_group_of_events_is_published_whole_or_not_at_all(store: TestStore) {
    store.publish_events(&[event("1", "a")]).await.expect("published");
    let mut other = event("1", "a");
    other.draft.subject = Some("else".to_owned());
    store.publish_events(&[event("2", "a"), other]).await.expect_err("a conflict");
    assert_eq!(store.events_by_id(TENANT, "2", None).await.expect("asked"), []);
    let bad = event("3", "no type");
    let refused = store.publish_events(&[event("2", "a"), bad]).await.expect_err("no event");
    assert!(matches!(&refused, StoreError::Invalid(what) if what.contains("event 2")), "{refused}");
    let twice = store.publish_events(&[event("4", "a"), event("4", "a")]).await.expect("the same twice");
    assert_eq!(twice.iter().map(|one| one.fresh).collect::<Vec<_>>(), [true, false]);
    assert_eq!(store.publish_events(&[]).await.expect("nothing"), []);
    assert_eq!(listed(&store).await.len(), 2);
}

async fn the_order_of_all_and_of_each_stream_has_no_gaps(store: TestStore) {
    let events: Vec<Publication> =
        (0..30).map(|n| in_stream(&n.to_string(), if n % 3 == 0 { "thirds" } else { "others" })).collect();
    for group in events.chunks(7) {
        store.publish_events(group).await.expect("published");
        store.sequence_events(5).await.expect("some are sequenced");
    }
    let listed = listed(&store).await;
    let ids: Vec<&str> = listed.iter().map(|event| event.id.as_str()).collect();
    assert_eq!(ids, (0..30).map(|n| n.to_string()).collect::<Vec<_>>(), "in the order in which they were written");
    check_order(&listed);
    let newest = store.list_events(&EventFilter { newest_first: true, limit: 2, ..all() }).await.expect("listed");
    assert_eq!(newest.iter().map(|event| event.position).collect::<Vec<_>>(), [Some(30), Some(29)]);
}

/// One order without gaps, and one in each stream.
fn check_order(events: &[Event]) {
    let mut streams: BTreeMap<&str, u64> = BTreeMap::new();
    for (index, event) in events.iter().enumerate() {
        assert_eq!(event.position, Some(index as u64 + 1), "positions have no gaps");
        let seq = streams.entry(&event.stream).or_default();
        *seq += 1;
        assert_eq!(event.seq, Some(*seq), "the stream `{}` has no gaps", event.stream);
    }
}

async fn many_publishers_and_sequencers_lose_nothing(store: TestStore) {
    let publishing = (0..8).map(|writer| {
        let store = store.handle();
        tokio::spawn(async move {
            for n in 0..20 {
                let event = in_stream(&format!("{writer}-{n:02}"), &format!("writer/{writer}"));
                store.publish_events(&[event]).await.expect("published");
            }
        })
    });
    let sequencing = (0..2).map(|_| {
        let store = store.handle();
        tokio::spawn(async move {
            let mut found = 0;
            while found < 40 {
                found += store.sequence_events(10).await.expect("sequenced");
                tokio::task::yield_now().await;
            }
        })
    });
    let tasks: Vec<_> = publishing.chain(sequencing).collect();
    for task in tasks {
        task.await.expect("no panic");
    }
    let events = listed(&store).await;
    assert_eq!(events.len(), 160);
    check_order(&events);
    for writer in 0..8 {
        let own = events.iter().filter(|event| event.stream == format!("writer/{writer}"));
        let ids: Vec<&str> = own.map(|event| event.id.as_str()).collect();
        assert!(ids.is_sorted(), "what a writer says one after the other stays so: {ids:?}");
    }
}

async fn events_are_selected_by_every_condition(store: TestStore) {
    for (id, kind) in [("1", "order.paid"), ("2", "order.sent"), ("3", "refund")] {
        store.publish_events(&[event(id, kind)]).await.expect("published");
    }
    let events = listed(&store).await;
    let later = events[2].accepted_at + TimeDelta::seconds(1);
    for (filter, meant) in [
        (EventFilter { after: Some(1), ..all() }, vec!["2", "3"]),
        (EventFilter { before: Some(2), ..all() }, vec!["1"]),
        (EventFilter { prefix: Some("order.".to_owned()), ..all() }, vec!["1", "2"]),
        (EventFilter { stream: Some("shop".to_owned()), limit: 1, ..all() }, vec!["1"]),
        (EventFilter { stream: Some("other".to_owned()), ..all() }, vec![]),
        (EventFilter { correlation: Some("2".to_owned()), ..all() }, vec!["2"]),
        (EventFilter { since: Some(later), ..all() }, vec![]),
        (EventFilter { until: Some(later), newest_first: true, ..all() }, vec!["3", "2", "1"]),
        (EventFilter { tenant: "other".to_owned(), ..all() }, vec![]),
    ] {
        let found = store.list_events(&filter).await.expect("listed");
        assert_eq!(found.iter().map(|event| event.id.as_str()).collect::<Vec<_>>(), meant, "{filter:?}");
    }
}

async fn what_happens_is_reported_with_it_and_a_job_that_succeeds_is_not(store: TestStore) {
    let worker = enter(&store).await;
    store.enqueue(&[testing::job()]).await.expect("enqueued");
    let good = claim_one(&store, worker).await;
    complete(&store, &[testing::done(&good)]).await;
    assert_eq!(listed(&store).await, [], "a job that succeeds reports nothing");
    let bad = gristmill_core::job::NewJob { max_attempts: 1, ..testing::job() };
    store.enqueue(std::slice::from_ref(&bad)).await.expect("enqueued");
    let claimed = claim_one(&store, worker).await;
    complete(&store, &[testing::dead(&claimed)]).await;
    let pause = Pause { by: Some("ada".to_owned()), reason: Some("later".to_owned()) };
    store.pause_queue(TENANT, "q", Some(&pause), false).await.expect("paused");
    store.pause_queue(TENANT, "q", Some(&pause), false).await.expect("paused already");
    store.pause_queue(TENANT, "q", None, false).await.expect("resumed");
    let events = listed(&store).await;
    let kinds: Vec<&str> = events.iter().map(|event| event.kind.as_str()).collect();
    let meant = [OwnType::JobDead, OwnType::QueuePaused, OwnType::QueueResumed].map(OwnType::as_str);
    assert_eq!(kinds, meant);
    assert_eq!(events[0].subject.as_deref(), Some(format!("job/{}", bad.id).as_str()));
    assert_eq!(events[0].data["queue"], json!(bad.queue));
    assert_eq!((&events[1].data["by"], &events[1].data["reason"]), (&json!("ada"), &json!("later")));
    assert_eq!((events[1].source.as_str(), events[1].stream.as_str()), ("gristmill", "queue/q"));
}

async fn what_happens_to_a_batch_and_to_a_trigger_is_reported(store: TestStore) {
    let batch = testing::sealed(&store.handle(), 1, 1).await;
    let pause = Pause::default();
    store.pause_batch(TENANT, batch, Some(&pause), false).await.expect("paused");
    store.pause_batch(TENANT, batch, None, false).await.expect("resumed");
    store.cancel_batch(TENANT, batch, "not needed", false).await.expect("cancelled");
    let noted = NewEvent {
        tenant: TENANT.to_owned(),
        schedule: "hook/orders".to_owned(),
        event: "1".to_owned(),
        about: json!({ "secret": "x" }),
        job: None,
    };
    for _ in 0..2 {
        store.note_event(&noted).await.expect("noted");
    }
    let events = listed(&store).await;
    let kinds: Vec<&str> = events.iter().map(|event| event.kind.as_str()).collect();
    let meant = [
        OwnType::BatchCreated,
        OwnType::BatchPaused,
        OwnType::BatchResumed,
        OwnType::BatchCancelled,
        OwnType::TriggerReceived,
    ];
    assert_eq!(kinds, meant.map(OwnType::as_str), "each once");
    let of_batch: Vec<Option<u64>> = events[..4].iter().map(|event| event.seq).collect();
    assert_eq!(of_batch, [Some(1), Some(2), Some(3), Some(4)], "one stream");
    let last = &events[3].data;
    assert_eq!((&last["state"], &last["counts"]["cancelled"]), (&json!("cancelled"), &json!(1)));
    assert!(!events[4].data.to_string().contains("secret"), "what was sent is not reported");
}

async fn what_a_job_emits_is_there_if_its_attempt_counts(store: TestStore) {
    let worker = enter(&store).await;
    store.enqueue(&[testing::job()]).await.expect("enqueued");
    let claimed = claim_one(&store, worker).await;
    let emitted = Publication { job: Some(claimed.fence.job), ..event("1", "order.sent") };
    let done = Completion { events: vec![emitted], ..testing::done(&claimed) };
    let mut lost = done.clone();
    lost.fence.attempt += 1;
    store.complete(&[lost]).await.expect("fenced");
    assert_eq!(listed(&store).await, [], "an attempt that does not count emits nothing");
    complete(&store, std::slice::from_ref(&done)).await;
    let ids: Vec<String> = listed(&store).await.into_iter().map(|event| event.id).collect();
    assert_eq!(ids, ["1"]);
    // The same completion once more, after a commit whose result was lost.
    store.complete(&[done]).await.expect("repeated");
    assert_eq!(listed(&store).await.len(), 1);
}

async fn a_rehearsal_reports_nothing(store: TestStore) {
    store.pause_queue(TENANT, "q", Some(&Pause::default()), true).await.expect("tried");
    assert_eq!(listed(&store).await, []);
}

async fn versions_of_a_schema_stay_what_they_are(store: TestStore) {
    let schema = |version, kind: &str| NewEventSchema {
        tenant: TENANT.to_owned(),
        kind: "order.paid".to_owned(),
        version,
        schema: json!({ "type": kind }),
        by: "ada".to_owned(),
    };
    assert_eq!(store.add_event_schema(&schema(1, "object"), true).await.expect("tried").affected, 1);
    assert_eq!(store.event_schemas(TENANT, None).await.expect("listed"), []);
    for (version, affected) in [(1, 1), (1, 0), (2, 1)] {
        let added = store.add_event_schema(&schema(version, "object"), false).await.expect("added");
        assert_eq!(added.affected, affected);
    }
    let refused = store.add_event_schema(&schema(1, "string"), false).await.expect_err("another one");
    assert!(matches!(refused, StoreError::Conflict(_)), "{refused}");
    let refused = store.add_event_schema(&schema(0, "string"), false).await.expect_err("no version");
    assert!(matches!(refused, StoreError::Invalid(_)), "{refused}");
    let versions = store.event_schemas(TENANT, Some("order.paid")).await.expect("listed");
    assert_eq!(versions.iter().map(|one| one.version).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(store.event_schemas(TENANT, Some("refund")).await.expect("listed"), []);
    store.publish_events(&[event("1", "order.paid"), event("2", "refund")]).await.expect("published");
    let mut old = event("3", "order.paid");
    old.draft.version = Some(1);
    store.publish_events(&[old]).await.expect("published");
    let versions: Vec<u32> = listed(&store).await.iter().map(|event| event.version).collect();
    assert_eq!(versions, [2, 1, 1], "the newest one, unless the publisher says otherwise");
}

async fn what_is_over_is_pruned_and_streams_go_on_counting(store: TestStore) {
    for id in ["1", "2", "3"] {
        store.publish_events(&[in_stream(id, "s")]).await.expect("published");
    }
    let later = store.now().await.expect("the time") + TimeDelta::days(1);
    assert_eq!(store.prune_events(later, 10).await.expect("pruned"), 0, "what has no position is needed");
    sequence(&store).await;
    assert_eq!(store.prune_events(later - TimeDelta::days(2), 10).await.expect("pruned"), 0, "it is not old");
    assert_eq!(store.prune_events(later, 2).await.expect("pruned"), 2);
    store.publish_events(&[in_stream("4", "s")]).await.expect("published");
    let events = listed(&store).await;
    let places: Vec<_> = events.iter().map(|event| (event.id.as_str(), event.position, event.seq)).collect();
    assert_eq!(places, [("3", Some(3), Some(3)), ("4", Some(4), Some(4))]);
}
