//! Deliveries as their senders see them, over real connections.

use std::net::SocketAddr;
use std::sync::Arc;

use gristmill_broker::Broker;
use gristmill_core::duration::Span;
use gristmill_core::id::{DEFAULT_TENANT, JobId};
use gristmill_core::schedule::JobSpec;
use gristmill_dashboard::hooks::settings::{HookSettings, Scheme};
use gristmill_dashboard::hooks::{Hook, Hooks, Receiver};
use gristmill_jobs::RegistryOptions;
use gristmill_jobs::pool::ItemPool;
use gristmill_jobs::process::Processors;
use gristmill_jobs::signature::{key, signatures};
use gristmill_jobs::stage::validate::Validate;
use gristmill_service::Service;
use gristmill_service::dispatcher::Dispatcher;
use gristmill_service::start::{ConfigSnapshot, RunContext};
use gristmill_store::sqlite::SqliteStore;
use gristmill_store::{JobFilter, Page, StoreHandle, TickFilter, TickView};
use gristmill_telemetry::{ListenerSettings, bind};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;

const SECRETS: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw whsec_bmV3IHNlY3JldCB3aXRoIDI0IGJ5dGVzIQ==";

const BODY_TIMEOUT: std::time::Duration = std::time::Duration::from_millis(800);

struct TestEnv {
    store: StoreHandle,
    addr: SocketAddr,
    hooks: watch::Sender<Arc<Hooks>>,
    dir: tempfile::TempDir,
}

async fn env(migrated: bool) -> TestEnv {
    let dir = tempfile::TempDir::new().expect("a temporary folder");
    let settings = gristmill_store::Settings::default();
    let store = SqliteStore::connect(&dir.path().join("store.db"), &settings, false).await.expect("a store");
    let store: StoreHandle = Arc::new(store);
    if migrated {
        store.migrate().await.expect("migrations");
    }
    let broker = Broker::connect(&gristmill_broker::Settings::default()).await.expect("in-process");
    let dispatcher = Dispatcher::new(Arc::clone(&store), broker, 20_000);
    std::fs::write(dir.path().join("secrets"), SECRETS).expect("written");
    std::fs::write(dir.path().join("plain"), "old-secret new-secret\n").expect("written");
    let file = |name: &str| Some(dir.path().join(name).display().to_string());
    let job = || Some(JobSpec { kind: "told".to_owned(), ..JobSpec::default() });
    let standard =
        HookSettings { secret_file: file("secrets"), bytes_max: 1_000, job: job(), ..HookSettings::default() };
    let timestamped = HookSettings {
        scheme: Scheme::Timestamped,
        secret_file: file("plain"),
        event: Some("/event/id".to_owned()),
        tolerance: Span(std::time::Duration::from_secs(60)),
        ..standard.clone()
    };
    let batch = HookSettings { job: None, batch: Some("retail".to_owned()), ..standard.clone() };
    let command = json!({ "command": ["echo", "{{ event.body.order }}"], "input": { "x": "{{ event.body.x }}" } });
    let exec = |payload| Some(JobSpec { kind: "exec".to_owned(), payload, ..JobSpec::default() });
    let program = HookSettings { job: exec(command), ..standard.clone() };
    let raw = HookSettings { job: exec(Value::Null), ..standard.clone() };
    let hooks =
        [("orders", standard), ("payments", timestamped), ("batches", batch), ("program", program), ("raw", raw)];
    let hooks = hooks.map(|(name, settings)| (name.to_owned(), hook(settings, None)));
    let (hooks, receiver) = watch::channel(Arc::new(Hooks::from(hooks)));
    let bound = bind("127.0.0.1:0").await.expect("a free port");
    let addr = bound.addr().expect("an address");
    let service = Service::new(Arc::clone(&store), dispatcher);
    let receiver = Receiver { service, run_context: run_context(&dir), hooks: receiver, listener: listener() };
    tokio::spawn(receiver.serve(bound, std::time::Duration::ZERO, std::future::pending()));
    TestEnv { store, addr, hooks, dir }
}

fn listener() -> ListenerSettings {
    let connections_per_peer = std::num::NonZeroUsize::new(400).expect("some");
    ListenerSettings { connections_per_peer, body_timeout: Span(BODY_TIMEOUT), ..ListenerSettings::default() }
}

fn run_context(dir: &tempfile::TempDir) -> RunContext {
    let (_, snapshot) = watch::channel(Arc::new(ConfigSnapshot::default()));
    RunContext {
        tenant: DEFAULT_TENANT.to_owned(),
        snapshot,
        base_dir: dir.path().to_owned(),
        spool_dir: dir.path().join("spool"),
        spool_bytes_max: 1_000_000,
        kinds: RegistryOptions { pool: ItemPool::new(1).expect("threads"), processors: Processors::default() },
        job_defaults: Arc::new(|_| {}),
    }
}

fn hook(settings: HookSettings, schema: Option<Value>) -> Hook {
    let schema = schema.map(|schema| Arc::new(Validate::compile(&schema).expect("a schema")));
    Hook { settings, schema }
}

struct Heard {
    status: u16,
    head: String,
    body: Value,
}

impl TestEnv {
    async fn send(&self, request: Vec<u8>) -> Heard {
        let mut stream = TcpStream::connect(self.addr).await.expect("somebody listens");
        stream.write_all(&request).await.expect("written");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        Heard { status, head: head.to_lowercase(), body: serde_json::from_str(body).unwrap_or_default() }
    }

    async fn post(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Heard {
        let mut request =
            format!("POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str("\r\n");
        self.send([request.as_bytes(), body].concat()).await
    }

    /// A delivery to a hook of Standard Webhooks, signed now.
    async fn deliver(&self, hook: &str, id: &str, body: &[u8]) -> Heard {
        let now = chrono::Utc::now().timestamp();
        self.post(&format!("/hooks/{hook}"), &headers(id, now, &signed(id, now, body)), body).await
    }

    async fn jobs(&self) -> usize {
        let filter = JobFilter { tenant: DEFAULT_TENANT.to_owned(), ..JobFilter::default() };
        self.store.jobs(&filter, &Page { after: None, limit: 1_000 }).await.expect("listed").len()
    }

    async fn ledger(&self, hook: &str) -> Vec<TickView> {
        let (tenant, schedule) = (DEFAULT_TENANT.to_owned(), format!("hook/{hook}"));
        let filter = TickFilter { tenant, schedule, from: None, until: None, limit: 1_000 };
        self.store.ticks(&filter).await.expect("listed")
    }
}

fn signed(id: &str, timestamp: i64, body: &[u8]) -> String {
    let secret = SECRETS.split(' ').next_back().expect("the new secret");
    signatures(&[key(secret).expect("a secret")], id, timestamp, body)
}

fn headers<'a>(id: &'a str, timestamp: i64, signature: &'a str) -> [(&'static str, &'a str); 3] {
    // Leaked: a test's few bytes.
    let timestamp: &'static str = timestamp.to_string().leak();
    [("webhook-id", id), ("webhook-timestamp", timestamp), ("webhook-signature", signature)]
}

#[tokio::test]
async fn a_delivery_that_can_never_fit_is_422_with_what_it_lacks_and_leaves_nothing() {
    let env = env(true).await;
    for (hook, body, said) in [
        ("program", &br#"{"x": 1}"#[..], "`event.body.order` is missing"),
        ("program", br#"{"order": 1, "y": 1}"#, "`event.body.x` is missing"),
        ("program", b"5", "`event.body.order` is missing"),
        ("program", br#"{"order": "-rf", "x": 1}"#, "begins with `-`"),
        ("program", br#"{"order": "a\u0000b", "x": 1}"#, "NUL"),
        ("raw", br#"{"command": ["true"]}"#, "needs a `payload`"),
    ] {
        let heard = env.deliver(hook, "msg_1", body).await;
        assert_eq!(heard.status, 422, "{hook} {said}: {}", heard.head);
        assert!(!heard.head.contains("retry-after"), "{}", heard.head);
        assert!(heard.body["detail"].as_str().is_some_and(|detail| detail.contains(said)), "{said}: {}", heard.body);
    }
    assert_eq!((env.jobs().await, env.ledger("program").await.len(), env.ledger("raw").await.len()), (0, 0, 0));
}

#[tokio::test]
async fn values_of_a_delivery_are_json_in_its_job() {
    let env = env(true).await;
    for (id, x) in
        [("a", json!(null)), ("b", json!(true)), ("c", json!(["a"])), ("d", json!(9_007_199_254_740_993_u64))]
    {
        let body = json!({ "order": x, "x": x }).to_string();
        let heard = env.deliver("program", id, body.as_bytes()).await;
        assert_eq!(heard.status, 202, "{}", heard.body);
        let job: JobId = serde_json::from_value(heard.body["job"].clone()).expect("an id");
        let payload = env.store.job(DEFAULT_TENANT, job).await.expect("asked").expect("there").payload;
        assert_eq!((&payload["input"]["x"], &payload["command"][1]), (&x, &json!(x.to_string())), "{id}");
    }
}

#[tokio::test]
async fn a_delivery_enqueues_its_job_once_and_is_told_the_same_job_again() {
    let env = env(true).await;
    let first = env.deliver("orders", "msg_1", br#"{"order": 17}"#).await;
    assert_eq!((first.status, &first.body["known"], &first.body["event"]), (202, &json!(false), &json!("msg_1")));
    let again = env.deliver("orders", "msg_1", br#"{"order": 17}"#).await;
    assert_eq!((again.status, &again.body["known"]), (200, &json!(true)));
    assert_eq!(again.body["job"], first.body["job"]);
    assert_eq!(env.jobs().await, 1);
    let id: JobId = serde_json::from_value(first.body["job"].clone()).expect("an id");
    let job = env.store.job(DEFAULT_TENANT, id).await.expect("asked").expect("there");
    assert_eq!(job.payload, json!({ "order": 17 }), "its payload is the body");
    let other = env.deliver("orders", "msg_2", b"{}").await;
    assert_ne!(other.body["job"], first.body["job"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_deliveries_of_one_event_at_once_enqueue_one_job() {
    let env = Arc::new(env(true).await);
    let send = |_| {
        let env = Arc::clone(&env);
        tokio::spawn(async move { env.deliver("orders", "msg_1", b"{}").await })
    };
    let (mut accepted, mut jobs) = (0, Vec::new());
    for heard in (0..20).map(send).collect::<Vec<_>>() {
        let heard = heard.await.expect("no panic");
        assert!([200, 202].contains(&heard.status), "{}", heard.head);
        accepted += u32::from(heard.status == 202);
        jobs.push(heard.body["job"].to_string());
    }
    jobs.dedup();
    assert_eq!((accepted, jobs.len(), env.jobs().await), (1, 1, 1));
}

#[tokio::test]
async fn whoever_has_not_signed_learns_nothing_and_changes_nothing() {
    let env = env(true).await;
    let now = chrono::Utc::now().timestamp();
    let body = br#"{"order": 17}"#;
    let right = signed("msg_1", now, body);
    let old = signed("msg_1", now - 400, body);
    let ahead = signed("msg_1", now + 400, body);
    let mut told = Vec::new();
    for (headers, sent) in [
        (headers("msg_1", now, &right).to_vec(), &b"{\"order\": 18}"[..]),
        (headers("msg_2", now, &right).to_vec(), body),
        (headers("msg_1", now + 1, &right).to_vec(), body),
        (headers("msg_1", now, "v1,AAAA").to_vec(), body),
        (headers("msg_1", now - 400, &old).to_vec(), body),
        (headers("msg_1", now + 400, &ahead).to_vec(), body),
        (headers("msg_1", now, &right)[..2].to_vec(), body),
        (Vec::new(), b"not even JSON"),
    ] {
        let heard = env.post("/hooks/orders", &headers, sent).await;
        assert_eq!(heard.status, 401, "{headers:?}");
        told.push(heard.body.to_string());
    }
    told.dedup();
    assert_eq!(told.len(), 1, "whatever is wrong, the answer is the same: {told:?}");
    let unknown = env.deliver("nobody", "msg_1", body).await;
    assert_eq!(unknown.status, 404);
    let get = env.send(b"GET /hooks/orders HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".to_vec()).await;
    assert_eq!(get.status, 405);
    assert_eq!((env.jobs().await, env.ledger("orders").await.len()), (0, 0));
}

#[tokio::test]
async fn a_sender_of_half_a_body_is_dropped_and_keeps_no_other_waiting() {
    let env = env(true).await;
    // More than are handled at once: they hold connections, and no turns.
    let half = b"POST /hooks/orders HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{\"order\":";
    let mut slow = Vec::new();
    for _ in 0..200 {
        let mut stream = TcpStream::connect(env.addr).await.expect("somebody listens");
        stream.write_all(half).await.expect("written");
        slow.push(stream);
    }
    assert_eq!(env.deliver("orders", "msg_1", b"{}").await.status, 202);
    for mut stream in slow {
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.expect("an answer");
        assert_eq!(&answer, b"HTTP/1.1 408");
    }
}

#[tokio::test]
async fn a_body_that_is_too_long_is_refused_before_it_is_read() {
    let env = env(true).await;
    let long = vec![b' '; 1_001];
    assert_eq!(env.deliver("orders", "msg_1", &long).await.status, 413);
    let said =
        b"POST /hooks/orders HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 99999999\r\n\r\n".to_vec();
    assert_eq!(env.send(said).await.status, 413, "by what it says of itself");
    let mut parts =
        b"POST /hooks/orders HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n3e9\r\n"
            .to_vec();
    parts.extend(&long);
    parts.extend(b"\r\n0\r\n\r\n");
    assert_eq!(env.send(parts).await.status, 413, "and by what comes");
    let most = format!("{:width$}", 1, width = 1_000);
    assert_eq!(env.deliver("orders", "msg_1", most.as_bytes()).await.status, 202);
}

#[tokio::test]
async fn what_is_signed_and_does_not_fit_is_told_where_and_what() {
    let env = env(true).await;
    let heard = env.deliver("orders", "msg_1", b"{\"order\": }").await;
    assert_eq!(heard.status, 422);
    assert!(heard.head.contains("application/problem+json"), "{}", heard.head);
    assert!(heard.body["detail"].as_str().is_some_and(|detail| detail.contains("at column 11")), "{}", heard.body);
    let settings = env.hooks.borrow()["orders"].settings.clone();
    let schema = json!({ "required": ["order"], "properties": { "order": { "type": "integer" } } });
    let strict = Hooks::from([("orders".to_owned(), hook(settings, Some(schema)))]);
    env.hooks.send_replace(Arc::new(strict));
    for (body, said) in [(&b"{}"[..], "\"order\" is a required property"), (b"{\"order\":\"x\"}", "`order`: ")] {
        let heard = env.deliver("orders", "msg_1", body).await;
        assert_eq!(heard.status, 422);
        assert!(heard.body["detail"].as_str().is_some_and(|detail| detail.contains(said)), "{}", heard.body);
    }
    assert_eq!(env.deliver("orders", "msg_1", b"{\"order\":1}").await.status, 202, "a refusal uses no id up");
    assert_eq!(env.deliver("payments", "msg_1", b"{}").await.status, 404, "hooks change while it serves");
}

#[tokio::test]
async fn the_scheme_of_payment_providers_takes_the_events_id_from_the_body() {
    let env = env(true).await;
    let body = br#"{"event": {"id": "evt_1"}, "amount": 5}"#;
    let send = async |secret: &str, at: i64, body: &[u8]| {
        let signature = timestamped(secret, at, body);
        env.post("/hooks/payments", &[("stripe-signature", &signature)], body).await
    };
    let now = chrono::Utc::now().timestamp();
    let first = send("old-secret", now, body).await;
    assert_eq!((first.status, &first.body["event"]), (202, &json!("evt_1")));
    let again = send("new-secret", now - 30, body).await;
    assert_eq!((again.status, &again.body["job"]), (200, &first.body["job"]), "both secrets hold during a rotation");
    assert_eq!(send("a-secret", now, body).await.status, 401);
    assert_eq!(send("old-secret", now - 90, body).await.status, 401, "its own tolerance");
    let nameless = send("old-secret", now, b"{}").await;
    assert_eq!(nameless.status, 422);
    assert!(nameless.body["detail"].as_str().is_some_and(|detail| detail.contains("/event/id")));
    assert_eq!(env.jobs().await, 1);
    std::fs::write(env.dir.path().join("plain"), "third-secret").expect("rotated");
    assert_eq!(send("old-secret", now, body).await.status, 401, "a secret is rotated without a restart");
    assert_eq!(send("third-secret", now, body).await.status, 200);
}

fn timestamped(secret: &str, at: i64, body: &[u8]) -> String {
    // Signed by a program other than the one that verifies.
    let text = std::str::from_utf8(body).expect("text");
    let sign = std::process::Command::new("openssl")
        .args(["dgst", "-sha256", "-hmac", secret])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn();
    let mut sign = sign.expect("openssl is there");
    let mut input = sign.stdin.take().expect("piped");
    std::io::Write::write_all(&mut input, format!("{at}.{text}").as_bytes()).expect("written");
    drop(input);
    let output = sign.wait_with_output().expect("signed");
    let output = String::from_utf8(output.stdout).expect("text");
    format!("t={at},v1={}", output.split_whitespace().next_back().expect("a signature"))
}

#[tokio::test]
async fn an_event_that_starts_a_batch_waits_for_a_scheduler() {
    let env = env(true).await;
    let heard = env.deliver("batches", "msg_1", br#"{"region": "north"}"#).await;
    assert_eq!((heard.status, &heard.body["outcome"], &heard.body["job"]), (202, &json!("waiting"), &Value::Null));
    let rows = env.ledger("batches").await;
    assert_eq!(rows[0].about, Some(json!({ "id": "msg_1", "body": { "region": "north" } })));
    assert_eq!(env.store.startable_ticks(10).await.expect("asked"), rows);
}

#[tokio::test]
async fn a_store_that_cannot_keep_it_or_a_secret_that_is_missing_asks_to_come_again() {
    let env = env(false).await;
    let heard = env.deliver("orders", "msg_1", b"{}").await;
    assert_eq!(heard.status, 503);
    assert!(heard.head.contains("retry-after: "), "{}", heard.head);
    assert!(!heard.body.to_string().contains("table"), "what is wrong inside is not told: {}", heard.body);
    std::fs::remove_file(env.dir.path().join("secrets")).expect("removed");
    let heard = env.deliver("orders", "msg_1", b"{}").await;
    assert!(heard.status == 503 && !heard.body.to_string().contains("secret"), "{}", heard.body);
}
