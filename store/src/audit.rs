//! The audit: who changed what, from where and why, in the transaction of the change.
//!
//! A handle of the store that is [attributed](Audit::attributed) to a step of an order writes one entry with its next
//! transaction that changes something, as the last thing before the commit. The tenant's head is locked for it, which
//! puts the tenant's orders into a row; work without an order does not touch it.

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use gristmill_core::Instant;
use gristmill_core::access::Role;
use gristmill_core::audit::{Action, ActorKind, AuditEntry, ChainEnd, SealedEntry, SignedHead, details, fingerprint};
use serde::Serialize;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::check;
use crate::error::Result;
use crate::{
    ControlReport, EnqueueOutcome, EnqueueReport, FireReport, NewBatch, PatchReport, Pause, PruneReport,
    ReconcileReport, StoreHandle,
};

/// The most entries that one question returns.
pub const AUDIT_ROWS_MAX: u32 = 10_000;

/// The audit: who changed what, from where and why.
#[async_trait]
pub trait Audit: Debug + Send + Sync + 'static {
    /// A handle of the same store whose next transaction that changes something belongs to a step of an order: it
    /// writes one entry with it. Further transactions of the handle write none, nor does one that is repeated because
    /// the result of its commit was unknown. A transaction that changes nothing writes nothing.
    fn attributed(self: Arc<Self>, attribution: Attribution) -> StoreHandle;

    /// Writes an entry about what is no transition of the store, in a transaction of its own. Returns whether it was
    /// not there yet.
    async fn record_audit(&self, attribution: &Attribution, fields: &Map<String, Value>) -> Result<bool>;

    /// Returns entries of a tenant that match a filter, newest first.
    async fn audit(&self, filter: &AuditFilter) -> Result<Vec<SealedEntry>>;

    /// Returns the entries of a tenant behind a number, in their order, at most `limit`.
    async fn audit_behind(&self, tenant: &str, seq: u64, limit: u32) -> Result<Vec<SealedEntry>>;

    /// Returns the heads of all chains, or of one, by tenant.
    async fn audit_heads(&self, tenant: Option<&str>) -> Result<Vec<AuditHead>>;

    /// Keeps a signed head. Returns whether it was new: a tenant has one for each number.
    async fn keep_signed_head(&self, head: &SignedHead) -> Result<bool>;

    /// Returns the signed heads of a tenant behind a number, in their order, at most [`AUDIT_ROWS_MAX`].
    async fn signed_heads(&self, tenant: &str, seq: u64) -> Result<Vec<SignedHead>>;

    /// Removes the entries of a tenant up to a number, which must be that of an entry, and writes an entry about it in
    /// the same transaction. The last entry stays in any case. Returns how many were removed.
    async fn prune_audit(&self, attribution: &Attribution, to: ChainEnd) -> Result<u64>;
}

/// A step of an order, as the audit learns of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribution {
    /// Whose chain it goes into.
    pub tenant: String,
    /// The order.
    pub order: Uuid,
    /// The step: written down once.
    pub step: Uuid,
    /// What kind of actor.
    pub actor_kind: ActorKind,
    /// The actor's name for people.
    pub actor: String,
    /// The id of the user or token.
    pub subject: Option<Uuid>,
    /// The actor's role in the tenant.
    pub role: Option<Role>,
    /// The network address.
    pub address: Option<String>,
    /// The id of the request.
    pub request: Option<String>,
    /// What is done.
    pub action: Action,
    /// To what.
    pub target: String,
    /// Why.
    pub reason: Option<String>,
}

impl Attribution {
    /// The entry of this step in its place.
    pub(crate) fn entry(&self, seq: u64, at: Instant, fields: &Map<String, Value>) -> AuditEntry {
        let plain = |text: &str| check::plain(text, check::REASON_CHARS_MAX);
        let some = |text: &Option<String>| text.as_deref().map(plain);
        AuditEntry {
            tenant: plain(&self.tenant),
            seq,
            at,
            order: self.order,
            step: self.step,
            actor_kind: self.actor_kind.to_string(),
            actor: plain(&self.actor),
            subject: self.subject,
            role: self.role.map(|role| role.to_string()),
            address: some(&self.address),
            request: some(&self.request),
            action: self.action.to_string(),
            target: plain(&self.target),
            reason: some(&self.reason),
            details: details(fields),
        }
    }
}

/// Selects entries of a tenant: those that meet every condition given.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AuditFilter {
    /// Of this tenant.
    pub tenant: String,
    /// By this actor, by name.
    pub actor: Option<String>,
    /// With this action.
    pub action: Option<String>,
    /// About this target.
    pub target: Option<String>,
    /// Not before this instant.
    pub since: Option<Instant>,
    /// Before this instant.
    pub until: Option<Instant>,
    /// With a number below this one.
    pub before: Option<u64>,
    /// At most this many: up to [`AUDIT_ROWS_MAX`].
    pub limit: u32,
}

/// Where a chain ends, and where what the store still has of it begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AuditHead {
    /// Whose chain.
    pub tenant: String,
    /// The last entry.
    #[serde(flatten)]
    pub end: ChainEnd,
    /// The last entry that was removed after its time; the default when none was.
    pub pruned: ChainEnd,
}

/// The step that a handle of a store is attributed to.
#[derive(Debug)]
pub(crate) struct Attributed {
    pub(crate) attribution: Attribution,
    written: AtomicBool,
}

impl Attributed {
    pub(crate) fn new(attribution: Attribution) -> Arc<Self> {
        Arc::new(Self { attribution, written: AtomicBool::new(false) })
    }

    /// Whether its entry is still to be written.
    pub(crate) fn pending(&self) -> bool {
        !self.written.load(Ordering::Acquire)
    }

    /// The entry is committed.
    pub(crate) fn written(&self) {
        self.written.store(true, Ordering::Release);
    }
}

/// What a transaction says of itself, for its entry. It is gathered only where an entry is to be written.
#[derive(Debug, Clone, Default)]
pub(crate) struct Facts {
    /// Whether it has changed anything that its ledger of jobs does not show.
    pub(crate) changed: bool,
    /// What it did.
    pub(crate) fields: Map<String, Value>,
    /// Whose chain its entry belongs to, where only the transaction knows.
    chain: Option<String>,
    /// What it is about, where only the transaction knows.
    target: Option<String>,
    /// What was done, where that is something else than what was ordered.
    action: Option<Action>,
    /// Whether it has changed nothing that an entry is written about.
    withheld: bool,
}

impl Facts {
    /// It has changed something.
    pub(crate) fn change(&mut self) {
        self.changed = true;
    }

    /// Something about the change. What counts as a change is said with [`Facts::change`].
    pub(crate) fn set(&mut self, key: &str, value: impl Into<Value>) {
        self.fields.insert(key.to_owned(), value.into());
    }

    /// Its entry belongs to the chain of this tenant, whatever tenant the order names.
    pub(crate) fn in_chain(&mut self, tenant: impl Into<String>) {
        self.chain = Some(tenant.into());
    }

    /// It is about this.
    pub(crate) fn about(&mut self, target: impl Into<String>) {
        self.target = Some(target.into());
    }

    /// This was done instead of what was ordered.
    pub(crate) fn act(&mut self, action: Action) {
        self.action = Some(action);
    }

    /// What it changes is counted elsewhere, and no entry is written about it.
    pub(crate) fn withhold(&mut self) {
        self.withheld = true;
    }

    /// Whether an entry is to be written, of a transaction that changed something in its ledger or not.
    pub(crate) fn call_for_an_entry(&self, ledger_changed: bool) -> bool {
        !self.withheld && (ledger_changed || self.changed)
    }

    /// The attribution of the entry.
    pub(crate) fn attribution(&self, of: &Attribution) -> Attribution {
        let tenant = self.chain.clone().unwrap_or_else(|| of.tenant.clone());
        let target = self.target.clone().unwrap_or_else(|| of.target.clone());
        Attribution { tenant, target, action: self.action.unwrap_or(of.action), ..of.clone() }
    }

    /// What was there before, and is there now; `None` for what did not exist, or exists no more.
    pub(crate) fn between(&mut self, before: Option<Value>, after: Option<Value>) {
        self.set("before", before);
        self.set("after", after);
    }

    /// What it did, from its report.
    pub(crate) fn tell(&mut self, report: &impl Summary) {
        report.summarize(self);
    }
}

/// A stored JSON text, to be shown; one that cannot be read is not.
pub(crate) fn value(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_default()
}

/// A pause before and after: what `is` paused was not.
pub(crate) fn paused(facts: &mut Facts, is: Option<&Pause>) {
    let after = is.map(|pause| json!({ "paused": true, "by": pause.by, "reason": pause.reason }));
    facts.between(Some(json!({ "paused": is.is_none() })), Some(after.unwrap_or_else(|| json!({ "paused": false }))));
}

/// A report that the audit has something of: counts and samples, never what jobs and items contain.
pub(crate) trait Summary {
    /// Says what was done.
    fn summarize(&self, facts: &mut Facts);
}

impl Summary for ControlReport {
    fn summarize(&self, facts: &mut Facts) {
        facts.changed |= self.affected > 0 || self.generation.is_some();
        facts.set("affected", self.affected);
        if !self.samples.is_empty() {
            facts.set("samples", self.samples.clone());
        }
        if let Some(generation) = self.generation {
            facts.set("generation", generation);
        }
    }
}

impl Summary for PatchReport {
    fn summarize(&self, facts: &mut Facts) {
        facts.changed |= self.redriven > 0;
        facts.set("affected", self.redriven);
        facts.set("kept", self.kept);
        facts.set("samples", self.samples.iter().map(|sample| sample.id).collect::<Vec<_>>());
        if let Some(generation) = self.generation {
            facts.set("generation", generation);
        }
    }
}

impl Summary for ReconcileReport {
    fn summarize(&self, facts: &mut Facts) {
        facts.changed |= !self.findings.is_empty();
        facts.set("findings", self.findings.len());
        facts.set("samples", self.findings.iter().take(5).cloned().collect::<Vec<_>>());
    }
}

impl Summary for NewBatch {
    fn summarize(&self, facts: &mut Facts) {
        facts.change();
        facts.set("batch", self.id.to_string());
        facts.set("name", self.name.clone());
        facts.set("params", fingerprint(&self.params.to_string()));
        facts.set("input", fingerprint(&serde_json::to_string(&self.fingerprint).unwrap_or_default()));
    }
}

impl Summary for PruneReport {
    fn summarize(&self, facts: &mut Facts) {
        for (noun, rows) in &self.deleted {
            facts.changed |= *rows > 0;
            facts.set(noun.as_str(), *rows);
        }
    }
}

impl Summary for FireReport {
    fn summarize(&self, facts: &mut Facts) {
        facts.changed |= self.written > 0;
        facts.set("affected", self.written);
        let samples = self.started.iter().take(5).map(|(schedule, tick)| format!("{schedule} {tick}"));
        facts.set("started", samples.collect::<Vec<_>>());
    }
}

impl Summary for EnqueueReport {
    fn summarize(&self, facts: &mut Facts) {
        for outcome in EnqueueOutcome::ALL {
            let jobs = self.jobs.iter().filter(|job| job.outcome == outcome).count();
            facts.changed |= jobs > 0 && outcome != EnqueueOutcome::Existing;
            if jobs > 0 {
                facts.set(outcome.as_str(), jobs);
            }
        }
        facts.set("samples", self.jobs.iter().take(5).map(|job| job.id.to_string()).collect::<Vec<_>>());
    }
}
