//! What a process works with: its configuration, its kinds, and the connections, opened on first use.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use gristmill_broker::Broker;
use gristmill_jobs::pool::StuckThreads;
use gristmill_service::dispatcher::Dispatcher;
use gristmill_service::{Connect, Service};
use gristmill_store::{OpenOptions, StoreError, StoreHandle};
use tokio::sync::OnceCell;

use crate::config::show::redact_address;
use crate::config::{ConfigError, Loaded};
use crate::exit_code::{CommandError, Result};
use crate::extensions::Extensions;
use crate::runtime::connection::Connection;

/// Reads the configuration again, in the same way as the first time.
pub(crate) type Reload = Arc<dyn Fn() -> std::result::Result<Loaded, Vec<ConfigError>> + Send + Sync>;

/// A notice to the operator, in addition to the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Notice {
    /// What the process does.
    Note(String),
    /// What went wrong without ending the work.
    Warning(String),
}

/// Receives notices.
pub(crate) type Notify = Arc<dyn Fn(Notice) + Send + Sync>;

/// What a process works with. It opens nothing before it is needed.
pub(crate) struct ProcessContext {
    /// The configuration in force.
    pub(crate) loaded: Loaded,
    /// The tenant that owns the jobs and batches.
    pub(crate) tenant: String,
    /// The program's own kinds and item handlers.
    pub(crate) extensions: Extensions,
    /// Reads the configuration again.
    pub(crate) reload: Reload,
    /// The threads for items that do not come back.
    pub(crate) stuck: StuckThreads,
    notify: Notify,
    connection: Arc<Connection>,
    store: OnceCell<StoreHandle>,
    /// The server that is asked instead: then there is no store.
    elsewhere: Option<String>,
}

impl ProcessContext {
    /// Creates it without opening anything yet.
    pub(crate) fn new(loaded: Loaded, tenant: String, extensions: Extensions, reload: Reload, notify: Notify) -> Self {
        let connection = Arc::new(Connection::new(loaded.config.broker.clone()));
        Self {
            loaded,
            tenant,
            extensions,
            reload,
            stuck: StuckThreads::default(),
            notify,
            connection,
            store: OnceCell::new(),
            elsewhere: None,
        }
    }

    /// The same without a store: what is asked is this server.
    pub(crate) fn elsewhere(self, server: &str) -> Self {
        Self { elsewhere: Some(server.to_owned()), ..self }
    }

    fn refuse_elsewhere(&self) -> Result<()> {
        let Some(server) = &self.elsewhere else { return Ok(()) };
        Err(CommandError::usage(format!("this works on the database itself, and `{server}` is a server"))
            .hint("add `--context local` for the database of the configuration"))
    }

    /// Reports what the process does.
    pub(crate) fn note(&self, text: impl Into<String>) {
        (self.notify)(Notice::Note(text.into()));
    }

    /// Reports what went wrong.
    pub(crate) fn warn(&self, text: impl Into<String>) {
        (self.notify)(Notice::Warning(text.into()));
    }

    /// The kinds that this program can enqueue: those that it runs, and those that the configuration announces.
    pub(crate) fn kinds(&self) -> Vec<String> {
        let mut kinds: Vec<String> = ["email", "webhook", "notify", "exec", "http"].map(str::to_owned).into();
        kinds.extend(self.extensions.kinds.kinds());
        kinds.extend(self.loaded.config.kind.keys().cloned());
        kinds
    }

    fn store_options(&self) -> OpenOptions {
        OpenOptions { settings: self.loaded.config.store.clone(), with_outbox: self.connection.carries() }
    }

    /// Returns the store, ready for use.
    ///
    /// # Errors
    ///
    /// When it cannot be reached, or its schema does not fit.
    pub(crate) async fn store(&self) -> Result<StoreHandle> {
        self.refuse_elsewhere()?;
        let open = || async {
            let opened = gristmill_store::open(&self.loaded.config.store.url, self.store_options()).await;
            opened.map_err(|error| self.store_trouble(error))
        };
        self.store.get_or_try_init(open).await.cloned()
    }

    /// Returns the store without checking its schema.
    pub(crate) async fn connect_store(&self) -> Result<StoreHandle> {
        self.refuse_elsewhere()?;
        let opened = gristmill_store::connect(&self.loaded.config.store.url, self.store_options()).await;
        opened.map_err(|error| self.store_trouble(error))
    }

    fn store_trouble(&self, error: StoreError) -> CommandError {
        let hint = match &error {
            StoreError::NeedsMigration { .. } => {
                let url = redact_address(&self.loaded.config.store.url);
                Some(format!("run `gristmill --store {url} db migrate`, or set `migrate = true` in [store]"))
            }
            StoreError::Unavailable(_) => {
                Some("see `gristmill doctor` for what is wrong and how to mend it".to_owned())
            }
            _ => None,
        };
        CommandError { hint, ..error.into() }
    }

    /// Returns the broker.
    ///
    /// # Errors
    ///
    /// When it refuses for good.
    pub(crate) async fn broker(&self) -> Result<Broker> {
        self.connection.broker().await
    }

    /// Returns the dispatcher over the broker.
    ///
    /// # Errors
    ///
    /// When the store or the broker refuses.
    pub(crate) async fn dispatcher(&self) -> Result<Dispatcher> {
        self.connection.dispatcher(&self.store().await?).await
    }

    /// Returns the verbs over the store. The broker is connected when a verb has something to publish.
    ///
    /// # Errors
    ///
    /// When the store refuses.
    pub(crate) async fn service(&self) -> Result<Service> {
        let store = self.store().await?;
        let (connection, notify) = (Arc::clone(&self.connection), Arc::clone(&self.notify));
        let connect = OnDemand { connection, store: Arc::clone(&store), notify };
        Ok(Service::on_demand(store, Arc::new(connect)))
    }

    /// Waits until what is under way to the broker has arrived, and other processes have been told of what was committed.
    pub(crate) async fn close(&self) {
        self.connection.close().await;
        if let Some(store) = self.store.get() {
            store.all_notified().await;
        }
    }

    /// The folder for spools of inputs that cannot be read by ranges: beside an embedded database, else in the current
    /// folder. A system's folder for temporary files may be swept while a batch runs.
    pub(crate) fn spool_dir(&self) -> Result<PathBuf> {
        let url = &self.loaded.config.store.url;
        let database = gristmill_store::sqlite_file(url);
        let beside = database.map(|path| PathBuf::from(format!("{}.spool", path.display())));
        Ok(current_folder()?.join(beside.unwrap_or_else(|| PathBuf::from("gristmill-spool"))))
    }
}

impl std::fmt::Debug for ProcessContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (tenant, extensions) = (&self.tenant, &self.extensions);
        f.debug_struct("ProcessContext").field("tenant", tenant).field("extensions", extensions).finish_non_exhaustive()
    }
}

/// Publishes what a verb has made claimable. What cannot be published now stays in the outbox for the scheduler: that
/// is not a failure of the caller, and is reported in a notice.
struct OnDemand {
    connection: Arc<Connection>,
    store: StoreHandle,
    notify: Notify,
}

impl std::fmt::Debug for OnDemand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OnDemand").field("connection", &self.connection).finish_non_exhaustive()
    }
}

#[async_trait]
impl Connect for OnDemand {
    fn connected(&self) -> Option<Dispatcher> {
        self.connection.connected().cloned()
    }

    async fn connect(&self) -> Option<Dispatcher> {
        match self.connection.dispatcher(&self.store).await {
            Ok(dispatcher) => Some(dispatcher),
            Err(error) => {
                let what = "it is committed; the scheduler publishes it when the broker is back";
                (self.notify)(Notice::Warning(format!("{what}: {error}")));
                None
            }
        }
    }
}

/// The folder that relative paths are relative to.
pub(crate) fn current_folder() -> Result<PathBuf> {
    std::env::current_dir()
        .map_err(|error| CommandError::internal(format!("the current folder cannot be found: {error}")))
}
