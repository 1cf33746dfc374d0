//! Quarantined items are chosen, patched and run again.

use std::collections::BTreeMap;

use gristmill_core::chunk::{ChunkPayload, ChunkResult, SetAside, Slice};
use gristmill_core::id::BatchId;
use gristmill_core::inline::{self, InlineItem};
use gristmill_core::job::ClaimedJob;
use gristmill_store::testing::{self, TestStore};
use gristmill_store::{Completion, ItemPatch, Page, Patch, PatchRedrive, QuarantineFilter, QuarantineWhich};
use serde_json::{Value, json};

use crate::{TENANT, assert_reconciled, batch, claim, complete, counts, enter};

conformance! {
    a_patch_mends_what_it_fits_and_the_rest_stays,
    a_dry_mending_shows_before_and_after_and_changes_nothing,
    items_are_chosen_by_stage_reason_and_position,
    items_have_others_in_their_places,
    nothing_that_can_be_mended_opens_no_generation,
    items_too_large_for_one_payload_become_several_chunks,
}

/// A sealed batch of two chunks, one of which has set these items aside.
pub(crate) async fn with_items(store: &TestStore, items: Vec<(u64, &str, &str, Value)>) -> (BatchId, ClaimedJob) {
    let id = testing::sealed(store, 2, 20).await;
    let worker = enter(store).await;
    let chunk = claim(store, worker, 1).await.remove(0);
    let aside = |(position, stage, reason, item): (u64, &str, &str, Value)| SetAside {
        position,
        line: Some(position + 2),
        stage: stage.to_owned(),
        reason: reason.to_owned(),
        item,
    };
    let set_aside: Vec<SetAside> = items.into_iter().map(aside).collect();
    let quarantined = set_aside.len() as u64;
    let result = ChunkResult { ok: 20 - quarantined, quarantined, set_aside, ..ChunkResult::default() };
    complete(store, &[Completion { chunk: Some(result), ..testing::done(&chunk) }]).await;
    (id, chunk)
}

async fn three(store: &TestStore) -> BatchId {
    let items = vec![
        (3, "parse", "`x` is not a number", json!({ "n": "x", "s": "a" })),
        (5, "parse", "`y` is no date", json!({ "s": "b" })),
        (9, "read", "the row has 3 fields", json!("a;b;c")),
    ];
    with_items(store, items).await.0
}

async fn ids(store: &TestStore, batch: BatchId) -> Vec<(i64, String)> {
    let filter = QuarantineFilter { tenant: TENANT.to_owned(), batch: Some(batch), ..Default::default() };
    let items = store.quarantine(&filter, &Page::default()).await.expect("listed");
    items.into_iter().map(|item| (item.id, item.state)).collect()
}

/// What the redriven chunks hold: claimed after the batch's own second chunk.
pub(crate) async fn redriven(store: &TestStore) -> Vec<InlineItem> {
    let worker = enter(store).await;
    let mut all = Vec::new();
    for chunk in claim(store, worker, 100).await {
        let payload: ChunkPayload = serde_json::from_value(chunk.payload).expect("a payload");
        if let Slice::Inline { zstd } = &payload.slice {
            all.extend(inline::decode(zstd).expect("whole"));
        }
    }
    all
}

fn patch(operations: Value) -> ItemPatch {
    ItemPatch::Patch(Patch::parse(&operations.to_string()).expect("a patch"))
}

async fn a_patch_mends_what_it_fits_and_the_rest_stays(store: TestStore) {
    let id = three(&store).await;
    let mend = patch(json!([{ "op": "replace", "path": "/n", "value": "7" }]));
    let report = store
        .redrive_patched(TENANT, &PatchRedrive { mend, ..PatchRedrive::new(id, 100) }, false)
        .await
        .expect("mended");
    let all = ids(&store, id).await;
    assert_eq!((report.redriven, report.kept, report.generation), (1, 2, None));
    assert_eq!(report.refused.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [all[1].0, all[2].0]);
    assert_eq!(all.iter().map(|(_, state)| state.as_str()).collect::<Vec<_>>(), ["redriven", "open", "open"]);
    let seen = batch(&store, id).await;
    assert_eq!((seen.chunks, counts(&seen.counts)), (3, [40, 17, 0, 2, 0]));
    let item = json!({ "n": "7", "s": "a" });
    assert_eq!(redriven(&store).await, [InlineItem { position: 3, line: Some(5), item }], "in its old place");
    assert_reconciled(&store).await;
}

async fn a_dry_mending_shows_before_and_after_and_changes_nothing(store: TestStore) {
    let id = three(&store).await;
    let mend = patch(json!([{ "op": "add", "path": "/t", "value": 1 }]));
    let patching = PatchRedrive { mend, ..PatchRedrive::new(id, 100) };
    let report = store.redrive_patched(TENANT, &patching, true).await.expect("asked");
    assert_eq!((report.redriven, report.kept, report.dispatched.dispatches.len()), (2, 1, 0));
    let sample = &report.samples[1];
    assert_eq!((sample.position, sample.line), (5, Some(7)));
    assert_eq!((&sample.before, &sample.after), (&json!({ "s": "b" }), &json!({ "s": "b", "t": 1 })));
    assert!(ids(&store, id).await.iter().all(|(_, state)| state == "open"));
    assert_eq!(batch(&store, id).await.chunks, 2);
}

async fn items_are_chosen_by_stage_reason_and_position(store: TestStore) {
    let id = three(&store).await;
    let all = ids(&store, id).await;
    let chosen = async |which: QuarantineWhich| {
        let report = store.redrive_patched(TENANT, &PatchRedrive { which, ..PatchRedrive::new(id, 100) }, true).await;
        report.expect("asked").samples.iter().map(|sample| sample.position).collect::<Vec<_>>()
    };
    let any = QuarantineWhich::default;
    assert_eq!(chosen(any()).await, [3, 5, 9]);
    assert_eq!(chosen(QuarantineWhich { stage: Some("parse".to_owned()), ..any() }).await, [3, 5]);
    assert_eq!(chosen(QuarantineWhich { reason: Some("no date".to_owned()), ..any() }).await, [5]);
    assert_eq!(chosen(QuarantineWhich { from: Some(5), ..any() }).await, [5, 9]);
    assert_eq!(chosen(QuarantineWhich { from: Some(4), to: Some(5), ..any() }).await, [5]);
    assert_eq!(chosen(QuarantineWhich { items: vec![all[0].0, all[2].0, 99_999], to: Some(8), ..any() }).await, [3]);
    assert_eq!(chosen(QuarantineWhich { reason: Some("'; DROP TABLE job; --".to_owned()), ..any() }).await, [0_u64; 0]);
}

async fn items_have_others_in_their_places(store: TestStore) {
    let id = three(&store).await;
    let all = ids(&store, id).await;
    let replace = BTreeMap::from([(all[2].0, json!({ "n": "1" })), (all[0].0, json!({ "n": "2" }))]);
    let which = QuarantineWhich { items: replace.keys().copied().collect(), ..QuarantineWhich::default() };
    let patching = PatchRedrive { which, mend: ItemPatch::Replace(replace), ..PatchRedrive::new(id, 100) };
    let report = store.redrive_patched(TENANT, &patching, false).await.expect("mended");
    assert_eq!((report.redriven, report.kept), (2, 0));
    let items: Vec<_> = redriven(&store).await.into_iter().map(|item| (item.position, item.item)).collect();
    assert_eq!(items, [(3, json!({ "n": "2" })), (9, json!({ "n": "1" }))]);
    let again = store.redrive_patched(TENANT, &patching, false).await.expect("again");
    assert_eq!((again.redriven, again.kept), (0, 0), "what is redriven is redriven once");
}

async fn nothing_that_can_be_mended_opens_no_generation(store: TestStore) {
    let id = three(&store).await;
    let mend = patch(json!([{ "op": "remove", "path": "/missing" }]));
    let report = store
        .redrive_patched(TENANT, &PatchRedrive { mend, ..PatchRedrive::new(id, 100) }, false)
        .await
        .expect("asked");
    assert_eq!((report.redriven, report.kept, report.generation), (0, 3, None));
    assert_eq!((batch(&store, id).await.chunks, batch(&store, id).await.generation), (2, 0));
}

async fn items_too_large_for_one_payload_become_several_chunks(store: TestStore) {
    // Data that does not compress: 300,000 hexadecimal digits of a fixed sequence each.
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut noise = || {
        (0..18_750).fold(String::new(), |text, _| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            text + &format!("{state:016x}")
        })
    };
    let items = (0..8).map(|n| (n, "parse", "no", json!({ "noise": noise() }))).collect();
    let (id, _) = with_items(&store, items).await;
    let report = store.redrive_patched(TENANT, &PatchRedrive::new(id, 100), false).await.expect("mended");
    assert_eq!(report.redriven, 8);
    let seen = batch(&store, id).await;
    assert!(seen.chunks > 3, "{} chunks", seen.chunks);
    assert_eq!(redriven(&store).await.iter().map(|item| item.position).collect::<Vec<_>>(), (0..8).collect::<Vec<_>>());
    assert_reconciled(&store).await;
}
