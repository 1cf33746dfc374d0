//! Webhooks against receivers on loopback that answer as their test dictates.

mod fixtures;

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fixtures::TestEnv;
use gristmill_core::duration::Span;
use gristmill_core::settle::Ending;
use gristmill_jobs::kind::webhook::WebhookHandler;
use gristmill_jobs::settings::WebhookSettings;
use gristmill_jobs::{Finish, Handler};
use gristmill_testkit::http::{FakeHttp, Seen, closed_port, endless, reply};
use gristmill_testkit::tls::Authority;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const AGAIN: Ending = Ending::Failed { retry_after: None };

fn open() -> WebhookSettings {
    WebhookSettings { allow_private: true, ..WebhookSettings::default() }
}

fn payload(url: &str) -> Value {
    json!({"url": url, "type": "batch.complete", "data": {"items": 3}})
}

async fn send(settings: &WebhookSettings, url: &str) -> Finish {
    let env = TestEnv::new().await;
    let context = env.claim("webhook", payload(url)).await;
    WebhookHandler::new(settings).run(context).await
}

fn error(finish: &Finish) -> &str {
    finish.error.as_deref().unwrap_or_default()
}

/// HMAC-SHA256 as written in RFC 2104, from the hash alone, so that a fault in our signing cannot hide behind the same
/// fault here.
fn hmac_sha256(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut block = [0_u8; 64];
    block[..key.len()].copy_from_slice(key);
    let padded = |with: u8| block.map(|byte| byte ^ with);
    let inner = Sha256::new().chain_update(padded(0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(padded(0x5c)).chain_update(inner).finalize().to_vec()
}

fn signature(key: &[u8], seen: &Seen) -> String {
    let mut signed = format!("{}.{}.", seen.header("webhook-id"), seen.header("webhook-timestamp")).into_bytes();
    signed.extend_from_slice(&seen.body);
    format!("v1,{}", STANDARD.encode(hmac_sha256(key, &signed)))
}

#[tokio::test]
async fn a_receiver_can_verify_the_signature_of_each_secret() {
    let (env, service) = (TestEnv::new().await, FakeHttp::always(204).await);
    let keys = [vec![7_u8; 32], (0..24).collect::<Vec<u8>>()];
    let file = env.folder.path().join("secrets");
    let text = keys.iter().map(|key| format!("whsec_{}", STANDARD.encode(key))).collect::<Vec<_>>().join("\n");
    std::fs::write(&file, text).expect("written");
    let settings = WebhookSettings { secret_file: Some(file.display().to_string()), ..open() };
    let context = env.claim("webhook", payload(&service.url("/hook?a=b"))).await;
    let job = context.job.clone();
    let finish = WebhookHandler::new(&settings).run(context).await;
    assert_eq!((&finish.ending, &finish.output), (&Ending::Done, &Some(json!({"status": 204}))), "{finish:?}");
    let seen = service.seen().pop().expect("a request");
    assert_eq!((seen.method.as_str(), seen.path.as_str()), ("POST", "/hook?a=b"));
    assert_eq!(seen.header("webhook-signature"), keys.map(|key| signature(&key, &seen)).join(" "));
    assert_eq!(seen.header("webhook-id"), job.fence.job.to_string());
    assert_eq!(seen.header("webhook-timestamp"), job.started_at.timestamp().to_string());
    assert_eq!(seen.header("content-type"), "application/json");
    assert_eq!(seen.header("traceparent"), job.trace.expect("a trace"));
    let body: Value = serde_json::from_slice(&seen.body).expect("JSON");
    let expected = json!({"type": "batch.complete", "timestamp": job.created_at.to_rfc3339(), "data": {"items": 3}});
    assert_eq!(body, expected);
}

#[tokio::test]
async fn without_a_secret_nothing_is_signed() {
    let service = FakeHttp::always(200).await;
    assert_eq!(send(&open(), &service.url("/")).await.ending, Ending::Done);
    assert!(!service.seen()[0].headers.contains_key("webhook-signature"));
}

#[tokio::test]
async fn a_secret_that_is_not_there_stops_the_webhook() {
    let service = FakeHttp::always(200).await;
    let settings = WebhookSettings { secret_env: Some("GRISTMILL_TEST_ABSENT".to_owned()), ..open() };
    let finish = send(&settings, &service.url("/")).await;
    assert_eq!(finish.ending, Ending::Permanent);
    assert!(error(&finish).contains("GRISTMILL_TEST_ABSENT"), "{}", error(&finish));
    assert!(service.seen().is_empty());
}

#[tokio::test]
async fn a_payload_names_no_secret_that_the_configuration_does_not() {
    let (env, service) = (TestEnv::new().await, FakeHttp::always(200).await);
    let mut named = payload(&service.url("/"));
    named["secret_env"] = json!("PATH");
    let finish = WebhookHandler::new(&open()).run(env.claim("webhook", named.clone()).await).await;
    assert_eq!(finish.ending, Ending::Permanent);
    assert!(error(&finish).contains("PATH, which is not in `webhook.env`"), "{}", error(&finish));
    assert!(service.seen().is_empty());
    // Allowed, it is read, and refused for what it is: no secret of this scheme.
    let settings = WebhookSettings { env: vec!["PATH".to_owned()], ..open() };
    let finish = WebhookHandler::new(&settings).run(env.claim("webhook", named).await).await;
    assert!(!error(&finish).contains("not in `webhook.env`"), "{}", error(&finish));
}

#[tokio::test]
async fn a_repetition_carries_the_same_id_and_body() {
    let (env, service) = (TestEnv::new().await, FakeHttp::in_turn(&[503, 200]).await);
    let handler = WebhookHandler::new(&open());
    let first = env.claim("webhook", payload(&service.url("/"))).await;
    assert_eq!(handler.run(first.clone()).await.ending, AGAIN);
    let second = env.again(&first).await;
    assert_ne!(second.job.fence, first.job.fence);
    assert_eq!(handler.run(second).await.ending, Ending::Done);
    let seen = service.seen();
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[0].header("webhook-id"), seen[1].header("webhook-id"));
    assert_eq!(seen[0].body, seen[1].body);
}

#[tokio::test]
async fn a_status_says_whether_another_try_may_help() {
    for (statuses, ending) in [
        (&[200, 201, 202, 204, 299][..], Ending::Done),
        (&[408, 425, 429, 500, 502, 503, 504, 599], AGAIN),
        (&[400, 401, 403, 404, 409, 410, 422, 451], Ending::Permanent),
    ] {
        for &status in statuses {
            let service = FakeHttp::always(status).await;
            let finish = send(&open(), &service.url("/")).await;
            assert_eq!(finish.ending, ending, "{status}");
            let named = status < 300 || error(&finish).contains(&status.to_string());
            assert!(named, "{status}: {}", error(&finish));
        }
    }
}

#[tokio::test]
async fn a_receiver_that_is_gone_is_to_be_taken_out() {
    let service = FakeHttp::always(410).await;
    let finish = send(&open(), &service.url("/")).await;
    assert!(error(&finish).contains("it wants no more"), "{}", error(&finish));
}

#[tokio::test]
async fn a_wait_that_the_receiver_asks_for_is_kept() {
    for (status, asked, wait) in [(429, "7", 7), (503, "120", 120), (503, "99999999", 86_400)] {
        let service =
            FakeHttp::start(move |_| async move { reply(status, &[("retry-after", asked)], "slow down") }).await;
        let finish = send(&open(), &service.url("/")).await;
        assert_eq!(finish.ending, Ending::Failed { retry_after: Some(Duration::from_secs(wait)) }, "{asked}");
        assert!(error(&finish).contains("slow down"), "{}", error(&finish));
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    for status in [301, 302, 303, 307, 308] {
        let target = FakeHttp::always(200).await;
        let location = target.url("/elsewhere");
        let service = FakeHttp::start(move |_| {
            let location = location.clone();
            async move { reply(status, &[("location", &location)], "") }
        })
        .await;
        let finish = send(&open(), &service.url("/")).await;
        assert_eq!(finish.ending, Ending::Permanent, "{status}");
        assert!(error(&finish).contains("redirects are not followed"), "{}", error(&finish));
        assert_eq!((service.seen().len(), target.seen().len()), (1, 0), "{status}");
    }
}

#[tokio::test]
async fn a_receiver_that_does_not_answer_in_time_is_tried_again() {
    let hurried = WebhookSettings { timeout: Span(Duration::from_millis(200)), ..open() };
    let silent = FakeHttp::start(|_| std::future::pending()).await;
    let halfway = FakeHttp::start(|_| async {
        let never = futures::stream::pending::<Result<Vec<u8>, std::io::Error>>();
        reply(200, &[], axum::body::Body::from_stream(never))
    })
    .await;
    for service in [silent, halfway] {
        let finish = send(&hurried, &service.url("/secret-path?token=hunter2")).await;
        assert_eq!(finish.ending, AGAIN);
        let text = error(&finish);
        assert!(text.contains("127.0.0.1 has not answered within 200ms") && !text.contains("hunter2"), "{text}");
    }
}

#[tokio::test]
async fn of_an_endless_answer_only_the_beginning_is_read() {
    for (status, ending) in [(200, Ending::Done), (500, AGAIN), (400, Ending::Permanent)] {
        let service = FakeHttp::start(move |_| async move { reply(status, &[], endless()) }).await;
        let finish = tokio::time::timeout(Duration::from_secs(15), send(&open(), &service.url("/"))).await;
        let finish = finish.expect("within the timeout of the request");
        assert_eq!(finish.ending, ending, "{status}: {}", error(&finish));
        assert!(error(&finish).len() < 400, "{}", error(&finish));
    }
}

#[tokio::test]
async fn a_receiver_that_is_not_there_is_tried_again() {
    let finish = send(&open(), &format!("http://127.0.0.1:{}/", closed_port().await)).await;
    assert_eq!(finish.ending, AGAIN);
    assert!(error(&finish).contains("127.0.0.1 cannot be reached"), "{}", error(&finish));
}

#[tokio::test]
async fn private_addresses_are_not_even_connected_to_unless_allowed() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    for url in [
        format!("http://127.0.0.1:{port}/"),
        format!("https://127.0.0.1:{port}/"),
        format!("https://localhost:{port}/"),
        format!("https://LocalHost:{port}/"),
        format!("https://[::ffff:127.0.0.1]:{port}/"),
        "https://169.254.169.254/latest/meta-data/".to_owned(),
    ] {
        let finish = send(&WebhookSettings::default(), &url).await;
        assert_eq!(finish.ending, Ending::Permanent, "{url}: {}", error(&finish));
        assert!(error(&finish).contains("`webhook.allow_private = true`"), "{url}: {}", error(&finish));
    }
    let knocked = tokio::time::timeout(Duration::ZERO, listener.accept()).await;
    assert!(knocked.is_err(), "somebody has connected");
}

/// Reads the system's certificates from where `SSL_CERT_FILE` points: a variable of the whole process, hence a process
/// of its own, which is this same program again.
#[tokio::test]
async fn over_https_only_a_trusted_certificate_is_spoken_to() {
    const PORT: &str = "GRISTMILL_TEST_HTTPS_PORT";
    const EXPECT: &str = "GRISTMILL_TEST_HTTPS_EXPECT";
    if let (Ok(port), Ok(expect)) = (std::env::var(PORT), std::env::var(EXPECT)) {
        let finish = send(&open(), &format!("https://127.0.0.1:{port}/")).await;
        match expect.as_str() {
            "trust" => assert_eq!(finish.ending, Ending::Done, "{}", error(&finish)),
            _ => {
                assert_eq!(finish.ending, AGAIN);
                assert!(error(&finish).contains("certificate"), "{}", error(&finish));
            }
        }
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    for (authority, names, expect) in
        [(&ours, "127.0.0.1", "trust"), (&theirs, "127.0.0.1", "distrust"), (&ours, "example.com", "distrust")]
    {
        let service = FakeHttp::start_tls(authority.server(&[names]), |_| async { reply(200, &[], "") }).await;
        let child = tokio::process::Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "over_https_only_a_trusted_certificate_is_spoken_to"])
            .env("SSL_CERT_FILE", ours.write(folder.path(), "ours.pem"))
            .envs([(PORT, service.port.to_string()), (EXPECT, expect.to_owned())])
            .output()
            .await
            .expect("it runs");
        let said = String::from_utf8_lossy(&child.stdout);
        assert!(child.status.success() && said.contains("1 passed"), "{names}, {expect}: {said}");
        assert_eq!(service.seen().len(), usize::from(expect == "trust"), "{names}, {expect}");
    }
}
