//! The log of events: the steps of [`crate::sql`] in this database's transactions.

use std::time::Duration;

use async_trait::async_trait;
use gristmill_core::Instant;
use gristmill_core::event::Event;
use uuid::Uuid;

use super::SqliteStore;
use super::control::finish;
use super::sql::{Reading, transact};
use super::transition::Transition;
use crate::error::Result;
use crate::sql::events::{self, delivering, listed, published, replays, schemas, subscriptions};
use crate::{
    ControlReport, Delivery, DeliveryView, Dispatched, EventFilter, EventSchemaView, Events, NewEventSchema, NewReplay,
    NewSubscription, Pause, Publication, Published, ReplayView, SubscriptionHold, SubscriptionView,
};

#[async_trait]
impl Events for SqliteStore {
    async fn publish_events(&self, events: &[Publication]) -> Result<Vec<Published>> {
        if events.is_empty() {
            return Ok(Vec::new());
        }
        transact!(self, published::publish, events)
    }

    async fn sequence_events(&self, limit: u32) -> Result<u64> {
        transact!(self, events::sequence, &limit)
    }

    async fn wait_for_events(&self, seen: u64, at_most: Duration) -> u64 {
        self.others.wait(&self.events, seen, at_most).await
    }

    async fn list_events(&self, filter: &EventFilter) -> Result<Vec<Event>> {
        listed::list(&mut Reading(&self.readers), filter).await
    }

    async fn events_by_id(&self, tenant: &str, id: &str, source: Option<&str>) -> Result<Vec<Event>> {
        listed::by_id(&mut Reading(&self.readers), tenant, id, source).await
    }

    async fn event_deliveries(&self, tenant: &str, position: u64) -> Result<Vec<DeliveryView>> {
        listed::deliveries(&mut Reading(&self.readers), tenant, position).await
    }

    async fn add_event_schema(&self, schema: &NewEventSchema, dry_run: bool) -> Result<ControlReport> {
        let mut t = Transition::begin(self).await?;
        let report = schemas::add(&mut t, &schema).await?;
        finish(t, report, dry_run).await
    }

    async fn event_schemas(&self, tenant: &str, kind: Option<&str>) -> Result<Vec<EventSchemaView>> {
        schemas::list(&mut Reading(&self.readers), tenant, kind).await
    }

    async fn save_subscription(&self, subscription: &NewSubscription, dry_run: bool) -> Result<ControlReport> {
        let mut t = Transition::begin(self).await?;
        let report = subscriptions::save(&mut t, &subscription).await?;
        finish(t, report, dry_run).await
    }

    async fn remove_subscription(&self, tenant: &str, name: &str, dry_run: bool) -> Result<ControlReport> {
        let mut t = Transition::begin(self).await?;
        let report = subscriptions::remove(&mut t, &(tenant, name)).await?;
        finish(t, report, dry_run).await
    }

    async fn pause_subscription(
        &self,
        tenant: &str,
        name: &str,
        pause: Option<&Pause>,
        dry_run: bool,
    ) -> Result<ControlReport> {
        let mut t = Transition::begin(self).await?;
        let report = subscriptions::pause(&mut t, &(tenant, name, pause)).await?;
        finish(t, report, dry_run).await
    }

    async fn subscriptions(&self, tenant: Option<&str>) -> Result<Vec<SubscriptionView>> {
        subscriptions::list(&mut Reading(&self.readers), tenant).await
    }

    async fn due_subscriptions(&self) -> Result<Vec<SubscriptionView>> {
        subscriptions::due(&mut Reading(&self.readers)).await
    }

    async fn deliver_events(&self, delivery: &Delivery) -> Result<Option<Dispatched>> {
        let mut t = Transition::begin(self).await?;
        let moved = delivering::deliver(&mut t, delivery).await?;
        let dispatched = t.commit().await?.dispatched;
        Ok(moved.then_some(dispatched))
    }

    async fn hold_subscription(&self, hold: &SubscriptionHold) -> Result<bool> {
        transact!(self, subscriptions::hold, &hold)
    }

    async fn refused_events(&self, tenant: &str, name: &str, limit: u32) -> Result<Vec<DeliveryView>> {
        listed::refused(&mut Reading(&self.readers), tenant, name, limit).await
    }

    async fn start_replay(&self, replay: &NewReplay, dry_run: bool) -> Result<ControlReport> {
        let mut t = Transition::begin(self).await?;
        let report = replays::start(&mut t, &replay).await?;
        finish(t, report, dry_run).await
    }

    async fn cancel_replay(&self, tenant: &str, replay: Uuid, dry_run: bool) -> Result<ControlReport> {
        let mut t = Transition::begin(self).await?;
        let report = replays::cancel(&mut t, &(tenant, replay)).await?;
        finish(t, report, dry_run).await
    }

    async fn replays(&self, tenant: &str) -> Result<Vec<ReplayView>> {
        replays::list(&mut Reading(&self.readers), tenant).await
    }

    async fn due_replays(&self) -> Result<Vec<ReplayView>> {
        replays::due(&mut Reading(&self.readers)).await
    }

    async fn prune_events(&self, before: Instant, limit: u32) -> Result<u64> {
        transact!(self, events::prune, &(before, limit))
    }
}
