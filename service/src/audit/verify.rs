//! Verification: a chain is followed from its first entry, or from where it was removed, to its head.
//!
//! It reads pages of the store and lines of the archive one after the other, so that a chain of any length needs the
//! same memory. Entries that are written meanwhile are followed, too.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use gristmill_core::audit::{Action, Broken, Chain, ChainEnd, Fault, SealedEntry, SignedHead};
use gristmill_store::{AuditHead, Result, StoreError, StoreHandle};
use serde::{Deserialize, Serialize};

use super::archived;
use super::heads::heads_of;
use super::key::{SigningKey, fits};
use super::settings::AuditSettings;

/// How many entries one page has.
const PAGE_ROWS: u32 = 1_000;

/// How often a walk begins anew because entries were removed meanwhile.
const TRIES_MAX: u32 = 3;

/// What a chain is compared with besides itself.
#[derive(Debug, Clone, Default)]
pub struct VerifyOptions {
    /// The folder with what was removed: then the chain is followed from its first entry on.
    pub archive: Option<PathBuf>,
    /// Public keys, in hexadecimal, whose signatures are trusted. Without any, signatures are checked, and not who made
    /// them.
    pub trusted_keys: BTreeSet<String>,
    /// Heads that were kept outside the database.
    pub heads: Vec<SignedHead>,
}

impl VerifyOptions {
    /// What a chain is compared with by the settings: the keys that are trusted, and the heads of the file.
    ///
    /// # Errors
    ///
    /// `Invalid` when the key or the heads cannot be read. Files that do not exist yet are passed over.
    pub fn of(settings: &AuditSettings) -> Result<Self> {
        let trusted_keys = settings.trusted_keys.iter().cloned().collect();
        let mut options = Self { trusted_keys, ..Self::default() };
        let (key, heads) = (Path::new(&settings.key_file), Path::new(&settings.heads_file));
        if !settings.key_file.is_empty() && key.exists() {
            options.trusted_keys.insert(SigningKey::read(key)?.public());
        }
        if !settings.heads_file.is_empty() && heads.exists() {
            options.heads = heads_of(heads)?;
        }
        Ok(options)
    }
}

/// What following a chain has shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Verified {
    /// Whose chain.
    pub tenant: String,
    /// How many entries of the store fit.
    pub entries: u64,
    /// How many entries of the archive fit.
    pub archived: u64,
    /// How many signed heads fit.
    pub signed: u64,
    /// The number of the last entry that was removed from the store after its time; 0 when none was.
    pub removed: u64,
    /// The number of the last entry that fits.
    pub last: u64,
    /// Its hash, to be compared with one that was noted elsewhere.
    pub hash: String,
    /// What does not fit; `null` when everything does.
    pub broken: Option<Broken>,
}

/// Follows the chain of a tenant.
///
/// # Errors
///
/// Store errors, and `Invalid` when the archive cannot be read. What does not fit is no error, but in the answer.
pub async fn verify(store: &StoreHandle, tenant: &str, options: &VerifyOptions) -> Result<Verified> {
    let mut tries = 1;
    loop {
        let head = head_of(store, tenant).await?;
        let mut walk = Walk::new(tenant, &head);
        walk.found.broken = walk.all(store, &head, options).await?.err();
        let moved = head_of(store, tenant).await?.pruned != head.pruned;
        if walk.found.broken.is_none() || !moved || tries == TRIES_MAX {
            return Ok(walk.found);
        }
        // What is missing was removed while we looked.
        tries += 1;
    }
}

async fn head_of(store: &StoreHandle, tenant: &str) -> Result<AuditHead> {
    let none = AuditHead { tenant: tenant.to_owned(), end: ChainEnd::default(), pruned: ChainEnd::default() };
    Ok(store.audit_heads(Some(tenant)).await?.pop().unwrap_or(none))
}

/// A walk under way.
struct Walk {
    chain: Chain,
    /// What is signed, by number.
    signed: BTreeMap<u64, Vec<SignedHead>>,
    /// What the last entry about a removal says, as JSON.
    removal: Option<String>,
    found: Verified,
}

type Outcome = std::result::Result<(), Broken>;

impl Walk {
    fn new(tenant: &str, head: &AuditHead) -> Self {
        let found = Verified {
            tenant: tenant.to_owned(),
            entries: 0,
            archived: 0,
            signed: 0,
            removed: head.pruned.seq,
            last: head.pruned.seq,
            hash: head.pruned.hash.to_string(),
            broken: None,
        };
        Self { chain: Chain::behind(tenant, head.pruned), signed: BTreeMap::new(), removal: None, found }
    }

    /// Follows everything there is.
    async fn all(&mut self, store: &StoreHandle, head: &AuditHead, options: &VerifyOptions) -> Result<Outcome> {
        if let Err(broken) = self.read_signed(store, options).await? {
            return Ok(Err(broken));
        }
        if let Some(folder) = &options.archive {
            let (folder, pruned) = (folder.clone(), head.pruned);
            let (tenant, signed) = (self.found.tenant.clone(), self.signed.clone());
            let walked = tokio::task::spawn_blocking(move || archive(&folder, &tenant, pruned, &signed));
            let walked = walked.await.map_err(|error| StoreError::Invalid(format!("the archive: {error}")))??;
            (self.found.archived, self.found.signed) = (walked.entries, self.found.signed + walked.signed);
            if let Some(broken) = walked.broken {
                return Ok(Err(broken));
            }
        }
        self.through_store(store, head).await
    }

    /// Reads what is signed, and checks the signatures.
    async fn read_signed(&mut self, store: &StoreHandle, options: &VerifyOptions) -> Result<Outcome> {
        let tenant = self.found.tenant.clone();
        let mut heads: Vec<SignedHead> = options.heads.iter().filter(|head| head.tenant == tenant).cloned().collect();
        let mut behind = 0;
        loop {
            let page = store.signed_heads(&tenant, behind).await?;
            let Some(last) = page.last().map(|head| head.seq) else { break };
            behind = last;
            heads.extend(page);
        }
        for head in heads {
            if let Some(about) = distrusted(&head, &options.trusted_keys) {
                return Ok(Err(Broken { tenant, seq: head.seq, fault: Fault::Signature, about }));
            }
            let known = self.signed.entry(head.seq).or_default();
            if !known.contains(&head) {
                known.push(head);
            }
        }
        Ok(Ok(()))
    }

    async fn through_store(&mut self, store: &StoreHandle, head: &AuditHead) -> Result<Outcome> {
        loop {
            let page = store.audit_behind(&self.found.tenant, self.chain.end().seq, PAGE_ROWS).await?;
            for next in &page {
                if let Err(broken) = self.take(next) {
                    return Ok(Err(broken));
                }
            }
            if !page.is_empty() {
                continue;
            }
            // The head is read after the last page: it may have gone on since, and then there is one more.
            let now = head_of(store, &self.found.tenant).await?;
            let more = now.end.seq > self.chain.end().seq
                && !store.audit_behind(&self.found.tenant, self.chain.end().seq, 1).await?.is_empty();
            if !more {
                return Ok(self.ends(head, &now));
            }
        }
    }

    fn take(&mut self, next: &SealedEntry) -> Outcome {
        self.chain.follow(next)?;
        let end = self.chain.end();
        for signed in self.signed.get(&end.seq).into_iter().flatten() {
            self.chain.was_signed(signed)?;
            self.found.signed += 1;
        }
        if next.entry.action == Action::AuditPrune.as_str() {
            self.removal = Some(next.entry.details.clone());
        }
        self.found.entries += 1;
        (self.found.last, self.found.hash) = (end.seq, end.hash.to_string());
        Ok(())
    }

    /// Compares the end with the head, with what was signed, and the beginning with what is known of removals.
    fn ends(&self, began: &AuditHead, head: &AuditHead) -> Outcome {
        self.chain.ends_at(head.end)?;
        if let Some((seq, _)) = self.signed.last_key_value().filter(|(seq, _)| **seq > self.found.last) {
            let about = format!("the chain ends with entry {}, and entry {seq} was signed", self.found.last);
            return Err(self.broken(self.found.last + 1, Fault::Cut, about));
        }
        let ChainEnd { seq, hash } = began.pruned;
        if seq > 0 {
            let said: serde_json::Value =
                self.removal.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
            if began.pruned == head.pruned && (said["to"] != seq || said["hash"] != hash.to_string()) {
                let about = format!("the entries up to {seq} are gone, and no entry says that they were removed");
                return Err(self.broken(seq, Fault::Anchor, about));
            }
        }
        Ok(())
    }

    fn broken(&self, seq: u64, fault: Fault, about: String) -> Broken {
        Broken { tenant: self.found.tenant.clone(), seq, fault, about }
    }
}

/// Why a signed head is not to be trusted.
fn distrusted(head: &SignedHead, trusted: &BTreeSet<String>) -> Option<String> {
    if !fits(head) {
        return Some(format!("the signature of the head at entry {} does not fit", head.seq));
    }
    let known = trusted.is_empty() || trusted.contains(&head.key);
    (!known)
        .then(|| format!("the head at entry {} is signed with the key {}, which is not trusted", head.seq, head.key))
}

/// What following the archive has shown.
#[derive(Default)]
struct Archived {
    entries: u64,
    signed: u64,
    broken: Option<Broken>,
}

/// Follows the archive from the first entry to the last one that was removed.
fn archive(folder: &Path, tenant: &str, pruned: ChainEnd, signed: &BTreeMap<u64, Vec<SignedHead>>) -> Result<Archived> {
    let (mut chain, mut walked) = (Chain::behind(tenant, ChainEnd::default()), Archived::default());
    let mut take = |next: &SealedEntry, walked: &mut Archived| -> Outcome {
        chain.follow(next)?;
        for signed in signed.get(&chain.end().seq).into_iter().flatten() {
            chain.was_signed(signed)?;
            walked.signed += 1;
        }
        walked.entries += 1;
        if chain.end().seq == pruned.seq && chain.end() != pruned {
            let about = format!("the archive has another entry {} than the one that was removed", pruned.seq);
            return Err(Broken { tenant: tenant.to_owned(), seq: pruned.seq, fault: Fault::Anchor, about });
        }
        Ok(())
    };
    archived::visit(folder, |next| {
        // What was archived twice, because a process died before it was removed, counts once.
        let wanted = next.entry.tenant == tenant && next.entry.seq > walked.entries && next.entry.seq <= pruned.seq;
        if wanted && let Err(broken) = take(&next, &mut walked) {
            walked.broken = Some(broken);
            return false;
        }
        true
    })?;
    if walked.broken.is_none() && walked.entries < pruned.seq {
        let seq = walked.entries + 1;
        let about = format!("entry {seq} is neither in the archive nor in the store");
        walked.broken = Some(Broken { tenant: tenant.to_owned(), seq, fault: Fault::Missing, about });
    }
    Ok(walked)
}
