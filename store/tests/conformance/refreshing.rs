//! Sessions by tokens, their refresh tokens, and the keys that sign.

use std::time::Duration;

use gristmill_core::access::Role;
use gristmill_core::id::{KeyId, SessionId, UserId};
use gristmill_store::accounts::{
    EndSessions, NewKey, NewSession, RefreshSession, Refreshed, SecretHash, SessionKind, UserChange, UserState,
    WhichSessions,
};
use gristmill_store::testing::TestStore;
use gristmill_store::{Page, StoreError};
use uuid::Uuid;

use super::accounts::{attempt, known, log_in, new_session, secret, user};
use super::{LONG, TENANT};

conformance!(;
    databases only, "the model has no accounts":
    a_refresh_token_is_used_once_and_ends_its_session_when_it_comes_again,
    many_at_once_get_one_successor_and_lose_the_session,
    what_is_over_is_not_refreshed,
    a_session_by_tokens_is_known_by_its_id_and_its_user_alone,
    one_key_signs_and_the_one_before_verifies_for_a_while,
    of_many_first_keys_at_once_one_is_added,
);

/// Opens a session by tokens; returns it, and the hash of its refresh token.
async fn open(store: &TestStore, user: UserId, idle: Duration) -> (SessionId, SecretHash) {
    let session = NewSession { kind: SessionKind::Tokens, idle, ..new_session(user, attempt("ada", "192.0.2.1")) };
    store.finish_login(&session).await.expect("finished").expect("opened");
    (session.id, session.hash)
}

async fn refresh(store: &TestStore, spent: SecretHash) -> (Refreshed, SecretHash) {
    let next = secret();
    let refreshed = store.refresh_session(&RefreshSession { spent, next, idle: LONG }).await.expect("asked");
    (refreshed, next)
}

async fn is_known(store: &TestStore, session: SessionId, user: UserId) -> bool {
    store.recognize_access(session, user, None).await.expect("asked").is_some()
}

async fn a_refresh_token_is_used_once_and_ends_its_session_when_it_comes_again(store: TestStore) {
    let ada = user(&store, "ada", Some(Role::Owner)).await;
    let ((session, first), (other, _)) = (open(&store, ada, LONG).await, open(&store, ada, LONG).await);
    let (renewed, second) = refresh(&store, first).await;
    let Refreshed::Renewed(view) = renewed else { panic!("{renewed:?}") };
    assert_eq!((view.id, view.user, view.kind), (session, ada, SessionKind::Tokens));
    let (renewed, third) = refresh(&store, second).await;
    assert!(matches!(renewed, Refreshed::Renewed(_)), "{renewed:?}");
    assert!(is_known(&store, session, ada).await);
    assert_eq!(refresh(&store, first).await.0, Refreshed::Reused, "also one of long ago");
    assert!(!is_known(&store, session, ada).await, "its session has ended");
    assert_eq!(refresh(&store, third).await.0, Refreshed::Unknown, "and the newest token with it");
    assert_eq!(refresh(&store, second).await.0, Refreshed::Reused);
    assert!(is_known(&store, other, ada).await, "others go on");
    assert_eq!(refresh(&store, secret()).await.0, Refreshed::Unknown);
}

async fn many_at_once_get_one_successor_and_lose_the_session(store: TestStore) {
    let ada = user(&store, "ada", Some(Role::Owner)).await;
    let (session, first) = open(&store, ada, LONG).await;
    let tries = (0..8).map(|_| {
        let store = store.handle();
        tokio::spawn(async move {
            let wish = RefreshSession { spent: first, next: secret(), idle: LONG };
            (store.refresh_session(&wish).await.expect("asked"), wish.next)
        })
    });
    let mut successors = Vec::new();
    for tried in tries.collect::<Vec<_>>() {
        match tried.await.expect("it ends") {
            (Refreshed::Renewed(_), next) => successors.push(next),
            (refused, _) => assert_eq!(refused, Refreshed::Reused),
        }
    }
    let [successor] = successors.try_into().expect("one");
    assert_eq!(refresh(&store, successor).await.0, Refreshed::Unknown, "nobody has it any more");
    assert!(!is_known(&store, session, ada).await);
}

async fn what_is_over_is_not_refreshed(store: TestStore) {
    let ada = user(&store, "ada", Some(Role::Owner)).await;
    user(&store, "eve", Some(Role::Owner)).await;
    let (idle, brief) = open(&store, ada, Duration::from_secs(1)).await;
    let (ended, of_ended) = open(&store, ada, LONG).await;
    let (left, of_left) = open(&store, ada, LONG).await;
    assert!(store.end_refresh(&of_left).await.expect("ended") && !store.end_refresh(&of_left).await.expect("asked"));
    let which = WhichSessions::One(ended);
    assert_eq!(store.end_sessions(&EndSessions { user: ada, which }).await.expect("ended"), 1);
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    for (session, token) in [(idle, brief), (ended, of_ended), (left, of_left)] {
        assert_eq!(refresh(&store, token).await.0, Refreshed::Unknown);
        assert!(!is_known(&store, session, ada).await);
    }
    let browser = log_in(&store, "ada").await;
    assert_eq!(refresh(&store, browser).await.0, Refreshed::Unknown, "the secret of a cookie is no refresh token");
    assert!(!store.end_refresh(&browser).await.expect("asked"));
    let (session, token) = open(&store, ada, LONG).await;
    store.change_user(ada, &UserChange::State(UserState::Disabled)).await.expect("disabled");
    assert_eq!(refresh(&store, token).await.0, Refreshed::Unknown);
    store.change_user(ada, &UserChange::State(UserState::Active)).await.expect("enabled");
    assert!(!is_known(&store, session, ada).await, "it does not come back");
}

async fn a_session_by_tokens_is_known_by_its_id_and_its_user_alone(store: TestStore) {
    let (ada, bob) = (user(&store, "ada", Some(Role::Owner)).await, user(&store, "bob", Some(Role::Viewer)).await);
    let (session, token) = open(&store, ada, LONG).await;
    let asked = async |tenant| store.recognize_access(session, ada, tenant).await.expect("asked");
    let (recognition, _) = asked(None).await.expect("known");
    let principal = known(Some(recognition));
    assert_eq!((principal.tenant.as_str(), principal.role, principal.scopes), (TENANT, Role::Owner, None));
    assert!(matches!(asked(Some("north")).await, Some((gristmill_store::accounts::Recognition::NotMember, _))));
    assert!(!is_known(&store, session, bob).await, "a token that names another user");
    log_in(&store, "ada").await;
    let sessions = store.sessions(ada, &Page::default()).await.expect("listed");
    let browser = sessions.iter().find(|view| view.kind == SessionKind::Browser).expect("listed");
    assert!(!is_known(&store, browser.id, ada).await, "that of a browser is known by its cookie");
    assert_eq!(sessions.len(), 2);
    assert!(matches!(refresh(&store, token).await.0, Refreshed::Renewed(_)));
}

fn key(replaces: Option<Duration>) -> NewKey {
    let id = KeyId(Uuid::now_v7());
    NewKey { id, public: secret().to_vec(), secret: b"a secret half".to_vec(), replaces }
}

async fn signing(store: &TestStore) -> Option<KeyId> {
    store.signing_key().await.expect("asked").map(|key| key.id)
}

async fn keys(store: &TestStore) -> Vec<(KeyId, bool)> {
    store.access_keys().await.expect("listed").into_iter().map(|key| (key.id, key.signs)).collect()
}

async fn one_key_signs_and_the_one_before_verifies_for_a_while(store: TestStore) {
    assert_eq!((signing(&store).await, keys(&store).await), (None, vec![]));
    let (first, second, third) = (key(None), key(Some(LONG)), key(Some(Duration::from_secs(1))));
    assert!(store.add_key(&first).await.expect("added"));
    assert!(!store.add_key(&key(None)).await.expect("asked"), "there is one that signs");
    assert!(store.add_key(&second).await.expect("added"));
    assert_eq!(signing(&store).await, Some(second.id));
    assert_eq!(keys(&store).await, [(second.id, true), (first.id, false)]);
    assert!(store.add_key(&third).await.expect("added"));
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert_eq!(keys(&store).await, [(third.id, true), (first.id, false)], "the second is over");
    assert!(store.withdraw_key(first.id).await.expect("asked") && !store.withdraw_key(first.id).await.expect("asked"));
    assert!(store.withdraw_key(third.id).await.expect("asked"));
    assert_eq!((signing(&store).await, keys(&store).await), (None, vec![]));
    let short = NewKey { public: vec![7], ..key(None) };
    assert!(matches!(store.add_key(&short).await, Err(StoreError::Invalid(_))));
    assert!(!format!("{first:?}").contains("97, 32, 115"), "no secret is shown");
}

async fn of_many_first_keys_at_once_one_is_added(store: TestStore) {
    let tries = (0..6).map(|_| {
        let store = store.handle();
        tokio::spawn(async move { store.add_key(&key(None)).await.expect("asked") })
    });
    let mut added = 0;
    for tried in tries.collect::<Vec<_>>() {
        added += u32::from(tried.await.expect("it ends"));
    }
    assert_eq!((added, keys(&store).await.len()), (1, 1));
}
