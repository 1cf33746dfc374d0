//! Events: gives what was published its order, and each subscription the next ones. A hint wakes it; its rhythm finds what
//! no hint has brought.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use gristmill_core::event::subscription::SubscriptionSpec;
use gristmill_service::Service;
use gristmill_service::events::Router;
use gristmill_service::start::RunContext;
use gristmill_store::{Events as Log, NewSubscription, Result, StoreError, StoreHandle, SubscriptionOrigin};
use metrics::{Counter, Unit, counter, describe_counter};

use super::Common;
use crate::duty::{Duty, Next, Wake};

/// How many events have started something.
const DELIVERED: &str = "gristmill_events_delivered_total";
/// How many events got their positions.
const SEQUENCED: &str = "gristmill_events_sequenced_total";

/// Makes the subscriptions of origin `file` match the configuration, and returns how many rows that changed.
///
/// # Errors
///
/// Store errors.
pub async fn sync(
    store: &dyn Log,
    tenant: &str,
    wanted: &std::collections::BTreeMap<String, SubscriptionSpec>,
) -> Result<u64> {
    let mut changed = 0;
    let known = store.subscriptions(Some(tenant)).await?;
    for (name, spec) in wanted {
        let (tenant, name, origin) = (tenant.to_owned(), name.clone(), SubscriptionOrigin::File);
        let new = NewSubscription { tenant, name, spec: spec.clone(), origin };
        match store.save_subscription(&new, false).await {
            Ok(report) => changed += report.affected,
            Err(StoreError::Invalid(reason) | StoreError::Conflict(reason)) => {
                tracing::warn!(subscription = new.name, reason, "a subscription of the configuration is left out");
            }
            Err(error) => return Err(error),
        }
    }
    for gone in known.iter().filter(|view| view.origin == SubscriptionOrigin::File && !wanted.contains_key(&view.name))
    {
        changed += store.remove_subscription(tenant, &gone.name, false).await?.affected;
    }
    Ok(changed)
}

/// Routes events.
pub(super) struct Events {
    store: StoreHandle,
    every: Duration,
    router: Router,
    /// The last hint that was seen.
    seen: AtomicU64,
    delivered: Counter,
    sequenced: Counter,
}

impl Events {
    pub(super) fn new(common: Common, every: Duration, context: Option<RunContext>) -> Self {
        describe_counter!(DELIVERED, Unit::Count, "Events that have started something at a subscription");
        describe_counter!(SEQUENCED, Unit::Count, "Events that got their place in the order of all");
        let store = common.store.clone();
        let router = Router::new(Service::new(common.store, common.dispatcher), context);
        let (delivered, sequenced) = (counter!(DELIVERED), counter!(SEQUENCED));
        Self { store, every, router, seen: AtomicU64::new(0), delivered, sequenced }
    }

    async fn round(&mut self) -> Result<Next> {
        let routed = self.router.round().await?;
        self.delivered.increment(routed.delivered);
        self.sequenced.increment(routed.sequenced);
        Ok(if routed.sequenced > 0 || routed.moved > 0 { Next::Now } else { Next::Beat })
    }
}

impl Duty for Events {
    fn name(&self) -> &'static str {
        "events"
    }

    fn every(&self) -> Duration {
        self.every
    }

    fn hinted(&self) -> BoxFuture<'_, ()> {
        let (store, last, every) = (self.store.clone(), &self.seen, self.every);
        Box::pin(async move {
            let seen = last.load(Ordering::Relaxed);
            let now = store.wait_for_events(seen, every).await;
            last.store(now, Ordering::Relaxed);
            if now == seen {
                // No hint has come: the rhythm is there for that.
                std::future::pending::<()>().await;
            }
        })
    }

    fn work(&mut self, _: Wake) -> BoxFuture<'_, Result<Next>> {
        Box::pin(self.round())
    }
}
