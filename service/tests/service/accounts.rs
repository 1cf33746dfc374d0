//! The verbs over accounts: logging in, being recognized, being recognized no more, mails with links.

use std::time::Duration;

use gristmill_core::access::{Permission, Role};
use gristmill_core::email_address::EmailAddress;
use gristmill_core::id::DEFAULT_TENANT;
use gristmill_service::accounts::{
    AccountError, AccountSettings, Accounts, Login, MAIL_TENANT, NewMember, Passwords, Secret, TokenRequest,
};
use gristmill_store::accounts::{Appointer, Recognition, UserView, WhichSessions};
use gristmill_store::{JobFilter, Page, StoreError};

use crate::env::{TestEnv, order, rehearsal, sqlite_env};

const PASSWORD: &str = "correct horse battery";

fn accounts(env: &TestEnv) -> Accounts {
    let settings = AccountSettings { url: "https://jobs.example.com/".to_owned(), ..AccountSettings::default() };
    Accounts::new(env.service.clone(), Passwords::weak(), settings)
}

fn address(name: &str) -> EmailAddress {
    format!("{name}@example.com").parse().expect("an address")
}

async fn user(accounts: &Accounts, name: &str, role: Role) -> UserView {
    let member = NewMember { email: address(name), name: name.to_owned(), role: Some(role) };
    accounts.add_user(&order(), &member, Some(&Secret::new(PASSWORD)), false).await.expect("added")
}

fn login(account: &str, password: &str) -> Login {
    let (account, password) = (account.to_owned(), Secret::new(password));
    Login { account, password, code: None, address: "192.0.2.1".to_owned(), agent: None, replaces: None }
}

fn is_known(recognition: Option<&Recognition>) -> bool {
    matches!(recognition, Some(Recognition::Known(_)))
}

/// The links in the mails, the newest first.
async fn links(env: &TestEnv) -> Vec<Secret> {
    let filter = JobFilter { tenant: MAIL_TENANT.to_owned(), ..JobFilter::default() };
    let jobs = env.store.jobs(&filter, &Page::default()).await.expect("listed");
    let mut links = Vec::new();
    for job in jobs {
        let job = env.store.job(MAIL_TENANT, job.id).await.expect("asked").expect("there");
        let url = job.payload["data"]["url"].as_str().expect("a link").to_owned();
        let secret = url.strip_prefix("https://jobs.example.com/link#").expect("it leads to the server");
        links.push(Secret::new(secret));
    }
    links
}

#[tokio::test]
async fn a_login_does_not_show_whether_the_account_exists() {
    let env = sqlite_env().await;
    let accounts = accounts(&env);
    user(&accounts, "ada", Role::Owner).await;
    let said = async |account: &str, password: &str| {
        accounts.log_in(&order(), &login(account, password)).await.expect_err("refused").to_string()
    };
    let wrong = said("ada@example.com", "another password").await;
    for (account, password) in [("nobody@example.com", PASSWORD), ("no address", PASSWORD), ("", "")] {
        assert_eq!(said(account, password).await, wrong);
    }
    let logged_in = accounts.log_in(&order(), &login(" Ada@Example.com", PASSWORD)).await.expect("logged in");
    let known = accounts.recognizer().session(&logged_in.secret, None).await.expect("asked");
    assert!(is_known(known.as_ref()));
    let again = accounts.log_in(&order(), &login("ada@example.com", PASSWORD)).await.expect("logged in");
    assert_ne!(again.secret, logged_in.secret, "each login has a secret of its own");
    for account in ["ada@example.com", "nobody@example.com"] {
        let mut wait = None;
        for _ in 0..11 {
            match accounts.log_in(&order(), &login(account, "another password")).await.expect_err("refused") {
                AccountError::WrongPassword => {}
                AccountError::Wait(time) => wait = Some(time),
                other => panic!("{other}"),
            }
        }
        assert!(wait.is_some_and(|time| time <= Duration::from_secs(900)), "{account} waits");
    }
}

#[tokio::test]
async fn a_user_of_another_program_logs_in_and_has_a_hash_of_ours_from_then_on() {
    let env = sqlite_env().await;
    let accounts = accounts(&env);
    let member = NewMember { email: address("ada"), name: "ada".to_owned(), role: Some(Role::Owner) };
    // That of `correct horse battery`, by bcrypt with the cost 4.
    let hash = Secret::new("$2b$04$DCq7YPn5Rq63x1Lad4cll.2NOVzVxhGcKP9kwt5/oRFIttIATTkC6");
    let ada = accounts.import_user(&order(), &member, &hash, false).await.expect("added");
    let stored = async || env.store.password_of(ada.id).await.expect("asked").expect("there is one");
    assert!(stored().await.starts_with("$2b$"));
    let refused = accounts.log_in(&order(), &login("ada@example.com", "another password")).await;
    assert!(matches!(refused, Err(AccountError::WrongPassword)) && stored().await.starts_with("$2b$"));
    for _ in 0..2 {
        accounts.log_in(&order(), &login("ada@example.com", PASSWORD)).await.expect("logged in");
        assert!(stored().await.starts_with("$argon2id$"), "replaced");
    }
    let other = NewMember { email: address("bob"), ..member };
    let plain = accounts.import_user(&order(), &other, &Secret::new(PASSWORD), false).await.expect_err("no hash");
    assert!(!plain.to_string().contains(PASSWORD), "{plain}");
}

#[tokio::test]
async fn what_is_revoked_is_not_recognized_any_more() {
    let env = sqlite_env().await;
    let (here, elsewhere) = (accounts(&env), accounts(&env));
    let ada = user(&here, "ada", Role::Owner).await;
    let request = TokenRequest { name: "ci".to_owned(), scopes: Some(vec![Permission::JobsRead]), lifetime: None };
    let token = here.create_token(&order(), ada.id, &request).await.expect("created");
    let session = here.log_in(&order(), &login("ada@example.com", PASSWORD)).await.expect("logged in");
    for accounts in [&here, &elsewhere] {
        let known = accounts.recognizer().token(&token.secret, Some(DEFAULT_TENANT)).await.expect("asked");
        assert!(is_known(known.as_ref()));
    }
    assert_eq!(here.recognizer().session(&token.secret, None).await.expect("asked"), None, "a token is no session");
    assert!(is_known(here.recognizer().session(&session.secret, None).await.expect("asked").as_ref()));
    assert!(here.revoke_token(&order(), token.token.id, None).await.expect("revoked"));
    let which = WhichSessions::WithSecret(session.secret.hash());
    assert_eq!(here.end_sessions(&order(), ada.id, which).await.expect("ended"), 1);
    assert_eq!(here.recognizer().token(&token.secret, Some(DEFAULT_TENANT)).await.expect("asked"), None, "at once");
    assert_eq!(here.recognizer().session(&session.secret, None).await.expect("asked"), None, "at once");
    let kept = elsewhere.recognizer().token(&token.secret, Some(DEFAULT_TENANT)).await.expect("asked");
    assert!(is_known(kept.as_ref()), "another process keeps it for some seconds");
    elsewhere.recognizer().forget().await;
    assert_eq!(elsewhere.recognizer().token(&token.secret, Some(DEFAULT_TENANT)).await.expect("asked"), None);
}

#[tokio::test]
async fn a_colleague_is_invited_by_a_mail_that_no_member_can_read() {
    let env = sqlite_env().await;
    let accounts = accounts(&env);
    let ada = user(&accounts, "ada", Role::Owner).await;
    let by = Appointer::User(ada.id);
    env.publishes("an invitation", 1, async {
        accounts.invite(&order(), by, &address("bob"), Role::Viewer).await.expect("invited");
    })
    .await;
    let link = links(&env).await.remove(0);
    let weak = accounts.accept(&order(), &link, Some(("Bob", &Secret::new("short")))).await.expect_err("refused");
    assert!(matches!(weak, AccountError::BadPassword(_)), "{weak}");
    let used = accounts.accept(&order(), &link, Some(("Bob", &Secret::new(PASSWORD)))).await.expect("accepted");
    assert!(used.created && used.member == Some((DEFAULT_TENANT.to_owned(), Role::Viewer)));
    let again = accounts.accept(&order(), &link, None).await.expect_err("once");
    assert!(matches!(again, AccountError::Store(StoreError::NotFound(_))), "{again}");
    accounts.log_in(&order(), &login("bob@example.com", PASSWORD)).await.expect("logged in");
    let to_owner = accounts.invite(&order(), Appointer::User(used.user), &address("eve"), Role::Owner).await;
    assert!(matches!(to_owner, Err(AccountError::Store(StoreError::Denied(_)))));
    let tenant = accounts.create_tenant(&order(), MAIL_TENANT, Default::default(), Some(ada.id)).await;
    assert!(
        matches!(tenant, Err(AccountError::Store(StoreError::Invalid(_)))),
        "nobody is a member of the mails' tenant"
    );
}

#[tokio::test]
async fn a_password_is_changed_by_whoever_has_it_or_the_mailbox() {
    let env = sqlite_env().await;
    let accounts = accounts(&env);
    let ada = user(&accounts, "ada", Role::Owner).await;
    let (old, new) = (Secret::new(PASSWORD), Secret::new("quite another password"));
    let wrong = accounts.change_password(&order(), ada.id, &new, &new, None).await.expect_err("not the password");
    assert!(matches!(wrong, AccountError::WrongPassword));
    let kept = accounts.log_in(&order(), &login("ada@example.com", PASSWORD)).await.expect("logged in");
    let other = accounts.log_in(&order(), &login("ada@example.com", PASSWORD)).await.expect("logged in");
    accounts.change_password(&order(), ada.id, &old, &new, Some(kept.secret.hash())).await.expect("changed");
    assert!(is_known(accounts.recognizer().session(&kept.secret, None).await.expect("asked").as_ref()));
    assert_eq!(accounts.recognizer().session(&other.secret, None).await.expect("asked"), None);
    for name in ["nobody", "ada", "ada"] {
        accounts.send_reset(&order(), &address(name)).await.expect("the same answer");
    }
    let sent = links(&env).await;
    assert_eq!(sent.len(), 1, "one mail, to the one who has an account, in some minutes");
    accounts.reset_password(&order(), &sent[0], &old).await.expect("reset");
    assert_eq!(accounts.recognizer().session(&kept.secret, None).await.expect("asked"), None);
    accounts.log_in(&order(), &login("ada@example.com", PASSWORD)).await.expect("logged in");
}

#[tokio::test]
async fn the_first_owner_is_made_by_a_link_and_nothing_by_a_rehearsal() {
    let env = sqlite_env().await;
    let accounts = accounts(&env);
    accounts.first_owner_link(&rehearsal()).await.expect_err("accounts have no rehearsal");
    let link = accounts.first_owner_link(&order()).await.expect("made");
    let password = Secret::new(PASSWORD);
    let unknown = Secret::new("gml_nothing");
    let made = accounts.make_first_owner(&order(), &unknown, &address("eve"), "Eve", &password).await;
    assert!(matches!(made, Err(AccountError::Store(StoreError::NotFound(_)))));
    accounts.make_first_owner(&order(), &link, &address("ada"), "Ada", &password).await.expect("made");
    let logged_in = accounts.log_in(&order(), &login("ada@example.com", PASSWORD)).await.expect("logged in");
    let known = accounts.recognizer().session(&logged_in.secret, None).await.expect("asked");
    let Some(Recognition::Known(ada)) = known else { panic!("known: {known:?}") };
    assert!(ada.principal.installation && ada.principal.role == Role::Owner);
    let error = accounts.first_owner_link(&order()).await.expect_err("there is one");
    assert!(matches!(error, AccountError::Store(StoreError::Conflict(_))), "{error}");
}
