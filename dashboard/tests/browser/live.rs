//! Pages that change by themselves: under a person who types or has ticked something, in many tabs, and while the server is
//! away.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::driver::{Browser, Scripts, until};
use crate::env::{self, TestEnv};
use crate::stock::stock;

/// How many times a page changes under a person.
const CHANGES: u64 = 1_000;

/// Runs before a page's own script: nothing that it puts off by less than a second is put off, so that a thousand changes
/// take a minute, and readings are counted.
const HURRY: &str = "
    const later = window.setTimeout, read = window.fetch;
    window.setTimeout = (act, ms, ...rest) => later(act, ms < 1000 ? 0 : ms, ...rest);
    window.readings = 0;
    window.fetch = async (...all) => {
        const answer = await read(...all);
        if (all[1] && all[1].headers && all[1].headers['X-Fragment']) later(() => { window.readings += 1; }, 0);
        return answer;
    };";

/// Enqueues a job and tells the page of it as the stream would, again and again; each time until the page has read itself.
const CHANGE: &str = "
    const [times, done] = arguments;
    const channel = new BroadcastChannel('gristmill');
    const pause = () => new Promise((next) => setTimeout(next, 0));
    (async () => {
        for (let time = 0; time < times; time += 1) {
            const body = JSON.stringify({ kind: 'note', queue: 'later' });
            const made = await fetch('/api/v1/jobs', { method: 'POST', headers: { 'Content-Type': 'application/json' }, body });
            if (!made.ok) return done(`not made: ${made.status}`);
            const before = window.readings;
            channel.postMessage({ state: 'up', topic: 'queues' });
            const began = Date.now();
            while (window.readings === before) {
                if (Date.now() - began > 10000) return done('the page was not read again');
                await pause();
            }
        }
        done('done');
    })();";

/// How many jobs are queued, as a tab of the list says.
const QUEUED: &str = "
    const tab = [...document.querySelectorAll('.tabs a')].find((one) => one.textContent.startsWith('queued'));
    return Number(tab.querySelector('.n').textContent.replace(/[^0-9]/g, ''))";

/// A list of dead letters that is longer than the window, in a hurry.
async fn a_long_list(env: &TestEnv) -> Option<Browser> {
    for _ in 0..40 {
        env.enqueue(&json!({ "kind": "work", "queue": "mail" })).await;
    }
    stock(env).await;
    let browser = Browser::start(env.addr, Scripts::On).await?;
    browser.size(1000, 600).await;
    browser.tool("Page.addScriptToEvaluateOnNewDocument", json!({ "source": HURRY })).await;
    let long = Duration::from_secs(100);
    browser.driver().set_script_timeout(long).await.expect("set");
    browser.open("/jobs?state=dead").await;
    Some(browser)
}

/// Lets the page change so often, some at a time: the driver waits for no script longer than for any other answer.
async fn change(browser: &Browser, times: u64) {
    const AT_ONCE: u64 = 50;
    for _ in 0..times.div_ceil(AT_ONCE) {
        assert_eq!(browser.run_until_done(CHANGE, &[json!(AT_ONCE.min(times))]).await, json!("done"));
    }
}

async fn queued(browser: &Browser) -> u64 {
    browser.run(QUEUED, &[]).await.as_u64().expect("a number")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_typed_the_focus_and_the_place_survive_a_thousand_changes() {
    let env = env::open().await;
    let Some(browser) = a_long_list(&env).await else { return };
    let before = queued(&browser).await;
    browser.fill("#filter-q", "error:timeout").await;
    browser.run("const field = document.activeElement; field.setSelectionRange(3, 8); scrollTo(0, 420)", &[]).await;
    browser.run("document.querySelector('.copies').open = true", &[]).await;
    change(&browser, CHANGES).await;
    until("all that was made is shown", async || (queued(&browser).await == before + CHANGES).then_some(())).await;
    let kept = "const at = document.activeElement;
        return [at.id, at.value, at.selectionStart, at.selectionEnd, scrollY, document.querySelector('.copies').open]";
    assert_eq!(browser.run(kept, &[]).await, json!(["filter-q", "error:timeout", 3, 8, 420, true]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_are_ticked_and_text_that_is_selected_do_not_move_until_the_person_says_so() {
    let env = env::open().await;
    let Some(browser) = a_long_list(&env).await else { return };
    browser.open("/jobs").await;
    let rows = "return [...document.querySelectorAll('[data-row]')].map((row) => row.id)";
    let before = browser.run(rows, &[]).await;
    browser.click("[data-row]:nth-child(2) input").await;
    browser.fill("#ticked-reason", "half a reas").await;
    change(&browser, CHANGES).await;
    assert_eq!(browser.run(rows, &[]).await, before, "no row has moved");
    assert_eq!(browser.count("[data-row]:nth-child(2) input:checked").await, 1);
    assert_eq!(browser.run("return document.activeElement.value", &[]).await, json!("half a reas"));
    browser.says("#held", "newer rows").await;
    assert_eq!(browser.text("#live").await, "held");
    browser.click("#held button").await;
    until("the news", async || (browser.run(rows, &[]).await != before).then_some(())).await;
    assert_eq!(browser.count("[data-row] input:checked").await, 0);
    // Text that is selected within the list holds it as well.
    let now = browser.run(rows, &[]).await;
    browser.run("getSelection().selectAllChildren(document.querySelector('[data-row] td:nth-child(4)'))", &[]).await;
    change(&browser, 5).await;
    assert_eq!(browser.run(rows, &[]).await, now);
    assert_eq!(browser.run("return getSelection().toString().trim()", &[]).await, json!("note"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_tabs_hold_one_stream_and_another_takes_over() {
    let env = env::open().await;
    stock(&env).await;
    let Some(browser) = Browser::start(env.addr, Scripts::On).await else { return };
    let driver = browser.driver();
    browser.open("/queues").await;
    until("a stream", async || (env.hub.clients() == 1).then_some(())).await;
    for number in 1..20 {
        let tab = driver.new_tab().await.expect("a tab");
        driver.switch_to_window(tab).await.expect("there");
        browser.open(["/queues", "/jobs", "/workers", "/batches", "/"][number % 5]).await;
        browser.says("#live", "live").await;
        until("one stream for all", async || (env.hub.clients() == 1).then_some(())).await;
    }
    assert_eq!(driver.windows().await.expect("listed").len(), 20);
    let all = driver.windows().await.expect("listed");
    driver.switch_to_window(all[0].clone()).await.expect("there");
    driver.close_window().await.expect("closed");
    driver.switch_to_window(all[6].clone()).await.expect("there");
    until("one stream of another tab", async || (env.hub.clients() == 1).then_some(())).await;
    env.enqueue(&json!({ "kind": "note", "queue": "brand-new" })).await;
    browser.open("/queues").await;
    browser.says("main", "brand-new").await;
    browser.says("#live", "live").await;
    env.enqueue(&json!({ "kind": "note", "queue": "newer-still" })).await;
    browser.says("main", "newer-still").await;
    assert_eq!(env.hub.clients(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_is_seen_within_five_seconds_and_a_page_recovers_by_itself() {
    let mut env = env::open().await;
    stock(&env).await;
    let Some(browser) = Browser::start(env.addr, Scripts::On).await else { return };
    browser.open("/queues").await;
    browser.says("#live", "live").await;
    let killed = Instant::now();
    env.kill().await;
    browser.find("#live[data-state=stale]").await;
    let seen = killed.elapsed();
    assert!(seen < Duration::from_secs(5), "{seen:?}");
    browser.says("#stale", "No answer").await;
    env.revive().await;
    env.enqueue(&json!({ "kind": "note", "queue": "since-then" })).await;
    browser.says("main", "since-then").await;
    browser.says("#live", "live").await;
    assert_eq!(browser.count("#stale").await, 0);
    until("the stream again", async || (env.hub.clients() == 1).then_some(())).await;
}
