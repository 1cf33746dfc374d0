//! A store of the test's own, the verbs over it, and a broker that counts what is published.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use gristmill_broker::testing::simulated::{Life, Simulated};
use gristmill_core::id::{BatchId, DEFAULT_TENANT, JobId, WorkerId};
use gristmill_core::job::ClaimedJob;
use gristmill_core::schedule::ScheduleSpec;
use gristmill_jobs::RegistryOptions;
use gristmill_jobs::pool::ItemPool;
use gristmill_jobs::process::Processors;
use gristmill_service::dispatcher::Dispatcher;
use gristmill_service::start::{ConfigSnapshot, RunContext};
use gristmill_service::{Actor, Order, Service};
use gristmill_store::testing::{TestStore, claim_as, definition, worker};
use gristmill_store::{BatchFilter, JobFilter, JobView, Page, StoreHandle, TickFilter, TickView};
use gristmill_testkit::random::Random;
use serde_json::json;
use tempfile::TempDir;
use tokio::sync::watch;

/// The names of the ledgers that tests write.
const LEDGERS: [&str; 4] = ["nightly", "by-hand", "hook/orders", "hook/gone"];

/// A store of its own and what is built on it.
pub(crate) struct TestEnv {
    pub(crate) store: StoreHandle,
    pub(crate) service: Service,
    pub(crate) dispatcher: Dispatcher,
    pub(crate) broker: Simulated,
    pub(crate) dir: TempDir,
    /// The database itself, which lives as long as the test.
    pub(crate) home: TestStore,
}

/// One on each store that needs no server, with an outbox: the effect of a verb must not depend on the database.
pub(crate) async fn envs() -> Vec<TestEnv> {
    vec![env(TestStore::sqlite(true).await), env(TestStore::reference(true))]
}

/// One on each database: what is in the audit, and what refuses to be changed there, is the database's own.
pub(crate) async fn databases() -> Vec<TestEnv> {
    vec![env(TestStore::sqlite(true).await), env(TestStore::postgres(true).await)]
}

/// One on SQLite: accounts are not in the model.
pub(crate) async fn sqlite_env() -> TestEnv {
    env(TestStore::sqlite(true).await)
}

fn env(home: TestStore) -> TestEnv {
    let (store, broker) = (home.handle(), Simulated::new(Random::new(7)));
    let dispatcher = dispatcher(&store, &broker);
    let service = Service::new(Arc::clone(&store), dispatcher.clone());
    TestEnv { store, service, dispatcher, broker, dir: TempDir::new().expect("a temporary folder"), home }
}

/// The dispatcher of a separate process.
pub(crate) fn dispatcher(store: &StoreHandle, broker: &Simulated) -> Dispatcher {
    Dispatcher::new(Arc::clone(store), broker.connect(Life::default()).into(), 20_000)
}

/// An operator's order.
pub(crate) fn order() -> Order {
    Order::new(DEFAULT_TENANT, Actor::Operator("ada@laptop".to_owned()))
}

/// The same as a rehearsal.
pub(crate) fn rehearsal() -> Order {
    order().rehearsed(true)
}

impl TestEnv {
    /// How many messages were published, and how many rows of the outbox wait.
    pub(crate) async fn published(&self) -> (u64, u64) {
        let backlog = self.store.outbox_backlog().await.expect("the store answers");
        (self.broker.tally().published, backlog.rows)
    }

    /// Asserts that an act publishes this many messages, and leaves nothing in the outbox.
    pub(crate) async fn publishes(&self, what: &str, messages: u64, act: impl Future<Output = ()>) {
        let (before, _) = self.published().await;
        act.await;
        let place = self.home.url();
        assert_eq!(self.published().await, (before + messages, 0), "{what} on {place}");
    }

    pub(crate) async fn claim(&self) -> Vec<ClaimedJob> {
        let worker = worker(Duration::from_secs(60));
        self.store.register_worker(&worker).await.expect("registered");
        self.claim_as(worker.id).await
    }

    async fn claim_as(&self, worker: WorkerId) -> Vec<ClaimedJob> {
        self.store.claim_next(&claim_as(worker, 100)).await.expect("claimed")
    }

    pub(crate) async fn job(&self, id: JobId) -> JobView {
        self.store.job(DEFAULT_TENANT, id).await.expect("the store answers").expect("the job is there")
    }

    pub(crate) async fn jobs(&self) -> Vec<JobView> {
        let filter = JobFilter { tenant: DEFAULT_TENANT.to_owned(), ..JobFilter::default() };
        self.store.jobs(&filter, &Page { after: None, limit: 1_000 }).await.expect("listed")
    }

    pub(crate) async fn ledger(&self, name: &str) -> Vec<TickView> {
        let (tenant, schedule) = (DEFAULT_TENANT.to_owned(), name.to_owned());
        let filter = TickFilter { tenant, schedule, from: None, until: None, limit: 1_000 };
        self.store.ticks(&filter).await.expect("listed")
    }

    /// Everything in the store, in words: two of them are equal when nothing has changed.
    pub(crate) async fn everything(&self) -> String {
        let (page, filter) = (
            Page { after: None, limit: 1_000 },
            BatchFilter { tenant: DEFAULT_TENANT.to_owned(), ..BatchFilter::default() },
        );
        let mut all = format!("{:?}", (self.jobs().await, self.published().await));
        all += &format!("{:?}", self.store.batches(&filter, &page).await.expect("listed"));
        all += &format!("{:?}", self.store.queues(DEFAULT_TENANT).await.expect("listed"));
        all += &format!("{:?}", self.store.schedules(None, None).await.expect("listed"));
        all += &format!("{:?}", self.store.limits().await.expect("listed"));
        all += &format!("{:?}", self.store.audit_heads(None).await.expect("listed"));
        all += &format!("{:?}", self.store.poison(&page).await.expect("listed"));
        for ledger in LEDGERS {
            all += &format!("{:?}", self.ledger(ledger).await);
        }
        all
    }

    /// What runs are created with: a batch `retail` over five rows, and jobs of every kind on the queue `configured`.
    pub(crate) fn run_context(&self) -> RunContext {
        std::fs::write(self.dir.path().join("input.csv"), "id,shop\n1,a\n2,a\n3,b\n4,b\n5,b\n").expect("written");
        let retail = json!({ "source": { "csv": "input.csv" }, "chunk": 2, "aggregate": { "rows": "count" } });
        let batches = BTreeMap::from([("retail".to_owned(), definition(retail))]);
        let (_, snapshot) = watch::channel(Arc::new(ConfigSnapshot { batches, ..ConfigSnapshot::default() }));
        RunContext {
            tenant: DEFAULT_TENANT.to_owned(),
            snapshot,
            base_dir: self.dir.path().to_owned(),
            spool_dir: self.dir.path().join("spool"),
            spool_bytes_max: 1_000_000,
            kinds: RegistryOptions { pool: ItemPool::new(1).expect("threads"), processors: Processors::default() },
            job_defaults: Arc::new(|job| job.queue = "configured".to_owned()),
        }
    }

    /// The definition that a batch keeps, and its chunks and items.
    pub(crate) async fn planned(&self, id: BatchId) -> (String, u64, u64) {
        let plan = self.store.batch_plan(id).await.expect("the store answers").expect("it has a plan");
        let view = self.store.batch(DEFAULT_TENANT, id).await.expect("the store answers").expect("it is there");
        (format!("{:?}", plan.definition), view.chunks, view.counts.input)
    }
}

/// An hourly schedule that runs the batch `retail`.
pub(crate) fn hourly_batch() -> ScheduleSpec {
    serde_json::from_value(json!({ "every": "1h", "batch": "retail" })).expect("a schedule")
}

/// An hourly schedule that enqueues a job, whose payload names the shop of the run.
pub(crate) fn hourly_job() -> ScheduleSpec {
    let payload = json!({ "shop": "{{ params.shop }}" });
    let job = json!({ "kind": "report", "payload": payload, "max_attempts": 4 });
    serde_json::from_value(json!({ "every": "1h", "params": { "shop": "north" }, "job": job })).expect("a schedule")
}
