//! A configuration that has been read, and where each of its values was set.

use std::collections::BTreeMap;
use std::path::PathBuf;

use gristmill_core::definition::BatchDefinition;
use gristmill_core::schedule::ScheduleSpec;
use gristmill_dashboard::hooks;
use gristmill_scheduler::watch;

use super::error::suggest;
use super::origin::Origins;
use super::settings::Config;
use crate::exit_code::{CommandError, Result};

/// A configuration that has been read, and where each of its values was set.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Loaded {
    /// The values.
    pub config: Config,
    /// Where they were set; a value that is missing here is a default.
    pub origins: Origins,
    /// The file, when there is one.
    pub file: Option<PathBuf>,
    /// What is odd without being wrong, such as a variable that nothing reads.
    pub warnings: Vec<String>,
}

impl Loaded {
    /// Only how messages look: all the rest belongs to a database that is not asked.
    pub(crate) fn logging_alone(self) -> Self {
        Self { config: Config { log: self.config.log, ..Config::default() }, ..Self::default() }
    }

    /// Every schedule by its name: those of `[schedule.NAME]`, and those of the batches.
    pub fn schedules(&self) -> BTreeMap<String, ScheduleSpec> {
        let own = self.config.batch.iter().filter_map(|(name, batch)| {
            let spec = batch.schedule.as_deref()?.clone();
            Some((name.clone(), ScheduleSpec { batch: Some(name.clone()), ..spec }))
        });
        own.chain(self.config.schedule.clone()).collect()
    }

    /// What hooks and watched folders start, by the name of their ledger.
    pub fn triggers(&self) -> BTreeMap<String, ScheduleSpec> {
        let hooks = self.config.hook.iter().map(|(name, hook)| (hooks::ledger(name), hook.starts()));
        let watches = self.config.watch.iter().map(|(name, watch)| (watch::ledger(name), watch.starts()));
        hooks.chain(watches).collect()
    }

    /// Returns the definition of a batch.
    ///
    /// # Errors
    ///
    /// When there is none of that name; the hint names the nearest one.
    pub fn batch(&self, name: &str) -> Result<&BatchDefinition> {
        self.config.batch.get(name).ok_or_else(|| {
            let place =
                self.file.as_ref().map_or("no configuration file".to_owned(), |file| file.display().to_string());
            let error = CommandError::not_found(format!("there is no [batch.{name}] in {place}"));
            match suggest(name, self.config.batch.keys().map(String::as_str)) {
                Some(hint) => error.hint(hint),
                None => error.hint("name a configuration with --config FILE, or define the batch in ./config.toml"),
            }
        })
    }
}
