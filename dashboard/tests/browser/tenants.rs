//! A person of two tenants, who switches in one tab while a page of the other tenant is open in another.

use gristmill_core::access::Role;
use gristmill_service::accounts::{NewMember, Secret};
use gristmill_service::{Actor, Order};
use gristmill_store::accounts::Quotas;

use crate::driver::{Browser, Scripts};
use crate::env::{TestEnv, with_accounts};

const PASSWORD: &str = "correct horse battery";

/// Tells the page that its queues have changed, as the stream would.
const CHANGED: &str = "new BroadcastChannel('gristmill').postMessage({ state: 'up', topic: 'queues' })";

async fn person_of_two(env: &TestEnv) {
    let order = Order::new("main", Actor::Operator("test".to_owned()));
    let email = "ada@example.com".parse().expect("an address");
    let member = NewMember { email, name: "ada".to_owned(), role: Some(Role::Owner) };
    let user = env.accounts.add_user(&order, &member, Some(&Secret::new(PASSWORD)), true).await.expect("added");
    env.accounts.create_tenant(&order, "acme", Quotas::default(), Some(user.id)).await.expect("made");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_page_says_that_the_person_has_left_its_tenant_and_stays_as_it_is() {
    let env = with_accounts().await;
    person_of_two(&env).await;
    let Some(browser) = Browser::start(env.addr, Scripts::On).await else { return };
    browser.open("/login?next=/queues").await;
    browser.fill("#email", "ada@example.com").await;
    browser.fill("#password", PASSWORD).await;
    browser.click("main form button").await;
    browser.is_at("/queues").await;
    assert_eq!(browser.text(".top a.tenant").await, "main");
    let driver = browser.driver();
    let first = driver.window().await.expect("a window");
    let other = driver.new_tab().await.expect("a tab");
    driver.switch_to_window(other).await.expect("there");
    browser.open("/choice").await;
    browser.click("#tenants button[value=acme]").await;
    browser.says(".top a.tenant", "acme").await;
    driver.switch_to_window(first).await.expect("there");
    let heading = browser.text("main h1").await;
    browser.run(CHANGED, &[]).await;
    browser.says("#moved", "This page is of main").await;
    assert_eq!(browser.text("#live").await, "held");
    assert_eq!((browser.text(".top a.tenant").await.as_str(), browser.text("main h1").await), ("main", heading));
    browser.click("#moved button").await;
    browser.says(".top a.tenant", "acme").await;
    assert_eq!(browser.count("#moved").await, 0);
}
