//! Further things that people do, each with the script and without it: start work by a form, acknowledge an error, set a limit,
//! fill a past range, discard, retire, choose a time zone.

use gristmill_core::job::JobState;
use gristmill_store::JobFilter;

use crate::driver::{Browser, Scripts};
use crate::places::{World, world};

/// Opens what is behind a button, and confirms.
async fn confirm(browser: &Browser, action: &str) {
    browser.click(&format!("{action} > summary")).await;
    browser.click(&format!("{action} form button.primary, {action} form button.danger")).await;
}

async fn everything(scripts: Scripts) {
    let world = world().await;
    let Some(browser) = Browser::start(world.env.addr, scripts).await else { return };
    browser.become_role("owner").await;
    started(&world, &browser).await;
    acknowledged(&browser).await;
    limited(&browser).await;
    filled(&browser).await;
    discarded(&world, &browser).await;
    batch(&world, &browser).await;
    retired(&world, &browser).await;
    zone(&browser).await;
}

/// A job and a batch, each from its form; what is wrong stands at its field.
async fn started(world: &World, browser: &Browser) {
    browser.open("/jobs").await;
    browser.click("main a[href='/jobs/new']").await;
    browser.fill("#kind", "note").await;
    browser.fill("#payload", "{").await;
    browser.click("button[value=enqueue]").await;
    browser.says(".fault", "is no JSON").await;
    browser.fill("#payload", r#"{"n": 7}"#).await;
    browser.click("button[value=check]").await;
    browser.says("main .note", "Nothing was enqueued").await;
    browser.click("button[value=enqueue]").await;
    browser.says(".said", "The job is enqueued").await;
    let filter = JobFilter { tenant: "main".to_owned(), kind: Some("note".to_owned()), ..JobFilter::default() };
    let jobs = world.env.store.jobs(&filter, &gristmill_store::Page::default()).await.expect("listed");
    assert!(browser.place().await.ends_with(&jobs[0].id.to_string()), "{}", browser.place().await);
    browser.open("/batches/new?definition=retail").await;
    browser.click("button[value=check]").await;
    browser.says("main .note", "It would have").await;
    browser.click("button[value=start]").await;
    browser.says(".said", "The batch has started").await;
}

async fn acknowledged(browser: &Browser) {
    browser.open("/errors").await;
    browser.click("main a[href^='/errors/']").await;
    let page = browser.place().await;
    browser.click("#acknowledge > summary").await;
    browser.fill("#acknowledge-reason", "the provider knows").await;
    browser.click("#acknowledge form button.primary").await;
    browser.says(".said", "is acknowledged").await;
    browser.open(&page).await;
    browser.says("#error", "the provider knows").await;
    browser.click("#reopen button").await;
    browser.says(".said", "is open again").await;
}

async fn limited(browser: &Browser) {
    browser.open("/limits/new").await;
    browser.fill("#name", "slow-mail").await;
    browser.fill("#queues", "mail").await;
    browser.fill("#concurrency", "2").await;
    browser.click("main form.stack button.primary").await;
    browser.says(".said", "applies from now on").await;
    browser.fill("#concurrency", "3").await;
    browser.click("main form.stack button.primary").await;
    browser.says(".said", "is changed").await;
    browser.click("#drop > summary").await;
    browser.fill("#drop-confirm", "slow-mail").await;
    browser.click("#drop form button.primary, #drop form button.danger").await;
    browser.says(".said", "is dropped").await;
}

/// A past range of a schedule, looked at first.
async fn filled(browser: &Browser) {
    browser.open("/schedules/nightly/backfill").await;
    browser.fill("#from", "2026-03-01T00:00:00Z").await;
    browser.fill("#to", "2026-03-04T00:00:00Z").await;
    browser.click("button[value=preview]").await;
    browser.reads("#preview strong", "3 slots").await;
    browser.reads("#preview button[value=start]", "Start 3 runs").await;
    browser.click("button[value=start]").await;
    browser.says(".said", "wait for a scheduler").await;
}

async fn discarded(world: &World, browser: &Browser) {
    let dead = &world.stock.dead[1];
    browser.open("/dead?by=job").await;
    confirm(browser, &format!("#discard-{dead}")).await;
    browser.find(".said").await;
    let found = world.env.store.job("main", dead.parse().expect("an id")).await.expect("asked");
    assert!(found.is_none(), "{found:?}");
}

/// A chunk is split; its batch is called off, and begun again.
async fn batch(world: &World, browser: &Browser) {
    browser.open(&format!("/jobs/{}", world.work.dead)).await;
    confirm(browser, "#split").await;
    browser.says(".said", "Two halves have taken its place").await;
    let split = world.env.store.job("main", world.work.dead).await.expect("asked").expect("there");
    assert_eq!(split.state, JobState::Cancelled);
    let batch = world.work.batch;
    let name = world.env.store.batch("main", batch).await.expect("asked").expect("there").name;
    browser.open(&format!("/batches/{batch}")).await;
    browser.click("#cancel > summary").await;
    browser.fill("#cancel-confirm", &name).await;
    browser.click("#cancel form button.primary").await;
    browser.says(".said", "Cancelled").await;
    confirm(browser, "#restart").await;
    browser.says(".said", "generation").await;
}

async fn retired(world: &World, browser: &Browser) {
    let workers = world.env.store.workers().await.expect("listed");
    let alive = workers.iter().find(|worker| worker.state == "alive").expect("one");
    browser.open("/workers").await;
    confirm(browser, &format!("[id='retire-{}']", alive.id)).await;
    browser.says(".said", "It is retired").await;
}

async fn zone(browser: &Browser) {
    browser.open("/queues").await;
    browser.click(".top a.zone").await;
    let choice = browser.find("#zone-name").await;
    choice.send_keys("Europe/Berlin").await.expect("chosen by its name");
    browser.click("#zone form button.primary").await;
    browser.is_at("/queues").await;
    browser.says(".top a.zone", "Europe/Berlin").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn further_things_are_done_with_the_script() {
    everything(Scripts::On).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn further_things_are_done_without_the_script() {
    everything(Scripts::Off).await;
}
