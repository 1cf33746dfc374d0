//! Registration: an account is made by the one who reads the mail of its address, where the settings say so, and by no other.

use gristmill_core::access::Role;
use gristmill_core::audit::Action;
use gristmill_core::email_address::EmailAddress;
use gristmill_core::id::{DEFAULT_TENANT, INSTALLATION_TENANT};
use gristmill_service::accounts::{
    AccountError, AccountSettings, Accounts, Login, MAIL_TENANT, NewMember, Passwords, Registering, Secret,
};
use gristmill_store::accounts::UserState;
use gristmill_store::{AuditFilter, JobFilter, Page, StoreError};

use crate::env::{TestEnv, databases, order, sqlite_env};

const PASSWORD: &str = "correct horse battery";

fn open_to(domains: &[&str]) -> AccountSettings {
    AccountSettings {
        url: "https://jobs.example.com".to_owned(),
        registration: Registering::Open,
        registration_domains: domains.iter().map(|domain| (*domain).to_owned()).collect(),
        registration_tenant: DEFAULT_TENANT.to_owned(),
        ..AccountSettings::default()
    }
}

fn accounts(env: &TestEnv, settings: AccountSettings) -> Accounts {
    Accounts::new(env.service.clone(), Passwords::weak(), settings)
}

fn address(text: &str) -> EmailAddress {
    text.parse().expect("an address")
}

async fn register(accounts: &Accounts, email: &str, from: &str) -> Result<(), AccountError> {
    accounts.register(&order(), &address(email), from).await
}

/// The links that were mailed, the newest first.
async fn mailed(env: &TestEnv) -> Vec<Secret> {
    let filter = JobFilter { tenant: MAIL_TENANT.to_owned(), ..JobFilter::default() };
    let mut links = Vec::new();
    for job in env.store.jobs(&filter, &Page::default()).await.expect("listed") {
        let job = env.store.job(MAIL_TENANT, job.id).await.expect("asked").expect("there");
        assert_eq!(job.payload["data"]["server"], "jobs.example.com");
        let url = job.payload["data"]["url"].as_str().expect("a link").to_owned();
        links.push(Secret::new(url.rsplit('#').next().expect("a secret")));
    }
    links
}

async fn finish(accounts: &Accounts, link: &Secret) -> Result<String, AccountError> {
    let used = accounts.finish_registration(&order(), link, "Bob", &Secret::new(PASSWORD)).await;
    used.map(|used| used.email)
}

fn is_denied<T: std::fmt::Debug>(result: Result<T, AccountError>) -> bool {
    matches!(result, Err(AccountError::Store(StoreError::Denied(_))))
}

fn is_over<T: std::fmt::Debug>(result: Result<T, AccountError>) -> bool {
    matches!(result, Err(AccountError::Store(StoreError::NotFound(_))))
}

async fn actions(env: &TestEnv, tenant: &str) -> Vec<String> {
    let filter = AuditFilter { tenant: tenant.to_owned(), limit: 1_000, ..AuditFilter::default() };
    env.store.audit(&filter).await.expect("listed").into_iter().map(|found| found.entry.action).collect()
}

#[tokio::test]
async fn an_address_registers_by_its_mail_and_becomes_what_the_settings_say() {
    for env in databases().await {
        let accounts = accounts(&env, open_to(&["example.com"]));
        assert!(is_denied(register(&accounts, "eve@evil.test", "192.0.2.1").await));
        register(&accounts, "Bob@Example.com", "192.0.2.1").await.expect("mailed");
        assert_eq!(env.store.count_users().await.expect("counted").0, 0, "nothing is there before the mail is read");
        let link = mailed(&env).await.remove(0);
        let weak = accounts.finish_registration(&order(), &link, "Bob", &Secret::new("short")).await;
        assert!(matches!(weak, Err(AccountError::BadPassword(_))), "{weak:?}");
        assert_eq!(finish(&accounts, &link).await.expect("made"), "bob@example.com");
        assert!(is_over(finish(&accounts, &link).await), "once");
        let bob = accounts.user(&address("bob@example.com")).await.expect("there");
        assert_eq!((bob.state, bob.installation, bob.memberships.len()), (UserState::Active, false, 1));
        assert_eq!((bob.memberships[0].tenant.as_str(), bob.memberships[0].role), (DEFAULT_TENANT, Role::Viewer));
        let (account, password) = ("bob@example.com".to_owned(), Secret::new(PASSWORD));
        let address = "192.0.2.1".to_owned();
        let login = Login { account, password, code: None, address, agent: None, replaces: None };
        accounts.log_in(&order(), &login).await.expect("logged in");
        assert_eq!(actions(&env, DEFAULT_TENANT).await, ["session.open", "link.use", "link.create"]);
    }
}

#[tokio::test]
async fn whether_an_address_has_an_account_does_not_show_and_it_is_mailed_nothing() {
    for env in databases().await {
        let accounts = accounts(&env, open_to(&[]));
        let member = NewMember { email: address("ada@example.com"), name: "Ada".to_owned(), role: Some(Role::Owner) };
        accounts.add_user(&order(), &member, Some(&Secret::new(PASSWORD)), false).await.expect("added");
        register(&accounts, "ada@example.com", "192.0.2.1").await.expect("the same answer");
        assert_eq!(mailed(&env).await.len(), 0);
        register(&accounts, "bob@example.com", "192.0.2.1").await.expect("mailed");
        register(&accounts, "bob@example.com", "192.0.2.2").await.expect("the same answer");
        let links = mailed(&env).await;
        assert_eq!(links.len(), 1, "one mail in some minutes");
        let bob = NewMember { email: address("bob@example.com"), ..member };
        accounts.add_user(&order(), &bob, None, false).await.expect("added meanwhile");
        assert!(is_over(finish(&accounts, &links[0]).await), "a link makes no account a second time");
        let reset = accounts.reset_password(&order(), &links[0], &Secret::new(PASSWORD)).await;
        assert!(is_over(reset), "nor does it choose a password");
    }
}

#[tokio::test]
async fn registrations_are_off_unless_said_and_a_link_of_before_does_nothing_then() {
    let env = sqlite_env().await;
    let off = accounts(&env, AccountSettings { registration: Registering::Off, ..open_to(&[]) });
    assert!(is_denied(register(&off, "bob@example.com", "192.0.2.1").await));
    let open = accounts(&env, open_to(&[]));
    register(&open, "bob@example.com", "192.0.2.1").await.expect("mailed");
    let link = mailed(&env).await.remove(0);
    assert!(is_denied(finish(&off, &link).await), "it was switched off meanwhile");
    assert!(is_denied(finish(&accounts(&env, open_to(&["example.org"])), &link).await), "for other domains now");
    assert!(is_over(finish(&open, &Secret::new("gml_nothing")).await));
    finish(&open, &link).await.expect("made");
}

#[tokio::test]
async fn a_network_asks_for_no_more_mails_than_its_limit_and_leaves_one_entry() {
    for env in databases().await {
        let accounts = accounts(&env, AccountSettings { registration_tenant: String::new(), ..open_to(&[]) });
        let mut waits = 0;
        for number in 0..20 {
            match register(&accounts, &format!("n{number}@example.com"), "198.51.100.7").await {
                Ok(()) => {}
                Err(AccountError::Wait(time)) => waits += u32::from(time.as_secs() <= 3_600),
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!((waits, mailed(&env).await.len()), (15, 5));
        let refusals = actions(&env, INSTALLATION_TENANT).await;
        let refused = refusals.iter().filter(|action| **action == Action::RegistrationRefuse.as_str()).count();
        assert_eq!((refused, refusals.len()), (1, 6));
        register(&accounts, "bob@example.com", "198.51.100.8").await.expect("another network");
        let (account, password) = ("ada@example.com".to_owned(), Secret::new(PASSWORD));
        let address = "198.51.100.7".to_owned();
        let login = Login { account, password, code: None, address, agent: None, replaces: None };
        let refused = accounts.log_in(&order(), &login).await.expect_err("no such account");
        assert!(matches!(refused, AccountError::WrongPassword), "logins from there are counted by themselves");
    }
}

/// Makes a registration leave each of its entries, for the list of all actions.
pub(crate) async fn refused(env: &TestEnv) {
    let accounts = accounts(env, AccountSettings { registration_tenant: String::new(), ..open_to(&[]) });
    for number in 0..6 {
        let _ = register(&accounts, &format!("r{number}@example.com"), "203.0.113.7").await;
    }
}
