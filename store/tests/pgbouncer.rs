//! The store behind PgBouncer, in the modes and versions that there are: `docs/postgres.md` says which work, and this
//! is where that is known from.
//!
//! The program is `GRISTMILL_TEST_PGBOUNCER`, or the one of the system. Without any the tests say so and look at nothing:
//! it is not among the servers that every test machine provides.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use gristmill_core::duration::Span;
use gristmill_core::id::DEFAULT_TENANT;
use gristmill_store::postgres::PostgresStore;
use gristmill_store::testing::{self, POSTGRES_VARIABLE, eventually};
use gristmill_store::{Settings, StoreHandle};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use url::Url;
use uuid::Uuid;

const LONG: Duration = Duration::from_secs(600);

/// How many connections to the server all clients share where each transaction may have another one: fewer than there are
/// clients, so that they take turns. A session keeps its own.
const SHARED: u32 = 3;

const OF_SESSIONS: u32 = 30;

const JOBS: usize = 60;

/// The version since which prepared statements are carried from connection to connection.
const PREPARED_SINCE: (u32, u32) = (1, 21);

/// A database of its own with a PgBouncer before it. Both go with it.
struct Pooled {
    server: Url,
    database: String,
    url: String,
    bouncer: Child,
    _folder: tempfile::TempDir,
}

impl Drop for Pooled {
    fn drop(&mut self) {
        let _ = self.bouncer.kill();
        let _ = self.bouncer.wait();
    }
}

fn program() -> Option<PathBuf> {
    if let Some(said) = std::env::var_os("GRISTMILL_TEST_PGBOUNCER") {
        return Some(said.into());
    }
    let places =
        ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer", "/usr/local/bin/pgbouncer", "/opt/homebrew/bin/pgbouncer"];
    places.into_iter().map(PathBuf::from).find(|place| place.exists())
}

/// The version as two numbers: `PgBouncer 1.18.0` is 1 and 18.
fn version(program: &Path) -> (u32, u32) {
    let output = Command::new(program).arg("--version").output().expect("it says its version");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let numbers = text.split_whitespace().nth(1).unwrap_or_default();
    let mut numbers = numbers.split('.').map(|number| number.parse().unwrap_or_default());
    (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default())
}

async fn sql(server: &Url, statement: String) {
    let mut connection = PgConnection::connect(server.as_str()).await.expect("the test server answers");
    sqlx::query(AssertSqlSafe(statement)).execute(&mut connection).await.expect("done");
    connection.close().await.expect("a clean end");
}

async fn pooled(program: &Path, mode: &str) -> Pooled {
    let connections = if mode == "session" { OF_SESSIONS } else { SHARED };
    // An earlier version refuses a setting that it does not know.
    let prepared = if version(program) >= PREPARED_SINCE { "max_prepared_statements = 200\n" } else { "" };
    let server = std::env::var(POSTGRES_VARIABLE).expect("the servers run: see `scripts/servers`");
    let server: Url = server.parse().expect("a URL");
    let database = format!("gristmill_test_{}", Uuid::now_v7().simple());
    sql(&server, format!("CREATE DATABASE {database}")).await;
    let folder = tempfile::tempdir().expect("a folder");
    // It refuses to run as root, and its user must be able to read its settings.
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).expect("readable");
    let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port").port();
    let user = if server.username().is_empty() { "postgres" } else { server.username() };
    let users = folder.path().join("users");
    std::fs::write(&users, format!("\"{user}\" \"{}\"\n", server.password().unwrap_or_default())).expect("written");
    let settings = format!(
        "[databases]\n{database} = host={} port={} dbname={database}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
         listen_port = {port}\nunix_socket_dir =\nauth_type = trust\nauth_file = {}\npool_mode = {mode}\n\
         default_pool_size = {connections}\nmax_client_conn = 200\n{prepared}",
        server.host_str().expect("a host"),
        server.port().unwrap_or(5_432),
        users.display(),
    );
    let file = folder.path().join("pgbouncer.ini");
    std::fs::write(&file, settings).expect("written");
    let mut command = Command::new(program);
    if std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0) {
        command.args(["-u", "nobody"]);
    }
    let bouncer = command.arg("-q").arg(&file).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
    let mut url = server.clone();
    url.set_port(Some(port)).expect("a port");
    url.set_path(&database);
    let listens = async || tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok();
    eventually("PgBouncer listens", listens).await;
    Pooled { server, database, url: url.into(), bouncer, _folder: folder }
}

impl Pooled {
    /// The database without a pooler before it.
    fn direct(&self) -> String {
        let mut url = self.server.clone();
        url.set_path(&self.database);
        url.into()
    }

    async fn close(self) {
        let (server, database) = (self.server.clone(), self.database.clone());
        drop(self);
        sql(&server, format!("DROP DATABASE {database} WITH (FORCE)")).await;
    }
}

async fn store(url: &str) -> Result<StoreHandle, String> {
    let settings = Settings { connections: 2, acquire_timeout: Span(Duration::from_secs(20)), ..Settings::default() };
    let store = PostgresStore::connect(url, &settings, false).await.map_err(|error| error.to_string())?;
    Ok(Arc::new(store))
}

/// Enqueues, claims and completes on four processes' connections at once; returns how many jobs are done.
async fn work(url: &str) -> Result<usize, String> {
    let mut workers = Vec::new();
    for _ in 0..4 {
        let store = store(url).await?;
        workers.push(tokio::spawn(async move {
            let said = |error: gristmill_store::StoreError| error.to_string();
            store.enqueue(&testing::jobs(JOBS / 4)).await.map_err(said)?;
            let worker = testing::worker(LONG);
            store.register_worker(&worker).await.map_err(said)?;
            let mut done = 0;
            loop {
                let claimed = store.claim_next(&testing::claim_as(worker.id, 3)).await.map_err(said)?;
                if claimed.is_empty() {
                    return Ok::<_, String>(done);
                }
                let completions: Vec<_> = claimed.iter().map(testing::done).collect();
                let report = store.complete(&completions).await.map_err(said)?;
                if !report.fenced.is_empty() {
                    return Err(format!("fenced: {:?}", report.fenced));
                }
                store.queues(DEFAULT_TENANT).await.map_err(said)?;
                done += claimed.len();
            }
        }));
    }
    let mut done = 0;
    for worker in workers {
        done += worker.await.map_err(|error| error.to_string())??;
    }
    Ok(done)
}

/// Whether the jobs were each done once behind a pooler of this mode.
async fn works(program: &Path, mode: &str) -> Result<(), String> {
    let pooled = pooled(program, mode).await;
    let direct = store(&pooled.direct()).await.expect("the test server answers");
    direct.migrate().await.expect("the migrations apply");
    let outcome = tokio::time::timeout(LONG, work(&pooled.url)).await.expect("in time");
    let findings = direct.reconcile(true).await.expect("compared").findings;
    drop(direct);
    pooled.close().await;
    match outcome? {
        JOBS if findings.is_empty() => Ok(()),
        done => Err(format!("{done} of {JOBS} jobs are done; {findings:?}")),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_work_in_every_version() {
    let Some(program) = program() else { return eprintln!("there is no pgbouncer here: nothing was looked at") };
    works(&program, "session").await.expect("it works");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transactions_work_from_1_21_on_and_are_refused_in_words_before() {
    let Some(program) = program() else { return eprintln!("there is no pgbouncer here: nothing was looked at") };
    let outcome = works(&program, "transaction").await;
    if version(&program) >= PREPARED_SINCE {
        return outcome.expect("it works");
    }
    let refused = outcome.expect_err("it cannot work");
    assert!(refused.contains("PgBouncer 1.21") && refused.contains("session mode"), "{refused}");
}
