//! What a program adds to the command line: kinds of jobs and item handlers of its own.

use std::collections::BTreeMap;

use gristmill_jobs::Registry;
use gristmill_jobs::kind::check;
use gristmill_jobs::process::{ItemHandler, Processors};
use gristmill_worker::layers::Layers;
use serde_json::Value;

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

    /// Everything that can process items.
    pub(crate) fn processors(&self) -> Processors {
        let own = self.items.iter();
        own.fold(Processors::default().with_outside(), |processors, (name, work)| {
            processors.with_handler(name, work.clone())
        })
    }
}
