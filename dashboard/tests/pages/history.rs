//! What has passed, over time, on the pages.

use gristmill_store::{Completion, FOLD_ROWS_MAX, testing};

use crate::env::{self, TestEnv};
use crate::pages::browser::{check, look};

/// Lets three jobs of a kind pass through a queue: one is done, one fails, one dies.
async fn pass(env: &TestEnv, queue: &str, kind: &str) {
    let mut jobs = testing::jobs(3);
    for job in &mut jobs {
        (job.queue, job.kind) = (queue.to_owned(), kind.to_owned());
    }
    env.store.enqueue(&jobs).await.expect("enqueued");
    let worker = testing::worker(std::time::Duration::from_secs(600));
    env.store.register_worker(&worker).await.expect("registered");
    let claimed = env.store.claim_next(&testing::claim_as(worker.id, 3)).await.expect("claimed");
    let ends: [Completion; 3] = [
        testing::done(&claimed[0]),
        testing::retry(&claimed[1], std::time::Duration::from_secs(600)),
        testing::dead(&claimed[2]),
    ];
    env.store.complete(&ends).await.expect("completed");
    while env.store.fold_history(FOLD_ROWS_MAX).await.expect("moved") > 0 {}
}

#[tokio::test]
async fn charts_say_what_passed_as_a_picture_in_words_and_as_a_table() {
    let env = env::open().await;
    pass(&env, "mail", "email").await;
    for address in
        ["/", "/queues/mail", "/history", "/history?kind=email&span=7d", "/queues/mail?span=6h", "/?span=24h"]
    {
        let page = look(&env, None, address).await;
        check(address, &page);
        let said = "1\u{a0}job is done, 2\u{a0}attempts failed, 1\u{a0}job died; 3\u{a0}were enqueued.";
        assert!(page.text.contains(said), "{address}: {}", page.text);
        assert!(page.text.contains("<tr id=\"passed-table-"), "{address} has the same as a table");
        for id in ["passed", "waited", "ran"] {
            assert!(page.text.contains(&format!("<desc id=\"{id}-about\">")), "{address}: {id} says what it shows");
        }
    }
    let lists = look(&env, None, "/queues").await.text;
    assert!(lists.contains("<title>1\u{a0}job done in the last hour</title>"), "{lists}");
}

#[tokio::test]
async fn how_far_back_charts_go_is_in_the_address() {
    let env = env::open().await;
    let page = look(&env, None, "/queues?span=1h").await;
    assert_eq!(page.status, 422, "a page that shows no choice reads none: {page:?}");
    let page = look(&env, None, "/history?kind=a%20b&span=6h").await.text;
    assert!(page.contains("href=\"/history?kind=a%20b&amp;span=7d\""), "{page}");
    assert!(page.contains("href=\"/history?kind=a%20b\""), "an hour is what is shown unless said: {page}");
    assert!(page.contains("aria-current=\"page\">6h"), "{page}");
    assert_eq!(look(&env, None, "/history?span=2h").await.status, 422);
    let empty = look(&env, None, "/history").await.text;
    assert!(empty.contains("Nothing passed in this time."), "{empty}");
}

#[tokio::test]
async fn a_kind_or_a_queue_is_shown_alone() {
    let env = env::open().await;
    pass(&env, "mail", "email").await;
    pass(&env, "hooks", "webhook").await;
    let all = look(&env, None, "/history").await.text;
    assert!(all.contains("id=\"kinds-list-email\"") && all.contains("id=\"queues-list-hooks\""), "{all}");
    let one = look(&env, None, "/history?kind=email").await.text;
    assert!(one.contains("id=\"kinds-list-email\"") && !one.contains("id=\"kinds-list-webhook\""), "{one}");
    let queue = look(&env, None, "/queues/hooks").await.text;
    assert!(queue.contains("1\u{a0}job is done, 2\u{a0}attempts failed"), "{queue}");
}
