//! Metrics and health of a process that works as a service.

use std::collections::BTreeSet;

use gristmill_telemetry::{BoundListener, Exporter, ServeError, ServerState, bind};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::exit_code::{CommandError, Exit, Result};
use crate::runtime::context::ProcessContext;
use crate::runtime::roles::Roles;

/// Addresses that are bound but not served yet, and the recorder of this process.
pub(crate) struct Watch {
    bound: Vec<BoundListener>,
    exporter: Option<Exporter>,
}

impl Watch {
    /// Binds the addresses that the settings name for these roles, and creates the recorder: before the work begins, so
    /// that nothing is lost and a taken address is reported at once.
    ///
    /// # Errors
    ///
    /// When an address cannot be bound.
    pub(crate) async fn prepare(context: &ProcessContext, roles: Roles, api: bool) -> Result<Self> {
        let config = &context.loaded.config;
        let wanted = [(roles.worker, &config.worker.metrics), (roles.scheduler, &config.scheduler.metrics)];
        let addresses: BTreeSet<&String> = wanted
            .into_iter()
            .filter(|(has, address)| *has && !address.is_empty())
            .map(|(_, address)| address)
            .collect();
        let mut bound = Vec::new();
        for address in addresses {
            bound.push(bind(address).await.map_err(trouble)?);
        }
        let wanted = !bound.is_empty() || (api && config.serve.metrics);
        let exporter = if wanted { Some(Exporter::install().map_err(CommandError::internal)?) } else { None };
        Ok(Self { bound, exporter })
    }

    /// The recorder of this process, if anything shows what it records.
    pub(crate) fn exporter(&self) -> Option<Exporter> {
        self.exporter.clone()
    }

    /// Serves until `stop`.
    ///
    /// # Errors
    ///
    /// When the store or the broker refuses.
    pub(crate) async fn begin(self, context: &ProcessContext, stop: &CancellationToken) -> Result<JoinSet<()>> {
        let mut servers = JoinSet::new();
        let Some(exporter) = self.exporter else { return Ok(servers) };
        let config = &context.loaded.config;
        for bound in self.bound {
            if let Ok(address) = bound.addr() {
                context.note(format!("metrics on http://{address}/metrics"));
            }
            let watched = ServerState {
                store: context.store().await?,
                dispatcher: context.dispatcher().await?,
                stuck: context.stuck.clone(),
                exporter: Some(exporter.clone()),
            };
            let (stop, settings, drain) = (stop.clone(), config.listener.clone(), config.worker.drain.0);
            servers.spawn(async move {
                bound.serve(watched, settings, drain, stop.cancelled_owned()).await;
            });
        }
        Ok(servers)
    }
}

/// Why an address cannot be bound, and the exit code for it.
pub(crate) fn trouble(error: ServeError) -> CommandError {
    let exit = match &error {
        ServeError::Bind { .. } => Exit::Conflict,
    };
    CommandError::new(exit, error.to_string())
}
