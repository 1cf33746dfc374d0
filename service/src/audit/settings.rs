//! `[audit]` in `config.toml`: who signs the heads of the chains, and where they are kept besides.

use serde::{Deserialize, Serialize};

/// How the heads of the audit's chains are signed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuditSettings {
    /// The file with the key (ed25519) that signs the heads; the scheduler makes it when there is none. Empty signs none.
    pub key_file: String,
    /// A file outside the database to which each signed head is added; empty is none.
    pub heads_file: String,
    /// Public keys, in hexadecimal, whose signatures are trusted besides that of the key file.
    pub trusted_keys: Vec<String>,
}
