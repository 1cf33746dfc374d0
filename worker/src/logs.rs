//! Writes down what attempts say: once a second while they run, and before their endings. Nothing depends on it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gristmill_core::job::Fence;
use gristmill_jobs::attempt_log::{Recorder, Taken};
use gristmill_store::Logs;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// How long what was said may wait while its attempt runs.
const LIVE: Duration = Duration::from_secs(1);

/// How long a writing may take, and how long an ending waits for the log of its attempt.
const PATIENCE: Duration = Duration::from_secs(2);

/// Writes logs of attempts. Clones share what was said.
#[derive(Debug, Clone)]
pub(crate) struct LogWriter {
    recorder: Recorder,
    store: Arc<dyn Logs>,
    /// The last writing failed.
    failing: Arc<AtomicBool>,
}

impl LogWriter {
    pub(crate) fn new(recorder: Recorder, store: Arc<dyn Logs>) -> Self {
        Self { recorder, store, failing: Arc::default() }
    }

    /// Writes what is said, until `stop` fires and all of it is written.
    pub(crate) async fn keep(self, stop: CancellationToken) {
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return self.write(self.recorder.take()).await,
                () = self.recorder.said() => {}
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = tokio::time::sleep(LIVE) => {}
            }
            self.write(self.recorder.take()).await;
        }
    }

    /// Writes what these attempts have said, in one statement, before they are settled: a person who sees that a job is over
    /// sees all of it. Only where that takes too long they are settled before, and the rest is written afterwards.
    pub(crate) async fn write_of(&self, ended: impl IntoIterator<Item = &Fence>) {
        let ended: Vec<Fence> = ended.into_iter().copied().collect();
        let written = async { self.write(self.recorder.take_of(&ended).await).await };
        if timeout(PATIENCE, written).await.is_err() {
            self.failed("it takes too long", ended.len());
        }
    }

    async fn write(&self, taken: Taken) {
        let attempts = taken.logs().len();
        if attempts == 0 {
            return;
        }
        match timeout(PATIENCE, self.store.write_logs(taken.logs())).await {
            Ok(Ok(_)) => {
                taken.written();
                self.failing.store(false, Ordering::Relaxed);
            }
            Err(_) => self.failed("it takes too long", attempts),
            // What is dropped unwritten is taken again.
            Ok(Err(error)) if error.is_transient() => self.failed(&error.to_string(), attempts),
            Ok(Err(error)) => {
                taken.written();
                tracing::warn!(%error, attempts, "what attempts have said is lost: the store does not take it");
            }
        }
    }

    /// Says it once, and again after a writing that did not fail.
    fn failed(&self, error: &str, attempts: usize) {
        if !self.failing.swap(true, Ordering::Relaxed) {
            tracing::warn!(error, attempts, "what attempts have said cannot be written down now: it is tried again");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;
    use gristmill_core::Instant;
    use gristmill_core::attempt_log::{LogBounds, LogSource};
    use gristmill_core::id::{JobId, WorkerId};
    use gristmill_store::{LogView, NewLog, StoreError};
    use tokio::sync::Semaphore;
    use uuid::Uuid;

    use super::*;

    /// A store that writes as often as it has permits, after so many refusals.
    #[derive(Debug)]
    struct Slow {
        refusals: Mutex<u32>,
        begun: Semaphore,
        permits: Semaphore,
        written: Mutex<Vec<Vec<String>>>,
    }

    #[async_trait]
    impl Logs for Slow {
        async fn write_logs(&self, logs: &[NewLog]) -> Result<u64, StoreError> {
            self.begun.add_permits(1);
            self.permits.acquire().await.expect("never closed").forget();
            let mut refusals = self.refusals.lock().expect("no panic");
            if *refusals > 0 {
                *refusals -= 1;
                return Err(StoreError::Unavailable("not now".to_owned()));
            }
            let texts = |log: &NewLog| log.lines.iter().map(|line| line.text.clone()).collect();
            self.written.lock().expect("no panic").extend(logs.iter().map(texts));
            Ok(logs.len() as u64)
        }

        async fn logs(&self, _: &str, _: JobId, _: Option<u32>, _: u32) -> Result<Vec<LogView>, StoreError> {
            Ok(Vec::new())
        }

        async fn prune_logs(&self, _: Instant, _: u32) -> Result<u64, StoreError> {
            Ok(0)
        }
    }

    impl Slow {
        fn new(refusals: u32, permits: usize) -> Arc<Self> {
            let (begun, permits) = (Semaphore::new(0), Semaphore::new(permits));
            Arc::new(Self { refusals: Mutex::new(refusals), begun, permits, written: Mutex::default() })
        }

        fn written(&self) -> Vec<Vec<String>> {
            self.written.lock().expect("no panic").clone()
        }

        /// Waits until another writing has begun.
        async fn begins(&self) {
            self.begun.acquire().await.expect("never closed").forget();
        }
    }

    const FENCE: Fence = Fence { job: JobId(Uuid::nil()), attempt: 1, worker: WorkerId(Uuid::nil()) };

    fn writer(store: &Arc<Slow>) -> LogWriter {
        let recorder = Recorder::new(LogBounds { lines: 10, bytes: 1_000 });
        LogWriter::new(recorder, Arc::clone(store) as Arc<dyn Logs>)
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_store_refuses_for_a_while_is_written_later() {
        let store = Slow::new(2, 100);
        let (logs, stop) = (writer(&store), CancellationToken::new());
        let voice = logs.recorder.voice(FENCE);
        let kept = tokio::spawn(logs.keep(stop.clone()));
        voice.say(LogSource::Handler, None, "one");
        for _ in 0..3 {
            store.begins().await;
        }
        stop.cancel();
        kept.await.expect("it ends");
        assert_eq!(store.written(), [["one"]]);
    }

    #[tokio::test(start_paused = true)]
    async fn before_an_ending_a_writing_that_is_under_way_is_waited_for() {
        let store = Slow::new(1, 0);
        let (logs, stop) = (writer(&store), CancellationToken::new());
        logs.recorder.voice(FENCE).say(LogSource::Handler, None, "one");
        let kept = tokio::spawn(logs.clone().keep(stop.clone()));
        store.begins().await;
        let mut ending = std::pin::pin!(logs.write_of([&FENCE]));
        assert!(futures::poll!(&mut ending).is_pending(), "the writing of the log has not ended");
        store.permits.add_permits(2);
        ending.await;
        assert_eq!(store.written(), [["one"]], "the one that was under way was refused, and this one has all");
        stop.cancel();
        kept.await.expect("it ends");
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_does_not_answer_holds_up_no_ending_and_no_end_of_the_worker() {
        let store = Slow::new(0, 0);
        let (logs, stop) = (writer(&store), CancellationToken::new());
        logs.recorder.voice(FENCE).say(LogSource::Handler, None, "one");
        let began = tokio::time::Instant::now();
        logs.write_of([&FENCE]).await;
        assert!(began.elapsed() < PATIENCE * 2, "{:?}", began.elapsed());
        store.permits.add_permits(1);
        let kept = tokio::spawn(logs.clone().keep(stop.clone()));
        store.begins().await;
        store.begins().await;
        logs.write_of([&FENCE]).await;
        assert_eq!(store.written(), [["one"]], "it is written afterwards");
        logs.recorder.voice(FENCE).say(LogSource::Handler, None, "two");
        store.begins().await;
        stop.cancel();
        kept.await.expect("it ends although the store does not answer");
    }
}
