//! The audit: what is written down of each order of a person or a program, and the chain that shows when it was bent.
//!
//! Each tenant has a chain of its own, numbered from 1 without gaps. The hash of an entry is the SHA-256 of the hash
//! before it and of the entry's canonical bytes, in which every field has its length, so that no two entries have the
//! same bytes. [`Chain`] follows the entries and says which is the first that does not fit, and why. An attacker who can
//! write to the database can build another chain that fits by itself: a [`SignedHead`] that was kept elsewhere shows it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::Instant;

/// The most bytes of an entry's details. What is longer is replaced by its hash and its length.
pub const DETAILS_BYTES_MAX: usize = 16 * 1024;

/// How far from its place an entry is looked for that was moved.
const MOVED_MAX: u64 = 1_000;

/// What the canonical bytes of an entry begin with: another form gets another name.
const ENTRY: &[u8] = b"gristmill audit entry 1";

/// What the bytes of a signed head begin with.
const HEAD: &[u8] = b"gristmill audit head 1";

crate::words! {
    /// What may be ordered, and is written down.
    #[derive(PartialOrd, Ord)]
    pub enum Action {
        /// A queue was paused.
        QueuePause = "queue.pause",
        /// A queue was resumed.
        QueueResume = "queue.resume",
        /// A queue was deleted.
        QueueDelete = "queue.delete",
        /// Jobs were enqueued.
        JobEnqueue = "job.enqueue",
        /// Jobs were cancelled.
        JobCancel = "job.cancel",
        /// A job that waited was changed: its priority, its queue, its time, its payload.
        JobEdit = "job.edit",
        /// A job that waited runs now.
        JobRetry = "job.retry",
        /// Dead letters were redriven.
        DeadRedrive = "dead.redrive",
        /// Dead letters were deleted for good.
        DeadDiscard = "dead.discard",
        /// An error was acknowledged.
        ErrorAcknowledge = "error.acknowledge",
        /// An error that was acknowledged was reopened.
        ErrorReopen = "error.reopen",
        /// An operation over many jobs was started.
        OperationStart = "operation.start",
        /// An operation was called off.
        OperationCancel = "operation.cancel",
        /// What an operation has changed is brought back.
        OperationUndo = "operation.undo",
        /// A batch was started.
        BatchStart = "batch.start",
        /// A batch whose plan failed was taken back.
        BatchTakeBack = "batch.take_back",
        /// A batch was paused.
        BatchPause = "batch.pause",
        /// A batch was resumed.
        BatchResume = "batch.resume",
        /// A batch was cancelled.
        BatchCancel = "batch.cancel",
        /// A batch was restarted.
        BatchRestart = "batch.restart",
        /// The deletion of a batch was begun.
        BatchDelete = "batch.delete",
        /// A chunk was split.
        ChunkSplit = "chunk.split",
        /// Quarantined items were redriven, as they were or patched.
        QuarantineRedrive = "quarantine.redrive",
        /// Quarantined items were taken out of the quarantine for good.
        QuarantineDiscard = "quarantine.discard",
        /// A limit was created or changed.
        LimitSet = "limit.set",
        /// A limit was dropped.
        LimitDrop = "limit.drop",
        /// A schedule was created.
        ScheduleCreate = "schedule.create",
        /// A schedule was edited.
        ScheduleEdit = "schedule.edit",
        /// A schedule was enabled.
        ScheduleEnable = "schedule.enable",
        /// A schedule was disabled.
        ScheduleDisable = "schedule.disable",
        /// A schedule was removed.
        ScheduleRemove = "schedule.remove",
        /// A run of a schedule was started by hand.
        ScheduleRun = "schedule.run",
        /// A backfill was started.
        BackfillStart = "backfill.start",
        /// A backfill was paused.
        BackfillPause = "backfill.pause",
        /// A backfill was resumed.
        BackfillResume = "backfill.resume",
        /// What waited of a backfill was removed.
        BackfillCancel = "backfill.cancel",
        /// A version of the schema of a type of events was added.
        SchemaAdd = "schema.add",
        /// A subscription was created or changed.
        SubscriptionSave = "subscription.save",
        /// A subscription was removed.
        SubscriptionRemove = "subscription.remove",
        /// A subscription was paused.
        SubscriptionPause = "subscription.pause",
        /// A subscription was resumed.
        SubscriptionResume = "subscription.resume",
        /// Events were given to a subscription once more.
        ReplayStart = "replay.start",
        /// That was ended before its time.
        ReplayCancel = "replay.cancel",
        /// The run of an event is started anew.
        EventRetry = "event.retry",
        /// Addresses were put on the list of those to which nothing is sent.
        AddressSuppress = "address.suppress",
        /// An address was taken off that list.
        AddressRelease = "address.release",
        /// A mail relay was put out of use.
        RelaySuspend = "relay.suspend",
        /// A mail relay may be used again.
        RelayResume = "relay.resume",
        /// Nothing is sent to a domain.
        DomainSuspend = "domain.suspend",
        /// A domain is sent to again.
        DomainResume = "domain.resume",
        /// Messages that could not be read were forgotten.
        PoisonDrop = "poison.drop",
        /// What was found by comparing counters was repaired.
        SystemReconcile = "system.reconcile",
        /// A pass of retention was made by hand.
        SystemPrune = "system.prune",
        /// The oldest entries of the audit were removed after their time.
        AuditPrune = "audit.prune",
        /// A person logged in: a session was opened.
        SessionOpen = "session.open",
        /// Logins are refused for a while, after too many tries of an account or from a network.
        SessionRefuse = "session.refuse",
        /// A login elsewhere was refused, because it may not take the account that has its address.
        LoginRefuse = "login.refuse",
        /// A person has linked a login elsewhere to their account.
        LoginLink = "login.link",
        /// A person has unlinked a login elsewhere from their account.
        LoginUnlink = "login.unlink",
        /// Sessions were ended: a person logged out, or ended those that they had elsewhere.
        SessionEnd = "session.end",
        /// A session went on by its refresh token.
        SessionRefresh = "session.refresh",
        /// A refresh token came again that was used already: its session was ended.
        SessionReuse = "session.reuse",
        /// A key began to sign access tokens, in place of the one before it if there was one.
        KeyRotate = "key.rotate",
        /// A key was withdrawn: what it has signed is refused.
        KeyWithdraw = "key.withdraw",
        /// A user was created.
        UserCreate = "user.create",
        /// A user got another name, or the right over the installation was given or taken.
        UserChange = "user.change",
        /// A user got another password.
        UserPassword = "user.password",
        /// A user may log in again.
        UserEnable = "user.enable",
        /// A user may log in no more.
        UserDisable = "user.disable",
        /// A user was removed, with all roles, tokens and sessions.
        UserRemove = "user.remove",
        /// A user confirmed a second factor, which their logins ask for from then on.
        FactorEnrol = "factor.enrol",
        /// A user removed their second factor.
        FactorRemove = "factor.remove",
        /// The second factor of a user was taken away by an owner of the installation.
        FactorReset = "factor.reset",
        /// A member got a role, or another one.
        MemberSet = "member.set",
        /// A member was removed from a tenant, or left it.
        MemberRemove = "member.remove",
        /// A token was created.
        TokenCreate = "token.create",
        /// A token was revoked.
        TokenRevoke = "token.revoke",
        /// An address was invited to a tenant.
        InvitationCreate = "invitation.create",
        /// An invitation was withdrawn.
        InvitationWithdraw = "invitation.withdraw",
        /// An invitation was accepted.
        InvitationAccept = "invitation.accept",
        /// A link was made by which a password is chosen, an address registers, or the first owner is made.
        LinkCreate = "link.create",
        /// Registrations are refused for a while, after too many from a network or in all.
        RegistrationRefuse = "registration.refuse",
        /// Such a link was used.
        LinkUse = "link.use",
        /// A tenant was created.
        TenantCreate = "tenant.create",
        /// A tenant was suspended.
        TenantSuspend = "tenant.suspend",
        /// A suspended tenant may be used again.
        TenantResume = "tenant.resume",
        /// The quotas of a tenant were set.
        TenantQuotas = "tenant.quotas",
    }
}

crate::words! {
    /// What kind of actor gave an order.
    pub enum ActorKind {
        /// A person at a terminal of the database's owner.
        Operator = "operator",
        /// A program that holds a connection to the store.
        Program = "program",
        /// A person who has logged in.
        User = "user",
        /// A program with an API token.
        Token = "token",
        /// A caller of a listener that asks for no login.
        Anyone = "anyone",
        /// A trigger: a schedule, a hook, a watched folder.
        Trigger = "trigger",
        /// A duty of the scheduler.
        Duty = "duty",
    }
}

crate::words! {
    /// Why an entry does not fit into its chain.
    pub enum Fault {
        /// The entry is not there, and later ones are.
        Missing = "missing",
        /// The entry is not the one whose hash it has.
        Changed = "changed",
        /// The entry has the place of another one.
        Reordered = "reordered",
        /// The entry fits by itself, but was written after another one than the one before it.
        Severed = "severed",
        /// The entry and all later ones are gone.
        Cut = "cut",
        /// The entry is not the one that was signed.
        Forged = "forged",
        /// The signature of a head does not fit, or its key is not one that is trusted.
        Signature = "signature",
        /// The chain begins where no removal is written down, or its head is not that of its entries.
        Anchor = "anchor",
    }
}

/// A SHA-256. Sixty-four hexadecimal digits in texts and in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Sum(pub [u8; 32]);

impl Sum {
    /// That of some bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A text that is no SHA-256.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a SHA-256 has 64 hexadecimal digits; this is not one")]
pub struct NoSum;

impl FromStr for Sum {
    type Err = NoSum;

    fn from_str(text: &str) -> Result<Self, NoSum> {
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(NoSum);
        }
        let mut sum = [0; 32];
        for (byte, digits) in sum.iter_mut().zip(text.as_bytes().chunks(2)) {
            let digits = std::str::from_utf8(digits).map_err(|_| NoSum)?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| NoSum)?;
        }
        Ok(Self(sum))
    }
}

impl Serialize for Sum {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Sum {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// One entry. Words are texts here, so that what another version or another hand has written can still be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// Whose chain it is in.
    pub tenant: String,
    /// Its number there, from 1.
    pub seq: u64,
    /// When, on the store's clock, accurate to a microsecond.
    pub at: Instant,
    /// The order that it belongs to: an order that is carried out in several steps has an entry for each.
    pub order: Uuid,
    /// The step, which is written down once, however often it is tried.
    pub step: Uuid,
    /// What kind of actor: an [`ActorKind`].
    pub actor_kind: String,
    /// The actor's name for people, at most 1,000 characters.
    pub actor: String,
    /// The id of the user or token, where there is one.
    pub subject: Option<Uuid>,
    /// The actor's role in the tenant: a [`Role`](crate::access::Role). `None` for those who own the database.
    pub role: Option<String>,
    /// The network address that the order came from.
    pub address: Option<String>,
    /// The id of the request that carried it.
    pub request: Option<String>,
    /// What was done: an [`Action`].
    pub action: String,
    /// To what: a name or an id, at most 1,000 characters.
    pub target: String,
    /// Why, in the actor's words, at most 1,000 characters.
    pub reason: Option<String>,
    /// What it did, as JSON: counts, samples, before and after. Never a payload or a secret. At most
    /// [`DETAILS_BYTES_MAX`].
    pub details: String,
}

impl AuditEntry {
    /// The bytes that are hashed: every field with its length.
    pub fn canonical(&self) -> Vec<u8> {
        let mut bytes = Canonical::new(ENTRY);
        bytes.text(&self.tenant);
        bytes.number(self.seq);
        bytes.number(self.at.timestamp_micros().cast_unsigned());
        bytes.some(Some(self.order.as_bytes()));
        bytes.some(Some(self.step.as_bytes()));
        bytes.text(&self.actor_kind);
        bytes.text(&self.actor);
        bytes.some(self.subject.as_ref().map(|id| id.as_bytes().as_slice()));
        for text in [&self.role, &self.address, &self.request] {
            bytes.some(text.as_deref().map(str::as_bytes));
        }
        bytes.text(&self.action);
        bytes.text(&self.target);
        bytes.some(self.reason.as_deref().map(str::as_bytes));
        bytes.text(&self.details);
        bytes.0
    }

    /// Its hash behind another one.
    pub fn after(&self, previous: Sum) -> Sum {
        let mut digest = Sha256::new();
        digest.update(previous.0);
        digest.update(self.canonical());
        Sum(digest.finalize().into())
    }

    /// Puts it behind another one.
    pub fn sealed(self, previous: Sum) -> SealedEntry {
        let hash = self.after(previous);
        SealedEntry { entry: self, previous, hash }
    }
}

/// Bytes in which every field has its length.
struct Canonical(Vec<u8>);

impl Canonical {
    fn new(form: &[u8]) -> Self {
        let mut bytes = Self(Vec::with_capacity(512));
        bytes.some(Some(form));
        bytes
    }

    fn some(&mut self, field: Option<&[u8]>) {
        // No field is that long: the greatest length stands for no field at all.
        let length = field.map_or(u64::MAX, |field| field.len() as u64);
        self.0.extend(length.to_be_bytes());
        self.0.extend(field.unwrap_or_default());
    }

    fn text(&mut self, field: &str) {
        self.some(Some(field.as_bytes()));
    }

    fn number(&mut self, number: u64) {
        self.some(Some(&number.to_be_bytes()));
    }
}

/// An entry in its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedEntry {
    /// The entry.
    #[serde(flatten)]
    pub entry: AuditEntry,
    /// The hash of the entry before it; zeros for the first.
    pub previous: Sum,
    /// Its own hash.
    pub hash: Sum,
}

/// The end of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ChainEnd {
    /// The number of the last entry; 0 for a chain without entries.
    pub seq: u64,
    /// Its hash.
    pub hash: Sum,
}

/// The end of a chain as it was on a day, with a signature of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct SignedHead {
    /// Whose chain.
    pub tenant: String,
    /// The number of its last entry then.
    pub seq: u64,
    /// The hash of that.
    pub hash: Sum,
    /// When it was signed, on the store's clock.
    #[cfg_attr(feature = "schema", schema(value_type = chrono::DateTime<chrono::Utc>))]
    pub at: Instant,
    /// The public key (ed25519) that fits, in hexadecimal.
    pub key: String,
    /// The signature of [`SignedHead::bytes`], in hexadecimal.
    pub signature: String,
}

impl SignedHead {
    /// The bytes that are signed.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Canonical::new(HEAD);
        bytes.text(&self.tenant);
        bytes.number(self.seq);
        bytes.some(Some(&self.hash.0));
        bytes.number(self.at.timestamp_micros().cast_unsigned());
        bytes.text(&self.key);
        bytes.0
    }
}

/// The first entry that does not fit, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Broken {
    /// Whose chain.
    pub tenant: String,
    /// The number of the entry.
    pub seq: u64,
    /// What is wrong with it.
    // The schemas of the API have another fault of this name.
    #[cfg_attr(feature = "schema", schema(inline))]
    pub fault: Fault,
    /// The same in words.
    pub about: String,
}

/// A walk along a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    tenant: String,
    end: ChainEnd,
}

impl Chain {
    /// A walk that begins behind an entry; behind the default from the first one on.
    pub fn behind(tenant: impl Into<String>, end: ChainEnd) -> Self {
        Self { tenant: tenant.into(), end }
    }

    /// How far it has come.
    pub fn end(&self) -> ChainEnd {
        self.end
    }

    /// Takes the next entry.
    ///
    /// # Errors
    ///
    /// Why it does not fit; the walk is over then.
    pub fn follow(&mut self, next: &SealedEntry) -> Result<(), Broken> {
        let (seq, found) = (self.end.seq + 1, next.entry.seq);
        if found > seq {
            return Err(self.broken(seq, Fault::Missing, format!("entry {seq} is missing; the next one is {found}")));
        }
        if found < seq {
            let about = format!("entry {found} comes once more, after entry {}", self.end.seq);
            return Err(self.broken(found, Fault::Reordered, about));
        }
        if next.entry.tenant != self.tenant || next.entry.after(next.previous) != next.hash {
            return Err(match moved_from(next) {
                Some(from) => {
                    self.broken(seq, Fault::Reordered, format!("entry {seq} is the one that was written as {from}"))
                }
                None => self.broken(seq, Fault::Changed, format!("entry {seq} is not the one whose hash it has")),
            });
        }
        if next.previous != self.end.hash {
            let before = self.end.seq;
            let about = match before {
                0 => "the first entry was written after another one".to_owned(),
                _ => format!("entry {seq} was written after another entry than {before} as it is now"),
            };
            return Err(self.broken(seq, Fault::Severed, about));
        }
        self.end = ChainEnd { seq, hash: next.hash };
        Ok(())
    }

    /// Compares where the walk ended with where the chain is known to end.
    ///
    /// # Errors
    ///
    /// What does not fit.
    pub fn ends_at(&self, head: ChainEnd) -> Result<(), Broken> {
        let last = self.end.seq;
        if head.seq > last {
            let about = format!("the chain ends with entry {last}, and went on to {}", head.seq);
            return Err(self.broken(last + 1, Fault::Cut, about));
        }
        if head != self.end {
            let about = format!("the head says that entry {} is the last; there are entries up to {last}", head.seq);
            return Err(self.broken(last, Fault::Anchor, about));
        }
        Ok(())
    }

    /// Compares the entry that the walk has just reached with one that was signed at that number.
    ///
    /// # Errors
    ///
    /// `Forged` when it is another one.
    pub fn was_signed(&self, signed: &SignedHead) -> Result<(), Broken> {
        if signed.seq != self.end.seq || signed.hash == self.end.hash {
            return Ok(());
        }
        let about = format!(
            "entry {} is not the one that was signed on {}",
            signed.seq,
            signed.at.format("%Y-%m-%d %H:%M UTC")
        );
        Err(self.broken(signed.seq, Fault::Forged, about))
    }

    fn broken(&self, seq: u64, fault: Fault, about: String) -> Broken {
        Broken { tenant: self.tenant.clone(), seq, fault, about }
    }
}

/// The number under which an entry fits by itself, if it is not its own.
fn moved_from(found: &SealedEntry) -> Option<u64> {
    let mut entry = found.entry.clone();
    let at = found.entry.seq;
    let near = (1..=MOVED_MAX).flat_map(|far| [at.checked_add(far), at.checked_sub(far)]).flatten();
    near.into_iter().find(|seq| {
        entry.seq = *seq;
        entry.after(found.previous) == found.hash
    })
}

/// Details as they are stored: those that are too long keep their counts, and their hash and length in place of the
/// rest.
pub fn details(fields: &Map<String, Value>) -> String {
    let text = Value::Object(fields.clone()).to_string();
    if text.len() <= DETAILS_BYTES_MAX {
        return text;
    }
    let mut short: Map<String, Value> =
        fields.iter().filter(|(_, value)| value.is_number() || value.is_boolean()).map(owned).take(50).collect();
    short.insert("left_out".to_owned(), fingerprint(&text));
    Value::Object(short).to_string()
}

fn owned((key, value): (&String, &Value)) -> (String, Value) {
    (key.clone(), value.clone())
}

/// What stands for a text that must not be in the audit: that it changed can be seen, and what it says cannot.
pub fn fingerprint(text: &str) -> Value {
    json!({ "sha256": Sum::of(text.as_bytes()), "bytes": text.len() })
}
