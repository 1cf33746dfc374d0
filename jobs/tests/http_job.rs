//! Jobs of kind `http` against a service on loopback.

mod fixtures;

use std::time::Duration;

use axum::body::Body;
use fixtures::TestEnv;
use gristmill_core::duration::Span;
use gristmill_core::settle::Ending;
use gristmill_jobs::kind::http::HttpHandler;
use gristmill_jobs::settings::{HttpSettings, RetryAfter};
use gristmill_jobs::{Finish, Handler};
use gristmill_testkit::http::{FakeHttp, closed_port, endless, reply};
use serde_json::{Value, json};

const AGAIN: Ending = Ending::Failed { retry_after: None };

fn open() -> HttpSettings {
    HttpSettings { allow_private: true, ..HttpSettings::default() }
}

async fn send(settings: &HttpSettings, payload: Value) -> Finish {
    let env = TestEnv::new().await;
    let context = env.claim("http", payload).await;
    HttpHandler::new(settings).run(context).await
}

async fn get(url: String) -> Finish {
    send(&open(), json!({"method": "GET", "url": url})).await
}

fn error(finish: &Finish) -> &str {
    finish.error.as_deref().unwrap_or_default()
}

#[tokio::test]
async fn a_request_goes_out_as_its_payload_says() {
    let (env, service) = (TestEnv::new().await, FakeHttp::always(200).await);
    let payload = json!({
        "method": "PUT", "url": service.url("/things/7?x=y"), "headers": {"X-Colour": "red"}, "body": {"n": 1}
    });
    let context = env.claim("http", payload).await;
    let job = context.job.clone();
    let finish = HttpHandler::new(&open()).run(context).await;
    assert_eq!(finish.ending, Ending::Done, "{finish:?}");
    let seen = service.seen().pop().expect("a request");
    assert_eq!((seen.method.as_str(), seen.path.as_str()), ("PUT", "/things/7?x=y"));
    assert_eq!(seen.body, br#"{"n":1}"#);
    assert_eq!((seen.header("x-colour"), seen.header("content-type")), ("red", "application/json"));
    assert_eq!(seen.header("idempotency-key"), job.fence.job.to_string());
    assert_eq!(seen.header("traceparent"), job.trace.expect("a trace"));
}

#[tokio::test]
async fn a_text_goes_out_as_it_stands_and_null_not_at_all() {
    let service = FakeHttp::always(200).await;
    for (body, sent) in [(json!("a=b&c"), "a=b&c"), (Value::Null, "")] {
        let payload = json!({"url": service.url("/"), "body": body});
        assert_eq!(send(&open(), payload).await.ending, Ending::Done);
        let seen = service.seen().pop().expect("a request");
        assert_eq!((seen.method.as_str(), String::from_utf8_lossy(&seen.body).as_ref()), ("POST", sent));
        assert!(!seen.headers.contains_key("content-type"));
    }
}

#[tokio::test]
async fn every_method_that_is_named_goes_out() {
    let service = FakeHttp::always(204).await;
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"] {
        let finish = send(&open(), json!({"method": method, "url": service.url("/")})).await;
        assert_eq!(finish.ending, Ending::Done, "{method}: {}", error(&finish));
        assert_eq!(service.seen().pop().expect("a request").method, method);
    }
    for method in ["get", "TRACE", "CONNECT", ""] {
        let finish = send(&open(), json!({"method": method, "url": service.url("/")})).await;
        assert_eq!(finish.ending, Ending::Permanent, "{method}");
        assert!(error(&finish).contains("GET, POST"), "{}", error(&finish));
    }
    assert_eq!(service.seen().len(), 6);
}

#[tokio::test]
async fn the_answer_becomes_the_output() {
    for (body, output) in [
        (r#"{"id": 7}"#, json!({"status": 201, "body": {"id": 7}})),
        ("created", json!({"status": 201, "body": "created"})),
        ("", json!({"status": 201, "body": ""})),
    ] {
        let service = FakeHttp::start(move |_| async move { reply(201, &[], body) }).await;
        assert_eq!(get(service.url("/")).await.output, Some(output));
    }
}

#[tokio::test]
async fn the_text_of_an_answer_is_in_the_charset_that_it_names() {
    for (kind, body, text) in [
        ("text/plain; charset=ISO-8859-1", &b"caf\xe9"[..], json!("café")),
        ("text/plain", "café".as_bytes(), json!("café")),
        ("text/json; charset=utf-16le", &b"{\0\"\0a\0\"\0:\x001\0}\0"[..], json!({"a": 1})),
    ] {
        let service = FakeHttp::start(move |_| async move { reply(200, &[("content-type", kind)], body) }).await;
        assert_eq!(get(service.url("/")).await.output, Some(json!({"status": 200, "body": text})), "{kind}");
    }
}

#[tokio::test]
async fn a_content_length_is_the_bodys_or_refused() {
    let service = FakeHttp::always(200).await;
    let sent = async |headers: Value| {
        send(&open(), json!({"url": service.url("/"), "body": "hello", "headers": headers})).await
    };
    assert_eq!(sent(json!({"Content-Length": "5"})).await.ending, Ending::Done);
    assert_eq!(service.seen().pop().expect("a request").header("content-length"), "5");
    for (headers, said) in [
        (json!({"Content-Length": "3"}), "5 bytes"),
        (json!({"content-length": "500"}), "5 bytes"),
        (json!({"Transfer-Encoding": "chunked"}), "`transfer-encoding` belongs to the connection"),
        (json!({"Connection": "upgrade"}), "`connection` belongs to the connection"),
    ] {
        let finish = sent(headers).await;
        assert_eq!(finish.ending, Ending::Permanent);
        assert!(error(&finish).contains(said), "{}", error(&finish));
    }
    assert_eq!(service.seen().len(), 1, "nothing else was sent");
}

#[tokio::test]
async fn a_long_answer_is_cut_off() {
    let short = HttpSettings { response_bytes_max: 1_000, ..open() };
    for (body, cut) in [("endless", true), ("1001", true), ("1000", false)] {
        let service = FakeHttp::start(move |_| async move {
            reply(200, &[], body.parse().map_or_else(|_| endless(), |size| Body::from("x".repeat(size))))
        })
        .await;
        let output = send(&short, json!({"method": "GET", "url": service.url("/")})).await.output.expect(body);
        assert_eq!(output["body"].as_str().expect("a text").len(), 1_000, "{body}");
        assert_eq!(output.get("cut").is_some(), cut, "{body}");
    }
}

#[tokio::test]
async fn a_status_says_whether_another_try_may_help() {
    for (status, ending) in [
        (200, Ending::Done),
        (302, Ending::Permanent),
        (400, Ending::Permanent),
        (404, Ending::Permanent),
        (410, Ending::Permanent),
        (408, AGAIN),
        (429, AGAIN),
        (500, AGAIN),
        (503, AGAIN),
    ] {
        let service = FakeHttp::always(status).await;
        assert_eq!(get(service.url("/")).await.ending, ending, "{status}");
    }
    let service = FakeHttp::start(|_| async { reply(429, &[("retry-after", "11")], "") }).await;
    let wait = Some(Duration::from_secs(11));
    assert_eq!(get(service.url("/")).await.ending, Ending::Failed { retry_after: wait });
    let patient = HttpSettings { retry_after: RetryAfter::Snooze, ..open() };
    let finish = send(&patient, json!({"method": "GET", "url": service.url("/")})).await;
    assert_eq!(finish.ending, Ending::Snoozed { wait: Duration::from_secs(11) }, "if the settings say so");
    assert!(error(&finish).contains("429"), "{finish:?}");
    for (status, headers) in [(500, &[("retry-after", "11")][..]), (429, &[]), (503, &[])] {
        let service = FakeHttp::start(move |_| async move { reply(status, headers, "") }).await;
        let ending = send(&patient, json!({"method": "GET", "url": service.url("/")})).await.ending;
        assert!(matches!(ending, Ending::Failed { .. }), "{status} {headers:?}: {ending:?}");
    }
}

#[tokio::test]
async fn a_header_from_the_environment_needs_leave() {
    let service = FakeHttp::always(200).await;
    // The test runner always sets this variable.
    let name = "CARGO_PKG_NAME";
    let payload = json!({"url": service.url("/"), "headers": {"Authorization": format!("env:{name}")}});
    let refused = send(&open(), payload.clone()).await;
    assert_eq!(refused.ending, Ending::Permanent);
    assert!(error(&refused).contains("`http.env`") && error(&refused).contains(name), "{}", error(&refused));
    assert!(service.seen().is_empty());
    let allowed = HttpSettings { env: vec![name.to_owned()], ..open() };
    assert_eq!(send(&allowed, payload).await.ending, Ending::Done);
    assert_eq!(service.seen()[0].header("authorization"), env!("CARGO_PKG_NAME"));
}

#[tokio::test]
async fn a_header_cannot_smuggle_another_one_in() {
    let service = FakeHttp::always(200).await;
    for headers in [json!({"X-A": "b\r\nX-C: d"}), json!({"X A": "b"}), json!({"": "b"})] {
        let finish = send(&open(), json!({"url": service.url("/"), "headers": headers})).await;
        assert_eq!(finish.ending, Ending::Permanent, "{headers}");
    }
    assert!(service.seen().is_empty());
}

#[tokio::test]
async fn private_addresses_need_leave_that_is_named() {
    let service = FakeHttp::always(200).await;
    for url in [
        service.url("/"),
        format!("https://127.0.0.1:{}/", service.port),
        format!("https://localhost:{}/", service.port),
    ] {
        let finish = send(&HttpSettings::default(), json!({"url": url})).await;
        assert_eq!(finish.ending, Ending::Permanent, "{url}");
        assert!(error(&finish).contains("`http.allow_private = true`"), "{}", error(&finish));
    }
    assert!(service.seen().is_empty());
}

#[tokio::test]
async fn who_does_not_answer_or_is_not_there_is_tried_again() {
    let silent = FakeHttp::start(|_| std::future::pending()).await;
    let hurried = HttpSettings { timeout: Span(Duration::from_millis(200)), ..open() };
    let finish = send(&hurried, json!({"url": silent.url("/")})).await;
    assert_eq!(finish.ending, AGAIN);
    assert!(error(&finish).contains("has not answered within 200ms"), "{}", error(&finish));
    let finish = get(format!("http://127.0.0.1:{}/", closed_port().await)).await;
    assert_eq!(finish.ending, AGAIN);
    assert!(error(&finish).contains("cannot be reached"), "{}", error(&finish));
}
