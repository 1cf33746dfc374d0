//! A broker without a network, for simulations: the seed decides the fate of every message.
//!
//! It runs on paused time and on one thread, so that the same seed gives the same run. A message may be refused, lost,
//! doubled, late, overtaken or followed by poison; a broker may be blocked, away or purged; a process may be stalled or
//! killed, and what it held goes to others.

mod connection;
mod life;
mod server;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gristmill_core::id::JobId;
use gristmill_core::job::Priority;
use gristmill_testkit::Random;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

pub use connection::Connection;
pub(crate) use connection::Subscription;
pub use life::Life;
pub use server::{Census, Tally, Vices, Weather};

use crate::{Broker, Health};
use server::Server;

/// The broker itself. Clones are the same one.
#[derive(Debug, Clone)]
pub struct Simulated(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    server: Mutex<Server>,
    health: watch::Sender<Health>,
    arrived: Notify,
}

impl Shared {
    fn server(&self) -> MutexGuard<'_, Server> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Simulated {
    /// Creates one in good weather, without messages.
    pub fn new(random: Random) -> Self {
        let server = Mutex::new(Server::new(random));
        Self(Arc::new(Shared { server, health: watch::Sender::new(Health::Up), arrived: Notify::new() }))
    }

    /// A connection for one incarnation of a process.
    pub fn connect(&self, life: Life) -> Connection {
        Connection { shared: Arc::clone(&self.0), life, takers: Arc::default() }
    }

    /// Closes a connection: what its consumers held goes to others. Their acknowledgements come too late.
    pub fn disconnect(&self, connection: &Connection) {
        let takers = connection.takers.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for taker in takers {
            self.0.server().forget(taker);
        }
        self.0.arrived.notify_waiters();
    }

    /// Sets how often things go wrong from now on.
    pub fn weather(&self, weather: Weather) {
        self.0.server().weather = weather;
    }

    /// Sets its vices from now on.
    pub fn vices(&self, vices: Vices) {
        self.0.server().vices = vices;
    }

    /// Makes it unreachable. Deliveries go back.
    pub fn away(&self) {
        self.0.server().forget_all();
        self.0.health.send_replace(Health::Down { since: Instant::now(), reason: "it is away".to_owned() });
    }

    /// Makes it take no more messages, while it still delivers.
    pub fn blocked(&self) {
        self.0.health.send_replace(Health::Blocked { since: Instant::now(), reason: "low on memory".to_owned() });
    }

    /// Makes it usable again.
    pub fn back(&self) {
        self.0.health.send_replace(Health::Up);
        self.0.arrived.notify_waiters();
    }

    /// Drops everything that waits, and returns how many messages that was.
    pub fn purge(&self) -> usize {
        self.0.server().purge()
    }

    /// Puts an unreadable message on a queue.
    pub fn poison(&self, queue: &str, priority: Priority) {
        self.0.server().poison(queue, priority);
        self.0.arrived.notify_waiters();
    }

    /// What has happened so far.
    pub fn tally(&self) -> Tally {
        self.0.server().tally
    }

    /// What is there now.
    pub fn census(&self) -> Census {
        self.0.server().census()
    }

    /// The most messages that ever waited in one queue.
    pub fn deepest(&self) -> u32 {
        self.0.server().deepest
    }

    /// Returns every job of which a copy has reached the queue of dead letters.
    pub fn copies(&self) -> BTreeSet<JobId> {
        self.0.server().copies()
    }
}

impl From<Connection> for Broker {
    fn from(connection: Connection) -> Self {
        Self::Simulated(connection)
    }
}
