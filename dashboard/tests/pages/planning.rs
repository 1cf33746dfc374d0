//! Queues, limits, schedules with their calendars and backfills, triggers: what their pages say, and what their forms do.

use std::time::Duration;

use gristmill_store::testing;
use serde_json::{Value, json};

use crate::env::{self, Heard, TestEnv};
use crate::pages::browser::{look, send, values};
use crate::pages::stock::{ask, stock};

fn led(answer: &Heard) -> &str {
    assert_eq!(answer.status, 303, "{answer:?}");
    answer.header("location").expect("a way")
}

async fn queue(env: &TestEnv, name: &str) -> Value {
    ask(env, "GET", &format!("/api/v1/queues/{name}"), &Value::Null).await
}

#[tokio::test]
async fn a_queue_says_who_serves_it_and_who_paused_it_and_why() {
    let env = env::open().await;
    env.enqueue(&json!({ "kind": "work", "queue": "mail" })).await;
    let lacking = look(&env, None, "/queues").await;
    assert!(lacking.text.contains("No worker serves mail, and jobs wait there."), "{}", lacking.text);
    let alone = look(&env, None, "/queues/mail").await;
    assert!(alone.text.contains("No worker serves this queue; jobs wait for one."), "{}", alone.text);
    env.store.register_worker(&testing::worker(Duration::from_secs(600))).await.expect("registered");
    let served = look(&env, None, "/queues/mail").await;
    assert!(!served.text.contains("No worker serves"), "{}", served.text);
    assert!(served.text.contains("the oldest has waited") && served.text.contains(">here<"), "{}", served.text);
    let answer = send(&env, None, "/queues/mail/pause", &[("reason", "the provider is down")]).await;
    assert_eq!(led(&answer), "/queues/mail");
    assert_eq!(queue(&env, "mail").await["pause"]["reason"], "the provider is down");
    let paused = look(&env, None, "/queues/mail").await;
    for said in ["Nothing is claimed from it", "anyone@127.0.0.1", "the provider is down", "until somebody resumes it"]
    {
        assert!(paused.text.contains(said), "{said}: {}", paused.text);
    }
    let again = send(&env, None, "/queues/mail/pause", &[("reason", "another")]).await;
    assert!(again.header("set-cookie").expect("said").contains("careful."), "the first reason stays");
    assert_eq!(led(&send(&env, None, "/queues/mail/resume", &[]).await), "/queues/mail");
    assert_eq!(queue(&env, "mail").await["paused"], false);
    assert_eq!(send(&env, None, "/queues/a%20b/pause", &[]).await.status, 404);
    assert_eq!(look(&env, None, "/queues/none").await.status, 404);
}

#[tokio::test]
async fn limits_are_created_changed_and_dropped_by_forms_with_every_fault_at_its_field() {
    let env = env::open().await;
    let wrong = [("name", "a b"), ("queues", "mail x/y"), ("concurrency", "many"), ("per", "soon"), ("odd", "1")];
    let again = send(&env, None, "/limits", &wrong).await;
    assert_eq!(again.status, 422);
    for said in [
        "Name cannot be a name",
        "Queues <code>x/y</code> cannot be a name",
        "At once invalid digit",
        "Period",
        "is no field of this form",
    ] {
        assert!(again.text.contains(said), "{said}: {}", again.text);
    }
    assert!(values(&again.text, "value").contains(&"mail x/y"), "what was typed is shown again");
    let empty = send(&env, None, "/limits", &[("name", "crm"), ("queues", "mail")]).await;
    assert!(empty.text.contains("allows everything"), "{}", empty.text);
    let fields =
        [("name", "crm"), ("queues", "mail crm"), ("rate", "10"), ("per", "1m"), ("per_key", "yes"), ("reason", "x")];
    assert_eq!(led(&send(&env, None, "/limits", &fields).await), "/limits/crm");
    let spec = ask(&env, "GET", "/api/v1/limits/crm", &Value::Null).await["spec"].clone();
    assert_eq!((&spec["rate"], &spec["per"], &spec["per_key"]), (&json!(10), &json!("1m"), &json!(true)));
    let taken = send(&env, None, "/limits", &fields).await;
    assert!(taken.text.contains("that there is already"), "{}", taken.text);
    let page = look(&env, None, "/limits/crm").await;
    assert!(
        page.text.contains("jobs on crm, mail, for each key separately")
            && values(&page.text, "value").contains(&"crm mail")
    );
    assert_eq!(led(&send(&env, None, "/limits/crm", &[("kinds", "email"), ("concurrency", "3")]).await), "/limits/crm");
    let spec = ask(&env, "GET", "/api/v1/limits/crm", &Value::Null).await["spec"].clone();
    assert_eq!((&spec["kinds"], &spec["concurrency"], spec.get("rate")), (&json!(["email"]), &json!(3), None));
    assert_eq!(send(&env, None, "/limits/crm/drop", &[("confirm", "CRM")]).await.status, 422);
    assert_eq!(led(&send(&env, None, "/limits/crm/drop", &[("confirm", "crm")]).await), "/queues");
    assert_eq!(look(&env, None, "/limits/crm").await.status, 404);
}

#[tokio::test]
async fn a_schedule_says_when_it_runs_by_its_own_clock_and_what_clock_changes_do() {
    let env = env::open().await;
    let spec = json!({ "at": ["2999-03-31T02:30", "2027-03-28T01:30"], "timezone": "Europe/London", "job": { "kind": "report" } });
    ask(&env, "POST", "/api/v1/schedules", &json!({ "name": "moved", "spec": spec })).await;
    let spec = json!({ "cron": "30 1 28 3 *", "timezone": "Europe/London", "job": { "kind": "report" } });
    ask(&env, "POST", "/api/v1/schedules", &json!({ "name": "spring", "spec": spec })).await;
    let page = look(&env, None, "/schedules/spring").await;
    assert!(page.text.contains("by the clock of Europe/London"), "{}", page.text);
    assert_eq!(
        page.text
            .split("id=\"ticks\"")
            .nth(1)
            .expect("a table")
            .split("</table>")
            .next()
            .expect("its end")
            .matches("data-row")
            .count(),
        5
    );
    assert!(page.text.contains("Sun 2027-03-28 02:00:00 BST"), "{}", page.text);
    assert!(page.text.contains("clocks go forward"), "{}", page.text);
    assert!(look(&env, None, "/schedules").await.text.contains("/schedules/spring/run"));
    assert_eq!(look(&env, None, "/schedules/none").await.status, 404);
}

#[tokio::test]
async fn a_schedule_is_run_disabled_and_enabled_with_reasons() {
    let env = env::open().await;
    stock(&env).await;
    assert_eq!(
        led(&send(&env, None, "/schedules/nightly/run", &[("reason", "for the audit")]).await),
        "/schedules/nightly"
    );
    let ran = look(&env, None, "/schedules/nightly").await;
    assert!(ran.text.contains("by hand"), "{}", ran.text);
    assert_eq!(send(&env, None, "/schedules/nightly/run", &[("slot", "soon")]).await.status, 422);
    assert_eq!(
        led(&send(&env, None, "/schedules/nightly/disable", &[("reason", "holidays")]).await),
        "/schedules/nightly"
    );
    let disabled = look(&env, None, "/schedules/nightly").await;
    assert!(disabled.text.contains("these would come, and do not"), "{}", disabled.text);
    let again = send(&env, None, "/schedules/nightly/disable", &[]).await;
    assert!(again.header("set-cookie").expect("said").contains("careful."), "{again:?}");
    led(&send(&env, None, "/schedules/nightly/enable", &[]).await);
    assert_eq!(ask(&env, "GET", "/api/v1/schedules/nightly", &Value::Null).await["state"], "enabled");
    let audit = look(&env, None, "/audit?action=schedule.disable").await;
    assert!(audit.text.contains("holidays"), "{}", audit.text);
}

#[tokio::test]
async fn the_calendar_is_drawn_and_is_a_table_and_a_day_lists_its_slots() {
    let env = env::open().await;
    let spec = json!({ "every": "6h", "job": { "kind": "report" } });
    ask(&env, "POST", "/api/v1/schedules", &json!({ "name": "six", "spec": spec })).await;
    let ahead = look(&env, None, "/schedules/six?month=2999-02&day=2999-02-03").await;
    assert_eq!(ahead.status, 200, "{ahead:?}");
    assert_eq!(ahead.text.matches("class=\"m-day").count(), 28, "{}", ahead.text);
    assert!(ahead.text.contains("2999-02-28: 4 planned"), "{}", ahead.text);
    assert!(ahead.text.contains("id=\"month-2999-02-28\""), "the table has the same days");
    assert!(ahead.text.contains("Slots of 2999-02-03") && ahead.text.contains("18:00:00 UTC"), "{}", ahead.text);
    assert!(ahead.text.contains("/schedules/six?month=2999-01#calendar"));
    assert_eq!(look(&env, None, "/schedules/six?month=2999-13").await.status, 422);
    assert_eq!(look(&env, None, "/schedules/six?day=tomorrow").await.status, 422);
    let now = look(&env, None, "/schedules/six").await;
    assert_eq!(now.text.matches("m-today").count(), 1, "today is marked");
}

#[tokio::test]
async fn a_backfill_is_rehearsed_started_paused_and_cancelled() {
    let env = env::open().await;
    stock(&env).await;
    let form = "/schedules/nightly/backfill";
    assert_eq!(look(&env, None, form).await.status, 200);
    let wrong =
        send(&env, None, form, &[("from", ""), ("to", "soon"), ("concurrency", "0"), ("verb", "preview")]).await;
    assert_eq!(wrong.status, 422);
    assert!(wrong.text.contains("From is missing") && wrong.text.contains("must be 1 to"), "{}", wrong.text);
    let ahead = send(&env, None, form, &[("from", "2026-01-01"), ("to", "2999-01-01"), ("concurrency", "1")]).await;
    assert!(ahead.status == 422 && ahead.text.contains("lies ahead"), "{}", ahead.text);
    let range = [("from", "2026-01-01"), ("to", "2026-01-04"), ("concurrency", "2"), ("order", "newest")];
    let preview = send(&env, None, form, &[range.as_slice(), &[("verb", "preview")]].concat()).await;
    assert_eq!(preview.status, 200, "{preview:?}");
    assert!(
        preview.text.contains("nothing was started yet") && preview.text.contains("Start 3\u{a0}runs"),
        "{}",
        preview.text
    );
    let newest = preview.text.find("2026-01-03").expect("the newest");
    assert!(newest < preview.text.find("2026-01-01 02:30").expect("the oldest"), "the newest first");
    let path = "/api/v1/schedules/nightly/backfills";
    assert_eq!(ask(&env, "GET", path, &Value::Null).await, json!([]), "a preview starts nothing");
    let started =
        send(&env, None, form, &[range.as_slice(), &[("verb", "start"), ("reason", "late data")]].concat()).await;
    assert_eq!(led(&started), "/schedules/nightly#backfills");
    let id = ask(&env, "GET", path, &Value::Null).await[0]["id"].as_str().expect("an id").to_owned();
    // What is cancelled starts nothing any more either.
    for (verb, paused, waiting) in [("pause", true, 3), ("resume", false, 3), ("cancel", true, 0)] {
        led(&send(&env, None, &format!("/schedules/nightly/backfills/{id}/{verb}"), &[("reason", "x")]).await);
        let backfills = ask(&env, "GET", path, &Value::Null).await;
        assert_eq!((&backfills[0]["paused"], &backfills[0]["waiting"]), (&json!(paused), &json!(waiting)), "{verb}");
    }
}

#[tokio::test]
async fn a_trigger_that_there_is_not_is_not_found() {
    let env = env::open().await;
    assert_eq!(look(&env, None, "/triggers/hook/none").await.status, 404);
    let retry = send(&env, None, "/triggers/hook/none/retry", &[("event", "x")]).await;
    assert_eq!(retry.status, 404, "{retry:?}");
    let file = send(&env, None, "/triggers/watch/inbox/retry", &[("event", "x")]).await;
    assert_eq!((file.status, file.text.contains("put it back")), (409, true), "{file:?}");
    assert_eq!(send(&env, None, "/triggers/hook/none/retry", &[]).await.status, 422);
}
