//! The lists of jobs, dead letters, errors and quarantined items: their pages, and what is done with what is ticked.

use std::collections::BTreeSet;

use gristmill_core::id::DEFAULT_TENANT;
use gristmill_core::job::JobState;
use gristmill_store::{JobFilter, Page};
use serde_json::{Value, json};

use crate::env::{self, TestEnv};
use crate::pages::browser::{look, send, values};
use crate::pages::further::fingerprint;
use crate::pages::stock::{SCRIPT, ask, stock};

async fn state(env: &TestEnv, job: &str) -> String {
    let job = env.store.job(DEFAULT_TENANT, job.parse().expect("an id")).await.expect("asked");
    job.map_or("gone".to_owned(), |job| job.state.to_string())
}

async fn count(env: &TestEnv, state: JobState) -> usize {
    let filter = JobFilter { tenant: DEFAULT_TENANT.to_owned(), states: vec![state], ..JobFilter::default() };
    env.store.jobs(&filter, &Page { after: None, limit: 1_000 }).await.expect("listed").len()
}

/// The message of the page to which a form has led.
fn said(answer: &env::Heard) -> String {
    assert_eq!(answer.status, 303, "{answer:?}");
    let cookie = answer.header("set-cookie").unwrap_or_default();
    cookie.replace("%20", " ").replace("%C2%A0", " ").split(';').next().unwrap_or_default().to_owned()
}

/// Follows a list to its end, and returns the ids of its rows.
async fn rows(env: &TestEnv, first: &str, table: &str) -> Vec<String> {
    let (mut next, mut found) = (Some(first.to_owned()), Vec::new());
    while let Some(address) = next {
        let page = look(env, None, &address).await;
        assert_eq!(page.status, 200, "{address}: {page:?}");
        let begin = format!("{table}-");
        let rows = page.text.split("<tr id=\"").skip(1).filter_map(|rest| rest.split('"').next());
        found.extend(rows.filter_map(|id| id.strip_prefix(begin.as_str())).map(str::to_owned));
        let way = page.text.split("rel=\"next\"").nth(1);
        next =
            way.and_then(|rest| rest.split("href=\"").nth(1)?.split('"').next()).map(|link| link.replace("&amp;", "&"));
        assert!(found.len() < 1_000, "the list has no end");
    }
    found
}

#[tokio::test]
async fn paging_by_key_reaches_every_row_once() {
    let env = env::open().await;
    for number in 0..23 {
        env.enqueue(&json!({ "kind": "note", "payload": number })).await;
    }
    let jobs = rows(&env, "/jobs?kind=note&limit=5", "jobs").await;
    assert_eq!((jobs.len(), jobs.iter().collect::<BTreeSet<_>>().len()), (23, 23));
    for number in 0..7 {
        ask(&env, "POST", &format!("/api/v1/queues/q{number}/pause"), &json!({})).await;
    }
    let spec =
        |number: u32| json!({ "name": format!("s{number:02}"), "spec": { "every": "1h", "job": { "kind": "x" } } });
    for number in 0..23 {
        ask(&env, "POST", "/api/v1/schedules", &spec(number)).await;
    }
    let schedules = rows(&env, "/schedules?limit=7", "list").await;
    assert_eq!(schedules.iter().collect::<BTreeSet<_>>().len(), 23, "{schedules:?}");
    assert_eq!(schedules.len(), 23);
    let entries = rows(&env, "/audit", "entries").await;
    let numbers: BTreeSet<&String> = entries.iter().collect();
    assert_eq!((entries.len(), numbers.len()), (53, 53), "{entries:?}");
}

#[tokio::test]
async fn jobs_are_shown_by_state_and_filtered_and_an_empty_field_limits_nothing() {
    let env = env::open().await;
    let stock = stock(&env).await;
    let page = look(&env, None, "/jobs?state=retry&queue=&kind=&key=&batch=").await;
    assert!(page.text.contains(&stock.retry) && !page.text.contains(&stock.dead[0]), "{}", page.text);
    let by_key = look(&env, None, "/jobs?key=%3Cscript%3Ealert(%22x%22)%3C/script%3E%26%27").await;
    assert!(by_key.text.contains(&stock.dead[0]) && !by_key.text.contains(&stock.dead[1]));
    let wrong = look(&env, None, "/jobs?state=asleep&batch=x").await;
    assert_eq!(wrong.status, 422);
    assert!(wrong.text.contains("asleep") && wrong.text.contains("batch"), "both at once: {}", wrong.text);
    let command = look(&env, None, "/jobs?state=dead&queue=mail").await;
    assert!(command.text.contains("gristmill job list --state dead --queue mail"), "{}", command.text);
    assert!(look(&env, None, "/jobs").await.text.contains("has waited longest"));
}

#[tokio::test]
async fn jobs_that_are_ticked_are_let_run_or_cancelled_with_a_reason() {
    let env = env::open().await;
    let stock = stock(&env).await;
    let none = send(&env, None, "/jobs/retry", &[("reason", "x"), ("next", "/jobs?state=retry")]).await;
    assert_eq!(none.status, 422);
    assert!(none.text.contains("tick at least one row"), "{}", none.text);
    let bare = send(&env, None, "/jobs/retry", &[("job", &stock.retry)]).await;
    assert_eq!((bare.status, bare.text.contains("say why")), (422, true), "{}", bare.text);
    let both =
        [("job", stock.retry.as_str()), ("job", &stock.dead[0]), ("reason", "now"), ("next", "/jobs?state=retry")];
    let answer = send(&env, None, "/jobs/retry", &both).await;
    assert_eq!(answer.header("location"), Some("/jobs?state=retry"));
    assert!(said(&answer).contains("careful.1 job may run now. 1 could not be"), "{}", said(&answer));
    assert_eq!(state(&env, &stock.retry).await, "queued");
    let untyped = send(&env, None, "/jobs/cancel", &[("job", &stock.retry), ("reason", "no"), ("confirm", "")]).await;
    assert_eq!((untyped.status, state(&env, &stock.retry).await.as_str()), (422, "queued"));
    let typed = [("job", stock.retry.as_str()), ("reason", "no"), ("confirm", "cancel"), ("next", "//evil.example")];
    let answer = send(&env, None, "/jobs/cancel", &typed).await;
    assert_eq!(
        (answer.header("location"), said(&answer).contains("done.1 job cancelled.")),
        (Some("/"), true),
        "{answer:?}"
    );
    assert_eq!(state(&env, &stock.retry).await, "cancelled");
    let audit = ask(&env, "GET", "/api/v1/jobs?state=cancelled", &Value::Null).await;
    assert_eq!(audit.as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn dead_letters_are_redriven_and_discarded_by_one_by_ticks_and_by_error() {
    let env = env::open().await;
    let stock = stock(&env).await;
    let id = fingerprint(&env, None).await;
    let page = look(&env, None, "/dead").await;
    assert!(page.text.contains("no answer from"), "{}", page.text);
    assert_eq!(page.text.matches("/dead/errors/").count(), 2, "one error, two verbs: {}", page.text);
    let one = format!("/dead/{}/redrive", stock.dead[0]);
    assert!(
        said(&send(&env, None, &one, &[("next", "/dead?by=job")]).await).contains("done.1 dead letter brought back.")
    );
    assert_eq!(state(&env, &stock.dead[0]).await, "queued");
    assert!(said(&send(&env, None, &one, &[]).await).contains("careful."), "it is dead no more");
    let ticked = [("job", stock.dead[1].as_str()), ("reason", "of no use"), ("confirm", "discard")];
    assert!(said(&send(&env, None, "/dead/discard", &ticked).await).contains("done.1 dead letter discarded."));
    assert_eq!(state(&env, &stock.dead[1]).await, "gone");
    assert_eq!(count(&env, JobState::Dead).await, 0);
    // What has died after the page was shown is not among those of its error.
    let before = chrono::Utc::now().to_rfc3339();
    let group = |verb: &str| format!("/dead/errors/{id}/{verb}");
    let missing = send(&env, None, &group("redrive"), &[("until", &before)]).await;
    assert_eq!((missing.status, missing.text.contains("say why")), (422, true));
    let answer =
        send(&env, None, &group("discard"), &[("until", &before), ("reason", "x"), ("confirm", "discard")]).await;
    assert!(said(&answer).contains("careful.0 dead letters discarded."), "{}", said(&answer));
}

#[tokio::test]
async fn all_of_an_error_are_brought_back_that_were_dead_when_the_page_was_shown() {
    let env = env::open().await;
    let stock = stock(&env).await;
    let id = fingerprint(&env, None).await;
    let path = format!("/dead/errors/{id}/redrive");
    let earlier = send(&env, None, &path, &[("until", "2001-01-01T00:00:00Z"), ("reason", "x")]).await;
    assert!(said(&earlier).contains("careful.0 dead letters"), "{}", said(&earlier));
    let now = chrono::Utc::now().to_rfc3339();
    let answer = send(&env, None, &path, &[("until", &now), ("reason", "it answers again"), ("queue", "mail")]).await;
    assert!(said(&answer).contains("done.2 dead letters brought back."), "{}", said(&answer));
    for job in &stock.dead {
        assert_eq!(state(&env, job).await, "queued");
    }
    let page = look(&env, None, &format!("/errors/{id}")).await;
    assert_eq!(page.status, 404, "the other has another kind: {page:?}");
}

#[tokio::test]
async fn errors_are_put_together_by_what_stays_and_lead_to_their_jobs() {
    let env = env::open().await;
    let stock = stock(&env).await;
    let page = look(&env, None, "/errors").await;
    assert_eq!(values(&page.text, "href").iter().filter(|link| link.starts_with("/errors/")).count(), 2, "by kind");
    let id = fingerprint(&env, None).await;
    let one = look(&env, None, &format!("/errors/{id}")).await;
    for job in &stock.dead {
        assert!(one.text.contains(&format!("/jobs/{job}")), "{}", one.text);
    }
    assert!(one.text.contains("after 31 s"), "the newest word for word");
    assert!(page.text.contains("after # s") && !page.text.contains(SCRIPT));
    assert_eq!(look(&env, None, "/errors/000000000000").await.status, 404);
    assert_eq!(look(&env, None, "/errors?state=done").await.status, 422);
}

#[tokio::test]
async fn an_item_is_looked_at_edited_rehearsed_and_redriven() {
    let env = env::open().await;
    let stock = stock(&env).await;
    let (page, act) = (format!("/quarantine/{}", stock.item), format!("/quarantine/{}/redrive", stock.item));
    let shown = look(&env, None, &page).await;
    assert!(shown.text.contains("&lt;script&gt;") && shown.text.contains("is not a number"), "{}", shown.text);
    for (fields, wrong) in [
        (vec![("item", "[1]"), ("verb", "redrive")], "is an array, not an object"),
        (vec![("item", "{"), ("verb", "redrive")], "is not JSON"),
        (vec![("patch", "[]"), ("verb", "preview")], "changes nothing"),
        (vec![("item", "{\"a\": 1}"), ("patch", "[{\"op\":\"remove\",\"path\":\"/price\"}]")], "give only one"),
    ] {
        let again = send(&env, None, &act, &fields).await;
        assert_eq!((again.status, again.text.contains(wrong)), (422, true), "{fields:?}: {}", again.text);
    }
    let patch = "[{\"op\":\"replace\",\"path\":\"/price\",\"value\":\"2.00\"}]";
    let preview = send(&env, None, &act, &[("patch", patch), ("verb", "preview")]).await;
    assert_eq!(preview.status, 200, "{preview:?}");
    assert!(preview.text.contains("nothing was changed yet") && preview.text.contains("2.00"), "{}", preview.text);
    let misfit = "[{\"op\":\"replace\",\"path\":\"/none\",\"value\":1}]";
    let refused = send(&env, None, &act, &[("patch", misfit), ("verb", "redrive"), ("reason", "x")]).await;
    assert_eq!((refused.status, refused.text.contains("does not fit the item")), (422, true), "{refused:?}");
    let done = send(&env, None, &act, &[("patch", patch), ("verb", "redrive"), ("reason", "mended")]).await;
    assert!(said(&done).contains("runs again"), "{done:?}");
    let items = ask(&env, "GET", "/api/v1/quarantine?open=true", &Value::Null).await;
    assert_eq!(items, json!([]));
    assert!(look(&env, None, &page).await.text.contains("It was redriven already"));
}

#[tokio::test]
async fn items_are_ticked_and_exported_as_lines_and_as_a_table() {
    let env = env::open().await;
    let stock = stock(&env).await;
    let export = |form: &str| format!("/quarantine/export/{}?as={form}", stock.batch);
    let lines = look(&env, None, &export("jsonl")).await;
    assert_eq!((lines.status, lines.header("content-type")), (200, Some("application/x-ndjson")));
    assert!(lines.text.contains("\"price\":\"=1+1\""), "{}", lines.text);
    let table = look(&env, None, &export("csv")).await;
    assert_eq!(table.header("content-type"), Some("text/csv; charset=utf-8"));
    assert!(table.header("content-disposition").expect("a name").contains(&format!("quarantine-{}.csv", stock.batch)));
    assert!(table.text.contains("quarantine_id,quarantine_position"), "{}", table.text);
    assert!(table.text.contains("'=1+1"), "a spreadsheet computes nothing: {}", table.text);
    let reasons = look(&env, None, "/quarantine").await;
    let same =
        values(&reasons.text, "href").into_iter().find(|link| link.contains("same=")).expect("a reason").to_owned();
    let place = format!("{}.{}", stock.batch, stock.item);
    assert!(look(&env, None, &same).await.text.contains(&place), "{same}");
    let fields = [("item", place.as_str()), ("reason", "as they are"), ("next", "/quarantine?by=item")];
    let done = send(&env, None, "/quarantine/redrive", &fields).await;
    assert!(said(&done).contains("done.1 item run again."), "{done:?}");
    assert!(said(&send(&env, None, "/quarantine/redrive", &fields).await).contains("careful."));
    assert_eq!(send(&env, None, "/quarantine/redrive", &[("item", "17"), ("reason", "x")]).await.status, 422);
}
