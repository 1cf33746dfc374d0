//! What attempts have said, errors that were seen, a job from a form, a batch as a document, what the pages have cost.

use gristmill_core::attempt_log::{LogLevel, LogLine, LogSource};
use gristmill_core::id::DEFAULT_TENANT;
use gristmill_core::job::Fence;
use gristmill_store::NewLog;

use crate::env;
use crate::pages::browser::{look, send, values};
use crate::pages::work::{HOSTILE, work};

fn line(number: u64, text: &str) -> LogLine {
    let (at, level) = (chrono::DateTime::UNIX_EPOCH, Some(LogLevel::Error));
    LogLine { number, at, source: LogSource::Handler, level, text: text.to_owned() }
}

#[tokio::test]
async fn a_job_shows_what_its_attempts_have_said_to_those_who_may_see_it() {
    let env = env::with_users().await;
    let work = work(&env).await;
    let job = env.store.job(DEFAULT_TENANT, work.running).await.expect("asked").expect("there");
    let fence = Fence { job: job.id, attempt: job.attempt, worker: job.worker.expect("it runs") };
    let lines = vec![line(1, HOSTILE), line(9, "the last words")];
    env.store.write_logs(&[NewLog { fence, revision: 1, said: 9, lines }]).await.expect("written");
    let path = format!("/jobs/{}", work.running);
    let page = look(&env, Some("owner"), &path).await.text;
    assert!(page.contains("&lt;script&gt;alert") && !page.contains("<script>alert"), "{page}");
    assert!(page.contains("7 lines were cut out here") && page.contains("the last words"), "{page}");
    assert!(page.contains("data-poll=\"2\""), "it is read again while the attempt runs");
    let viewer = look(&env, Some("viewer"), &path).await.text;
    assert!(!viewer.contains("the last words") && viewer.contains("Your role does not show what jobs say"), "{viewer}");
    let api = format!("/api/v1/jobs/{}/logs", work.running);
    assert_eq!(env.get_as("viewer", &api).await.status, 403);
    let heard = env.get_as("owner", &format!("{api}?attempt={}", job.attempt)).await;
    assert_eq!(heard.data()[0]["lines"][1]["text"], "the last words", "{heard:?}");
    assert_eq!(env.get_as("owner", &format!("{api}?attempt=7")).await.data().as_array().map(Vec::len), Some(0));
}

#[tokio::test]
async fn an_error_that_was_acknowledged_goes_to_the_end_and_can_be_reopened() {
    let env = env::open().await;
    work(&env).await;
    let list = look(&env, None, "/errors").await.text;
    let link = list.split("href=\"/errors/").nth(1).and_then(|rest| rest.split(['"', '?']).next()).expect("an error");
    let (path, id) = (format!("/errors/{link}"), link.to_owned());
    assert!(list.contains("> new<") || list.contains("new"), "{list}");
    assert!(list.contains("class=\"spark\""), "each has its trend: {list}");
    let page = look(&env, None, &path).await.text;
    assert!(page.contains("no operator yet") && page.contains("Acknowledge"), "{page}");
    let done = send(&env, None, &format!("{path}/acknowledge"), &[("reason", HOSTILE)]).await;
    assert_eq!((done.status, done.header("location")), (303, Some("/errors")), "{done:?}");
    let page = look(&env, None, &path).await.text;
    assert!(
        page.contains("Reopen") && page.contains("&lt;script&gt;alert") && !page.contains("no operator yet"),
        "{page}"
    );
    assert_eq!(env.get("/api/v1/errors/acknowledged").await.data()[0]["fingerprint"], id.as_str());
    assert_eq!(send(&env, None, &format!("{path}/reopen"), &[]).await.status, 303);
    assert!(look(&env, None, &path).await.text.contains("no operator yet"));
    assert_eq!(send(&env, None, "/errors/no-such-name/acknowledge", &[]).await.status, 422);
}

#[tokio::test]
async fn a_job_is_enqueued_by_a_form_once_and_what_is_wrong_stands_at_its_field() {
    let env = env::open().await;
    let page = look(&env, None, "/jobs/new?kind=note").await.text;
    let once = page.split("name=\"once\" value=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a key");
    let wrong = [("once", once), ("kind", "emial"), ("payload", "{"), ("at", "soon"), ("do", "enqueue")];
    let refused = send(&env, None, "/jobs/new", &wrong).await;
    assert_eq!(refused.status, 422);
    assert!(refused.text.contains("is no JSON") && refused.text.contains("is neither a time"), "{}", refused.text);
    let misspelt = send(&env, None, "/jobs/new", &[("once", once), ("kind", "emial")]).await;
    assert!(misspelt.status == 422 && misspelt.text.contains("did you mean"), "{}", misspelt.text);
    let right = [("once", once), ("kind", "note"), ("payload", "{\"n\": 7}"), ("at", "1h"), ("priority", "high")];
    let checked: Vec<(&str, &str)> = right.iter().copied().chain([("do", "check")]).collect();
    let checked = send(&env, None, "/jobs/new", &checked).await;
    assert!(checked.status == 200 && checked.text.contains("Nothing was enqueued"), "{checked:?}");
    let first = send(&env, None, "/jobs/new", &right).await;
    let again = send(&env, None, "/jobs/new", &right).await;
    let place = first.header("location").expect("a way").to_owned();
    assert_eq!((first.status, again.header("location")), (303, Some(place.as_str())), "two clicks are one job");
    let id = place.trim_start_matches("/jobs/").parse().expect("an id");
    let job = env.store.job(DEFAULT_TENANT, id).await.expect("asked").expect("there");
    assert_eq!((job.kind.as_str(), job.payload["n"].as_i64(), job.run_at.is_some()), ("note", Some(7), true));
}

#[tokio::test]
async fn a_batch_is_a_document_that_needs_nothing_else() {
    let env = env::with_users().await;
    let work = work(&env).await;
    let path = format!("/api/v1/batches/{}/report", work.batch);
    assert_eq!(env.get_as("viewer", &path).await.status, 403);
    let report = env.get_as("owner", &path).await;
    assert_eq!(report.status, 200, "{report:?}");
    assert!(report.header("content-disposition").expect("a file").contains(".html"));
    let html = &report.text;
    for part in
        ["class=\"heat\"", "class=\"plot gantt\"", "Why items and chunks failed", "&lt;script&gt;alert", "<style>"]
    {
        assert!(html.contains(part), "{part}: {html}");
    }
    for fetched in ["<script", " href=", " src=", "<link", "url(", "@import"] {
        assert!(!html.contains(fetched), "{fetched}: {html}");
    }
}

#[tokio::test]
async fn what_the_pages_have_cost_is_counted_by_page() {
    let env = env::open().await;
    let work = work(&env).await;
    look(&env, None, &format!("/batches/{}", work.batch)).await;
    look(&env, None, &format!("/batches/{}?tab=errors", work.batch)).await;
    let page = look(&env, None, "/system").await.text;
    let costs = page.split("What the pages have cost the database").nth(1).expect("a panel");
    assert!(costs.contains("/batches/{batch}") && costs.contains("% of one connection"), "{costs}");
}

#[tokio::test]
async fn what_was_done_leads_to_where_it_is_written_down() {
    let env = env::with_users().await;
    let paused = send(&env, Some("owner"), "/queues/mail/pause", &[("reason", "provider is down")]).await;
    assert_eq!(paused.status, 303, "{paused:?}");
    let said = paused.header("set-cookie").and_then(|set| set.split(';').next()).expect("a message").to_owned();
    let page = async |role: &str| {
        let cookies = format!("gristmill={role}; {said}");
        let headers = [("accept", "text/html"), ("sec-fetch-site", "same-origin"), ("cookie", cookies.as_str())];
        env.send("GET", "/queues", &headers, b"").await.text
    };
    let (owner, viewer) = (page("owner").await, page("viewer").await);
    let link = values(&owner, "href").into_iter().find(|link| link.starts_with("/audit?actor="));
    let link = link.unwrap_or_else(|| panic!("a way: {owner}")).to_owned();
    let audit = look(&env, Some("owner"), &link).await.text;
    assert!(audit.contains("queue.pause") && audit.contains("provider is down"), "{audit}");
    assert!(viewer.contains("mail is paused") && !viewer.contains("/audit?actor="), "{viewer}");
}
