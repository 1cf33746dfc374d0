//! A process that works until a signal comes.

use gristmill_store::StoreHandle;
use tokio_util::sync::CancellationToken;

use crate::cli::context::CommandContext;
use crate::exit_code::{Exit, Result};
use crate::runtime::metrics::Watch;
use crate::runtime::signals::Signals;
use crate::runtime::work::{Roles, Working};

/// Works until a signal: the first one drains, the second one gives everything back at once.
///
/// # Errors
///
/// When the work cannot begin, or ended by itself.
pub(crate) async fn serve(context: &CommandContext, roles: Roles) -> Result<Exit> {
    let mut signals = Signals::listen()?;
    let store = context.store().await?;
    let watch = Watch::prepare(context, roles).await?;
    let working = Working::serve(context, &store, roles).await?;
    let what = match (roles.worker, roles.scheduler) {
        (true, true) => "worker and scheduler",
        (true, false) => "worker",
        (false, _) => "scheduler",
    };
    let dispatcher = context.broker().await?.describe();
    context.output.note(&format!("{what} on {} over {dispatcher}; stop with Ctrl-C", store.describe()));
    let ended = working.ended();
    // Watchers see the drain too: the servers go with the process, or when this set is dropped.
    let _servers = watch.begin(context, &CancellationToken::new()).await?;
    tokio::select! {
        _ = signals.next() => {}
        // It ended by itself: what `end` says is why.
        () = ended.cancelled() => return working.end().await.map(|()| Exit::Failed),
    }
    context.output.note("stopping: what runs is finished; once more gives it back at once");
    stop(context, &store, working, &mut signals).await.map(|gave_back| gave_back.unwrap_or(Exit::Success))
}

/// Ends the work well, or at once when a signal comes meanwhile: then with the signal's exit code.
///
/// # Errors
///
/// What ended the work before it was asked to.
pub(crate) async fn stop(
    context: &CommandContext,
    store: &StoreHandle,
    working: Working,
    signals: &mut Signals,
) -> Result<Option<Exit>> {
    tokio::select! {
        result = working.end() => result.map(|()| None),
        exit = signals.next() => {
            give_back(context, store).await;
            Ok(Some(exit))
        }
    }
}

/// Ends the leases of this process, so that what it ran is queued again at once, unspent.
async fn give_back(context: &CommandContext, store: &StoreHandle) {
    let Ok(service) = context.service().await else { return };
    let host = gristmill_service::process::host();
    let ours = store
        .workers()
        .await
        .unwrap_or_default()
        .into_iter()
        .filter(|worker| worker.state == "alive" && worker.pid == std::process::id() && worker.host == host);
    for worker in ours {
        if let Err(error) = service.retire_worker(worker.id).await {
            context.output.error(&format!("warning: its jobs come back when the lease runs out: {error}"));
        }
    }
}
