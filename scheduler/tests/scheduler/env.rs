//! The environment of the scheduler's tests: a store in a temporary file, and a helper that does what a worker does,
//! one claim at a time.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use gristmill_broker::Broker;
use gristmill_core::id::{BatchId, DEFAULT_TENANT, JobId, WorkerId};
use gristmill_core::job::{ClaimedJob, NewJob};
use gristmill_core::settle::{Ending, Verdict};
use gristmill_jobs::pool::ItemPool;
use gristmill_jobs::process::Processors;
use gristmill_jobs::{JobContext, RegistryOptions, registry};
use gristmill_scheduler::{SchedulerError, SchedulerOptions, Settings};
use gristmill_service::dispatcher::Dispatcher;
use gristmill_service::retention::PrunerOptions;
use gristmill_service::start::{StartBatch, StartError, StartedBatch};
use gristmill_service::{Actor, Order, Service};
use gristmill_store::sqlite::SqliteStore;
use gristmill_store::{Claim, Completion, JobView, NewWorker, StoreHandle};
use serde_json::Value;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// A store of its own and what is built on it.
pub(crate) struct TestEnv {
    pub(crate) store: StoreHandle,
    pub(crate) dispatcher: Dispatcher,
    pub(crate) dir: TempDir,
    kinds: RegistryOptions,
}

/// A scheduler that runs. Dropping it ends it without a farewell.
pub(crate) struct Running {
    stop: CancellationToken,
    scheduler: JoinHandle<Result<(), SchedulerError>>,
}

impl Running {
    /// Starts one without schedules.
    pub(crate) fn of(
        store: &StoreHandle,
        dispatcher: &Dispatcher,
        settings: Settings,
        retention: PrunerOptions,
    ) -> Self {
        let options = SchedulerOptions {
            store: store.clone(),
            dispatcher: dispatcher.clone(),
            settings,
            schedules: None,
            retention,
            audit: Default::default(),
        };
        let stop = CancellationToken::new();
        Self { scheduler: tokio::spawn(gristmill_scheduler::run(options, stop.clone().cancelled_owned())), stop }
    }

    /// Tells it to end, and waits until it has.
    pub(crate) async fn ended(mut self) {
        self.stop.cancel();
        (&mut self.scheduler).await.expect("no panic").expect("an orderly end");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.scheduler.abort();
    }
}

pub(crate) async fn env() -> TestEnv {
    let dir = TempDir::new().expect("a temporary folder");
    let settings = gristmill_store::Settings::default();
    let store = SqliteStore::connect(&dir.path().join("store.db"), &settings, false).await.expect("a store");
    let store: StoreHandle = Arc::new(store);
    store.migrate().await.expect("migrations");
    let broker = Broker::connect(&gristmill_broker::Settings::default()).await.expect("in-process");
    let dispatcher = Dispatcher::new(Arc::clone(&store), broker, 20_000);
    let kinds = RegistryOptions { pool: ItemPool::new(1).expect("threads"), processors: Processors::default() };
    TestEnv { store, dispatcher, dir, kinds }
}

/// An operator's order.
pub(crate) fn order() -> Order {
    Order::new(DEFAULT_TENANT, Actor::Operator("ada@laptop".to_owned()))
}

impl TestEnv {
    /// A batch over this text, which becomes the file `input.csv`.
    pub(crate) fn start(&self, definition: &str, csv: &str) -> StartBatch {
        std::fs::write(self.dir.path().join("input.csv"), csv).expect("written");
        StartBatch {
            name: "test".to_owned(),
            definition: serde_json::from_str(definition).expect("a definition"),
            input: None,
            chunk: None,
            params: Value::Null,
            idempotency_key: None,
            trace: None,
            base_dir: self.dir.path().to_owned(),
            spool_dir: self.path().join("spool"),
            spool_bytes_max: 1_000_000,
            stdin: None,
            kinds: self.kinds.clone(),
        }
    }

    pub(crate) fn service(&self) -> Service {
        Service::new(Arc::clone(&self.store), self.dispatcher.clone())
    }

    /// Starts a batch as an operator does.
    pub(crate) async fn start_batch(&self, start: StartBatch) -> Result<BatchId, StartError> {
        match self.service().start_batch(&order(), start).await? {
            StartedBatch::Planned(batch) => Ok(batch),
            StartedBatch::Rehearsed(rehearsal) => panic!("only rehearsed: {rehearsal:?}"),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) async fn worker(&self, lease: Duration) -> WorkerId {
        let id = WorkerId(Uuid::now_v7());
        let worker = NewWorker {
            id,
            role: "worker".to_owned(),
            host: "here".to_owned(),
            pid: 1,
            version: "0".to_owned(),
            slots: 10,
            queues: Vec::new(),
            kinds: Vec::new(),
            lease,
        };
        self.store.register_worker(&worker).await.expect("registered");
        id
    }

    pub(crate) async fn claim(&self, worker: WorkerId) -> Vec<ClaimedJob> {
        let kinds = vec!["chunk".to_owned(), "aggregate".to_owned(), "told".to_owned()];
        let claim = Claim { worker, queues: Vec::new(), kinds, limit: 10 };
        self.store.claim_next(&claim).await.expect("claimed")
    }

    /// Claims and runs until nothing is left to claim, as a worker would.
    pub(crate) async fn work(&self) {
        let worker = self.worker(Duration::from_secs(60)).await;
        let registry = registry(self.kinds.clone());
        loop {
            let claimed = self.claim(worker).await;
            if claimed.is_empty() {
                return;
            }
            for job in claimed {
                let handler = registry.get(&job.kind).expect("a kind that comes with it");
                let fence = job.fence;
                let context = JobContext::new(job, Arc::clone(&self.store));
                let finish = handler.run(context).await;
                assert_eq!(finish.ending, Ending::Done, "{:?}", finish.error);
                let completion = Completion {
                    output: finish.output,
                    chunk: finish.chunk,
                    batch_end: finish.batch_end,
                    sql: finish.sql,
                    follow: finish.follow,
                    messages: finish.messages,
                    ..Completion::new(fence, finish.ending, Verdict::Done)
                };
                self.store.complete(&[completion]).await.expect("completed");
            }
        }
    }

    pub(crate) async fn enqueue(&self, shape: impl FnOnce(&mut NewJob)) -> JobId {
        let mut job = NewJob::new(JobId(Uuid::now_v7()), "told", Value::Null);
        shape(&mut job);
        self.store.enqueue(&[job]).await.expect("enqueued").jobs[0].id
    }

    pub(crate) async fn job(&self, id: JobId) -> JobView {
        self.store.job(DEFAULT_TENANT, id).await.expect("the store answers").expect("the job is there")
    }
}
