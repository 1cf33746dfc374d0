//! Enqueues jobs of your kinds from any program: a web server, a script, another handler.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;

use gristmill_core::job::RunAt;
use gristmill_core::unique::Unique;

pub use gristmill_client::{
    BatchBuilder, BatchRun, ClientError, Enqueued, JobBuilder, Many, ManyError, RunState, Wait, WaitError, WaitForBatch,
};

use crate::kind::{Kind, new_job};
use crate::kind_settings::KindSettings;

/// The thin client ([`gristmill_client::Client`]) with the kinds of this program. It dereferences to the thin one,
/// which has the rest: many jobs at once, batches, states and waits. Clones share their connections.
///
/// ```
/// # use gristmill::{Client, Context, Failure, Kind};
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Serialize, Deserialize)]
/// # struct Greet { name: String }
/// # impl Kind for Greet {
/// #     const NAME: &str = "greet";
/// #     type Output = ();
/// #     async fn run(self, _: Context) -> Result<(), Failure> { Ok(()) }
/// # }
/// # async fn example() -> Result<(), gristmill::client::ClientError> {
/// # let folder = std::env::temp_dir().join(format!("gristmill-doc-{}", std::process::id()));
/// # let url = format!("sqlite://{}", folder.display());
/// let client = Client::connect(&url).await?;
/// let enqueued = client.enqueue(&Greet { name: "Ada".to_owned() }).await?;
/// assert!(enqueued.created);
/// let later = client.job(&Greet { name: "Bob".to_owned() }).queue("mail").max_attempts(2).enqueue().await?;
/// assert!(client.job_state(later.id).await?.is_some());
/// # for end in ["", "-wal", "-shm", ".lock"] { let _ = std::fs::remove_file(format!("{}{end}", folder.display())); }
/// # Ok(())
/// # }
/// # tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(example()).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct Client {
    thin: gristmill_client::Client,
    /// The configuration's settings of kinds, if there is one.
    said: Arc<BTreeMap<String, KindSettings>>,
}

impl Deref for Client {
    type Target = gristmill_client::Client;

    fn deref(&self) -> &gristmill_client::Client {
        &self.thin
    }
}

impl From<gristmill_client::Client> for Client {
    fn from(client: gristmill_client::Client) -> Self {
        Self { thin: client, said: Arc::default() }
    }
}

impl Client {
    /// Connects to a store without a broker: workers find the jobs in the store itself.
    ///
    /// # Errors
    ///
    /// When the store cannot be reached or lacks migrations.
    pub async fn connect(store: &str) -> Result<Self, ClientError> {
        gristmill_client::Client::connect(store).await.map(Self::from)
    }

    /// Connects to a store and the broker that carries its jobs' ids.
    ///
    /// # Errors
    ///
    /// When one of them cannot be reached, or refuses.
    pub async fn with_settings(
        store: gristmill_store::Settings,
        broker: gristmill_broker::Settings,
    ) -> Result<Self, ClientError> {
        gristmill_client::Client::with_settings(store, broker).await.map(Self::from)
    }

    /// The same client for another tenant.
    #[must_use]
    pub fn tenant(self, tenant: impl Into<String>) -> Self {
        Self { thin: self.thin.tenant(tenant), ..self }
    }

    /// The same client, whose jobs follow a configuration's settings of their kinds.
    pub(crate) fn following(self, said: BTreeMap<String, KindSettings>) -> Self {
        Self { said: Arc::new(said), ..self }
    }

    /// Begins a job of a kind; the builder's settings win over those of the kind. For a client of an embedded app
    /// ([`Embedded::client`](crate::embed::Embedded::client)) `[kind.NAME]` of its configuration stands between the
    /// two.
    pub fn job<K: Kind>(&self, payload: &K) -> JobBuilder<'_> {
        let job = new_job(payload).map(|mut job| {
            if let Some(settings) = self.said.get(K::NAME) {
                settings.clone().apply(&mut job);
            }
            job
        });
        self.thin.prepared(job.map_err(ClientError::from))
    }

    /// Enqueues a job that may start at once.
    ///
    /// # Errors
    ///
    /// When the store refuses, or the payload cannot be written as JSON.
    pub async fn enqueue<K: Kind>(&self, payload: &K) -> Result<Enqueued, ClientError> {
        self.job(payload).enqueue().await
    }

    /// Enqueues a job that starts later.
    ///
    /// # Errors
    ///
    /// Same as [`Client::enqueue`].
    pub async fn enqueue_at<K: Kind>(&self, payload: &K, run: RunAt) -> Result<Enqueued, ClientError> {
        let job = self.job(payload);
        match run {
            RunAt::Now => job.enqueue().await,
            RunAt::In(delay) => job.delay(delay).enqueue().await,
            RunAt::At(at) => job.at(at).enqueue().await,
        }
    }

    /// Enqueues a job under a unique key of your choice, whatever its kind says. [`Enqueued::outcome`] reports what
    /// became of it.
    ///
    /// # Errors
    ///
    /// Same as [`Client::enqueue`]; with [`OnConflict::Refuse`](gristmill_core::unique::OnConflict) a conflict when
    /// another job holds the key.
    pub async fn enqueue_unique<K: Kind>(&self, payload: &K, unique: Unique) -> Result<Enqueued, ClientError> {
        self.job(payload).unique(unique).enqueue().await
    }

    /// Enqueues a job under a key that decides its turn and its limit, such as a customer. At most
    /// [`KEY_BYTES_MAX`](gristmill_core::limit::KEY_BYTES_MAX) bytes.
    ///
    /// # Errors
    ///
    /// Same as [`Client::enqueue`].
    pub async fn enqueue_keyed<K: Kind>(&self, payload: &K, key: impl Into<String>) -> Result<Enqueued, ClientError> {
        self.job(payload).key(key).enqueue().await
    }

    /// Enqueues a job inside your own transaction on the store's database: it exists exactly if you
    /// commit. PostgreSQL only. The scheduler publishes it after your commit.
    ///
    /// # Errors
    ///
    /// Same as [`Client::enqueue`], and when the store is SQLite. The transaction can then only be rolled back.
    pub async fn enqueue_in<K: Kind>(
        &self,
        connection: &mut sqlx::postgres::PgConnection,
        payload: &K,
    ) -> Result<Enqueued, ClientError> {
        self.job(payload).enqueue_in(connection).await
    }
}
