//! What a program adds to the command line: kinds of jobs and item handlers of its own.

use std::collections::BTreeMap;

use gristmill_core::callback::Event;
use gristmill_core::definition::WebhookEffect;
use gristmill_core::event::subscription::SubscriptionSpec;
use gristmill_jobs::Registry;
use gristmill_jobs::kind::check;
use gristmill_jobs::process::{ItemHandler, Processors};
use gristmill_jobs::settings::WebhookSettings;
use gristmill_worker::layers::Layers;
use serde_json::Value;

use crate::config::Config;
use crate::kind::States;
use crate::kind_settings::KindSettings;

/// The kinds and item handlers that the program has registered.
#[derive(Clone, Default)]
pub(crate) struct Extensions {
    /// The program's own kinds.
    pub(crate) kinds: Registry,
    /// The settings in the code of those kinds, for what neither the command nor the configuration sets.
    pub(crate) defaults: BTreeMap<String, KindSettings>,
    /// The item handlers, by the name that `process = { rust = "NAME" }` uses.
    pub(crate) items: BTreeMap<String, ItemHandler>,
    /// Subscriptions to events, by their names.
    pub(crate) subscriptions: BTreeMap<String, SubscriptionSpec>,
    /// What the program shares with its kinds.
    pub(crate) states: States,
    /// What the program adds around each attempt.
    pub(crate) layers: Layers,
}

impl std::fmt::Debug for Extensions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Extensions").field("kinds", &self.kinds).field("items", &self.items.keys()).finish()
    }
}

impl Extensions {
    /// Checks the payload of a kind that comes with the program, unless this program has another kind of that name.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub(crate) fn check_payload(&self, kind: &str, payload: &Value) -> Result<(), String> {
        if self.kinds.kinds().iter().any(|own| own == kind) {
            return Ok(());
        }
        check::payload(kind, payload)
    }

    /// Everything that can process items, within what the configuration allows.
    pub(crate) fn processors(&self, config: &Config) -> Processors {
        let outside =
            Processors::default().with_outside(&config.exec, &header_variables(config)).with_mail(&config.mail);
        self.items.iter().fold(outside, |processors, (name, work)| processors.with_handler(name, work.clone()))
    }
}

/// The variables that headers of services may name: those that `[http] env` lists, and those that the batches of this
/// configuration name, whose author may read the environment anyway. A definition that another process has sent names
/// no others.
fn header_variables(config: &Config) -> Vec<String> {
    let services = config.batch.values().filter_map(|batch| batch.process.as_ref()?.http.as_ref());
    let named = services.flat_map(|service| service.headers.values()).filter_map(|value| value.strip_prefix("env:"));
    config.http.env.iter().map(String::as_str).chain(named).map(str::to_owned).collect()
}

/// `[webhook]`, with the variables that the callbacks of this configuration name among those that may be named.
pub(crate) fn webhook_settings(config: &Config) -> WebhookSettings {
    let callbacks = config.batch.values().flat_map(|batch| Event::ALL.into_iter().flat_map(|on| on.effects(&batch.on)));
    let named = callbacks.filter_map(|callback| match &callback.webhook {
        Some(WebhookEffect::Full { secret_env, .. }) => secret_env.clone(),
        Some(WebhookEffect::Url(_)) | None => None,
    });
    let mut settings = config.webhook.clone();
    settings.env.extend(named);
    settings
}
