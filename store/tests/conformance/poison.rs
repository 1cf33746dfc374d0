//! Messages that no process can act upon: kept once, counted, shown, deleted; and which ids are unknown.

use gristmill_core::id::JobId;
use gristmill_store::testing::{self, TestStore, claim_as};
use gristmill_store::{NewPoison, POISON_BYTES_MAX, Page, PoisonSource};
use serde_json::json;
use uuid::Uuid;

use crate::{assert_reconciled, enter};

conformance! {
    the_same_poison_a_thousand_times_is_one_row_with_a_count,
    poison_is_shown_with_its_headers_and_its_first_bytes,
    poison_comes_in_pages_newest_first_and_is_forgotten_by_number,
    an_id_that_no_job_has_is_unknown,
    the_ids_of_a_batch_that_was_taken_back_are_not_unknown,
}

fn poison(text: &str, queue: &str) -> NewPoison {
    NewPoison {
        queue: queue.to_owned(),
        sha256: format!("{:0>64}", text.len()),
        size: text.len() as u64,
        bytes: text.as_bytes().to_vec(),
        headers: json!({ "headers": { "from": "billing\u{0}" } }),
        reason: "it is no message".to_owned(),
        source: PoisonSource::Worker,
    }
}

async fn the_same_poison_a_thousand_times_is_one_row_with_a_count(store: TestStore) {
    let group: Vec<NewPoison> = (0..100).map(|_| poison("hello", "mail")).collect();
    for _ in 0..9 {
        store.record_poison(&group).await.expect("kept");
    }
    // Two at once, with two kinds of poison in opposite order: they do not deadlock.
    let mixed = |first: &str, second: &str| {
        (0..25).flat_map(|_| [poison(first, "mail"), poison(second, "mail")]).collect::<Vec<_>>()
    };
    let (one, other) = (mixed("hello", "longer"), mixed("longer", "hello"));
    let (one, other) = tokio::join!(store.record_poison(&one), store.record_poison(&other));
    one.and(other).expect("kept");
    store.record_poison(&group[..50]).await.expect("kept");
    store.record_poison(&[poison("hello", "default")]).await.expect("kept");
    store.record_poison(&[]).await.expect("nothing to keep");

    let mut found = store.poison(&Page::default()).await.expect("listed");
    found.sort_by_key(|one| (one.queue.clone(), one.size));
    let seen: Vec<(&str, u64, u64)> = found.iter().map(|one| (one.queue.as_str(), one.size, one.seen)).collect();
    assert_eq!(seen, [("default", 5, 1), ("mail", 5, 1_000), ("mail", 6, 50)]);
    assert!(found.iter().all(|one| one.first_at <= one.last_at));
}

async fn poison_is_shown_with_its_headers_and_its_first_bytes(store: TestStore) {
    let mut huge = poison("x", "");
    huge.bytes = vec![0xff; POISON_BYTES_MAX + 10];
    huge.size = 1_000_000;
    huge.reason = "a\u{0}b".to_owned();
    huge.source = PoisonSource::Returned;
    store.record_poison(std::slice::from_ref(&huge)).await.expect("kept");
    let id = store.poison(&Page::default()).await.expect("listed")[0].id;
    let found = store.poison_message(id).await.expect("asked").expect("it is there");
    assert_eq!((found.bytes.len(), found.bytes[0], found.view.size), (POISON_BYTES_MAX, 0xff, 1_000_000));
    assert_eq!(found.headers, huge.headers);
    assert_eq!((found.view.reason.as_str(), found.view.source.as_str()), ("a\u{fffd}b", "returned"));
    assert_eq!(store.poison_message(id + 1).await.expect("asked"), None);
}

async fn poison_comes_in_pages_newest_first_and_is_forgotten_by_number(store: TestStore) {
    let all: Vec<NewPoison> = (1..=5).map(|length| poison(&"x".repeat(length), "mail")).collect();
    for one in &all {
        store.record_poison(std::slice::from_ref(one)).await.expect("kept");
    }
    let first = store.poison(&Page { after: None, limit: 2 }).await.expect("listed");
    assert_eq!(first.iter().map(|one| one.size).collect::<Vec<_>>(), [5, 4]);
    let after = Page { after: Some(first[1].id.to_string()), limit: 2 };
    let second = store.poison(&after).await.expect("listed");
    assert_eq!(second.iter().map(|one| one.size).collect::<Vec<_>>(), [3, 2]);
    let unreadable = store.poison(&Page { after: Some("x".to_owned()), limit: 2 }).await.expect_err("no key");
    assert!(unreadable.to_string().contains("a number"), "{unreadable}");

    let ids = [first[0].id, second[0].id, -1];
    let would = store.drop_poison(&ids, true).await.expect("tried");
    assert_eq!((would.affected, store.poison(&Page::default()).await.expect("listed").len()), (2, 5));
    assert_eq!(store.drop_poison(&ids, false).await.expect("dropped").affected, 2);
    assert_eq!(store.drop_poison(&ids, false).await.expect("once more").affected, 0);
    let left: Vec<u64> = store.poison(&Page::default()).await.expect("listed").iter().map(|one| one.size).collect();
    assert_eq!(left, [4, 2, 1]);
}

async fn an_id_that_no_job_has_is_unknown(store: TestStore) {
    let known = testing::jobs(2);
    store.enqueue(&known).await.expect("enqueued");
    let worker = enter(&store).await;
    let (stranger, other) = (JobId(Uuid::now_v7()), JobId(Uuid::from_u128(7)));
    let asked = [stranger, known[0].id, other, known[1].id, stranger];
    let report = store.claim(&claim_as(worker, 1), &asked).await.expect("claimed");
    assert_eq!((report.claimed.len(), report.busy.len(), report.stale), (1, 1, Vec::new()));
    let mut unknown = report.unknown;
    unknown.sort();
    assert_eq!(unknown, [other, stranger]);
    let again = store.claim(&claim_as(worker, 9), &[report.claimed[0].fence.job]).await.expect("claimed");
    assert_eq!((again.stale.len(), again.unknown), (1, Vec::new()), "a job that runs is late, not unknown");
    let mut unknown = store.unknown_jobs(&asked).await.expect("asked");
    unknown.sort();
    unknown.dedup();
    assert_eq!(unknown, [other, stranger]);
}

async fn the_ids_of_a_batch_that_was_taken_back_are_not_unknown(store: TestStore) {
    let batch = testing::batch();
    store.create_batch(&batch).await.expect("created");
    let chunks = testing::chunks(3, 10);
    store.add_chunks(batch.id, &chunks).await.expect("added");
    store.discard_batch(batch.id).await.expect("taken back");
    let empty = testing::batch();
    store.create_batch(&empty).await.expect("created");
    store.discard_batch(empty.id).await.expect("one without chunks, too");
    let ids: Vec<JobId> = chunks.iter().map(|chunk| chunk.id).collect();
    let worker = enter(&store).await;
    let report = store.claim(&claim_as(worker, 10), &ids).await.expect("claimed");
    assert_eq!((report.stale.len(), report.unknown), (3, Vec::new()), "messages of it may still be on the road");
    assert_eq!(store.unknown_jobs(&ids).await.expect("asked"), []);
    assert_reconciled(&store).await;
}
