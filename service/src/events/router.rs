//! The router: gives what was published its order, and each subscription and replay the next events.
//!
//! A step is a transaction of the store that is guarded by where the subscription is, so that it may be done twice, in two
//! processes at once, and be cut off anywhere: each event has one effect at each subscription.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use gristmill_core::event::route::Refusal;
use gristmill_core::event::{Event, TypePattern};
use gristmill_store::{
    Delivered, Delivery, EVENT_ROWS_MAX, Effect, EventFilter, ReplayView, Result, StoreError, SubscriptionHold,
    SubscriptionView,
};

use super::subscription::Subscriber;
use crate::Service;
use crate::start::RunContext;

/// The longest wait after a step that has failed.
const WAIT_MAX: Duration = Duration::from_secs(300);

/// What a round has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Routed {
    /// How many events got their positions.
    pub sequenced: u64,
    /// How many events have started something.
    pub delivered: u64,
    /// How many subscriptions and replays have moved.
    pub moved: u64,
}

/// Routes events. It keeps nothing but compiled subscriptions.
#[derive(Debug)]
pub struct Router {
    service: Service,
    context: Option<RunContext>,
    compiled: HashMap<(String, String), (i64, Result<Subscriber, String>)>,
}

impl Router {
    /// Routes by this service. Without a context it only gives events their order.
    pub fn new(service: Service, context: Option<RunContext>) -> Self {
        Self { service, context, compiled: HashMap::new() }
    }

    /// Does one round: sequences, and moves every subscription and replay that has something to do by one step.
    ///
    /// # Errors
    ///
    /// Store errors. What was done before is done.
    pub async fn round(&mut self) -> Result<Routed> {
        let mut routed =
            Routed { sequenced: self.service.store().sequence_events(EVENT_ROWS_MAX).await?, ..Routed::default() };
        let Some(context) = self.context.clone() else { return Ok(routed) };
        // Subscriptions at the same place look at the same events.
        let mut places: BTreeMap<(String, u64), Vec<SubscriptionView>> = BTreeMap::new();
        for view in self.service.store().due_subscriptions().await? {
            places.entry((view.tenant.clone(), view.cursor)).or_default().push(view);
        }
        for ((tenant, after), views) in places {
            let filter = EventFilter { tenant, after: Some(after), limit: EVENT_ROWS_MAX, ..EventFilter::default() };
            let events = self.service.store().list_events(&filter).await?;
            for view in views {
                self.step(&context, &view, &events, &mut routed).await?;
            }
        }
        for replay in self.service.store().due_replays().await? {
            self.replay(&context, &replay, &mut routed).await?;
        }
        Ok(routed)
    }

    async fn step(
        &mut self,
        context: &RunContext,
        view: &SubscriptionView,
        events: &[Event],
        routed: &mut Routed,
    ) -> Result<()> {
        let rows = usize::try_from(view.spec.rows()).unwrap_or(usize::MAX);
        let events = &events[..events.len().min(rows)];
        let Some(to) = events.last().and_then(|event| event.position) else { return Ok(()) };
        let judged = match self.subscriber(view) {
            Ok(subscriber) => judge(subscriber, context, events, None),
            Err(error) => return self.hold(view, &error).await,
        };
        let delivery = Delivery {
            tenant: view.tenant.clone(),
            subscription: view.name.clone(),
            version: view.version,
            replay: None,
            from: view.cursor,
            to,
            skipped: (events.len() - judged.len()) as u64,
            events: judged,
            next: None,
        };
        match self.deliver(delivery, routed).await {
            Err(StoreError::Unavailable(error)) => Err(StoreError::Unavailable(error)),
            // One that the store does not take must not hold up the others for ever.
            Err(error) => self.hold(view, &error.to_string()).await,
            Ok(()) => Ok(()),
        }
    }

    /// Delivers. What cannot be kept is refused, event by event: it never fits.
    async fn deliver(&self, delivery: Delivery, routed: &mut Routed) -> Result<()> {
        let store = self.service.store();
        let done = match self.service.after(store.deliver_events(&delivery)).await {
            Err(StoreError::Invalid(_)) => {
                let delivery = self.without_unfit(delivery);
                (self.service.after(store.deliver_events(&delivery)).await?, delivery)
            }
            done => (done?, delivery),
        };
        if let (Some(_), delivery) = done {
            routed.moved += 1;
            let refused = |one: &&Delivered| !matches!(one.effect, Effect::Refused(..));
            routed.delivered += delivery.events.iter().filter(refused).count() as u64;
        }
        Ok(())
    }

    fn without_unfit(&self, delivery: Delivery) -> Delivery {
        let fits = |effect: Effect| match effect {
            Effect::Job(job) => match gristmill_store::check_job(&job) {
                Ok(()) => Effect::Job(job),
                Err(error) => Effect::Refused(Refusal::Target, error.to_string()),
            },
            Effect::Run(run) => match gristmill_store::check_run(&run) {
                Ok(()) => Effect::Run(run),
                Err(error) => Effect::Refused(Refusal::Target, error.to_string()),
            },
            refused @ Effect::Refused(..) => refused,
        };
        let events = delivery.events.into_iter().map(|one| Delivered { effect: fits(one.effect), ..one }).collect();
        Delivery { events, ..delivery }
    }

    async fn hold(&self, view: &SubscriptionView, error: &str) -> Result<()> {
        let wait = Duration::from_secs(1_u64 << view.tries.min(9)).min(WAIT_MAX);
        let hold = SubscriptionHold {
            tenant: view.tenant.clone(),
            name: view.name.clone(),
            cursor: view.cursor,
            wait,
            error: error.to_owned(),
        };
        if view.tries == 0 {
            tracing::warn!(subscription = view.name, error, "events are not delivered; it is tried again");
        }
        self.service.store().hold_subscription(&hold).await.map(drop)
    }

    async fn replay(&mut self, context: &RunContext, replay: &ReplayView, routed: &mut Routed) -> Result<()> {
        let store = self.service.store().clone();
        let known = store.subscriptions(Some(&replay.tenant)).await?;
        let Some(view) = known.into_iter().find(|view| view.name == replay.subscription) else { return Ok(()) };
        let types: Vec<TypePattern> = replay.types.iter().filter_map(|text| text.parse().ok()).collect();
        let limit = view.spec.rows().min(replay.rate.unwrap_or(EVENT_ROWS_MAX));
        let filter = EventFilter {
            tenant: replay.tenant.clone(),
            after: Some(replay.cursor),
            before: Some(replay.until.saturating_add(1)),
            limit,
            ..EventFilter::default()
        };
        let events = store.list_events(&filter).await?;
        let through = (events.len() as u64) < u64::from(limit);
        let last = events.last().and_then(|event| event.position).unwrap_or(replay.until);
        let to = if through { replay.until } else { last };
        let judged = match self.subscriber(&view) {
            Ok(subscriber) => judge(subscriber, context, &events, Some((replay.id, &types))),
            // It goes on when its subscription is mended.
            Err(error) => return self.hold(&view, &error).await,
        };
        let pace = replay.rate.map_or(Duration::ZERO, |rate| Duration::from_secs(judged.len() as u64) / rate.max(1));
        let delivery = Delivery {
            tenant: replay.tenant.clone(),
            subscription: replay.subscription.clone(),
            version: view.version,
            replay: Some(replay.id),
            from: replay.cursor,
            to,
            skipped: (events.len() - judged.len()) as u64,
            events: judged,
            next: (to < replay.until).then_some(pace),
        };
        self.deliver(delivery, routed).await
    }

    fn subscriber(&mut self, view: &SubscriptionView) -> Result<&Subscriber, String> {
        let key = (view.tenant.clone(), view.name.clone());
        if self.compiled.get(&key).is_none_or(|(version, _)| *version != view.version) {
            let made = Subscriber::new(&view.tenant, &view.name, &view.spec);
            self.compiled.insert(key.clone(), (view.version, made));
        }
        match self.compiled.get(&key) {
            Some((_, Ok(subscriber))) => Ok(subscriber),
            Some((_, Err(error))) => Err(error.clone()),
            None => Err("it is not compiled".to_owned()),
        }
    }
}

fn judge(
    subscriber: &Subscriber,
    context: &RunContext,
    events: &[Event],
    replay: Option<(uuid::Uuid, &[TypePattern])>,
) -> Vec<Delivered> {
    let depth_max = context.snapshot.borrow().events.depth_max;
    let effect = |event: &Event| {
        let effect = subscriber.effect(context, event, replay, depth_max)?;
        Some(Delivered { position: event.position?, effect })
    };
    events.iter().filter_map(effect).collect()
}
