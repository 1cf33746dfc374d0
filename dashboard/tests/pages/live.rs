//! The part of a page that changes.

use crate::env::{self, Heard, TestEnv};
use crate::pages::browser::{look, values};
use crate::pages::work::work;

async fn part(env: &TestEnv, path: &str, tag: Option<&str>) -> Heard {
    let mut headers = vec![("x-fragment", "1"), ("accept", "text/html")];
    headers.extend(tag.map(|tag| ("if-none-match", tag)));
    env.send("GET", path, &headers, b"").await
}

#[tokio::test]
async fn the_part_that_changes_is_sent_alone_and_only_when_it_has_changed() {
    let env = env::open().await;
    let work = work(&env).await;
    for path in ["/batches".to_owned(), format!("/batches/{}?tab=chunks", work.batch), format!("/jobs/{}", work.dead)] {
        let page = look(&env, None, &path).await.text;
        let known = values(&page, "data-tag").pop().expect("a tag").to_owned();
        let first = part(&env, &path, None).await;
        assert_eq!(first.status, 200, "{path}");
        assert!(!first.text.contains("<html") && first.text.contains("<h1"), "{path}: {}", first.text);
        assert_eq!(first.header("etag"), Some(format!("W/\"{known}\"").as_str()), "{path}: the page knows its tag");
        assert_eq!(first.header("x-cost").expect("a cost").split(' ').count(), 3);
        let again = part(&env, &path, first.header("etag")).await;
        assert_eq!((again.status, again.text.as_str()), (304, ""), "{path}");
        assert_eq!(again.header("content-type"), None);
    }
    let path = format!("/batches/{}", work.batch);
    let before = part(&env, &path, None).await;
    env.store.pause_batch("main", work.batch, Some(&Default::default()), false).await.expect("paused");
    let after = part(&env, &path, before.header("etag")).await;
    assert_eq!(after.status, 200, "it has changed");
}

#[tokio::test]
async fn a_page_names_the_topics_that_its_caller_may_watch() {
    let env = env::with_users().await;
    work(&env).await;
    let topics = async |role: &str| {
        let page = look(&env, Some(role), "/").await.text;
        values(&page, "data-live").pop().expect("topics").to_owned()
    };
    assert_eq!(topics("viewer").await, "queues,batches,workers");
    let scoped = look(&env, Some("viewer+queues:read"), "/").await.text;
    assert_eq!(values(&scoped, "data-live"), ["queues"]);
    assert!(!scoped.contains("href=\"/batches\""), "no link that would be refused: {scoped}");
}

#[tokio::test]
async fn a_message_is_not_lost_to_a_part() {
    let env = env::open().await;
    let cookie = ("cookie", "gristmill-said=done.It%20is%20done");
    let part = env.send("GET", "/batches", &[("x-fragment", "1"), cookie], b"").await;
    assert_eq!(part.header("set-cookie"), None);
    let page = env.send("GET", "/batches", &[cookie], b"").await;
    assert!(page.text.contains("It is done") && page.header("set-cookie").is_some(), "{page:?}");
}

#[tokio::test]
async fn a_session_that_has_ended_is_401_for_a_part_and_the_way_to_log_in_for_a_page() {
    let env = env::with_users().await;
    assert_eq!(part(&env, "/batches", None).await.status, 401);
    let page = look(&env, Some("nobody"), "/batches?state=open").await;
    assert_eq!((page.status, page.header("location")), (303, Some("/login?next=%2Fbatches%3Fstate%3Dopen")));
}
