//! A duty, and the loop that runs it: one at a time, while this process leads, at its own rhythm.

use std::time::Duration;

use futures::future::BoxFuture;
use gristmill_store::Result;
use metrics::{Counter, Histogram, Unit, counter, describe_counter, describe_histogram, histogram};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::clock::Beats;

/// How long after its time a duty began.
const LATE: &str = "gristmill_duty_late_seconds";
/// How long a duty took.
const SECONDS: &str = "gristmill_duty_seconds";
/// How often a duty failed.
const FAILURES: &str = "gristmill_duty_failures_total";

/// Something that the scheduler does again and again. It is safe to do twice, and in two processes at once.
pub(crate) trait Duty: Send {
    /// Its name: the key in `[scheduler.duties]`, the label of its metrics, the word in the log.
    fn name(&self) -> &'static str;

    /// How often it is due.
    fn every(&self) -> Duration;

    /// Whether only the process that leads does it.
    fn needs_leadership(&self) -> bool {
        true
    }

    /// Waits for a hint that there is something to do before its time. By default none comes.
    fn hinted(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::pending())
    }

    /// Does it once.
    fn work(&mut self, wake: Wake) -> BoxFuture<'_, Result<Next>>;

    /// Finishes what it has under way when the scheduler stops.
    fn end(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// Why a duty runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wake {
    /// For the first time since the scheduler began, or since it leads again.
    First,
    /// Its rhythm says so.
    Beat,
    /// The duty itself has asked for it.
    Asked,
    /// A hint has come.
    Hinted,
}

/// When a duty wants to be done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// When its rhythm says so.
    Beat,
    /// At once: there is more.
    Now,
    /// After this long, unless its rhythm comes first.
    In(Duration),
}

/// Runs a duty until `stop`. A run is never cut short; one that fails is tried again at the duty's next time.
pub(crate) async fn keep(
    mut duty: Box<dyn Duty>,
    mut beats: Beats,
    mut leads: watch::Receiver<bool>,
    stop: CancellationToken,
) {
    let mut record = Record::new(duty.name());
    let (needs_leadership, mut asked) = (duty.needs_leadership(), None);
    loop {
        if needs_leadership && !*leads.borrow_and_update() {
            asked = None;
            beats.restart();
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                // The sender is gone: this process will not lead again.
                changed = leads.changed() => if changed.is_err() { stop.cancelled().await },
            }
            continue;
        }
        let (wake, due) = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Ok(()) = leads.changed(), if needs_leadership => continue,
            beat = beats.next() => (beat.map_or(Wake::First, |_| Wake::Beat), beat),
            () = until(asked) => (Wake::Asked, asked),
            () = duty.hinted() => (Wake::Hinted, None),
        };
        if let Some(due) = due {
            record.late.record(due.elapsed());
        }
        let begun = Instant::now();
        let done = duty.work(wake).await;
        record.seconds.record(begun.elapsed());
        asked = match record.outcome(done) {
            Some(Next::Now) => Some(Instant::now()),
            Some(Next::In(wait)) => Some(Instant::now() + wait),
            Some(Next::Beat) | None => None,
        };
    }
    duty.end().await;
}

async fn until(asked: Option<Instant>) {
    match asked {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

/// The log and the metrics of a duty. The log has one line when the duty begins to fail and one when it works again,
/// because a failing duty is retried every second.
pub(crate) struct Record {
    name: &'static str,
    fails: bool,
    late: Histogram,
    seconds: Histogram,
    failures: Counter,
}

impl Record {
    pub(crate) fn new(name: &'static str) -> Self {
        Self {
            name,
            fails: false,
            late: histogram!(LATE, "duty" => name),
            seconds: histogram!(SECONDS, "duty" => name),
            failures: counter!(FAILURES, "duty" => name),
        }
    }

    /// Records how it ended.
    pub(crate) fn outcome<T>(&mut self, result: Result<T>) -> Option<T> {
        match result {
            Ok(done) => {
                if std::mem::take(&mut self.fails) {
                    tracing::info!(duty = self.name, "works again");
                }
                Some(done)
            }
            Err(error) => {
                self.failures.increment(1);
                if !std::mem::replace(&mut self.fails, true) {
                    tracing::warn!(duty = self.name, %error, "a duty failed, it is tried again");
                }
                None
            }
        }
    }
}

/// Gives each metric its unit and its line of help.
pub(crate) fn describe() {
    describe_histogram!(LATE, Unit::Seconds, "How long after its time a duty of the scheduler began");
    describe_histogram!(SECONDS, Unit::Seconds, "How long a duty of the scheduler took");
    describe_counter!(FAILURES, "How often a duty of the scheduler failed");
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use chrono::Utc;
    use gristmill_store::StoreError;
    use tokio::sync::mpsc;

    use super::*;
    use crate::clock::Clock;

    /// Reports each run, and returns what the test prepared.
    struct Scripted {
        script: Arc<Mutex<Vec<Result<Next>>>>,
        takes: Duration,
        done: mpsc::UnboundedSender<Wake>,
    }

    impl Duty for Scripted {
        fn name(&self) -> &'static str {
            "scripted"
        }

        fn every(&self) -> Duration {
            Duration::from_secs(1)
        }

        fn work(&mut self, wake: Wake) -> BoxFuture<'_, Result<Next>> {
            Box::pin(async move {
                tokio::time::sleep(self.takes).await;
                let next = self.script.lock().expect("no panic").pop();
                // After the end of the test there is no receiver.
                let _ = self.done.send(wake);
                next.unwrap_or(Ok(Next::Beat))
            })
        }

        fn end(&mut self) -> BoxFuture<'_, ()> {
            let _ = self.done.send(Wake::First);
            Box::pin(std::future::ready(()))
        }
    }

    struct Kept {
        done: mpsc::UnboundedReceiver<Wake>,
        leads: watch::Sender<bool>,
        stop: CancellationToken,
        task: tokio::task::JoinHandle<()>,
    }

    /// The crate's clock does not run: only the timeout for lost beats fires, three seconds after the last time.
    async fn kept(script: Vec<Result<Next>>, takes: Duration) -> Kept {
        let (sender, done) = mpsc::unbounded_channel();
        let script = Arc::new(Mutex::new(script.into_iter().rev().collect()));
        let duty = Box::new(Scripted { script, takes, done: sender });
        let (leads, follows) = watch::channel(true);
        let stop = CancellationToken::new();
        let beats = Clock::new().await.expect("a clock").register(duty.every(), Utc::now()).await.expect("registered");
        let task = tokio::spawn(keep(duty, beats, follows, stop.clone()));
        Kept { done, leads, stop, task }
    }

    #[tokio::test(start_paused = true)]
    async fn a_duty_is_done_at_once_then_when_it_asks_then_at_its_rhythm_and_again_after_a_failure() {
        let away = Err(StoreError::Unavailable("away".to_owned()));
        let asks = vec![Ok(Next::Now), Ok(Next::In(Duration::from_millis(300))), away];
        let mut kept = kept(asks, Duration::ZERO).await;
        let begun = Instant::now();
        let mut seen = Vec::new();
        for _ in 0..4 {
            let wake = kept.done.recv().await.expect("it goes on");
            seen.push((wake, begun.elapsed().as_millis()));
        }
        assert_eq!(seen, [(Wake::First, 0), (Wake::Asked, 0), (Wake::Asked, 300), (Wake::Beat, 3_000)]);
        kept.task.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn a_duty_rests_while_another_process_leads_and_begins_anew_when_this_one_does() {
        let mut kept = kept(Vec::new(), Duration::ZERO).await;
        assert_eq!(kept.done.recv().await, Some(Wake::First));
        kept.leads.send_replace(false);
        let silent = tokio::time::timeout(Duration::from_secs(600), kept.done.recv()).await;
        assert!(silent.is_err(), "it was done without leadership: {silent:?}");
        kept.leads.send_replace(true);
        assert_eq!(kept.done.recv().await, Some(Wake::First));
        kept.task.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_waits_for_what_is_being_done_and_ends_the_duty_once() {
        let mut kept = kept(vec![Ok(Next::Now)], Duration::from_secs(5)).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        kept.stop.cancel();
        kept.task.await.expect("no panic");
        assert_eq!(kept.done.recv().await, Some(Wake::First), "what was begun is finished");
        assert_eq!(kept.done.recv().await, Some(Wake::First), "it ends");
        assert_eq!(kept.done.recv().await, None, "it is not done again, although it asked for that");
    }
}
