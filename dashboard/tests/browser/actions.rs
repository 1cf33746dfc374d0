//! What people do, each with the script and without it, by mouse and keyboard alone.

use gristmill_core::job::JobState;
use gristmill_store::{Page, QuarantineFilter};

use crate::driver::{Browser, Scripts};
use crate::places::{World, world};

/// A browser of an operator.
async fn operator(world: &World, scripts: Scripts) -> Option<Browser> {
    let browser = Browser::start(world.env.addr, scripts).await?;
    browser.become_role("operator").await;
    Some(browser)
}

/// Opens what is behind a button, gives a reason, and confirms.
async fn confirm(browser: &Browser, action: &str, reason: &str) {
    browser.click(&format!("#{action} > summary")).await;
    browser.fill(&format!("#{action}-reason"), reason).await;
    browser.click(&format!("#{action} form button.primary")).await;
}

async fn state(world: &World, job: &str) -> JobState {
    let id = job.parse().expect("an id");
    world.env.store.job("main", id).await.expect("asked").expect("there").state
}

/// One of everything that a person does to jobs, queues, batches, items and schedules.
async fn everything(scripts: Scripts) {
    let world = world().await;
    let Some(browser) = operator(&world, scripts).await else { return };
    // The mark by which a page knows that its script runs.
    browser.open("/jobs").await;
    assert_eq!(browser.count("html.scripted").await, usize::from(scripts == Scripts::On));
    jobs(&world, &browser).await;
    ticked(&world, &browser).await;
    queues_and_batches(&world, &browser).await;
    operation(&world, &browser).await;
    item(&world, &browser).await;
    schedule(&browser).await;
    appearance(&browser).await;
}

async fn jobs(world: &World, browser: &Browser) {
    let retry = world.stock.retry.clone();
    browser.open(&format!("/jobs/{retry}")).await;
    browser.click("#retry button").await;
    browser.says(".said", "It may run now").await;
    assert_eq!(state(world, &retry).await, JobState::Queued);
    confirm(browser, "cancel", "asked for by its owner").await;
    browser.says(".said", "It is cancelled").await;
    assert_eq!(state(world, &retry).await, JobState::Cancelled);
    browser.open(&format!("/jobs/{}", world.work.dead)).await;
    confirm(browser, "redrive", "the service is back").await;
    browser.says(".said", "further attempts").await;
    assert_eq!(state(world, &world.work.dead.to_string()).await, JobState::Queued);
}

/// Rows that are ticked, and a word that is typed.
async fn ticked(world: &World, browser: &Browser) {
    browser.open("/dead?by=job").await;
    browser.click(&format!("input[value='{}']", world.stock.dead[0])).await;
    browser.fill(".selection input[name=reason]", "mended").await;
    browser.click(".selection > button").await;
    browser.reads(".said span", "1 dead letter brought back.").await;
    assert_eq!(state(world, &world.stock.dead[0]).await, JobState::Queued);
    browser.open("/jobs?state=queued").await;
    browser.click(&format!("input[value='{}']", world.stock.dead[0])).await;
    browser.fill("#ticked-reason", "no more").await;
    browser.click("#ticked-destroy > summary").await;
    browser.fill("#ticked-confirm", "cancel").await;
    browser.click("#ticked-destroy button").await;
    browser.says(".said", "1 job cancelled").await;
    assert_eq!(state(world, &world.stock.dead[0]).await, JobState::Cancelled);
}

async fn queues_and_batches(world: &World, browser: &Browser) {
    browser.open("/queues/mail").await;
    confirm(browser, "pause-mail", "the provider is down").await;
    browser.says(".said", "mail is paused").await;
    browser.says("#pause", "the provider is down").await;
    browser.click("#resume-mail button").await;
    browser.says(".said", "mail is open again").await;
    let batch = world.work.batch;
    browser.open(&format!("/batches/{batch}")).await;
    confirm(browser, "pause", "wait for the night").await;
    browser.says(".said", "The batch is paused").await;
    assert!(world.env.store.batch("main", batch).await.expect("asked").expect("there").paused);
    browser.click("#resume button").await;
    browser.says(".said", "The batch goes on").await;
    let name = world.env.store.batch("main", batch).await.expect("asked").expect("there").name;
    browser.click("#cancel > summary").await;
    browser.fill("#cancel-confirm", &name).await;
    browser.click("#cancel form button.primary").await;
    browser.says(".said", "Cancelled").await;
}

/// A look at what it would do, and then the same.
async fn operation(world: &World, browser: &Browser) {
    browser.open("/operations/start?verb=cancel").await;
    browser.fill("#query", "kind:note").await;
    browser.fill("#reason", "not needed").await;
    browser.click("button[value=preview]").await;
    browser.says("#preview", "would be changed").await;
    let before = world.env.store.operations("main", &Page::default()).await.expect("listed").len();
    browser.click("button[value=start]").await;
    browser.says(".said", "It has begun").await;
    assert!(browser.place().await.starts_with("/operations/"), "{}", browser.place().await);
    let after = world.env.store.operations("main", &Page::default()).await.expect("listed").len();
    assert_eq!(after, before + 1, "the preview began none");
}

/// An item is edited, looked at, and redriven.
async fn item(world: &World, browser: &Browser) {
    let (page, id) = (format!("/quarantine/{}", world.stock.item), world.stock.item);
    browser.become_role("admin").await;
    browser.open(&page).await;
    browser.fill("#item", r#"{"price": "7.25", "shop": "north"}"#).await;
    browser.click("button[value=preview]").await;
    browser.says("#preview", "7.25").await;
    browser.click("button[value=redrive]").await;
    browser.says(".said", "runs again").await;
    assert_eq!(state_of(world, id).await, "redriven");
    browser.become_role("operator").await;
}

/// The state of an item.
async fn state_of(world: &World, item: i64) -> String {
    let filter = QuarantineFilter { tenant: "main".to_owned(), ..QuarantineFilter::default() };
    let items = world.env.store.quarantine(&filter, &Page::default()).await.expect("listed");
    items.into_iter().find(|one| one.id == item).expect("there").state
}

async fn schedule(browser: &Browser) {
    browser.open("/schedules/nightly").await;
    confirm(browser, "disable", "not tonight").await;
    browser.says(".said", "does not run by itself any more").await;
    confirm(browser, "enable", "again").await;
    browser.says(".said", "runs by itself again").await;
}

/// Light and dark, which is kept.
async fn appearance(browser: &Browser) {
    browser.click("#themes button[value=dark]").await;
    browser.find("html[data-theme=dark]").await;
    browser.open("/queues").await;
    browser.find("html[data-theme=dark]").await;
    browser.click("#themes button[value=light]").await;
    browser.find("html[data-theme=light]").await;
    browser.is_at("/queues").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_is_done_with_the_script() {
    everything(Scripts::On).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_is_done_without_the_script() {
    everything(Scripts::Off).await;
}
