//! Single jobs of many callers in one transaction: a commit costs what it costs, however many jobs it has.
//!
//! No caller waits for others to come: the first one goes at once, and those that come while it is under way go
//! together after it. Each has an outcome of its own.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gristmill_core::job::NewJob;
use gristmill_dispatcher::Dispatcher;
use gristmill_store::{Enqueued, GROUP_JOBS_MAX, StoreError, StoreHandle};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// How many groups may be under way at once.
const GROUPS_MAX: usize = 2;

type Outcome = Result<Enqueued, StoreError>;

/// Enqueues the jobs of many callers. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Together(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: StoreHandle,
    dispatcher: Dispatcher,
    waiting: Mutex<Vec<Waiting>>,
    turns: Arc<Semaphore>,
}

#[derive(Debug)]
struct Waiting {
    job: NewJob,
    outcome: oneshot::Sender<Outcome>,
}

impl Together {
    pub(crate) fn new(store: StoreHandle, dispatcher: Dispatcher) -> Self {
        let turns = Arc::new(Semaphore::new(GROUPS_MAX));
        Self(Arc::new(Inner { store, dispatcher, waiting: Mutex::default(), turns }))
    }

    /// Enqueues a job, with those of others if there are any. A caller that gives up takes nothing back.
    pub(crate) async fn enqueue(&self, job: NewJob) -> Outcome {
        let (outcome, outcomes) = oneshot::channel();
        self.waiting().push(Waiting { job, outcome });
        self.begin();
        let lost = || StoreError::Unavailable("the program ended before the job was enqueued".to_owned());
        outcomes.await.unwrap_or_else(|_| Err(lost()))
    }

    /// Lets a task of its own enqueue what waits, so that a caller that gives up does not take the others with it.
    fn begin(&self) {
        if let Ok(turn) = Arc::clone(&self.0.turns).try_acquire_owned() {
            tokio::spawn(self.clone().take_turn(turn));
        }
    }

    async fn take_turn(self, turn: OwnedSemaphorePermit) {
        loop {
            let group = self.next();
            if group.is_empty() {
                break;
            }
            self.write(group).await;
        }
        drop(turn);
        // A caller that came just now may have found no turn free.
        if !self.waiting().is_empty() {
            self.begin();
        }
    }

    fn next(&self) -> Vec<Waiting> {
        let mut waiting = self.waiting();
        let count = waiting.len().min(GROUP_JOBS_MAX);
        waiting.drain(..count).collect()
    }

    async fn write(&self, group: Vec<Waiting>) {
        let (jobs, outcomes): (Vec<NewJob>, Vec<_>) = group.into_iter().map(|one| (one.job, one.outcome)).unzip();
        match self.enqueue_all(&jobs).await {
            Ok(enqueued) => {
                for (outcome, enqueued) in outcomes.into_iter().zip(enqueued) {
                    // A caller that has given up does not hear it.
                    let _ = outcome.send(Ok(enqueued));
                }
            }
            Err(error) if jobs.len() == 1 || error.is_transient() => {
                let text = error.to_string();
                let mut first = Some(error);
                for outcome in outcomes {
                    let error = first.take().unwrap_or_else(|| StoreError::Unavailable(text.clone()));
                    let _ = outcome.send(Err(error));
                }
            }
            // One of them is refused, and with it the whole group: each is asked for by itself.
            Err(_) => {
                for (job, outcome) in jobs.iter().zip(outcomes) {
                    let enqueued = self.enqueue_all(std::slice::from_ref(job)).await;
                    let one = enqueued.map(|enqueued| enqueued.first().copied());
                    let none = || StoreError::Database("the store gave no id for the job".to_owned());
                    let _ = outcome.send(one.and_then(|one| one.ok_or_else(none)));
                }
            }
        }
    }

    async fn enqueue_all(&self, jobs: &[NewJob]) -> Result<Vec<Enqueued>, StoreError> {
        Ok(self.0.dispatcher.after(self.0.store.enqueue(jobs)).await?.jobs)
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Waiting>> {
        // Nothing in here can panic halfway.
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use gristmill_broker::Broker;
    use gristmill_core::id::{DEFAULT_TENANT, JobId};
    use gristmill_core::unique::{OnConflict, Unique};
    use gristmill_store::testing::TestStore;
    use serde_json::json;
    use uuid::Uuid;

    use super::*;

    async fn together(store: &TestStore) -> Together {
        let broker = Broker::connect(&gristmill_broker::Settings::default()).await.expect("in-process");
        Together::new(store.handle(), Dispatcher::new(store.handle(), broker, 1_000))
    }

    fn job() -> NewJob {
        NewJob::new(JobId(Uuid::now_v7()), "work", json!({}))
    }

    /// Enqueues them while no turn is free, and then lets them go.
    async fn at_once(together: &Together, jobs: &[NewJob]) -> Vec<Outcome> {
        let turns = u32::try_from(GROUPS_MAX).expect("few");
        let busy = Arc::clone(&together.0.turns).acquire_many_owned(turns).await.expect("open");
        let callers: Vec<_> = jobs
            .iter()
            .cloned()
            .map(|job| {
                let together = together.clone();
                tokio::spawn(async move { together.enqueue(job).await })
            })
            .collect();
        while together.waiting().len() < jobs.len() {
            tokio::task::yield_now().await;
        }
        drop(busy);
        together.begin();
        let mut outcomes = Vec::new();
        for caller in callers {
            outcomes.push(caller.await.expect("no panic"));
        }
        outcomes
    }

    #[tokio::test]
    async fn callers_that_come_meanwhile_share_one_transaction() {
        let store = TestStore::sqlite(false).await;
        let jobs: Vec<NewJob> = (0..50).map(|_| job()).collect();
        let outcomes = at_once(&together(&store).await, &jobs).await;
        let mut created = Vec::new();
        for (job, outcome) in jobs.iter().zip(outcomes) {
            let enqueued = outcome.expect("enqueued");
            assert_eq!((enqueued.id, enqueued.created), (job.id, true), "each caller hears of its own job");
            created.push(store.job(DEFAULT_TENANT, job.id).await.expect("asked").expect("there").created_at);
        }
        created.dedup();
        assert_eq!(created.len(), 1, "a transaction has one instant");
    }

    #[tokio::test]
    async fn a_job_that_is_refused_hurts_no_other() {
        let store = TestStore::sqlite(false).await;
        let unique = |conflict| Some(Unique { conflict, ..Unique::new("the key") });
        let mut jobs: Vec<NewJob> = (0..6).map(|_| job()).collect();
        jobs[1].unique = unique(OnConflict::Keep);
        jobs[2].unique = unique(OnConflict::Refuse);
        jobs[4].kind = String::new();
        let outcomes = at_once(&together(&store).await, &jobs).await;
        for (place, outcome) in outcomes.iter().enumerate() {
            match place {
                2 => assert!(matches!(outcome, Err(StoreError::Conflict(_))), "{outcome:?}"),
                4 => assert!(matches!(outcome, Err(StoreError::Invalid(_))), "{outcome:?}"),
                _ => assert!(outcome.as_ref().is_ok_and(|enqueued| enqueued.created), "{place}: {outcome:?}"),
            }
        }
    }

    #[tokio::test]
    async fn a_caller_that_gives_up_takes_no_other_with_it() {
        let store = TestStore::sqlite(false).await;
        let together = together(&store).await;
        let (left, stays) = (job(), job());
        let leaving = Box::pin(together.enqueue(left));
        let polled = futures_once(leaving).await;
        assert!(polled, "it waits for its outcome, and is dropped");
        assert!(together.enqueue(stays).await.expect("enqueued").created);
    }

    /// Polls once and drops; returns whether it was still pending.
    async fn futures_once(mut future: std::pin::Pin<Box<impl Future>>) -> bool {
        std::future::poll_fn(|cx| std::task::Poll::Ready(future.as_mut().poll(cx).is_pending())).await
    }
}
