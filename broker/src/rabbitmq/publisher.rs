//! Publishing: persistent, mandatory, and confirmed in windows.
//!
//! A message counts as published only when the broker has acknowledged it *and* has not sent it
//! back. Without `mandatory` it acknowledges what no queue takes; with it, it sends that back first
//! and acknowledges then all the same.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gristmill_core::dispatch::{Dispatch, Purpose};
use gristmill_core::id::JobId;
use lapin::message::BasicReturnMessage;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Confirmation, PublisherConfirm};

use super::board::Role;
use super::link::{Link, Live, Target};
use crate::Published;
use crate::error::BrokerError;
use crate::health::Health;
use crate::message::Message;
use crate::passage;

/// Delivery mode 2: the broker writes it to disk before it confirms.
const PERSISTENT: u8 = 2;

/// The header that marks a copy of a dead job.
const PURPOSE_HEADER: &str = "gristmill-purpose";

/// Publishes over one connection; each call has a channel to itself while it runs.
#[derive(Debug)]
pub(crate) struct Publisher {
    target: Target,
    link: Link,
    window: usize,
    timeout: Duration,
    idle: Mutex<Vec<Idle>>,
}

/// A channel in confirm mode that nobody uses just now.
#[derive(Debug)]
struct Idle {
    live: Arc<Live>,
    channel: Channel,
}

impl Publisher {
    pub(crate) async fn open(target: Target, window: usize, timeout: Duration) -> Result<Self, BrokerError> {
        let link = Link::open(target.clone(), Role::Publish).await?;
        Ok(Self { target, link, window: window.max(1), timeout, idle: Mutex::default() })
    }

    pub(crate) async fn publish(&self, dispatches: &[Dispatch]) -> Result<Published, BrokerError> {
        let live = self.live()?;
        let (routes, refusal) = self.routes(&live, dispatches).await;
        if let Some(refusal) = refusal {
            if routes.iter().all(Option::is_none) {
                return Err(refusal);
            }
            tracing::error!(error = %refusal, "a queue cannot be published to; the others are");
        }
        let channel = self.within("open a channel", self.channel(&live)).await?;
        let mut round = Round::new(self, &channel, dispatches);
        let lost = Err("the connection is lost".to_owned());
        let outcome = live.gone.run_until_cancelled(round.run(&routes)).await.unwrap_or(lost);
        let tally = round.tally;
        for dispatch in dispatches.iter().filter(|dispatch| tally.was_returned(dispatch)) {
            live.forget(&declared_as(dispatch));
        }
        match outcome {
            Ok(()) => self.lock().push(Idle { live, channel }),
            // Dropping the channel closes it: what it still had pending is unknown, and stays so.
            Err(reason) => tracing::warn!(reason, "publishing broke off; the rest will be published again"),
        }
        Ok(tally.published(dispatches))
    }

    pub(crate) async fn close(&self) {
        self.lock().clear();
        self.link.close().await;
    }

    /// The connection, unless it would only make us wait for the confirm timeout.
    fn live(&self) -> Result<Arc<Live>, BrokerError> {
        let reason = match self.target.board.get(Role::Publish) {
            Health::Up => None,
            Health::Down { reason, .. } => Some(reason),
            Health::Blocked { reason, .. } => Some(format!("it takes no messages just now: {reason}")),
        };
        match (reason, self.link.live()) {
            (None, Some(live)) => Ok(live),
            (Some(reason), _) => Err(BrokerError::Unavailable(reason)),
            (None, None) => Err(BrokerError::Unavailable("the connection is closed".to_owned())),
        }
    }

    /// Where each dispatch goes, declared if need be; nothing for those whose queue is refused.
    async fn routes(&self, live: &Live, dispatches: &[Dispatch]) -> (Vec<Option<Route>>, Option<BrokerError>) {
        let (mut routes, mut refusal) = (Vec::with_capacity(dispatches.len()), None);
        for dispatch in dispatches {
            match self.within("declare a queue", self.route(live, dispatch)).await {
                Ok(route) => routes.push(Some(route)),
                Err(error) => {
                    refusal.get_or_insert(error);
                    routes.push(None);
                }
            }
        }
        (routes, refusal)
    }

    async fn route(&self, live: &Live, dispatch: &Dispatch) -> Result<Route, BrokerError> {
        let (names, declare) = (&self.target.names, self.target.declare(live));
        let route = match dispatch.purpose {
            Purpose::Dispatch => Route { exchange: names.exchange(), key: names.lane(&dispatch.queue, dispatch.lane)? },
            Purpose::DeadLetter => Route { exchange: ShortString::default(), key: names.dead(&dispatch.queue)? },
        };
        let _turn = self.target.declaring.lock().await;
        if !live.is_declared(&declared_as(dispatch)) {
            match dispatch.purpose {
                Purpose::Dispatch => declare.lanes(&dispatch.queue).await?,
                Purpose::DeadLetter => declare.dead(&dispatch.queue).await?,
            }
            live.remember(declared_as(dispatch));
        }
        Ok(route)
    }

    async fn channel(&self, live: &Arc<Live>) -> Result<Channel, BrokerError> {
        while let Some(idle) = self.take_idle() {
            if Arc::ptr_eq(&idle.live, live) && idle.channel.status().connected() {
                return Ok(idle.channel);
            }
        }
        let explain = |error: lapin::Error| self.target.address.explain(&error, None);
        let channel = live.connection.create_channel().await.map_err(explain)?;
        channel.confirm_select(ConfirmSelectOptions::default()).await.map_err(explain)?;
        Ok(channel)
    }

    fn take_idle(&self) -> Option<Idle> {
        self.lock().pop()
    }

    /// A connection whose broker is out of memory is not read any more: every answer may stay away.
    async fn within<T>(
        &self,
        doing: &str,
        work: impl Future<Output = Result<T, BrokerError>>,
    ) -> Result<T, BrokerError> {
        tokio::time::timeout(self.timeout, work).await.unwrap_or_else(|_| {
            Err(BrokerError::Unavailable(format!("it took longer than {} s to {doing}", self.timeout.as_secs_f64())))
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Under what the declarations of a dispatch's queue are remembered.
fn declared_as(dispatch: &Dispatch) -> String {
    match dispatch.purpose {
        Purpose::Dispatch => format!("lanes {}", dispatch.queue),
        Purpose::DeadLetter => format!("dead {}", dispatch.queue),
    }
}

/// Where a message goes.
#[derive(Debug, Clone)]
struct Route {
    exchange: ShortString,
    key: ShortString,
}

/// One call of `publish`.
struct Round<'a> {
    channel: &'a Channel,
    dispatches: &'a [Dispatch],
    window: usize,
    timeout: Duration,
    pending: VecDeque<(usize, PublisherConfirm)>,
    tally: Tally,
}

impl<'a> Round<'a> {
    fn new(publisher: &Publisher, channel: &'a Channel, dispatches: &'a [Dispatch]) -> Self {
        Self {
            channel,
            dispatches,
            window: publisher.window,
            timeout: publisher.timeout,
            pending: VecDeque::new(),
            tally: Tally::new(dispatches.len()),
        }
    }

    /// Sends all, never more than a window ahead of the confirms. The error says why it broke off.
    async fn run(&mut self, routes: &[Option<Route>]) -> Result<(), String> {
        for (row, (dispatch, route)) in self.dispatches.iter().zip(routes).enumerate() {
            let Some(route) = route else { continue };
            for job in &dispatch.jobs {
                if self.pending.len() >= self.window {
                    self.confirm_oldest().await?;
                }
                let confirm = self.send(dispatch, *job, route).await?;
                passage::point("publish.sending");
                self.pending.push_back((row, confirm));
            }
        }
        while !self.pending.is_empty() {
            self.confirm_oldest().await?;
        }
        Ok(())
    }

    async fn send(&self, dispatch: &Dispatch, job: JobId, route: &Route) -> Result<PublisherConfirm, String> {
        let body = Message::new(job, dispatch.queue.as_str()).encode();
        let options = BasicPublishOptions { mandatory: true, immediate: false };
        let (exchange, key) = (route.exchange.clone(), route.key.clone());
        let sent = self.channel.basic_publish(exchange, key, options, &body, properties(dispatch.purpose, job));
        match tokio::time::timeout(self.timeout, sent).await {
            Ok(Ok(confirm)) => Ok(confirm),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("the broker does not read".to_owned()),
        }
    }

    async fn confirm_oldest(&mut self) -> Result<(), String> {
        let Some((row, confirm)) = self.pending.pop_front() else { return Ok(()) };
        match tokio::time::timeout(self.timeout, confirm).await {
            Ok(Ok(confirmation)) => self.tally.record(row, confirmation),
            Ok(Err(error)) => return Err(error.to_string()),
            Err(_) => return Err(format!("no confirm within {} s", self.timeout.as_secs_f64())),
        }
        Ok(())
    }
}

fn properties(purpose: Purpose, job: JobId) -> BasicProperties {
    let properties = BasicProperties::default()
        .with_delivery_mode(PERSISTENT)
        .with_content_type("application/json".into())
        .with_app_id("gristmill".into())
        .with_message_id(job.to_string().into());
    match purpose {
        Purpose::Dispatch => properties,
        Purpose::DeadLetter => {
            let mut headers = FieldTable::default();
            headers.insert(PURPOSE_HEADER.into(), AMQPValue::LongString("dead_letter".into()));
            properties.with_headers(headers)
        }
    }
}

/// What is known of each row.
#[derive(Debug)]
struct Tally {
    acked: Vec<usize>,
    returned: HashSet<JobId>,
    /// A returned message that cannot be told apart: then nothing is sure.
    unknown_returned: bool,
}

impl Tally {
    fn new(rows: usize) -> Self {
        Self { acked: vec![0; rows], returned: HashSet::new(), unknown_returned: false }
    }

    /// The confirm of one message. What comes with it may be the return of *another* one, since the
    /// client hands returns out in the order of their coming: only its id tells.
    fn record(&mut self, row: usize, confirmation: Confirmation) {
        let acked = confirmation.is_ack();
        if acked {
            self.acked[row] += 1;
        }
        if let Some(message) = confirmation.take_message() {
            match job_of(&message) {
                Some(job) => drop(self.returned.insert(job)),
                None => self.unknown_returned = true,
            }
        }
    }

    fn was_returned(&self, dispatch: &Dispatch) -> bool {
        self.unknown_returned || dispatch.jobs.iter().any(|job| self.returned.contains(job))
    }

    fn published(&self, dispatches: &[Dispatch]) -> Published {
        let mut published = Published::default();
        for (dispatch, acked) in dispatches.iter().zip(&self.acked) {
            if *acked == dispatch.jobs.len() && !self.was_returned(dispatch) {
                published.confirmed.push(dispatch.outbox);
            } else {
                published.unconfirmed.push(dispatch.outbox);
            }
        }
        let ids: usize = self.acked.iter().sum();
        metrics::counter!("gristmill_broker_confirms_total").increment(ids as u64);
        published
    }
}

fn job_of(message: &BasicReturnMessage) -> Option<JobId> {
    message.properties.message_id().as_ref()?.as_str().parse().ok()
}
