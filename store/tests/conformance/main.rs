//! One suite for all stores: each test runs on SQLite, on PostgreSQL and on the model of both, as `sqlite::NAME`,
//! `postgres::NAME` and `reference::NAME`.
//!
//! The contract is the documentation of `gristmill_store::Store`; where that is silent, these tests are the contract.
//! Every store here writes an outbox, as if a broker carried ids, unless a test says otherwise.

/// Makes three tests of each function: one for each database and one for the model. Those after `databases only` need
/// SQL, for the reason given there.
macro_rules! conformance {
    ($($name:ident),* $(,)? $(; databases only, $why:literal: $($sql:ident),* $(,)?)*) => {
        mod reference {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    super::$name(gristmill_store::testing::TestStore::reference(true)).await;
                }
            )*
        }
        mod sqlite {
            $($(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $sql() {
                    super::$sql(gristmill_store::testing::TestStore::sqlite(true).await).await;
                }
            )*)*
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    super::$name(gristmill_store::testing::TestStore::sqlite(true).await).await;
                }
            )*
        }
        mod postgres {
            $($(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $sql() {
                    super::$sql(gristmill_store::testing::TestStore::postgres(true).await).await;
                }
            )*)*
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    super::$name(gristmill_store::testing::TestStore::postgres(true).await).await;
                }
            )*
        }
    };
}

mod access;
mod accounts;
mod acknowledging;
mod asking;
mod auditing;
mod batch_ends;
mod callbacks;
mod claiming;
mod completing;
mod controlling;
mod counters;
mod creating;
mod deleting;
mod delivering;
mod duties;
mod editing;
mod endings;
mod events;
mod factors;
mod fan_in;
mod federated;
mod history;
mod limits;
mod logs;
mod mail_flow;
mod mailings;
mod misrouted;
mod notifying;
mod opening;
mod operated;
mod operations;
mod patching;
mod poison;
mod quotas;
mod rates;
mod redriving;
mod refreshing;
mod requests;
mod restarting;
mod retaining;
mod row_security;
mod schedules;
mod splitting;
mod stopping;
mod triggers;
mod turns;
mod unique;
mod unreadable;
mod viewing;
mod workers;

use gristmill_core::batch::Counts;
use gristmill_core::id::{BatchId, DEFAULT_TENANT, JobId, WorkerId};
use gristmill_core::job::{ClaimedJob, JobState};
use gristmill_store::testing::{TestStore, claim_as, worker};
use gristmill_store::{BatchView, Completion, JobView, NewWorker};
use std::time::Duration;

/// The tenant of everything here.
const TENANT: &str = DEFAULT_TENANT;

/// Long enough that no lease runs out while a test runs.
const LONG: Duration = Duration::from_secs(600);

/// Registers a worker whose lease does not run out.
async fn enter(store: &TestStore) -> WorkerId {
    let entered: NewWorker = worker(LONG);
    store.register_worker(&entered).await.expect("entered");
    entered.id
}

/// Claims at most that many jobs, by priority and age.
async fn claim(store: &TestStore, worker: WorkerId, limit: u32) -> Vec<ClaimedJob> {
    store.claim_next(&claim_as(worker, limit)).await.expect("claimed")
}

/// Claims the only job that there should be.
async fn claim_one(store: &TestStore, worker: WorkerId) -> ClaimedJob {
    let mut claimed = claim(store, worker, 10).await;
    assert_eq!(claimed.len(), 1, "one job is claimable: {claimed:?}");
    claimed.remove(0)
}

/// Completes and expects that every fence held.
async fn complete(store: &TestStore, completions: &[Completion]) -> gristmill_store::CompleteReport {
    let report = store.complete(completions).await.expect("completed");
    assert_eq!(report.fenced, [], "every fence held");
    assert_eq!(report.settled, completions.len() as u64);
    report
}

/// A job as it is shown.
async fn job(store: &TestStore, id: JobId) -> JobView {
    store.job(TENANT, id).await.expect("asked").expect("the job is there")
}

/// A batch as it is shown.
async fn batch(store: &TestStore, id: BatchId) -> BatchView {
    store.batch(TENANT, id).await.expect("asked").expect("the batch is there")
}

/// The state of a job.
async fn state(store: &TestStore, id: JobId) -> JobState {
    job(store, id).await.state
}

/// The jobs in one state.
fn filter(state: JobState) -> gristmill_store::JobFilter {
    gristmill_store::JobFilter { tenant: TENANT.to_owned(), states: vec![state], ..Default::default() }
}

/// Counts as `[input, ok, skipped, quarantined, cancelled]`.
fn counts(counts: &Counts) -> [u64; 5] {
    [counts.input, counts.ok, counts.skipped, counts.quarantined, counts.cancelled]
}

/// How many aggregates a batch has, in any state.
async fn aggregates(store: &TestStore, id: BatchId) -> usize {
    let filter = gristmill_store::JobFilter {
        tenant: TENANT.to_owned(),
        batch: Some(id),
        kind: Some("aggregate".to_owned()),
        ..gristmill_store::JobFilter::default()
    };
    store.jobs(&filter, &gristmill_store::Page::default()).await.expect("listed").len()
}

/// The maintained counters equal what they count, and every batch matches its jobs.
async fn assert_reconciled(store: &TestStore) {
    let report = store.reconcile(true).await.expect("compared");
    assert_eq!(report.findings, Vec::<String>::new());
}
