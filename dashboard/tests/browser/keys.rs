//! The keyboard.

use gristmill_core::job::JobState;
use serde_json::json;
use thirtyfour::Key;

use crate::driver::{Browser, Scripts};
use crate::places::world;

/// What has the focus: its id, or its text.
const FOCUSED: &str = "return document.activeElement.id || document.activeElement.textContent";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_lead_to_pages_rows_and_buttons_and_can_be_switched_off() {
    let world = world().await;
    let Some(browser) = Browser::start(world.env.addr, Scripts::On).await else { return };
    browser.become_role("operator").await;
    browser.open("/").await;
    browser.press("gj").await;
    browser.says("h1", "Jobs").await;
    rows(&browser).await;
    help(&browser).await;
    browser.press("t").await;
    browser.find("html[data-theme=dark]").await;
    let retry = &world.stock.retry;
    browser.open(&format!("/jobs/{retry}")).await;
    browser.press("c").await;
    browser.find("#cancel[open]").await;
    browser.press_key(Key::Escape).await;
    browser.holds("return !document.querySelector('#cancel').open").await;
    browser.press("r").await;
    browser.says(".said", "It may run now").await;
    let job = world.env.store.job("main", retry.parse().expect("an id")).await.expect("asked").expect("there");
    assert_eq!(job.state, JobState::Queued);
}

/// From row to row, into a field where keys are text, and into the row.
async fn rows(browser: &Browser) {
    browser.press("j").await;
    let first = browser.run("return document.activeElement.closest('[data-row]').id", &[]).await;
    browser.press("jk").await;
    assert_eq!(browser.run("return document.activeElement.closest('[data-row]').id", &[]).await, first);
    browser.click("#filter-q").await;
    browser.press("gjt?").await;
    assert_eq!(browser.run("return document.querySelector('#filter-q').value", &[]).await, json!("gjt?"));
    assert_eq!((browser.place().await.as_str(), browser.count("dialog[open]").await), ("/jobs", 0));
    browser.run("document.activeElement.blur()", &[]).await;
    browser.press("/").await;
    assert_eq!(browser.run(FOCUSED, &[]).await, json!("filter-q"), "to the query");
    browser.run("document.activeElement.blur()", &[]).await;
    browser.press("jx").await;
    assert_eq!(browser.count("[data-row] input:checked").await, 1, "the row is ticked");
    browser.press("x").await;
    assert_eq!(browser.count("[data-row] input:checked").await, 0, "and not any more");
}

/// The list of keys, and its switch.
async fn help(browser: &Browser) {
    browser.run("document.activeElement.blur()", &[]).await;
    browser.press("?").await;
    browser.find("#help[open]").await;
    browser.click("#help input").await;
    browser.press_key(Key::Escape).await;
    browser.holds("return !document.querySelector('#help').open").await;
    browser.press("gb").await;
    browser.open("/jobs").await;
    browser.is_at("/jobs").await;
    browser.press("?").await;
    browser.find("#help[open]").await;
    browser.click("#help input").await;
    browser.press_key(Key::Escape).await;
    browser.holds("return !document.querySelector('#help').open").await;
    browser.press("gb").await;
    browser.says("h1", "Batches").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_field_of_chunks_is_walked_by_arrows_and_all_of_a_page_by_tab() {
    let world = world().await;
    let Some(browser) = Browser::start(world.env.addr, Scripts::On).await else { return };
    browser.become_role("viewer").await;
    browser.open(&format!("/batches/{}", world.work.batch)).await;
    browser.press_key(Key::Tab).await;
    assert_eq!(browser.text("a.skip:focus").await, "Skip to the content");
    browser.press_key(Key::Enter).await;
    assert_eq!(browser.run(FOCUSED, &[]).await, json!("main"));
    browser.run("document.querySelector('.heat a').focus()", &[]).await;
    let at = "return [...document.querySelectorAll('.heat a')].indexOf(document.activeElement)";
    assert_eq!(browser.run(at, &[]).await, json!(0));
    browser.press_key(Key::Right).await;
    browser.press_key(Key::Right).await;
    browser.press_key(Key::Left).await;
    assert_eq!(browser.run(at, &[]).await, json!(1));
    let outlined = "return getComputedStyle(document.activeElement.querySelector('rect')).strokeWidth";
    assert_eq!(browser.run(outlined, &[]).await, json!("2px"), "the focus is seen");
}
