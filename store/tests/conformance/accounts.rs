//! Users, tenants and members: who exists, and who may be what.

use gristmill_core::access::{Permission, Principal, Role, Subject};
use gristmill_core::email_address::EmailAddress;
use gristmill_core::id::{SessionId, TokenId, UserId};
use gristmill_core::login::{PER_ACCOUNT, PER_ADDRESS};
use gristmill_store::accounts::{
    Appointer, LoginStart, LoginTry, MemberChange, NewSession, NewTenant, NewToken, NewUser, Quotas, Recognition,
    SecretHash, SessionKind, TenantChange, TenantState, UserChange, UserState, UserView,
};
use gristmill_store::testing::TestStore;
use gristmill_store::{Page, StoreError};
use uuid::Uuid;

use super::{LONG, TENANT};

conformance!(;
    databases only, "the model has no accounts":
    an_address_has_one_account_however_many_ask_at_once,
    a_user_is_seen_with_their_memberships_and_lists_go_on_by_address,
    a_password_is_refused_that_is_not_hashed,
    a_role_is_given_only_by_those_who_may_by_their_role_at_that_moment,
    the_last_owner_stays_whatever_is_tried,
    two_owners_who_remove_each_other_at_once_leave_one,
    a_member_may_leave_and_takes_their_tokens_along,
    a_tenant_is_created_once_suspended_and_resumed,
    the_tenants_that_have_work_are_there_and_no_name_of_the_installation_is_taken,
);

/// An address.
pub(crate) fn address(name: &str) -> EmailAddress {
    format!("{name}@example.com").parse().expect("an address")
}

/// The hash that stands for a password.
pub(crate) const HASH: &str = "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaA";

/// A user with a role in the tenant of the tests.
pub(crate) fn new_user(name: &str, role: Option<Role>) -> NewUser {
    NewUser {
        id: UserId(Uuid::now_v7()),
        email: address(name),
        name: name.to_owned(),
        password: Some(HASH.to_owned()),
        state: UserState::Active,
        installation: false,
        member: role.map(|role| (TENANT.to_owned(), role)),
    }
}

/// Creates that user.
pub(crate) async fn user(store: &TestStore, name: &str, role: Option<Role>) -> UserId {
    store.create_user(&new_user(name, role)).await.expect("created").id
}

/// A hash that no other secret has.
pub(crate) fn secret() -> SecretHash {
    let [one, other] = [Uuid::new_v4(), Uuid::new_v4()].map(Uuid::into_bytes);
    std::array::from_fn(|at| if at < 16 { one[at] } else { other[at - 16] })
}

/// A try to log in from an address.
pub(crate) fn attempt(name: &str, from: &str) -> LoginTry {
    let email = Some(address(name));
    LoginTry { email, address: from.to_owned(), per_account: PER_ACCOUNT, per_address: PER_ADDRESS }
}

/// A session to be opened for a user who has just shown the password.
pub(crate) fn new_session(user: UserId, attempt: LoginTry) -> NewSession {
    NewSession {
        id: SessionId(Uuid::now_v7()),
        kind: SessionKind::Browser,
        hash: secret(),
        user,
        verified: HASH.to_owned(),
        second: None,
        attempt,
        agent: Some("a test".to_owned()),
        lifetime: LONG,
        idle: LONG,
    }
}

/// Opens a session and returns its secret.
pub(crate) async fn log_in(store: &TestStore, name: &str) -> SecretHash {
    let attempt = attempt(name, "192.0.2.1");
    let LoginStart::Compare(Some((user, _))) = store.begin_login(&attempt).await.expect("begun") else {
        panic!("{name} may log in")
    };
    let session = new_session(user, attempt);
    store.finish_login(&session).await.expect("finished").expect("opened");
    session.hash
}

/// A token of a user.
pub(crate) fn new_token(user: UserId, scopes: Option<Vec<Permission>>) -> NewToken {
    NewToken {
        id: TokenId(Uuid::now_v7()),
        hash: secret(),
        prefix: "gm_Ab3dEf9h".to_owned(),
        user,
        tenant: TENANT.to_owned(),
        name: "nightly import".to_owned(),
        scopes,
        lifetime: None,
    }
}

/// The caller behind a token or a session that is known.
pub(crate) fn known(recognition: Option<Recognition>) -> Principal {
    match recognition {
        Some(Recognition::Known(recognized)) => recognized.principal,
        other => panic!("it is known: {other:?}"),
    }
}

async fn set(store: &TestStore, by: Appointer, user: UserId, role: Option<Role>) -> Result<Option<Role>, StoreError> {
    store.set_member(&MemberChange { tenant: TENANT.to_owned(), user, role, by }).await
}

async fn look(store: &TestStore, user: UserId) -> UserView {
    store.user(user).await.expect("asked").expect("the user is there")
}

async fn an_address_has_one_account_however_many_ask_at_once(store: TestStore) {
    let asking = (0..8).map(|_| {
        let store = store.handle();
        tokio::spawn(async move { store.create_user(&new_user("ada", Some(Role::Admin))).await })
    });
    let (mut made, mut refused) = (0, 0);
    for asked in asking.collect::<Vec<_>>() {
        match asked.await.expect("it ran") {
            Ok(_) => made += 1,
            Err(StoreError::Conflict(what)) => {
                assert!(what.contains("ada@example.com"), "{what}");
                refused += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!((made, refused), (1, 7));
    assert_eq!(store.count_users().await.expect("counted").0, 1);
    assert_eq!(store.members(TENANT, &Page::default()).await.expect("listed").len(), 1, "and one membership");
    let nowhere = NewUser { member: Some(("nowhere".to_owned(), Role::Viewer)), ..new_user("eve", None) };
    let error = store.create_user(&nowhere).await.expect_err("no such tenant");
    assert!(matches!(&error, StoreError::NotFound(what) if what.contains("nowhere")), "{error}");
    assert_eq!(store.user_by_email(&address("eve")).await.expect("asked"), None, "nothing is half-done");
}

async fn a_user_is_seen_with_their_memberships_and_lists_go_on_by_address(store: TestStore) {
    for name in ["carol", "ada", "bob"] {
        user(&store, name, Some(Role::Viewer)).await;
    }
    let ada = store.user_by_email(&address("ada")).await.expect("asked").expect("there");
    let north = NewTenant { name: "north".to_owned(), quotas: Quotas::default(), owner: Some(ada.id) };
    assert_eq!(store.create_tenant(&north).await.expect("created").members, 1);
    let seen: Vec<_> = look(&store, ada.id).await.memberships.into_iter().map(|m| (m.tenant, m.role)).collect();
    assert_eq!(seen, [("main".to_owned(), Role::Viewer), ("north".to_owned(), Role::Owner)]);
    let first = store.users(&Page { after: None, limit: 2 }).await.expect("listed");
    let emails = |users: &[UserView]| users.iter().map(|user| user.email.clone()).collect::<Vec<_>>();
    assert_eq!(emails(&first), ["ada@example.com", "bob@example.com"]);
    let next = store.users(&Page { after: Some(first[1].email.clone()), limit: 2 }).await.expect("listed");
    assert_eq!(emails(&next), ["carol@example.com"]);
    assert!(next[0].has_password && next[0].last_login_at.is_none() && !next[0].installation);
    let members = store.members("north", &Page::default()).await.expect("listed");
    assert_eq!((members.len(), members[0].user, members[0].role), (1, ada.id, Role::Owner));
}

async fn a_password_is_refused_that_is_not_hashed(store: TestStore) {
    let plain = NewUser { password: Some("correct horse".to_owned()), ..new_user("ada", None) };
    let error = store.create_user(&plain).await.expect_err("not hashed").to_string();
    assert!(error.contains("PHC") && !error.contains("correct horse"), "{error}");
    let ada = user(&store, "ada", Some(Role::Owner)).await;
    let change = UserChange::Password { hash: "correct horse".to_owned(), verified: None, keep: None };
    store.change_user(ada, &change).await.expect_err("not hashed");
    assert_eq!(store.password_of(ada).await.expect("asked").as_deref(), Some(HASH));
    assert!(!store.rehash_password(ada, "$other", "$new").await.expect("asked"), "it is another one by now");
    assert!(store.rehash_password(ada, HASH, "$new").await.expect("asked"));
    let outdated = UserChange::Password { hash: HASH.to_owned(), verified: Some(HASH.to_owned()), keep: None };
    let error = store.change_user(ada, &outdated).await.expect_err("changed meanwhile");
    assert!(matches!(error, StoreError::Conflict(_)), "{error}");
}

async fn a_role_is_given_only_by_those_who_may_by_their_role_at_that_moment(store: TestStore) {
    let owner = user(&store, "owner", Some(Role::Owner)).await;
    let admin = user(&store, "admin", Some(Role::Admin)).await;
    let viewer = user(&store, "viewer", Some(Role::Viewer)).await;
    let stranger = user(&store, "stranger", None).await;
    let by = Appointer::User;
    let denied = |result: Result<_, StoreError>| matches!(result, Err(StoreError::Denied(_)));
    assert!(denied(set(&store, by(viewer), viewer, Some(Role::Operator)).await), "nobody raises themselves");
    assert!(denied(set(&store, by(admin), viewer, Some(Role::Owner)).await));
    assert!(denied(set(&store, by(admin), owner, Some(Role::Viewer)).await));
    assert!(denied(set(&store, by(admin), owner, None).await));
    assert!(denied(set(&store, by(stranger), viewer, Some(Role::Admin)).await));
    assert_eq!(set(&store, by(admin), viewer, Some(Role::Operator)).await.expect("allowed"), Some(Role::Viewer));
    let unknown = set(&store, by(owner), stranger, Some(Role::Viewer)).await;
    assert!(matches!(unknown, Err(StoreError::NotFound(_))), "members invite: they add nobody");
    assert_eq!(set(&store, Appointer::Installation, stranger, Some(Role::Viewer)).await.expect("added"), None);
    set(&store, by(owner), admin, Some(Role::Viewer)).await.expect("demoted");
    assert!(denied(set(&store, by(admin), viewer, Some(Role::Viewer)).await), "judged by what they are now");
    store.change_user(stranger, &UserChange::State(UserState::Disabled)).await.expect("disabled");
    set(&store, by(owner), stranger, Some(Role::Admin)).await.expect("whoever is disabled may be changed");
    assert!(denied(set(&store, by(stranger), viewer, Some(Role::Viewer)).await), "but changes nothing");
}

async fn the_last_owner_stays_whatever_is_tried(store: TestStore) {
    let owner = user(&store, "owner", Some(Role::Owner)).await;
    let other = user(&store, "other", Some(Role::Admin)).await;
    let kept = |result: Result<(), StoreError>| matches!(result, Err(StoreError::Conflict(what)) if what.contains("last owner"));
    for by in [Appointer::Installation, Appointer::User(owner)] {
        assert!(kept(set(&store, by, owner, Some(Role::Admin)).await.map(drop)));
        assert!(kept(set(&store, by, owner, None).await.map(drop)));
    }
    let disable = UserChange::State(UserState::Disabled);
    assert!(kept(store.change_user(owner, &disable).await.map(drop)));
    assert!(kept(store.remove_user(owner).await.map(drop)));
    set(&store, Appointer::User(owner), other, Some(Role::Owner)).await.expect("another owner");
    store.change_user(other, &disable).await.expect("disabled");
    assert!(kept(set(&store, Appointer::User(owner), owner, None).await.map(drop)), "one who may not log in is none");
    store.change_user(other, &UserChange::State(UserState::Active)).await.expect("enabled");
    assert!(store.remove_user(owner).await.expect("removed"));
    assert!(!store.remove_user(owner).await.expect("nobody there"));
    assert_eq!(look(&store, other).await.memberships[0].role, Role::Owner);
}

async fn two_owners_who_remove_each_other_at_once_leave_one(store: TestStore) {
    for round in 0..10 {
        let (one, other) = (format!("one{round}"), format!("other{round}"));
        let tenant = format!("tenant{round}");
        let users = [user(&store, &one, None).await, user(&store, &other, None).await];
        let new = NewTenant { name: tenant.clone(), quotas: Quotas::default(), owner: Some(users[0]) };
        store.create_tenant(&new).await.expect("created");
        let change = |by: usize, of: usize, role| MemberChange {
            tenant: tenant.clone(),
            user: users[of],
            role,
            by: Appointer::User(users[by]),
        };
        let second = MemberChange { by: Appointer::Installation, ..change(0, 1, Some(Role::Owner)) };
        store.set_member(&second).await.expect("a second owner");
        let removing = [change(0, 1, None), change(1, 0, None)].map(|change| {
            let store = store.handle();
            tokio::spawn(async move { store.set_member(&change).await })
        });
        let mut removed = 0;
        for done in removing {
            match done.await.expect("it ran") {
                Ok(_) => removed += 1,
                Err(StoreError::Denied(_) | StoreError::Conflict(_)) => {}
                Err(error) => panic!("{error}"),
            }
        }
        let left = store.members(&tenant, &Page::default()).await.expect("listed");
        assert_eq!((removed, left.len(), left[0].role), (1, 1, Role::Owner));
    }
}

async fn a_member_may_leave_and_takes_their_tokens_along(store: TestStore) {
    user(&store, "owner", Some(Role::Owner)).await;
    let viewer = user(&store, "viewer", Some(Role::Viewer)).await;
    let token = new_token(viewer, None);
    store.create_token(&token).await.expect("created");
    let principal = known(store.recognize_token(&token.hash, None).await.expect("asked"));
    assert_eq!(principal.subject, Subject::Token { token: token.id, user: viewer });
    set(&store, Appointer::User(viewer), viewer, None).await.expect("everybody may leave");
    assert_eq!(store.recognize_token(&token.hash, None).await.expect("asked"), None);
    set(&store, Appointer::Installation, viewer, Some(Role::Admin)).await.expect("back");
    assert_eq!(store.recognize_token(&token.hash, None).await.expect("asked"), None, "it does not come back with them");
}

async fn a_tenant_is_created_once_suspended_and_resumed(store: TestStore) {
    let ada = user(&store, "ada", Some(Role::Owner)).await;
    let quotas = Quotas { jobs_waiting: Some(1_000), ..Quotas::default() };
    let north = NewTenant { name: "north".to_owned(), quotas: quotas.clone(), owner: Some(ada) };
    assert_eq!(store.create_tenant(&north).await.expect("created").quotas, quotas);
    assert!(matches!(store.create_tenant(&north).await, Err(StoreError::Conflict(_))));
    let session = log_in(&store, "ada").await;
    let suspend = TenantChange::Suspend { reason: Some("unpaid".to_owned()) };
    let suspended = store.change_tenant("north", &suspend).await.expect("suspended");
    assert_eq!((suspended.state, suspended.reason.as_deref()), (TenantState::Suspended, Some("unpaid")));
    let again = store.change_tenant("north", &TenantChange::Suspend { reason: None }).await.expect("nothing to do");
    assert_eq!(again, suspended, "the first reason stays");
    let recognized = store.recognize_session(&session, Some("north")).await.expect("asked");
    assert_eq!(recognized, Some(Recognition::Suspended));
    known(store.recognize_session(&session, None).await.expect("asked"));
    let resumed = store.change_tenant("north", &TenantChange::Resume).await.expect("resumed");
    assert_eq!((resumed.state, resumed.reason, resumed.suspended_at), (TenantState::Active, None, None));
    known(store.recognize_session(&session, Some("north")).await.expect("asked"));
    assert!(matches!(store.change_tenant("south", &suspend).await, Err(StoreError::NotFound(_))));
}

async fn the_tenants_that_have_work_are_there_and_no_name_of_the_installation_is_taken(store: TestStore) {
    let names: Vec<String> =
        store.tenant_list(&Page::default()).await.expect("listed").into_iter().map(|tenant| tenant.name).collect();
    assert_eq!(names, ["main"]);
    for wrong in ["", "@accounts", "a\nb", &"t".repeat(101)] {
        let tenant = NewTenant { name: wrong.to_owned(), quotas: Quotas::default(), owner: None };
        assert!(matches!(store.create_tenant(&tenant).await, Err(StoreError::Invalid(_))), "{wrong:?}");
    }
    let orphan = NewTenant { name: "north".to_owned(), quotas: Quotas::default(), owner: Some(UserId(Uuid::now_v7())) };
    store.create_tenant(&orphan).await.expect_err("there is no such owner");
    assert_eq!(store.tenant("north").await.expect("asked"), None, "nothing is half-done");
}
