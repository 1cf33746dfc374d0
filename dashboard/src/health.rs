//! Whether the process can do its work just now, and if not, why.

use std::time::Duration;

use gristmill_broker::Health as BrokerHealth;
use gristmill_jobs::road::Road;
use gristmill_store::StoreHandle;
use serde::Serialize;

/// A store that takes longer is not there for whoever asks.
const PATIENCE: Duration = Duration::from_secs(2);

/// The answer of `/readyz`.
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
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Health {
    /// Asks store and broker.
    pub async fn of(store: &StoreHandle, road: &Road) -> Self {
        let (store, broker) = (of_store(store).await, of_broker(road));
        Self { ready: store.ok && broker.ok, store, broker }
    }
}

async fn of_store(store: &StoreHandle) -> Part {
    let reason = match tokio::time::timeout(PATIENCE, store.now()).await {
        Ok(Ok(_)) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some(format!("the store did not answer within {PATIENCE:?}")),
    };
    part(store.describe(), reason)
}

pub(crate) fn of_broker(road: &Road) -> Part {
    let reason = match &*road.broker().health().borrow() {
        BrokerHealth::Up => None,
        BrokerHealth::Blocked { reason, since } => {
            Some(format!("it has taken no messages for {} s: {reason}", since.elapsed().as_secs()))
        }
        BrokerHealth::Down { reason, since } => {
            Some(format!("it has been away for {} s: {reason}", since.elapsed().as_secs()))
        }
    };
    part(road.broker().describe(), reason)
}

fn part(name: String, reason: Option<String>) -> Part {
    Part { name, ok: reason.is_none(), reason }
}
