//! Whether the process can do its work now, and if not, why, since when, and what to do.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use gristmill_broker::{Health as BrokerHealth, UnresponsiveQueue};
use gristmill_core::mail_flow::BreakerState;
use gristmill_jobs::pool::StuckThreads;
use gristmill_service::dispatcher::Dispatcher;
use gristmill_store::{MailRelayView, Outage, StoreError, StoreHandle};
use serde::Serialize;

/// A store that takes longer than this counts as unavailable.
const PATIENCE: Duration = Duration::from_secs(2);

/// What `/readyz` answers; `/healthz` shows the latest such answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Health {
    /// Whether everything can be used.
    pub ready: bool,
    /// The database.
    pub store: Part,
    /// The broker.
    pub broker: Part,
    /// The threads for items; absent while all of them come back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub items: Option<Part>,
    /// The mail relays; absent while all of them are used. Other relays take the mail meanwhile, or it waits: the process
    /// is ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mail: Option<Part>,
}

/// One thing that the process depends on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Part {
    /// Where it is, without passwords. Empty for strangers.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Whether it can be used.
    pub ok: bool,
    /// Why it cannot be used, or what is wrong although it can.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Since when this has been so, as far as this process knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<DateTime<Utc>>,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<&'static str>,
}

impl Health {
    /// The same without addresses, names of queues and words of other programs, which may hold both.
    pub fn for_strangers(self) -> Self {
        let mail = self.mail.map(Part::for_strangers);
        Self { store: self.store.for_strangers(), broker: self.broker.for_strangers(), mail, ..self }
    }
}

impl Part {
    fn for_strangers(self) -> Self {
        let reason = self.reason.map(|_| "ask on the machine itself: there `/readyz` says why".to_owned());
        Self { name: String::new(), reason, ..self }
    }
}

/// Checks the store and the broker, and remembers since when the store has not answered.
#[derive(Debug, Default)]
pub struct HealthMonitor {
    silent_since: Mutex<Option<Instant>>,
    latest: Mutex<Option<Health>>,
}

impl HealthMonitor {
    /// Checks the store, the broker and the threads for items.
    pub async fn check(&self, store: &StoreHandle, dispatcher: &Dispatcher, stuck: &StuckThreads) -> Health {
        let handle = store;
        let (store, broker, items) = (self.of_store(store).await, of_broker(dispatcher), of_items(stuck));
        let mail = if store.ok { of_mail(handle).await } else { None };
        let bearable = items.as_ref().is_none_or(|items| items.ok);
        let health = Health { ready: store.ok && broker.ok && bearable, store, broker, items, mail };
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = Some(health.clone());
        health
    }

    /// The result of the latest check; `None` before the first one.
    pub fn latest(&self) -> Option<Health> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A store that answers may still be in trouble: a full disk can be read. Its transactions report that.
    async fn of_store(&self, store: &StoreHandle) -> Part {
        let error = match tokio::time::timeout(PATIENCE, store.now()).await {
            Ok(Ok(_)) => None,
            Ok(Err(error)) => Some(error),
            Err(_) => Some(StoreError::Unavailable(format!("it did not answer within {PATIENCE:?}"))),
        };
        let since = {
            let mut since = self.silent_since.lock().unwrap_or_else(PoisonError::into_inner);
            *since = error.as_ref().map(|_| since.unwrap_or_else(Instant::now));
            *since
        };
        match (error, since, store.outage()) {
            (Some(error), Some(since), outage) => {
                let since = outage.map_or(since, |outage| outage.since.min(since));
                broken(store.describe(), error.to_string(), since, error.remedy())
            }
            (_, _, Some(Outage { reason, remedy, since, .. })) => broken(store.describe(), reason, since, Some(remedy)),
            (_, _, None) => well(store.describe()),
        }
    }
}

/// Threads that do not come back are replaced, but each keeps a core busy: at some number the process gives up.
fn of_items(stuck: &StuckThreads) -> Option<Part> {
    let (count, most) = (stuck.count(), stuck.most());
    (count > 0 || stuck.is_full()).then(|| Part {
        name: "threads for items".to_owned(),
        ok: !stuck.is_full(),
        reason: Some(format!("{count} of at most {most} did not come back from their item")),
        since: None,
        remedy: Some("see the log for the jobs that timed out, correct what their items run, and restart the process"),
    })
}

/// Relays that are left alone. One that does not let us in comes first: only a person can mend that.
async fn of_mail(store: &StoreHandle) -> Option<Part> {
    let flow = tokio::time::timeout(PATIENCE, store.mail_flow()).await.ok()?.ok()?;
    let alone = |relay: &&MailRelayView| matches!(relay.breaker.state, BreakerState::Open | BreakerState::HalfOpen);
    let mut alone: Vec<&MailRelayView> = flow.relays.iter().filter(alone).collect();
    alone.sort_by_key(|relay| (!relay.breaker.fault, relay.breaker.since));
    let first = alone.first()?;
    let others = if alone.len() > 1 { format!(", and {} more are left alone", alone.len() - 1) } else { String::new() };
    let what = if first.breaker.fault { "does not let us in" } else { "fails" };
    let why = first.breaker.why.as_deref().unwrap_or("it is not known why");
    Some(Part {
        name: "mail relays".to_owned(),
        ok: true,
        reason: Some(format!("the relay {} ({}) {what}: {why}{others}", first.name, first.place)),
        since: Some(first.breaker.since),
        remedy: Some(
            "see `gristmill mail relay list`; correct its settings, then `gristmill mail relay resume NAME`; no mail is given up",
        ),
    })
}

pub(crate) fn of_broker(dispatcher: &Dispatcher) -> Part {
    let name = dispatcher.broker().describe();
    match &*dispatcher.broker().health().borrow() {
        BrokerHealth::Up => with_unresponsive_queues(name, &dispatcher.unresponsive()),
        BrokerHealth::Blocked { reason, since } => broken(
            name,
            format!("it takes no messages: {reason}"),
            since.into_std(),
            Some(
                "make room or memory on the broker; what was enqueued waits in the outbox, and work comes from the store",
            ),
        ),
        BrokerHealth::Down { reason, since } => broken(
            name,
            format!("it is away: {reason}"),
            since.into_std(),
            Some("see that the broker runs and that this machine may reach it; work comes from the store meanwhile"),
        ),
    }
}

/// The most queues that are named.
const NAMED: usize = 5;

/// A broker can be used while some of its queues do not answer: only the jobs of those queues wait.
fn with_unresponsive_queues(name: String, unresponsive: &[UnresponsiveQueue]) -> Part {
    let Some(first) = unresponsive.first() else { return well(name) };
    let mut places: Vec<String> = unresponsive.iter().take(NAMED).map(|queue| queue.place.clone()).collect();
    if unresponsive.len() > NAMED {
        places.push(format!("{} more", unresponsive.len() - NAMED));
    }
    let reason = format!("it is there, but no answer comes from {}", places.join(", "));
    let remedy = "see whether these queues have a leader (`rabbitmq-queues quorum_status`); what was enqueued waits in the \
                outbox, and work comes from the store";
    Part { ok: true, ..broken(name, reason, first.since.into_std(), Some(remedy)) }
}

fn well(name: String) -> Part {
    Part { name, ok: true, reason: None, since: None, remedy: None }
}

fn broken(name: String, reason: String, since: Instant, remedy: Option<&'static str>) -> Part {
    let ago = TimeDelta::from_std(since.elapsed()).unwrap_or_default();
    Part { name, ok: false, reason: Some(reason), since: Some(Utc::now() - ago), remedy }
}
