//! Publishing: persistent, mandatory, and confirmed in windows.
//!
//! A message counts as published only when the broker has acknowledged it *and* has not returned it. Without
//! `mandatory`, the broker acknowledges messages that no queue takes; with it, the broker first returns such a message
//! and then still acknowledges it.
//!
//! Each of the broker's queues has its own channel while messages are published to it. A queue that does not answer,
//! such as one whose nodes have no majority, delays nothing but itself.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use gristmill_core::dispatch::{DeadLetter, Dispatch, Purpose};
use gristmill_core::id::JobId;
use lapin::message::BasicReturnMessage;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::ShortString;
use lapin::{BasicProperties, Channel, Confirmation};

use super::dead_letter::Letters;
use super::declaring::Declared;
use super::link::{Link, Live, Target};
use super::status::Role;
use crate::Published;
use crate::circuit_breaker::{CircuitBreaker, Permit, UnresponsiveQueue};
use crate::error::BrokerError;
use crate::failpoint;
use crate::health::Health;
use crate::message::Message;

/// How many of the broker's queues one call publishes to at once.
const AT_ONCE: usize = 32;

/// Publishes over one connection.
#[derive(Debug)]
pub(crate) struct Publisher {
    target: Target,
    link: Link,
    window: usize,
    timeout: Duration,
    idle: Mutex<Vec<Idle>>,
    breaker: CircuitBreaker,
}

/// A channel in confirm mode that is not in use.
#[derive(Debug)]
struct Idle {
    live: Arc<Live>,
    channel: Channel,
}

/// What became of the rows for one of the broker's queues.
type Outcome = (Vec<i64>, Result<(), BrokerError>);

impl Publisher {
    pub(crate) async fn open(target: Target, window: usize, timeout: Duration) -> Result<Self, BrokerError> {
        let link = Link::open(target.clone(), Role::Publish).await?;
        let (idle, breaker) = (Mutex::default(), CircuitBreaker::default());
        Ok(Self { target, link, window: window.max(1), timeout, idle, breaker })
    }

    /// An error when nothing at all could be sent.
    pub(crate) async fn publish(
        &self,
        dispatches: &[Dispatch],
        letters: &[DeadLetter],
    ) -> Result<Published, BrokerError> {
        let (live, letters) = (self.live()?, Letters::new(letters));
        let queues = by_queue(dispatches).into_iter();
        let tries: Vec<_> = queues.map(|rows| self.publish_to_one(&live, rows, &letters)).collect();
        let outcomes: Vec<Outcome> = futures::stream::iter(tries).buffer_unordered(AT_ONCE).collect().await;
        let (mut confirmed, mut refusals) = (HashSet::new(), Vec::new());
        let queues = outcomes.len();
        for (rows, outcome) in outcomes {
            confirmed.extend(rows);
            refusals.extend(outcome.err());
        }
        if queues > 0 && refusals.len() == queues {
            return Err(refusals.swap_remove(0));
        }
        for error in refusals {
            if matches!(error, BrokerError::Unavailable(_)) {
                // Logged when it began, and reported by `/readyz` for as long as it lasts.
                tracing::debug!(%error, "a queue gives no answer; the others are published to");
            } else {
                tracing::error!(%error, "a queue cannot be published to; the others are");
            }
        }
        let (confirmed, unconfirmed) =
            dispatches.iter().map(|row| row.outbox).partition(|outbox| confirmed.contains(outbox));
        Ok(Published { confirmed, unconfirmed })
    }

    /// Publishes rows that all go to the same broker queue. An error means that none of them was sent.
    async fn publish_to_one(&self, live: &Arc<Live>, rows: Vec<&Dispatch>, letters: &Letters<'_>) -> Outcome {
        let Some(first) = rows.first() else { return (Vec::new(), Ok(())) };
        match self.breaker.enter(&place(first)) {
            None => {
                let text = format!("{} gives no answer just now", place(first));
                (Vec::new(), Err(BrokerError::Unavailable(text)))
            }
            Some(permit) => self.try_one(live, (first, &rows), letters, permit).await,
        }
    }

    async fn try_one(
        &self,
        live: &Arc<Live>,
        (first, rows): (&Dispatch, &[&Dispatch]),
        letters: &Letters<'_>,
        permit: Permit<'_>,
    ) -> Outcome {
        let prepared = async {
            let route = self.within("declare a queue", self.route(live, first)).await?;
            Ok((route, self.within("open a channel", self.channel(live)).await?))
        };
        let (route, channel) = match prepared.await {
            Ok(prepared) => prepared,
            Err(refusal) => {
                if matches!(refusal, BrokerError::Unavailable(_)) {
                    fail(permit, live);
                }
                return (Vec::new(), Err(refusal));
            }
        };
        let mut round = Round::new(self, &channel, rows, letters);
        let lost = Err("the connection is lost".to_owned());
        let outcome = live.gone.run_until_cancelled(round.run(&route)).await.unwrap_or(lost);
        let tally = round.tally;
        if rows.iter().any(|dispatch| tally.was_returned(dispatch)) {
            live.forget(&declared_as(first));
        }
        match outcome {
            Ok(()) => {
                permit.succeed();
                self.lock().push(Idle { live: Arc::clone(live), channel });
            }
            // Dropping the channel closes it: the fate of its pending messages is unknown, and stays so.
            Err(reason) => {
                let (queue, priority) = (first.queue.as_str(), first.priority);
                if fail(permit, live) {
                    tracing::warn!(queue, %priority, reason, "publishing broke off; the rest will be published again");
                } else {
                    tracing::debug!(queue, %priority, reason, "publishing broke off again");
                }
            }
        }
        (tally.confirmed(rows), Ok(()))
    }

    pub(crate) fn unresponsive(&self) -> Vec<UnresponsiveQueue> {
        self.breaker.unresponsive()
    }

    pub(crate) async fn close(&self) {
        self.lock().clear();
        self.link.close().await;
    }

    /// Returns the connection, if there is one at present.
    pub(crate) fn connection(&self) -> Option<Arc<Live>> {
        self.link.live()
    }

    /// Returns the connection, unless using it would only mean waiting for the confirm timeout.
    fn live(&self) -> Result<Arc<Live>, BrokerError> {
        let reason = match self.target.status.get(Role::Publish) {
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

    /// Returns where a dispatch goes, which is declared if need be.
    async fn route(&self, live: &Live, dispatch: &Dispatch) -> Result<Route, BrokerError> {
        let names = &self.target.names;
        let route = match dispatch.purpose {
            Purpose::Dispatch => {
                Route { exchange: names.exchange(), key: names.priority(&dispatch.queue, dispatch.priority)? }
            }
            Purpose::DeadLetter => Route { exchange: ShortString::default(), key: names.dead(&dispatch.queue)? },
        };
        self.target.ensure(live, &declared_as(dispatch)).await?;
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

    /// A broker that is out of memory no longer reads the connection: any answer may never come.
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

/// Returns whether it is news that the queue does not answer. A lost connection says nothing about a queue.
fn fail(permit: Permit<'_>, live: &Live) -> bool {
    !live.gone.is_cancelled() && permit.fail()
}

/// Groups dispatches by the broker's queue that they go to, each in the given order.
fn by_queue(dispatches: &[Dispatch]) -> Vec<Vec<&Dispatch>> {
    let mut queues: Vec<Vec<&Dispatch>> = Vec::new();
    let mut places = HashMap::new();
    for dispatch in dispatches {
        let at = *places.entry((dispatch.purpose, &dispatch.queue, dispatch.priority)).or_insert_with(|| {
            queues.push(Vec::new());
            queues.len() - 1
        });
        queues[at].push(dispatch);
    }
    queues
}

/// The broker's queue that a dispatch goes to, for people.
fn place(dispatch: &Dispatch) -> String {
    match dispatch.purpose {
        Purpose::Dispatch => format!("the {} priority of the queue `{}`", dispatch.priority, dispatch.queue),
        Purpose::DeadLetter => format!("the queue of the dead letters of `{}`", dispatch.queue),
    }
}

fn declared_as(dispatch: &Dispatch) -> Declared {
    match dispatch.purpose {
        Purpose::Dispatch => Declared::Priorities(dispatch.queue.clone()),
        Purpose::DeadLetter => Declared::Dead(dispatch.queue.clone()),
    }
}

/// Where a message goes.
#[derive(Debug, Clone)]
struct Route {
    exchange: ShortString,
    key: ShortString,
}

/// What one call of `publish` has for one of the broker's queues.
struct Round<'a> {
    channel: &'a Channel,
    dispatches: &'a [&'a Dispatch],
    letters: &'a Letters<'a>,
    window: usize,
    timeout: Duration,
    tally: Tally,
}

impl<'a> Round<'a> {
    fn new(
        publisher: &Publisher,
        channel: &'a Channel,
        dispatches: &'a [&'a Dispatch],
        letters: &'a Letters<'a>,
    ) -> Self {
        let tally = Tally::new(dispatches.len());
        Self { channel, dispatches, letters, window: publisher.window, timeout: publisher.timeout, tally }
    }

    /// Sends all, never more than a window ahead of the confirms. The error says why it stopped.
    ///
    /// Nothing waits for a message to be written before the next one is handed to the client: it writes many with one
    /// call, and hears of many confirms with one answer.
    async fn run(&mut self, route: &Route) -> Result<(), String> {
        let (mut under_way, mut at) = (FuturesUnordered::new(), (0, 0));
        loop {
            while under_way.len() < self.window
                && let Some((row, dispatch, job)) = next(self.dispatches, &mut at)
            {
                let message = Message::new(job, dispatch.queue.as_str());
                let properties = self.letters.properties(dispatch.purpose, job);
                under_way.push(send(self.channel, row, message, properties, route));
            }
            match tokio::time::timeout(self.timeout, under_way.next()).await {
                Ok(Some((row, Ok(confirmation)))) => self.tally.record(row, confirmation),
                Ok(Some((_, Err(error)))) => return Err(error.to_string()),
                Ok(None) => return Ok(()),
                Err(_) => return Err(format!("no confirm within {} s", self.timeout.as_secs_f64())),
            }
        }
    }
}

/// Returns the next message: the number of its row, its row, and the job that it names. `at` is the place to go on
/// from.
fn next<'d>(dispatches: &[&'d Dispatch], at: &mut (usize, usize)) -> Option<(usize, &'d Dispatch, JobId)> {
    loop {
        let (row, job) = *at;
        let dispatch: &Dispatch = dispatches.get(row)?;
        match dispatch.jobs.get(job) {
            Some(id) => {
                at.1 += 1;
                return Some((row, dispatch, *id));
            }
            None => *at = (row + 1, 0),
        }
    }
}

/// Sends one message and waits for its confirm. The message is on its way, in the order of the first polls, as soon as
/// this has been polled.
async fn send(
    channel: &Channel,
    row: usize,
    message: Message,
    properties: BasicProperties,
    route: &Route,
) -> (usize, lapin::Result<Confirmation>) {
    let (body, options) = (message.encode(), BasicPublishOptions { mandatory: true, immediate: false });
    let (exchange, key) = (route.exchange.clone(), route.key.clone());
    let confirmed = async {
        let sent = channel.basic_publish(exchange, key, options, &body, properties).await?;
        failpoint::point("publish.sending");
        sent.await
    };
    (row, confirmed.await)
}

/// What is known of each row.
#[derive(Debug)]
struct Tally {
    acked: Vec<usize>,
    returned: HashSet<JobId>,
    /// A returned message that cannot be identified: then nothing is certain.
    unknown_returned: bool,
}

impl Tally {
    fn new(rows: usize) -> Self {
        Self { acked: vec![0; rows], returned: HashSet::new(), unknown_returned: false }
    }

    /// Records the confirm of one message. It may carry the return of *another* message, since the client hands out
    /// returns in the order of their arrival: only the id identifies it.
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

    /// Returns the rows whose messages are all confirmed.
    fn confirmed(&self, dispatches: &[&Dispatch]) -> Vec<i64> {
        let ids: usize = self.acked.iter().sum();
        metrics::counter!("gristmill_broker_confirms_total").increment(ids as u64);
        let rows = dispatches.iter().zip(&self.acked);
        rows.filter(|(dispatch, acked)| **acked == dispatch.jobs.len() && !self.was_returned(dispatch))
            .map(|(dispatch, _)| dispatch.outbox)
            .collect()
    }
}

fn job_of(message: &BasicReturnMessage) -> Option<JobId> {
    message.properties.message_id().as_ref()?.as_str().parse().ok()
}
