//! What axe-core says of every page, light and dark.

use std::fs;

use serde_json::{Value, json};

use crate::driver::{Browser, Scripts, none, not_run, provided};
use crate::places::world;

/// What is serious or critical: the rule, how many places it concerns, the first of them, and what is wrong there.
const JUDGE: &str = "
    const done = arguments[arguments.length - 1];
    axe.run(document, { resultTypes: ['violations'] }).then(
        ({ violations }) => done(violations
            .filter(({ impact }) => impact === 'serious' || impact === 'critical')
            .map(({ id, nodes }) => `${id} (${nodes.length}): ${nodes[0].html.slice(0, 200)} ${nodes[0].failureSummary.slice(0, 300)}`)),
        (error) => done([`axe failed: ${error}`]));";

/// What is wrong with the page that the browser is at.
async fn judge(browser: &Browser, axe: &str) -> Vec<String> {
    browser.run(axe, &[]).await;
    let found = browser.run_until_done(JUDGE, &[]).await;
    let texts = found.as_array().unwrap_or_else(|| panic!("{found}")).iter();
    texts.filter_map(Value::as_str).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_page_has_a_serious_finding_light_or_dark() {
    let Some(path) = provided("GRISTMILL_TEST_AXE") else { return not_run("axe-core") };
    let axe = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let world = world().await;
    let Some(browser) = Browser::start(world.env.addr, Scripts::On).await else { return };
    browser.become_role("owner").await;
    let places = world.places(&browser).await;
    let mut wrong = Vec::new();
    for theme in ["light", "dark"] {
        browser.medium(theme, "").await;
        for place in &places {
            browser.open(&place.path).await;
            let scheme = browser.run("return matchMedia('(prefers-color-scheme: dark)').matches", &[]).await;
            assert_eq!(scheme, json!(theme == "dark"));
            wrong.extend(judge(&browser, &axe).await.iter().map(|one| format!("{} {theme}: {one}", place.path)));
        }
    }
    none("findings", &wrong);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_would_be_found() {
    let Some(path) = provided("GRISTMILL_TEST_AXE") else { return not_run("axe-core") };
    let axe = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let world = world().await;
    let Some(browser) = Browser::start(world.env.addr, Scripts::On).await else { return };
    browser.become_role("owner").await;
    browser.open("/queues").await;
    browser
        .run(
            "document.querySelector('main').insertAdjacentHTML('beforeend', '<input type=text><button></button>')",
            &[],
        )
        .await;
    let found = judge(&browser, &axe).await;
    assert!(found.iter().any(|one| one.starts_with("label")), "{found:?}");
    assert!(found.iter().any(|one| one.starts_with("button-name")), "{found:?}");
}
