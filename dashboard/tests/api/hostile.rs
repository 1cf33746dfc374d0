//! What is sent on purpose to be read in two ways, to hold a connection, or to let a browser do what its person does not want.

use std::time::{Duration, Instant};

use gristmill_dashboard::api::routes;
use gristmill_dashboard::gate::Access;
use gristmill_store::{JobFilter, Page};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::env::{self, TestEnv};
use crate::people::{as_person, ask, log_in, user};

const SMUGGLED: &str = "{\"kind\":\"smuggled\"}";

/// A request that must not be carried out, as it hides behind another one.
fn hidden() -> String {
    format!(
        "POST /api/v1/jobs HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{SMUGGLED}",
        SMUGGLED.len()
    )
}

/// Sends bytes, and reads until the server closes the connection, or has been silent for a while.
async fn exchanged(env: &TestEnv, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(env.addr).await.expect("the server listens");
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(4), stream.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_request_that_hides_behind_another_is_not_carried_out() {
    let env = env::open().await;
    let head = "POST /api/v1/jobs HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n";
    let (hidden, visible) = (hidden(), "{\"kind\":\"note\"}");
    let chunked = format!("{:x}\r\n{visible}\r\n0\r\n\r\n", visible.len());
    for (what, bytes) in [
        (
            "CL, then TE",
            format!(
                "{head}content-length: {}\r\ntransfer-encoding: chunked\r\n\r\n{chunked}{hidden}",
                chunked.len() + hidden.len()
            ),
        ),
        (
            "TE, then CL",
            format!(
                "{head}transfer-encoding: chunked\r\ncontent-length: {}\r\n\r\n{chunked}{hidden}",
                chunked.len() + hidden.len()
            ),
        ),
        (
            "CL is shorter than TE",
            format!("{head}content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n{chunked}{hidden}"),
        ),
        ("TE that is none", format!("{head}content-length: 5\r\ntransfer-encoding: xchunked\r\n\r\n{hidden}")),
        (
            "TE twice",
            format!("{head}transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n\r\n{chunked}{hidden}"),
        ),
        (
            "TE after a blank",
            format!("{head}transfer-encoding : chunked\r\ncontent-length: 0\r\n\r\n{chunked}{hidden}"),
        ),
        ("two lengths", format!("{head}content-length: 0\r\ncontent-length: {}\r\n\r\n{hidden}", hidden.len())),
        ("a list of lengths", format!("{head}content-length: 0, {}\r\n\r\n{hidden}", hidden.len())),
        ("a signed length", format!("{head}content-length: +0\r\n\r\n{hidden}")),
        ("a folded header", format!("{head}x: a\r\n content-length: 5\r\ncontent-length: 0\r\n\r\n{}", &hidden[..0])),
        (
            "a length of a chunk that overflows",
            format!("{head}transfer-encoding: chunked\r\n\r\n10000000000000000\r\n{hidden}"),
        ),
        ("a chunk that ends elsewhere", format!("{head}transfer-encoding: chunked\r\n\r\n0\n\n{hidden}")),
        (
            "HTTP/1.0 with TE",
            format!("{}transfer-encoding: chunked\r\n\r\n{chunked}{hidden}", head.replace("1.1", "1.0")),
        ),
    ] {
        let answer = exchanged(&env, bytes.as_bytes()).await;
        assert!(answer.matches("HTTP/1.1 ").count() <= 1, "{what}: {answer}");
        let filter = JobFilter { tenant: "main".to_owned(), kind: Some("smuggled".to_owned()), ..JobFilter::default() };
        let found = env.store.jobs(&filter, &Page::default()).await.expect("listed");
        assert!(found.is_empty(), "{what}: {answer}");
    }
    // Those that are honest go on: on one connection, each with its length.
    let two = format!("{}{}", hidden, hidden.replace("\r\ncontent-type", "\r\nconnection: close\r\ncontent-type"));
    assert_eq!(exchanged(&env, two.as_bytes()).await.matches("HTTP/1.1 201").count(), 2);
}

#[tokio::test]
async fn a_head_that_trickles_in_is_not_waited_for() {
    let env = env::open().await;
    let since = Instant::now();
    let mut slow = Vec::new();
    for _ in 0..20 {
        slow.push(TcpStream::connect(env.addr).await.expect("the server listens"));
    }
    let mut open = slow.len();
    while open > 0 && since.elapsed() < Duration::from_secs(20) {
        for stream in &mut slow {
            let _ = stream.write_all(b"x").await;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(env.get("/api/v1/version").await.status, 200, "others are served meanwhile");
        open = slow.iter().filter(|stream| !ended(stream)).count();
    }
    assert_eq!(open, 0, "each was closed: {:?}", since.elapsed());
}

/// Whether the other side has closed a connection.
fn ended(stream: &TcpStream) -> bool {
    let mut bytes = [0; 512];
    !matches!(stream.try_read(&mut bytes), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
}

/// No change can be asked for through a browser by another site, whichever endpoint it is.
#[tokio::test]
async fn no_endpoint_is_changed_by_another_site() {
    let env = env::with_users().await;
    let (routes, mut walked) = (routes(), 0);
    for endpoint in routes.endpoints().filter(|endpoint| endpoint.method != "GET" && endpoint.access != Access::Open) {
        let path = endpoint.path.split('/').map(|part| if part.starts_with('{') { "7" } else { part });
        let path = path.collect::<Vec<_>>().join("/");
        for (mark, refused) in [
            (("sec-fetch-site", "cross-site"), true),
            (("sec-fetch-site", "same-site"), true),
            (("sec-fetch-site", "nonsense"), true),
            (("origin", "https://evil.example"), true),
            (("origin", "null"), true),
            (("origin", "http://localhost.evil.example"), true),
            (("referer", "http://localhost/"), true),
            (("sec-fetch-site", "same-origin"), false),
        ] {
            let headers = [("cookie", "gristmill=owner"), ("content-type", "text/plain"), mark];
            let answer = env.send(endpoint.method, &path, &headers, b"{}").await;
            let site = answer.status == 403 && answer.text.contains("another site");
            assert_eq!(site, refused, "{} {path} with {mark:?}: {answer:?}", endpoint.method);
        }
        walked += 1;
    }
    assert!(walked > 40, "{walked}");
}

/// A secret that another person knows never becomes that of a person who logs in.
#[tokio::test]
async fn a_planted_session_is_never_that_of_a_person() {
    let env = env::with_accounts().await;
    user(&env, "ada", gristmill_core::access::Role::Owner).await;
    user(&env, "eve", gristmill_core::access::Role::Viewer).await;
    let body = json!({ "email": "ada@example.com", "password": crate::people::PASSWORD });
    let known = log_in(&env, "eve").await;
    for planted in ["gristmill=gms_planted", known.as_str()] {
        let headers = [("cookie", planted), ("sec-fetch-site", "same-origin")];
        let answer = ask(&env, "POST", "/api/v1/session", &headers, &body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let own = answer.header("set-cookie").and_then(|set| set.split(';').next()).expect("a cookie").to_owned();
        assert_ne!(own, planted);
        let me = as_person(&env, planted, "GET", "/api/v1/me", &Value::Null).await;
        assert!(!me.text.contains("ada@example.com"), "{planted}: {me:?}");
        let me = as_person(&env, &own, "GET", "/api/v1/me", &Value::Null).await;
        assert!(me.text.contains("ada@example.com"), "{me:?}");
    }
}

#[tokio::test]
async fn a_key_that_is_there_twice_is_read_in_one_way() {
    let env = env::open().await;
    let headers = [("content-type", "application/json")];
    let body = br#"{"kind":"first","kind":"note","payload":{"a":1,"a":2},"payload":{"b":1,"b":{"c":1,"c":2}}}"#;
    let made = env.send("POST", "/api/v1/jobs", &headers, body).await;
    let id = made.data()["job"]["id"].as_str().expect("an id").to_owned();
    let job = env.get(&format!("/api/v1/jobs/{id}")).await;
    assert_eq!((&job.data()["kind"], &job.data()["payload"]), (&json!("note"), &json!({ "b": { "c": 2 } })));
    for depth in [60, 65, 200, 100_000] {
        let deep = format!("{{\"kind\":\"note\",\"payload\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        let answer = env.send("POST", "/api/v1/jobs", &headers, deep.as_bytes()).await;
        assert_eq!(answer.status, if depth < 64 { 201 } else { 400 }, "{depth}: {answer:?}");
    }
}
