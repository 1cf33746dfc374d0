//! A connection that reopens: [`Link`] and its supervisor.
//!
//! The client's own recovery is not used. It replays channels without the knowledge of the code that holds them, gives
//! up after some attempts, and does nothing about a channel that was closed alone. Here a lost connection is gone, with
//! its channels, pending confirms and unacknowledged messages, and a new one starts from nothing.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use gristmill_core::backoff;
use lapin::{Connection, Event};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::address::Address;
use super::declaring::{Declared, Declaring};
use super::status::{ConnectionStatus, Role};
use super::topology::{Declare, Names};
use crate::error::BrokerError;

/// How long it may take to connect and to declare.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a broker may take to close a connection.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// How often a connection is checked even when it reports nothing.
const LOOK: Duration = Duration::from_secs(1);

/// Returns the wait before the given attempt (counted from 1) to connect, or to consume, again.
pub(crate) fn pause(attempt: u32) -> Duration {
    // The random bits of an identifier are enough; a generator has no other use here.
    let random = f64::from(uuid::Uuid::new_v4().as_fields().0) / f64::from(u32::MAX);
    backoff::BROKER.wait(attempt, random)
}

/// One live connection. After its end its holders get errors, never the answers of another connection.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) connection: Connection,
    /// It is lost, or closed.
    pub(crate) gone: CancellationToken,
    /// What has been declared on it. This is forgotten with the connection, since a broker that comes back may have
    /// been emptied.
    declared: Mutex<HashSet<Declared>>,
}

impl Live {
    pub(crate) fn is_declared(&self, what: &Declared) -> bool {
        self.lock().contains(what)
    }

    pub(crate) fn remember(&self, what: Declared) {
        self.lock().insert(what);
    }

    pub(crate) fn forget(&self, what: &Declared) {
        self.lock().remove(what);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashSet<Declared>> {
        self.declared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is needed to connect.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) address: Address,
    pub(crate) names: Names,
    pub(crate) status: Arc<ConnectionStatus>,
    pub(crate) declaring: Arc<Declaring>,
}

impl Target {
    async fn open(&self, role: Role) -> Result<Arc<Live>, BrokerError> {
        let open = async {
            let connection = self.address.open(role.as_str()).await?;
            let live = Live { connection, gone: CancellationToken::new(), declared: Mutex::default() };
            self.declare(&live).exchanges().await?;
            Ok(Arc::new(live))
        };
        // A host that drops packets must not delay a start for the minutes that TCP would take.
        tokio::time::timeout(OPEN_TIMEOUT, open).await.unwrap_or_else(|_| {
            let (address, seconds) = (&self.address, OPEN_TIMEOUT.as_secs());
            Err(BrokerError::Unavailable(format!("{address} did not answer within {seconds} s")))
        })
    }

    /// Makes sure that it exists with the right arguments, once per connection.
    pub(crate) async fn ensure(&self, live: &Live, wanted: &Declared) -> Result<(), BrokerError> {
        let _turn = self.declaring.turn(wanted).await;
        if !live.is_declared(wanted) {
            match wanted {
                Declared::Priorities(queue) => self.declare(live).priorities(queue).await?,
                Declared::Dead(queue) => self.declare(live).dead(queue).await?,
            }
            live.remember(wanted.clone());
        }
        Ok(())
    }

    pub(crate) fn declare<'a>(&'a self, live: &'a Live) -> Declare<'a> {
        Declare { connection: &live.connection, address: &self.address, names: &self.names }
    }
}

/// A connection that its supervisor reopens whenever it is lost.
#[derive(Debug)]
pub(crate) struct Link {
    live: watch::Receiver<Option<Arc<Live>>>,
    stop: CancellationToken,
    supervisor: Mutex<Option<JoinHandle<()>>>,
}

impl Link {
    /// Waits for the first attempt. A permanent refusal is an error; a broker that is away is not, and connecting is
    /// retried.
    pub(crate) async fn open(target: Target, role: Role) -> Result<Self, BrokerError> {
        let first = match target.open(role).await {
            Ok(live) => Ok(live),
            Err(BrokerError::Unavailable(reason)) => Err(reason),
            Err(refusal) => return Err(refusal),
        };
        let (sender, live) = watch::channel(None);
        let stop = CancellationToken::new();
        let mut supervisor = Supervisor { target, role, live: sender, stop: stop.clone(), said: String::new() };
        supervisor.show(&first);
        let task = tokio::spawn(supervisor.run(first));
        Ok(Self { live, stop, supervisor: Mutex::new(Some(task)) })
    }

    /// Returns the connection, if there is one at present.
    pub(crate) fn live(&self) -> Option<Arc<Live>> {
        self.live.borrow().clone()
    }

    /// Returns the connection as soon as there is one; `None` when the link has been closed.
    pub(crate) async fn wait(&self) -> Option<Arc<Live>> {
        let mut live = self.live.clone();
        live.wait_for(Option::is_some).await.ok().and_then(|live| live.clone())
    }

    /// Closes the connection in order.
    pub(crate) async fn close(&self) {
        self.stop.cancel();
        let supervisor = self.supervisor.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(supervisor) = supervisor {
            let _ = supervisor.await;
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

struct Supervisor {
    target: Target,
    role: Role,
    live: watch::Sender<Option<Arc<Live>>>,
    stop: CancellationToken,
    /// What was logged last, so that a long absence gives one line for each reason, not for each attempt.
    said: String,
}

impl Supervisor {
    async fn run(mut self, first: Result<Arc<Live>, String>) {
        let mut attempt = 0;
        let mut outcome = first;
        loop {
            outcome = match outcome {
                Ok(live) => {
                    attempt = 0;
                    let Some(reason) = self.keep(&live).await else { return };
                    metrics::counter!("gristmill_broker_losses_total", "role" => self.role.as_str()).increment(1);
                    Err(reason)
                }
                Err(_) => {
                    attempt += 1;
                    tokio::select! {
                        () = self.stop.cancelled() => return,
                        () = tokio::time::sleep(pause(attempt)) => {}
                    }
                    tokio::select! {
                        () = self.stop.cancelled() => return,
                        opened = self.target.open(self.role) => opened.map_err(|error| error.to_string()),
                    }
                }
            };
            self.show(&outcome);
        }
    }

    /// Hands out a connection, and updates the status.
    fn show(&mut self, outcome: &Result<Arc<Live>, String>) {
        let role = self.role.as_str();
        match outcome {
            Ok(live) => {
                self.live.send_replace(Some(Arc::clone(live)));
                self.target.status.up(self.role);
                self.said.clear();
                tracing::info!(role, address = %self.target.address, "connected to the broker");
            }
            Err(reason) => {
                if *reason != self.said {
                    tracing::warn!(role, reason, "no connection to the broker; trying again and again");
                    self.said.clone_from(reason);
                }
                self.target.status.down(self.role, reason.clone());
            }
        }
    }

    /// Runs as long as the connection lasts. Returns the reason for its end, or `None` when the link is to stop.
    async fn keep(&self, live: &Live) -> Option<String> {
        let end = tokio::select! {
            reason = self.watch(&live.connection) => Some(reason),
            () = self.stop.cancelled() => None,
        };
        self.live.send_replace(None);
        live.gone.cancel();
        if end.is_none() {
            let close = live.connection.close(200, "gristmill stops".into());
            let _ = tokio::time::timeout(CLOSE_TIMEOUT, close).await;
        }
        end
    }

    /// Runs until the connection is lost.
    async fn watch(&self, connection: &Connection) -> String {
        let mut events = std::pin::pin!(connection.events_listener());
        let mut look = tokio::time::interval(LOOK);
        let mut blocked = false;
        let mut reason = None;
        loop {
            // A closed channel is an event, too: the connection is lost only when it is not connected.
            if !connection.status().connected() {
                return reason.unwrap_or_else(|| "the connection was closed".to_owned());
            }
            if connection.status().blocked() != blocked {
                blocked = !blocked;
                self.blocked(blocked, reason.take());
            }
            tokio::select! {
                event = events.next() => match event {
                    Some(Event::ConnectionBlocked(said)) => reason = Some(said),
                    Some(Event::Error(error)) => reason = Some(error.to_string()),
                    Some(_) => {}
                    None => return "the connection was closed".to_owned(),
                },
                _ = look.tick() => {}
            }
        }
    }

    fn blocked(&self, blocked: bool, reason: Option<String>) {
        if blocked {
            let reason = reason.unwrap_or_else(|| "it gave no reason".to_owned());
            tracing::warn!(role = self.role.as_str(), reason, "the broker takes no messages just now");
            self.target.status.blocked(self.role, reason);
        } else {
            tracing::info!(role = self.role.as_str(), "the broker takes messages again");
            self.target.status.up(self.role);
        }
    }
}
