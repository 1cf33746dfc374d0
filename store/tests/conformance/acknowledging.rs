//! Errors that an operator has seen: noted, noted anew, taken back, and each tenant's own.

use gristmill_store::testing::TestStore;
use gristmill_store::{AcknowledgementView, NewAcknowledgement, StoreError};

use crate::TENANT;

conformance! {
    an_error_is_acknowledged_anew_and_reopened,
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
