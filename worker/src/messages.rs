//! One claim by message: the claim of the jobs that messages name, and after its commit what becomes of the messages.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use gristmill_broker::{Consumer, Delivery, Message};
use gristmill_core::id::JobId;
use gristmill_core::job::ClaimedJob;
use gristmill_service::poison;
use gristmill_store::{Claim, ClaimReport, PoisonSource, Result, StoreHandle};
use tokio::time::Instant;

/// After how long a message goes back whose job cannot be claimed now. A message that is given back at once comes back
/// at once.
const BACK_AFTER: Duration = Duration::from_millis(250);

/// Claims by message. Clones share the consumer, so that claims may overlap.
#[derive(Debug, Clone)]
pub(crate) struct Messages {
    pub(crate) consumer: Arc<Consumer>,
    /// A message named a job that is claimed by limits and turns.
    woken: Arc<AtomicBool>,
    /// When the last message came from each queue, or else since when it is consumed. In order, so that a claim names them
    /// in the same order each time.
    heard: Arc<Mutex<BTreeMap<String, Instant>>>,
}

impl Messages {
    pub(crate) fn new(consumer: Consumer) -> Self {
        Self { consumer: Arc::new(consumer), woken: Arc::default(), heard: Arc::default() }
    }

    /// Takes messages of these queues from now on.
    pub(crate) fn set_queues(&self, queues: &BTreeSet<String>) {
        let (now, mut heard) = (Instant::now(), self.heard());
        heard.retain(|queue, _| queues.contains(queue));
        for queue in queues {
            heard.entry(queue.clone()).or_insert(now);
        }
        self.consumer.set_queues(&queues.iter().cloned().collect::<Vec<_>>());
    }

    /// Returns the queues from which no message has come for this long.
    pub(crate) fn quiet(&self, after: Duration) -> Vec<String> {
        let heard = self.heard();
        heard.iter().filter(|(_, heard)| heard.elapsed() >= after).map(|(queue, _)| queue.clone()).collect()
    }

    fn hear(&self, deliveries: &[Delivery]) {
        let (now, mut heard) = (Instant::now(), self.heard());
        for message in deliveries.iter().filter_map(|delivery| delivery.message.as_ref().ok()) {
            if let Some(heard) = heard.get_mut(&message.queue) {
                *heard = now;
            }
        }
    }

    fn heard(&self) -> MutexGuard<'_, BTreeMap<String, Instant>> {
        // Nothing in here can panic halfway.
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether messages have come, since this was last called, for jobs that are claimed by limits and turns.
    pub(crate) fn was_woken(&self) -> bool {
        self.woken.swap(false, Ordering::Relaxed)
    }

    /// Claims the jobs that messages name, and the misrouted ones, and acknowledges after the commit.
    ///
    /// # Errors
    ///
    /// Store errors. The messages go back then.
    pub(crate) async fn claim(
        &self,
        store: &StoreHandle,
        claim: &Claim,
        misrouted: Vec<JobId>,
        deliveries: Vec<Delivery>,
    ) -> Result<Vec<ClaimedJob>> {
        self.hear(&deliveries);
        let (messages, poison) = split(deliveries);
        // The scheduler's probe finds the job that such a message may have meant.
        self.record_poison(store, poison).await;
        if messages.is_empty() && misrouted.is_empty() {
            return Ok(Vec::new());
        }
        let ids = distinct(misrouted.into_iter().chain(messages.iter().map(|(id, _)| *id)));
        match store.claim(claim, &ids).await {
            Ok(report) => {
                let ClaimReport { claimed, busy, foreign, limited, stale: _, unknown } = report;
                if !limited.is_empty() {
                    self.woken.store(true, Ordering::Relaxed);
                }
                if !foreign.is_empty() {
                    metrics::counter!("gristmill_misrouted_total").increment(foreign.len() as u64);
                    let jobs = foreign.len();
                    tracing::debug!(jobs, "messages for kinds that this worker lacks: others find them");
                }
                let (strangers, messages) = apart(messages, &unknown);
                self.answer(messages, &busy.into_iter().collect()).await;
                self.record_poison(store, strangers).await;
                Ok(claimed)
            }
            Err(error) => {
                let all = messages.iter().map(|(id, _)| *id).collect();
                self.answer(messages, &all).await;
                Err(error)
            }
        }
    }

    /// Claimed and stale messages are acknowledged; the others wait a moment and go back.
    async fn answer(&self, messages: Named, busy: &HashSet<JobId>) {
        let (back, through): (Named, Named) = messages.into_iter().partition(|(id, _)| busy.contains(id));
        if !back.is_empty() {
            self.consumer.requeue_after(back.into_iter().map(|(_, delivery)| delivery).collect(), BACK_AFTER);
        }
        self.consumer.ack(through.into_iter().map(|(_, delivery)| delivery).collect()).await;
    }

    /// Messages that no worker can act upon would come back for ever: they are kept, and acknowledged after that
    /// commit. While the store cannot take them, they wait like messages whose job could not be claimed.
    async fn record_poison(&self, store: &StoreHandle, found: Vec<Delivery>) {
        if found.is_empty() {
            return;
        }
        match poison::record_poison(&**store, &found, PoisonSource::Worker, poison::NO_JOB).await {
            Ok(()) => self.consumer.ack(found).await,
            Err(error) => {
                tracing::warn!(%error, messages = found.len(), "poison could not be kept, and is not acknowledged");
                self.consumer.requeue_after(found, BACK_AFTER);
            }
        }
    }
}

type Named = Vec<(JobId, Delivery)>;

fn split(deliveries: Vec<Delivery>) -> (Named, Vec<Delivery>) {
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
fn apart(messages: Named, unknown: &[JobId]) -> (Vec<Delivery>, Named) {
    if unknown.is_empty() {
        return (Vec::new(), messages);
    }
    let (strangers, known): (Named, Named) = messages.into_iter().partition(|(id, _)| unknown.contains(id));
    (strangers.into_iter().map(|(_, delivery)| delivery).collect(), known)
}

/// The ids of a micro-batch, each once.
fn distinct<T: Copy + Eq + std::hash::Hash>(ids: impl Iterator<Item = T>) -> Vec<T> {
    let mut seen = HashSet::new();
    ids.filter(|id| seen.insert(*id)).collect()
}
