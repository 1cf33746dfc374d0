//! The log of events: the steps of [`crate::sql`] in this database's transactions.

use std::time::Duration;

use async_trait::async_trait;
use gristmill_core::Instant;
use gristmill_core::event::Event;
use uuid::Uuid;

use super::PostgresStore;
use super::connect::{control, look, transact};
use super::fault::Outcome;
use super::work::Work;
use crate::error::Result;
use crate::sql::events::{self, delivering, listed, published, replays, schemas, subscriptions};
use crate::{
    ControlReport, Delivery, DeliveryView, Dispatched, EventFilter, EventSchemaView, Events, NewEventSchema, NewReplay,
    NewSubscription, Pause, Publication, Published, ReplayView, SubscriptionHold, SubscriptionView,
};

#[async_trait]
impl Events for PostgresStore {
    async fn publish_events(&self, events: &[Publication]) -> Result<Vec<Published>> {
        if events.is_empty() {
            return Ok(Vec::new());
        }
        transact!(self, publish, events).await
    }

    async fn sequence_events(&self, limit: u32) -> Result<u64> {
        transact!(self, events::sequence, limit).await
    }

    async fn wait_for_events(&self, seen: u64, at_most: Duration) -> u64 {
        self.hints.wait_for_events(seen, at_most).await
    }

    async fn list_events(&self, filter: &EventFilter) -> Result<Vec<Event>> {
        look!(self, listed::list, filter)
    }

    async fn events_by_id(&self, tenant: &str, id: &str, source: Option<&str>) -> Result<Vec<Event>> {
        look!(self, listed::by_id, tenant, id, source)
    }

    async fn event_deliveries(&self, tenant: &str, position: u64) -> Result<Vec<DeliveryView>> {
        look!(self, listed::deliveries, tenant, position)
    }

    async fn add_event_schema(&self, schema: &NewEventSchema, dry_run: bool) -> Result<ControlReport> {
        control!(self, dry_run, schemas::add, schema)
    }

    async fn event_schemas(&self, tenant: &str, kind: Option<&str>) -> Result<Vec<EventSchemaView>> {
        look!(self, schemas::list, tenant, kind)
    }

    async fn save_subscription(&self, subscription: &NewSubscription, dry_run: bool) -> Result<ControlReport> {
        control!(self, dry_run, subscriptions::save, subscription)
    }

    async fn remove_subscription(&self, tenant: &str, name: &str, dry_run: bool) -> Result<ControlReport> {
        control!(self, dry_run, subscriptions::remove, (tenant, name))
    }

    async fn pause_subscription(
        &self,
        tenant: &str,
        name: &str,
        pause: Option<&Pause>,
        dry_run: bool,
    ) -> Result<ControlReport> {
        control!(self, dry_run, subscriptions::pause, (tenant, name, pause))
    }

    async fn subscriptions(&self, tenant: Option<&str>) -> Result<Vec<SubscriptionView>> {
        look!(self, subscriptions::list, tenant)
    }

    async fn due_subscriptions(&self) -> Result<Vec<SubscriptionView>> {
        look!(self, subscriptions::due)
    }

    async fn deliver_events(&self, delivery: &Delivery) -> Result<Option<Dispatched>> {
        transact!(self, deliver, delivery).await
    }

    async fn hold_subscription(&self, hold: &SubscriptionHold) -> Result<bool> {
        transact!(self, subscriptions::hold, hold).await
    }

    async fn refused_events(&self, tenant: &str, name: &str, limit: u32) -> Result<Vec<DeliveryView>> {
        look!(self, listed::refused, tenant, name, limit)
    }

    async fn start_replay(&self, replay: &NewReplay, dry_run: bool) -> Result<ControlReport> {
        control!(self, dry_run, replays::start, replay)
    }

    async fn cancel_replay(&self, tenant: &str, replay: Uuid, dry_run: bool) -> Result<ControlReport> {
        control!(self, dry_run, replays::cancel, (tenant, replay))
    }

    async fn replays(&self, tenant: &str) -> Result<Vec<ReplayView>> {
        look!(self, replays::list, tenant)
    }

    async fn due_replays(&self) -> Result<Vec<ReplayView>> {
        look!(self, replays::due)
    }

    async fn prune_events(&self, before: Instant, limit: u32) -> Result<u64> {
        transact!(self, events::prune, (before, limit)).await
    }
}

async fn publish(work: &mut Work<'_>, events: &&[Publication]) -> Outcome<Vec<Published>> {
    let published = published::publish(work, events).await?;
    work.close().await?;
    Ok(published)
}

async fn deliver(work: &mut Work<'_>, delivery: &&Delivery) -> Outcome<Option<Dispatched>> {
    let moved = delivering::deliver(work, delivery).await?;
    let dispatched = work.close().await?;
    Ok(moved.then_some(dispatched))
}
