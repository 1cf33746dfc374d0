//! Logging in with a password and a code, with the script and without it.

use gristmill_core::access::Role;
use gristmill_core::id::UserId;
use gristmill_service::accounts::totp::{STEP_SECONDS, code};
use gristmill_service::accounts::{NewMember, Secret};
use gristmill_service::{Actor, Order};

use crate::driver::{Browser, Scripts};
use crate::env::{TestEnv, with_accounts};

const PASSWORD: &str = "correct horse battery";

async fn person(env: &TestEnv) -> UserId {
    let order = Order::new("main", Actor::Operator("test".to_owned()));
    let email = "ada@example.com".parse().expect("an address");
    let member = NewMember { email, name: "ada".to_owned(), role: Some(Role::Owner) };
    env.accounts.add_user(&order, &member, Some(&Secret::new(PASSWORD)), true).await.expect("added").id
}

/// The code of the present step of time, or of one so many steps later.
async fn shown(env: &TestEnv, user: UserId, later: u64) -> String {
    let secret = env.accounts.factor_secret(user).await.expect("asked").expect("offered");
    let now = env.store.now().await.expect("a clock").timestamp().cast_unsigned() / STEP_SECONDS;
    code(&secret, now + later)
}

async fn log_in(browser: &Browser, password: &str, code: &str) {
    browser.fill("#email", "ada@example.com").await;
    browser.fill("#password", password).await;
    if !code.is_empty() {
        browser.fill("#code", code).await;
    }
    browser.click("main form button").await;
}

async fn with_a_code(scripts: Scripts) {
    let env = with_accounts().await;
    let user = person(&env).await;
    let Some(browser) = Browser::start(env.addr, scripts).await else { return };
    browser.open("/account").await;
    browser.is_at("/login?next=%2Faccount").await;
    log_in(&browser, "another horse battery", "").await;
    browser.find(".fault").await;
    log_in(&browser, PASSWORD, "").await;
    browser.says("h1", "Your account").await;
    let codes = enrol(&browser, &env, user).await;
    browser.click(".top form[action='/logout'] button").await;
    browser.says("h1", "Log in").await;
    log_in(&browser, PASSWORD, "").await;
    browser.says(".fault", "your account has a second factor").await;
    log_in(&browser, PASSWORD, &shown(&env, user, 1).await).await;
    browser.find(".side").await;
    assert_eq!(browser.text(".who .name").await, "ada@example.com");
    remove(&browser, &codes[0]).await;
}

/// Sets a second factor up on the page of the account, and returns its recovery codes.
async fn enrol(browser: &Browser, env: &TestEnv, user: UserId) -> Vec<String> {
    browser.says("#second-factor", "Off").await;
    browser.click("#second-factor a").await;
    browser.fill("#proof", "another horse battery").await;
    browser.click("#ask button").await;
    browser.says(".fault", "is not your password").await;
    browser.fill("#proof", PASSWORD).await;
    browser.click("#ask button").await;
    let secret = browser.text("#secret-text").await;
    assert!(browser.text("#secret-address").await.contains(&format!("secret={secret}")));
    browser.fill("#code", "000000").await;
    browser.click("#confirm form button").await;
    browser.says(".fault", "is wrong").await;
    assert_eq!(browser.count("#secret-text").await, 0, "it was shown once");
    browser.fill("#code", &shown(env, user, 0).await).await;
    browser.click("#confirm form button").await;
    let codes: Vec<String> = browser.text("#recovery-codes").await.lines().map(str::to_owned).collect();
    assert_eq!(codes.len(), 10);
    browser.open("/account/factor").await;
    browser.says("#remove", "10 recovery codes are left").await;
    assert_eq!(browser.count("#recovery-codes").await, 0, "they were shown once");
    codes
}

/// Removes it by a recovery code.
async fn remove(browser: &Browser, code: &str) {
    browser.open("/account/factor").await;
    browser.fill("#proof", PASSWORD).await;
    browser.fill("#code", code).await;
    browser.click("#remove form button").await;
    browser.says(".said", "Your second factor is removed").await;
    browser.says("#second-factor", "Off").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_logs_in_with_a_code_with_the_script() {
    with_a_code(Scripts::On).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_logs_in_with_a_code_without_the_script() {
    with_a_code(Scripts::Off).await;
}
