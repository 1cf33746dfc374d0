//! Messages that nobody can act upon, kept as evidence.

use gristmill_core::Instant;
use serde::Serialize;
use serde_json::Value;

/// The most bytes that are kept of one message, as the migrations say, too: 64 KiB.
pub const POISON_BYTES_MAX: usize = 64 * 1024;

gristmill_core::words! {
    /// Which consumer met a message.
    pub enum PoisonSource {
        /// A worker, on a priority of a queue.
        Worker = "worker",
        /// The scheduler, among what the broker gave up on.
        Returned = "returned",
    }
}

/// A message to be kept.
#[derive(Debug, Clone, PartialEq)]
pub struct NewPoison {
    /// The queue that it came through; empty where nobody can tell.
    pub queue: String,
    /// The SHA-256 of the whole message, in hexadecimal.
    pub sha256: String,
    /// How many bytes the whole message has.
    pub size: u64,
    /// Its first bytes; no more than [`POISON_BYTES_MAX`] are kept.
    pub bytes: Vec<u8>,
    /// Its properties and headers, as far as they are worth keeping: a JSON object.
    pub headers: Value,
    /// Why nobody can act upon it. Never quotes it.
    pub reason: String,
    /// Who met it.
    pub source: PoisonSource,
}

/// A message that was kept, without its bytes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PoisonView {
    /// Its number; also its key in lists.
    pub id: i64,
    /// The queue that it came through; empty where nobody could tell.
    pub queue: String,
    /// The SHA-256 of the whole message, in hexadecimal.
    pub sha256: String,
    /// How many bytes the whole message has.
    pub size: u64,
    /// Why nobody can act upon it, as it was said last.
    pub reason: String,
    /// Who met it last.
    pub source: String,
    /// How often it came.
    pub seen: u64,
    /// When it came first.
    pub first_at: Instant,
    /// When it came last.
    pub last_at: Instant,
}

/// A message that was kept, whole.
#[derive(Debug, Clone, PartialEq)]
pub struct PoisonMessage {
    /// What the list says of it.
    pub view: PoisonView,
    /// Its properties and headers, of the last time that it came.
    pub headers: Value,
    /// Its first bytes, at most [`POISON_BYTES_MAX`].
    pub bytes: Vec<u8>,
}
