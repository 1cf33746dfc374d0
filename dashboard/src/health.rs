//! Whether the process can do its work just now, and if not, why, since when, and what to do.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use gristmill_broker::{Health as BrokerHealth, Silence};
use gristmill_jobs::road::Road;
use gristmill_store::{StoreError, StoreHandle, Trouble};
use serde::Serialize;

/// A store that takes longer is not there for whoever asks.
const PATIENCE: Duration = Duration::from_secs(2);

/// The answer of `/readyz`, and of `/healthz` as it was looked at last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Health {
    /// Whether everything can be used.
    pub ready: bool,
    /// The database.
    pub store: Part,
    /// The road.
    pub broker: Part,
}

/// One thing that the process needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Part {
    /// Where it is, without passwords.
    pub name: String,
    /// Whether it can be used.
    pub ok: bool,
    /// Why not; or what is wrong although it can be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Since when that is so, as far as this process knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<DateTime<Utc>>,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mend: Option<&'static str>,
}

/// Looks at store and broker, and remembers since when the store has not answered.
#[derive(Debug, Default)]
pub struct Sight {
    silent_since: Mutex<Option<Instant>>,
    latest: Mutex<Option<Health>>,
}

impl Sight {
    /// Asks store and broker.
    pub async fn look(&self, store: &StoreHandle, road: &Road) -> Health {
        let (store, broker) = (self.of_store(store).await, of_broker(road));
        let health = Health { ready: store.ok && broker.ok, store, broker };
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = Some(health.clone());
        health
    }

    /// What was seen last, without asking anybody. `None` before the first look.
    pub fn latest(&self) -> Option<Health> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A store that answers may still be in trouble: a full disk can be read. What its transactions experience says so.
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
        match (error, since, store.trouble()) {
            (Some(error), Some(since), trouble) => {
                let since = trouble.map_or(since, |trouble| trouble.since.min(since));
                broken(store.describe(), error.to_string(), since, error.mend())
            }
            (_, _, Some(Trouble { reason, mend, since, .. })) => broken(store.describe(), reason, since, Some(mend)),
            (_, _, None) => well(store.describe()),
        }
    }
}

pub(crate) fn of_broker(road: &Road) -> Part {
    let name = road.broker().describe();
    match &*road.broker().health().borrow() {
        BrokerHealth::Up => with_silent_queues(name, &road.silent()),
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

/// A broker can be used while some of its queues give no answer: all but their jobs goes its way.
fn with_silent_queues(name: String, silent: &[Silence]) -> Part {
    let Some(first) = silent.first() else { return well(name) };
    let mut places: Vec<String> = silent.iter().take(NAMED).map(|silence| silence.place.clone()).collect();
    if silent.len() > NAMED {
        places.push(format!("{} more", silent.len() - NAMED));
    }
    let reason = format!("it is there, but no answer comes from {}", places.join(", "));
    let mend = "see whether these queues have a leader (`rabbitmq-queues quorum_status`); what was enqueued waits in the \
                outbox, and work comes from the store";
    Part { ok: true, ..broken(name, reason, first.since.into_std(), Some(mend)) }
}

fn well(name: String) -> Part {
    Part { name, ok: true, reason: None, since: None, mend: None }
}

fn broken(name: String, reason: String, since: Instant, mend: Option<&'static str>) -> Part {
    let ago = TimeDelta::from_std(since.elapsed()).unwrap_or_default();
    Part { name, ok: false, reason: Some(reason), since: Some(Utc::now() - ago), mend }
}
