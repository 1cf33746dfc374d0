//! The built-in kinds.

use std::sync::Arc;

use crate::handler::Registry;
use crate::kind::aggregate::{AGGREGATE, AggregateHandler};
use crate::kind::chunk::{CHUNK, ChunkHandler};
use crate::kind::email::EmailHandler;
use crate::kind::exec::ExecHandler;
use crate::kind::http::HttpHandler;
use crate::kind::notify::NotifyHandler;
use crate::kind::payload::{EMAIL, EXEC, HTTP, NOTIFY, WEBHOOK};
use crate::kind::webhook::WebhookHandler;
use crate::pool::ItemPool;
use crate::process::Processors;
use crate::settings::EffectSettings;

/// What the kinds need.
#[derive(Debug, Clone)]
pub struct RegistryOptions {
    /// The threads for the items of chunks.
    pub pool: ItemPool,
    /// The Rust item handlers, and the factories for programs and services.
    pub processors: Processors,
}

/// The registry of the kinds that batches are made of: `chunk` and `aggregate`.
pub fn registry(options: RegistryOptions) -> Registry {
    let mut registry = Registry::default();
    registry.insert(CHUNK, Arc::new(ChunkHandler::new(options.processors, options.pool)));
    registry.insert(AGGREGATE, Arc::new(AggregateHandler));
    registry
}

/// Adds the kinds with outside effects: `email`, `webhook`, `notify`, `exec` and `http`.
///
/// # Errors
///
/// When `[mail]` makes no sense, or names a secret or a file that cannot be read: a text that names
/// the key.
pub fn add_effects(registry: &mut Registry, settings: &EffectSettings) -> Result<(), String> {
    registry.insert(EMAIL, Arc::new(EmailHandler::new(&settings.mail)?));
    registry.insert(WEBHOOK, Arc::new(WebhookHandler::new(&settings.webhook)));
    registry.insert(NOTIFY, Arc::new(NotifyHandler::new(&settings.notify)));
    registry.insert(EXEC, Arc::new(ExecHandler::new(&settings.exec)));
    registry.insert(HTTP, Arc::new(HttpHandler::new(&settings.http)));
    Ok(())
}
