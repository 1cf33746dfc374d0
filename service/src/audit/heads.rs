//! Signed heads: where each chain ended on a day, in the database and in a file beside it.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use chrono::TimeDelta;
use gristmill_core::audit::SignedHead;
use gristmill_store::{Result, StoreError, StoreHandle};

use super::key::SigningKey;
use super::settings::AuditSettings;

/// How long after the last one the next head of a chain is signed.
const SIGN_AFTER: TimeDelta = TimeDelta::hours(24);

/// Signs the head of each chain that has gone on since its last signature, if that is a day old, and returns how many it
/// signed. Without a key file it signs none.
///
/// # Errors
///
/// Store errors; `Invalid` when there is no key, and `Unavailable` when the file for heads cannot be written: then the
/// head is not in the database either, and is signed again.
pub async fn sign_heads(store: &StoreHandle, settings: &AuditSettings) -> Result<u64> {
    if settings.key_file.is_empty() {
        return Ok(0);
    }
    let key = SigningKey::read_or_make(Path::new(&settings.key_file))?;
    let (now, mut count) = (store.now().await?, 0);
    for head in store.audit_heads(None).await? {
        let last = last_signed(store, &head.tenant, &key.public()).await?;
        let recent = last.as_ref().is_some_and(|last| now - last.at < SIGN_AFTER || last.seq >= head.end.seq);
        if recent || head.end.seq == 0 {
            continue;
        }
        let (tenant, key_name, signature) = (head.tenant, String::new(), String::new());
        let (seq, hash) = (head.end.seq, head.end.hash);
        let signed = key.sign(SignedHead { tenant, seq, hash, at: now, key: key_name, signature });
        if !settings.heads_file.is_empty() {
            append(PathBuf::from(&settings.heads_file), signed.clone()).await?;
        }
        count += u64::from(store.keep_signed_head(&signed).await?);
    }
    Ok(count)
}

async fn last_signed(store: &StoreHandle, tenant: &str, key: &str) -> Result<Option<SignedHead>> {
    let (mut last, mut behind) = (None, 0);
    loop {
        let heads = store.signed_heads(tenant, behind).await?;
        let Some(end) = heads.last().map(|head| head.seq) else { return Ok(last) };
        last = heads.into_iter().rfind(|head| head.key == key).or(last);
        behind = end;
    }
}

/// Adds a line, which is on the disk when it returns.
async fn append(file: PathBuf, head: SignedHead) -> Result<()> {
    let written = tokio::task::spawn_blocking(move || {
        let mut line = serde_json::to_vec(&head)?;
        line.push(b'\n');
        let mut out = OpenOptions::new().append(true).create(true).mode(0o600).open(&file)?;
        out.write_all(&line)?;
        out.sync_all()
    });
    let written = written.await.unwrap_or_else(|error| Err(std::io::Error::other(error)));
    written.map_err(|error| StoreError::Unavailable(format!("the file for heads of the audit: {error}")))
}

/// The heads that a file has, of all tenants.
///
/// # Errors
///
/// [`StoreError::Invalid`] when the file cannot be read, or a line of it is no head.
pub fn heads_of(file: &Path) -> Result<Vec<SignedHead>> {
    let wrong = |what: String| StoreError::Invalid(format!("the heads of the audit in {}: {what}", file.display()));
    let lines = BufReader::new(File::open(file).map_err(|error| wrong(error.to_string()))?).lines();
    let mut heads = Vec::new();
    for (number, line) in (1..).zip(lines) {
        let line = line.map_err(|error| wrong(error.to_string()))?;
        let head = serde_json::from_str(&line).map_err(|error| wrong(format!("line {number}: {error}")))?;
        heads.push(head);
    }
    Ok(heads)
}
