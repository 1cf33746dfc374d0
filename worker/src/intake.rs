//! The intake from the broker: which queues messages are taken from, and micro-batches of them for claims.

use std::collections::BTreeSet;
use std::time::Duration;

use gristmill_broker::{Broker, BrokerError, ConsumeOptions, Delivery, HOLD};
use gristmill_core::id::JobId;
use gristmill_core::job::{ClaimedJob, DEFAULT_QUEUE};
use gristmill_service::dispatcher::Dispatcher;
use gristmill_store::{Claim, Claims, Result, StoreHandle};
use tokio::time::Instant;

use crate::messages::Messages;

/// The longest that one look for messages takes, so that a stop, a new queue and a failing broker are noticed in time.
/// Looking costs nothing: the broker pushes the messages to us.
const LOOK_AT_MOST: Duration = Duration::from_millis(250);

/// How often the store is asked for jobs whose message went to a worker that lacks their kind.
const ASTRAY_EVERY: Duration = Duration::from_millis(250);

/// How often a worker that serves all queues looks for new ones.
const QUEUES_EVERY: Duration = Duration::from_secs(2);

/// How often the store is asked about a quiet queue in the time after which a queue counts as quiet.
const LOOKS_WHILE_QUIET: u32 = 6;

/// One process's share of the messages.
#[derive(Debug)]
pub(crate) struct Intake {
    messages: Messages,
    /// As configured; empty is all.
    wanted: Vec<String>,
    consumed: BTreeSet<String>,
    /// What of the queues that this process publishes to has been considered.
    published: BTreeSet<String>,
    looked: Option<Instant>,
    looked_astray: Option<Instant>,
    looked_quiet: Option<Instant>,
    /// A quiet queue had a job: messages of the other queues take their turn before it is looked at again.
    more_on_quiet: bool,
}

impl Intake {
    /// Begins to consume. `None` when the broker carries no ids.
    pub(crate) async fn open(
        broker: &Broker,
        wanted: &[String],
        slots: u32,
    ) -> std::result::Result<Option<Self>, BrokerError> {
        if !broker.carries() {
            return Ok(None);
        }
        let consumed: BTreeSet<String> =
            if wanted.is_empty() { [DEFAULT_QUEUE.to_owned()].into() } else { wanted.iter().cloned().collect() };
        // Twice the slots: the next micro-batch is here when the first one is done. What then finds no free slot goes
        // back, so that no worker holds back what others could run.
        let prefetch = u16::try_from(slots.saturating_mul(2).clamp(2, 2_000)).unwrap_or(u16::MAX);
        let options = ConsumeOptions { queues: consumed.iter().cloned().collect(), prefetch, hold: HOLD };
        let consumer = broker.consume(options).await?;
        let messages = Messages::new(consumer);
        messages.set_queues(&consumed);
        Ok(Some(Self {
            messages,
            looked_quiet: None,
            more_on_quiet: false,
            wanted: wanted.to_vec(),
            consumed,
            published: BTreeSet::new(),
            looked: None,
            looked_astray: None,
        }))
    }

    /// Subscribes a worker that serves all queues to new ones: to those that this process has published to at once, to
    /// those that the store knows every two seconds. Those that the store knows no longer are left.
    pub(crate) async fn refresh(&mut self, store: &StoreHandle, dispatcher: &Dispatcher) {
        if !self.wanted.is_empty() {
            return;
        }
        let new: Vec<String> = dispatcher.queues().borrow().difference(&self.published).cloned().collect();
        self.published.extend(new.iter().cloned());
        let mut wanted: BTreeSet<String> = self.consumed.iter().cloned().chain(new).collect();
        if self.looked.is_none_or(|looked| looked.elapsed() >= QUEUES_EVERY) {
            self.looked = Some(Instant::now());
            // What the store cannot answer now, it answers in two seconds. It knew the published ones before they were.
            if let Ok(known) = store.queue_names().await {
                wanted = known.into_iter().chain([DEFAULT_QUEUE.to_owned()]).collect();
            }
        }
        if wanted != self.consumed {
            self.messages.set_queues(&wanted);
            self.consumed = wanted;
        }
    }

    /// Returns, now and then, the queues from which no message has come for this long: they are empty or cannot be
    /// reached, for a broker can be up while one of its queues is not (a quorum queue that has lost its majority takes
    /// and gives nothing). Only the store knows.
    pub(crate) fn quiet(&mut self, after: Duration) -> Vec<String> {
        if self.more_on_quiet || self.looked_quiet.is_some_and(|looked| looked.elapsed() < after / LOOKS_WHILE_QUIET) {
            return Vec::new();
        }
        self.looked_quiet = Some(Instant::now());
        self.messages.quiet(after)
    }

    /// A quiet queue had a job: as long as that is so, there may be more.
    pub(crate) fn found_on_quiet(&mut self) {
        self.more_on_quiet = true;
    }

    /// Whether messages have come, since this was last called, for jobs that are claimed by limits and turns.
    pub(crate) fn was_woken(&self) -> bool {
        self.messages.was_woken()
    }

    /// Takes messages, claims their jobs, and acknowledges after the commit. With a `dispatcher`, the wait also ends
    /// when this process has committed something.
    pub(crate) async fn claim(
        &mut self,
        store: &StoreHandle,
        claim: &Claim,
        wait: Duration,
        dispatcher: Option<&Dispatcher>,
    ) -> Result<Vec<ClaimedJob>> {
        let wait = if std::mem::take(&mut self.more_on_quiet) {
            self.looked_quiet = None;
            Duration::ZERO
        } else {
            wait
        };
        let misrouted = self.misrouted(&**store, claim).await?;
        let wait = if misrouted.is_empty() { wait.min(LOOK_AT_MOST) } else { Duration::ZERO };
        let limit = usize::try_from(claim.limit).unwrap_or(usize::MAX) - misrouted.len();
        let deliveries = self.next(limit, wait, dispatcher).await;
        self.messages.claim(store, claim, misrouted, deliveries).await
    }

    async fn next(&self, limit: usize, wait: Duration, dispatcher: Option<&Dispatcher>) -> Vec<Delivery> {
        let Some(dispatcher) = dispatcher.filter(|_| !wait.is_zero()) else {
            return self.messages.consumer.next(limit, wait).await;
        };
        tokio::select! {
            biased;
            // Nothing is taken before this completes: dropping it loses nothing.
            messages = self.messages.consumer.next(limit, wait) => messages,
            () = dispatcher.work() => Vec::new(),
        }
    }

    /// Claims, now and then, jobs whose message went to a worker that lacks their kind.
    async fn misrouted(&mut self, store: &dyn Claims, claim: &Claim) -> Result<Vec<JobId>> {
        if self.looked_astray.is_some_and(|looked| looked.elapsed() < ASTRAY_EVERY) {
            return Ok(Vec::new());
        }
        let found = store.misrouted(claim).await?;
        // As long as some are found, there may be more.
        self.looked_astray = found.is_empty().then(Instant::now);
        Ok(found)
    }

    /// Gives back every message that waits here.
    pub(crate) async fn stop(self) {
        self.messages.consumer.stop().await;
    }
}

#[cfg(test)]
mod tests {
    use gristmill_broker::Settings;
    use gristmill_core::job::NewJob;
    use gristmill_store::testing::{self, TestStore};

    use super::*;

    #[tokio::test]
    async fn a_worker_that_serves_all_queues_takes_up_new_ones_and_leaves_those_that_the_store_has_forgotten() {
        // Nothing listens on port 9: what is consumed is known all the same.
        let settings = Settings { url: "amqp://guest:guest@127.0.0.1:9/%2f".to_owned(), ..Settings::default() };
        let broker = Broker::connect(&settings).await.expect("a broker that is away is no error");
        let store = TestStore::sqlite(true).await;
        let dispatcher = Dispatcher::new(store.handle(), broker.clone(), 100);
        let mut intake = Intake::open(&broker, &[], 1).await.expect("consuming").expect("ids travel");
        let consumed = |intake: &Intake| intake.consumed.iter().cloned().collect::<Vec<_>>();
        let job = NewJob { queue: "mail".to_owned(), ..testing::job() };
        dispatcher.after(store.enqueue(std::slice::from_ref(&job))).await.expect("enqueued");
        intake.refresh(&store.handle(), &dispatcher).await;
        assert_eq!(consumed(&intake), [DEFAULT_QUEUE, "mail"]);
        store.tamper("DELETE FROM queue_count WHERE queue = 'mail'").await;
        intake.refresh(&store.handle(), &dispatcher).await;
        assert_eq!(consumed(&intake), [DEFAULT_QUEUE, "mail"], "it was looked at a moment ago");
        intake.looked = None;
        intake.refresh(&store.handle(), &dispatcher).await;
        assert_eq!(consumed(&intake), [DEFAULT_QUEUE]);
        intake.refresh(&store.handle(), &dispatcher).await;
        assert_eq!(
            consumed(&intake),
            [DEFAULT_QUEUE],
            "that this process has once published to it does not bring it back"
        );
    }
}
