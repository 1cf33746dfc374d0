//! Sync: turns schedules, limits and queues of the configuration into rows of the store.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use gristmill_core::limit::{LimitSpec, QueueSpec};
use gristmill_service::dispatcher::Dispatcher;
use gristmill_store::{LimitOrigin, Limits, Result, SaveLimit, StoreError};

use super::{Common, events};
use crate::duty::{Duty, Next, Wake};
use crate::schedules::{self, RunContext};

/// Makes the limits of origin `file` and the settings of queues match the configuration, and returns how many rows that
/// changed. A limit is left out, with a warning, when a command has created one of the same name.
///
/// # Errors
///
/// Store errors.
pub async fn sync(
    store: &dyn Limits,
    dispatcher: &Dispatcher,
    limits: &BTreeMap<String, LimitSpec>,
    queues: &BTreeMap<String, QueueSpec>,
) -> Result<u64> {
    let mut changed = 0;
    let known = store.limits().await?;
    for (name, spec) in limits {
        if known.iter().any(|view| view.name == *name && view.origin == LimitOrigin::File && view.spec == *spec) {
            continue;
        }
        let save = SaveLimit { name: name.clone(), origin: LimitOrigin::File, spec: spec.clone() };
        match dispatcher.after(store.save_limit(&save)).await {
            Ok(_) => changed += 1,
            Err(StoreError::Conflict(reason)) => {
                tracing::warn!(limit = name, reason, "a limit of the configuration is left out");
            }
            Err(error) => return Err(error),
        }
    }
    for gone in known.iter().filter(|view| view.origin == LimitOrigin::File && !limits.contains_key(&view.name)) {
        changed += dispatcher.after(store.drop_limit(&gone.name, LimitOrigin::File, false)).await?.affected;
    }
    let specs = store.limited().await?.specs;
    let nothing = QueueSpec::default();
    for name in specs.keys().chain(queues.keys()).collect::<BTreeSet<_>>() {
        let (is, wanted) = (specs.get(name).unwrap_or(&nothing), queues.get(name).unwrap_or(&nothing));
        if is != wanted {
            changed += 1;
            dispatcher.after(store.save_queue(name, wanted)).await?;
        }
    }
    Ok(changed)
}

/// Follows the configuration: at first, when the file has changed, and again for as long as the store refuses.
pub(super) struct Sync {
    common: Common,
    every: Duration,
    context: RunContext,
    in_step: bool,
}

impl Sync {
    pub(super) fn new(common: Common, every: Duration, context: RunContext) -> Self {
        Self { common, every, context, in_step: false }
    }

    async fn follow(&mut self) -> Result<()> {
        let (store, dispatcher) = (&self.common.store, &self.common.dispatcher);
        let snapshot = Arc::clone(&self.context.snapshot.borrow_and_update());
        let now = store.now().await?;
        let report = schedules::sync::sync(&**store, &self.context.tenant, &snapshot.schedules, now).await?;
        if report != schedules::sync::SyncReport::default() {
            tracing::info!(made = ?report.made, edited = ?report.edited, removed = ?report.removed, "schedules of the configuration");
        }
        let changed = sync(&**store, dispatcher, &snapshot.limits, &snapshot.queues).await?;
        if changed > 0 {
            tracing::info!(changed, "limits and queues of the configuration");
        }
        let changed = events::sync(&**store, &self.context.tenant, &snapshot.events.subscriptions).await?;
        if changed > 0 {
            tracing::info!(changed, "subscriptions of the configuration");
        }
        Ok(())
    }
}

impl Duty for Sync {
    fn name(&self) -> &'static str {
        "sync"
    }

    fn every(&self) -> Duration {
        self.every
    }

    fn work(&mut self, wake: Wake) -> BoxFuture<'_, Result<Next>> {
        Box::pin(async move {
            // Another process may have led meanwhile, with another file.
            self.in_step &= wake != Wake::First && !self.context.snapshot.has_changed().unwrap_or(false);
            if !self.in_step {
                self.follow().await?;
                self.in_step = true;
            }
            Ok(Next::Beat)
        })
    }
}
