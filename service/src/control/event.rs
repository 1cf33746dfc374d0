//! Events: publish, look at; schemas; subscriptions and their replays.

use gristmill_core::audit::Action;
use gristmill_core::event::subscription::SubscriptionSpec;
use gristmill_core::event::{DEPTH_MAX, Event, EventDraft, TypePattern};
use gristmill_core::id::JobId;
use gristmill_store::{
    ControlReport, EVENT_ROWS_MAX, EventFilter, NewEventSchema, NewReplay, NewSubscription, Publication, Published,
    Result, StoreError, SubscriptionOrigin, SubscriptionView,
};
use serde_json::Value;
use uuid::Uuid;

use super::pause;
use crate::Service;
use crate::events::subscription::{Subscriber, check};
use crate::events::{registry, walk};
use crate::order::Order;

/// Beyond every position that there will be.
const NO_POSITION: u64 = 1 << 62;

/// Which events are replayed, to which subscription, and how fast.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ReplayRequest {
    /// The subscription.
    pub subscription: String,
    /// Patterns of types; all when there is none.
    pub types: Vec<TypePattern>,
    /// Those behind this position.
    pub after: Option<u64>,
    /// Up to this position.
    pub until: Option<u64>,
    /// Those accepted since.
    pub since: Option<gristmill_core::Instant>,
    /// How many events a second at most.
    pub rate: Option<u32>,
}

/// A replay that was started, or would be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartedReplay {
    /// Its id; `None` at a dry run.
    pub id: Option<Uuid>,
    /// How many events would be delivered, at a dry run.
    pub matches: u64,
    /// Whether there may be more: no more were looked at.
    pub more: bool,
}

impl Service {
    /// Publishes events, all or none, as far as their data fits the schemas of their types. Nothing is written at a dry
    /// run.
    ///
    /// # Errors
    ///
    /// `Invalid` with every fault of every event, `Conflict` when an id stands for something else, store errors.
    pub async fn publish_events(&self, order: &Order, drafts: Vec<EventDraft>) -> Result<Vec<Published>> {
        self.publish_by(order, drafts, None).await
    }

    /// The same by a job: the event that started the job is the cause of these.
    ///
    /// # Errors
    ///
    /// As [`Service::publish_events`].
    pub async fn publish_by(
        &self,
        order: &Order,
        drafts: Vec<EventDraft>,
        job: Option<JobId>,
    ) -> Result<Vec<Published>> {
        let publication =
            |draft| Publication { tenant: order.tenant.clone(), draft, user: Some(order.actor.to_string()), job };
        let events: Vec<Publication> = drafts.into_iter().map(publication).collect();
        let faults: Vec<String> = events
            .iter()
            .enumerate()
            .filter_map(|(index, event)| Some(format!("event {}: {}", index + 1, event.draft.check().err()?)))
            .collect();
        if !faults.is_empty() {
            return Err(StoreError::Invalid(faults.join("; ")));
        }
        registry::check(&*self.store, &events).await?;
        if order.dry_run {
            let fresh = |event: Publication| Published { id: event.draft.id, source: event.draft.source, fresh: false };
            return Ok(events.into_iter().map(fresh).collect());
        }
        self.store.publish_events(&events).await
    }

    /// An event by its id.
    ///
    /// # Errors
    ///
    /// `NotFound`; `Conflict` when several sources have used the id; store errors.
    pub async fn event(&self, tenant: &str, id: &str, source: Option<&str>) -> Result<Event> {
        let mut found = self.store.events_by_id(tenant, id, source).await?;
        if found.len() > 1 {
            let sources: Vec<&str> = found.iter().map(|event| event.source.as_str()).collect();
            let what =
                format!("several sources have an event `{id}`, such as {}; name the source", sources.join(" and "));
            return Err(StoreError::Conflict(what));
        }
        found.pop().ok_or_else(|| StoreError::NotFound(format!("there is no event `{id}`")))
    }

    /// Adds a version of the schema of a type. `compatible` asks that it takes what the version before it takes.
    ///
    /// # Errors
    ///
    /// `Invalid` when it is no schema, or not compatible; `Conflict` when the version is there; store errors.
    pub async fn add_event_schema(
        &self,
        order: &Order,
        kind: &str,
        version: Option<u32>,
        schema: Value,
        compatible: bool,
    ) -> Result<ControlReport> {
        let known = self.store.event_schemas(&order.tenant, Some(kind)).await?;
        let next = known.last().map_or(1, |newest| newest.version.saturating_add(1));
        let version = version.unwrap_or(next);
        registry::check_version(&known, version, &schema, compatible).map_err(StoreError::Invalid)?;
        let (tenant, kind, by) = (order.tenant.clone(), kind.to_owned(), order.actor.to_string());
        let target = format!("{kind}/{version}");
        let schema = NewEventSchema { tenant, kind, version, schema, by };
        let store = order.at(&self.store, Action::SchemaAdd, target);
        self.after(store.add_event_schema(&schema, order.dry_run)).await
    }

    /// Creates a subscription in the store, or changes one that was created there.
    ///
    /// # Errors
    ///
    /// `Invalid` with everything that is wrong with it, `Conflict` when the configuration has one of that name, store
    /// errors.
    pub async fn save_subscription(&self, order: &Order, name: &str, spec: SubscriptionSpec) -> Result<ControlReport> {
        check(&spec).map_err(|faults| StoreError::Invalid(faults.join("; ")))?;
        let (tenant, name, origin) = (order.tenant.clone(), name.to_owned(), SubscriptionOrigin::Command);
        let store = order.at(&self.store, Action::SubscriptionSave, &name);
        let subscription = NewSubscription { tenant, name, spec, origin };
        self.after(store.save_subscription(&subscription, order.dry_run)).await
    }

    /// Removes a subscription that was created in the store: 1 affected, or 0 when there was none.
    ///
    /// # Errors
    ///
    /// `Conflict` when it is one of the configuration, store errors.
    pub async fn remove_subscription(&self, order: &Order, name: &str) -> Result<ControlReport> {
        if let Ok(view) = self.subscription(&order.tenant, name).await
            && view.origin == SubscriptionOrigin::File
        {
            let what = format!("the subscription `{name}` is one of the configuration file; remove it there");
            return Err(StoreError::Conflict(what));
        }
        let store = order.at(&self.store, Action::SubscriptionRemove, name);
        self.after(store.remove_subscription(&order.tenant, name, order.dry_run)).await
    }

    /// A subscription, with its lag.
    ///
    /// # Errors
    ///
    /// `NotFound`, store errors.
    pub async fn subscription(&self, tenant: &str, name: &str) -> Result<SubscriptionView> {
        let known = self.store.subscriptions(Some(tenant)).await?;
        let found = known.into_iter().find(|view| view.name == name);
        found.ok_or_else(|| StoreError::NotFound(format!("there is no subscription `{name}`")))
    }

    /// Pauses a subscription: it is given no events until it is resumed, and misses none.
    ///
    /// # Errors
    ///
    /// `NotFound`, store errors.
    pub async fn pause_subscription(&self, order: &Order, name: &str) -> Result<ControlReport> {
        let store = order.at(&self.store, Action::SubscriptionPause, name);
        self.after(store.pause_subscription(&order.tenant, name, Some(&pause(order)), order.dry_run)).await
    }

    /// Resumes a subscription, where it was.
    ///
    /// # Errors
    ///
    /// `NotFound`, store errors.
    pub async fn resume_subscription(&self, order: &Order, name: &str) -> Result<ControlReport> {
        let store = order.at(&self.store, Action::SubscriptionResume, name);
        self.after(store.pause_subscription(&order.tenant, name, None, order.dry_run)).await
    }

    /// Gives events to a subscription once more. A dry run says how many it would be.
    ///
    /// # Errors
    ///
    /// `NotFound`, `Invalid`, store errors.
    pub async fn start_replay(&self, order: &Order, request: &ReplayRequest) -> Result<StartedReplay> {
        let view = self.subscription(&order.tenant, &request.subscription).await?;
        let after = match (request.after, request.since) {
            (Some(after), _) => after,
            (None, Some(since)) => self.behind(&order.tenant, since).await?,
            (None, None) => 0,
        };
        if order.dry_run {
            return self.rehearse_replay(&order.tenant, &view, request, after).await;
        }
        let id = Uuid::now_v7();
        let replay = NewReplay {
            id,
            tenant: order.tenant.clone(),
            subscription: request.subscription.clone(),
            types: request.types.iter().map(ToString::to_string).collect(),
            after,
            until: request.until.unwrap_or(u64::MAX),
            rate: request.rate,
            by: order.actor.to_string(),
            reason: order.reason.clone(),
        };
        let store = order.at(&self.store, Action::ReplayStart, &request.subscription);
        self.after(store.start_replay(&replay, false)).await?;
        Ok(StartedReplay { id: Some(id), matches: 0, more: false })
    }

    /// The position before the first event that was accepted since an instant: the end, where there is none.
    async fn behind(&self, tenant: &str, since: gristmill_core::Instant) -> Result<u64> {
        let filter = EventFilter { tenant: tenant.to_owned(), since: Some(since), limit: 1, ..EventFilter::default() };
        let first = self.store.list_events(&filter).await?.first().and_then(|event| event.position);
        Ok(first.map_or(NO_POSITION, |position| position - 1))
    }

    async fn rehearse_replay(
        &self,
        tenant: &str,
        view: &SubscriptionView,
        request: &ReplayRequest,
        after: u64,
    ) -> Result<StartedReplay> {
        use gristmill_core::event::route::Route;
        let subscriber = Subscriber::new(tenant, &view.name, &view.spec).map_err(StoreError::Invalid)?;
        let mut filter = EventFilter {
            tenant: tenant.to_owned(),
            after: Some(after),
            before: request.until.map(|until| until.saturating_add(1)),
            limit: EVENT_ROWS_MAX,
            ..EventFilter::default()
        };
        let (mut matches, mut walked) = (0, 0);
        loop {
            let page = walk::list(&*self.store, &filter, &request.types).await?;
            walked += page.events.len() as u64;
            let meant = |event: &&Event| subscriber.judge(event, DEPTH_MAX) == Route::Deliver;
            matches += page.events.iter().filter(meant).count() as u64;
            let more = page.next.is_some();
            if !more || walked >= walk::WALKED_MAX {
                return Ok(StartedReplay { id: None, matches, more });
            }
            filter.after = page.next;
        }
    }

    /// Ends a replay before its time. What it has delivered stays so.
    ///
    /// # Errors
    ///
    /// `NotFound`, store errors.
    pub async fn cancel_replay(&self, order: &Order, replay: Uuid) -> Result<ControlReport> {
        let store = order.at(&self.store, Action::ReplayCancel, replay);
        self.after(store.cancel_replay(&order.tenant, replay, order.dry_run)).await
    }
}
