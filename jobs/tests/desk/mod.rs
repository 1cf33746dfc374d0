//! A store with jobs to claim, for tests of single attempts.

#![allow(dead_code, unreachable_pub, reason = "each test program uses its own part")]

use std::sync::Arc;
use std::time::Duration;

use gristmill_core::id::{JobId, WorkerId};
use gristmill_core::job::NewJob;
use gristmill_jobs::JobContext;
use gristmill_store::{Claim, EmailKey, EmailState, NewEmail, NewWorker, OpenOptions, StoreHandle};
use serde_json::Value;
use uuid::Uuid;

/// A SQLite store in a folder of its own.
pub struct Desk {
    pub folder: tempfile::TempDir,
    pub store: StoreHandle,
}

impl Desk {
    pub async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let url = format!("sqlite://{}", folder.path().join("test.db").display());
        let store = gristmill_store::open(&url, OpenOptions::default()).await.expect("a store");
        Self { folder, store }
    }

    /// Enqueues a job and claims it.
    pub async fn claim(&self, kind: &str, payload: Value) -> JobContext {
        let mut job = NewJob::new(JobId(Uuid::now_v7()), kind, payload);
        job.trace = Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned());
        self.store.enqueue(&[job]).await.expect("enqueued");
        self.claim_next().await
    }

    /// The worker of an attempt is gone, another one takes the job over.
    pub async fn again(&self, context: &JobContext) -> JobContext {
        self.store.retire_worker(context.job.fence.worker).await.expect("retired");
        self.claim_next().await
    }

    async fn claim_next(&self) -> JobContext {
        let worker = WorkerId(Uuid::now_v7());
        let lease = Duration::from_secs(60);
        let new = NewWorker {
            id: worker,
            role: "worker".to_owned(),
            host: "test".to_owned(),
            pid: 1,
            version: "0".to_owned(),
            slots: 1,
            queues: Vec::new(),
            kinds: Vec::new(),
            lease,
        };
        self.store.register_worker(&new).await.expect("registered");
        let kinds = ["email", "webhook", "exec", "http"].map(str::to_owned).to_vec();
        let claim = Claim { worker, queues: Vec::new(), kinds, limit: 1 };
        let job = self.store.claim_next(&claim).await.expect("claimed").pop().expect("a job");
        JobContext::new(job, Arc::clone(&self.store))
    }

    /// Where the email of a job is.
    pub async fn email(&self, context: &JobContext) -> EmailState {
        let job = context.job.fence.job;
        let key = EmailKey { tenant: context.job.tenant.clone(), key: job.to_string() };
        let new = NewEmail { key, job, message_id: "<unused@example.com>".to_owned() };
        self.store.email(&new).await.expect("a record").state
    }
}
