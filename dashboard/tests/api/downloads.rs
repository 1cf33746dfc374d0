//! What came of a batch, downloaded: its result, its files as a whole and by ranges, and nothing else of the folder.

use std::time::Duration;

use gristmill_core::batch::BatchState;
use gristmill_core::chunk::OutputPart;
use gristmill_core::id::BatchId;
use gristmill_jobs::sink::{PartName, Sink, Written};
use gristmill_store::testing;
use gristmill_store::{BatchEnd, Completion, NewBatch};
use serde_json::{Value, json};

use crate::env::{self, TestEnv};

/// A batch of two chunks that has written a file for each.
pub(crate) struct Wrote {
    pub(crate) batch: BatchId,
    pub(crate) parts: Vec<OutputPart>,
}

impl Wrote {
    fn name(&self, number: usize) -> &str {
        self.parts[number].path.rsplit('/').next().expect("a name")
    }
}

/// Makes a batch whose chunks are done, and lets it end unless it is to wait for that.
pub(crate) async fn wrote(env: &TestEnv, end: bool) -> Wrote {
    let folder = env.dir.path().join("out");
    let spelled = json!({ "source": { "jsonl": "-" }, "output": { "jsonl": folder.display().to_string() } });
    let new = NewBatch { definition: testing::definition(spelled), ..testing::batch() };
    env.store.create_batch(&new).await.expect("created");
    env.store.add_chunks(new.id, &testing::chunks(2, 3)).await.expect("added");
    env.store.seal(new.id).await.expect("sealed");
    let worker = testing::worker(Duration::from_secs(600));
    env.store.register_worker(&worker).await.expect("registered");
    let sink = Sink::json_lines(folder);
    let mut parts = Vec::new();
    let mut claimed = env.store.claim_next(&testing::claim_as(worker.id, 2)).await.expect("claimed");
    claimed.sort_by_key(|chunk| chunk.seq);
    for chunk in claimed {
        let name = PartName { seq: chunk.seq.expect("a chunk"), attempt: 1, worker: worker.id };
        let items = (0..3).map(|number| json!({ "number": number, "text": "x".repeat(2_000) })).collect();
        let Ok(Written::Part(Some(part))) = sink.write(new.id, name, items).await else { panic!("no part") };
        let mut done = testing::chunk_done(&chunk, 3);
        done.chunk.as_mut().expect("a result").parts = vec![part.clone()];
        env.store.complete(&[done]).await.expect("completed");
        parts.push(part);
    }
    if end {
        let aggregate = env.store.claim_next(&testing::claim_as(worker.id, 1)).await.expect("claimed").remove(0);
        let result = json!({ "rows": 6, "revenue": "9.45" });
        let batch_end = BatchEnd { batch: new.id, generation: 0, state: BatchState::Complete, result, reason: None };
        let ended = Completion { batch_end: Some(batch_end), ..testing::done(&aggregate) };
        env.store.complete(&[ended]).await.expect("completed");
    }
    Wrote { batch: new.id, parts }
}

#[tokio::test]
async fn a_result_and_the_files_are_there_once_the_batch_has_ended() {
    let env = env::open().await;
    let made = wrote(&env, true).await;
    let early = wrote(&env, false).await.batch;
    for path in ["results", "outputs", "outputs/part-000000-a1-000000000000.jsonl"] {
        let answer = env.get(&format!("/api/v1/batches/{early}/{path}")).await;
        assert_eq!(answer.code(), "conflict", "{path}: {answer:?}");
    }
    let path = |rest: &str| format!("/api/v1/batches/{}/{rest}", made.batch);
    assert_eq!(env.get(&path("results")).await.data(), &json!({ "rows": 6, "revenue": "9.45" }));
    let csv = env.get(&path("results/figures")).await;
    assert_eq!(
        (csv.text.as_str(), csv.header("content-type")),
        ("measure,value\nrows,6\nrevenue,9.45\n", Some("text/csv; charset=utf-8"))
    );
    let markdown = env.get(&path("results/figures?as=markdown")).await;
    assert!(markdown.text.ends_with("| revenue | 9.45 |\n"), "{}", markdown.text);
    assert_eq!(env.get(&path("results/nothing")).await.code(), "not_found");
    assert_eq!(env.get(&format!("/api/v1/batches/{early}/results/figures")).await.code(), "conflict");
    assert_eq!(env.get(&path("results?fields=rows")).await.data(), &json!({ "rows": 6 }));
    let listed = env.get(&path("outputs")).await;
    let row = |number: usize| {
        let OutputPart { items, bytes, sha256, .. } = made.parts[number].clone();
        json!({ "name": made.name(number), "chunk": number, "items": items, "bytes": bytes, "sha256": sha256 })
    };
    assert_eq!(listed.data(), &json!([row(0), row(1)]));
    let first = env.get(&path("outputs?limit=1")).await;
    assert_eq!((first.data(), &first.body["nextCursor"]), (&json!([row(0)]), &json!("0")));
    assert_eq!(env.get(&path("outputs?limit=1&after=0")).await.data(), &json!([row(1)]));
    assert_eq!(env.get(&path("outputs?after=x")).await.faults(), ["?after"]);
    assert_eq!(env.get("/api/v1/batches/0198f9c1-7d2e-7000-8000-000000000000/outputs").await.status, 404);
}

#[tokio::test]
async fn a_file_is_sent_as_a_whole_or_by_a_range() {
    let env = env::open().await;
    let made = wrote(&env, true).await;
    let path = format!("/api/v1/batches/{}/outputs/{}", made.batch, made.name(1));
    let (text, tag) = (env.get(&path).await, format!("\"{}\"", made.parts[1].sha256));
    let whole = text.text.clone();
    assert_eq!((text.status, whole.len() as u64), (200, made.parts[1].bytes));
    for (name, value) in [
        ("etag", tag.as_str()),
        ("accept-ranges", "bytes"),
        ("content-type", "application/octet-stream"),
        ("x-content-type-options", "nosniff"),
        ("content-disposition", &format!("attachment; filename=\"{}\"", made.name(1))),
        ("content-length", &whole.len().to_string()),
    ] {
        assert_eq!(text.header(name), Some(value), "{name}");
    }
    assert!(text.header("repr-digest").is_some_and(|digest| digest.starts_with("sha-256=:")), "{text:?}");
    let ranged = async |headers: &[(&str, &str)]| env.send("GET", &path, headers, b"").await;
    let part = ranged(&[("range", "bytes=10-19"), ("accept-encoding", "gzip, br, zstd")]).await;
    assert_eq!((part.status, part.text.as_str()), (206, &whole[10..20]));
    assert_eq!(part.header("content-range"), Some(format!("bytes 10-19/{}", whole.len()).as_str()));
    let rest = ranged(&[("range", "bytes=100-"), ("if-range", &tag)]).await;
    assert_eq!((rest.status, rest.text.as_str()), (206, &whole[100..]));
    let other = ranged(&[("range", "bytes=100-"), ("if-range", "\"another\"")]).await;
    assert_eq!((other.status, other.text.len()), (200, whole.len()), "the rest of another file is not sent");
    let outside = ranged(&[("range", "bytes=999999-")]).await;
    assert_eq!((outside.status, outside.code()), (416, "out_of_range"));
    let known = ranged(&[("if-none-match", &tag)]).await;
    assert_eq!((known.status, known.text.as_str(), known.header("etag")), (304, "", Some(tag.as_str())));
    let plain = ranged(&[("accept-encoding", "gzip, br, zstd")]).await;
    assert_eq!((plain.header("content-encoding"), &plain.text), (None, &whole), "ranges count the bytes of the file");
    let head = env.send("HEAD", &path, &[], b"").await;
    assert_eq!((head.status, head.text.as_str()), (200, ""));
}

#[tokio::test]
async fn nothing_else_of_the_folder_is_sent() {
    let env = env::open().await;
    let made = wrote(&env, true).await;
    let own = env.dir.path().join("out").join(made.batch.to_string());
    for name in ["secret.jsonl", "part-000000-a9-0000000000ff.jsonl", "manifest.json"] {
        std::fs::write(own.join(name), "secret").expect("written");
    }
    let other = wrote(&env, true).await;
    for name in [
        "secret.jsonl",
        "part-000000-a9-0000000000ff.jsonl",
        "manifest.json",
        "..",
        "../../input.csv",
        "..%2F..%2Finput.csv",
        "%2e%2e%2f%2e%2e%2finput.csv",
        "%2Fetc%2Fpasswd",
        "part-000000-a1-0.jsonl%00",
        "%00",
        "part-99999999999999999999-a1-0.jsonl",
        "part-9223372036854775807-a1-0.jsonl",
        &format!("..%2F{}%2F{}", other.batch, other.name(0)),
        &format!("{}%2F{}", made.batch, made.name(0)),
        other.name(0),
    ] {
        let answer = env.get(&format!("/api/v1/batches/{}/outputs/{name}", made.batch)).await;
        assert!(answer.status == 404 || answer.status == 400, "{name}: {answer:?}");
        assert!(!answer.text.contains("secret\n") && !answer.text.contains("root:"), "{name}");
    }
    let path = |made: &Wrote| format!("/api/v1/batches/{}/outputs/{}", made.batch, made.name(0));
    let file = own.join(made.name(0));
    std::fs::remove_file(&file).expect("removed");
    assert_eq!(env.get(&path(&made)).await.status, 404, "it is gone");
    std::os::unix::fs::symlink(env.dir.path().join("input.csv"), &file).expect("a link");
    let linked = env.get(&path(&made)).await;
    assert_eq!((linked.status, linked.code()), (409, "conflict"), "a link leads anywhere");
    assert!(!linked.text.contains("input.csv") && !linked.text.contains("out/"), "{}", linked.text);
    let longer = env.dir.path().join("out").join(other.batch.to_string()).join(other.name(0));
    std::fs::write(longer, "another text").expect("written");
    assert!(env.get(&path(&other)).await.text.contains("is not as it was written"));
}

#[tokio::test]
async fn whoever_may_not_see_contents_downloads_none() {
    let env = env::with_users().await;
    let made = wrote(&env, true).await;
    let path = |rest: &str| format!("/api/v1/batches/{}/{rest}", made.batch);
    let file = path(&format!("outputs/{}", made.name(0)));
    for (token, list, contents) in [
        ("viewer", 200, 403),
        ("viewer+contents:read", 403, 403),
        ("operator", 200, 200),
        ("operator@other", 404, 404),
        ("operator+contents:read", 403, 200),
    ] {
        assert_eq!(env.get_as(token, &path("outputs")).await.status, list, "{token}");
        for path in [&path("results"), &file] {
            assert_eq!(env.get_as(token, path).await.status, contents, "{token} {path}");
        }
    }
    let tab = env.get_as("operator", &format!("/batches/{}?tab=outputs", made.batch)).await;
    assert!(tab.text.contains(&format!("href=\"{file}\" download")), "{}", tab.text);
    let tab = env.get_as("viewer", &format!("/batches/{}?tab=outputs", made.batch)).await;
    assert!(tab.text.contains(made.name(0)) && !tab.text.contains(&file), "{}", tab.text);
    assert_eq!(Value::Null, env.get_as("viewer", &path("results")).await.body["data"]);
}
