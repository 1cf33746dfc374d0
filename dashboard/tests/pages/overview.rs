//! The overview.

use gristmill_store::testing;

use crate::env;
use crate::pages::browser::look;
use crate::pages::work::work;

#[tokio::test]
async fn an_empty_store_is_explained() {
    let env = env::open().await;
    let page = look(&env, None, "/").await.text;
    assert!(page.contains("Nothing waits, and no worker is alive."), "{page}");
    assert!(page.contains("gristmill batch run NAME") && page.contains("gristmill worker run"), "{page}");
}

#[tokio::test]
async fn what_is_under_way_is_there_with_its_numbers() {
    let env = env::open().await;
    let work = work(&env).await;
    let page = look(&env, None, "/").await.text;
    assert!(page.contains("All is well: 1\u{a0}job runs, 2\u{a0}jobs wait"), "{page}");
    assert!(page.contains(&format!("href=\"/batches/{}\"", work.batch)), "{page}");
    assert!(page.contains("tile bad"), "a dead job stands out: {page}");
}

#[tokio::test]
async fn jobs_without_a_worker_are_the_first_thing_that_is_said() {
    let env = env::open().await;
    env.store.enqueue(&testing::jobs(3)).await.expect("enqueued");
    let page = look(&env, None, "/").await.text;
    assert!(page.contains("No worker is alive, and 3\u{a0}jobs wait."), "{page}");
}
