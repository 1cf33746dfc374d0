//! Operations by forms: looked at, begun, followed, called off, undone; and the query box of the jobs.

use gristmill_service::retention::PrunerOptions;
use gristmill_store::testing;
use serde_json::{Value, json};

use crate::env::{self, TestEnv};
use crate::pages::browser::{check, encoded, look, send, values};
use crate::pages::stock::ask;

async fn waiting(env: &TestEnv, kind: &str, jobs: usize) {
    for _ in 0..jobs {
        env.enqueue(&json!({ "kind": kind, "in": "1h" })).await;
    }
}

async fn step(env: &TestEnv) {
    while env.service.step_operations(&PrunerOptions::default()).await.expect("steps") > 0 {}
}

async fn scheduled(env: &TestEnv) -> usize {
    ask(env, "GET", "/api/v1/jobs?q=state:scheduled", &Value::Null).await.as_array().map_or(0, Vec::len)
}

/// The hidden fields of a page's form of the preview.
fn of_preview(page: &str) -> Vec<(String, String)> {
    let form = page.split("id=\"preview\"").nth(1).expect("a preview").split("</form>").next().expect("its end");
    let hidden = form.split("<input type=\"hidden\"").skip(1);
    hidden
        .map(|input| {
            let of = |name: &str| values(input, name).first().copied().unwrap_or_default().to_owned();
            (of("name"), of("value"))
        })
        .collect()
}

#[tokio::test]
async fn an_operation_is_looked_at_begun_followed_and_undone_by_forms() {
    let env = env::open().await;
    waiting(&env, "import", 6).await;
    waiting(&env, "export", 2).await;
    let jobs = look(&env, None, "/jobs?q=kind:imp*").await;
    assert_eq!(jobs.text.matches("data-row").count(), 6, "{}", jobs.text);
    let way = "/operations/start?verb=cancel&amp;q=kind%3Aimp%2A";
    assert!(values(&jobs.text, "href").contains(&way), "{}", jobs.text);
    let blank = look(&env, None, "/operations/start?verb=cancel&q=kind:imp*").await;
    check("/operations/start", &blank);
    assert!(values(&blank.text, "value").contains(&"kind:imp*"), "{}", blank.text);
    let fields = [("verb", "cancel"), ("query", "kind:imp*"), ("rate", "100"), ("reason", "the wrong file")];
    let preview = send(&env, None, "/operations/start", &fields).await;
    assert!(preview.status == 200 && preview.text.contains("6\u{a0}jobs"), "{preview:?}");
    assert_eq!(scheduled(&env).await, 8, "a look changes nothing");
    waiting(&env, "import", 1).await;
    let hidden = of_preview(&preview.text);
    let mut again: Vec<(&str, &str)> = hidden.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    again.push(("step", "start"));
    let begun = send(&env, None, "/operations/start", &again).await;
    let place = begun.header("location").unwrap_or_else(|| panic!("{begun:?}")).to_owned();
    step(&env).await;
    let page = look(&env, None, &place).await;
    check(&place, &page);
    for said in ["the wrong file", "finished", "It can be undone until", "100 jobs a second"] {
        assert!(page.text.contains(said), "{said}: {}", page.text);
    }
    assert_eq!(scheduled(&env).await, 3, "what came after the look stays");
    assert_eq!(send(&env, None, &format!("{place}/cancel"), &[]).await.status, 409, "it has ended");
    assert_eq!(send(&env, None, &format!("{place}/undo"), &[]).await.status, 303);
    step(&env).await;
    assert_eq!(scheduled(&env).await, 9);
    let list = look(&env, None, "/operations").await;
    assert!(list.text.contains("undone") && list.text.contains(&place), "{}", list.text);
}

#[tokio::test]
async fn every_fault_of_an_operation_stands_at_its_field() {
    let env = env::open().await;
    let wrong = [("verb", "cancel"), ("query", "sate:queued"), ("rate", "0"), ("odd", "1")];
    let again = send(&env, None, "/operations/start", &wrong).await;
    assert_eq!(again.status, 422);
    for said in ["did you mean <code>state</code>?", "must be 1 to", "needs one", "is no field of this form"] {
        assert!(again.text.contains(said), "{said}: {}", again.text);
    }
    let everything = [("verb", "cancel"), ("query", ""), ("reason", "x")];
    assert_eq!(send(&env, None, "/operations/start", &everything).await.status, 422);
    assert_eq!(look(&env, None, "/jobs?q=sate:queued").await.status, 422);
    assert_eq!(look(&env, None, "/operations/01890000-0000-7000-8000-000000000000").await.status, 404);
    assert_eq!(encoded(&[("a", "b c")]), "a=b%20c");
}

#[tokio::test]
async fn what_is_done_to_more_than_a_thousand_is_typed() {
    let env = env::open().await;
    for jobs in [1_000, 1] {
        env.store.enqueue(&testing::jobs(jobs)).await.expect("enqueued");
    }
    let fields = [("verb", "cancel"), ("query", "state:queued"), ("reason", "all of them")];
    let preview = send(&env, None, "/operations/start", &fields).await;
    let hidden = of_preview(&preview.text);
    let mut again: Vec<(&str, &str)> = hidden.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    again.push(("step", "start"));
    assert!(again.contains(&("matched", "1001")), "{again:?}");
    for typed in ["", "1000"] {
        let refused = send(&env, None, "/operations/start", &[&again[..], &[("confirm", typed)]].concat()).await;
        assert!(refused.header("location").is_none(), "{typed}: {refused:?}");
    }
    assert_eq!(ask(&env, "GET", "/api/v1/operations", &Value::Null).await, json!([]));
    let begun = send(&env, None, "/operations/start", &[&again[..], &[("confirm", "1001")]].concat()).await;
    assert_eq!(begun.status, 303, "{begun:?}");
}

#[tokio::test]
async fn who_may_not_discard_cannot_do_so_by_an_operation() {
    let env = env::with_users().await;
    let fields = [("verb", "discard"), ("query", "kind:work"), ("reason", "x")];
    assert_eq!(send(&env, Some("viewer"), "/operations/start", &fields).await.status, 403);
    assert_eq!(look(&env, Some("viewer"), "/operations").await.status, 200);
    assert!(!look(&env, Some("viewer"), "/operations").await.text.contains("/operations/start\""));
    let operator = send(&env, Some("operator"), "/operations/start", &fields).await;
    let may = gristmill_core::access::Role::Operator.allows(gristmill_core::access::Permission::JobsDelete);
    assert_eq!(operator.status, if may { 200 } else { 403 }, "{operator:?}");
    // Nor undo what an owner has discarded.
    let headers = [("content-type", "application/json"), ("authorization", "Bearer owner")];
    let body = json!({ "verb": "discard", "query": "kind:work" }).to_string();
    let begun = env.send("POST", "/api/v1/operations?reason=x", &headers, body.as_bytes()).await;
    let place = format!("/operations/{}", begun.data()["id"].as_str().unwrap_or_else(|| panic!("{begun:?}")));
    let undo = format!("{place}/undo");
    let button = format!("action=\"{undo}\"");
    assert!(look(&env, Some("owner"), &place).await.text.contains(&button));
    assert_eq!(look(&env, Some("operator"), &place).await.text.contains(&button), may);
    assert_eq!(send(&env, Some("operator"), &undo, &[]).await.status, if may { 303 } else { 403 });
}

#[tokio::test]
async fn lists_of_batches_and_items_lead_to_operations_over_all_that_they_select() {
    let env = env::open().await;
    let batch = testing::sealed(&env.store, 2, 5).await;
    let list = look(&env, None, "/batches?state=sealed").await;
    let links = values(&list.text, "href");
    for verb in ["cancel-batches", "pause-batches"] {
        assert!(links.contains(&format!("/operations/start?verb={verb}&amp;q=state%3Asealed").as_str()), "{links:?}");
    }
    assert!(!list.text.contains("verb=delete-batches"), "none of them has ended");
    assert!(!look(&env, None, "/batches").await.text.contains("/operations/start?verb="), "everything is not selected");
    let items = look(&env, None, "/quarantine?q=stage:parse").await;
    for verb in ["redrive-items", "discard-items"] {
        assert!(items.text.contains(&format!("verb={verb}&amp;q=stage%3Aparse")), "{verb}: {}", items.text);
    }
    let fields = [("verb", "pause-batches"), ("query", "state:sealed"), ("reason", "supplier is down")];
    let preview = send(&env, None, "/operations/start", &fields).await;
    assert!(
        preview.text.contains("1\u{a0}batch") && preview.text.contains(&format!("/batches/{batch}")),
        "{preview:?}"
    );
    let hidden = of_preview(&preview.text);
    let mut again: Vec<(&str, &str)> = hidden.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    again.push(("step", "start"));
    let begun = send(&env, None, "/operations/start", &again).await;
    let place = begun.header("location").unwrap_or_else(|| panic!("{begun:?}")).to_owned();
    step(&env).await;
    let page = look(&env, None, &place).await;
    check(&place, &page);
    assert!(page.text.contains("Batches") && page.text.contains("finished"), "{}", page.text);
    assert_eq!(ask(&env, "GET", &format!("/api/v1/batches/{batch}"), &Value::Null).await["batch"]["paused"], true);
}
