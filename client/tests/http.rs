//! The client over HTTP against servers that answer as they like.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use gristmill_client::http::{Call, HttpError, Server, ServerOptions, Token, Upload};
use serde_json::{Value, json};

/// A server whose answers depend on how often it was asked before.
async fn server<F, A>(answer: F) -> (Server, Arc<AtomicUsize>)
where
    F: Fn(usize, Request<Body>) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Response> + Send + 'static,
{
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let routes =
        Router::new().fallback(move |request: Request<Body>| answer(count.fetch_add(1, Ordering::SeqCst), request));
    tokio::spawn(async move { axum::serve(listener, routes).await });
    let options =
        ServerOptions { token: Some(Token::new("t-1")), tenant: Some("shop".to_owned()), ..ServerOptions::new(url) };
    (Server::new(&options).expect("a server"), asked)
}

fn found(data: Value) -> Response {
    let body =
        json!({ "success": true, "data": data, "error": null, "timestamp": "2026-01-01T00:00:00Z", "requestId": "r" });
    ([(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

fn refused(status: StatusCode) -> Response {
    let error =
        json!({ "code": "x", "message": "because", "details": { "faults": [{ "path": "/a", "message": "is odd" }] } });
    let body = json!({ "success": false, "data": null, "error": error, "requestId": "r-9" });
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

fn header_of(request: &Request<Body>, name: &str) -> Option<String> {
    request.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

#[tokio::test]
async fn a_request_with_a_key_is_sent_again_under_the_same_key() {
    let (server, asked) = server(|before, request| async move {
        let said = ["authorization", "gristmill-tenant", "idempotency-key"].map(|name| header_of(&request, name));
        match before {
            0 => refused(StatusCode::SERVICE_UNAVAILABLE),
            1 => refused(StatusCode::TOO_MANY_REQUESTS),
            _ => found(json!({ "said": said, "path": request.uri().to_string() })),
        }
    })
    .await;
    let call = Call::post(&["jobs"]).key("k-1").flag("dry_run", true).body(&json!({}));
    let data: Value = server.send(&call).await.expect("the third time");
    assert_eq!(data, json!({ "said": ["Bearer t-1", "shop", "k-1"], "path": "/api/v1/jobs?dry_run=true" }));
    assert_eq!(asked.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn what_might_be_done_twice_is_sent_once() {
    let (server, asked) = server(|_, _| async { refused(StatusCode::SERVICE_UNAVAILABLE) }).await;
    let error = server.send::<Value>(&Call::delete(&["batches", "b"])).await.expect_err("refused");
    let refusal = error.refusal().expect("the server's words");
    assert_eq!((refusal.status, refusal.message.as_str(), asked.load(Ordering::SeqCst)), (503, "because", 1));
    assert_eq!((refusal.faults[0].path.as_str(), refusal.request_id.as_deref()), ("/a", Some("r-9")));
}

#[tokio::test]
async fn a_list_is_read_page_by_page() {
    let (server, _) = server(|before, request| async move {
        let after = request.uri().query().unwrap_or_default().contains("after=2");
        assert_eq!(after, before == 1);
        let next = if before == 0 { json!("2") } else { Value::Null };
        let data = if before == 0 { json!([1, 2]) } else { json!([3]) };
        let body = json!({ "success": true, "data": data, "nextCursor": next, "error": null });
        body.to_string().into_response()
    })
    .await;
    assert_eq!(server.all::<u32>(&Call::get(&["poison"])).await.expect("both pages"), [1, 2, 3]);
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_what_is_no_answer_of_ours_is_said() {
    let (there, _) = server(|_, _| async {
        (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, "http://192.0.2.1/")]).into_response()
    })
    .await;
    let error = there.send::<Value>(&Call::get(&["jobs"])).await.expect_err("a redirect");
    assert!(matches!(&error, HttpError::Strange { reason, .. } if reason.contains("192.0.2.1")), "{error}");
    let (page, _) = server(|_, _| async { "<html>".into_response() }).await;
    let error = page.send::<Value>(&Call::get(&["jobs"])).await.expect_err("a page");
    assert!(matches!(error, HttpError::Strange { .. }), "{error}");
    let away = Server::new(&ServerOptions::new("http://127.0.0.1:1")).expect("an address");
    let error = away.send::<Value>(&Call::get(&["jobs"])).await.expect_err("away");
    assert!(matches!(error, HttpError::Unreachable { .. }), "{error}");
}

#[tokio::test]
async fn lines_go_up_as_they_are_made_and_what_breaks_them_off_is_said() {
    let (server, _) = server(|_, request| async move {
        let key = header_of(&request, "idempotency-key");
        match to_bytes(request.into_body(), usize::MAX).await {
            Ok(body) => found(json!({ "key": key, "lines": body.iter().filter(|byte| **byte == b'\n').count() })),
            Err(_) => refused(StatusCode::BAD_REQUEST),
        }
    })
    .await;
    let lines = (0..100_000).map(|number| Ok((number % 7 != 0).then(|| json!({ "n": number }))));
    let data: Value = server.upload(&Call::post(&["jobs", "many"]), Upload::lines(lines)).await.expect("all of them");
    assert_eq!(data, json!({ "key": null, "lines": 100_000 }));
    let torn = (0..100_000).map(|n| if n < 50_000 { Ok(Some(n)) } else { Err("line 50001: is odd".to_owned()) });
    let error = server.upload::<Value>(&Call::post(&["jobs", "many"]), Upload::lines(torn)).await.expect_err("torn");
    assert_eq!(error, HttpError::Input("line 50001: is odd".to_owned()));
    let bytes = Upload::bytes(std::io::Cursor::new(vec![b'\n'; 200_000]));
    let data: Value = server.upload(&Call::post(&["definitions", "a", "batches"]), bytes).await.expect("a file");
    assert_eq!(data["lines"], 200_000);
}
