//! Batches: the list, the form that starts one, the page of one, and what its buttons do.

use gristmill_core::batch::BatchState;
use gristmill_core::id::{BatchId, DEFAULT_TENANT};
use gristmill_store::{BatchFilter, BatchView, Page, testing};

use crate::env::{self, TestEnv};
use crate::pages::browser::{check, look, send, values};
use crate::pages::work::{HOSTILE, work};

async fn batch(env: &TestEnv, id: BatchId) -> BatchView {
    env.store.batch(DEFAULT_TENANT, id).await.expect("asked").expect("there")
}

async fn all(env: &TestEnv) -> Vec<BatchView> {
    let filter = BatchFilter { tenant: DEFAULT_TENANT.to_owned(), ..BatchFilter::default() };
    env.store.batches(&filter, &Page::default()).await.expect("listed")
}

#[tokio::test]
async fn the_list_is_filtered_and_paged_by_its_address() {
    let env = env::open().await;
    let first = work(&env).await.batch;
    let second = testing::sealed(&env.store, 1, 1).await;
    let page = look(&env, None, "/batches?limit=1").await.text;
    assert!(page.contains(&second.to_string()) && !page.contains(&first.to_string()), "{page}");
    let next = values(&page, "href").into_iter().find(|link| link.contains("after=")).expect("a next page");
    let page = look(&env, None, &next.replace("&amp;", "&")).await.text;
    assert!(page.contains(&first.to_string()), "{page}");
    let none = look(&env, None, "/batches?state=halted&name=").await.text;
    assert!(none.contains("No batch is like that"), "{none}");
    let odd = look(&env, None, "/batches?state=asleep&limit=0").await;
    assert_eq!(odd.status, 422);
    check("/batches", &odd);
    assert!(odd.text.contains("?state") && odd.text.contains("?limit"), "both at once: {}", odd.text);
}

#[tokio::test]
async fn a_batch_is_started_by_a_form_and_only_once() {
    let env = env::open().await;
    let form = look(&env, None, "/batches/new?definition=retail").await.text;
    let key = values(&form, "value").into_iter().find(|value| value.len() == 36).expect("a key").to_owned();
    let pairs = [
        ("key", key.as_str()),
        ("definition", "retail"),
        ("params", "day=3\r\nshop=north"),
        ("chunk", ""),
        ("failure_budget", "5%"),
        ("input", ""),
        ("reason", "a test"),
        ("do", "start"),
    ];
    let started = send(&env, None, "/batches/new", &pairs).await;
    assert_eq!(started.status, 303, "{started:?}");
    let address = started.header("location").expect("an address").to_owned();
    let again = send(&env, None, "/batches/new", &pairs).await;
    assert_eq!(again.header("location"), Some(address.as_str()), "a second click starts nothing");
    let batches = all(&env).await;
    assert_eq!((batches.len(), batches[0].failure_budget.as_str()), (1, "5%"));
    assert_eq!(batches[0].counts.input, 5);
    let plan = env.store.batch_plan(batches[0].id).await.expect("asked").expect("there");
    assert_eq!(plan.params, serde_json::json!({ "day": 3, "shop": "north" }));
    assert_eq!(look(&env, None, &address).await.status, 200);
}

#[tokio::test]
async fn everything_that_is_wrong_with_a_start_stands_at_its_field() {
    let env = env::open().await;
    let wrong = [("definition", ""), ("params", "day"), ("chunk", "0"), ("failure_budget", "much"), ("do", "start")];
    let again = send(&env, None, "/batches/new", &wrong).await;
    assert_eq!(again.status, 422);
    check("/batches/new", &again);
    assert_eq!(again.text.matches("class=\"fault\"").count(), 4, "{}", again.text);
    assert!(again.text.contains("which is not KEY=VALUE"), "{}", again.text);
    assert!(values(&again.text, "value").contains(&"much"), "what was typed is there");
    let unknown = send(&env, None, "/batches/new", &[("definition", HOSTILE), ("do", "start")]).await;
    assert_eq!(unknown.status, 422);
    assert!(!unknown.text.contains("<script>alert"), "{}", unknown.text);
    assert!(all(&env).await.is_empty());
}

#[tokio::test]
async fn a_rehearsal_says_what_would_be_and_an_input_of_ones_own_is_read() {
    let env = env::open().await;
    let pasted = [("definition", "retail"), ("input", "id,shop\r\n1,a\r\n2,b\r\n3,c"), ("do", "check")];
    let would = send(&env, None, "/batches/new", &pasted).await;
    assert_eq!(would.status, 200, "{would:?}");
    assert!(would.text.contains("3\u{a0}items in 2\u{a0}chunks"), "{}", would.text);
    assert!(all(&env).await.is_empty());
    let started = send(&env, None, "/batches/new", &[pasted[0], pasted[1], ("do", "start")]).await;
    assert_eq!(started.status, 303, "{started:?}");
    assert_eq!(all(&env).await[0].counts.input, 3);
}

#[tokio::test]
async fn the_buttons_do_what_they_say() {
    let env = env::open().await;
    let id = work(&env).await.batch;
    let path = |verb: &str| format!("/batches/{id}/{verb}");
    let here = format!("/batches/{id}?tab=errors");
    let paused = send(&env, None, &path("pause"), &[("reason", "the supplier is down"), ("next", &here)]).await;
    assert_eq!((paused.status, paused.header("location")), (303, Some(here.as_str())));
    assert!(batch(&env, id).await.paused);
    let said = paused.header("set-cookie").expect("a message").split(';').next().expect("a pair").to_owned();
    let page = env.send("GET", &here, &[("cookie", &said), ("accept", "text/html")], b"").await;
    assert!(page.text.contains("The batch is paused. What runs is finished."), "{}", page.text);
    assert!(page.header("set-cookie").expect("removed").contains("Max-Age=0"), "a message is said once");
    assert!(page.text.contains("the supplier is down"), "the reason is shown");
    assert_eq!(send(&env, None, &path("resume"), &[]).await.status, 303);
    assert!(!batch(&env, id).await.paused);
    let name = batch(&env, id).await.name;
    for (confirm, status) in [("", 422), ("another", 422), (name.as_str(), 303)] {
        assert_eq!(send(&env, None, &path("cancel"), &[("confirm", confirm)]).await.status, status, "{confirm}");
    }
    assert_eq!(batch(&env, id).await.state, BatchState::Cancelled);
    let twice = send(&env, None, &path("cancel"), &[("confirm", &name)]).await;
    assert!(twice.header("set-cookie").expect("a message").starts_with("gristmill-said=careful."), "{twice:?}");
    let restarted = send(&env, None, &path("restart"), &[("failure_budget", "100%"), ("dead", "yes")]).await;
    assert_eq!(restarted.status, 303, "{restarted:?}");
    assert_eq!(batch(&env, id).await.state, BatchState::Sealed);
    assert_eq!(send(&env, None, &path("restart"), &[("failure_budget", "much")]).await.status, 422);
    assert_eq!(send(&env, None, &path("delete"), &[("confirm", &name)]).await.status, 409, "it is under way");
    assert_eq!(send(&env, None, &path("cancel"), &[("confirm", &name)]).await.status, 303);
    let deleted = send(&env, None, &path("delete"), &[("confirm", &name), ("next", &here)]).await;
    assert_eq!((deleted.status, deleted.header("location")), (303, Some("/batches")), "{deleted:?}");
    assert_eq!(look(&env, None, &format!("/batches/{id}")).await.status, 404);
}

#[tokio::test]
async fn the_field_shows_each_chunk_and_says_why_it_is_not_done() {
    let env = env::open().await;
    let work = work(&env).await;
    let page = look(&env, None, &format!("/batches/{}", work.batch)).await.text;
    for (class, times) in [("f-ok", 2), ("f-bad", 1), ("f-careful", 1), ("f-run", 1), ("f-wait", 2)] {
        let cells = page.matches(&format!("<rect class=\"{class}\" width=\"12\" height=\"12\" rx=\"2\"")).count();
        assert_eq!(cells, times, "{class}");
    }
    assert!(page.contains("chunk 2: dead, 4\u{a0}items"), "{page}");
    assert!(
        page.contains("5\u{a0}chunks are not final, and it gets on.") || page.contains("4\u{a0}chunks are not final"),
        "{page}"
    );
    assert!(page.contains("Why is it not done?") && page.contains("too early to say"), "{page}");
    let part = look(&env, None, &format!("/batches/{}?range=2-3", work.batch)).await.text;
    assert_eq!(part.matches("rx=\"2\"").count(), 2, "{part}");
    assert!(part.contains("Show all"), "{part}");
    assert_eq!(look(&env, None, &format!("/batches/{}?range=9-3", work.batch)).await.status, 422);
}

#[tokio::test]
async fn many_chunks_become_ranges_that_lead_to_their_parts() {
    let env = env::open().await;
    let created = testing::batch();
    env.store.create_batch(&created).await.expect("created");
    for part in 0..3 {
        let chunks: Vec<_> = (part * 1_000..(part + 1) * 1_000).map(|seq| testing::chunk(seq, 1)).collect();
        env.store.add_chunks(created.id, &chunks).await.expect("added");
    }
    env.store.seal(created.id).await.expect("sealed");
    let page = look(&env, None, &format!("/batches/{}", created.id)).await.text;
    assert_eq!(page.matches("rx=\"2\"").count(), 1_000, "three a cell");
    assert!(page.contains("chunks 2997 to 2999: 0 of 3 done"), "{page}");
    let part = look(&env, None, &format!("/batches/{}?range=2997-2999", created.id)).await.text;
    assert_eq!(part.matches("rx=\"2\"").count(), 3, "{part}");
}

#[tokio::test]
async fn what_items_contain_is_for_those_who_may_see_it() {
    let env = env::with_users().await;
    let work = work(&env).await;
    let tab = |tab: &str| format!("/batches/{}?tab={tab}", work.batch);
    let owner = look(&env, Some("owner"), &tab("quarantine")).await.text;
    assert!(owner.contains("&quot;shop&quot;"), "{owner}");
    let viewer = look(&env, Some("viewer"), &tab("quarantine")).await.text;
    assert!(viewer.contains("validate") && !viewer.contains("&quot;shop&quot;"), "{viewer}");
    let errors = look(&env, Some("viewer"), &tab("errors")).await.text;
    assert!(errors.contains("validate") && errors.contains("chunk"), "{errors}");
    let buttons = |page: &str| page.contains("/pause") || page.contains("/cancel");
    assert!(buttons(&look(&env, Some("operator"), &tab("chunks")).await.text));
    assert!(!buttons(&look(&env, Some("viewer"), &tab("chunks")).await.text), "no button that would be refused");
    let other = look(&env, Some("owner@other"), &format!("/batches/{}", work.batch)).await;
    assert_eq!(other.status, 404, "another tenant's batch is none");
}

#[tokio::test]
async fn the_timeline_shows_what_ran_when_as_a_picture_in_words_and_as_a_table() {
    let env = env::open().await;
    let work = work(&env).await;
    let page = look(&env, None, &format!("/batches/{}", work.batch)).await;
    check("/batches/{batch}", &page);
    assert!(page.text.contains("<title id=\"timeline-chart-title\">When chunks ran</title>"), "{}", page.text);
    assert!(page.text.contains("<tr id=\"timeline-table-"), "the same is there as a table: {}", page.text);
    let none = testing::sealed(&env.store, 3, 1).await;
    let page = look(&env, None, &format!("/batches/{none}")).await.text;
    assert!(page.contains("None of these chunks has begun."), "{page}");
}

/// A batch of which each group of chunks begins before the one before it has ended, so that some always run.
async fn overlapping(env: &TestEnv) -> BatchId {
    let worker = testing::worker(std::time::Duration::from_secs(600));
    env.store.register_worker(&worker).await.expect("registered");
    let id = testing::sealed(&env.store, 60, 1).await;
    let claim = || async {
        let mut claimed = env.store.claim_next(&testing::claim_as(worker.id, 5)).await.expect("claimed");
        // Aggregates are left alone.
        claimed.retain(|job| job.kind == "chunk");
        claimed
    };
    let mut running = claim().await;
    while !running.is_empty() {
        tokio::time::sleep(std::time::Duration::from_millis(3)).await;
        let next = claim().await;
        let ended: Vec<_> = running.iter().map(|job| testing::chunk_done(job, 1)).collect();
        env.store.complete(&ended).await.expect("completed");
        running = next;
    }
    id
}

#[tokio::test]
async fn what_was_said_of_an_end_is_there_with_how_it_has_held() {
    let env = env::open().await;
    let before = overlapping(&env).await;
    let id = overlapping(&env).await;
    let page = look(&env, None, &format!("/batches/{id}")).await;
    check("/batches/{batch}", &page);
    assert!(page.text.contains("How the estimate has held"), "{}", page.text);
    assert!(page.text.contains("<title id=\"estimates-chart-title\">When the batch was said to end</title>"));
    let asked = look(&env, None, &format!("/batches/{id}?before=true")).await.text;
    assert!(asked.contains("id=\"held-before\""), "{asked}");
    for batch in [before, id] {
        let shown = env.get(&format!("/api/v1/batches/{batch}")).await;
        let record = &shown.data()["eta_record"];
        assert!(record["said"].as_array().is_some_and(|said| !said.is_empty()), "{record}");
        assert!(record["slipped_seconds"].is_i64(), "{record}");
    }
    let none = testing::sealed(&env.store, 3, 1).await;
    let page = look(&env, None, &format!("/batches/{none}")).await.text;
    assert!(!page.contains("How the estimate has held"), "nothing was said of it: {page}");
}
