//! The audit: an entry in the transaction of each change that was ordered, and nothing that changes it afterwards.

use std::collections::BTreeSet;

use gristmill_core::audit::{Action, ActorKind, Chain, ChainEnd, SealedEntry, SignedHead};
use gristmill_store::testing::{self, TestStore};
use gristmill_store::{Attribution, AuditFilter, Pause, StoreHandle};
use serde_json::{Map, json};
use uuid::Uuid;

use crate::TENANT;

conformance! {;
    databases only, "the model has no audit":
        an_attributed_handle_writes_one_entry_with_its_first_change,
        a_transaction_that_fails_or_changes_nothing_leaves_no_entry,
        a_step_that_is_tried_again_is_written_once,
        orders_at_once_make_one_chain_without_gaps,
        tenants_have_chains_of_their_own,
        entries_are_found_by_actor_action_target_and_time,
        nothing_in_the_audit_can_be_changed_or_deleted,
        what_is_removed_after_its_time_is_written_down,
}

fn step(action: Action, target: &str) -> Attribution {
    Attribution {
        tenant: TENANT.to_owned(),
        order: Uuid::now_v7(),
        step: Uuid::now_v7(),
        actor_kind: ActorKind::Operator,
        actor: "ada@laptop".to_owned(),
        subject: None,
        role: None,
        address: None,
        request: None,
        action,
        target: target.to_owned(),
        reason: Some("why \u{0} not".to_owned()),
    }
}

fn at(store: &TestStore, attribution: Attribution) -> StoreHandle {
    store.handle().attributed(attribution)
}

async fn pause(store: &TestStore, queue: &str) {
    let handle = at(store, step(Action::QueuePause, queue));
    handle.pause_queue(TENANT, queue, Some(&Pause::default()), false).await.expect("paused");
}

async fn entries(store: &TestStore) -> Vec<SealedEntry> {
    store.audit_behind(TENANT, 0, 10_000).await.expect("listed")
}

/// Follows the chain from its first entry to its head.
async fn whole(store: &TestStore) -> ChainEnd {
    let mut chain = Chain::behind(TENANT, ChainEnd::default());
    for next in entries(store).await {
        chain.follow(&next).expect("it fits");
    }
    let heads = store.audit_heads(Some(TENANT)).await.expect("asked");
    chain.ends_at(heads.first().map(|head| head.end).unwrap_or_default()).expect("the head fits");
    chain.end()
}

async fn an_attributed_handle_writes_one_entry_with_its_first_change(store: TestStore) {
    let attribution = step(Action::QueuePause, "mail");
    let handle = at(&store, attribution.clone());
    let why = Pause { by: Some("ada".to_owned()), reason: Some("hot".to_owned()) };
    handle.pause_queue(TENANT, "mail", Some(&why), false).await.expect("paused");
    handle.pause_queue(TENANT, "mail", None, false).await.expect("resumed, by the same handle");
    let found = entries(&store).await;
    assert_eq!(found.len(), 1);
    let entry = &found[0].entry;
    assert_eq!((entry.seq, entry.order, entry.step), (1, attribution.order, attribution.step));
    assert_eq!((entry.actor.as_str(), entry.action.as_str()), ("ada@laptop", "queue.pause"));
    assert_eq!(entry.reason.as_deref(), Some("why \u{FFFD} not"));
    let details: serde_json::Value = serde_json::from_str(&entry.details).expect("JSON");
    assert_eq!(details["after"], json!({ "paused": true, "by": "ada", "reason": "hot" }));
    assert_eq!(whole(&store).await.seq, 1);
}

async fn a_transaction_that_fails_or_changes_nothing_leaves_no_entry(store: TestStore) {
    let handle = at(&store, step(Action::JobCancel, "none"));
    handle.cancel_job(TENANT, Uuid::now_v7().into(), "no", false).await.expect_err("there is none");
    handle.pause_queue(TENANT, "mail", None, false).await.expect("it is not paused");
    handle.pause_queue(TENANT, "mail", Some(&Pause::default()), true).await.expect("rehearsed");
    assert_eq!(handle.enqueue(&[]).await.expect("none").jobs, []);
    assert_eq!(entries(&store).await, []);
    let job = testing::job();
    handle.enqueue(std::slice::from_ref(&job)).await.expect("the handle still has its entry to write");
    assert_eq!(entries(&store).await.len(), 1);
    let again = at(&store, step(Action::JobEnqueue, "again"));
    again.enqueue(&[job]).await.expect("it is there already");
    assert_eq!(entries(&store).await.len(), 1, "nothing was changed");
}

async fn a_step_that_is_tried_again_is_written_once(store: TestStore) {
    let attribution = step(Action::LimitSet, "crm");
    // A separate handle does not know what became of the first try.
    for queue in ["a", "b"] {
        let handle = at(&store, attribution.clone());
        handle.pause_queue(TENANT, queue, Some(&Pause::default()), false).await.expect("paused");
    }
    assert!(!store.record_audit(&attribution, &Map::new()).await.expect("asked"), "it is there");
    assert!(store.record_audit(&step(Action::SystemPrune, "x"), &Map::new()).await.expect("written"));
    assert_eq!(whole(&store).await.seq, 2);
}

async fn orders_at_once_make_one_chain_without_gaps(store: TestStore) {
    let handles: Vec<StoreHandle> =
        (0..24).map(|number| at(&store, step(Action::QueuePause, &format!("q{number}")))).collect();
    let pauses = handles.iter().enumerate().map(|(number, handle)| async move {
        let queue = format!("q{number}");
        handle.pause_queue(TENANT, &queue, Some(&Pause::default()), false).await.expect("paused");
    });
    futures::future::join_all(pauses).await;
    assert_eq!(whole(&store).await.seq, 24);
    let targets: BTreeSet<String> = entries(&store).await.into_iter().map(|found| found.entry.target).collect();
    assert_eq!(targets.len(), 24);
}

async fn tenants_have_chains_of_their_own(store: TestStore) {
    pause(&store, "a").await;
    let other = Attribution { tenant: "other".to_owned(), ..step(Action::QueuePause, "a") };
    at(&store, other).pause_queue("other", "a", Some(&Pause::default()), false).await.expect("paused");
    let heads = store.audit_heads(None).await.expect("listed");
    let ends: Vec<(&str, u64)> = heads.iter().map(|head| (head.tenant.as_str(), head.end.seq)).collect();
    assert_eq!(ends, [(TENANT, 1), ("other", 1)]);
    assert_eq!(store.audit_behind("other", 0, 10).await.expect("listed").len(), 1);
}

async fn entries_are_found_by_actor_action_target_and_time(store: TestStore) {
    for queue in ["a", "b", "c"] {
        pause(&store, queue).await;
    }
    let eve = Attribution { actor: "eve".to_owned(), ..step(Action::QueueResume, "a") };
    at(&store, eve).pause_queue(TENANT, "a", None, false).await.expect("resumed");
    let all = AuditFilter { tenant: TENANT.to_owned(), limit: 10, ..AuditFilter::default() };
    let seqs = async |filter: AuditFilter| -> Vec<u64> {
        store.audit(&filter).await.expect("listed").iter().map(|found| found.entry.seq).collect()
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(seqs(all.clone()).await, [4, 3, 2, 1]);
    assert_eq!(seqs(AuditFilter { actor: some("eve"), ..all.clone() }).await, [4]);
    assert_eq!(seqs(AuditFilter { action: some("queue.pause"), ..all.clone() }).await, [3, 2, 1]);
    assert_eq!(seqs(AuditFilter { target: some("a"), ..all.clone() }).await, [4, 1]);
    assert_eq!(seqs(AuditFilter { before: Some(3), limit: 1, ..all.clone() }).await, [2]);
    let third = entries(&store).await[2].entry.at;
    let since = seqs(AuditFilter { since: Some(third), ..all.clone() }).await;
    assert!(since.starts_with(&[4, 3]), "{since:?}");
    assert!(seqs(AuditFilter { until: Some(third), ..all }).await.iter().all(|seq| *seq < 3));
}

async fn nothing_in_the_audit_can_be_changed_or_deleted(store: TestStore) {
    for queue in ["a", "b"] {
        pause(&store, queue).await;
    }
    let end = whole(&store).await;
    let (tenant, now) = (TENANT.to_owned(), store.now().await.expect("a clock"));
    let signed =
        SignedHead { tenant, seq: 2, hash: end.hash, at: now, key: "00".to_owned(), signature: "11".to_owned() };
    assert!(store.keep_signed_head(&signed).await.expect("kept"));
    assert!(!store.keep_signed_head(&signed).await.expect("asked"), "once");
    for statement in [
        "UPDATE audit_entry SET actor = 'nobody' WHERE seq = 1",
        "DELETE FROM audit_entry",
        "DELETE FROM audit_entry WHERE seq = 2",
        "DELETE FROM audit_head",
        "UPDATE audit_head SET seq = 1",
        "UPDATE audit_head SET hash = 'x'",
        "UPDATE audit_head SET pruned_seq = 9",
        "UPDATE audit_head SET tenant = 'other'",
        "UPDATE audit_signed_head SET hash = 'x'",
        "DELETE FROM audit_signed_head",
    ] {
        let answer = store.refused(statement).await;
        assert!(answer.contains("append-only") || answer.contains("only goes forward"), "{statement}: {answer}");
    }
    if store.url().starts_with("sqlite") {
        let over = "INSERT OR REPLACE INTO audit_entry SELECT tenant, 1, at, order_id, randomblob(16), actor_kind, \
                    'nobody', subject, role, address, request, action, target, reason, details, previous, hash \
                    FROM audit_entry WHERE seq = 2";
        let answer = store.refused(over).await;
        assert!(answer.contains("append-only"), "{answer}");
        store.tamper("INSERT OR REPLACE INTO audit_head VALUES ('main', 0, 'x', 0, 'x')").await;
    }
    if store.url().starts_with("postgres") {
        for table in ["audit_entry", "audit_head", "audit_signed_head"] {
            let answer = store.refused(&format!("TRUNCATE {table}")).await;
            assert!(answer.contains("append-only"), "{table}: {answer}");
        }
    }
    assert_eq!(whole(&store).await, end);
    assert_eq!(store.signed_heads(TENANT, 0).await.expect("listed"), [signed]);
}

async fn what_is_removed_after_its_time_is_written_down(store: TestStore) {
    for queue in ["a", "b", "c"] {
        pause(&store, queue).await;
    }
    let second = entries(&store).await[1].clone();
    let to = ChainEnd { seq: 2, hash: second.hash };
    let removal = || step(Action::AuditPrune, "entries up to 2");
    let other = ChainEnd { seq: 2, hash: second.previous };
    assert_eq!(store.prune_audit(&removal(), other).await.expect("asked"), 0, "that is not the entry");
    assert_eq!(store.prune_audit(&removal(), to).await.expect("removed"), 2);
    let left = entries(&store).await;
    let seqs: Vec<u64> = left.iter().map(|found| found.entry.seq).collect();
    assert_eq!((seqs, left[1].entry.action.as_str()), (vec![3, 4], "audit.prune"));
    let head = store.audit_heads(Some(TENANT)).await.expect("asked").remove(0);
    assert_eq!((head.pruned, head.end.seq), (to, 4));
    let mut chain = Chain::behind(TENANT, head.pruned);
    left.iter().for_each(|next| chain.follow(next).expect("it fits"));
    assert_eq!(store.prune_audit(&removal(), to).await.expect("asked"), 0, "once");
}
