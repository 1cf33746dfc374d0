//! Complete in the user's transaction: what a user does in a transaction of their own, with ours in the same commit.
//!
//! The user's writes, the fence and further jobs commit together or not at all: effects in this database
//! happen exactly once.
//!
//! ```no_run
//! # use gristmill_core::job::{ClaimedJob, NewJob};
//! # use gristmill_core::settle::{Ending, Verdict};
//! # use gristmill_store::{Completion, postgres::PostgresStore};
//! # async fn pay(store: &PostgresStore, job: &ClaimedJob) -> Result<(), Box<dyn std::error::Error>> {
//! let mut transaction = store.begin().await?;
//! sqlx::query("UPDATE account SET balance = balance - 10 WHERE id = 1").execute(&mut *transaction).await?;
//! let done = Completion::new(job.fence, Ending::Done, Verdict::Done);
//! let report = store.complete_in(&mut transaction, &done).await?;
//! transaction.commit().await?;
//! // Only now may `report.dispatched` be published.
//! # Ok(())
//! # }
//! ```

use gristmill_core::job::NewJob;
use sqlx::postgres::PgConnection;

use super::connect::PostgresStore;
use super::fault::Fault;
use super::work::Work;
use super::{complete, create};
use crate::error::{Result, StoreError};
use crate::{CompleteReport, Completion, EnqueueReport};

impl PostgresStore {
    /// Enqueues jobs inside the caller's transaction. After the commit, and only then, what the report dispatches may
    /// be published; if the caller does not publish it, the sweeper will.
    ///
    /// # Errors
    ///
    /// As [`Jobs::enqueue`](crate::Jobs::enqueue). The transaction can then only be rolled back.
    pub async fn enqueue_in(&self, conn: &mut PgConnection, jobs: &[NewJob]) -> Result<EnqueueReport> {
        Ok(create::enqueue(&mut Work::of_the_user(conn, self.with_outbox()), jobs).await?)
    }

    /// Completes an attempt inside the caller's transaction, with everything that follows from it.
    ///
    /// # Errors
    ///
    /// [`StoreError::Conflict`] when the fence no longer holds: another attempt has the job, and the caller's
    /// transaction must be rolled back. Otherwise as [`Completions::complete`](crate::Completions::complete).
    pub async fn complete_in(&self, conn: &mut PgConnection, completion: &Completion) -> Result<CompleteReport> {
        let one = std::slice::from_ref(completion);
        match complete::complete(&mut Work::of_the_user(conn, self.with_outbox()), &one).await {
            Ok(report) if report.fenced.is_empty() => return Ok(report),
            Ok(_) | Err(Fault::Changed) => {}
            Err(fault) => return Err(fault.into()),
        }
        let fence = completion.fence;
        Err(StoreError::Conflict(format!(
            "attempt {} of job {} is not this worker's any more; roll the transaction back",
            fence.attempt, fence.job
        )))
    }
}
