//! The log of events: published in the transaction of what they report, put into one order, delivered to subscriptions.
//!
//! A publisher only inserts. [`Events::sequence_events`] gives what is committed its position and its number in its
//! stream, both without gaps: one process at a time, because it locks the head. It takes what it sees that has no
//! position yet, so that a transaction which commits late is not passed over, and holds no other back. A row that was
//! written after another one of its stream was committed has a higher number than that, so that a stream keeps its order.
//!
//! A subscription is given events in the order of their positions. [`Events::deliver_events`] moves its cursor, writes the inbox
//! and enqueues what the events start, in one transaction that is guarded by the cursor: each event has one effect at
//! each subscription, whatever dies in between.

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;
use gristmill_core::Instant;
use gristmill_core::event::route::Refusal;
use gristmill_core::event::subscription::SubscriptionSpec;
use gristmill_core::event::{Event, EventDraft};
use gristmill_core::id::JobId;
use gristmill_core::job::NewJob;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::check;
use crate::error::Result;
use crate::triggers;
use crate::{ControlReport, Dispatched, NewEvent};

/// How many events one question returns, one sequencing takes, or one delivery goes over at most.
pub const EVENT_ROWS_MAX: u32 = 1_000;

/// How many events a lag counts at most.
pub const LAG_MAX: u64 = 10_000;

/// How many subscriptions a tenant may have.
pub const SUBSCRIPTIONS_MAX: u32 = 1_000;

/// The log of events.
#[async_trait]
pub trait Events: Debug + Send + Sync + 'static {
    /// Publishes events, all or none. One whose id its source has used with the same content is accepted, and not kept
    /// twice. Refused with [`StoreError::Conflict`](crate::StoreError::Conflict) where that content is another, and with
    /// `Invalid` where an event is none.
    async fn publish_events(&self, events: &[Publication]) -> Result<Vec<Published>>;

    /// Gives events that are committed their positions, at most `limit`, in the order in which they were written. Returns
    /// how many.
    async fn sequence_events(&self, limit: u32) -> Result<u64>;

    /// Waits until something may have been published since `seen`, at most for the given time, and returns the value to pass
    /// the next time. It is a hint: [`Events::sequence_events`] finds the truth.
    async fn wait_for_events(&self, seen: u64, at_most: Duration) -> u64;

    /// Returns events of a tenant that have a position and meet every condition given.
    async fn list_events(&self, filter: &EventFilter) -> Result<Vec<Event>>;

    /// Returns the events of a tenant with this id, at most two: each source may have used it.
    async fn events_by_id(&self, tenant: &str, id: &str, source: Option<&str>) -> Result<Vec<Event>>;

    /// Returns what became of an event at the subscriptions of its tenant, by their names.
    async fn event_deliveries(&self, tenant: &str, position: u64) -> Result<Vec<DeliveryView>>;

    /// Adds a version of the schema of a type. The same schema again affects nothing; another one under a version that is
    /// there is refused with [`StoreError::Conflict`](crate::StoreError::Conflict).
    async fn add_event_schema(&self, schema: &NewEventSchema, dry_run: bool) -> Result<ControlReport>;

    /// Returns the schemas of a tenant, of one type or of all, by type and version.
    async fn event_schemas(&self, tenant: &str, kind: Option<&str>) -> Result<Vec<EventSchemaView>>;

    /// Creates or changes a subscription. One that is new begins where its `from` says; one that is changed stays where it is.
    async fn save_subscription(&self, subscription: &NewSubscription, dry_run: bool) -> Result<ControlReport>;

    /// Removes a subscription, with its replays. What it has started goes on.
    async fn remove_subscription(&self, tenant: &str, name: &str, dry_run: bool) -> Result<ControlReport>;

    /// Pauses a subscription, or resumes it without `pause`: it goes on where it was.
    async fn pause_subscription(
        &self,
        tenant: &str,
        name: &str,
        pause: Option<&crate::Pause>,
        dry_run: bool,
    ) -> Result<ControlReport>;

    /// Returns the subscriptions of a tenant, or of all, by their names, with their lag.
    async fn subscriptions(&self, tenant: Option<&str>) -> Result<Vec<SubscriptionView>>;

    /// Returns the subscriptions that have something to do: not paused, not waiting, with events before them.
    async fn due_subscriptions(&self) -> Result<Vec<SubscriptionView>>;

    /// Moves a subscription or a replay over some events, and starts what they start, in one transaction. `None` when it was
    /// not where the delivery begins, or has changed, or is paused: nothing has happened then.
    async fn deliver_events(&self, delivery: &Delivery) -> Result<Option<Dispatched>>;

    /// Notes that the next step of a subscription has failed, and that it waits before it is tried again. Guarded by where it
    /// is.
    async fn hold_subscription(&self, hold: &SubscriptionHold) -> Result<bool>;

    /// Returns what was not delivered to a subscription, the newest first, at most `limit`.
    async fn refused_events(&self, tenant: &str, name: &str, limit: u32) -> Result<Vec<DeliveryView>>;

    /// Begins a replay.
    async fn start_replay(&self, replay: &NewReplay, dry_run: bool) -> Result<ControlReport>;

    /// Ends a replay before its time.
    async fn cancel_replay(&self, tenant: &str, replay: Uuid, dry_run: bool) -> Result<ControlReport>;

    /// Returns the replays of a tenant, the newest first, at most [`EVENT_ROWS_MAX`].
    async fn replays(&self, tenant: &str) -> Result<Vec<ReplayView>>;

    /// Returns the replays that run and whose next step is due.
    async fn due_replays(&self) -> Result<Vec<ReplayView>>;

    /// Removes events that were accepted before an instant and that every subscription is done with, and what became of
    /// them, the oldest first, at most `limit`. Returns how many.
    async fn prune_events(&self, before: Instant, limit: u32) -> Result<u64>;
}

/// An event to be published.
#[derive(Debug, Clone, PartialEq)]
pub struct Publication {
    /// Whose it is.
    pub tenant: String,
    /// The event.
    pub draft: EventDraft,
    /// Who publishes it.
    pub user: Option<String>,
    /// The job that publishes it: the event that started the job is its cause.
    pub job: Option<JobId>,
}

/// What became of an event that was published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Published {
    /// Its id.
    pub id: String,
    /// Its source.
    pub source: String,
    /// Whether it is new; otherwise it was accepted before.
    pub fresh: bool,
}

/// Selects events of a tenant: those that meet every condition given.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EventFilter {
    /// Of this tenant.
    pub tenant: String,
    /// With a position above this one.
    pub after: Option<u64>,
    /// With a position below this one.
    pub before: Option<u64>,
    /// Accepted not before this instant.
    pub since: Option<Instant>,
    /// Accepted before this instant.
    pub until: Option<Instant>,
    /// In this stream.
    pub stream: Option<String>,
    /// Of this chain.
    pub correlation: Option<String>,
    /// Whose type begins so.
    pub prefix: Option<String>,
    /// The newest first, instead of in their order.
    pub newest_first: bool,
    /// At most this many: up to [`EVENT_ROWS_MAX`].
    pub limit: u32,
}

/// What became of an event at a subscription.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct DeliveryView {
    /// The subscription.
    pub subscription: String,
    /// The position of the event.
    pub position: u64,
    /// The replay that it came with; `null` when it came by itself.
    pub replay: Option<Uuid>,
    /// The job that it has enqueued.
    #[cfg_attr(feature = "schema", schema(value_type = Option<Uuid>))]
    pub job: Option<JobId>,
    /// The run of a batch that it has requested, by its key in the ledger.
    pub run: Option<String>,
    /// Why it was not delivered.
    pub refusal: Option<Refusal>,
    /// The same in words.
    pub reason: Option<String>,
    /// When.
    #[cfg_attr(feature = "schema", schema(value_type = chrono::DateTime<chrono::Utc>))]
    pub at: Instant,
}

/// A version of the schema of a type.
#[derive(Debug, Clone, PartialEq)]
pub struct NewEventSchema {
    /// Whose it is.
    pub tenant: String,
    /// Of this type.
    pub kind: String,
    /// Its version.
    pub version: u32,
    /// The JSON Schema.
    pub schema: Value,
    /// Who adds it.
    pub by: String,
}

/// A version of the schema of a type.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct EventSchemaView {
    /// Of this type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its version.
    pub version: u32,
    /// The JSON Schema.
    #[serde(deserialize_with = "gristmill_core::json::value")]
    pub schema: Value,
    /// Who has added it.
    pub by: String,
    /// When.
    #[cfg_attr(feature = "schema", schema(value_type = chrono::DateTime<chrono::Utc>))]
    pub at: Instant,
}

gristmill_core::words! {
    /// Where a subscription was written.
    pub enum SubscriptionOrigin {
        /// In the configuration file, which changes and removes it.
        File = "file",
        /// By a command or the API.
        Command = "command",
    }
}

/// A subscription as it is to be.
#[derive(Debug, Clone, PartialEq)]
pub struct NewSubscription {
    /// Whose it is.
    pub tenant: String,
    /// Its name.
    pub name: String,
    /// What it says.
    pub spec: SubscriptionSpec,
    /// Where it is written.
    pub origin: SubscriptionOrigin,
}

/// A subscription, and how far it has come.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct SubscriptionView {
    /// Whose it is.
    pub tenant: String,
    /// Its name.
    pub name: String,
    /// What it says.
    pub spec: SubscriptionSpec,
    /// Where it was written.
    pub origin: SubscriptionOrigin,
    /// Rises with each change of it.
    pub version: i64,
    /// The last position that it is done with.
    pub cursor: u64,
    /// How many events of the tenant are before it, at most 10,000.
    pub lag: u64,
    /// When the first of them was accepted.
    #[cfg_attr(feature = "schema", schema(value_type = Option<chrono::DateTime<chrono::Utc>>))]
    pub behind_since: Option<Instant>,
    /// How many events have started something.
    pub delivered: u64,
    /// How many it does not mean.
    pub skipped: u64,
    /// How many it means, and could not be delivered.
    pub refused: u64,
    /// When it last moved.
    #[cfg_attr(feature = "schema", schema(value_type = Option<chrono::DateTime<chrono::Utc>>))]
    pub delivered_at: Option<Instant>,
    /// How often its next step has failed.
    pub tries: u32,
    /// When it is tried again.
    #[cfg_attr(feature = "schema", schema(value_type = Option<chrono::DateTime<chrono::Utc>>))]
    pub retry_at: Option<Instant>,
    /// Why it failed the last time.
    pub error: Option<String>,
    /// Since when it is paused.
    #[cfg_attr(feature = "schema", schema(value_type = Option<chrono::DateTime<chrono::Utc>>))]
    pub paused_at: Option<Instant>,
    /// By whom.
    pub paused_by: Option<String>,
    /// Why.
    pub paused_for: Option<String>,
    /// When it was created.
    #[cfg_attr(feature = "schema", schema(value_type = chrono::DateTime<chrono::Utc>))]
    pub created_at: Instant,
    /// When it was changed.
    #[cfg_attr(feature = "schema", schema(value_type = chrono::DateTime<chrono::Utc>))]
    pub updated_at: Instant,
}

/// One step of a subscription, or of a replay: over some events, in their order.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivery {
    /// Whose subscription.
    pub tenant: String,
    /// Its name.
    pub subscription: String,
    /// Its version, as it was when this was decided.
    pub version: i64,
    /// The replay whose step it is.
    pub replay: Option<Uuid>,
    /// Where it must be.
    pub from: u64,
    /// Where it is afterwards.
    pub to: u64,
    /// How many of the events it does not mean.
    pub skipped: u64,
    /// What becomes of the others, in their order, at most [`EVENT_ROWS_MAX`].
    pub events: Vec<Delivered>,
    /// For a replay: how long until its next step; `None` when it is over.
    pub next: Option<Duration>,
}

/// What becomes of one event.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivered {
    /// Its position.
    pub position: u64,
    /// What becomes of it.
    pub effect: Effect,
}

/// What an event starts.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// This job.
    Job(Box<NewJob>),
    /// A run of a batch, requested under a key of its own.
    Run(Box<NewEvent>),
    /// Nothing, for this reason.
    Refused(Refusal, String),
}

/// A step that has failed.
#[derive(Debug, Clone, PartialEq)]
pub struct SubscriptionHold {
    /// Whose subscription.
    pub tenant: String,
    /// Its name.
    pub name: String,
    /// Where it is.
    pub cursor: u64,
    /// How long it waits.
    pub wait: Duration,
    /// Why it has failed.
    pub error: String,
}

/// Events that are given to a subscription once more.
#[derive(Debug, Clone, PartialEq)]
pub struct NewReplay {
    /// Its id.
    pub id: Uuid,
    /// Whose subscription.
    pub tenant: String,
    /// Its name.
    pub subscription: String,
    /// Patterns of types, of which one must fit, beside what the subscription means.
    pub types: Vec<String>,
    /// Those behind this position.
    pub after: u64,
    /// Up to this position. One beyond the end means the end as it is now.
    pub until: u64,
    /// How many events a second at most.
    pub rate: Option<u32>,
    /// Who has ordered it.
    pub by: String,
    /// Why.
    pub reason: Option<String>,
}

gristmill_core::words! {
    /// How far a replay is.
    pub enum ReplayState {
        /// It goes on.
        Running = "running",
        /// It is through.
        Finished = "finished",
        /// It was ended before its time.
        Cancelled = "cancelled",
    }
}

/// A replay, and how far it has come.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ReplayView {
    /// Its id.
    pub id: Uuid,
    /// Whose subscription.
    pub tenant: String,
    /// Its name.
    pub subscription: String,
    /// Patterns of types.
    pub types: Vec<String>,
    /// The last position that it is done with.
    pub cursor: u64,
    /// The last position of all.
    pub until: u64,
    /// How many events a second at most.
    pub rate: Option<u32>,
    /// How far it is.
    pub state: ReplayState,
    /// How many events have started something.
    pub delivered: u64,
    /// How many are not meant.
    pub skipped: u64,
    /// How many could not be delivered.
    pub refused: u64,
    /// Who has ordered it.
    pub by: String,
    /// Why.
    pub reason: Option<String>,
    /// When it was ordered.
    #[cfg_attr(feature = "schema", schema(value_type = chrono::DateTime<chrono::Utc>))]
    pub created_at: Instant,
    /// When it was over.
    #[cfg_attr(feature = "schema", schema(value_type = Option<chrono::DateTime<chrono::Utc>>))]
    pub ended_at: Option<Instant>,
}

/// Refuses a job that no store can keep, such as one with too long a payload.
///
/// # Errors
///
/// What is wrong with it.
pub fn check_job(job: &NewJob) -> Result<()> {
    check::jobs(std::slice::from_ref(job))
}

/// Refuses a run that no store can keep.
///
/// # Errors
///
/// What is wrong with it.
pub fn check_run(run: &NewEvent) -> Result<()> {
    triggers::given(run, Instant::UNIX_EPOCH).map(drop)
}
