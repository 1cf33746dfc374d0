//! The delivery records of emails.

use gristmill_store::testing::{self, TestStore};
use gristmill_store::{EmailKey, EmailState, NewEmail};

use crate::{TENANT, claim_one, enter};

conformance! {
    a_delivery_record_is_made_once,
    a_delivery_record_moves_under_its_fence_only,
    a_delivery_record_of_another_job_does_not_move,
}

fn new_email(job: gristmill_core::id::JobId) -> NewEmail {
    let key = EmailKey { tenant: TENANT.to_owned(), key: "report of the 1st".to_owned() };
    NewEmail { key, job, message_id: "<1@gristmill>".to_owned() }
}

async fn a_delivery_record_is_made_once(store: TestStore) {
    let first = new_email(testing::job_id());
    let made = store.email(&first).await.expect("made");
    assert_eq!((made.state, made.message_id.as_str()), (EmailState::Pending, "<1@gristmill>"));
    let again = NewEmail { message_id: "<2@gristmill>".to_owned(), ..first.clone() };
    assert_eq!(store.email(&again).await.expect("found"), made, "the same Message-ID and Date ever after");
    let mut other = first;
    other.key.tenant = "other".to_owned();
    other.message_id = "<3@gristmill>".to_owned();
    assert_eq!(store.email(&other).await.expect("made").message_id, "<3@gristmill>");
}

async fn a_delivery_record_moves_under_its_fence_only(store: TestStore) {
    store.enqueue(&[testing::job()]).await.expect("enqueued");
    let worker = enter(&store).await;
    let claimed = claim_one(&store, worker).await;
    let email = new_email(claimed.fence.job);
    store.email(&email).await.expect("made");
    let moved = store.email_move(&email.key, &claimed.fence, EmailState::Sending, None).await.expect("asked");
    assert!(moved);
    assert_eq!(store.email(&email).await.expect("found").state, EmailState::Sending);
    store.retire_worker(worker).await.expect("retired");
    let moved = store.email_move(&email.key, &claimed.fence, EmailState::Sent, Some("250 \u{0}")).await.expect("asked");
    assert!(!moved, "the attempt is over");
    let other = enter(&store).await;
    let next = claim_one(&store, other).await;
    let note = Some("250 2.0.0 \u{0}");
    assert!(store.email_move(&email.key, &next.fence, EmailState::Uncertain, note).await.expect("asked"));
    assert_eq!(store.email(&email).await.expect("found").state, EmailState::Uncertain);
}

async fn a_delivery_record_of_another_job_does_not_move(store: TestStore) {
    store.enqueue(&[testing::job()]).await.expect("enqueued");
    let worker = enter(&store).await;
    let claimed = claim_one(&store, worker).await;
    let email = new_email(testing::job_id());
    store.email(&email).await.expect("made");
    assert!(!store.email_move(&email.key, &claimed.fence, EmailState::Sent, None).await.expect("asked"));
    let missing = EmailKey { key: "never made".to_owned(), ..email.key };
    assert!(!store.email_move(&missing, &claimed.fence, EmailState::Sent, None).await.expect("asked"));
}
