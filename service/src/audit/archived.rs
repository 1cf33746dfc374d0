//! Entries in the archive: compressed JSON lines in files, in the order of the files' names.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use gristmill_core::audit::SealedEntry;
use gristmill_store::{Result, StoreError};

/// How the names of the audit's files in an archive begin.
pub(super) const NOUN: &str = "audit";

/// Visits the archived entries of a tenant in the order in which they were archived, until `visit` says `false`.
///
/// # Errors
///
/// [`StoreError::Invalid`] when a file cannot be read, or a line of it is no entry.
pub(super) fn visit(folder: &Path, mut visit: impl FnMut(SealedEntry) -> bool) -> Result<()> {
    for file in files(folder)? {
        let wrong = |what: String| StoreError::Invalid(format!("the archive {}: {what}", file.display()));
        let bytes = File::open(&file).map_err(|error| wrong(error.to_string()))?;
        let text = zstd::stream::read::Decoder::new(bytes).map_err(|error| wrong(error.to_string()))?;
        for (number, line) in (1..).zip(BufReader::new(text).lines()) {
            let line = line.map_err(|error| wrong(format!("line {number}: {error}")))?;
            let entry = serde_json::from_str(&line).map_err(|error| wrong(format!("line {number}: {error}")))?;
            if !visit(entry) {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// The tenants that have entries in an archive.
///
/// # Errors
///
/// [`StoreError::Invalid`] when it cannot be read.
pub fn archived_tenants(folder: &Path) -> Result<BTreeSet<String>> {
    let mut tenants = BTreeSet::new();
    visit(folder, |found| {
        tenants.insert(found.entry.tenant);
        true
    })?;
    Ok(tenants)
}

/// The files of the audit in a folder, by name: within a day in the order in which they were written.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let wrong = |error: std::io::Error| StoreError::Invalid(format!("the archive {}: {error}", folder.display()));
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(wrong)? {
        let path = entry.map_err(wrong)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with(&format!("{NOUN}-")) && name.ends_with(".jsonl.zst") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
