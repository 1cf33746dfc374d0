//! Incarnations of processes, their leases, and the attempts that are taken away from them.

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;
use gristmill_core::Instant;
use gristmill_core::id::WorkerId;
use gristmill_core::job::Fence;
use serde::Serialize;

use crate::error::Result;
use crate::{Dispatched, WorkGuard};

/// Incarnations of processes, their leases, and the attempts that are taken away from them.
#[async_trait]
pub trait Workers: Debug + Send + Sync + 'static {
    /// Takes the right to work, before [`Workers::register_worker`], for as long as the guard lives.
    /// A process that only enqueues, looks or controls needs none.
    ///
    /// On a server any number of processes work at once and this does nothing. On the embedded store
    /// a second one is refused with [`StoreError::Locked`](crate::StoreError::Locked); and for the first, every job that is `running`
    /// belongs to a dead incarnation and is rescued at once.
    async fn begin_work(&self) -> Result<WorkGuard> {
        Ok(WorkGuard::default())
    }

    /// Enters a process incarnation with a fresh lease.
    async fn register_worker(&self, worker: &NewWorker) -> Result<()>;

    /// Prolongs its lease. `false` when the lease had run out and its jobs were rescued:
    /// the incarnation is over, whatever it still runs is fenced.
    async fn beat(&self, worker: WorkerId, lease: Duration, running: u32) -> Result<bool>;

    /// Which of the attempts that an incarnation holds were taken away: their jobs were cancelled or rescued meanwhile, or
    /// have failed. One that is done as this attempt is not gone: its holder has completed it, and may still be at
    /// something. Changes nothing; a fence that is gone never comes back.
    async fn revoked(&self, held: &[Fence]) -> Result<Vec<Fence>>;

    /// Waits until attempts may have been taken away from the worker that runs them, or for the time to pass. `seen` is what
    /// the last call gave, 0 at first: what happened between two calls is not missed. A hint, as
    /// [`Claims::wait_for_work`](crate::Claims::wait_for_work) is: [`Workers::revoked`] is the truth.
    async fn wait_for_revocation(&self, seen: u64, at_most: Duration) -> u64;

    /// Ends an incarnation at a graceful stop: its lease is over at once, and whatever is still
    /// `running` under it goes back to `queued` with the attempt given back.
    async fn retire_worker(&self, worker: WorkerId) -> Result<Dispatched>;

    /// After a claim whose commit result is unknown: whatever is `running` under this incarnation and is not
    /// among `known` is run by no process, and goes back to `queued` with the attempt given back. Not to be
    /// called while a claim of the same incarnation is under way, whose jobs are not known yet; one whose answer was
    /// lost, and whose COMMIT may land at any moment, is waited for, for five seconds at most.
    async fn release_unknown(&self, worker: WorkerId, known: &[Fence]) -> Result<Dispatched>;

    /// All incarnations that are alive or were seen within the last day, newest first.
    async fn workers(&self) -> Result<Vec<WorkerView>>;

    /// Takes or keeps the lease of that name. `Some(epoch)` for the process that holds it now.
    async fn lead(&self, name: &str, holder: WorkerId, lease: Duration) -> Result<Option<i64>>;
}

/// A process incarnation that enters.
#[derive(Debug, Clone, PartialEq)]
pub struct NewWorker {
    /// Fresh at each start.
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
    /// The queues that it serves; empty is all.
    pub queues: Vec<String>,
    /// The kinds and versions that it serves, as [`gristmill_core::job::served`] calls them; empty is none.
    pub kinds: Vec<String>,
    /// How long its first lease is.
    pub lease: Duration,
}

/// A process incarnation as the store sees it.
#[derive(Debug, Clone, PartialEq, Serialize)]
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
    /// How many it said it runs at its last beat.
    pub running: u32,
    /// The queues that it serves; empty is all.
    pub queues: Vec<String>,
    /// The kinds and versions that it serves, with `@VERSION` behind those of another version than 1; empty is none.
    pub kinds: Vec<String>,
    /// When it started.
    pub started_at: Instant,
    /// When it was last heard of.
    pub seen_at: Instant,
    /// `alive`, `lost` (its lease ran out) or `stopped`.
    pub state: String,
}
