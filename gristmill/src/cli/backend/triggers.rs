//! Hooks and watched folders: list, show, retry an event.

use gristmill_client::http::Call;
use gristmill_service::Order;
use gristmill_service::documents::{TriggerDocument, TriggerReportDocument};
use gristmill_store::{TickFilter, TickView};
use serde_json::json;

use super::{Backend, Local};
use crate::config::suggest;
use crate::exit_code::{CommandError, Result};

/// The most events that a list counts.
const COUNTED: u32 = 10_000;

impl Backend<'_> {
    /// Every hook and watched folder, with its last event.
    pub(crate) async fn triggers(&self) -> Result<Vec<TriggerDocument>> {
        match self {
            Self::Store(local) => {
                let mut found = Vec::new();
                for (name, spec) in local.process.loaded.triggers() {
                    found.push(TriggerDocument::new(&name, &spec, &events(local, &name, COUNTED).await?));
                }
                Ok(found)
            }
            Self::Server(server) => server.look(&Call::get(&["triggers"])).await,
        }
    }

    /// The events of one that is in the configuration, or has events from when it was.
    pub(crate) async fn trigger_events(&self, name: &str, limit: u32) -> Result<Vec<TickView>> {
        match self {
            Self::Store(local) => known(local, name, limit).await,
            Self::Server(server) => {
                let (sort, own) = name.split_once('/').ok_or_else(|| unknown(name))?;
                server.look(&Call::get(&["triggers", sort, own, "events"]).param("limit", limit)).await
            }
        }
    }

    /// Starts an event of a hook anew.
    pub(crate) async fn retry_event(&self, order: &Order, name: &str, event: &str) -> Result<TriggerReportDocument> {
        match self {
            Self::Store(local) => {
                let rows = known(local, name, COUNTED).await?;
                let row = rows.iter().find(|row| row.event.as_deref() == Some(event)).ok_or_else(|| {
                    CommandError::not_found(format!("{name} has no event `{event}`"))
                        .hint(format!("see which there are: gristmill trigger show {name}"))
                })?;
                let affected = local.service.retry_event(order, row).await?;
                let (trigger, event) = (name.to_owned(), event.to_owned());
                Ok(TriggerReportDocument { dry_run: order.dry_run, trigger, event, affected })
            }
            Self::Server(server) => {
                let (sort, own) = name.split_once('/').ok_or_else(|| unknown(name))?;
                let call = Call::post(&["triggers", sort, own, "retry"]).body(&json!({ "event": event }));
                server.change(call, order).await
            }
        }
    }
}

async fn events(local: &Local<'_>, name: &str, limit: u32) -> Result<Vec<TickView>> {
    let (tenant, schedule) = (local.tenant().to_owned(), name.to_owned());
    Ok(local.store().ticks(&TickFilter { tenant, schedule, from: None, until: None, limit }).await?)
}

async fn known(local: &Local<'_>, name: &str, limit: u32) -> Result<Vec<TickView>> {
    let rows = events(local, name, limit).await?;
    let triggers = local.process.loaded.triggers();
    if triggers.contains_key(name) || (name.contains('/') && !rows.is_empty()) {
        return Ok(rows);
    }
    Err(match suggest(name, triggers.keys().map(String::as_str)) {
        Some(hint) => unknown(name).hint(hint),
        None => unknown(name),
    })
}

fn unknown(name: &str) -> CommandError {
    CommandError::not_found(format!("there is no trigger `{name}`"))
        .hint("write [hook.NAME] or [watch.NAME] in the configuration; its name here is hook/NAME or watch/NAME")
}
