//! Incarnations of processes, their leases, and the attempts that are taken away from them.

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;
use gristmill_core::Instant;
use gristmill_core::id::WorkerId;
use gristmill_core::job::Fence;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::{Dispatched, WorkGuard};

/// Incarnations of processes, their leases, and the attempts that are taken away from them.
#[async_trait]
pub trait Workers: Debug + Send + Sync + 'static {
    /// Takes the right to work, before [`Workers::register_worker`], for as long as the guard lives. A process that
    /// only enqueues, reads or controls needs none.
    ///
    /// On a server any number of processes work at once and this does nothing. On the embedded store a second process
    /// is refused with [`StoreError::Locked`](crate::StoreError::Locked); and for the first, every job that is
    /// `running` belongs to a dead incarnation and is rescued at once.
    async fn begin_work(&self) -> Result<WorkGuard> {
        Ok(WorkGuard::default())
    }

    /// Registers a process incarnation with a fresh lease.
    async fn register_worker(&self, worker: &NewWorker) -> Result<()>;

    /// Extends its lease. On a server it waits neither for the pool nor for an answer for long: two seconds. Returns
    /// `false` when the lease had run out and its jobs were rescued: the incarnation is over, and whatever it still
    /// runs is fenced.
    async fn beat(&self, worker: WorkerId, lease: Duration, running: u32) -> Result<bool>;

    /// Holds attempts that have ended and wait to be written down: a deadline that would pass within `lease` from now
    /// moves to its end, so that they are not rescued as timed out while the process that ran them lives and beats. An
    /// attempt whose fence no longer holds, or whose incarnation is over, is left as it is; so is, on a server, one
    /// whose row another transaction holds at this moment. No deadline is brought forward. Returns how many were moved.
    async fn hold(&self, lease: Duration, held: &[Fence]) -> Result<u64>;

    /// Returns which of the attempts that an incarnation holds were taken away: their jobs were cancelled or rescued
    /// meanwhile, or have failed. An attempt whose job is done by it is not gone: its holder has completed it, and may
    /// still be busy with it. Changes nothing; a fence that is gone never comes back.
    async fn revoked(&self, held: &[Fence]) -> Result<Vec<Fence>>;

    /// Waits until attempts may have been taken away from the worker that runs them, at most for the given time. `seen`
    /// is what the last call returned, 0 at first: what happened between two calls is not missed. A hint, like
    /// [`Claims::wait_for_work`](crate::Claims::wait_for_work): [`Workers::revoked`] is the truth.
    async fn wait_for_revocation(&self, seen: u64, at_most: Duration) -> u64;

    /// Ends an incarnation at a graceful stop: its lease is over at once, and whatever is still `running` under it goes
    /// back to `queued` with the attempt given back.
    async fn retire_worker(&self, worker: WorkerId) -> Result<Dispatched>;

    /// After a claim whose commit result is unknown: whatever is `running` under this incarnation and is not among
    /// `known` is run by no process, and goes back to `queued` with the attempt given back. Must not be called while a
    /// claim of the same incarnation is under way, whose jobs are not known yet. A claim whose answer was lost, and
    /// whose COMMIT may land at any moment, is waited for, at most for five seconds.
    async fn release_unknown(&self, worker: WorkerId, known: &[Fence]) -> Result<Dispatched>;

    /// Returns all incarnations that are alive or were seen within the last day, newest first.
    async fn workers(&self) -> Result<Vec<WorkerView>>;

    /// Takes or keeps the lease of that name. Returns `Some(epoch)` to the process that holds it now.
    async fn lead(&self, name: &str, holder: WorkerId, lease: Duration) -> Result<Option<i64>>;
}

/// A process incarnation that registers.
#[derive(Debug, Clone, PartialEq)]
pub struct NewWorker {
    /// A new id at each start.
    pub id: WorkerId,
    /// `worker`, `scheduler` or `dev`.
    pub role: String,
    /// The machine's name.
    pub host: String,
    /// The process id.
    pub pid: u32,
    /// The program's version.
    pub version: String,
    /// How many jobs it runs at once.
    pub slots: u32,
    /// The queues that it serves; empty means all.
    pub queues: Vec<String>,
    /// The kinds and versions that it serves, as [`gristmill_core::job::served`] calls them; empty means none.
    pub kinds: Vec<String>,
    /// How long its first lease is.
    pub lease: Duration,
}

/// A process incarnation as the store sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct WorkerView {
    /// The incarnation.
    pub id: WorkerId,
    /// `worker`, `scheduler` or `dev`.
    pub role: String,
    /// The machine's name.
    pub host: String,
    /// The process id.
    pub pid: u32,
    /// The program's version.
    pub version: String,
    /// How many jobs it runs at once.
    pub slots: u32,
    /// How many it reported running at its last beat.
    pub running: u32,
    /// The queues that it serves; empty means all.
    pub queues: Vec<String>,
    /// The kinds and versions that it serves, followed by `@VERSION` for versions other than 1; empty means none.
    pub kinds: Vec<String>,
    /// When it started.
    #[cfg_attr(feature = "schema", schema(value_type = chrono::DateTime<chrono::Utc>))]
    pub started_at: Instant,
    /// When it was last heard of.
    #[cfg_attr(feature = "schema", schema(value_type = chrono::DateTime<chrono::Utc>))]
    pub seen_at: Instant,
    /// `alive`, `lost` (its lease ran out) or `stopped`.
    pub state: String,
}

impl WorkerView {
    /// Whether it is alive and runs jobs.
    pub fn works(&self) -> bool {
        self.state == "alive" && self.slots > 0
    }

    /// Whether it is alive and does the scheduler's duties.
    pub fn schedules(&self) -> bool {
        self.state == "alive" && matches!(self.role.as_str(), "scheduler" | "dev")
    }

    /// Whether it claims from this queue.
    pub fn serves(&self, queue: &str) -> bool {
        self.queues.is_empty() || self.queues.iter().any(|name| name == queue)
    }
}
