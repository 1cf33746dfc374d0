//! Runs each example once: the files themselves, as modules.

use std::time::Duration;

use gristmill_store::testing::TestStore;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::timeout;

#[allow(dead_code, reason = "its `main` is the test's business no more than its port")]
#[path = "../examples/embedded_worker.rs"]
mod embedded_worker;
#[allow(dead_code, reason = "its `main` is the test's business no more than its arguments")]
#[path = "../examples/resize.rs"]
mod resize;
#[allow(dead_code, reason = "its `main` is the test's business no more than its port")]
#[path = "../examples/web_enqueue.rs"]
mod web_enqueue;

/// Longer than any example takes.
const LONG: Duration = Duration::from_secs(120);

/// Makes one request; returns its status and its body.
async fn request(address: &str, method: &str, path: &str, body: Option<Value>) -> (u16, String) {
    let body = body.map(|body| body.to_string()).unwrap_or_default();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    let exchange = async {
        let mut stream = TcpStream::connect(address).await.expect("connected");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("answered");
        answer
    };
    let answer = timeout(LONG, exchange).await.expect("an answer in time");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, body.to_owned())
}

fn json_of(body: &str) -> Value {
    serde_json::from_str(body).expect(body)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_with_a_worker_inside_greets_and_drains() {
    let store = TestStore::sqlite(false).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let (stop, stopped) = oneshot::channel::<()>();
    let url = store.url().to_owned();
    let runs = tokio::spawn(embedded_worker::run(listener, url, async { drop(stopped.await) }));
    let post = |name: &'static str| request(&address, "POST", "/greetings", Some(json!({ "name": name })));

    let (status, body) = post("Ada").await;
    assert_eq!(status, 202, "{body}");
    let path = format!("/greetings/{}", json_of(&body)["job"].as_str().expect("an id"));
    assert_eq!(request(&address, "GET", &path, None).await, (200, "\"Hello Ada\"".to_owned()));

    let (_, body) = post("").await;
    let path = format!("/greetings/{}", json_of(&body)["job"].as_str().expect("an id"));
    let (status, body) = request(&address, "GET", &path, None).await;
    assert!(status == 422 && body.contains("nobody is to be greeted"), "{status} {body}");
    let missing = format!("/greetings/{}", gristmill_store::testing::job_id());
    assert_eq!(request(&address, "GET", &missing, None).await.0, 404);

    stop.send(()).expect("it still runs");
    timeout(LONG, runs).await.expect("it drains in time").expect("no panic").expect("no error");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_that_enqueues_in_its_transaction_keeps_both_or_neither() {
    let store = TestStore::postgres(false).await;
    let router = web_enqueue::router(store.url()).await.expect("a server");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let serves = tokio::spawn(async move { axum::serve(listener, router).await });
    let order = |cents: i64| json!({ "customer": "acme", "cents": cents });

    let (status, body) = request(&address, "POST", "/orders", Some(order(90_000))).await;
    assert_eq!(status, 201, "{body}");
    let path = format!("/jobs/{}", json_of(&body)["job"].as_str().expect("an id"));
    let (status, body) = request(&address, "GET", &path, None).await;
    assert_eq!((status, json_of(&body)["state"].as_str()), (200, Some("queued")));

    let (status, body) = request(&address, "POST", "/orders", Some(order(20_000))).await;
    assert!(status == 409 && body.contains("110000 cents"), "{status} {body}");
    assert_eq!(store.count("SELECT count(*) FROM shop_order").await, 1);
    assert_eq!(store.count("SELECT count(*) FROM job WHERE kind = 'confirm-order'").await, 1);
    serves.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_that_resizes_does_and_refuses_what_is_too_wide() {
    let store = TestStore::sqlite(false).await;
    let url = store.url().to_owned();
    let app = resize::app().build().settings(move |config| config.store.url.clone_from(&url));
    let app = app.open().await.expect("opened");
    let client = app.client();
    let (stop, stopped) = oneshot::channel::<()>();
    let runs = tokio::spawn(app.run_until(async { drop(stopped.await) }));
    let resize = |width: u32| client.job_of_kind("resize-image", json!({ "path": "a.png", "width": width })).enqueue();

    let fits = resize(80).await.expect("enqueued").id;
    let output = client.wait(fits).at_most(LONG).await.expect("resized");
    assert_eq!(output, json!({ "path": format!("a.png.80.{fits}"), "attempt": 1 }));
    let wide = resize(5_000).await.expect("enqueued").id;
    let refused = client.wait(wide).at_most(LONG).await.expect_err("too wide");
    assert!(refused.to_string().contains("width 5000: it must be 1 to 4096"), "{refused}");

    drop(stop);
    timeout(LONG, runs).await.expect("it drains in time").expect("no panic").expect("no error");
}
