//! Access tokens: what is issued, what is taken, and until when.

use std::time::Duration;

use gristmill_core::access::{Role, Subject};
use gristmill_core::audit::Action;
use gristmill_core::duration::Span;
use gristmill_core::id::{DEFAULT_TENANT, INSTALLATION_TENANT, KeyId};
use gristmill_service::accounts::{
    ACCESS_LIFETIME, AccountError, AccountSettings, Accounts, IssuedTokens, Passwords, Secret,
};
use gristmill_store::accounts::{Recognition, WhichSessions};

use crate::env::{TestEnv, databases, order, sqlite_env};
use crate::people::{PASSWORD, accounts, add, chain, leaves, login};

async fn issued(accounts: &Accounts) -> IssuedTokens {
    accounts.issue_tokens(&order(), &login("ada", PASSWORD, "192.0.2.1")).await.expect("issued")
}

/// Whether a token is taken.
async fn takes(accounts: &Accounts, token: &Secret) -> bool {
    let asked = accounts.recognizer().token(token, Some(DEFAULT_TENANT)).await.expect("asked");
    matches!(asked, Some(Recognition::Known(_)))
}

async fn refused(accounts: &Accounts, refresh: &Secret) -> bool {
    matches!(accounts.refresh_tokens(&order(), refresh).await, Err(AccountError::BadRefresh))
}

/// A server at another address over the same store.
fn elsewhere(env: &TestEnv, url: &str) -> Accounts {
    let key_file = env.dir.path().join("factors.key").display().to_string();
    let settings = AccountSettings { url: url.to_owned(), key_file, ..AccountSettings::default() };
    Accounts::new(env.service.clone(), Passwords::weak(), settings)
}

#[tokio::test]
async fn a_token_is_taken_until_its_session_ends_or_its_account_is_disabled() {
    for env in databases().await {
        let (here, other) = (accounts(&env), accounts(&env));
        let ada = add(&here, &order(), "ada", Some(Role::Admin)).await;
        let first = issued(&here).await;
        let asked = here.recognizer().token(&first.access, None).await.expect("asked");
        let Some(Recognition::Known(recognized)) = asked else { panic!("{asked:?}") };
        assert_eq!((recognized.principal.subject, recognized.principal.role), (Subject::User(ada), Role::Admin));
        assert!(takes(&other, &first.access).await, "each server takes it");
        assert!(here.recognizer().session(&first.access, None).await.expect("asked").is_none(), "it is no cookie");
        assert!(here.recognizer().session(&first.refresh, None).await.expect("asked").is_none());
        assert!(!takes(&here, &first.refresh).await, "a refresh token opens nothing");
        let second = here.refresh_tokens(&order(), &first.refresh).await.expect("refreshed");
        assert!(second.refresh != first.refresh && second.session.id == first.session.id);
        assert!(takes(&here, &second.access).await && takes(&here, &first.access).await, "both in their time");
        here.end_sessions(&order(), ada, WhichSessions::One(first.session.id)).await.expect("ended");
        assert!(!takes(&here, &second.access).await && !takes(&here, &first.access).await, "at once");
        other.recognizer().forget().await;
        assert!(!takes(&other, &first.access).await, "elsewhere when what is kept is over");
        let third = issued(&here).await;
        here.switch_user(&order(), ada, false).await.expect("disabled");
        assert!(!takes(&here, &third.access).await && refused(&here, &third.refresh).await, "at once");
    }
}

#[tokio::test]
async fn a_refresh_token_that_comes_again_ends_the_session_and_is_written_down_once() {
    for env in databases().await {
        let accounts = accounts(&env);
        add(&accounts, &order(), "ada", Some(Role::Owner)).await;
        let first = issued(&accounts).await;
        let mut second = None;
        leaves(&env, (DEFAULT_TENANT, Action::SessionRefresh, "ada@example.com"), async {
            second = accounts.refresh_tokens(&order(), &first.refresh).await.ok();
        })
        .await;
        let second = second.expect("refreshed");
        assert!(takes(&accounts, &second.access).await);
        let (entry, details) = leaves(&env, (DEFAULT_TENANT, Action::SessionReuse, "ada@example.com"), async {
            for _ in 0..3 {
                assert!(refused(&accounts, &first.refresh).await);
            }
        })
        .await;
        assert_eq!(details["session"], first.session.id.to_string());
        assert!(!format!("{entry:?}").contains("gmr_"), "no secret is in the audit");
        assert!(!takes(&accounts, &second.access).await && refused(&accounts, &second.refresh).await);
        assert!(refused(&accounts, &Secret::new("gmr_nothing")).await);
        assert!(refused(&accounts, &Secret::new("gms_of_a_browser")).await);
    }
}

#[tokio::test]
async fn a_key_is_rotated_while_what_it_signed_is_taken_and_withdrawn_at_once() {
    for env in databases().await {
        let (here, other) = (accounts(&env), accounts(&env));
        add(&here, &order(), "ada", Some(Role::Owner)).await;
        let first = issued(&here).await;
        assert!(takes(&other, &first.access).await);
        let before = here.access_keys().await.expect("listed").remove(0).id;
        let key = here.rotate_key(&order()).await.expect("rotated");
        let entry = chain(&env, INSTALLATION_TENANT).await.remove(0).entry;
        assert_eq!((entry.action.as_str(), entry.target), (Action::KeyRotate.as_str(), key.to_string()));
        let second = issued(&here).await;
        assert!(takes(&here, &first.access).await && takes(&here, &second.access).await);
        // A server that has read the keys a moment ago reads them again for one that it does not know.
        tokio::time::sleep(Duration::from_millis(1_050)).await;
        assert!(takes(&other, &second.access).await);
        let listed = here.access_keys().await.expect("listed");
        let old = listed.iter().find(|key| key.id == before).expect("it verifies");
        let left = old.ends_at.expect("for a while") - env.store.now().await.expect("a clock");
        assert!(left.to_std().expect("to come") >= ACCESS_LIFETIME, "all that it has signed is over before");
        assert!(here.withdraw_key(&order(), key).await.expect("withdrawn"));
        assert!(!takes(&here, &second.access).await && takes(&here, &first.access).await, "at once, and it alone");
        assert!(!here.withdraw_key(&order(), KeyId(uuid::Uuid::nil())).await.expect("asked"));
        let third = here.refresh_tokens(&order(), &second.refresh).await.expect("its session goes on");
        assert!(takes(&here, &third.access).await, "by a new key");
    }
}

#[tokio::test]
async fn a_token_is_for_the_server_that_issued_it() {
    let env = sqlite_env().await;
    let here = elsewhere(&env, "https://jobs.example.com/");
    add(&here, &order(), "ada", Some(Role::Owner)).await;
    let token = issued(&here).await;
    assert!(takes(&elsewhere(&env, "https://jobs.example.com"), &token.access).await, "the same address");
    for url in ["https://other.example.com", "http://jobs.example.com", "https://jobs.example.com/x"] {
        assert!(!takes(&elsewhere(&env, url), &token.access).await, "{url}");
    }
}

#[tokio::test]
async fn a_token_is_over_when_its_time_is_although_its_session_goes_on() {
    let env = sqlite_env().await;
    let accounts = accounts(&env);
    add(&accounts, &order(), "ada", Some(Role::Owner)).await;
    // No token lasts longer than its session: this one two seconds, after which the session is given more time.
    let session = Span(Duration::from_secs(2));
    let settings = AccountSettings { session, ..accounts.settings().clone() };
    let brief = Accounts::new(env.service.clone(), Passwords::weak(), settings);
    let token = issued(&brief).await;
    let later = "UPDATE access_session SET expires_at = expires_at + 600000000, idle_at = idle_at + 600000000";
    env.home.tamper(later).await;
    assert!(takes(&accounts, &token.access).await);
    tokio::time::sleep(Duration::from_millis(2_050)).await;
    assert!(!takes(&accounts, &token.access).await, "also where it was taken a moment ago");
    let next = accounts.refresh_tokens(&order(), &token.refresh).await.expect("the session goes on");
    assert!(takes(&accounts, &next.access).await);
}

#[tokio::test]
async fn the_secret_half_of_a_key_is_sealed_and_of_no_use_with_another_file() {
    let env = sqlite_env().await;
    let here = accounts(&env);
    add(&here, &order(), "ada", Some(Role::Owner)).await;
    issued(&here).await;
    let stored = env.store.signing_key().await.expect("asked").expect("there").secret;
    assert_eq!(stored.first(), Some(&1), "sealed");
    let settings = AccountSettings::default();
    let without = Accounts::new(env.service.clone(), Passwords::weak(), settings);
    let error = without.issue_tokens(&order(), &login("ada", PASSWORD, "192.0.2.2")).await.expect_err("no key file");
    assert!(error.to_string().contains("key_file"), "{error}");
}
