//! Items through an HTTP service on loopback.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use gristmill_core::definition::HttpSpec;
use gristmill_core::duration::Span;
use gristmill_core::id::BatchId;
use gristmill_jobs::process::envelope::Room;
use gristmill_jobs::process::http::HttpProcessor;
use gristmill_jobs::process::{Answers, BatchContext, ItemIn, ItemOut, ItemProcessor, ProcessContext, ProcessFailure};
use gristmill_testkit::http::{FakeHttp, closed_port, reply};
use serde_json::{Value, json};
use tokio::sync::Barrier;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn spec(url: String) -> HttpSpec {
    HttpSpec { url, headers: Default::default(), timeout: Some(Span(Duration::from_secs(20))), concurrency: Some(3) }
}

fn items(count: u64) -> Vec<ItemIn> {
    (0..count).map(|position| ItemIn { position, attempt: 1, item: json!({"n": position}) }).collect()
}

fn context() -> ProcessContext {
    let batch = BatchContext { id: BatchId(Uuid::now_v7()), name: "retail".to_owned(), params: Value::Null };
    ProcessContext {
        idempotency_key: "chunk".to_owned(),
        trace: Some(TRACE.to_owned()),
        cancel: CancellationToken::new(),
        batch: Arc::new(batch),
        last_attempt: false,
        answers: Answers::default(),
        room: Room::default(),
    }
}

async fn process(service: &FakeHttp, count: u64) -> Result<Vec<ItemOut>, ProcessFailure> {
    HttpProcessor::new(&spec(service.url("/item")), &[]).expect("a processor").process(items(count), &context()).await
}

async fn one(status: u16, headers: &'static [(&str, &str)], body: &'static str) -> Result<ItemOut, ProcessFailure> {
    let service = FakeHttp::start(move |_| async move { reply(status, headers, body) }).await;
    process(&service, 1).await.map(|mut answers| answers.pop().expect("an answer"))
}

/// Whether another try may help with what was not answered.
fn unanswered(outcome: &Result<ItemOut, ProcessFailure>) -> Option<bool> {
    match outcome {
        Ok(ItemOut::Unanswered { retry, .. }) => Some(*retry),
        Ok(_) | Err(_) => None,
    }
}

#[tokio::test]
async fn a_service_answers_as_a_program_does_or_nothing_to_leave_the_item_as_it_is() {
    for (body, out) in [
        (r#"{"ok": {"x": 1}}"#, ItemOut::Ok(json!({"x": 1}))),
        (r#"{"skip": true}"#, ItemOut::Skip),
        (r#"{"error": "no", "retry": true, "position": 0}"#, ItemOut::Failed { reason: "no".to_owned(), retry: true }),
        (r#"{"error": "no"}"#, ItemOut::Failed { reason: "no".to_owned(), retry: false }),
    ] {
        assert_eq!(one(200, &[], body).await, Ok(out), "{body}");
    }
    for (status, body) in [(200, ""), (204, ""), (200, " \r\n")] {
        assert_eq!(one(status, &[], body).await, Ok(ItemOut::Ok(json!({"n": 0}))), "{status}");
    }
}

#[tokio::test]
async fn an_error_says_why_and_whether_to_try_again_beside_a_status_too() {
    let refused = one(422, &[], r#"{"error": "no such shop", "retry": true}"#).await;
    assert_eq!(refused, Ok(ItemOut::Failed { reason: "no such shop".to_owned(), retry: true }));
}

#[tokio::test]
async fn each_answer_belongs_to_its_item_and_each_request_has_its_key() {
    let service = FakeHttp::start(|seen| async move {
        let question: Value = serde_json::from_slice(&seen.body).expect("JSON");
        let twice = question["item"]["n"].as_u64().expect("a number") * 2;
        reply(200, &[], json!({"ok": {"twice": twice}, "position": question["position"]}).to_string())
    })
    .await;
    let answers = process(&service, 20).await.expect("answers");
    let expected: Vec<_> = (0..20).map(|n| ItemOut::Ok(json!({"twice": n * 2}))).collect();
    assert_eq!(answers, expected);
    let question = |seen: &gristmill_testkit::http::Seen| serde_json::from_slice::<Value>(&seen.body).expect("JSON");
    let mut seen = service.seen();
    seen.sort_by_key(|seen| question(seen)["position"].as_u64());
    for (number, seen) in seen.iter().enumerate() {
        assert_eq!((seen.method.as_str(), seen.path.as_str()), ("POST", "/item"));
        let key = format!("chunk:{number}");
        let asked = json!({"position": number, "attempt": 1, "idempotency_key": key, "item": {"n": number}});
        assert_eq!((seen.header("idempotency-key"), question(seen)), (key.as_str(), asked), "as a program is asked");
        assert_eq!((seen.header("traceparent"), seen.header("content-type")), (TRACE, "application/json"));
    }
}

#[tokio::test]
async fn as_many_requests_as_configured_are_under_way_at_once_and_no_more() {
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    // Each request waits until three have arrived: with fewer at once, none would ever be answered.
    let three = Arc::new(Barrier::new(3));
    let service = FakeHttp::start({
        let most = Arc::clone(&most);
        move |_| {
            let (running, most, three) = (Arc::clone(&running), Arc::clone(&most), Arc::clone(&three));
            async move {
                most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                three.wait().await;
                running.fetch_sub(1, Ordering::SeqCst);
                reply(200, &[], "")
            }
        }
    })
    .await;
    let answers = tokio::time::timeout(Duration::from_secs(120), process(&service, 12)).await;
    assert_eq!(answers.expect("three at once").expect("answers").len(), 12);
    assert_eq!(most.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_status_says_whether_the_item_may_succeed_another_time() {
    for status in [408, 425, 429, 500, 502, 503, 504] {
        assert_eq!(unanswered(&one(status, &[], "busy").await), Some(true), "{status}");
    }
    for status in [400, 404, 409, 410, 413, 422] {
        let refused = one(status, &[], "no such thing").await;
        assert!(matches!(refused, Ok(ItemOut::Failed { retry: false, .. })), "{refused:?}");
    }
    match one(422, &[], "no such name").await {
        Ok(ItemOut::Failed { reason, .. }) => assert!(reason.contains("422") && reason.contains("no such name")),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_answer_that_is_none_may_be_the_fault_of_the_item_or_of_the_service() {
    for (status, body, words) in [
        (401, "who are you", "process.http.headers"),
        (403, "", "does not let us in"),
        (200, "[1]", "no answer"),
        (200, "hello", "`hello`"),
        (200, r#"{"n": 1}"#, r#"right is one of {"ok": {…}}"#),
        (200, r#"{"skip": true, "position": 7}"#, "another item"),
    ] {
        match one(status, &[], body).await {
            Ok(ItemOut::Unanswered { reason, retry: false }) => assert!(reason.contains(words), "{reason}"),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_service_that_has_moved_is_no_items_fault() {
    for status in [301, 307] {
        let failure = one(status, &[], "").await.expect_err("a failure");
        assert!(failure.permanent && failure.message.contains("redirects are not followed"), "{}", failure.message);
    }
}

#[tokio::test]
async fn what_was_answered_before_a_service_went_away_is_kept() {
    let service = FakeHttp::start(|seen| async move {
        let question: Value = serde_json::from_slice(&seen.body).expect("JSON");
        match question["position"].as_u64() {
            Some(7) => reply(503, &[("retry-after", "9")], ""),
            _ => reply(200, &[], r#"{"skip": true}"#),
        }
    })
    .await;
    let failure = process(&service, 20).await.expect_err("a failure");
    assert_eq!((failure.retry_after, failure.suspect), (Some(Duration::from_secs(9)), false));
    let sent = service.seen().len();
    assert!(sent < 20, "nothing more is sent: {sent}");
    assert_eq!(failure.answered.iter().flatten().count(), sent - 1, "what was under way is waited for");
    assert_eq!(failure.answered[7], None);
}

#[tokio::test]
async fn a_wait_that_the_service_asks_for_is_the_chunks() {
    for status in [429, 503] {
        let failure = one(status, &[("retry-after", "9")], "").await.expect_err("a failure");
        assert_eq!((failure.retry_after, failure.permanent), (Some(Duration::from_secs(9)), false), "{status}");
    }
}

#[tokio::test]
async fn when_nobody_is_there_the_chunk_waits() {
    let spec = spec(format!("http://127.0.0.1:{}/", closed_port().await));
    let failure = HttpProcessor::new(&spec, &[]).expect("a processor").process(items(3), &context()).await;
    let failure = failure.expect_err("a failure");
    assert!(!failure.permanent && failure.message.contains("127.0.0.1 cannot be reached"), "{}", failure.message);
}

#[tokio::test]
async fn an_answer_that_breaks_off_or_does_not_come_may_come_another_time() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let broken = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            // The request is read first: closing with unread bytes would be a reset, not an end.
            let mut piece = [0; 4096];
            let _ = tokio::io::AsyncReadExt::read(&mut stream, &mut piece).await;
        }
    });
    let silent = FakeHttp::start(|_| std::future::pending()).await;
    for (port, timeout, words) in [(broken, 20_000, "broke off"), (silent.port, 200, "has not answered within 200ms")] {
        let spec = HttpSpec {
            timeout: Some(Span(Duration::from_millis(timeout))),
            ..spec(format!("http://127.0.0.1:{port}/"))
        };
        let outcome = HttpProcessor::new(&spec, &[]).expect("a processor").process(items(1), &context()).await;
        match outcome.expect("an answer").pop() {
            Some(ItemOut::Unanswered { reason, retry: true }) => assert!(reason.contains(words), "{reason}"),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_cancelled_attempt_ends_at_once() {
    let silent = FakeHttp::start(|_| std::future::pending()).await;
    let cancelled = context();
    cancelled.cancel.cancel();
    let processor = HttpProcessor::new(&spec(silent.url("/")), &[]).expect("a processor");
    let failure = processor.process(items(1), &cancelled).await.expect_err("a failure");
    assert!(failure.message.contains("called off"), "{}", failure.message);
}

#[tokio::test]
async fn a_definition_may_name_the_environment_and_what_is_wrong_with_it_is_named() {
    let service = FakeHttp::always(204).await;
    let named = ["CARGO_PKG_NAME", "GRISTMILL_TEST_ABSENT"].map(str::to_owned);
    let headers = [("Authorization".to_owned(), "env:CARGO_PKG_NAME".to_owned())].into();
    let processor = HttpProcessor::new(&HttpSpec { headers, ..spec(service.url("/")) }, &named).expect("a processor");
    processor.process(items(1), &context()).await.expect("answers");
    assert_eq!(service.seen()[0].header("authorization"), env!("CARGO_PKG_NAME"));
    let absent = [("Authorization".to_owned(), "env:GRISTMILL_TEST_ABSENT".to_owned())].into();
    let error =
        HttpProcessor::new(&HttpSpec { headers: absent, ..spec(service.url("/")) }, &named).expect_err("refused");
    assert!(error.contains("GRISTMILL_TEST_ABSENT"), "{error}");
    let other = [("X-Any".to_owned(), "env:PATH".to_owned())].into();
    let error = HttpProcessor::new(&HttpSpec { headers: other, ..spec(service.url("/")) }, &named);
    assert!(error.expect_err("not in the list").contains("not in `http.env`"));
    for url in ["nowhere", "ftp://example.com/"] {
        let error = HttpProcessor::new(&spec(url.to_owned()), &[]).expect_err(url);
        assert!(error.contains("`process.http.url`"), "{error}");
    }
}
