//! Second factors: offered, confirmed, demanded, spent once.

use gristmill_core::access::Role;
use gristmill_core::id::UserId;
use gristmill_store::StoreError;
use gristmill_store::accounts::{ConfirmFactor, Factor, NewSession, Second};
use gristmill_store::testing::TestStore;

use super::accounts::{attempt, known, log_in, new_session, secret, user};

conformance!(;
    databases only, "the model has no accounts":
    a_factor_is_confirmed_once_and_ends_the_sessions_that_were_opened_without_it,
    a_login_shows_what_was_not_shown_before_or_opens_nothing,
    a_code_and_a_recovery_code_open_one_session_of_many_at_once,
    a_factor_is_removed_by_what_is_shown_of_it_or_with_all_sessions,
    a_try_that_was_none_is_taken_back,
);

const SECRET: &[u8] = b"12345678901234567890";

async fn confirm(store: &TestStore, user: UserId, recovery: &[[u8; 32]]) -> Result<u64, StoreError> {
    let (secret, recovery) = (SECRET.to_vec(), recovery.to_vec());
    store.confirm_factor(&ConfirmFactor { user, secret, step: 100, recovery, keep: None }).await
}

async fn enrolled(store: &TestStore, recovery: &[[u8; 32]]) -> UserId {
    let ada = user(store, "ada", Some(Role::Owner)).await;
    store.offer_factor(ada, SECRET).await.expect("offered");
    confirm(store, ada, recovery).await.expect("confirmed");
    ada
}

fn session(user: UserId, second: Option<Second>) -> NewSession {
    NewSession { second, ..new_session(user, attempt("ada", "192.0.2.1")) }
}

async fn factor(store: &TestStore, user: UserId) -> Factor {
    store.factor(user).await.expect("asked").expect("there is one")
}

fn is_denied<T: std::fmt::Debug>(result: Result<T, StoreError>) -> bool {
    matches!(result, Err(StoreError::Denied(_)))
}

async fn a_factor_is_confirmed_once_and_ends_the_sessions_that_were_opened_without_it(store: TestStore) {
    let ada = user(&store, "ada", Some(Role::Owner)).await;
    assert_eq!(store.factor(ada).await.expect("asked"), None);
    let (kept, other) = (log_in(&store, "ada").await, log_in(&store, "ada").await);
    store.offer_factor(ada, b"another secret, of an earlier try").await.expect("offered");
    store.offer_factor(ada, SECRET).await.expect("offered in its place");
    assert!(!factor(&store, ada).await.confirmed);
    log_in(&store, "ada").await;
    let stale = ConfirmFactor { user: ada, secret: b"x".to_vec(), step: 100, recovery: vec![], keep: None };
    assert!(matches!(store.confirm_factor(&stale).await, Err(StoreError::Conflict(_))), "it was replaced");
    let keep = Some(kept);
    let recovery = vec![secret(), secret()];
    let right = ConfirmFactor { user: ada, secret: SECRET.to_vec(), step: 100, recovery, keep };
    assert_eq!(store.confirm_factor(&right).await.expect("confirmed"), 2);
    known(store.recognize_session(&kept, None).await.expect("asked"));
    assert_eq!(store.recognize_session(&other, None).await.expect("asked"), None);
    assert!(matches!(store.confirm_factor(&right).await, Err(StoreError::Conflict(_))), "once");
    assert!(matches!(store.offer_factor(ada, b"mine").await, Err(StoreError::Conflict(_))), "it is not replaced");
    let there = factor(&store, ada).await;
    assert_eq!((there.confirmed, there.last_step, there.recovery_left), (true, 100, 2));
    assert!(store.remove_user(ada).await.is_err(), "the last owner");
    assert!(!format!("{there:?} {right:?}").contains("49, 50"), "no secret is shown");
}

async fn a_login_shows_what_was_not_shown_before_or_opens_nothing(store: TestStore) {
    let recovery = [secret(), secret()];
    let ada = enrolled(&store, &recovery).await;
    let before = store.user(ada).await.expect("asked");
    assert!(is_denied(store.finish_login(&session(ada, None)).await), "the password alone");
    for step in [1, 99, 100] {
        assert!(is_denied(store.finish_login(&session(ada, Some(Second::Step(step)))).await), "{step} is over");
    }
    assert!(is_denied(store.finish_login(&session(ada, Some(Second::Recovery(secret())))).await), "no code of theirs");
    assert_eq!(store.user(ada).await.expect("asked"), before, "nothing is half-done");
    for second in [Second::Step(101), Second::Recovery(recovery[0]), Second::Step(103)] {
        store.finish_login(&session(ada, Some(second))).await.expect("asked").expect("opened");
        assert!(is_denied(store.finish_login(&session(ada, Some(second))).await), "{second:?} once");
    }
    assert!(is_denied(store.finish_login(&session(ada, Some(Second::Step(102)))).await), "of before a later one");
    assert_eq!(factor(&store, ada).await.recovery_left, 1);
    let bob = user(&store, "bob", Some(Role::Viewer)).await;
    let borrowed =
        NewSession { second: Some(Second::Recovery(recovery[1])), ..new_session(bob, attempt("bob", "192.0.2.1")) };
    assert!(is_denied(store.finish_login(&borrowed).await), "another user's code");
    let wrong = NewSession { verified: "$other".to_owned(), ..session(ada, Some(Second::Recovery(recovery[1]))) };
    assert_eq!(store.finish_login(&wrong).await.expect("asked"), None, "another password by now");
    assert_eq!(factor(&store, ada).await.recovery_left, 1, "and the code is not spent");
}

async fn a_code_and_a_recovery_code_open_one_session_of_many_at_once(store: TestStore) {
    let recovery = [secret()];
    let ada = enrolled(&store, &recovery).await;
    for second in [Second::Step(200), Second::Recovery(recovery[0])] {
        let opening = (0..8).map(|_| {
            let store = store.handle();
            tokio::spawn(async move { store.finish_login(&session(ada, Some(second))).await })
        });
        let mut opened = 0;
        for done in opening.collect::<Vec<_>>() {
            match done.await.expect("it ran") {
                Ok(session) => opened += u32::from(session.is_some()),
                refused => assert!(is_denied(refused)),
            }
        }
        assert_eq!(opened, 1, "{second:?}");
    }
}

async fn a_factor_is_removed_by_what_is_shown_of_it_or_with_all_sessions(store: TestStore) {
    let recovery = [secret()];
    let ada = enrolled(&store, &recovery).await;
    assert!(is_denied(store.remove_factor(ada, Some(Second::Step(100))).await));
    assert!(factor(&store, ada).await.confirmed);
    assert!(store.remove_factor(ada, Some(Second::Recovery(recovery[0]))).await.expect("removed"));
    assert_eq!(store.factor(ada).await.expect("asked"), None);
    let session = log_in(&store, "ada").await;
    store.offer_factor(ada, SECRET).await.expect("offered");
    let again = ConfirmFactor {
        user: ada,
        secret: SECRET.to_vec(),
        step: 100,
        recovery: recovery.to_vec(),
        keep: Some(session),
    };
    store.confirm_factor(&again).await.expect("confirmed");
    assert_eq!(factor(&store, ada).await.recovery_left, 1, "codes of the one before are gone");
    assert!(store.remove_factor(ada, None).await.expect("taken away"));
    assert_eq!(store.recognize_session(&session, None).await.expect("asked"), None, "with all sessions");
    assert!(!store.remove_factor(ada, None).await.expect("none is left"));
}

async fn a_try_that_was_none_is_taken_back(store: TestStore) {
    user(&store, "ada", Some(Role::Owner)).await;
    for _ in 0..30 {
        let attempt = attempt("ada", "192.0.2.1");
        let start = store.begin_login(&attempt).await.expect("begun");
        assert!(matches!(start, gristmill_store::accounts::LoginStart::Compare(Some(_))));
        store.take_back_try(&attempt).await.expect("taken back");
    }
    assert_eq!(store.count("SELECT CAST(sum(tries) AS bigint) FROM access_try").await, 0);
}
