//! A thin client: enqueues jobs, requests batches, looks at their state, and waits for their end.
//!
//! It has none of a worker's dependencies (no mail, no jq, no schemas, no HTTP client, no pool of threads), so that a
//! web server or a script can depend on it alone.
//!
//! * [`Client`]: the connection to the store, and to the broker where there is one.
//! * [`Payload`]: what a job carries, with the settings of its kind; or name the kind and give any serde value.
//! * [`JobBuilder`]: one job with all its settings.
//! * [`Client::enqueue_many`]: many jobs, in groups.
//! * [`Client::wait`]: waits for the end of a job; returns its output, or how it failed.
//! * [`Client::batch`]: requests a run of a batch definition, which a scheduler starts.
//! * `http`, with the feature of that name: the same against a server, without the database's password.
//!
//! ```
//! use gristmill_client::{Client, Payload, Priority};
//! use serde::Serialize;
//!
//! #[derive(Serialize)]
//! struct ResizeImage { path: String, width: u32 }
//!
//! impl Payload for ResizeImage {
//!     const KIND: &str = "resize-image";
//! }
//!
//! # async fn example() -> Result<(), gristmill_client::ClientError> {
//! # let folder = tempfile::tempdir().unwrap();
//! # let url = format!("sqlite://{}", folder.path().join("a.db").display());
//! let client = Client::connect(&url).await?;
//! let enqueued = client
//!     .job(&ResizeImage { path: "a.png".to_owned(), width: 80 })
//!     .queue("images")
//!     .priority(Priority::High)
//!     .max_attempts(3)
//!     .idempotency_key("resize a.png 80")
//!     .enqueue()
//!     .await?;
//! assert!(enqueued.created);
//! # Ok(())
//! # }
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(example()).unwrap();
//! ```

pub mod batch;
mod connection;
pub mod error;
#[cfg(feature = "http")]
pub mod http;
pub mod job;
pub mod many;
pub mod payload;
mod together;
pub mod wait;

pub use batch::{BatchBuilder, BatchRun, RunState, WaitForBatch};
pub use connection::Client;
pub use error::{ClientError, WaitError};
pub use gristmill_core as model;
pub use gristmill_core::event::EventDraft;
pub use gristmill_core::id::{BatchId, JobId};
pub use gristmill_core::job::{JobState, NewJob, Priority};
pub use gristmill_core::retry::RetryPolicy;
pub use gristmill_core::unique::{Hold, OnConflict, Unique};
pub use gristmill_store::{BatchView, EnqueueOutcome, Enqueued, JobView, Published};
pub use job::JobBuilder;
pub use many::{Many, ManyError};
pub use payload::Payload;
pub use wait::Wait;
