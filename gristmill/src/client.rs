//! Enqueues jobs of your kinds from any program: a web server, a script, another handler.

use gristmill_broker::Broker;
use gristmill_core::id::DEFAULT_TENANT;
use gristmill_core::job::{NewJob, RunAt};
use gristmill_core::unique::Unique;
use gristmill_service::dispatcher::Dispatcher;
use gristmill_store::postgres::PostgresStore;
use gristmill_store::{Enqueued, OpenOptions, StoreError, StoreHandle};

use crate::kind::{Kind, new_job};

/// A way to the store, and to the broker where there is one. Clones share their connections.
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
/// # for end in ["", "-wal", "-shm", ".lock"] { let _ = std::fs::remove_file(format!("{}{end}", folder.display())); }
/// # Ok(())
/// # }
/// # tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(example()).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct Client {
    store: StoreHandle,
    dispatcher: Dispatcher,
    tenant: String,
}

/// Why a job was not enqueued.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The store refused it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The broker's address is wrong, or it refused the login.
    #[error(transparent)]
    Broker(#[from] gristmill_broker::BrokerError),
    /// The payload cannot be written as JSON.
    #[error("the payload cannot be written as JSON: {0}")]
    Payload(#[from] serde_json::Error),
    /// The store took the job and did not say which it is.
    #[error("the store gave no id for the job")]
    NoId,
}

impl Client {
    /// Connects to a store without a broker: workers find the jobs in the store itself.
    ///
    /// # Errors
    ///
    /// When the store cannot be reached or lacks migrations.
    pub async fn connect(store: &str) -> Result<Self, ClientError> {
        let settings = gristmill_store::Settings { url: store.to_owned(), ..gristmill_store::Settings::default() };
        Self::with_settings(settings, gristmill_broker::Settings::default()).await
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
        let window = broker.window;
        let broker = Broker::connect(&broker).await?;
        let url = store.url.clone();
        let store = gristmill_store::open(&url, OpenOptions { settings: store, with_outbox: broker.carries() }).await?;
        let dispatcher = Dispatcher::new(store.clone(), broker, window);
        Ok(Self { store, dispatcher, tenant: DEFAULT_TENANT.to_owned() })
    }

    /// The same client for another tenant.
    #[must_use]
    pub fn tenant(self, tenant: impl Into<String>) -> Self {
        Self { tenant: tenant.into(), ..self }
    }

    /// Enqueues a job that may start at once.
    ///
    /// # Errors
    ///
    /// When the store refuses, or the payload cannot be written as JSON.
    pub async fn enqueue<K: Kind>(&self, payload: &K) -> Result<Enqueued, ClientError> {
        self.enqueue_at(payload, RunAt::Now).await
    }

    /// Enqueues a job that starts later.
    ///
    /// # Errors
    ///
    /// As [`Client::enqueue`].
    pub async fn enqueue_at<K: Kind>(&self, payload: &K, run: RunAt) -> Result<Enqueued, ClientError> {
        self.put(NewJob { run, ..new_job(payload)? }).await
    }

    async fn put(&self, job: NewJob) -> Result<Enqueued, ClientError> {
        let job = NewJob { tenant: self.tenant.clone(), ..job };
        let report = self.dispatcher.after(self.store.enqueue(std::slice::from_ref(&job))).await?;
        report.jobs.first().copied().ok_or(ClientError::NoId)
    }

    /// Enqueues a job under a unique key of your choice, whatever its kind says. [`Enqueued::outcome`] says what became
    /// of it.
    ///
    /// # Errors
    ///
    /// As [`Client::enqueue`]; with [`OnConflict::Refuse`](gristmill_core::unique::OnConflict) a conflict when another
    /// job holds the key.
    pub async fn enqueue_unique<K: Kind>(&self, payload: &K, unique: Unique) -> Result<Enqueued, ClientError> {
        self.put(NewJob { unique: Some(unique), ..new_job(payload)? }).await
    }

    /// Enqueues a job under a key: whose turn and limit it falls under, such as a customer. At most
    /// [`KEY_BYTES_MAX`](gristmill_core::limit::KEY_BYTES_MAX) bytes.
    ///
    /// # Errors
    ///
    /// As [`Client::enqueue`].
    pub async fn enqueue_keyed<K: Kind>(&self, payload: &K, key: impl Into<String>) -> Result<Enqueued, ClientError> {
        self.put(NewJob { key: Some(key.into()), ..new_job(payload)? }).await
    }

    /// Enqueues a job inside your own transaction on the store's database: it exists exactly if you
    /// commit. PostgreSQL only. The scheduler publishes it after your commit.
    ///
    /// # Errors
    ///
    /// As [`Client::enqueue`], and when the store is SQLite. The transaction can then only be rolled back.
    pub async fn enqueue_in<K: Kind>(
        &self,
        connection: &mut sqlx::postgres::PgConnection,
        payload: &K,
    ) -> Result<Enqueued, ClientError> {
        let store: Option<&PostgresStore> = self.store.as_any().downcast_ref();
        let store = store.ok_or_else(|| {
            StoreError::Invalid("enqueueing in a transaction of your own needs PostgreSQL".to_owned())
        })?;
        let mut job = new_job(payload)?;
        job.tenant.clone_from(&self.tenant);
        let report = store.enqueue_in(connection, std::slice::from_ref(&job)).await?;
        report.jobs.first().copied().ok_or(ClientError::NoId)
    }
}
