//! The intake from the broker: messages in micro-batches, claimed, then acknowledged.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use gristmill_broker::{Broker, BrokerError, ConsumeOptions, Consumer, Delivery, Message};
use gristmill_core::id::JobId;
use gristmill_core::job::{ClaimedJob, DEFAULT_QUEUE};
use gristmill_service::dispatcher::Dispatcher;
use gristmill_service::poison;
use gristmill_store::{Claim, ClaimReport, Claims, Poison, PoisonSource, Result, StoreHandle};
use tokio::time::Instant;

use crate::claim::distinct;

/// How long a message is kept when its job cannot be claimed now. A message that is given back at once comes back at
/// once.
const PARKED_FOR: Duration = Duration::from_millis(250);

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
    consumer: Consumer,
    /// As configured; empty is all.
    wanted: Vec<String>,
    consumed: BTreeSet<String>,
    looked: Option<Instant>,
    parked: Vec<(Instant, Delivery)>,
    looked_astray: Option<Instant>,
    /// When the last message came from each queue, or else since when it is consumed.
    heard: HashMap<String, Instant>,
    looked_quiet: Option<Instant>,
    /// A quiet queue had a job: messages of the other queues take their turn before it is looked at again.
    more_on_quiet: bool,
    /// A message named a job that is claimed by limits and turns.
    woken: bool,
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
        // Twice the slots: the next micro-batch is here when the first one is done, and no worker holds back what
        // others could run.
        let prefetch = u16::try_from(slots.saturating_mul(2).clamp(2, 2_000)).unwrap_or(u16::MAX);
        let options = ConsumeOptions { queues: consumed.iter().cloned().collect(), prefetch };
        let consumer = broker.consume(options).await?;
        let now = Instant::now();
        Ok(Some(Self {
            consumer,
            heard: consumed.iter().map(|queue| (queue.clone(), now)).collect(),
            looked_quiet: None,
            more_on_quiet: false,
            wanted: wanted.to_vec(),
            consumed,
            looked: None,
            parked: Vec::new(),
            looked_astray: None,
            woken: false,
        }))
    }

    /// Subscribes a worker that serves all queues to new ones: to those that this process has published to at once, to
    /// those that the store knows every two seconds.
    pub(crate) async fn refresh(&mut self, store: &StoreHandle, dispatcher: &Dispatcher) {
        if !self.wanted.is_empty() {
            return;
        }
        let mut found: BTreeSet<String> = dispatcher.queues().borrow().difference(&self.consumed).cloned().collect();
        if self.looked.is_none_or(|looked| looked.elapsed() >= QUEUES_EVERY) {
            self.looked = Some(Instant::now());
            // What the store cannot answer now, it answers in two seconds.
            let known = store.queue_names().await.unwrap_or_default();
            found.extend(known.into_iter().filter(|name| !self.consumed.contains(name)));
        }
        if !found.is_empty() {
            let now = Instant::now();
            self.heard.extend(found.iter().map(|queue| (queue.clone(), now)));
            self.consumed.extend(found);
            self.consumer.set_queues(&self.consumed.iter().cloned().collect::<Vec<_>>());
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
        let quiet = self.heard.iter().filter(|(_, heard)| heard.elapsed() >= after);
        quiet.map(|(queue, _)| queue.clone()).collect()
    }

    /// A quiet queue had a job: as long as that is so, there may be more.
    pub(crate) fn found_on_quiet(&mut self) {
        self.more_on_quiet = true;
    }

    /// Whether messages have come, since this was last called, for jobs that are claimed by limits and turns.
    pub(crate) fn was_woken(&mut self) -> bool {
        std::mem::take(&mut self.woken)
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
        self.unpark().await;
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
        self.hear(&deliveries);
        let (messages, poison) = split(deliveries);
        // The scheduler's probe finds the job that such a message may have meant.
        self.record_poison(&**store, poison).await;
        if messages.is_empty() && misrouted.is_empty() {
            return Ok(Vec::new());
        }
        let ids = distinct(misrouted.into_iter().chain(messages.iter().map(|(id, _)| *id)));
        match store.claim(claim, &ids).await {
            Ok(report) => {
                let ClaimReport { claimed, busy: active, foreign, limited, stale: _, unknown } = report;
                self.woken |= !limited.is_empty();
                if !foreign.is_empty() {
                    metrics::counter!("gristmill_misrouted_total").increment(foreign.len() as u64);
                    tracing::debug!(
                        jobs = foreign.len(),
                        "messages for kinds that this worker lacks: others find them"
                    );
                }
                let (strangers, messages) = apart(messages, &unknown);
                self.answer(messages, &active.into_iter().collect()).await;
                self.record_poison(&**store, strangers).await;
                Ok(claimed)
            }
            Err(error) => {
                let all = messages.iter().map(|(id, _)| *id).collect();
                self.answer(messages, &all).await;
                Err(error)
            }
        }
    }

    fn hear(&mut self, deliveries: &[Delivery]) {
        let now = Instant::now();
        for message in deliveries.iter().filter_map(|delivery| delivery.message.as_ref().ok()) {
            if let Some(heard) = self.heard.get_mut(&message.queue) {
                *heard = now;
            }
        }
    }

    async fn next(&self, limit: usize, wait: Duration, dispatcher: Option<&Dispatcher>) -> Vec<Delivery> {
        let Some(dispatcher) = dispatcher.filter(|_| !wait.is_zero()) else {
            return self.consumer.next(limit, wait).await;
        };
        tokio::select! {
            biased;
            // Nothing is taken before this completes: dropping it loses nothing.
            messages = self.consumer.next(limit, wait) => messages,
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
    pub(crate) async fn stop(mut self) {
        let parked = std::mem::take(&mut self.parked).into_iter().map(|(_, delivery)| delivery).collect();
        self.consumer.requeue(parked).await;
        self.consumer.stop().await;
    }

    /// Claimed and stale messages are acknowledged; the others wait a moment and go back.
    async fn answer(&mut self, messages: Vec<(JobId, Delivery)>, active: &HashSet<JobId>) {
        let (back, through): (Vec<_>, Vec<_>) = messages.into_iter().partition(|(id, _)| active.contains(id));
        let now = Instant::now();
        self.parked.extend(back.into_iter().map(|(_, delivery)| (now, delivery)));
        self.consumer.ack(through.into_iter().map(|(_, delivery)| delivery).collect()).await;
    }

    async fn unpark(&mut self) {
        if self.parked.is_empty() {
            return;
        }
        let (due, still): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.parked).into_iter().partition(|(since, _)| since.elapsed() >= PARKED_FOR);
        self.parked = still;
        if !due.is_empty() {
            self.consumer.requeue(due.into_iter().map(|(_, delivery)| delivery).collect()).await;
        }
    }

    /// Messages that no worker can act upon would come back for ever: they are kept, and acknowledged after that
    /// commit. While the store cannot take them, they wait like messages whose job could not be claimed.
    async fn record_poison(&mut self, store: &dyn Poison, found: Vec<Delivery>) {
        if found.is_empty() {
            return;
        }
        match poison::record_poison(store, &found, PoisonSource::Worker, poison::NO_JOB).await {
            Ok(()) => self.consumer.ack(found).await,
            Err(error) => {
                tracing::warn!(%error, messages = found.len(), "poison could not be kept, and is not acknowledged");
                let now = Instant::now();
                self.parked.extend(found.into_iter().map(|delivery| (now, delivery)));
            }
        }
    }
}

type Messages = Vec<(JobId, Delivery)>;

fn split(deliveries: Vec<Delivery>) -> (Messages, Vec<Delivery>) {
    let (mut messages, mut poison) = (Vec::new(), Vec::new());
    for delivery in deliveries {
        match &delivery.message {
            Ok(Message { job_id, .. }) => messages.push((*job_id, delivery)),
            Err(_) => poison.push(delivery),
        }
    }
    (messages, poison)
}

/// Separates the messages that name jobs unknown to the store from the others.
fn apart(messages: Messages, unknown: &[JobId]) -> (Vec<Delivery>, Messages) {
    if unknown.is_empty() {
        return (Vec::new(), messages);
    }
    let (strangers, known): (Messages, Messages) = messages.into_iter().partition(|(id, _)| unknown.contains(id));
    (strangers.into_iter().map(|(_, delivery)| delivery).collect(), known)
}
