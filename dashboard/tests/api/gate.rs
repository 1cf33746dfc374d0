//! Every step of the gate.

use gristmill_core::access::Role;
use gristmill_dashboard::api::routes;
use gristmill_dashboard::gate::{Access, ServeSettings};
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use gristmill_service::shared::{CacheSettings, Shared};

use crate::env::{self, env, heard, request};

#[tokio::test]
async fn an_answer_is_in_an_envelope_with_the_id_of_its_request() {
    let env = env::open().await;
    let answer = env.send("GET", "/api/v1/version", &[("x-request-id", "abc-1")], b"").await;
    assert_eq!((answer.status, answer.header("x-request-id")), (200, Some("abc-1")));
    assert_eq!(answer.body["requestId"], "abc-1");
    assert_eq!(answer.data()["name"], "gristmill");
    assert_eq!(answer.body["error"], json!(null));
    assert!(answer.body["timestamp"].as_str().expect("a time").ends_with('Z'));
    let odd = env.send("GET", "/api/v1/version", &[("x-request-id", "a b")], b"").await;
    assert_ne!(odd.body["requestId"], "a b");
    assert_eq!(odd.header("x-content-type-options"), Some("nosniff"));
}

#[tokio::test]
async fn an_error_is_in_the_same_envelope_or_a_problem_where_that_is_wanted() {
    let env = env::open().await;
    let path = "/api/v1/jobs/0198f9c1-7d2e-7000-8000-000000000000";
    let answer = env.get(path).await;
    assert_eq!((answer.status, answer.code()), (404, "not_found"));
    assert_eq!((&answer.body["success"], &answer.body["data"]), (&json!(false), &json!(null)));
    let accept = [("accept", "application/problem+json"), ("x-request-id", "abc-2")];
    let problem = env.send("GET", path, &accept, b"").await;
    assert_eq!(problem.header("content-type"), Some("application/problem+json"));
    assert_eq!((&problem.body["status"], &problem.body["code"]), (&json!(404), &json!("not_found")));
    assert_eq!((&problem.body["instance"], &problem.body["requestId"]), (&json!(path), &json!("abc-2")));
}

#[tokio::test]
async fn unknown_addresses_methods_and_parameters_are_named() {
    let env = env::open().await;
    for path in
        ["/api/v1/jbos", "/nowhere", "/api/v1/jobs/", "/api/v1/jobs/../jobs", "/api/v1/jobs/%2e%2e", "/api//v1/jobs"]
    {
        let answer = env.get(path).await;
        assert_eq!((answer.status, answer.code()), (404, "not_found"), "{path}: {answer:?}");
    }
    let answer = env.send("DELETE", "/api/v1/jobs", &[], b"").await;
    assert_eq!((answer.status, answer.code()), (405, "method_not_allowed"));
    assert_eq!(answer.header("allow"), Some("GET,HEAD,POST"));
    let answer = env.get("/api/v1/jobs?sate=dead&limit=5000&state=asleep").await;
    assert_eq!((answer.status, answer.faults()), (422, vec!["?sate"]));
    let answer = env.get("/api/v1/jobs?limit=5000&state=asleep").await;
    assert_eq!((answer.status, answer.faults()), (422, vec!["?state", "?limit"]));
}

#[tokio::test]
async fn a_name_that_points_here_from_elsewhere_is_refused() {
    let env = env(ServeSettings { hosts: vec!["jobs.example.com".to_owned()], ..ServeSettings::default() }).await;
    let to = async |host: &str| env.send("GET", "/api/v1/version", &[("host", host)], b"").await.status;
    assert_eq!((to("jobs.example.com:7700").await, to("127.0.0.1").await), (200, 200));
    assert_eq!((to("evil.example").await, to("localhost.evil.example").await), (403, 403));
    assert_eq!(env.raw(b"GET /api/v1/version HTTP/1.1\r\nconnection: close\r\n\r\n").await.status, 400);
    let lost = env.send("GET", "/nowhere", &[("host", "evil.example")], b"").await;
    assert_eq!(lost.status, 403, "an address that there is not tells a stranger nothing either");
}

#[tokio::test]
async fn another_site_cannot_change_anything_through_a_browser() {
    let env = env::open().await;
    let body = json!({ "kind": "note" }).to_string();
    let json = ("content-type", "application/json");
    for (headers, status) in [
        (vec![json, ("sec-fetch-site", "cross-site")], 403),
        (vec![json, ("origin", "https://evil.example")], 403),
        (vec![("content-type", "text/plain"), ("sec-fetch-site", "same-origin")], 415),
        (vec![json, ("sec-fetch-site", "same-origin")], 201),
        (vec![json], 201),
    ] {
        let answer = env.send("POST", "/api/v1/jobs", &headers, body.as_bytes()).await;
        assert_eq!(answer.status, status, "{headers:?}: {answer:?}");
    }
    let users = env::with_users().await;
    for (headers, status) in [
        (vec![json, ("cookie", "gristmill=owner")], 403),
        (vec![json, ("cookie", "gristmill=owner"), ("origin", "http://localhost")], 201),
        (vec![json, ("authorization", "Bearer owner"), ("sec-fetch-site", "cross-site")], 201),
    ] {
        let answer = users.send("POST", "/api/v1/jobs", &headers, body.as_bytes()).await;
        assert_eq!(answer.status, status, "{headers:?}: {answer:?}");
    }
}

#[tokio::test]
async fn callers_are_recognized_in_the_tenant_that_they_ask_for() {
    let env = env::with_users().await;
    let anonymous = env.get("/api/v1/me").await;
    assert_eq!((anonymous.status, anonymous.code()), (401, "unauthenticated"));
    assert_eq!(anonymous.header("www-authenticate"), Some("Bearer realm=\"gristmill\""));
    for (token, status) in [("nobody", 401), ("suspended", 403), ("viewer", 200)] {
        assert_eq!(env.get_as(token, "/api/v1/me").await.status, status, "{token}");
    }
    let viewer = env.get_as("viewer", "/api/v1/me").await;
    assert_eq!((&viewer.data()["role"], &viewer.data()["tenant"]), (&json!("viewer"), &json!("main")));
    let asked = |tenant: &'static str| [("authorization", "Bearer owner@other"), ("gristmill-tenant", tenant)];
    assert_eq!(env.send("GET", "/api/v1/me", &asked("other"), b"").await.status, 200);
    assert_eq!(env.send("GET", "/api/v1/me", &asked("main"), b"").await.status, 403);
    assert_eq!(env.send("GET", "/api/v1/me", &asked("a b"), b"").await.status, 400);
    let basic = env.send("GET", "/api/v1/me", &[("authorization", "Basic abc")], b"").await;
    assert_eq!(basic.status, 401);
}

#[tokio::test]
async fn where_nobody_logs_in_everybody_owns_the_tenant_of_the_configuration_and_no_other() {
    let env = env::open().await;
    assert_eq!(env.get("/api/v1/me").await.data()["role"], "owner");
    let other = env.send("GET", "/api/v1/me", &[("gristmill-tenant", "other")], b"").await;
    assert_eq!((other.status, other.code()), (403, "forbidden"));
}

/// What each role gets from each endpoint is what the table of roles says.
#[tokio::test]
async fn every_endpoint_asks_for_its_permission() {
    let env = env::with_users().await;
    let (routes, mut walked) = (routes(), 0);
    for endpoint in routes.endpoints() {
        let path = endpoint.path.split('/').map(|part| if part.starts_with('{') { "7" } else { part });
        let path = path.collect::<Vec<_>>().join("/");
        let Access::Permitted(permission) = endpoint.access else {
            if let Access::Installation(permission) = endpoint.access {
                let other = [("authorization", "Bearer owner@other")];
                let refused = env.send(endpoint.method, &path, &other, b"").await;
                assert_eq!(refused.status, 403, "{permission}: {} {path}", endpoint.method);
            }
            continue;
        };
        walked += 1;
        let refused = env.send(endpoint.method, &path, &[], b"").await;
        assert_eq!(refused.status, 401, "{} {path}", endpoint.method);
        for role in Role::ALL {
            let token = format!("Bearer {role}");
            let answer = env.send(endpoint.method, &path, &[("authorization", &token)], b"").await;
            let expected = if role.allows(permission) { answer.status != 403 } else { answer.status == 403 };
            assert!(expected && answer.status != 401, "{role}, {} {path}: {}", endpoint.method, answer.status);
            assert!(answer.status < 500, "{} {path}: {answer:?}", endpoint.method);
        }
    }
    assert!(walked > 2, "{walked}");
}

#[tokio::test]
async fn a_token_has_no_more_than_its_scopes() {
    let env = env::with_users().await;
    assert_eq!(env.get_as("owner+jobs:read", "/api/v1/jobs").await.status, 200);
    assert_eq!(env.get_as("owner+queues:read", "/api/v1/jobs").await.status, 403);
}

#[tokio::test]
async fn who_sends_too_much_waits() {
    let rate = "3/1h".parse().expect("a rate");
    let env = env(ServeSettings { rate_per_tenant: rate, ..ServeSettings::default() }).await;
    for left in [2, 1, 0] {
        let answer = env.get("/api/v1/me").await;
        assert_eq!((answer.status, answer.header("ratelimit-policy")), (200, Some("\"tenant\";q=3;w=3600")));
        assert!(answer.header("ratelimit").expect("a field").starts_with(&format!("\"tenant\";r={left};t=")));
    }
    let answer = env.get("/api/v1/me").await;
    assert_eq!((answer.status, answer.code()), (429, "rate_limited"));
    let wait: u64 = answer.header("retry-after").expect("a time").parse().expect("seconds");
    assert!((1_000..=1_200).contains(&wait), "{wait}");
}

#[tokio::test]
async fn servers_that_share_a_redis_count_together() {
    let redis = std::env::var("GRISTMILL_TEST_REDIS").expect("GRISTMILL_TEST_REDIS names a Redis: scripts/servers");
    let prefix = format!("test-{}", uuid::Uuid::now_v7().simple());
    let shared = || Shared::new(&CacheSettings { redis: redis.clone(), prefix: prefix.clone() }).expect("an address");
    let settings = || ServeSettings { rate_per_tenant: "3/1h".parse().expect("a rate"), ..ServeSettings::default() };
    let (one, other) = (env::sharing(settings(), shared()).await, env::sharing(settings(), shared()).await);
    for (server, left) in [(&one, 2), (&other, 1), (&one, 0)] {
        let answer = server.get("/api/v1/jobs").await;
        assert!(answer.header("ratelimit").expect("a field").starts_with(&format!("\"tenant\";r={left};t=")));
    }
    let answer = other.get("/api/v1/jobs").await;
    assert_eq!((answer.status, answer.code()), (429, "rate_limited"));
    let wait: u64 = answer.header("retry-after").expect("a time").parse().expect("seconds");
    assert!((1_000..=1_200).contains(&wait), "{wait}");
}

#[tokio::test]
async fn a_trusted_proxy_says_who_sends() {
    let (rate_per_address, trusted) = ("1/1h".parse().expect("a rate"), "127.0.0.0/8".parse().expect("a network"));
    let env = env(ServeSettings { rate_per_address, trusted_proxies: vec![trusted], ..ServeSettings::default() }).await;
    let from =
        async |address: &str| env.send("GET", "/api/v1/version", &[("x-forwarded-for", address)], b"").await.status;
    assert_eq!((from("192.0.2.1").await, from("192.0.2.2").await, from("192.0.2.1").await), (200, 200, 429));
}

#[tokio::test]
async fn hostile_requests_are_refused_without_a_fault_of_ours() {
    let env = env::open().await;
    let json = ("content-type", "application/json");
    let deep = format!("{{\"kind\":\"note\",\"payload\":{}1{}}}", "[".repeat(2_000), "]".repeat(2_000));
    for (body, status) in [
        (b"".to_vec(), 400),
        (b"{".to_vec(), 400),
        (b"\xff\xfe".to_vec(), 400),
        (b"{\"kind\": \"note\"} x".to_vec(), 400),
        (b"{\"kind\": \"a\xc0\"}".to_vec(), 400),
        (deep.into_bytes(), 400),
        (b"{\"kind\": \"note\", \"payload\": 0.1234567890123456789012}".to_vec(), 400),
        (b"[]".to_vec(), 422),
        (b"{\"kind\": \"chunk\"}".to_vec(), 422),
        (b"{\"kind\": \"first\", \"kind\": \"note\"}".to_vec(), 201),
    ] {
        let answer = env.send("POST", "/api/v1/jobs", &[json], &body).await;
        assert_eq!(answer.status, status, "{}: {answer:?}", String::from_utf8_lossy(&body));
    }
    let long = format!("/api/v1/jobs?queue={}", "x".repeat(20_000));
    assert_eq!(env.get(&long).await.status, 400);
    let huge = request("GET", "/api/v1/jobs", &[("x", &"a".repeat(100_000))], b"");
    let answer = env.raw(&huge).await;
    assert!(answer.status == 431 || answer.head.is_empty(), "{answer:?}");
    let smuggled =
        b"POST /api/v1/jobs HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nconnection: close\r\n\
        content-length: 5\r\ncontent-length: 6\r\n\r\n{}   GET /api/v1/jobs HTTP/1.1\r\n\r\n";
    assert!([0, 400].contains(&env.raw(smuggled).await.status));
    assert_eq!(env.get("/api/v1/version").await.status, 200, "it serves on");
}

#[tokio::test]
async fn a_body_that_is_too_long_or_too_slow_is_not_waited_for() {
    let env = env(ServeSettings { body_bytes_max: 2_000, ..ServeSettings::default() }).await;
    let json = [("content-type", "application/json")];
    let long = json!({ "kind": "note", "payload": "x".repeat(3_000) }).to_string();
    let answer = env.send("POST", "/api/v1/jobs", &json, long.as_bytes()).await;
    assert_eq!((answer.status, answer.code()), (413, "too_large"));
    let head =
        "POST /api/v1/jobs HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n";
    let chunked = format!("{head}transfer-encoding: chunked\r\n\r\nbb8\r\n{}\r\n0\r\n\r\n", "x".repeat(3_000));
    assert_eq!(env.raw(chunked.as_bytes()).await.status, 413, "its length was not said");
    let mut stream = TcpStream::connect(env.addr).await.expect("somebody listens");
    stream.write_all(format!("{head}content-length: 100\r\n\r\n{{").as_bytes()).await.expect("written");
    let since = std::time::Instant::now();
    assert_eq!(heard(stream).await.status, 408);
    assert!(since.elapsed() < env::STALL * 6, "{:?}", since.elapsed());
}

#[tokio::test]
async fn a_read_that_has_not_changed_is_not_sent_again() {
    let env = env::open().await;
    let id = env.enqueue(&json!({ "kind": "note" })).await;
    let path = format!("/api/v1/jobs/{id}");
    let first = env.get(&path).await;
    let tag = first.header("etag").expect("a tag").to_owned();
    let again = env.send("GET", &path, &[("if-none-match", &tag)], b"").await;
    assert_eq!((again.status, again.text.as_str(), again.header("etag")), (304, "", Some(tag.as_str())));
    let other = env.send("GET", &path, &[("if-none-match", "W/\"other\"")], b"").await;
    assert_eq!(other.status, 200);
}

#[tokio::test]
async fn only_the_fields_that_are_wanted_are_sent() {
    let env = env::open().await;
    env.enqueue(&json!({ "kind": "note" })).await;
    let answer = env.get("/api/v1/jobs?fields=kind,state").await;
    assert_eq!(answer.data(), &json!([{ "kind": "note", "state": "queued" }]));
    assert_eq!(env.get("/api/v1/jobs?fields=knid").await.faults(), ["?fields"]);
}

#[tokio::test]
async fn health_is_there_for_everybody() {
    let env = env::with_users().await;
    assert_eq!((env.get("/healthz").await.status, env.get("/readyz").await.status), (200, 200));
    assert_eq!(env.get("/metrics").await.status, 404, "unless it is wanted");
    assert_eq!(env.send("POST", "/hooks/none", &[], b"{}").await.status, 404);
}
