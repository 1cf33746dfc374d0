//! Requests that carry an idempotency key: carried out once, answered again with the same.

use std::time::Duration;

use gristmill_store::testing::TestStore;
use gristmill_store::{ANSWER_BYTES_MAX, BegunRequest, KeptAnswer, NewRequest, RequestKey};
use uuid::Uuid;

conformance! {
    a_request_is_begun_once_and_answered_again_with_the_same,
    of_two_requests_at_once_one_is_begun,
    another_request_under_the_same_key_is_known_as_such,
    keys_of_other_callers_and_tenants_have_nothing_to_do_with_it,
    a_request_whose_process_died_begins_anew_when_its_lease_ends,
    a_request_that_changed_nothing_is_forgotten,
    a_request_is_forgotten_when_its_time_is_over,
}

const LONG: Duration = Duration::from_secs(3_600);

fn key(tenant: &str, caller: &str) -> RequestKey {
    RequestKey { tenant: tenant.to_owned(), caller: caller.to_owned(), key: "order-7".to_owned() }
}

fn request(body: char) -> NewRequest {
    let (attempt, sha256) = (Uuid::now_v7(), body.to_string().repeat(64));
    NewRequest { key: key("main", "ada"), attempt, sha256, lease: LONG, keep: LONG }
}

fn made() -> KeptAnswer {
    KeptAnswer { status: 201, document: Some("{\"id\":1}".to_owned()), location: Some("/x".to_owned()) }
}

async fn a_request_is_begun_once_and_answered_again_with_the_same(store: TestStore) {
    let (first, second) = (request('a'), request('a'));
    assert_eq!(store.begin_request(&first).await.expect("begun"), BegunRequest::Begun);
    assert_eq!(store.begin_request(&second).await.expect("met"), BegunRequest::UnderWay);
    let answer = |attempt| {
        let store = &store;
        async move { store.answer_request(&key("main", "ada"), attempt, &made()).await.expect("kept") }
    };
    assert!(!answer(second.attempt).await, "it is not the second one's to answer");
    assert!(answer(first.attempt).await);
    assert!(!answer(first.attempt).await, "once");
    assert_eq!(store.begin_request(&second).await.expect("met"), BegunRequest::Answered(made()));
    let long = KeptAnswer { document: Some("x".repeat(ANSWER_BYTES_MAX + 1)), ..made() };
    let third = NewRequest { key: key("main", "bob"), ..request('a') };
    store.begin_request(&third).await.expect("begun");
    assert!(store.answer_request(&third.key, third.attempt, &long).await.expect("kept"));
    let again = NewRequest { attempt: Uuid::now_v7(), ..third };
    let BegunRequest::Answered(kept) = store.begin_request(&again).await.expect("met") else { panic!("not kept") };
    assert_eq!((kept.status, kept.document), (201, None), "an answer that is too long is known as given");
}

async fn of_two_requests_at_once_one_is_begun(store: TestStore) {
    let (one, other) = (request('a'), request('a'));
    let (one, other) = tokio::join!(store.begin_request(&one), store.begin_request(&other));
    let mut met = [one.expect("met"), other.expect("met")].map(|met| format!("{met:?}"));
    met.sort();
    assert_eq!(met, ["Begun", "UnderWay"]);
}

async fn another_request_under_the_same_key_is_known_as_such(store: TestStore) {
    let first = request('a');
    store.begin_request(&first).await.expect("begun");
    assert_eq!(store.begin_request(&request('b')).await.expect("met"), BegunRequest::Different);
    store.answer_request(&first.key, first.attempt, &made()).await.expect("kept");
    assert_eq!(store.begin_request(&request('b')).await.expect("met"), BegunRequest::Different);
}

async fn keys_of_other_callers_and_tenants_have_nothing_to_do_with_it(store: TestStore) {
    for key in [key("main", "ada"), key("main", "bob"), key("other", "ada")] {
        let request = NewRequest { key, ..request('a') };
        assert_eq!(store.begin_request(&request).await.expect("begun"), BegunRequest::Begun);
    }
}

async fn a_request_whose_process_died_begins_anew_when_its_lease_ends(store: TestStore) {
    let first = NewRequest { lease: Duration::ZERO, ..request('a') };
    store.begin_request(&first).await.expect("begun");
    let second = request('a');
    assert_eq!(store.begin_request(&second).await.expect("begun"), BegunRequest::Begun);
    assert!(!store.answer_request(&first.key, first.attempt, &made()).await.expect("asked"), "it is too late");
    assert!(store.answer_request(&second.key, second.attempt, &made()).await.expect("kept"));
}

async fn a_request_that_changed_nothing_is_forgotten(store: TestStore) {
    let (first, second) = (request('a'), request('b'));
    store.begin_request(&first).await.expect("begun");
    store.forget_request(&first.key, second.attempt).await.expect("not its own");
    assert_eq!(store.begin_request(&second).await.expect("met"), BegunRequest::Different);
    store.forget_request(&first.key, first.attempt).await.expect("forgotten");
    assert_eq!(store.begin_request(&second).await.expect("begun"), BegunRequest::Begun);
    store.answer_request(&second.key, second.attempt, &made()).await.expect("kept");
    store.forget_request(&second.key, second.attempt).await.expect("nothing");
    assert_eq!(store.begin_request(&request('b')).await.expect("met"), BegunRequest::Answered(made()));
}

async fn a_request_is_forgotten_when_its_time_is_over(store: TestStore) {
    for caller in ["ada", "bob", "eve"] {
        let short = NewRequest { key: key("main", caller), keep: Duration::ZERO, ..request('a') };
        assert_eq!(store.begin_request(&short).await.expect("begun"), BegunRequest::Begun);
    }
    assert_eq!(store.begin_request(&request('b')).await.expect("begun"), BegunRequest::Begun);
}
