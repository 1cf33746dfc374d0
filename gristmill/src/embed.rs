//! A worker, a scheduler or both inside a tokio program that owns its own `main`.

use std::path::PathBuf;
use std::sync::Arc;

use gristmill_core::id::DEFAULT_TENANT;

use crate::client::Client;
use crate::config::error::all_of;
use crate::config::layers::{changed, environment};
use crate::config::{Config, ConfigError, Layers, Loaded, load};
use crate::exit_code::Result;
use crate::extensions::Extensions;
use crate::runtime::context::{Notice, ProcessContext};
use crate::runtime::roles::Roles;
use crate::runtime::serve::serve_until;

/// What an embedded process does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Role {
    /// Claims and runs jobs. On SQLite, where no other process can work, it also does a scheduler's duties.
    Worker,
    /// Publishes, promotes, rescues, and starts schedules and batches. Not on SQLite.
    Scheduler,
    /// Both.
    #[default]
    Both,
}

/// Changes the configuration.
type Change = Arc<dyn Fn(&mut Config) + Send + Sync>;

/// Where the configuration of an embedded process comes from.
#[derive(Clone, Default)]
struct Source {
    /// What the command line would read. `None` begins with the defaults.
    layers: Option<Layers>,
    changes: Vec<Change>,
}

impl Source {
    fn load(&self) -> std::result::Result<Loaded, Vec<ConfigError>> {
        let loaded = self.layers.as_ref().map_or_else(|| Ok(Loaded::default()), load)?;
        changed(loaded, |config| self.changes.iter().for_each(|change| change(config)))
    }
}

/// An app that is to be embedded, from [`App::build`](crate::App::build).
///
/// ```
/// # use gristmill::{App, Context, Failure, Kind};
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Serialize, Deserialize)]
/// # struct Greet { name: String }
/// # impl Kind for Greet {
/// #     const NAME: &str = "greet";
/// #     type Output = String;
/// #     async fn run(self, _: Context) -> Result<String, Failure> { Ok(format!("Hello {}", self.name)) }
/// # }
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let url = format!("sqlite://{}", folder.path().join("a.db").display());
/// let app = App::new().kind::<Greet>().build().settings(move |config| config.store.url = url.clone()).open().await?;
/// let client = app.client();
/// let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
/// let works = tokio::spawn(app.run_until(async { drop(stopped.await) }));
///
/// let job = client.job(&Greet { name: "Ada".to_owned() }).enqueue().await?;
/// assert_eq!(client.wait(job.id).await?, "Hello Ada");
///
/// drop(stop);
/// works.await??;
/// # Ok(())
/// # }
/// # tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(example()).unwrap();
/// ```
#[must_use = "an app works when it is run"]
pub struct Embedding {
    extensions: Extensions,
    source: Source,
    tenant: String,
    role: Role,
}

impl std::fmt::Debug for Embedding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { extensions, tenant, role, .. } = self;
        f.debug_struct("Embedding")
            .field("extensions", extensions)
            .field("tenant", tenant)
            .field("role", role)
            .finish_non_exhaustive()
    }
}

impl Embedding {
    pub(crate) fn new(extensions: Extensions) -> Self {
        Self { extensions, source: Source::default(), tenant: DEFAULT_TENANT.to_owned(), role: Role::default() }
    }

    fn layer(mut self, layer: impl FnOnce(&mut Layers)) -> Self {
        layer(self.source.layers.get_or_insert_default());
        self
    }

    /// Reads this configuration file, and follows its changes as `gristmill scheduler` does. Without it, and without
    /// [`Embedding::environment`], no file is read.
    pub fn config_file(self, file: impl Into<PathBuf>) -> Self {
        self.layer(|layers| layers.file = Some(file.into()))
    }

    /// Reads the variables `GRISTMILL_SECTION_KEY` of this process, and, if no file is named, the file that the command
    /// line would read: that of `GRISTMILL_CONFIG`, or `./config.toml` if there is one.
    pub fn environment(self) -> Self {
        self.layer(|layers| layers.env = environment())
    }

    /// Changes settings in code, after the file and the environment were read; may be used more than once. It is called
    /// again whenever the file has changed. Relative paths that it sets are relative to the current folder.
    pub fn settings(mut self, change: impl Fn(&mut Config) + Send + Sync + 'static) -> Self {
        self.source.changes.push(Arc::new(change));
        self
    }

    /// The tenant that owns the schedules, batches and hooks of the configuration, and the client's jobs: `main` by
    /// default. The worker runs the jobs of all tenants.
    pub fn tenant(self, tenant: impl Into<String>) -> Self {
        Self { tenant: tenant.into(), ..self }
    }

    /// Its role: both by default.
    pub fn role(self, role: Role) -> Self {
        Self { role, ..self }
    }

    /// Reads the configuration, opens the store and connects to the broker. No work begins yet.
    ///
    /// # Errors
    ///
    /// When the configuration makes no sense, or the store or the broker cannot be reached or refuses.
    pub async fn open(self) -> Result<Embedded> {
        let Self { extensions, source, tenant, role } = self;
        let loaded = source.load().map_err(all_of)?;
        for warning in &loaded.warnings {
            tracing::warn!(warning, "the configuration is odd");
        }
        let notify = Arc::new(|notice| match notice {
            Notice::Note(text) => tracing::info!("{text}"),
            Notice::Warning(text) => tracing::warn!("{text}"),
        });
        let process = ProcessContext::new(loaded, tenant, extensions, Arc::new(move || source.load()), notify);
        let (store, dispatcher) = (process.store().await?, process.dispatcher().await?);
        let roles = match role {
            Role::Worker => Roles::worker(store.embedded()),
            Role::Scheduler => Roles::scheduler(store.embedded())?,
            Role::Both => Roles::BOTH,
        };
        let client = Client::from(gristmill_client::Client::over(store, dispatcher)).tenant(process.tenant.clone());
        let client = client.following(process.loaded.config.kind.clone());
        Ok(Embedded { process, roles, client })
    }

    /// Opens it and works until `shutdown` completes: [`Embedding::open`], then [`Embedded::run_until`].
    ///
    /// # Errors
    ///
    /// Those of both.
    pub async fn run_until(self, shutdown: impl Future<Output = ()>) -> Result<()> {
        self.open().await?.run_until(shutdown).await
    }
}

/// An app that is embedded, with its connections open.
#[derive(Debug)]
pub struct Embedded {
    process: ProcessContext,
    roles: Roles,
    client: Client,
}

impl Embedded {
    /// A client that enqueues over the connections of this app, for its tenant, according to `[kind.NAME]` of its
    /// configuration.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// The configuration in force.
    pub fn config(&self) -> &Config {
        &self.process.loaded.config
    }

    /// Works until `shutdown` completes, then drains: claims nothing more, lets running jobs finish within
    /// `[worker] drain`, gives the rest back, and closes the broker's connection. It handles no signals, prints nothing
    /// and ends no process. Dropped before it is done, it stops at once, and the jobs that it ran come back when the
    /// lease ends.
    ///
    /// # Errors
    ///
    /// When another process works on an embedded store; when an address of `[worker] metrics`, `[scheduler] metrics` or
    /// `[scheduler] hooks` is taken; when the work ended before it was asked to end.
    pub async fn run_until(self, shutdown: impl Future<Output = ()>) -> Result<()> {
        let result = serve_until(&self.process, self.roles, shutdown).await;
        self.process.close().await;
        result
    }
}
