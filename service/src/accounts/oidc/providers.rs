//! The providers of a server, by their names.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::provider::Provider;
use super::settings::OidcSettings;

/// The providers of a server, by their names. Clones are the same.
#[derive(Clone, Default)]
pub struct Providers(Arc<BTreeMap<String, Provider>>);

impl fmt::Debug for Providers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.keys()).finish()
    }
}

impl Providers {
    /// The providers of the settings. Nothing is asked of them yet: a server starts without them.
    ///
    /// # Errors
    ///
    /// What is wrong with one of them, and which.
    pub fn new(settings: &BTreeMap<String, OidcSettings>) -> Result<Self, String> {
        let made = settings.iter().map(|(name, settings)| {
            let provider = Provider::new(settings.clone()).map_err(|wrong| format!("[oidc.{name}] {wrong}"))?;
            Ok((name.clone(), provider))
        });
        Ok(Self(Arc::new(made.collect::<Result<_, String>>()?)))
    }

    /// One by its name.
    pub(super) fn get(&self, name: &str) -> Option<&Provider> {
        self.0.get(name)
    }

    /// The first one of an issuer: its name, and what its button is called.
    pub(super) fn of_issuer(&self, issuer: &str) -> Option<(&str, &str)> {
        let name = self.0.iter().find(|(_, provider)| provider.settings.issuer == issuer)?.0;
        self.titles().find(|(known, _)| known == name)
    }

    /// The issuer of one by its name.
    pub fn issuer(&self, name: &str) -> Option<&str> {
        self.get(name).map(|provider| provider.settings.issuer.as_str())
    }

    /// Their names, and what their buttons are called.
    pub fn titles(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, provider)| {
            let title = provider.settings.title.as_str();
            (name.as_str(), if title.is_empty() { name.as_str() } else { title })
        })
    }
}
