//! Limits and queues of the configuration become rows of the store, and jobs that wait too long move up a priority.

use std::collections::{BTreeMap, BTreeSet};

use gristmill_core::limit::{LimitSpec, QueueSpec};
use gristmill_service::dispatcher::Dispatcher;
use gristmill_store::{LimitOrigin, Result, SaveLimit, StoreError, StoreHandle};

/// Makes the limits of origin `file` and what is said of queues those of the configuration: how many rows that changed.
/// A limit whose name one made by a command has already is left out, and said.
///
/// # Errors
///
/// Those of the store.
pub async fn sync(
    store: &StoreHandle,
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

/// Moves jobs up a priority that have waited for as long as their queue says, and forgets rates that are not used any more:
/// how many jobs that were.
///
/// # Errors
///
/// Those of the store.
pub async fn age(store: &StoreHandle, dispatcher: &Dispatcher, limit: u32) -> Result<u64> {
    Ok(dispatcher.after(store.raise_aged(limit)).await?.moved)
}
