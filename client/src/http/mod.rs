//! The same over HTTP: for programs that may not reach the database, or should not have its password.
//!
//! * [`HttpClient`]: enqueues jobs, starts batches, looks, and waits, against the API of `gristmill serve`.
//! * [`Server`]: any request to that API, for those who need more: envelope, errors, retries, pages.
//! * [`HttpJob`]: a job as a request describes it.
//!
//! Requests that may be repeated are, when the server cannot be reached or asks to come again: those that only look, and
//! those that carry a key under which the server carries them out once. Nothing follows a redirect, and a token never
//! goes to another machine in the clear unless [`ServerOptions::in_the_clear`] says so.
//!
//! ```no_run
//! use gristmill_client::http::{HttpClient, HttpJob, ServerOptions, Token};
//!
//! # async fn example() -> Result<(), gristmill_client::http::HttpError> {
//! let token = Token::new(std::env::var("JOBS_TOKEN").unwrap_or_default());
//! let options = ServerOptions { token: Some(token), ..ServerOptions::new("https://jobs.example.com") };
//! let client = HttpClient::connect(&options)?;
//! let job = HttpJob { queue: Some("mail".to_owned()), ..HttpJob::new("email", serde_json::json!({ "to": "a@example.com" })) };
//! let enqueued = client.enqueue(&job).await?;
//! let ended = client.wait_for_job(enqueued.id, None).await?;
//! println!("{}", ended.state);
//! # Ok(())
//! # }
//! ```

mod again;
mod call;
mod client;
mod error;
mod job;
mod options;
mod reply;
mod server;
mod upload;

pub use call::Call;
pub use client::{EnqueuedMany, HttpBatch, HttpClient};
pub use error::{Fault, HttpError, Refusal};
pub use job::HttpJob;
pub use options::{ServerOptions, Token};
pub use server::Server;
pub use upload::Upload;
