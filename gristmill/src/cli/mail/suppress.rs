//! The addresses to which nothing is sent: list, check, add, remove, import, export.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use gristmill_core::duration;
use gristmill_core::letter::{SuppressionReason, stream_fault};
use gristmill_mail::compose::{address_hash, canonical};
use gristmill_store::{ControlReport, Page, SUPPRESSIONS_MAX, Suppression, SuppressionView};

use crate::cli::context::CommandContext;
use crate::cli::list::{DryRun, Paging, report};
use crate::cli::output::{Format, visible};
use crate::exit_code::{CommandError, Exit, Result};

/// How many entries are read at a time.
const PAGE_ROWS: u32 = 1_000;

/// How many wrong lines are named.
const WRONG_SHOWN_MAX: usize = 10;

/// The longest line of a list.
const LINE_BYTES_MAX: u64 = 1_000;

/// The addresses to which nothing is sent
#[derive(Debug, Subcommand)]
pub(super) enum Suppress {
    /// The entries that stand now: addresses are kept as hashes alone
    #[command(before_help = "Examples:
  gristmill mail suppress list
  gristmill mail suppress list --json | jq -r '.[].reason' | sort | uniq -c")]
    List {
        #[command(flatten)]
        paging: Paging,
    },
    /// Whether something is sent to an address; exit code 3 when nothing stands against it
    Check {
        /// The address
        address: String,
    },
    /// Put addresses on the list
    #[command(before_help = "Examples:
  gristmill mail suppress add ada@example.org --note 'asked by phone'
  gristmill mail suppress add ada@example.org --stream news --for 90d")]
    Add {
        /// The addresses
        #[arg(required = true)]
        addresses: Vec<String>,
        #[command(flatten)]
        entry: Entry,
        #[command(flatten)]
        dry: DryRun,
    },
    /// Take an address off the list
    Remove {
        /// The address, or its hash as `list` shows it
        address: String,
        /// The entry for this stream; the one for all streams unless said
        #[arg(long, default_value = "", hide_default_value = true)]
        stream: String,
        #[command(flatten)]
        dry: DryRun,
    },
    /// Put a file of addresses on the list: one address, or one hash, a line
    #[command(before_help = "Examples:
  gristmill mail suppress import bounced.txt --reason bounce --for 180d
  cut -d, -f1 export.csv | gristmill mail suppress import - --stream news --reason unsubscribe

Everything is read before anything is put on the list: a line that is neither is named, and nothing is done.")]
    Import {
        /// The file, or - for standard input
        file: PathBuf,
        #[command(flatten)]
        entry: Entry,
        #[command(flatten)]
        dry: DryRun,
    },
    /// Every entry that stands now, one hash a line; as JSON lines with --json
    Export,
}

/// What an entry says.
#[derive(Debug, Args)]
pub(super) struct Entry {
    /// The stream that the address is off; all unless said
    #[arg(long, default_value = "", hide_default_value = true)]
    stream: String,
    /// Why: bounce, complaint, manual, unsubscribe
    #[arg(long, default_value = "manual")]
    reason: SuppressionReason,
    /// What is said about it
    #[arg(long)]
    note: Option<String>,
    /// For how long, such as 90d; for ever unless said
    #[arg(long = "for", value_name = "DURATION", value_parser = duration::parse)]
    keep: Option<Duration>,
}

impl Suppress {
    pub(super) async fn run(self, context: &CommandContext) -> Result<Exit> {
        match self {
            Self::List { paging } => {
                let found = context.backend().await?.suppressions(None, &paging.page()).await?;
                rows(context, &found);
                paging.next(context, found.len(), found.last().map(key));
                Ok(Exit::Success)
            }
            Self::Check { address } => check(context, &address).await,
            Self::Add { addresses, entry, dry } => {
                let hashes = addresses.iter().map(|address| hashed(address)).collect::<Result<Vec<_>>>()?;
                put(context, hashes, &entry, &dry).await
            }
            Self::Remove { address, stream, dry } => remove(context, &address, &stream, &dry).await,
            Self::Import { file, entry, dry } => {
                let hashes = if file.as_os_str() == "-" {
                    read(std::io::stdin().lock())?
                } else {
                    let opened = std::fs::File::open(&file);
                    read(opened.map_err(|error| CommandError::usage(format!("{}: {error}", file.display())))?)?
                };
                put(context, hashes, &entry, &dry).await
            }
            Self::Export => export(context).await,
        }
    }
}

fn key(entry: &SuppressionView) -> String {
    format!("{}/{}", entry.address_sha256, entry.stream)
}

fn rows(context: &CommandContext, found: &[SuppressionView]) {
    context.output.list(found, &["SHA256", "STREAM", "REASON", "SINCE", "UNTIL", "NOTE"], |entry, output| {
        vec![
            entry.address_sha256.clone(),
            if entry.stream.is_empty() { "all".to_owned() } else { entry.stream.clone() },
            entry.reason.to_string(),
            output.time(entry.created_at),
            output.time_or_dash(entry.until),
            entry.note.as_deref().map_or_else(|| "-".to_owned(), |note| visible(note).into_owned()),
        ]
    });
}

/// An address, or the hash of one.
fn hash_of(text: &str) -> Option<[u8; 32]> {
    let text = text.trim();
    match hex::decode(text).ok().and_then(|bytes| bytes.try_into().ok()) {
        Some(hash) => Some(hash),
        None => canonical(text).map(|_| address_hash(text)),
    }
}

fn hashed(text: &str) -> Result<[u8; 32]> {
    hash_of(text).ok_or_else(|| {
        CommandError::usage(format!("`{}` is no address", visible(text))).hint("write `name@example.com`")
    })
}

async fn check(context: &CommandContext, address: &str) -> Result<Exit> {
    let hash = hashed(address)?;
    let found = context.backend().await?.suppressions(Some(hash), &Page { after: None, limit: PAGE_ROWS }).await?;
    rows(context, &found);
    if found.is_empty() {
        context.output.note("nothing stands against this address");
        return Ok(Exit::NotFound);
    }
    Ok(Exit::Success)
}

async fn put(context: &CommandContext, hashes: Vec<[u8; 32]>, entry: &Entry, dry: &DryRun) -> Result<Exit> {
    if let Some(wrong) = Some(entry.stream.as_str()).filter(|stream| !stream.is_empty()).and_then(stream_fault) {
        return Err(CommandError::usage(format!("--stream: {wrong}")));
    }
    let of = |address_hash: [u8; 32]| Suppression {
        tenant: context.tenant.clone(),
        address_hash,
        stream: entry.stream.clone(),
        reason: entry.reason,
        note: entry.note.clone(),
        keep: entry.keep,
    };
    let backend = context.backend().await?;
    let mut total = ControlReport::default();
    for group in hashes.chunks(SUPPRESSIONS_MAX) {
        let entries: Vec<Suppression> = group.iter().copied().map(of).collect();
        total.affected += backend.suppress(&context.order(dry.dry_run), &entries).await?.affected;
    }
    let stronger = hashes.len() as u64 - total.affected.min(hashes.len() as u64);
    report(context, dry.dry_run, "put on the list", "would be put on the list", &total);
    if stronger > 0 {
        context.output.note(&format!("{stronger} stand there for a stronger reason already, and stay so"));
    }
    Ok(Exit::Success)
}

async fn remove(context: &CommandContext, address: &str, stream: &str, dry: &DryRun) -> Result<Exit> {
    let hash = hashed(address)?;
    let done = context.backend().await?.unsuppress(&context.order(dry.dry_run), &hash, stream).await?;
    if done.affected == 0 {
        let of = if stream.is_empty() { "all streams".to_owned() } else { format!("the stream `{stream}`") };
        return Err(CommandError::not_found(format!("the address is not on the list for {of}"))
            .hint(format!("see `{} mail suppress check ADDRESS`", context.program())));
    }
    report(context, dry.dry_run, "taken off the list", "would be taken off the list", &done);
    Ok(Exit::Success)
}

/// Reads a list whole.
///
/// # Errors
///
/// When a line is neither an address nor a hash: the first of them are named.
fn read(input: impl Read) -> Result<Vec<[u8; 32]>> {
    let (mut hashes, mut wrong) = (Vec::new(), Vec::new());
    let mut lines = BufReader::new(input);
    for number in 1_u64.. {
        let mut line = Vec::new();
        let count = lines.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line);
        if count.map_err(|error| CommandError::usage(format!("the list cannot be read: {error}")))? == 0 {
            break;
        }
        let text = String::from_utf8_lossy(&line);
        match text.trim().trim_start_matches('\u{feff}') {
            "" => {}
            text => match hash_of(text) {
                Some(hash) => hashes.push(hash),
                None => wrong.push(number),
            },
        }
    }
    if wrong.is_empty() {
        return Ok(hashes);
    }
    let first: Vec<String> = wrong.iter().take(WRONG_SHOWN_MAX).map(u64::to_string).collect();
    let more =
        if wrong.len() > first.len() { format!(" and {} more", wrong.len() - first.len()) } else { String::new() };
    let message =
        format!("neither an address nor a hash: line {}{more}; nothing was put on the list", first.join(", "));
    Err(CommandError::usage(message).hint("one address or one hash of 64 hexadecimal digits a line"))
}

async fn export(context: &CommandContext) -> Result<Exit> {
    let backend = context.backend().await?;
    let mut page = Page { after: None, limit: PAGE_ROWS };
    loop {
        let found = backend.suppressions(None, &page).await?;
        for entry in &found {
            match context.output.format {
                Format::Json => {
                    context.output.line(&serde_json::to_string(entry).map_err(crate::cli::context::internal)?)
                }
                Format::Plain | Format::Table => context.output.line(&entry.address_sha256),
            }
        }
        match found.last() {
            Some(last) if found.len() == PAGE_ROWS as usize => page.after = Some(key(last)),
            Some(_) | None => return Ok(Exit::Success),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_whole_and_what_is_wrong_is_named_by_its_line() {
        let hash = hex::encode(address_hash("ada@example.org"));
        let list = format!("\u{feff}Ada@Example.org\r\n\n{hash}\nbob@example.org");
        let hashes = read(list.as_bytes()).expect("read");
        assert_eq!(hashes.len(), 3);
        assert_eq!(hashes[0], hashes[1]);
        let error = read("ada@example.org\nno address\n\nnone\n".as_bytes()).expect_err("refused").to_string();
        assert!(error.contains("line 2, 4"), "{error}");
    }
}
