//! A process that works until a signal comes.

use gristmill_store::StoreHandle;
use tokio_util::sync::CancellationToken;

use crate::door::Door;
use crate::exit_code::{Exit, Result};
use crate::signals::Signals;
use crate::watch::Watch;
use crate::work::{Roles, Working};

/// Works until a signal: the first one drains, the second one gives everything back at once.
///
/// # Errors
///
/// When the work cannot begin, or ended by itself.
pub(crate) async fn serve(door: &Door, roles: Roles) -> Result<Exit> {
    let mut signals = Signals::listen()?;
    let store = door.store().await?;
    let watch = Watch::prepare(door, roles).await?;
    let working = Working::serve(door, &store, roles).await?;
    let what = match (roles.worker, roles.scheduler) {
        (true, true) => "worker and scheduler",
        (true, false) => "worker",
        (false, _) => "scheduler",
    };
    let road = door.broker().await?.describe();
    door.output.note(&format!("{what} on {} over {road}; stop with Ctrl-C", store.describe()));
    let ended = working.ended();
    // Watchers see the drain too: the servers go with the process, or when this set is dropped.
    let _servers = watch.begin(door, &CancellationToken::new()).await?;
    tokio::select! {
        _ = signals.next() => {}
        // It ended by itself: what `end` says is why.
        () = ended.cancelled() => return working.end().await.map(|()| Exit::Failed),
    }
    door.output.note("stopping: what runs is finished; once more gives it back at once");
    stop(door, &store, working, &mut signals).await.map(|gave_back| gave_back.unwrap_or(Exit::Success))
}

/// Ends the work well, or at once when a signal comes meanwhile: then with the signal's exit code.
///
/// # Errors
///
/// What ended the work before it was asked to.
pub(crate) async fn stop(
    door: &Door,
    store: &StoreHandle,
    working: Working,
    signals: &mut Signals,
) -> Result<Option<Exit>> {
    tokio::select! {
        result = working.end() => result.map(|()| None),
        exit = signals.next() => {
            give_back(door, store).await;
            Ok(Some(exit))
        }
    }
}

/// Ends the leases of this process, so that what it ran is queued again at once, unspent.
async fn give_back(door: &Door, store: &StoreHandle) {
    let host = gristmill_jobs::place::host();
    let ours = store
        .workers()
        .await
        .unwrap_or_default()
        .into_iter()
        .filter(|worker| worker.state == "alive" && worker.pid == std::process::id() && worker.host == host);
    for worker in ours {
        match store.retire_worker(worker.id).await {
            Ok(dispatched) => door.publish(&dispatched).await,
            Err(error) => door.output.error(&format!("warning: its jobs come back when the lease runs out: {error}")),
        }
    }
}
