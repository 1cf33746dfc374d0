//! The worker as a process: everything at once, and an orderly end.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::env::{TestEnv, env, told};
use gristmill_core::id::JobId;
use gristmill_core::job::{JobState, NewJob};
use gristmill_worker::{Report, WorkerError, WorkerOptions, run};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use uuid::Uuid;

/// A running worker, and what stops it.
pub(crate) struct Process {
    stop: oneshot::Sender<()>,
    process: JoinHandle<Result<Report, WorkerError>>,
}

impl Process {
    pub(crate) fn start(options: WorkerOptions) -> Self {
        let (stop, stopped) = oneshot::channel::<()>();
        let process = tokio::spawn(run(options, async move {
            stopped.await.expect("the test stops its worker");
        }));
        Self { stop, process }
    }

    /// Ends it, whatever it is doing.
    pub(crate) fn kill(self) {
        self.process.abort();
    }

    pub(crate) async fn stop(self) -> Report {
        self.stop.send(()).expect("the worker still runs");
        self.process.await.expect("no panic").expect("an orderly end")
    }
}

pub(crate) async fn begun(env: &TestEnv, attempts: u32) {
    let wait = async {
        while env.hand.begun.load(Ordering::SeqCst) < attempts {
            env.hand.begins.notified().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), wait).await.expect("the attempts begin");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_enqueued_while_it_runs_are_done() {
    let env = env().await;
    let process = Process::start(env.options());
    let (first, second) =
        (env.enqueue("succeed", |_| {}).await, env.enqueue("panic", |job| job.max_attempts = 1).await);
    env.until(first, JobState::Done).await;
    env.until(second, JobState::Dead).await;
    assert_eq!(process.stop().await, Report { settled: 2, fenced: 0, released: 0 });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_through_within_the_drain_is_given_back_unspent() {
    let env = env().await;
    let id = env.enqueue("hang", |job| job.max_attempts = 1).await;
    let mut options = env.options();
    options.settings.drain.0 = Duration::from_millis(20);
    let process = Process::start(options);
    begun(&env, 1).await;
    assert_eq!(process.stop().await, Report { settled: 1, fenced: 0, released: 1 });
    let job = env.job(id).await;
    assert_eq!((job.state, job.attempt), (JobState::Queued, 0));
    let workers = env.store.workers().await.expect("the store answers");
    assert_eq!(workers[0].state, "stopped");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_waits_for_its_next_poll_stops_at_once() {
    let env = env().await;
    let mut options = env.options();
    // No process will see the end of it.
    options.settings.poll.0 = Duration::from_secs(24 * 60 * 60);
    // Before the worker begins, so that its first claim has the job, whatever becomes of hints.
    let id = env.enqueue("succeed", |_| {}).await;
    let process = Process::start(options);
    env.until(id, JobState::Done).await;
    let stopped = tokio::time::timeout(Duration::from_secs(120), process.stop()).await;
    assert_eq!(stopped.expect("it does not wait for its poll"), Report { settled: 1, fenced: 0, released: 0 });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_lease_calls_off_what_runs_and_the_worker_goes_on() {
    let env = env().await;
    let hanging = env.enqueue("hang", |job| job.max_attempts = 1).await;
    let mut options = env.options();
    options.settings.beat.0 = Duration::from_millis(20);
    options.settings.drain.0 = Duration::from_millis(20);
    let process = Process::start(options);
    begun(&env, 1).await;
    let worker = env.job(hanging).await.worker.expect("somebody runs it");
    // As if it had been cut off: its own row ends without its knowledge.
    env.store.retire_worker(worker).await.expect("retired by another hand");
    let taken_up = async {
        // Until its next beat it may claim under the old incarnation; that attempt is called off, too.
        while env.job(hanging).await.worker.is_none_or(|holder| holder == worker) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), taken_up).await.expect("a new incarnation runs it");
    let another = env.enqueue("succeed", |_| {}).await;
    env.until(another, JobState::Done).await;
    assert_eq!(process.stop().await.fenced, 1, "what the first incarnation ran counts for nothing");
    let job = env.job(hanging).await;
    assert_eq!((job.state, job.attempt), (JobState::Queued, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_small_jobs_all_end_once() {
    const JOBS: usize = 2_000;
    let env = env().await;
    let jobs: Vec<NewJob> = (0..JOBS).map(|_| NewJob::new(JobId(Uuid::now_v7()), "told", told("succeed"))).collect();
    for group in jobs.chunks(1_000) {
        env.store.enqueue(group).await.expect("enqueued");
    }
    let mut options = env.options();
    options.settings.slots = 100;
    let process = Process::start(options);
    let drained = async {
        loop {
            let queues = env.store.queues("main").await.expect("the store answers");
            if queues.iter().map(|queue| queue.done).sum::<u64>() == JOBS as u64 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(240), drained).await.expect("all are done");
    let report = process.stop().await;
    assert_eq!((report.settled, report.fenced), (JOBS as u64, 0));
    assert_eq!(env.hand.begun.load(Ordering::SeqCst), JOBS as u32, "each ran once");
}

#[tokio::test]
async fn settings_that_make_no_sense_are_refused_with_what_would() {
    let env = env().await;
    let mut options = env.options();
    options.settings.slots = 0;
    let error = run(options, std::future::pending()).await.expect_err("no slots").to_string();
    assert!(error.contains("slots = 0") && error.contains("1 to"), "{error}");
    let mut options = env.options();
    options.settings.beat = options.settings.lease;
    assert!(run(options, std::future::pending()).await.is_err());
    assert_eq!(Arc::strong_count(&env.hand), 1, "nothing of a refused worker goes on");
}
