//! RabbitMQ: topology, publishing with confirms, consuming, reconnecting.

mod address;
mod copies;
mod dead_letter;
mod declaring;
mod depths;
pub(crate) mod headers;
mod inbox;
mod lane_consumer;
mod link;
pub(crate) mod looking;
mod prefetch;
mod publisher;
mod status;
mod subscription;
mod topology;
pub(crate) mod unacked;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use gristmill_core::dispatch::{DeadLetter, Dispatch};
use gristmill_core::job::Priority;
use tokio::sync::{OnceCell, watch};

use crate::circuit_breaker::UnresponsiveQueue;
use crate::error::BrokerError;
use crate::health::Health;
use crate::settings::Settings;
use crate::{ConsumeOptions, HOLD, Published};
use address::Address;
pub use copies::Copies;
use declaring::Declared;
use depths::Depths;
use lane_consumer::Source;
use link::{Link, Live, Target};
use publisher::Publisher;
use status::{ConnectionStatus, Role};
pub(crate) use subscription::Subscription;
use subscription::sources_of;
pub(crate) use topology::Names;
pub(crate) use unacked::Settle;

/// Messages over RabbitMQ. Clones share their connections; `Debug` shows no password.
#[derive(Clone)]
pub struct RabbitMq(Arc<Connection>);

struct Connection {
    target: Target,
    publisher: Publisher,
    /// Opened when first needed: a process that only publishes has one connection.
    consuming: OnceCell<Arc<Link>>,
    depths: Depths,
    answer_timeout: Duration,
}

impl fmt::Debug for RabbitMq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RabbitMq({})", self.describe())
    }
}

impl RabbitMq {
    pub(crate) async fn connect(settings: &Settings) -> Result<Self, BrokerError> {
        settings.check()?;
        let names = Names::new(&settings.namespace)?;
        let (address, status) = (Address::parse(settings)?, Arc::new(ConnectionStatus::new()));
        let target = Target { address, names, status, declaring: Arc::default() };
        let timeout = settings.confirm_timeout.0;
        let publisher = Publisher::open(target.clone(), settings.confirm_window, timeout).await?;
        let (consuming, depths) = (OnceCell::new(), Depths::default());
        Ok(Self(Arc::new(Connection { target, publisher, consuming, depths, answer_timeout: timeout })))
    }

    pub(crate) fn describe(&self) -> String {
        format!("{} (names begin with `{}.`)", self.0.target.address, self.0.target.names)
    }

    pub(crate) fn health(&self) -> watch::Receiver<Health> {
        self.0.target.status.subscribe()
    }

    pub(crate) fn unresponsive(&self) -> Vec<UnresponsiveQueue> {
        self.0.publisher.unresponsive()
    }

    pub(crate) async fn publish(
        &self,
        dispatches: &[Dispatch],
        letters: &[DeadLetter],
    ) -> Result<Published, BrokerError> {
        self.0.publisher.publish(dispatches, letters).await
    }

    /// Asked on the consuming connection where there is one: the other one gets no answers while it is blocked.
    pub(crate) async fn depth(&self, queue: &str) -> Result<u32, BrokerError> {
        let live = self.live()?;
        let depth = self.within(self.0.depths.ask(&self.0.target, &live, queue)).await?;
        Ok(u32::try_from(depth).unwrap_or(u32::MAX))
    }

    /// How many copies of dead jobs the queue has.
    pub(crate) async fn copies(&self, queue: &str) -> Result<u32, BrokerError> {
        let (live, name) = (self.live()?, self.0.target.names.dead(queue)?);
        self.within(self.0.target.declare(&live).ready(&name)).await
    }

    pub(crate) async fn take_copies(&self, queue: &str, limit: u32) -> Result<Copies, BrokerError> {
        let (live, name) = (self.live()?, self.0.target.names.dead(queue)?);
        self.within(Copies::take(&self.0.target, &live, &name, limit)).await
    }

    pub(crate) async fn delete_queue(&self, queue: &str) -> Result<u32, BrokerError> {
        let (live, names) = (self.live()?, &self.0.target.names);
        let mut all = vec![names.dead(queue)?];
        for priority in Priority::ALL {
            all.push(names.priority(queue, priority)?);
        }
        let deleted = self.within(self.0.target.declare(&live).delete(&all)).await;
        // Whatever the answer: what is used next is declared anew.
        for live in [self.0.publisher.connection(), self.consumption()].into_iter().flatten() {
            live.forget(&Declared::Priorities(queue.to_owned()));
            live.forget(&Declared::Dead(queue.to_owned()));
        }
        deleted
    }

    fn live(&self) -> Result<Arc<Live>, BrokerError> {
        let live = self.consumption().or_else(|| self.0.publisher.connection());
        live.ok_or_else(|| BrokerError::Unavailable(format!("no connection to {}", self.0.target.address)))
    }

    /// The consuming connection, if it has been opened and is there.
    fn consumption(&self) -> Option<Arc<Live>> {
        self.0.consuming.get().and_then(|link| link.live())
    }

    async fn within<T>(&self, asked: impl Future<Output = Result<T, BrokerError>>) -> Result<T, BrokerError> {
        tokio::time::timeout(self.0.answer_timeout, asked).await.unwrap_or_else(|_| {
            Err(BrokerError::Unavailable(format!("no answer within {} s", self.0.answer_timeout.as_secs_f64())))
        })
    }

    pub(crate) async fn consume(&self, options: &ConsumeOptions) -> Result<Subscription, BrokerError> {
        self.take((options.prefetch, options.hold), sources_of(&options.queues)).await
    }

    pub(crate) async fn consume_returned(&self, prefetch: u16) -> Result<Subscription, BrokerError> {
        self.take((prefetch, HOLD), BTreeSet::from([Source::Returned])).await
    }

    async fn take(
        &self,
        prefetch_and_hold: (u16, Duration),
        sources: BTreeSet<Source>,
    ) -> Result<Subscription, BrokerError> {
        let link = self.consuming().await?;
        Subscription::start(self.0.target.clone(), link, prefetch_and_hold, sources).await
    }

    async fn consuming(&self) -> Result<Arc<Link>, BrokerError> {
        let open = || async { Link::open(self.0.target.clone(), Role::Consume).await.map(Arc::new) };
        self.0.consuming.get_or_try_init(open).await.cloned()
    }

    pub(crate) async fn close(&self) {
        self.0.publisher.close().await;
        if let Some(link) = self.0.consuming.get() {
            link.close().await;
        }
    }
}

impl Subscription {
    /// Takes these queues from now on.
    pub(crate) fn set_queues(&self, queues: &[String]) {
        self.set(sources_of(queues));
    }
}
