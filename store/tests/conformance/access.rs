//! Tokens, sessions, links and logins: what is recognized, for how long, and how often it may be tried.

use std::time::Duration;

use gristmill_core::access::{Permission, Role, Subject};
use gristmill_core::id::{LinkId, UserId};
use gristmill_core::job::NewJob;
use gristmill_core::login::TryLimit;
use gristmill_store::accounts::{
    Appointer, EndSessions, Letter, LinkPurpose, LinkUse, LoginStart, LoginTry, MemberChange, NewLink, NewPerson,
    NewSession, NewToken, Recognition, SecretHash, UserChange, UserState, WhichSessions,
};
use gristmill_store::testing::{self, TestStore};
use gristmill_store::{JobFilter, Page, StoreError};
use uuid::Uuid;

use super::TENANT;
use super::accounts::{HASH, address, attempt, known, log_in, new_session, new_token, secret, user};

conformance!(;
    databases only, "the model has no accounts":
    a_token_is_known_until_it_is_revoked_or_over,
    a_token_is_limited_to_its_scopes_and_its_tenant,
    a_use_is_noted_at_most_once_a_minute,
    a_session_ends_when_it_is_asked_to_and_by_itself,
    a_new_password_ends_every_session_but_one,
    a_session_is_opened_only_for_the_password_that_is_there,
    whoever_is_disabled_is_known_no_more,
    tries_are_counted_before_the_password_is_looked_at,
    a_success_takes_its_try_back_and_many_at_once_get_no_more_tries,
    an_invitation_is_accepted_once_by_one_of_many,
    an_invitation_of_one_who_may_invite_no_more_does_nothing,
    a_newer_link_replaces_an_older_one_and_an_old_one_does_nothing,
    a_link_is_for_its_purpose_alone,
    a_letter_goes_in_the_same_transaction_and_not_twice_in_a_short_time,
    the_first_owner_is_made_once,
);

fn link(purpose: LinkPurpose, name: Option<&str>) -> NewLink {
    NewLink {
        id: LinkId(Uuid::now_v7()),
        hash: secret(),
        purpose,
        email: name.map(address),
        member: None,
        by: Appointer::Installation,
        lifetime: Duration::from_secs(600),
        letter: None,
    }
}

fn invitation(name: &str, by: Appointer, role: Role) -> NewLink {
    NewLink { member: Some((TENANT.to_owned(), role)), by, ..link(LinkPurpose::Invite, Some(name)) }
}

async fn made(store: &TestStore, link: &NewLink) -> SecretHash {
    store.create_link(link).await.expect("made").expect("it is for somebody");
    link.hash
}

fn person(name: &str) -> NewPerson {
    NewPerson { id: UserId(Uuid::now_v7()), name: name.to_owned(), password: HASH.to_owned() }
}

fn is_over<T: std::fmt::Debug>(result: Result<T, StoreError>) -> bool {
    matches!(&result, Err(StoreError::NotFound(what)) if what.contains("does nothing"))
}

async fn a_token_is_known_until_it_is_revoked_or_over(store: TestStore) {
    let ada = user(&store, "ada", Some(Role::Admin)).await;
    let token = new_token(ada, None);
    let shown = store.create_token(&token).await.expect("created");
    assert_eq!((shown.prefix.as_str(), shown.email.as_str()), ("gm_Ab3dEf9h", "ada@example.com"));
    let principal = known(store.recognize_token(&token.hash, Some(TENANT)).await.expect("asked"));
    assert_eq!(principal.name, "nightly import of ada@example.com");
    assert_eq!((principal.role, principal.scopes, principal.installation), (Role::Admin, None, false));
    assert_eq!(store.recognize_token(&secret(), None).await.expect("asked"), None, "another secret");
    assert!(!store.revoke_token("north", token.id, None).await.expect("asked"), "another tenant's hand");
    let eve = Some(UserId(Uuid::now_v7()));
    assert!(!store.revoke_token(TENANT, token.id, eve).await.expect("asked"), "another user's hand");
    assert!(store.revoke_token(TENANT, token.id, Some(ada)).await.expect("revoked"));
    assert!(!store.revoke_token(TENANT, token.id, Some(ada)).await.expect("once"));
    assert_eq!(store.recognize_token(&token.hash, None).await.expect("asked"), None);
    assert_eq!(store.tokens(TENANT, None, &Page::default()).await.expect("listed"), []);
    let brief = NewToken { lifetime: Some(Duration::from_secs(1)), ..new_token(ada, None) };
    store.create_token(&brief).await.expect("created");
    store.tamper("UPDATE access_token SET expires_at = created_at").await;
    assert_eq!(store.recognize_token(&brief.hash, None).await.expect("asked"), None, "it is over");
    let none = NewToken { lifetime: Some(Duration::ZERO), ..new_token(ada, None) };
    assert!(matches!(store.create_token(&none).await, Err(StoreError::Invalid(_))));
    let stranger = user(&store, "stranger", None).await;
    assert!(matches!(store.create_token(&new_token(stranger, None)).await, Err(StoreError::NotFound(_))));
}

async fn a_token_is_limited_to_its_scopes_and_its_tenant(store: TestStore) {
    let ada = user(&store, "ada", Some(Role::Operator)).await;
    let token = new_token(ada, Some(vec![Permission::JobsEnqueue]));
    store.create_token(&token).await.expect("created");
    let principal = known(store.recognize_token(&token.hash, None).await.expect("asked"));
    assert!(principal.may(Permission::JobsEnqueue) && !principal.may(Permission::JobsRead));
    let elsewhere = store.recognize_token(&token.hash, Some("north")).await.expect("asked");
    assert_eq!(elsewhere, Some(Recognition::NotMember));
    for (scopes, says) in [(vec![], "without any scope"), (vec![Permission::LimitsChange], "`limits:change`")] {
        let error = store.create_token(&new_token(ada, Some(scopes))).await.expect_err("refused").to_string();
        assert!(error.contains(says), "{error}");
    }
    let lower =
        MemberChange { tenant: TENANT.to_owned(), user: ada, role: Some(Role::Viewer), by: Appointer::Installation };
    store.set_member(&lower).await.expect("demoted");
    let principal = known(store.recognize_token(&token.hash, None).await.expect("asked"));
    assert!(!principal.may(Permission::JobsEnqueue), "never more than its user");
}

async fn a_use_is_noted_at_most_once_a_minute(store: TestStore) {
    let ada = user(&store, "ada", Some(Role::Operator)).await;
    let token = new_token(ada, None);
    store.create_token(&token).await.expect("created");
    let stale = async |hash| match store.recognize_token(hash, None).await.expect("asked") {
        Some(Recognition::Known(recognized)) => recognized.stale,
        other => panic!("known: {other:?}"),
    };
    let used = async || store.tokens(TENANT, None, &Page::default()).await.expect("listed")[0].last_used_at;
    assert!(stale(&token.hash).await && used().await.is_none());
    store.touch_token(token.id).await.expect("noted");
    let first = used().await.expect("noted");
    store.touch_token(token.id).await.expect("nothing to do");
    assert_eq!(used().await, Some(first));
    assert!(!stale(&token.hash).await);
    let session = log_in(&store, "ada").await;
    let before = store.sessions(ada, &Page::default()).await.expect("listed").remove(0);
    store.touch_session(&session, Duration::from_secs(60)).await.expect("nothing to do");
    assert_eq!(store.sessions(ada, &Page::default()).await.expect("listed").remove(0), before);
}

async fn a_session_ends_when_it_is_asked_to_and_by_itself(store: TestStore) {
    let ada = user(&store, "ada", Some(Role::Owner)).await;
    let [one, two, three, four] = [
        log_in(&store, "ada").await,
        log_in(&store, "ada").await,
        log_in(&store, "ada").await,
        log_in(&store, "ada").await,
    ];
    let is_known = async |hash| store.recognize_session(hash, None).await.expect("asked").is_some();
    let principal = known(store.recognize_session(&one, None).await.expect("asked"));
    assert_eq!((principal.subject, principal.tenant.as_str()), (Subject::User(ada), TENANT));
    let end = async |which| store.end_sessions(&EndSessions { user: ada, which }).await.expect("ended");
    assert_eq!(end(WhichSessions::WithSecret(one)).await, 1);
    assert_eq!(end(WhichSessions::WithSecret(one)).await, 0);
    let id = store.session_id(&two).await.expect("asked").expect("there");
    let strangers = EndSessions { user: UserId(Uuid::now_v7()), which: WhichSessions::One(id) };
    assert_eq!(store.end_sessions(&strangers).await.expect("asked"), 0, "another user's hand");
    assert_eq!(end(WhichSessions::One(id)).await, 1);
    assert!(!is_known(&one).await && !is_known(&two).await && is_known(&three).await);
    assert_eq!(end(WhichSessions::AllBut(Some(four))).await, 1);
    assert!(!is_known(&three).await && is_known(&four).await);
    assert_eq!(store.sessions(ada, &Page::default()).await.expect("listed").len(), 1);
    store.tamper("UPDATE access_session SET idle_at = created_at").await;
    assert!(!is_known(&four).await, "it was not used");
    store.touch_session(&four, Duration::from_secs(60)).await.expect("nothing to do");
    assert!(!is_known(&four).await, "and is not woken");
    let five = log_in(&store, "ada").await;
    store.tamper("UPDATE access_session SET expires_at = created_at").await;
    assert!(!is_known(&five).await, "its time is over");
}

async fn a_new_password_ends_every_session_but_one(store: TestStore) {
    let ada = user(&store, "ada", Some(Role::Owner)).await;
    let (one, two) = (log_in(&store, "ada").await, log_in(&store, "ada").await);
    let change = UserChange::Password { hash: "$new".to_owned(), verified: Some(HASH.to_owned()), keep: Some(two) };
    store.change_user(ada, &change).await.expect("changed");
    assert_eq!(store.recognize_session(&one, None).await.expect("asked"), None);
    known(store.recognize_session(&two, None).await.expect("asked"));
    let change = UserChange::Password { hash: HASH.to_owned(), verified: None, keep: None };
    store.change_user(ada, &change).await.expect("changed");
    assert_eq!(store.recognize_session(&two, None).await.expect("asked"), None);
}

async fn a_session_is_opened_only_for_the_password_that_is_there(store: TestStore) {
    let ada = user(&store, "ada", Some(Role::Owner)).await;
    let wrong = NewSession { verified: "$other".to_owned(), ..new_session(ada, attempt("ada", "192.0.2.1")) };
    assert_eq!(store.finish_login(&wrong).await.expect("asked"), None);
    let session = new_session(ada, attempt("ada", "192.0.2.1"));
    let opened = store.finish_login(&session).await.expect("asked").expect("opened");
    assert_eq!((opened.address.as_deref(), opened.agent.as_deref()), (Some("192.0.2.1"), Some("a test")));
    let seen = store.user(ada).await.expect("asked").expect("there");
    assert_eq!(seen.last_login_at, Some(opened.created_at));
}

async fn whoever_is_disabled_is_known_no_more(store: TestStore) {
    user(&store, "owner", Some(Role::Owner)).await;
    let ada = user(&store, "ada", Some(Role::Admin)).await;
    let (session, token) = (log_in(&store, "ada").await, new_token(ada, None));
    store.create_token(&token).await.expect("created");
    store.change_user(ada, &UserChange::State(UserState::Disabled)).await.expect("disabled");
    assert_eq!(store.recognize_session(&session, None).await.expect("asked"), None);
    assert_eq!(store.recognize_token(&token.hash, None).await.expect("asked"), None);
    let start = store.begin_login(&attempt("ada", "192.0.2.1")).await.expect("begun");
    assert_eq!(start, LoginStart::Compare(None), "as if there were no such account");
    assert_eq!(store.create_link(&link(LinkPurpose::Reset, Some("ada"))).await.expect("asked"), None);
    store.change_user(ada, &UserChange::State(UserState::Active)).await.expect("enabled");
    assert_eq!(store.recognize_session(&session, None).await.expect("asked"), None, "sessions do not come back");
    known(store.recognize_token(&token.hash, None).await.expect("tokens do"));
}

fn limited(name: &str, from: &str) -> LoginTry {
    let limit = |tries| TryLimit { tries, within: Duration::from_secs(600) };
    LoginTry { per_account: limit(3), per_address: limit(5), ..attempt(name, from) }
}

async fn tries_are_counted_before_the_password_is_looked_at(store: TestStore) {
    user(&store, "ada", Some(Role::Owner)).await;
    let begin = async |attempt: LoginTry| store.begin_login(&attempt).await.expect("begun");
    // The same for an account that is there and for one that is not.
    for name in ["ada", "nobody"] {
        for _ in 0..3 {
            assert!(matches!(begin(limited(name, "192.0.2.1")).await, LoginStart::Compare(_)));
            store.tamper("DELETE FROM access_try WHERE scope = 'address'").await;
        }
        let LoginStart::Wait { until, now } = begin(limited(name, "192.0.2.9")).await else { panic!("{name} waits") };
        assert!(until > now && (until - now).num_seconds() <= 600);
        let again = begin(limited(name, "192.0.2.9")).await;
        assert!(matches!(again, LoginStart::Wait { until: same, .. } if same == until), "it is not prolonged");
    }
    for n in 0..5 {
        assert!(matches!(begin(limited(&format!("n{n}"), "198.51.100.7")).await, LoginStart::Compare(None)));
    }
    assert!(
        matches!(begin(limited("n9", "198.51.100.7")).await, LoginStart::Wait { .. }),
        "one address, many accounts"
    );
    let nobodys = LoginTry { email: None, ..limited("x", "198.51.100.7") };
    assert!(matches!(begin(nobodys).await, LoginStart::Wait { .. }), "what is no address counts too");
    store.tamper("UPDATE access_try SET until = (SELECT min(created_at) FROM access_user)").await;
    assert!(matches!(begin(limited("ada", "192.0.2.1")).await, LoginStart::Compare(Some(_))), "the time is over");
}

async fn a_success_takes_its_try_back_and_many_at_once_get_no_more_tries(store: TestStore) {
    let ada = user(&store, "ada", Some(Role::Owner)).await;
    for _ in 0..20 {
        let attempt = limited("ada", "192.0.2.1");
        assert!(matches!(store.begin_login(&attempt).await.expect("begun"), LoginStart::Compare(Some(_))));
        store.finish_login(&new_session(ada, attempt)).await.expect("finished").expect("opened");
    }
    let trying = (0..20).map(|n| {
        let store = store.handle();
        tokio::spawn(async move { store.begin_login(&limited("ada", &format!("203.0.113.{n}"))).await.expect("begun") })
    });
    let mut compared = 0;
    for tried in trying.collect::<Vec<_>>() {
        compared += u32::from(matches!(tried.await.expect("it ran"), LoginStart::Compare(_)));
    }
    assert_eq!(compared, 3);
    let change = UserChange::Password { hash: HASH.to_owned(), verified: None, keep: None };
    store.change_user(ada, &change).await.expect("changed");
    let start = store.begin_login(&limited("ada", "192.0.2.1")).await.expect("begun");
    assert!(matches!(start, LoginStart::Compare(Some(_))), "a new password ends the waiting");
}

async fn an_invitation_is_accepted_once_by_one_of_many(store: TestStore) {
    let owner = user(&store, "owner", Some(Role::Owner)).await;
    let invited = invitation("ada", Appointer::User(owner), Role::Operator);
    let hash = made(&store, &invited).await;
    let seen = store.link(&hash).await.expect("asked").expect("open");
    assert_eq!(
        (seen.email.as_deref(), seen.role, seen.has_account),
        (Some("ada@example.com"), Some(Role::Operator), false)
    );
    let listed = store.invitations(TENANT, &Page::default()).await.expect("listed").remove(0);
    assert_eq!((listed.id, listed.by.as_deref()), (invited.id, Some("owner@example.com")));
    let error = store.use_link(&hash, &LinkUse::Accept(None)).await.expect_err("who are they?");
    assert!(matches!(error, StoreError::Invalid(_)), "{error}");
    let accepting = (0..6).map(|_| {
        let store = store.handle();
        tokio::spawn(async move { store.use_link(&hash, &LinkUse::Accept(Some(person("Ada")))).await })
    });
    let mut accepted = Vec::new();
    for done in accepting.collect::<Vec<_>>() {
        match done.await.expect("it ran") {
            Ok(used) => accepted.push(used),
            error => assert!(is_over(error)),
        }
    }
    assert_eq!(accepted.len(), 1);
    assert_eq!((accepted[0].created, &accepted[0].member), (true, &Some((TENANT.to_owned(), Role::Operator))));
    assert_eq!(store.link(&hash).await.expect("asked"), None);
    assert_eq!(store.invitations(TENANT, &Page::default()).await.expect("listed"), []);
    let again = store.create_link(&invitation("ada", Appointer::User(owner), Role::Viewer)).await;
    assert!(matches!(again, Err(StoreError::Conflict(_))), "a member already: {again:?}");
    user(&store, "bob", None).await;
    let hash = made(&store, &invitation("bob", Appointer::User(owner), Role::Viewer)).await;
    let used = store.use_link(&hash, &LinkUse::Accept(None)).await.expect("has an account");
    assert_eq!((used.created, used.email.as_str()), (false, "bob@example.com"));
}

async fn an_invitation_of_one_who_may_invite_no_more_does_nothing(store: TestStore) {
    let owner = user(&store, "owner", Some(Role::Owner)).await;
    let admin = user(&store, "admin", Some(Role::Admin)).await;
    let to_owner = store.create_link(&invitation("eve", Appointer::User(admin), Role::Owner)).await;
    assert!(matches!(to_owner, Err(StoreError::Denied(_))), "{to_owner:?}");
    let viewer = user(&store, "viewer", Some(Role::Viewer)).await;
    let by_viewer = store.create_link(&invitation("eve", Appointer::User(viewer), Role::Viewer)).await;
    assert!(matches!(by_viewer, Err(StoreError::Denied(_))), "{by_viewer:?}");
    let hash = made(&store, &invitation("eve", Appointer::User(admin), Role::Admin)).await;
    let lower =
        MemberChange { tenant: TENANT.to_owned(), user: admin, role: Some(Role::Viewer), by: Appointer::User(owner) };
    store.set_member(&lower).await.expect("demoted");
    assert!(is_over(store.use_link(&hash, &LinkUse::Accept(Some(person("Eve")))).await));
    assert_eq!(store.count_users().await.expect("counted").0, 3);
}

async fn a_newer_link_replaces_an_older_one_and_an_old_one_does_nothing(store: TestStore) {
    user(&store, "ada", Some(Role::Owner)).await;
    let old = made(&store, &link(LinkPurpose::Reset, Some("ada"))).await;
    let new = made(&store, &link(LinkPurpose::Reset, Some("ada"))).await;
    let reset = LinkUse::Reset { password: "$new".to_owned() };
    assert!(is_over(store.use_link(&old, &reset).await));
    assert!(is_over(store.use_link(&secret(), &reset).await));
    store.tamper("UPDATE access_link SET expires_at = created_at").await;
    assert!(is_over(store.use_link(&new, &reset).await));
    let withdrawn = invitation("bob", Appointer::Installation, Role::Viewer);
    let hash = made(&store, &withdrawn).await;
    assert!(!store.withdraw_invitation("north", withdrawn.id).await.expect("asked"));
    assert!(store.withdraw_invitation(TENANT, withdrawn.id).await.expect("withdrawn"));
    assert!(!store.withdraw_invitation(TENANT, withdrawn.id).await.expect("once"));
    assert!(is_over(store.use_link(&hash, &LinkUse::Accept(Some(person("Bob")))).await));
    assert_eq!(store.password_of(user(&store, "eve", None).await).await.expect("asked").as_deref(), Some(HASH));
}

async fn a_link_is_for_its_purpose_alone(store: TestStore) {
    let ada = user(&store, "ada", Some(Role::Owner)).await;
    let session = log_in(&store, "ada").await;
    let hash = made(&store, &link(LinkPurpose::Reset, Some("ada"))).await;
    let first = LinkUse::FirstOwner { email: address("eve"), person: person("Eve") };
    for with in [LinkUse::Verify, LinkUse::Accept(None), first] {
        assert!(is_over(store.use_link(&hash, &with).await), "{with:?}");
    }
    let used = store.use_link(&hash, &LinkUse::Reset { password: "$new".to_owned() }).await.expect("used");
    assert_eq!(used.user, ada);
    assert_eq!(store.password_of(ada).await.expect("asked").as_deref(), Some("$new"));
    assert_eq!(store.recognize_session(&session, None).await.expect("asked"), None, "a reset ends all sessions");
    let misfit = NewLink { email: None, ..link(LinkPurpose::Reset, None) };
    assert!(matches!(store.create_link(&misfit).await, Err(StoreError::Invalid(_))));
    assert_eq!(store.create_link(&link(LinkPurpose::Reset, Some("nobody"))).await.expect("asked"), None);
    assert_eq!(store.create_link(&link(LinkPurpose::Verify, Some("ada"))).await.expect("asked"), None, "verified");
}

async fn a_letter_goes_in_the_same_transaction_and_not_twice_in_a_short_time(store: TestStore) {
    user(&store, "ada", Some(Role::Owner)).await;
    let with_letter = || {
        let job = NewJob { tenant: "@accounts".to_owned(), ..testing::job() };
        let letter = Some(Letter { job, once_in: Duration::from_secs(300) });
        NewLink { letter, ..link(LinkPurpose::Reset, Some("ada")) }
    };
    let sent = async || {
        let filter = JobFilter { tenant: "@accounts".to_owned(), ..JobFilter::default() };
        store.jobs(&filter, &Page::default()).await.expect("listed").len()
    };
    let first = with_letter();
    let (id, dispatched) = store.create_link(&first).await.expect("made").expect("sent");
    assert_eq!((id, dispatched.moved, sent().await), (first.id, 1, 1));
    assert_eq!(store.create_link(&with_letter()).await.expect("asked"), None);
    assert_eq!(sent().await, 1);
    assert!(store.link(&first.hash).await.expect("asked").is_some(), "the first one is not replaced");
    let by_hand = made(&store, &link(LinkPurpose::Reset, Some("ada"))).await;
    assert!(store.link(&by_hand).await.expect("asked").is_some(), "one that is handed over is always made");
}

async fn the_first_owner_is_made_once(store: TestStore) {
    let first = || NewLink { member: Some((TENANT.to_owned(), Role::Owner)), ..link(LinkPurpose::FirstOwner, None) };
    let old = made(&store, &first()).await;
    let hash = made(&store, &first()).await;
    let with = |name: &str| LinkUse::FirstOwner { email: address(name), person: person(name) };
    assert!(is_over(store.use_link(&old, &with("eve")).await), "it was replaced");
    let making = ["ada", "bob", "eve"].map(|name| {
        let store = store.handle();
        tokio::spawn(async move { store.use_link(&hash, &with(name)).await })
    });
    let mut owners = 0;
    for done in making {
        owners += u32::from(done.await.expect("it ran").is_ok());
    }
    assert_eq!((owners, store.count_users().await.expect("counted").0), (1, 1));
    let owner = store.users(&Page::default()).await.expect("listed").remove(0);
    assert!(owner.installation && owner.memberships[0].role == Role::Owner);
    assert!(matches!(store.create_link(&first()).await, Err(StoreError::Conflict(_))), "there is one");
}
