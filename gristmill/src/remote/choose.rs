//! Which server a command asks, if any. Pure.

use super::contexts::{Contexts, Entry, LOCAL};
use crate::exit_code::{CommandError, Result};

/// What is said about whom to ask, besides the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Said {
    /// `--context`.
    pub(crate) context: Option<String>,
    /// Whether `--store` is given.
    pub(crate) store: bool,
    /// The variables of the environment, by their names.
    pub(crate) env: Vec<(String, String)>,
}

/// A server to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chosen {
    /// Its name, or its address when it has none.
    pub(crate) name: String,
    /// Where it is.
    pub(crate) entry: Entry,
}

impl Said {
    fn variable(&self, name: &str) -> Option<&str> {
        let value = self.env.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        value.filter(|value| !value.is_empty())
    }
}

/// Returns the server to ask; `None` is the database of the configuration. A flag wins over the environment, that over
/// the context in use; and of what stands at the same place, a context wins over an address.
///
/// # Errors
///
/// When two flags contradict each other, or there is no such context.
pub(crate) fn choose(said: &Said, contexts: impl FnOnce() -> Result<Contexts>) -> Result<Option<Chosen>> {
    let named = |name: &str, contexts: &Contexts| match name {
        LOCAL => Ok(None),
        name => Ok(Some(Chosen { name: name.to_owned(), entry: contexts.find(name)?.clone() })),
    };
    match (&said.context, said.store) {
        (Some(name), true) if name != LOCAL => {
            return Err(CommandError::usage("--context names a server, and --store a database")
                .hint("give only one of them: a server has its own database"));
        }
        (Some(name), _) if name == LOCAL => return Ok(None),
        (Some(name), _) => return named(name, &contexts()?),
        (None, true) => return Ok(None),
        (None, false) => {}
    }
    if let Some(name) = said.variable("GRISTMILL_CONTEXT") {
        return if name == LOCAL { Ok(None) } else { named(name, &contexts()?) };
    }
    if let Some(url) = said.variable("GRISTMILL_URL") {
        let path = |name| said.variable(name).map(Into::into);
        let (token_file, ca_file) = (path("GRISTMILL_TOKEN_FILE"), path("GRISTMILL_CA_FILE"));
        let entry = Entry { url: url.to_owned(), token_file, ca_file, ..Entry::default() };
        return Ok(Some(Chosen { name: url.to_owned(), entry }));
    }
    if said.variable("GRISTMILL_STORE_URL").is_some() {
        return Ok(None);
    }
    let contexts = contexts()?;
    contexts.used.as_deref().map_or(Ok(None), |name| named(name, &contexts))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::exit_code::Exit;

    fn chosen(context: Option<&str>, store: bool, env: &[(&str, &str)], used: Option<&str>) -> Result<Option<String>> {
        let entry = |url: &str| Entry { url: url.to_owned(), ..Entry::default() };
        let known = ["prod", "test"].map(|name| (name.to_owned(), entry(&format!("https://{name}.example"))));
        let contexts = Contexts { used: used.map(str::to_owned), known: BTreeMap::from(known) };
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let said = Said { context: context.map(str::to_owned), store, env };
        Ok(choose(&said, || Ok(contexts))?.map(|chosen| chosen.entry.url))
    }

    #[test]
    fn a_flag_wins_over_the_environment_and_that_over_the_context_in_use() {
        let (prod, test) = (Some("https://prod.example".to_owned()), Some("https://test.example".to_owned()));
        let url = [("GRISTMILL_URL", "https://u.example")];
        let both = [("GRISTMILL_URL", "https://u.example"), ("GRISTMILL_CONTEXT", "test")];
        let store = [("GRISTMILL_STORE_URL", "sqlite://a.db")];
        for (context, flag, env, used, expected) in [
            (None, false, &[][..], None, None),
            (None, false, &[], Some("prod"), prod.clone()),
            (None, true, &both, Some("prod"), None),
            (None, false, &store, Some("prod"), None),
            (None, false, &url, Some("prod"), Some("https://u.example".to_owned())),
            (None, false, &both, Some("prod"), test),
            (None, false, &[("GRISTMILL_CONTEXT", "local")], Some("prod"), None),
            (Some("prod"), false, &both, None, prod),
            (Some("local"), false, &both, Some("prod"), None),
            (Some("local"), true, &[], Some("prod"), None),
            (None, false, &[("GRISTMILL_URL", "")], None, None),
        ] {
            assert_eq!(chosen(context, flag, env, used), Ok(expected), "{context:?} {flag} {env:?} {used:?}");
        }
    }

    #[test]
    fn a_contradiction_and_an_unknown_name_are_refused() {
        assert_eq!(chosen(Some("prod"), true, &[], None).expect_err("two places").exit, Exit::Usage);
        for (context, used) in [(Some("prd"), None), (None, Some("gone"))] {
            assert_eq!(chosen(context, false, &[], used).expect_err("unknown").exit, Exit::NotFound);
        }
    }

    #[test]
    fn a_broken_file_hinders_no_command_that_does_not_need_it() {
        let said = Said { store: true, ..Said::default() };
        assert_eq!(choose(&said, || Err(CommandError::usage("broken"))), Ok(None));
    }
}
