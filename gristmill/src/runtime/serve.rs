//! A process that works until it is stopped: by a signal, or by the program in which it is embedded.

use gristmill_store::StoreHandle;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::exit_code::{CommandError, Exit, Result};
use crate::runtime::context::ProcessContext;
use crate::runtime::http::HttpServer;
use crate::runtime::metrics::Watch;
use crate::runtime::roles::Roles;
use crate::runtime::signals::Signals;
use crate::runtime::work::Working;

/// Work that has begun, and the servers beside it.
struct Serving {
    store: StoreHandle,
    working: Working,
    /// Observers can see the drain too: the servers stop with the process, or when this set is dropped.
    servers: JoinSet<()>,
}

impl Serving {
    /// Begins, and reports what the process does and how to stop it.
    async fn begin(context: &ProcessContext, roles: Roles, api: bool, how_to_stop: &str) -> Result<Self> {
        let store = context.store().await?;
        let watch = Watch::prepare(context, roles, api).await?;
        let http = if api { HttpServer::prepare_beside(context).await? } else { None };
        let working = Working::serve(context, &store, roles).await?;
        let broker = context.broker().await?.describe();
        context.note(format!("{} on {} over {broker}{how_to_stop}", roles.describe(), store.describe()));
        let (exporter, stop) = (watch.exporter(), CancellationToken::new());
        let mut servers = watch.begin(context, &stop).await?;
        if let (Some(http), Some(served)) = (http, working.served()) {
            http.begin(context, served.clone(), exporter, &mut servers, &stop).await?;
        }
        Ok(Self { store, working, servers })
    }
}

/// Works until a signal: the first one drains, the second one gives everything back at once. With `api` the API is
/// served beside the work.
///
/// # Errors
///
/// When the work cannot begin, or ended by itself.
pub(crate) async fn serve(context: &ProcessContext, roles: Roles, api: bool) -> Result<Exit> {
    let mut signals = Signals::listen()?;
    let Serving { store, working, servers } = Serving::begin(context, roles, api, "; stop with Ctrl-C").await?;
    let ended = working.ended();
    tokio::select! {
        _ = signals.next() => {}
        // It ended by itself, and `end` returns the reason. What it runs is finished even so, unless a signal comes.
        () = ended.cancelled() => {
            let stopped = stop(context, &store, working, &mut signals).await;
            return stopped.map(|gave_back| gave_back.unwrap_or(Exit::Failed));
        }
    }
    context.note("stopping: what runs is finished; once more gives it back at once");
    let stopped = stop(context, &store, working, &mut signals).await;
    drop(servers);
    stopped.map(|gave_back| gave_back.unwrap_or(Exit::Success))
}

/// Works until `shutdown` completes, then drains: claims nothing more, lets running jobs finish within
/// `[worker] drain`, and gives the rest back.
///
/// # Errors
///
/// When the work cannot begin, or ended by itself.
pub(crate) async fn serve_until(
    context: &ProcessContext,
    roles: Roles,
    shutdown: impl Future<Output = ()>,
) -> Result<()> {
    let Serving { working, servers, .. } = Serving::begin(context, roles, false, "").await?;
    let ended = working.ended();
    tokio::select! {
        () = shutdown => context.note("stopping: what runs is finished"),
        () = ended.cancelled() => {
            working.end().await?;
            return Err(CommandError::new(Exit::Failed, "the work ended before it was asked to stop"));
        }
    }
    let stopped = working.end().await;
    drop(servers);
    stopped
}

/// Ends the work gracefully, or at once when a signal comes meanwhile: then with the signal's exit code.
///
/// # Errors
///
/// The error that ended the work before it was asked to end.
pub(crate) async fn stop(
    context: &ProcessContext,
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
async fn give_back(context: &ProcessContext, store: &StoreHandle) {
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
            context.warn(format!("its jobs come back when the lease runs out: {error}"));
        }
    }
}
