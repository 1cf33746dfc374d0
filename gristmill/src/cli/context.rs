//! What every command is given: the configuration, the output, and the way to the store and the broker.

use std::ffi::OsString;
use std::sync::Arc;

use gristmill_broker::Broker;
use gristmill_core::trace::TraceContext;
use gristmill_service::dispatcher::Dispatcher;
use gristmill_service::process::operator;
use gristmill_service::{Actor, Order, Service};
use gristmill_store::{OpenOptions, StoreError, StoreHandle};
use tokio::sync::OnceCell;

use crate::cli::connection::{Connection, OnDemand};
use crate::cli::output::Output;
use crate::config::error::all_of;
use crate::config::show::redact_url;
use crate::config::{Layers, Loaded, load};
use crate::exit_code::{CommandError, Exit, Result};
use crate::extensions::Extensions;

/// What every command is given.
pub(crate) struct CommandContext {
    /// The configuration in force.
    pub(crate) loaded: Loaded,
    /// What it was made of.
    pub(crate) layers: Layers,
    /// Where to write.
    pub(crate) output: Output,
    /// Whose jobs and batches.
    pub(crate) tenant: String,
    /// The program's own kinds and item handlers.
    pub(crate) extensions: Extensions,
    /// The trace that everything this command causes belongs to.
    trace: TraceContext,
    args: Vec<OsString>,
    connection: Arc<Connection>,
    store: OnceCell<StoreHandle>,
}

impl CommandContext {
    /// Opens nothing yet.
    pub(crate) fn new(
        loaded: Loaded,
        layers: Layers,
        output: Output,
        tenant: String,
        extensions: Extensions,
        args: Vec<OsString>,
    ) -> Self {
        let connection = Arc::new(Connection::new(loaded.config.broker.clone(), output));
        let (store, trace) = (OnceCell::new(), crate::runtime::trace::begin());
        Self { loaded, layers, output, tenant, extensions, trace, args, connection, store }
    }

    /// The same door with another configuration.
    pub(crate) fn with(&self, loaded: Loaded, layers: Layers) -> Self {
        let context =
            Self::new(loaded, layers, self.output, self.tenant.clone(), self.extensions.clone(), self.args.clone());
        Self { trace: self.trace, ..context }
    }

    /// The same door with further flags of one command laid over the configuration.
    ///
    /// # Errors
    ///
    /// When a value makes no sense.
    pub(crate) fn with_flags(&self, flags: Vec<(&'static str, &'static str, String)>) -> Result<Self> {
        let mut layers = self.layers.clone();
        layers.flags.extend(flags);
        let loaded = load(&layers).map_err(all_of)?;
        Ok(self.with(loaded, layers))
    }

    /// What the jobs and batches of this command carry, so that all that comes of it is one trace.
    pub(crate) fn trace(&self) -> String {
        self.trace.to_string()
    }

    fn store_options(&self) -> OpenOptions {
        OpenOptions { settings: self.loaded.config.store.clone(), with_outbox: self.connection.carries() }
    }

    /// The store, ready for use.
    ///
    /// # Errors
    ///
    /// When it cannot be reached, or its schema does not fit.
    pub(crate) async fn store(&self) -> Result<StoreHandle> {
        let open = || async {
            let opened = gristmill_store::open(&self.loaded.config.store.url, self.store_options()).await;
            opened.map_err(|error| self.store_trouble(error))
        };
        self.store.get_or_try_init(open).await.cloned()
    }

    /// The store without a look at its schema.
    pub(crate) async fn connect_store(&self) -> Result<StoreHandle> {
        let opened = gristmill_store::connect(&self.loaded.config.store.url, self.store_options()).await;
        opened.map_err(|error| self.store_trouble(error))
    }

    fn store_trouble(&self, error: StoreError) -> CommandError {
        let hint = match &error {
            StoreError::NeedsMigration { .. } => {
                let url = redact_url(&self.loaded.config.store.url);
                Some(format!("run `gristmill --store {url} db migrate`, or set `migrate = true` in [store]"))
            }
            StoreError::Unavailable(_) => {
                Some("see `gristmill doctor` for what is wrong and how to mend it".to_owned())
            }
            _ => None,
        };
        CommandError { hint, ..error.into() }
    }

    /// The broker.
    ///
    /// # Errors
    ///
    /// When it refuses for good.
    pub(crate) async fn broker(&self) -> Result<Broker> {
        self.connection.broker().await
    }

    /// The dispatcher over the broker, connected now.
    ///
    /// # Errors
    ///
    /// When store or broker refuse.
    pub(crate) async fn dispatcher(&self) -> Result<Dispatcher> {
        self.connection.dispatcher(&self.store().await?).await
    }

    /// The verbs over the store. The broker is connected when a verb has something to publish.
    ///
    /// # Errors
    ///
    /// When the store refuses.
    pub(crate) async fn service(&self) -> Result<Service> {
        let store = self.store().await?;
        let connect = OnDemand { connection: Arc::clone(&self.connection), store: Arc::clone(&store) };
        Ok(Service::on_demand(store, Arc::new(connect)))
    }

    /// An order of whoever runs this command, for the tenant that it names.
    pub(crate) fn order(&self, dry_run: bool) -> Order {
        Order::new(&self.tenant, Actor::Operator(operator())).rehearsed(dry_run)
    }

    /// Lets what is under way to the broker arrive.
    pub(crate) async fn close(&self) {
        self.connection.close().await;
    }

    /// The kinds that this program can enqueue: those that it runs, and those that the configuration announces.
    pub(crate) fn kinds(&self) -> Vec<String> {
        let mut kinds: Vec<String> = ["email", "webhook", "exec", "http"].map(str::to_owned).into();
        kinds.extend(self.extensions.kinds.kinds());
        kinds.extend(self.loaded.config.kind.keys().cloned());
        kinds
    }

    /// How the program was called, as it would be typed.
    pub(crate) fn program(&self) -> String {
        self.args.first().map_or("gristmill".to_owned(), |program| quoted(&program.to_string_lossy()))
    }

    /// The program with the flags that lead to the same store, as it would be typed. Passwords are
    /// left out.
    pub(crate) fn program_here(&self) -> String {
        let mut program = self.program();
        if let Some(file) = &self.layers.file {
            program.push_str(&format!(" --config {}", quoted(&file.display().to_string())));
        }
        for (flag, _, value) in self.layers.flags.iter().filter(|(flag, ..)| matches!(*flag, "store" | "broker")) {
            program.push_str(&format!(" --{flag} {}", quoted(&redact_url(value))));
        }
        if self.tenant != gristmill_core::id::DEFAULT_TENANT {
            program.push_str(&format!(" --tenant {}", quoted(&self.tenant)));
        }
        program
    }

    /// The same command with other values for some flags, as it would be typed. Passwords are left out.
    pub(crate) fn again(&self, flags: &[&str]) -> String {
        let replaced: Vec<&str> = flags.iter().filter(|flag| flag.starts_with("--")).copied().collect();
        let mut words = vec![self.program()];
        let mut skip = false;
        for arg in self.args.iter().skip(1).map(|arg| arg.to_string_lossy()) {
            if std::mem::take(&mut skip) {
                continue;
            }
            if replaced.contains(&arg.as_ref()) {
                skip = true;
            } else if !replaced.iter().any(|flag| arg.starts_with(&format!("{flag}="))) {
                words.push(quoted(&redact_url(&arg)));
            }
        }
        words.extend(flags.iter().map(|word| quoted(word)));
        words.join(" ")
    }
}

impl std::fmt::Debug for CommandContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Door").field("tenant", &self.tenant).field("parts", &self.extensions).finish_non_exhaustive()
    }
}

/// A word as a shell takes it.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@,+%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// What nothing but a fault of this program explains.
pub(crate) fn internal(what: impl std::fmt::Display) -> CommandError {
    CommandError::new(Exit::Internal, what.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_command_replaces_the_flag_that_it_changes() {
        let args = ["gristmill", "job", "list", "--after", "a", "--limit", "5", "--kind", "my kind"];
        let output = Output::new(false, true, true, crate::cli::output::Color::Never);
        let args = args.map(OsString::from).into();
        let context = CommandContext::new(
            Loaded::default(),
            Layers::default(),
            output,
            "main".to_owned(),
            Extensions::default(),
            args,
        );
        assert_eq!(context.again(&["--after", "b"]), "gristmill job list --limit 5 --kind 'my kind' --after b");
    }
}
