//! Logins by another issuer: one account behind a subject, and a state that comes back once, however many ask at once.

use std::time::Duration;

use gristmill_core::access::Role;
use gristmill_core::email_address::EmailAddress;
use gristmill_core::id::{SessionId, UserId};
use gristmill_store::accounts::{Federated, FederatedLogin, FederatedSession, Recognition, UserChange, UserState};
use gristmill_store::testing::TestStore;
use gristmill_store::{Page, Result, StoreError};
use uuid::Uuid;

use super::accounts::{address, new_user, secret};
use super::{LONG, TENANT};

conformance!(;
    databases only, "the model has no accounts":
    a_subject_leads_to_one_account_whatever_its_address_becomes,
    a_state_comes_back_once_however_many_bring_it,
    two_subjects_of_an_issuer_do_not_share_an_account,
    an_account_is_made_once_however_many_ask_at_once,
    what_is_denied_leaves_nothing,
    what_cannot_be_kept_is_refused,
);

fn login(subject: &str, email: Option<EmailAddress>) -> FederatedLogin {
    FederatedLogin {
        state: secret(),
        state_lifetime: LONG,
        issuer: "https://login.example.com".to_owned(),
        subject: subject.to_owned(),
        email,
        links: true,
        makes: None,
        member: None,
        session: FederatedSession {
            id: SessionId(Uuid::now_v7()),
            hash: secret(),
            address: "192.0.2.1".to_owned(),
            agent: Some("a browser".to_owned()),
            lifetime: LONG,
            idle: Duration::from_secs(60),
        },
    }
}

fn made(name: &str) -> Option<(UserId, String)> {
    Some((UserId(Uuid::now_v7()), name.to_owned()))
}

fn denied(found: Result<Federated>, said: &str) {
    assert!(matches!(&found, Err(StoreError::Denied(why)) if why.contains(said)), "{said}: {found:?}");
}

async fn a_subject_leads_to_one_account_whatever_its_address_becomes(store: TestStore) {
    let ada = store.create_user(&new_user("ada", Some(Role::Viewer))).await.expect("created").id;
    denied(store.federated_login(&login("s-1", None)).await, "verified no address");
    let first = login("s-1", Some(address("ada")));
    let found = store.federated_login(&first).await.expect("logged in");
    assert_eq!((found.session.user, found.linked, found.made), (ada, true, false));
    let known = store.recognize_session(&first.session.hash, Some(TENANT)).await.expect("asked");
    let Some(Recognition::Known(recognized)) = known else { panic!("{known:?}") };
    assert_eq!(recognized.principal.role, Role::Viewer);
    let again = store.federated_login(&login("s-1", Some(address("other")))).await.expect("logged in");
    assert_eq!((again.session.user, again.linked), (ada, false));
    let promoted = FederatedLogin { member: Some((TENANT.to_owned(), Role::Operator)), ..login("s-1", None) };
    store.federated_login(&promoted).await.expect("logged in");
    let seen = store.user(ada).await.expect("asked").expect("there");
    assert_eq!(seen.memberships[0].role, Role::Operator);
    assert!(seen.last_login_at.is_some());
    store.change_user(ada, &UserChange::State(UserState::Disabled)).await.expect("disabled");
    denied(store.federated_login(&login("s-1", None)).await, "not active");
}

async fn a_state_comes_back_once_however_many_bring_it(store: TestStore) {
    store.create_user(&new_user("ada", Some(Role::Viewer))).await.expect("created");
    let first = login("s-1", Some(address("ada")));
    let second = store.second().await;
    let other = FederatedLogin { session: login("s-1", None).session, ..first.clone() };
    let (one, two) = tokio::join!(store.federated_login(&first), second.federated_login(&other));
    assert_eq!([&one, &two].into_iter().filter(|found| found.is_ok()).count(), 1, "{one:?} {two:?}");
    denied(store.federated_login(&first).await, "come back already");
}

async fn two_subjects_of_an_issuer_do_not_share_an_account(store: TestStore) {
    let ada = store.create_user(&new_user("ada", Some(Role::Viewer))).await.expect("created").id;
    store.federated_login(&login("s-1", Some(address("ada")))).await.expect("logged in");
    denied(store.federated_login(&login("s-2", Some(address("ada")))).await, "another login of this issuer");
    let elsewhere =
        FederatedLogin { issuer: "https://accounts.example.org".to_owned(), ..login("s-2", Some(address("ada"))) };
    assert_eq!(store.federated_login(&elsewhere).await.expect("another issuer").session.user, ada);
    store.remove_user(ada).await.expect("removed");
    denied(store.federated_login(&login("s-1", None)).await, "verified no address");
}

async fn an_account_is_made_once_however_many_ask_at_once(store: TestStore) {
    let second = store.second().await;
    let wish = || {
        let member = Some((TENANT.to_owned(), Role::Viewer));
        FederatedLogin { makes: made("Ada"), member, ..login("s-1", Some(address("ada"))) }
    };
    let (one, two) = (wish(), wish());
    let (first, other) = tokio::join!(store.federated_login(&one), second.federated_login(&two));
    let found: Vec<Federated> = [first, other].into_iter().flatten().collect();
    assert!(!found.is_empty() && found.iter().filter(|one| one.made).count() == 1, "{found:?}");
    assert_eq!(store.users(&Page::default()).await.expect("listed").len(), 1);
    let later = store.federated_login(&wish()).await.expect("logged in");
    assert_eq!((later.session.user, later.made), (found[0].session.user, false));
}

async fn what_is_denied_leaves_nothing(store: TestStore) {
    let nowhere = FederatedLogin {
        makes: made("Ada"),
        member: Some(("nowhere".to_owned(), Role::Viewer)),
        ..login("s-1", Some(address("ada")))
    };
    let refused = store.federated_login(&nowhere).await;
    assert!(matches!(&refused, Err(StoreError::NotFound(why)) if why.contains("nowhere")), "{refused:?}");
    assert!(store.user_by_email(&address("ada")).await.expect("asked").is_none());
    let here = FederatedLogin { member: None, ..nowhere };
    assert!(store.federated_login(&here).await.expect("the state is not spent").made);
    let closed = FederatedLogin { links: false, ..login("s-2", Some(address("ada"))) };
    denied(store.federated_login(&closed).await, "not known by this login");
}

async fn what_cannot_be_kept_is_refused(store: TestStore) {
    for subject in ["", "a\0b", &"x".repeat(1_001)] {
        let refused = store.federated_login(&login(subject, Some(address("ada")))).await;
        assert!(matches!(refused, Err(StoreError::Invalid(_))), "{refused:?}");
    }
}
