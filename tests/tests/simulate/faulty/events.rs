//! Events, as one process sees them.

use std::time::Duration;

use async_trait::async_trait;
use gristmill_core::Instant;
use gristmill_core::event::Event;
use gristmill_store::*;
use uuid::Uuid;

use super::Faulty;

delegate! {
    Events {
        async fn wait_for_events(&self, seen: u64, at_most: Duration) -> u64 {
            self.process.life.turn().await;
            let hint = self.inner.wait_for_events(seen, at_most).await;
            self.process.life.turn().await;
            hint
        }
    }
    publish_events(events: &[Publication]) -> Vec<Published>;
    sequence_events(limit: u32) -> u64;
    list_events(filter: &EventFilter) -> Vec<Event>;
    events_by_id(tenant: &str, id: &str, source: Option<&str>) -> Vec<Event>;
    event_deliveries(tenant: &str, position: u64) -> Vec<DeliveryView>;
    add_event_schema(schema: &NewEventSchema, dry_run: bool) -> ControlReport;
    event_schemas(tenant: &str, kind: Option<&str>) -> Vec<EventSchemaView>;
    save_subscription(subscription: &NewSubscription, dry_run: bool) -> ControlReport;
    remove_subscription(tenant: &str, name: &str, dry_run: bool) -> ControlReport;
    pause_subscription(tenant: &str, name: &str, pause: Option<&Pause>, dry_run: bool) -> ControlReport;
    subscriptions(tenant: Option<&str>) -> Vec<SubscriptionView>;
    due_subscriptions() -> Vec<SubscriptionView>;
    deliver_events(delivery: &Delivery) -> Option<Dispatched>;
    hold_subscription(hold: &SubscriptionHold) -> bool;
    refused_events(tenant: &str, name: &str, limit: u32) -> Vec<DeliveryView>;
    start_replay(replay: &NewReplay, dry_run: bool) -> ControlReport;
    cancel_replay(tenant: &str, replay: Uuid, dry_run: bool) -> ControlReport;
    replays(tenant: &str) -> Vec<ReplayView>;
    due_replays() -> Vec<ReplayView>;
    prune_events(before: Instant, limit: u32) -> u64;
}
