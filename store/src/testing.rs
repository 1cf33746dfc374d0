//! Fresh stores for tests of this crate and of the others, and small jobs and batches to put into them.
//!
//! A SQLite store is in a temporary folder, a PostgreSQL store in a schema of its own on the server that
//! `GRISTMILL_TEST_POSTGRES` names, a reference store in memory. All are removed with the [`TestStore`]. Everything
//! here panics when the database does not answer: it is for tests only.

mod plans;
mod rows;

pub use plans::{Planned, operation_statements, retention_statements};

use std::ops::Deref;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use gristmill_core::chunk::{ChunkPayload, ChunkResult, FileFingerprint, Slice, SourceFingerprint};
use gristmill_core::definition::BatchDefinition;
use gristmill_core::id::{BatchId, JobId, WorkerId};
use gristmill_core::job::{ClaimedJob, NewJob};
use gristmill_core::settle::{Ending, Verdict};
use serde_json::{Value, json};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row};
use tokio::sync::{Mutex, OnceCell};
use uuid::Uuid;

use crate::open::{OpenOptions, connect, open};
use crate::reference::{Clock, ReferenceStore};
use crate::{Claim, Completion, Database, NewBatch, NewChunk, NewWorker};
use crate::{Settings, StoreHandle};

/// The environment variable that names the PostgreSQL server for tests.
pub const POSTGRES_VARIABLE: &str = "GRISTMILL_TEST_POSTGRES";

/// The prefix of every test's schema; the time-ordered id after it shows its age.
const SCHEMA: &str = "gristmill_test_";

/// Schemas of tests that died are dropped at this age: longer than any comparison, which keeps one as long as it runs.
const ABANDONED_SECONDS: i64 = 24 * 3_600;

/// The seed of everything that the reference store of a test draws.
const SEED: u64 = 1;

/// The role of the API's transactions, which all tests share: a role is the server's, not the schema's.
pub const API_ROLE: &str = "gristmill_test_api";

/// The message for a test that wants SQL of the reference store.
const NO_SQL: &str = "the reference store knows no SQL; exempt the test from it";

/// A store that belongs to one test. Dereferences to its handle.
#[derive(Debug)]
pub struct TestStore {
    store: StoreHandle,
    url: String,
    with_outbox: bool,
    home: Home,
    raw: Mutex<Option<rows::Raw>>,
    /// How many jobs were made due.
    dues: AtomicI64,
}

/// What is removed with the store.
#[derive(Debug)]
enum Home {
    Memory(Arc<ReferenceStore>),
    Folder { _folder: tempfile::TempDir },
    Schema { server: String, name: String },
}

impl Deref for TestStore {
    type Target = StoreHandle;

    fn deref(&self) -> &StoreHandle {
        &self.store
    }
}

impl TestStore {
    /// A fresh SQLite store. With `with_outbox` it writes an outbox, as if a broker carried ids.
    pub async fn sqlite(with_outbox: bool) -> Self {
        let store = Self::sqlite_unmigrated(with_outbox).await;
        store.migrate().await.expect("the migrations apply");
        store
    }

    /// A SQLite file without a schema.
    pub async fn sqlite_unmigrated(with_outbox: bool) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let url = format!("sqlite://{}", folder.path().join("store.db").display());
        let store = connect(&url, options(with_outbox)).await.expect("the file opens");
        Self {
            store,
            url,
            with_outbox,
            home: Home::Folder { _folder: folder },
            raw: Mutex::default(),
            dues: AtomicI64::default(),
        }
    }

    /// A fresh PostgreSQL store in its own schema.
    pub async fn postgres(with_outbox: bool) -> Self {
        let store = Self::postgres_unmigrated(with_outbox).await;
        store.migrate().await.expect("the migrations apply");
        store
    }

    /// A fresh PostgreSQL store in its own schema, whose server keeps tenants apart for handles that are
    /// [confined](crate::Database::confined).
    pub async fn postgres_confined(with_outbox: bool) -> Self {
        let mut store = Self::postgres(with_outbox).await;
        let settings = Settings { api_role: API_ROLE.to_owned(), ..options(with_outbox).settings };
        store.store = connect(&store.url, OpenOptions { settings, with_outbox }).await.expect("it opens again");
        let made = store.make_api_role().await.expect("the role is made");
        assert_eq!(made.faults, Vec::<String>::new());
        store
    }

    /// An empty schema on PostgreSQL.
    pub async fn postgres_unmigrated(with_outbox: bool) -> Self {
        let server = std::env::var(POSTGRES_VARIABLE);
        let server = server.unwrap_or_else(|_| panic!("set {POSTGRES_VARIABLE} or run `make test`"));
        sweep(&server).await;
        let name = format!("{SCHEMA}{}", Uuid::now_v7().simple());
        let mut connection = PgConnection::connect(&server).await.expect("the test server answers");
        let create = AssertSqlSafe(format!("CREATE SCHEMA {name}"));
        sqlx::query(create).execute(&mut connection).await.expect("a schema of our own");
        connection.close().await.expect("a clean end");
        let mark = if server.contains('?') { '&' } else { '?' };
        // What a test has committed need not survive a crash of the machine.
        let url = format!("{server}{mark}options[search_path]={name}&options[synchronous_commit]=off");
        let store = connect(&url, options(with_outbox)).await.expect("the schema opens");
        Self {
            store,
            url,
            with_outbox,
            home: Home::Schema { server, name },
            raw: Mutex::default(),
            dues: AtomicI64::default(),
        }
    }

    /// A fresh reference store, whose clock begins now.
    pub fn reference(with_outbox: bool) -> Self {
        // Now, so that the ids that the store makes lie among those that the test makes.
        let store = Arc::new(ReferenceStore::new(Clock::new(chrono::Utc::now()), SEED, with_outbox));
        Self {
            store: store.clone(),
            url: store.describe(),
            with_outbox,
            home: Home::Memory(store),
            raw: Mutex::default(),
            dues: AtomicI64::default(),
        }
    }

    /// The handle, to be passed on.
    pub fn handle(&self) -> StoreHandle {
        self.store.clone()
    }

    /// The URL at which another process would open it.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A second handle, as another process would have it.
    pub async fn second(&self) -> StoreHandle {
        if let Home::Memory(store) = &self.home {
            return store.clone();
        }
        open(&self.url, options(self.with_outbox)).await.expect("the same store opens again")
    }

    /// A second handle whose schema is not checked, as a process has it that is about to migrate.
    pub async fn second_unchecked(&self) -> StoreHandle {
        connect(&self.url, options(self.with_outbox)).await.expect("the same store opens again")
    }

    /// A second handle that writes no outbox, as if no broker carried ids.
    pub async fn brokerless(&self) -> StoreHandle {
        match &self.home {
            Home::Memory(store) => Arc::new(store.brokerless()),
            Home::Folder { .. } | Home::Schema { .. } => open(&self.url, options(false)).await.expect("it opens again"),
        }
    }

    /// Whether there is a database that can be queried in SQL.
    pub fn knows_sql(&self) -> bool {
        !matches!(self.home, Home::Memory(_))
    }

    /// Changes the database behind the store's back.
    pub async fn tamper(&self, sql: &str) {
        self.attempt(sql).await.expect("the statement runs");
    }

    /// Returns why the database refuses a statement behind the store's back.
    pub async fn refused(&self, sql: &str) -> String {
        self.attempt(sql).await.expect_err("the statement is refused").to_string()
    }

    async fn attempt(&self, sql: &str) -> sqlx::Result<()> {
        let sql = AssertSqlSafe(sql.to_owned());
        match &self.home {
            Home::Memory(_) => panic!("{NO_SQL}"),
            Home::Folder { .. } => {
                let mut connection = self.raw_sqlite().await;
                sqlx::raw_sql(sql).execute(&mut connection).await?;
                connection.close().await
            }
            Home::Schema { .. } => {
                let mut connection = PgConnection::connect(&self.url).await.expect("the test server answers");
                sqlx::raw_sql(sql).execute(&mut connection).await?;
                connection.close().await
            }
        }
    }

    /// Returns one whole number from a query behind the store's back.
    pub async fn count(&self, sql: &str) -> i64 {
        let sql = AssertSqlSafe(sql.to_owned());
        match &self.home {
            Home::Memory(_) => panic!("{NO_SQL}"),
            Home::Folder { .. } => {
                let mut connection = self.raw_sqlite().await;
                sqlx::query(sql).fetch_one(&mut connection).await.expect("one row").get(0)
            }
            Home::Schema { .. } => {
                let mut connection = PgConnection::connect(&self.url).await.expect("the test server answers");
                sqlx::query(sql).fetch_one(&mut connection).await.expect("one row").get(0)
            }
        }
    }

    async fn raw_sqlite(&self) -> SqliteConnection {
        let options = SqliteConnectOptions::from_str(&self.url).expect("our own URL");
        options.busy_timeout(Duration::from_secs(10)).connect().await.expect("the file opens")
    }
}

impl Drop for TestStore {
    fn drop(&mut self) {
        let Home::Schema { server, name } = &self.home else { return };
        let (server, name) = (server.clone(), name.clone());
        // Dropping cannot wait, and the test's own runtime may be gone: a thread with its own runtime can.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(drop_schema(&server, &name)).map_err(std::io::Error::other)
        });
        // A later run sweeps a schema that stays.
        drop(dropped.join());
    }
}

async fn drop_schema(server: &str, name: &str) -> sqlx::Result<()> {
    let options = PgConnectOptions::from_str(server)?.disable_statement_logging();
    let mut connection = options.connect().await?;
    // The server reports each table that is dropped too, unless asked not to.
    sqlx::query("SET client_min_messages = warning").execute(&mut connection).await?;
    sqlx::query(AssertSqlSafe(format!("DROP SCHEMA IF EXISTS {name} CASCADE"))).execute(&mut connection).await?;
    connection.close().await
}

/// Drops what dead tests have left, once in a process.
async fn sweep(server: &str) {
    static SWEPT: OnceCell<()> = OnceCell::const_new();
    SWEPT.get_or_init(|| async { drop(sweep_now(server).await) }).await;
}

async fn sweep_now(server: &str) -> sqlx::Result<()> {
    let mut connection = PgConnection::connect(server).await?;
    let statement = "SELECT nspname::text, extract(epoch FROM now())::bigint FROM pg_namespace WHERE nspname LIKE $1";
    let rows = sqlx::query(statement).bind(format!("{SCHEMA}%")).fetch_all(&mut connection).await?;
    for row in rows {
        let (name, now): (String, i64) = (row.get(0), row.get(1));
        let made = name.strip_prefix(SCHEMA).and_then(|id| Uuid::parse_str(id).ok()).and_then(|id| id.get_timestamp());
        let made = made.and_then(|made| i64::try_from(made.to_unix().0).ok());
        if made.is_some_and(|made| made + ABANDONED_SECONDS < now) {
            drop_schema(server, &name).await?;
        }
    }
    connection.close().await
}

fn options(with_outbox: bool) -> OpenOptions {
    OpenOptions { settings: Settings { connections: 6, ..Settings::default() }, with_outbox }
}

/// A fresh job id.
pub fn job_id() -> JobId {
    JobId(Uuid::now_v7())
}

/// A fresh incarnation.
pub fn worker_id() -> WorkerId {
    WorkerId(Uuid::now_v7())
}

/// A job of kind `work` with everything else at its default.
pub fn job() -> NewJob {
    NewJob::new(job_id(), "work", json!({ "n": 1 }))
}

/// That many of them.
pub fn jobs(count: usize) -> Vec<NewJob> {
    (0..count).map(|n| NewJob::new(job_id(), "work", json!({ "n": n }))).collect()
}

/// An incarnation with a lease of the given length.
pub fn worker(lease: Duration) -> NewWorker {
    NewWorker {
        id: worker_id(),
        role: "worker".to_owned(),
        host: "here".to_owned(),
        pid: 1,
        version: "0".to_owned(),
        slots: 10,
        queues: Vec::new(),
        kinds: KINDS.map(str::to_owned).to_vec(),
        lease,
    }
}

/// The kinds that the tests use.
pub const KINDS: [&str; 5] = ["work", "chunk", "aggregate", "email", "webhook"];

/// A claim of every queue and of the kinds that the tests use.
pub fn claim_as(worker: WorkerId, limit: u32) -> Claim {
    Claim { worker, queues: Vec::new(), kinds: KINDS.map(str::to_owned).to_vec(), limit }
}

/// A batch with a minimal definition.
pub fn batch() -> NewBatch {
    NewBatch {
        id: BatchId(Uuid::now_v7()),
        tenant: gristmill_core::id::DEFAULT_TENANT.to_owned(),
        name: "orders".to_owned(),
        definition: definition(json!({ "source": { "jsonl": "-" }, "tolerate": "50%", "max_attempts": 3 })),
        fingerprint: SourceFingerprint::default(),
        params: Value::Null,
        idempotency_key: None,
        trace: None,
    }
}

/// What a batch remembers of input that was copied from standard input: one spool, of one byte, that is not there.
pub fn spooled() -> SourceFingerprint {
    let file = FileFingerprint {
        path: format!("/nowhere/{}.spool", job_id()),
        name: "standard input".to_owned(),
        bytes: 1,
        modified_ns: 0,
        edges: String::new(),
        columns: Vec::new(),
    };
    SourceFingerprint { files: vec![file] }
}

/// A definition, spelt as in `config.toml`.
pub fn definition(spelled: Value) -> BatchDefinition {
    serde_json::from_value(spelled).expect("a definition")
}

/// A chunk with its number and that many items.
pub fn chunk(seq: i64, items: u64) -> NewChunk {
    let first = u64::try_from(seq).unwrap_or(0) * items;
    let slice = Slice::Bytes { file: 0, from: first, to: first + items, line: first + 1 };
    NewChunk { id: job_id(), seq, payload: ChunkPayload::new(slice, items, first) }
}

/// Chunks 0, 1, 2… with that many items each.
pub fn chunks(count: i64, items: u64) -> Vec<NewChunk> {
    (0..count).map(|seq| chunk(seq, items)).collect()
}

/// How many chunks one step of a stop cancels.
pub const STEP_CHUNKS: usize = crate::stop::STEP_CHUNKS_MAX as usize;

/// A sealed batch of that many chunks with that many items each.
pub async fn sealed(store: &StoreHandle, count: i64, items: u64) -> BatchId {
    let batch = batch();
    store.create_batch(&batch).await.expect("created");
    store.add_chunks(batch.id, &chunks(count, items)).await.expect("added");
    store.seal(batch.id).await.expect("sealed");
    batch.id
}

/// The job succeeded.
pub fn done(job: &ClaimedJob) -> Completion {
    Completion::new(job.fence, Ending::Done, Verdict::Done)
}

/// The chunk succeeded, for that many of its items.
pub fn chunk_done(job: &ClaimedJob, ok: u64) -> Completion {
    Completion { chunk: Some(ChunkResult { ok, ..ChunkResult::default() }), ..done(job) }
}

/// The job failed for the last time.
pub fn dead(job: &ClaimedJob) -> Completion {
    let error = Some("it will never work".to_owned());
    Completion { error, ..Completion::new(job.fence, Ending::Permanent, Verdict::Dead) }
}

/// The job failed and is retried after that time.
pub fn retry(job: &ClaimedJob, after: Duration) -> Completion {
    let error = Some("not this time".to_owned());
    Completion { error, ..Completion::new(job.fence, Ending::Failed { retry_after: None }, Verdict::Retry { after }) }
}

/// Polls until there is an answer, at most for two minutes.
///
/// # Panics
///
/// When there is none.
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut ask: impl FnMut() -> F) -> T {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(120);
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(tokio::time::Instant::now() < deadline, "{what} did not come true within two minutes");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
