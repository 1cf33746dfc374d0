//! A folder, an embedded store and the kinds: enough to run batches step by step.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use gristmill_core::definition::BatchDefinition;
use gristmill_core::id::{BatchId, DEFAULT_TENANT, JobId, WorkerId};
use gristmill_core::job::ClaimedJob;
use gristmill_core::settle::{Verdict, settle};
use gristmill_jobs::pool::ItemPool;
use gristmill_jobs::process::Processors;
use gristmill_jobs::source::{self, OpenOptions};
use gristmill_jobs::{Finish, JobContext, Registry, RegistryOptions, registry};
use gristmill_store::{
    BatchView, Claim, Completion, JobFilter, JobView, NewBatch, NewChunk, NewWorker, Page, QuarantineFilter,
    QuarantineRedrive, QuarantineView, StoreHandle,
};
use serde_json::Value;
use uuid::Uuid;

/// Everything that one test needs; it vanishes with the test.
pub(crate) struct BatchEnv {
    folder: tempfile::TempDir,
    store: StoreHandle,
    registry: Registry,
    worker: WorkerId,
}

/// One batch that was started.
pub(crate) struct Run {
    pub(crate) batch: BatchId,
}

impl BatchEnv {
    pub(crate) async fn new(processors: Processors) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let url = format!("sqlite://{}", folder.path().join("store.db").display());
        let store = gristmill_store::open::open(&url, Default::default()).await.expect("a store");
        let pool = ItemPool::new(2).expect("threads");
        let registry = registry(RegistryOptions { pool, processors });
        let worker = WorkerId(Uuid::now_v7());
        store
            .register_worker(&NewWorker {
                id: worker,
                role: "worker".to_owned(),
                host: "test".to_owned(),
                pid: 1,
                version: "0".to_owned(),
                slots: 1,
                queues: Vec::new(),
                kinds: Vec::new(),
                lease: Duration::from_secs(600),
            })
            .await
            .expect("registered");
        Self { folder, store, registry, worker }
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    pub(crate) fn file(&self, name: &str, content: &str) -> String {
        let path = self.path(name);
        std::fs::write(&path, content).expect("written");
        path
    }

    /// Plans a batch as the scheduler does.
    pub(crate) async fn start(&self, definition: Value, chunk: u64) -> Run {
        let definition: BatchDefinition = serde_json::from_value(definition).expect("a definition");
        let options = OpenOptions {
            spool_dir: PathBuf::from(self.path("spool")),
            base_dir: self.folder.path().to_path_buf(),
            chunk: chunk.into(),
            spool_bytes_max: 1_000_000,
            stdin: None,
        };
        let mut planner = source::open(&definition.source, options).await.expect("a source");
        let batch = BatchId(Uuid::now_v7());
        let new = NewBatch {
            id: batch,
            tenant: DEFAULT_TENANT.to_owned(),
            name: "retail".to_owned(),
            definition,
            fingerprint: planner.fingerprint().clone(),
            params: Value::Null,
            idempotency_key: None,
            trace: None,
        };
        self.store.create_batch(&new).await.expect("created");
        let mut chunks = Vec::new();
        while let Some(payload) = planner.next_chunk().await.expect("a chunk") {
            chunks.push(NewChunk { id: JobId(Uuid::now_v7()), seq: chunks.len() as i64, payload });
        }
        for group in chunks.chunks(500) {
            self.store.add_chunks(batch, group).await.expect("added");
        }
        self.store.seal(batch).await.expect("sealed");
        Run { batch }
    }

    pub(crate) async fn claim(&self, limit: u32) -> Vec<ClaimedJob> {
        let kinds = self.registry.kinds();
        let claim = Claim { worker: self.worker, queues: Vec::new(), kinds, limit };
        self.store.claim_next(&claim).await.expect("claimed")
    }

    async fn run(&self, job: ClaimedJob) -> Finish {
        self.attempt(JobContext::new(job, self.store.clone())).await
    }

    /// Runs one attempt.
    pub(crate) async fn attempt(&self, context: JobContext) -> Finish {
        let handler = Arc::clone(self.registry.get(context.kind()).expect("a handler"));
        handler.run(context).await
    }

    /// Claims one chunk of a batch.
    pub(crate) async fn next(&self, run: &Run) -> JobContext {
        let job = self.claim(50).await.into_iter().find(|job| job.batch == Some(run.batch)).expect("a chunk");
        JobContext::new(job, self.store.clone())
    }

    pub(crate) async fn complete(&self, job: &ClaimedJob, finish: Finish) {
        let verdict = settle(finish.ending, job.fence.attempt, job.max_attempts, &job.retry, 0.0);
        let completion = Completion {
            error: finish.error,
            output: finish.output,
            chunk: finish.chunk,
            batch_end: finish.batch_end,
            sql: finish.sql,
            follow: finish.follow,
            messages: finish.messages,
            ..Completion::new(job.fence, finish.ending, verdict)
        };
        assert_ne!(verdict, Verdict::Requeue);
        self.store.complete(&[completion]).await.expect("completed");
    }

    /// Runs everything there is to run, in groups whose order may be reversed, until nothing is left.
    pub(crate) async fn work(&self, _run: &Run, reversed: bool) {
        loop {
            let mut jobs = self.claim(50).await;
            if jobs.is_empty() {
                return;
            }
            if reversed {
                jobs.reverse();
            }
            for job in jobs {
                let finish = self.run(job.clone()).await;
                assert_eq!(finish.error, None, "{} {:?}", job.kind, finish.ending);
                self.complete(&job, finish).await;
            }
        }
    }

    pub(crate) fn store(&self) -> &StoreHandle {
        &self.store
    }

    /// Runs one chunk of a batch and returns how it ended.
    pub(crate) async fn one(&self, run: &Run) -> Finish {
        self.attempt(self.next(run).await).await
    }

    /// Redrives quarantined items as chunks of the next generation.
    pub(crate) async fn redrive(&self, run: &Run, items: Vec<i64>) -> Option<u32> {
        let redrive = QuarantineRedrive { batch: run.batch, items, chunk: 10 };
        let control_report = self.store.redrive_quarantine(DEFAULT_TENANT, &redrive, false).await.expect("redriven");
        control_report.generation
    }

    /// A connection of the user's own to the database of the store.
    pub(crate) async fn database(&self) -> sqlx::SqlitePool {
        sqlx::SqlitePool::connect(&format!("sqlite://{}", self.path("store.db"))).await.expect("a connection")
    }

    pub(crate) async fn batch(&self, run: &Run) -> BatchView {
        self.store.batch(DEFAULT_TENANT, run.batch).await.expect("asked").expect("the batch")
    }

    pub(crate) async fn quarantine(&self, run: &Run) -> Vec<QuarantineView> {
        let filter =
            QuarantineFilter { tenant: DEFAULT_TENANT.to_owned(), batch: Some(run.batch), ..Default::default() };
        self.store.quarantine(&filter, &Page::default()).await.expect("asked")
    }

    /// The emails that the batch has sent, with their payloads.
    pub(crate) async fn effects(&self, run: &Run) -> Vec<JobView> {
        let filter = JobFilter {
            tenant: DEFAULT_TENANT.to_owned(),
            kind: Some("email".to_owned()),
            batch: Some(run.batch),
            ..Default::default()
        };
        let mut jobs = Vec::new();
        for job in self.store.jobs(&filter, &Page::default()).await.expect("asked") {
            jobs.extend(self.store.job(DEFAULT_TENANT, job.id).await.expect("asked"));
        }
        jobs
    }
}
