//! Logins by another issuer: one account behind a subject, and a state that comes back once, however many ask at once.

use std::time::Duration;

use gristmill_core::access::Role;
use gristmill_core::email_address::EmailAddress;
use gristmill_core::id::{SessionId, UserId};
use gristmill_core::linking::NotLinked;
use gristmill_store::accounts::{
    Appointer, Federated, FederatedAnswer, FederatedLogin, FederatedSession, MemberChange, NewLogin, NewTenant,
    NewUser, Quotas, Recognition, UserChange, UserState,
};
use gristmill_store::testing::TestStore;
use gristmill_store::{Page, Result, StoreError};
use uuid::Uuid;

use super::accounts::{address, new_user, secret};
use super::{LONG, TENANT};

conformance!(;
    databases only, "the model has no accounts":
    a_subject_leads_to_one_account_whatever_its_address_becomes,
    a_login_that_its_user_links_is_known_whatever_the_user_is,
    a_login_is_unlinked_and_what_it_opened_ends_but_a_way_in_stays,
    a_state_comes_back_once_however_many_bring_it,
    two_subjects_of_an_issuer_do_not_share_an_account,
    an_address_opens_only_who_is_nothing_outside_the_providers_tenant,
    who_becomes_more_is_not_known_by_logins_that_were_linked_before,
    no_owner_is_linked_who_becomes_one_at_the_same_moment,
    a_place_by_one_issuer_is_no_place_for_another,
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
        tenant: TENANT.to_owned(),
        links: true,
        makes: None,
        role: None,
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

fn denied(found: Result<FederatedAnswer>, said: &str) {
    assert!(matches!(&found, Err(StoreError::Denied(why)) if why.contains(said)), "{said}: {found:?}");
}

fn opened(found: Result<FederatedAnswer>, what: &str) -> Federated {
    match found {
        Ok(FederatedAnswer::Opened(opened)) => *opened,
        other => panic!("{what}: {other:?}"),
    }
}

fn refused(found: Result<FederatedAnswer>, why: NotLinked) {
    assert_eq!(found.expect("asked"), FederatedAnswer::Refused(why));
}

async fn in_tenant(store: &TestStore, name: &str) {
    let tenant = NewTenant { name: name.to_owned(), quotas: Quotas::default(), owner: None };
    store.create_tenant(&tenant).await.expect("created");
}

async fn set_role(store: &TestStore, tenant: &str, user: UserId, role: Option<Role>) {
    let change = MemberChange { tenant: tenant.to_owned(), user, role, by: Appointer::Installation };
    store.set_member(&change).await.expect("set");
}

async fn is_open(store: &TestStore, login: &FederatedLogin) -> bool {
    let found = store.recognize_session(&login.session.hash, None).await.expect("asked");
    matches!(found, Some(Recognition::Known(_)))
}

async fn a_subject_leads_to_one_account_whatever_its_address_becomes(store: TestStore) {
    let ada = store.create_user(&new_user("ada", Some(Role::Viewer))).await.expect("created").id;
    denied(store.federated_login(&login("s-1", None)).await, "verified no address");
    let first = login("s-1", Some(address("ada")));
    let found = opened(store.federated_login(&first).await, "logged in");
    assert_eq!((found.session.user, found.linked, found.made), (ada, true, false));
    let known = store.recognize_session(&first.session.hash, Some(TENANT)).await.expect("asked");
    let Some(Recognition::Known(recognized)) = known else { panic!("{known:?}") };
    assert_eq!(recognized.principal.role, Role::Viewer);
    let again = opened(store.federated_login(&login("s-1", Some(address("other")))).await, "logged in");
    assert_eq!((again.session.user, again.linked), (ada, false));
    let promoted = FederatedLogin { role: Some(Role::Operator), ..login("s-1", None) };
    opened(store.federated_login(&promoted).await, "logged in");
    let seen = store.user(ada).await.expect("asked").expect("there");
    assert_eq!(seen.memberships[0].role, Role::Operator);
    assert!(seen.last_login_at.is_some());
    store.change_user(ada, &UserChange::State(UserState::Disabled)).await.expect("disabled");
    denied(store.federated_login(&login("s-1", None)).await, "not active");
}

/// A login that a user links to their account.
fn own(user: UserId, subject: &str) -> NewLogin {
    let FederatedLogin { state, state_lifetime, issuer, subject, .. } = login(subject, None);
    NewLogin { state, state_lifetime, issuer, subject, user }
}

fn conflict<T: std::fmt::Debug>(found: Result<T>, said: &str) {
    assert!(matches!(&found, Err(StoreError::Conflict(why)) if why.contains(said)), "{said}: {found:?}");
}

async fn a_login_that_its_user_links_is_known_whatever_the_user_is(store: TestStore) {
    let ada = store.create_user(&new_user("ada", Some(Role::Owner))).await.expect("created").id;
    let bob = store.create_user(&new_user("bob", Some(Role::Viewer))).await.expect("created").id;
    let first = own(ada, "s-1");
    assert!(store.link_login(&first).await.expect("linked"));
    let spent = store.link_login(&first).await;
    assert!(matches!(&spent, Err(StoreError::Denied(why)) if why.contains("come back already")), "{spent:?}");
    assert!(!store.link_login(&own(ada, "s-1")).await.expect("asked"), "it is linked already");
    conflict(store.link_login(&own(bob, "s-1")).await, "of another account");
    conflict(store.link_login(&own(ada, "s-2")).await, "another login of this issuer");
    let seen = store.logins_of(ada).await.expect("asked");
    assert_eq!((seen.len(), seen[0].subject.as_str()), (1, "s-1"));
    let lowered = FederatedLogin { role: Some(Role::Viewer), ..login("s-1", None) };
    assert_eq!(opened(store.federated_login(&lowered).await, "known").session.user, ada);
    let owner = store.user(ada).await.expect("asked").expect("there");
    assert_eq!(owner.memberships[0].role, Role::Owner, "no issuer takes an owner's place away");
    store.change_user(bob, &UserChange::State(UserState::Disabled)).await.expect("disabled");
    let refused = store.link_login(&own(bob, "s-9")).await;
    assert!(matches!(&refused, Err(StoreError::Denied(why)) if why.contains("not active")), "{refused:?}");
}

async fn a_login_is_unlinked_and_what_it_opened_ends_but_a_way_in_stays(store: TestStore) {
    let ada = store.create_user(&new_user("ada", Some(Role::Owner))).await.expect("created").id;
    store.link_login(&own(ada, "s-1")).await.expect("linked");
    let (kept, other) = (login("s-1", None), login("s-1", None));
    for one in [&kept, &other] {
        opened(store.federated_login(one).await, "logged in");
    }
    let issuer = kept.issuer.as_str();
    assert!(!store.unlink_login(ada, "https://nowhere.example", None).await.expect("asked"));
    assert!(is_open(&store, &other).await);
    assert!(store.unlink_login(ada, issuer, Some(kept.session.hash)).await.expect("unlinked"));
    assert!(is_open(&store, &kept).await && !is_open(&store, &other).await);
    denied(store.federated_login(&login("s-1", None)).await, "no account is known by this login");
    assert!(!store.unlink_login(ada, issuer, None).await.expect("asked"), "there is none any more");
    let made = FederatedLogin { makes: made("Bob"), ..login("s-2", Some(address("bob"))) };
    let bob = opened(store.federated_login(&made).await, "made").session.user;
    conflict(store.unlink_login(bob, issuer, None).await, "choose a password first");
    assert_eq!(store.logins_of(bob).await.expect("asked").len(), 1);
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
    opened(store.federated_login(&login("s-1", Some(address("ada")))).await, "logged in");
    refused(store.federated_login(&login("s-2", Some(address("ada")))).await, NotLinked::Known);
    let elsewhere =
        FederatedLogin { issuer: "https://accounts.example.org".to_owned(), ..login("s-2", Some(address("ada"))) };
    assert_eq!(opened(store.federated_login(&elsewhere).await, "another issuer").session.user, ada);
    store.remove_user(ada).await.expect("removed");
    denied(store.federated_login(&login("s-1", None)).await, "verified no address");
}

async fn an_address_opens_only_who_is_nothing_outside_the_providers_tenant(store: TestStore) {
    in_tenant(&store, "south").await;
    for (name, here, there, installation, expected) in [
        ("owner", Some(Role::Owner), None, false, Some(NotLinked::Owner)),
        ("landlady", Some(Role::Viewer), None, true, Some(NotLinked::Owner)),
        ("owner-there", Some(Role::Viewer), Some(Role::Owner), false, Some(NotLinked::Owner)),
        ("both", Some(Role::Admin), Some(Role::Viewer), false, Some(NotLinked::Elsewhere)),
        ("there", None, Some(Role::Operator), false, Some(NotLinked::Elsewhere)),
        ("neither", None, None, false, Some(NotLinked::NoMember)),
        ("admin", Some(Role::Admin), None, false, None),
    ] {
        let user = NewUser { installation, ..new_user(name, here) };
        let id = store.create_user(&user).await.expect("created").id;
        if there.is_some() {
            set_role(&store, "south", id, there).await;
        }
        // With a place to be given, and without one.
        for role in [Some(Role::Admin), None] {
            let wish = FederatedLogin { role, ..login(&format!("s-{name}"), Some(address(name))) };
            match expected {
                Some(why) => refused(store.federated_login(&wish).await, why),
                None => assert_eq!(opened(store.federated_login(&wish).await, name).session.user, id),
            }
            assert_eq!(is_open(&store, &wish).await, expected.is_none(), "{name}");
            denied(store.federated_login(&wish).await, "come back already");
        }
        let seen = store.user(id).await.expect("asked").expect("there");
        let places = here.into_iter().chain(there).count();
        assert_eq!(seen.memberships.len(), places, "{name}: a login that is refused gives no place: {seen:?}");
    }
}

async fn who_becomes_more_is_not_known_by_logins_that_were_linked_before(store: TestStore) {
    in_tenant(&store, "south").await;
    for (name, more) in [("joins", 0), ("rises", 1), ("lets", 2), ("founds", 3)] {
        let id = store.create_user(&new_user(name, Some(Role::Operator))).await.expect("created").id;
        let (by_address, by_subject) =
            (login(&format!("s-{name}"), Some(address(name))), login(&format!("s-{name}"), None));
        assert_eq!(opened(store.federated_login(&by_address).await, name).session.user, id);
        assert!(is_open(&store, &by_address).await);
        set_role(&store, TENANT, id, Some(Role::Admin)).await;
        assert!(is_open(&store, &by_address).await, "{name}: another role in the same tenant changes nothing");
        match more {
            0 => set_role(&store, "south", id, Some(Role::Viewer)).await,
            1 => set_role(&store, TENANT, id, Some(Role::Owner)).await,
            2 => drop(store.change_user(id, &UserChange::Installation(true)).await.expect("changed")),
            _ => {
                let tenant = NewTenant { name: "founded".to_owned(), quotas: Quotas::default(), owner: Some(id) };
                store.create_tenant(&tenant).await.expect("created");
            }
        }
        assert!(!is_open(&store, &by_address).await, "{name}: what it has opened is over");
        denied(store.federated_login(&by_subject).await, "no account is known by this login");
        let why = if more == 0 { NotLinked::Elsewhere } else { NotLinked::Owner };
        let again = FederatedLogin { state: secret(), ..by_address.clone() };
        refused(store.federated_login(&again).await, why);
    }
}

async fn no_owner_is_linked_who_becomes_one_at_the_same_moment(store: TestStore) {
    let second = store.second().await;
    for number in 0..8 {
        let name = format!("ada-{number}");
        let id = store.create_user(&new_user(&name, Some(Role::Viewer))).await.expect("created").id;
        let wish = login(&format!("s-{number}"), Some(address(&name)));
        let rise =
            MemberChange { tenant: TENANT.to_owned(), user: id, role: Some(Role::Owner), by: Appointer::Installation };
        let (found, risen) = tokio::join!(store.federated_login(&wish), second.set_member(&rise));
        risen.expect("an owner from now on");
        found.expect("it was judged");
        assert!(!is_open(&store, &wish).await, "{number}");
        denied(store.federated_login(&login(&format!("s-{number}"), None)).await, "no account is known by this login");
    }
}

async fn a_place_by_one_issuer_is_no_place_for_another(store: TestStore) {
    in_tenant(&store, "south").await;
    let ada = store.create_user(&new_user("ada", Some(Role::Viewer))).await.expect("created").id;
    let northern = login("s-1", Some(address("ada")));
    opened(store.federated_login(&northern).await, "taken by its address");
    let southern = |role| FederatedLogin {
        issuer: "https://accounts.example.org".to_owned(),
        tenant: "south".to_owned(),
        role,
        ..login("t-1", Some(address("ada")))
    };
    refused(store.federated_login(&southern(Some(Role::Admin))).await, NotLinked::Elsewhere);
    // The same issuer, for another tenant, knows them already.
    let same = FederatedLogin { tenant: "south".to_owned(), role: Some(Role::Viewer), ..login("s-1", None) };
    assert_eq!(opened(store.federated_login(&same).await, "known").session.user, ada);
    assert!(is_open(&store, &northern).await && is_open(&store, &same).await, "no other issuer was known");
    let own = FederatedLogin { makes: made("Bob"), email: Some(address("bob")), ..southern(Some(Role::Admin)) };
    let bob = opened(store.federated_login(&own).await, "made").session.user;
    set_role(&store, "south", bob, None).await;
    let again = FederatedLogin { state: secret(), session: login("", None).session, ..own };
    let found = opened(store.federated_login(&again).await, "its own place does not make it forget them");
    assert_eq!(found.session.user, bob);
}

async fn an_account_is_made_once_however_many_ask_at_once(store: TestStore) {
    let second = store.second().await;
    let wish = || FederatedLogin { makes: made("Ada"), role: Some(Role::Viewer), ..login("s-1", Some(address("ada"))) };
    let (one, two) = (wish(), wish());
    let (first, other) = tokio::join!(store.federated_login(&one), second.federated_login(&two));
    let found = [first, other].into_iter().flatten().map(|found| opened(Ok(found), "logged in"));
    let found: Vec<Federated> = found.collect();
    assert!(!found.is_empty() && found.iter().filter(|one| one.made).count() == 1, "{found:?}");
    assert_eq!(store.users(&Page::default()).await.expect("listed").len(), 1);
    let later = opened(store.federated_login(&wish()).await, "logged in");
    assert_eq!((later.session.user, later.made), (found[0].session.user, false));
}

async fn what_is_denied_leaves_nothing(store: TestStore) {
    let nowhere = FederatedLogin {
        makes: made("Ada"),
        tenant: "nowhere".to_owned(),
        role: Some(Role::Viewer),
        ..login("s-1", Some(address("ada")))
    };
    let found = store.federated_login(&nowhere).await;
    assert!(matches!(&found, Err(StoreError::NotFound(why)) if why.contains("nowhere")), "{found:?}");
    assert!(store.user_by_email(&address("ada")).await.expect("asked").is_none());
    let here = FederatedLogin { tenant: TENANT.to_owned(), role: None, ..nowhere };
    assert!(opened(store.federated_login(&here).await, "the state is not spent").made);
    let closed = FederatedLogin { links: false, ..login("s-2", Some(address("ada"))) };
    refused(store.federated_login(&closed).await, NotLinked::Off);
}

async fn what_cannot_be_kept_is_refused(store: TestStore) {
    for subject in ["", "a\0b", &"x".repeat(1_001)] {
        let found = store.federated_login(&login(subject, Some(address("ada")))).await;
        assert!(matches!(found, Err(StoreError::Invalid(_))), "{found:?}");
    }
}
