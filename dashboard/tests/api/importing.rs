//! Quarantined items, exported, mended elsewhere, and imported: all of them, or none.

use std::time::Duration;

use gristmill_core::chunk::SetAside;
use gristmill_core::id::BatchId;
use gristmill_store::testing;
use serde_json::{Value, json};

use crate::env::{self, Heard, TestEnv};

/// A batch whose first chunk has set three items aside.
async fn set_aside(env: &TestEnv) -> BatchId {
    let worker = testing::worker(Duration::from_secs(600));
    env.store.register_worker(&worker).await.expect("registered");
    let batch = testing::sealed(&env.store, 2, 3).await;
    let claimed = env.store.claim_next(&testing::claim_as(worker.id, 2)).await.expect("claimed");
    let mut done = testing::chunk_done(&claimed[0], 0);
    let result = done.chunk.as_mut().expect("a result");
    result.quarantined = 3;
    let aside = |position: u64, item: Value| SetAside {
        position,
        line: Some(position + 2),
        stage: "parse".to_owned(),
        reason: "`quantity` is not a number".to_owned(),
        item,
    };
    result.set_aside = vec![
        aside(0, json!({ "id": "1", "quantity": "x" })),
        aside(1, json!({ "id": "2", "quantity": "=1+1" })),
        aside(2, json!("torn;line")),
    ];
    env.store.complete(&[done]).await.expect("completed");
    batch
}

async fn import(env: &TestEnv, batch: BatchId, query: &str, media: &str, text: &str) -> Heard {
    let path = format!("/api/v1/batches/{batch}/quarantine/import{query}");
    env.send("POST", &path, &[("content-type", media)], text.as_bytes()).await
}

async fn export(env: &TestEnv, batch: BatchId, query: &str) -> Heard {
    env.get(&format!("/api/v1/batches/{batch}/quarantine/export{query}")).await
}

/// The bytes of an answer in pieces.
fn unchunked(heard: &Heard) -> String {
    let (mut rest, mut whole) = (heard.text.as_str(), String::new());
    while let Some((length, after)) = rest.split_once("\r\n") {
        let Ok(length) = usize::from_str_radix(length, 16) else { return heard.text.clone() };
        whole.push_str(&after[..length]);
        rest = after[length..].trim_start_matches("\r\n");
    }
    whole
}

#[tokio::test]
async fn an_exported_table_comes_back_mended() {
    let env = env::open().await;
    let batch = set_aside(&env).await;
    let exported = export(&env, batch, "?as=csv").await;
    assert_eq!((exported.status, exported.header("content-type")), (200, Some("text/csv; charset=utf-8")));
    let table = unchunked(&exported);
    assert!(table.starts_with("quarantine_id,") && table.contains("'=1+1"), "{table}");
    let same = import(&env, batch, "", "text/csv", &table).await;
    assert_eq!((&same.data()["affected"], &same.data()["unchanged"]), (&json!(0), &json!(3)), "{same:?}");
    let mended = table.replacen(",x\n", ",3\n", 1);
    let would = import(&env, batch, "?dry_run=true", "text/csv", &mended).await;
    assert_eq!((&would.data()["affected"], &would.data()["dry_run"]), (&json!(1), &json!(true)), "{would:?}");
    assert_eq!(would.data()["samples"][0]["after"], json!({ "id": "1", "quantity": "3" }));
    let done = import(&env, batch, "?reason=mended", "text/csv", &mended).await;
    assert_eq!(
        (&done.data()["affected"], &done.data()["unchanged"], &done.data()["meanwhile"]),
        (&json!(1), &json!(2), &json!(0))
    );
    let again = import(&env, batch, "", "text/csv", &mended).await;
    assert_eq!((again.status, again.faults()), (422, vec!["line 2"]), "it has been redriven: {again:?}");
    assert_eq!(
        env.get(&format!("/api/v1/quarantine?batch={batch}&open=true")).await.data().as_array().map(Vec::len),
        Some(2)
    );
}

#[tokio::test]
async fn exported_lines_come_back_mended() {
    let env = env::open().await;
    let batch = set_aside(&env).await;
    let lines = unchunked(&export(&env, batch, "").await);
    let mut items: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(items.len(), 3, "{lines}");
    items[2]["item"] = json!({ "id": "3", "quantity": 4 });
    let text: String = items.iter().map(|item| format!("{item}\n")).collect();
    let done = import(&env, batch, "?chunk=1", "application/x-ndjson", &text).await;
    assert_eq!((&done.data()["affected"], &done.data()["unchanged"]), (&json!(1), &json!(2)), "{done:?}");
    let rest: String = items[..2].iter().map(|item| format!("{item}\n")).collect();
    let done = import(&env, batch, "?also_unchanged=true", "application/x-ndjson", &rest).await;
    assert_eq!(done.data()["affected"], 2, "{done:?}");
}

#[tokio::test]
async fn everything_that_is_wrong_is_named_with_its_line_and_nothing_is_changed() {
    let env = env::open().await;
    let (batch, other) = (set_aside(&env).await, set_aside(&env).await);
    let number = |heard: Heard| heard.data()[0]["id"].as_i64().expect("a number");
    let own = number(env.get(&format!("/api/v1/quarantine?batch={batch}")).await);
    let theirs = number(env.get(&format!("/api/v1/quarantine?batch={other}")).await);
    for (media, text, faults) in [
        ("text/csv", "id\n1\n".to_owned(), vec!["line 1"]),
        ("text/csv", format!("quarantine_id,id,quantity\n{own},1,2\nx,1,2\n{own},1,2\n"), vec!["line 3", "line 4"]),
        ("text/csv", format!("quarantine_id,id,quantity\n{own},1,2\n{theirs},1,2\n"), vec!["line 3"]),
        ("text/csv", format!("quarantine_id;id;quantity\n{own};1;2\n"), vec!["line 1"]),
        ("application/x-ndjson", format!("{{\"id\":{own},\"item\":1}}\n{{\"id\":9999,\"item\":1}}\n"), vec!["line 2"]),
        ("application/x-ndjson", "{\"id\":\n\n[1]\n".to_owned(), vec!["line 1", "line 3"]),
    ] {
        let answer = import(&env, batch, "", media, &text).await;
        assert_eq!((answer.status, answer.faults()), (422, faults), "{text}: {answer:?}");
    }
    let named = import(&env, batch, "", "text/csv", &format!("quarantine_id,id,quantity\n{theirs},1,2\n")).await;
    assert!(named.text.contains(&other.to_string()), "{}", named.text);
    let table = format!("quarantine_id;id;quantity\n{own};1;7\n");
    assert_eq!(import(&env, batch, "?delimiter=%3B&dry_run=true", "text/csv", &table).await.data()["affected"], 1);
    assert_eq!(
        import(&env, batch, "?delimiter=ab&chunk=0", "text/csv", &table).await.faults(),
        ["?chunk", "?delimiter"]
    );
    assert_eq!(import(&env, batch, "", "application/json", "{}").await.status, 415);
    assert_eq!(import(&env, BatchId(uuid::Uuid::nil()), "", "text/csv", &table).await.status, 404);
    assert_eq!(
        env.get(&format!("/api/v1/quarantine?batch={batch}&open=true")).await.data().as_array().map(Vec::len),
        Some(3)
    );
}

#[tokio::test]
async fn whoever_may_not_see_contents_is_shown_none() {
    let env = env::with_users().await;
    let batch = set_aside(&env).await;
    let text = "{\"id\":1,\"item\":{\"quantity\":\"3\"}}\n";
    let path = format!("/api/v1/batches/{batch}/quarantine/import?dry_run=true");
    let send = async |token: &str| {
        let token = format!("Bearer {token}");
        let headers = [("content-type", "application/x-ndjson"), ("authorization", token.as_str())];
        env.send("POST", &path, &headers, text.as_bytes()).await
    };
    assert_eq!(send("viewer").await.status, 403);
    assert_eq!(send("operator@other").await.status, 404);
    let shown = send("operator").await;
    assert_eq!((shown.status, shown.data()["samples"].as_array().map(Vec::len)), (200, Some(1)), "{shown:?}");
    let blind = send("operator+quarantine:mend").await;
    assert_eq!((blind.status, &blind.data()["samples"]), (200, &json!([])), "{blind:?}");
    assert_eq!(env.get_as("viewer", &format!("/api/v1/batches/{batch}/quarantine/export?as=csv")).await.status, 403);
}
