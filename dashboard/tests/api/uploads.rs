//! Uploads that are gone on with: after a connection that was cut, after another server, beside a second writer.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::env::{Heard, TestEnv, open, request, with_users};

/// The input of the definition `retail`, of so many rows.
fn rows(count: usize) -> Vec<u8> {
    let rows = (0..count).map(|row| format!("{row},shop-{}\n", row % 7));
    std::iter::once("id,shop\n".to_owned()).chain(rows).collect::<String>().into_bytes()
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest;
    sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn begun(env: &TestEnv, body: &Value) -> String {
    let answer = env.post("/api/v1/uploads", body).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let id = answer.data()["id"].as_str().expect("an id").to_owned();
    assert_eq!(answer.header("location"), Some(format!("/api/v1/uploads/{id}").as_str()));
    id
}

/// The head of a request for further bytes, and what is sent of them.
fn further(id: &str, offset: u64, extra: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let offset = offset.to_string();
    let own = [("content-type", "application/partial-upload"), ("upload-offset", offset.as_str())];
    request("PATCH", &format!("/api/v1/uploads/{id}"), &[&own, extra].concat(), body)
}

async fn append(env: &TestEnv, id: &str, offset: u64, body: &[u8]) -> Heard {
    env.raw(&further(id, offset, &[], body)).await
}

async fn offset(env: &TestEnv, id: &str) -> u64 {
    env.get(&format!("/api/v1/uploads/{id}")).await.data()["offset"].as_u64().expect("a number")
}

/// Sends the head and a part of the body, and nothing more.
async fn halted(env: &TestEnv, id: &str, at: u64, body: &[u8], sent: usize) -> TcpStream {
    let whole = further(id, at, &[], body);
    let mut stream = TcpStream::connect(env.addr).await.expect("somebody listens");
    stream.write_all(&whole[..whole.len() - body.len() + sent]).await.expect("sent");
    stream.flush().await.expect("sent");
    stream
}

/// Waits until no request holds the upload any more, and says how far it is.
async fn settled(env: &TestEnv, id: &str) -> u64 {
    let mut last = offset(env, id).await;
    loop {
        tokio::time::sleep(Duration::from_millis(700)).await;
        let now = offset(env, id).await;
        if now == last {
            return now;
        }
        last = now;
    }
}

#[tokio::test]
async fn an_upload_whose_connection_was_cut_goes_on_where_it_is_even_at_another_server() {
    let mut env = open().await;
    let input = rows(20_000);
    let id = begun(&env, &json!({ "length": input.len(), "sha256": sha256(&input) })).await;
    drop(halted(&env, &id, 0, &input, 100_000).await);
    let first = settled(&env, &id).await;
    assert!(first > 0 && first <= 100_000, "what had come stays: {first}");
    let stream = halted(&env, &id, first, &input[first as usize..], 50_000).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    env.kill().await;
    drop(stream);
    env.revive().await;
    let second = settled(&env, &id).await;
    assert!(second >= first && second <= first + 50_000, "{first} {second}");
    let early = env.post(&format!("/api/v1/uploads/{id}/complete"), &json!({})).await;
    assert_eq!((early.status, early.code()), (409, "conflict"), "{early:?}");
    let done = append(&env, &id, second, &input[second as usize..]).await;
    assert_eq!(done.data()["offset"], input.len());
    let whole = env.post(&format!("/api/v1/uploads/{id}/complete"), &json!({})).await;
    assert_eq!(
        (whole.data()["complete"].as_bool(), whole.data()["sha256"].as_str()),
        (Some(true), Some(&*sha256(&input)))
    );
    let kept = std::fs::read(env.dir.path().join(format!("spool/uploads/{id}.data"))).expect("there");
    assert!(kept == input, "the bytes are the same");
    let batch = env.post("/api/v1/batches", &json!({ "name": "retail", "upload": id, "chunk": 1_000 })).await;
    assert_eq!((batch.status, batch.data()["batch"]["counts"]["input"].as_u64()), (201, Some(20_000)), "{batch:?}");
    assert_eq!(env.send("DELETE", &format!("/api/v1/uploads/{id}"), &[], b"").await.data()["affected"], 1);
    assert_eq!(env.get(&format!("/api/v1/uploads/{id}")).await.status, 404);
}

#[tokio::test]
async fn two_writers_conflict_and_bytes_that_do_not_follow_are_refused() {
    let env = open().await;
    let input = rows(1_000);
    let id = begun(&env, &json!({})).await;
    let first = halted(&env, &id, 0, &input, 100).await;
    tokio::time::sleep(Duration::from_millis(150)).await;
    let second = append(&env, &id, 0, &input).await;
    assert_eq!((second.status, second.code()), (409, "conflict"), "{second:?}");
    drop(first);
    let have = settled(&env, &id).await;
    let wrong = append(&env, &id, have + 1, b"x").await;
    assert_eq!((wrong.status, wrong.code()), (409, "conflict"), "{wrong:?}");
    assert_eq!(append(&env, &id, have, &input[have as usize..]).await.status, 200);
    let last = env.raw(&further(&id, input.len() as u64, &[("upload-complete", "?1")], b"")).await;
    assert_eq!(last.data()["complete"], true, "{last:?}");
    let more = append(&env, &id, input.len() as u64, b"x").await;
    assert_eq!(more.status, 409, "{more:?}");
}

#[tokio::test]
async fn what_an_upload_may_not_be_is_refused() {
    let env = open().await;
    assert_eq!(env.post("/api/v1/uploads", &json!({ "sha256": "abc" })).await.faults(), ["/sha256"]);
    assert_eq!(env.post("/api/v1/uploads", &json!({ "length": 1_000_001 })).await.status, 413);
    let id = begun(&env, &json!({ "length": 3 })).await;
    assert_eq!(append(&env, &id, 0, b"abcd").await.status, 413, "more than was said");
    let path = format!("/api/v1/uploads/{id}");
    let typed = [("content-type", "application/partial-upload")];
    assert_eq!(env.send("PATCH", &path, &typed, b"a").await.faults(), ["Upload-Offset"]);
    let json = [("content-type", "application/json"), ("upload-offset", "0")];
    assert_eq!(env.send("PATCH", &path, &json, b"{}").await.status, 415);
    let unsized_ = begun(&env, &json!({})).await;
    assert_eq!(append(&env, &unsized_, 0, &vec![b'x'; 1_000_001]).await.status, 413, "more than any input");
    let wrong = begun(&env, &json!({ "sha256": "0".repeat(64) })).await;
    assert_eq!(append(&env, &wrong, 0, b"abc").await.status, 200);
    let refused = env.post(&format!("/api/v1/uploads/{wrong}/complete"), &json!({})).await;
    assert_eq!(refused.status, 422, "{refused:?}");
    assert_eq!(env.get(&format!("/api/v1/uploads/{wrong}")).await.status, 404, "it is gone");
    let missing = uuid::Uuid::now_v7();
    assert_eq!(env.post("/api/v1/batches", &json!({ "name": "retail", "upload": missing })).await.status, 404);
    let unready = begun(&env, &json!({})).await;
    assert_eq!(env.post("/api/v1/batches", &json!({ "name": "retail", "upload": unready })).await.status, 409);
}

#[tokio::test]
async fn an_upload_is_for_its_tenant_and_for_those_who_start_batches() {
    let env = with_users().await;
    let send = async |token: &str, method: &str, path: &str, body: &[u8]| {
        let bearer = format!("Bearer {token}");
        env.send(method, path, &[("authorization", &bearer), ("content-type", "application/json")], body).await
    };
    assert_eq!(send("viewer", "POST", "/api/v1/uploads", b"{}").await.status, 403);
    let made = send("operator", "POST", "/api/v1/uploads", b"{}").await;
    let path = format!("/api/v1/uploads/{}", made.data()["id"].as_str().expect("an id"));
    assert_eq!(send("operator", "GET", &path, b"").await.status, 200);
    assert_eq!(send("operator@other", "GET", &path, b"").await.status, 404);
    assert_eq!(send("operator@other", "DELETE", &path, b"").await.status, 404);
    assert_eq!(send("operator@other", "GET", "/api/v1/uploads", b"").await.data(), &json!([]));
    assert_eq!(send("operator", "GET", "/api/v1/uploads", b"").await.data().as_array().map(Vec::len), Some(1));
}
