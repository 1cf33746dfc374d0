//! A server over a store of the test's own, and a client that writes what it is told to.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use gristmill_broker::Broker;
use gristmill_core::access::{Permission, Principal, Role, Subject};
use gristmill_core::duration::Span;
use gristmill_core::id::{DEFAULT_TENANT, TokenId};
use gristmill_core::schedule::ScheduleSpec;
use gristmill_dashboard::Server;
use gristmill_dashboard::auth::{Credential, KnownCaller, Recognize, Unrecognized};
use gristmill_dashboard::gate::settings::Auth;
use gristmill_dashboard::gate::{Api, ApiParts, Program, ServeSettings};
use gristmill_dashboard::hooks::{Hooks, Receiver};
use gristmill_dashboard::live::Hub;
use gristmill_jobs::RegistryOptions;
use gristmill_jobs::pool::{ItemPool, StuckThreads};
use gristmill_jobs::process::Processors;
use gristmill_mail::signed::Signed;
use gristmill_service::Service;
use gristmill_service::accounts::{AccountSettings, Accounts, Passwords, Providers, Registering};
use gristmill_service::audit::AuditSettings;
use gristmill_service::dispatcher::Dispatcher;
use gristmill_service::documents::SettingDocument;
use gristmill_service::retention::{PrunerOptions, RetentionSettings};
use gristmill_service::shared::Shared;
use gristmill_service::start::{ConfigSnapshot, RunContext};
use gristmill_store::StoreHandle;
use gristmill_store::testing::{TestStore, definition};
use gristmill_telemetry::{BoundListener, ListenerSettings, ServerState, bind};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use uuid::Uuid;

/// How long nothing of a body may come.
pub(crate) const STALL: Duration = Duration::from_millis(500);

/// How many connections a peer may have, unless a test is about that.
const SEATS: usize = 400;

/// How often those who watch are told that the server is there.
pub(crate) const BEAT: Duration = Duration::from_millis(200);

/// A server, and what it is made of.
pub(crate) struct TestEnv {
    pub(crate) addr: SocketAddr,
    pub(crate) store: StoreHandle,
    pub(crate) accounts: Accounts,
    pub(crate) service: Service,
    pub(crate) hub: Hub,
    parts: Parts,
    serving: JoinHandle<()>,
    revoked: Revoked,
    pub(crate) dir: TempDir,
    pub(crate) home: TestStore,
}

/// What a server is made of, so that another one can take its place.
#[derive(Debug, Clone)]
struct Parts {
    api: Api,
    hooks: Receiver,
    watched: ServerState,
    listener: ListenerSettings,
}

impl Parts {
    /// Serves, until the task is aborted: no request that has begun ends then, and no connection is closed in order.
    fn serve(self, bound: BoundListener) -> JoinHandle<()> {
        let Self { api, hooks, watched, listener } = self;
        let server = Server { api, hooks, watched, listener, tls: None };
        tokio::spawn(server.serve(bound, Duration::ZERO, std::future::pending()))
    }
}

/// An answer as it came.
#[derive(Debug)]
pub(crate) struct Heard {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) text: String,
    pub(crate) body: Value,
}

impl Heard {
    /// The document in the envelope.
    pub(crate) fn data(&self) -> &Value {
        assert_eq!(self.body["success"], true, "{self:?}");
        &self.body["data"]
    }

    /// The class of the error.
    pub(crate) fn code(&self) -> &str {
        self.body["error"]["code"].as_str().unwrap_or_default()
    }

    /// The places of everything that is wrong.
    pub(crate) fn faults(&self) -> Vec<&str> {
        let faults = self.body["error"]["details"]["faults"].as_array().map(Vec::as_slice).unwrap_or_default();
        faults.iter().filter_map(|fault| fault["path"].as_str()).collect()
    }

    /// All of a header that may be there several times.
    #[allow(dead_code, reason = "for the tests of cookies")]
    pub(crate) fn headers(&self, name: &str) -> Vec<String> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned()).collect()
    }

    /// A header of the answer.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
    }
}

/// A server where no caller has to say who they are.
pub(crate) async fn open() -> TestEnv {
    env(ServeSettings::default()).await
}

/// A server where the token says the role: `Bearer viewer`, `Bearer viewer+contents:read`, `Bearer owner@other`.
pub(crate) async fn with_users() -> TestEnv {
    env(ServeSettings { auth: Auth::Users, ..ServeSettings::default() }).await
}

/// A server with accounts: people log in, programs have tokens.
pub(crate) async fn with_accounts() -> TestEnv {
    with_account_settings(AccountSettings::default()).await
}

/// A server with accounts where addresses of `example.com` register.
pub(crate) async fn with_registration() -> TestEnv {
    let registration_tenant = DEFAULT_TENANT.to_owned();
    let (registration, registration_domains) = (Registering::Open, vec!["example.com".to_owned()]);
    let settings =
        AccountSettings { registration, registration_domains, registration_tenant, ..AccountSettings::default() };
    with_account_settings(settings).await
}

async fn with_account_settings(accounts: AccountSettings) -> TestEnv {
    with_home(TestStore::sqlite(false).await, accounts).await
}

/// A server with accounts on PostgreSQL, which keeps tenants apart by itself.
pub(crate) async fn confined() -> TestEnv {
    with_home(TestStore::postgres_confined(false).await, AccountSettings::default()).await
}

async fn with_home(home: TestStore, accounts: AccountSettings) -> TestEnv {
    let settings = ServeSettings { auth: Auth::Users, ..ServeSettings::default() };
    let recognize = |accounts: &Accounts| -> Arc<dyn Recognize> { Arc::new(accounts.recognizer().clone()) };
    serving(home, (settings, SEATS), accounts, Revoked::default(), recognize).await
}

/// A server with so many connections for each peer.
pub(crate) async fn with_seats(most: usize) -> TestEnv {
    by_word((ServeSettings::default(), most)).await
}

pub(crate) async fn env(settings: ServeSettings) -> TestEnv {
    by_word((settings, SEATS)).await
}

async fn by_word(settings_and_seats: (ServeSettings, usize)) -> TestEnv {
    let revoked = Revoked::default();
    let (home, word) = (TestStore::sqlite(false).await, Arc::clone(&revoked));
    serving(home, settings_and_seats, AccountSettings::default(), revoked, |_| Arc::new(ByWord(word))).await
}

/// A server over a store that the test has made, where no caller has to say who they are.
#[allow(dead_code, reason = "for the tests of what pages cost")]
pub(crate) async fn over(home: TestStore, store: StoreHandle) -> TestEnv {
    let revoked = Revoked::default();
    let recognize = |_: &Accounts| -> Arc<dyn Recognize> { Arc::new(ByWord(Revoked::default())) };
    serving_over((home, store), (ServeSettings::default(), SEATS), AccountSettings::default(), revoked, recognize).await
}

async fn serving(
    home: TestStore,
    settings_and_seats: (ServeSettings, usize),
    accounts: AccountSettings,
    revoked: Revoked,
    recognize: impl FnOnce(&Accounts) -> Arc<dyn Recognize>,
) -> TestEnv {
    let store = home.handle();
    serving_over((home, store), settings_and_seats, accounts, revoked, recognize).await
}

/// A server that shares something with others.
#[allow(dead_code, reason = "for the tests of the gate")]
pub(crate) async fn sharing(settings: ServeSettings, shared: Shared) -> TestEnv {
    let home = TestStore::sqlite(false).await;
    let (store, revoked) = (home.handle(), Revoked::default());
    let word = Arc::clone(&revoked);
    let recognize = |_: &Accounts| -> Arc<dyn Recognize> { Arc::new(ByWord(word)) };
    let links = AccountSettings::default();
    let extra = Extra { shared, ..Extra::default() };
    serving_with((home, store), (settings, SEATS, extra), links, revoked, recognize).await
}

/// A server with accounts, and logins elsewhere.
#[allow(dead_code, reason = "for the tests of such logins")]
pub(crate) async fn with_providers(providers: Providers) -> TestEnv {
    let home = TestStore::sqlite(false).await;
    let (store, revoked) = (home.handle(), Revoked::default());
    let settings = ServeSettings { auth: Auth::Users, ..ServeSettings::default() };
    let recognize = |accounts: &Accounts| -> Arc<dyn Recognize> { Arc::new(accounts.recognizer().clone()) };
    let extra = Extra { providers, ..Extra::default() };
    serving_with((home, store), (settings, SEATS, extra), AccountSettings::default(), revoked, recognize).await
}

/// What few servers have.
#[derive(Default)]
struct Extra {
    shared: Shared,
    providers: Providers,
}

async fn serving_over(
    home_and_store: (TestStore, StoreHandle),
    (settings, seats): (ServeSettings, usize),
    accounts: AccountSettings,
    revoked: Revoked,
    recognize: impl FnOnce(&Accounts) -> Arc<dyn Recognize>,
) -> TestEnv {
    serving_with(home_and_store, (settings, seats, Extra::default()), accounts, revoked, recognize).await
}

async fn serving_with(
    (home, store): (TestStore, StoreHandle),
    (settings, seats, extra): (ServeSettings, usize, Extra),
    accounts: AccountSettings,
    revoked: Revoked,
    recognize: impl FnOnce(&Accounts) -> Arc<dyn Recognize>,
) -> TestEnv {
    let dir = TempDir::new().expect("a temporary folder");
    let broker = Broker::connect(&gristmill_broker::Settings::default()).await.expect("in-process");
    let dispatcher = Dispatcher::new(Arc::clone(&store), broker, 20_000);
    let service = Service::new(Arc::clone(&store), dispatcher.clone());
    let run_context = run_context(&dir);
    let links = AccountSettings { url: "https://jobs.example.com".to_owned(), ..accounts };
    let accounts = Accounts::new(service.clone(), Passwords::weak(), links).sharing(extra.shared);
    let accounts = accounts.with_providers(extra.providers);
    let api = Api::new(ApiParts {
        service: service.clone(),
        run_context: run_context.clone(),
        program: Arc::new(Known),
        settings,
        stall: STALL,
        beat: BEAT,
        recognize: recognize(&accounts),
        accounts: accounts.clone(),
    });
    let hub = api.hub().clone();
    let most = NonZeroUsize::new(seats).expect("some");
    let listener = ListenerSettings {
        connections_per_peer: most,
        head_timeout: Span(Duration::from_secs(2)),
        body_timeout: Span(Duration::from_secs(5)),
        ..ListenerSettings::default()
    };
    let (_, hooks) = watch::channel(Arc::new(Hooks::new()));
    let stuck = StuckThreads::default();
    let parts = Parts {
        api,
        hooks: Receiver { service: service.clone(), run_context, hooks, listener: listener.clone() },
        watched: ServerState { store: Arc::clone(&store), dispatcher, stuck, exporter: None },
        listener,
    };
    let bound = bind("127.0.0.1:0").await.expect("a free port");
    let addr = bound.addr().expect("an address");
    let serving = parts.clone().serve(bound);
    TestEnv { addr, store, service, hub, parts, serving, revoked, accounts, dir, home }
}

/// What runs are created with: a batch `retail` over five rows.
fn run_context(dir: &TempDir) -> RunContext {
    std::fs::write(dir.path().join("input.csv"), "id,shop\n1,a\n2,a\n3,b\n4,b\n5,b\n").expect("written");
    let retail = json!({ "source": { "csv": "input.csv" }, "chunk": 2, "aggregate": { "rows": "count" } });
    let batches = [("retail".to_owned(), definition(retail))].into();
    let (_, snapshot) = watch::channel(Arc::new(ConfigSnapshot { batches, ..ConfigSnapshot::default() }));
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

/// What signs links in emails.
pub(crate) const MAIL_SECRET: &str = "a secret for the tests";

/// A program that knows one kind.
#[derive(Debug)]
struct Known;

impl Program for Known {
    fn check_kind(&self, kind: &str) -> Result<(), String> {
        if kind == "emial" { Err("did you mean `email`?".to_owned()) } else { Ok(()) }
    }

    fn check_payload(&self, kind: &str, payload: &Value) -> Result<(), String> {
        if kind == "email" && payload.is_null() { Err("needs `to`".to_owned()) } else { Ok(()) }
    }

    fn check_schedule(&self, name: &str, _: &ScheduleSpec) -> Result<(), String> {
        if name == "unfit" { Err("its payload makes no sense".to_owned()) } else { Ok(()) }
    }

    fn pruner_options(&self) -> PrunerOptions {
        PrunerOptions { settings: RetentionSettings::default(), queues: Default::default(), whole: true }
    }

    fn names_queue(&self, queue: &str) -> Option<String> {
        (queue == "configured").then(|| "queue.configured".to_owned())
    }

    fn settings(&self) -> Vec<SettingDocument> {
        vec![SettingDocument { key: "store.url".to_owned(), value: json!("***"), origin: "default".to_owned() }]
    }

    fn audit(&self) -> AuditSettings {
        AuditSettings::default()
    }

    fn mail_signing(&self) -> Option<&Signed> {
        static SIGNED: std::sync::OnceLock<Signed> = std::sync::OnceLock::new();
        Some(SIGNED.get_or_init(|| Signed::new(MAIL_SECRET).expect("long enough")))
    }

    fn definitions(&self) -> BTreeMap<String, Value> {
        [("retail".to_owned(), json!({ "chunk": 2 }))].into()
    }
}

/// Takes a token for what it says.
#[derive(Debug)]
struct ByWord(Revoked);

/// Tokens that are not valid any more.
type Revoked = Arc<std::sync::Mutex<Vec<String>>>;

#[async_trait]
impl Recognize for ByWord {
    async fn recognize(&self, credential: &Credential, tenant: Option<&str>) -> Result<KnownCaller, Unrecognized> {
        let (Credential::Bearer(secret) | Credential::Session(secret)) = credential;
        let (word, own) = secret.expose().split_once('@').unwrap_or((secret.expose(), DEFAULT_TENANT));
        let (role, scopes) = word.split_once('+').map_or((word, None), |(role, scope)| (role, Some(scope)));
        if self.0.lock().expect("the list").iter().any(|revoked| revoked == secret.expose()) {
            return Err(Unrecognized::Invalid);
        }
        // What comes after `~` makes it a token of its own.
        let role = role.split('~').next().unwrap_or_default();
        if role == "suspended" {
            return Err(Unrecognized::Suspended);
        }
        let role: Role = role.parse().map_err(|_| Unrecognized::Invalid)?;
        if tenant.is_some_and(|tenant| tenant != own) {
            return Err(Unrecognized::NotMember);
        }
        let scopes: Option<Vec<Permission>> = scopes.map(|scope| vec![scope.parse().expect("a permission")]);
        let token = TokenId(Uuid::from_u128(secret.expose().len() as u128));
        let user = Uuid::nil().into();
        let subject = match credential {
            Credential::Bearer(_) => Subject::Token { token, user },
            Credential::Session(_) => Subject::User(user),
        };
        let principal = Principal {
            subject,
            name: format!("{role} of {own}"),
            tenant: own.to_owned(),
            role,
            scopes,
            installation: own == DEFAULT_TENANT,
        };
        Ok(KnownCaller { principal, requests_per_minute: None })
    }
}

/// The bytes of a request.
pub(crate) fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut head = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\n");
    if !headers.iter().any(|(name, _)| *name == "host") {
        head.push_str("host: localhost\r\n");
    }
    if !body.is_empty() || method != "GET" {
        head.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    [head.as_bytes(), b"\r\n", body].concat()
}

/// Reads an answer to its end.
pub(crate) async fn heard(mut stream: TcpStream) -> Heard {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    let answer = String::from_utf8_lossy(&bytes).into_owned();
    let (head, text) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
    let body = serde_json::from_str(text).unwrap_or_default();
    Heard { status, head: head.to_owned(), text: text.to_owned(), body }
}

impl TestEnv {
    pub(crate) async fn raw(&self, request: &[u8]) -> Heard {
        let mut stream = TcpStream::connect(self.addr).await.expect("somebody listens");
        // A server that refuses early may close before all is written.
        let _ = stream.write_all(request).await;
        heard(stream).await
    }

    pub(crate) async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Heard {
        self.raw(&request(method, path, headers, body)).await
    }

    /// Ends the server at once: its connections break, and its port refuses new ones.
    #[allow(dead_code, reason = "for the tests in a browser")]
    pub(crate) async fn kill(&mut self) {
        self.serving.abort();
        let _ = (&mut self.serving).await;
    }

    /// Starts another server where the one was that was killed, over the same store.
    #[allow(dead_code, reason = "for the tests in a browser")]
    pub(crate) async fn revive(&mut self) {
        let bound = bind(&self.addr.to_string()).await.expect("the port is free again");
        self.serving = self.parts.clone().serve(bound);
    }

    pub(crate) async fn get(&self, path: &str) -> Heard {
        self.send("GET", path, &[], b"").await
    }

    /// Makes a token invalid.
    pub(crate) fn revoke(&self, token: &str) {
        self.revoked.lock().expect("the list").push(token.to_owned());
    }

    /// Looks as the caller whose token is this.
    pub(crate) async fn get_as(&self, token: &str, path: &str) -> Heard {
        self.send("GET", path, &[("authorization", &format!("Bearer {token}"))], b"").await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Heard {
        self.send("POST", path, &[("content-type", "application/json")], body.to_string().as_bytes()).await
    }

    /// Enqueues a job, and returns its id.
    pub(crate) async fn enqueue(&self, body: &Value) -> String {
        let answer = self.post("/api/v1/jobs", body).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.data()["job"]["id"].as_str().expect("an id").to_owned()
    }
}
