//! Errors that an operator has seen: noted, noted anew, taken back, and each tenant's own.

use chrono::TimeDelta;
use gristmill_store::testing::TestStore;
use gristmill_store::{ACKNOWLEDGED_MAX, AcknowledgementView, NewAcknowledgement, StoreError};

use crate::TENANT;

conformance! {
    an_error_is_acknowledged_anew_and_reopened,
    errors_are_found_by_their_names_however_many_others_were_acknowledged,
    acknowledgements_are_removed_after_their_time_the_oldest_first,
    a_rehearsal_acknowledges_nothing_and_what_is_no_fingerprint_is_refused,
}

fn ack(fingerprint: &str, reason: Option<&str>) -> NewAcknowledgement {
    let (tenant, by) = (TENANT.to_owned(), "ada".to_owned());
    NewAcknowledgement { tenant, fingerprint: fingerprint.to_owned(), by, reason: reason.map(str::to_owned) }
}

async fn seen(store: &TestStore) -> Vec<AcknowledgementView> {
    store.acknowledged(TENANT).await.expect("listed")
}

async fn an_error_is_acknowledged_anew_and_reopened(store: TestStore) {
    for (fingerprint, reason) in [("a1b2c3", Some("known\u{0}")), ("00ff00", None)] {
        let report = store.acknowledge_error(&ack(fingerprint, reason), false).await.expect("noted");
        assert_eq!((report.affected, report.samples), (1, vec![fingerprint.to_owned()]));
    }
    let before = seen(&store).await;
    let named: Vec<(&str, &str, Option<&str>)> =
        before.iter().map(|one| (one.fingerprint.as_str(), one.by.as_str(), one.reason.as_deref())).collect();
    assert_eq!(named, [("00ff00", "ada", None), ("a1b2c3", "ada", Some("known\u{fffd}"))], "the newest first");
    store.acknowledge_error(&ack("a1b2c3", None), false).await.expect("noted anew");
    let after = seen(&store).await;
    assert_eq!((after.len(), after[0].fingerprint.as_str(), after[0].reason.as_deref()), (2, "a1b2c3", None));
    assert!(after[0].at > before[1].at, "what came since then has been seen as well");
    assert_eq!(store.acknowledged("other").await.expect("listed"), []);
    assert_eq!(store.reopen_error("other", "a1b2c3", false).await.expect("asked").affected, 0);
    assert_eq!(store.reopen_error(TENANT, "a1b2c3", false).await.expect("reopened").affected, 1);
    assert_eq!(store.reopen_error(TENANT, "a1b2c3", false).await.expect("once more").affected, 0);
    assert_eq!(seen(&store).await.len(), 1);
}

async fn errors_are_found_by_their_names_however_many_others_were_acknowledged(store: TestStore) {
    // Of those of one millisecond it is the last one of the list, too.
    let oldest = "fffff0".to_owned();
    store.acknowledge_error(&ack(&oldest, None), false).await.expect("noted");
    for number in 0..ACKNOWLEDGED_MAX {
        store.acknowledge_error(&ack(&format!("{number:06x}"), None), false).await.expect("noted");
    }
    let listed = seen(&store).await;
    assert_eq!(listed.len(), ACKNOWLEDGED_MAX as usize);
    assert!(listed.iter().all(|one| one.fingerprint != oldest), "the list has the newest");
    let named = ["0000ff".to_owned(), oldest, "ffffff".to_owned()];
    let found = store.acknowledged_of(TENANT, &named).await.expect("asked");
    let names: Vec<&str> = found.iter().map(|one| one.fingerprint.as_str()).collect();
    assert_eq!(names, ["0000ff", "fffff0"]);
    assert_eq!(found[0], *listed.iter().find(|one| one.fingerprint == "0000ff").expect("listed"));
    assert_eq!(store.acknowledged_of("other", &named).await.expect("asked"), []);
    assert_eq!(store.acknowledged_of(TENANT, &[]).await.expect("asked"), []);
}

async fn acknowledgements_are_removed_after_their_time_the_oldest_first(store: TestStore) {
    for fingerprint in ["b0", "a0", "c0"] {
        store.acknowledge_error(&ack(fingerprint, None), false).await.expect("noted");
    }
    let now = store.now().await.expect("a clock");
    assert_eq!(store.prune_acknowledged(now - TimeDelta::hours(1), 10).await.expect("asked"), 0);
    let later = now + TimeDelta::hours(1);
    assert_eq!(store.prune_acknowledged(later, 2).await.expect("removed"), 2);
    assert_eq!(seen(&store).await.iter().map(|one| one.fingerprint.as_str()).collect::<Vec<_>>(), ["c0"]);
    assert_eq!(store.prune_acknowledged(later, 2).await.expect("removed"), 1);
    assert_eq!(store.prune_acknowledged(later, 2).await.expect("removed"), 0);
}

async fn a_rehearsal_acknowledges_nothing_and_what_is_no_fingerprint_is_refused(store: TestStore) {
    assert_eq!(store.acknowledge_error(&ack("abc", None), true).await.expect("tried").affected, 1);
    assert_eq!(seen(&store).await, []);
    store.acknowledge_error(&ack("abc", None), false).await.expect("noted");
    assert_eq!(store.reopen_error(TENANT, "abc", true).await.expect("tried").affected, 1);
    assert_eq!(seen(&store).await.len(), 1);
    for wrong in ["", "xyz", "a b", &"a".repeat(65)] {
        let refused = store.acknowledge_error(&ack(wrong, None), false).await.expect_err(wrong);
        assert!(matches!(refused, StoreError::Invalid(_)), "{refused}");
    }
}
