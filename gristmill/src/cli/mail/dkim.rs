//! Keys that sign messages: make one, its DNS record, and whether the signatures of a message hold.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use gristmill_mail::dkim::{Key, verify};
use gristmill_service::key_file;
use serde::Serialize;

use crate::cli::context::CommandContext;
use crate::cli::output::{Format, visible};
use crate::exit_code::{CommandError, Exit, Result};

/// The longest message that is verified: 50 MiB.
const MESSAGE_BYTES_MAX: u64 = 50 * 1024 * 1024;

/// Keys that sign messages, and their DNS records
#[derive(Debug, Subcommand)]
pub(super) enum Dkim {
    /// Make an Ed25519 key, in a file that no other user can read
    #[command(before_help = "Examples:
  gristmill mail dkim keygen dkim-ed25519.pem
  openssl genrsa -traditional 2048 > dkim-rsa.pem

A domain needs an RSA key, too: many receivers know no other. A file that is there is never overwritten.")]
    Keygen {
        /// The file
        file: PathBuf,
    },
    /// The DNS records of the keys that `[mail] dkim` names, or of a file
    Record {
        /// The file of a private key
        file: Option<PathBuf>,
    },
    /// Whether the signatures of a message hold, by the keys that `[mail] dkim` names or by records that are given
    #[command(before_help = "Examples:
  gristmill mail raw 0198f9c1-… | gristmill mail dkim verify -
  gristmill mail dkim verify message.eml --record 2026a._domainkey.example.com='v=DKIM1; k=ed25519; p=…'

Asks no name server. Exit code 9 when one does not hold, or there is none.")]
    Verify {
        /// The message, or - for standard input
        file: PathBuf,
        /// A record, `NAME=TEXT`; may be repeated
        #[arg(long = "record", value_name = "NAME=TEXT")]
        records: Vec<String>,
    },
}

/// A record, as it is to be put into the DNS.
#[derive(Debug, Serialize)]
struct Record {
    name: String,
    record: String,
}

/// A signature of a message.
#[derive(Debug, Serialize)]
struct Signature {
    domain: String,
    selector: String,
    algorithm: String,
    holds: bool,
    why: Option<String>,
}

impl Dkim {
    pub(super) fn run(self, context: &CommandContext) -> Result<Exit> {
        match self {
            Self::Keygen { file } => keygen(context, &file),
            Self::Record { file } => records(context, file.as_deref()),
            Self::Verify { file, records } => check(context, &file, &records),
        }
    }
}

fn keygen(context: &CommandContext, file: &Path) -> Result<Exit> {
    let pem = Key::generate_ed25519().map_err(|why| CommandError::new(Exit::Internal, why))?;
    let written = key_file::put(file, pem.as_bytes());
    written.map_err(|error| CommandError::new(Exit::Failed, format!("{}: {error}", file.display())))?;
    records(context, Some(file))
}

fn key(file: &Path) -> Result<Key> {
    let wrong = |why: String| CommandError::new(Exit::Problems, format!("{}: {why}", file.display()));
    let pem = std::fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
    Key::from_pem(&pem).map_err(wrong)
}

fn configured(context: &CommandContext) -> Result<Vec<Record>> {
    let of = |settings: &gristmill_jobs::settings::DkimSettings| {
        let name = format!("{}._domainkey.{}", settings.selector, settings.domain);
        Ok(Record { name, record: key(Path::new(&settings.key_file))?.record() })
    };
    context.loaded.config.mail.dkim.iter().map(of).collect()
}

fn records(context: &CommandContext, file: Option<&Path>) -> Result<Exit> {
    let records = match file {
        Some(file) => vec![Record { name: "SELECTOR._domainkey.DOMAIN".to_owned(), record: key(file)?.record() }],
        None => configured(context)?,
    };
    if records.is_empty() {
        let none = CommandError::not_found("`[mail] dkim` names no key");
        return Err(none.hint(format!("name a file, or make one: {} mail dkim keygen FILE", context.program())));
    }
    context.output.list(&records, &["NAME", "TXT"], |one, _| vec![one.name.clone(), one.record.clone()]);
    Ok(Exit::Success)
}

fn check(context: &CommandContext, file: &Path, given: &[String]) -> Result<Exit> {
    let mut known: BTreeMap<String, String> =
        configured(context)?.into_iter().map(|one| (one.name.to_ascii_lowercase(), one.record)).collect();
    for record in given {
        let (name, text) = record
            .split_once('=')
            .ok_or_else(|| CommandError::usage(format!("--record `{}` is not NAME=TEXT", visible(record))))?;
        known.insert(name.trim_end_matches('.').to_ascii_lowercase(), text.to_owned());
    }
    let signatures = verify(&message(file)?, |name| known.get(&name.to_ascii_lowercase()).cloned());
    let signatures: Vec<Signature> = signatures
        .into_iter()
        .map(|one| Signature {
            domain: one.domain,
            selector: one.selector,
            algorithm: one.algorithm,
            holds: one.holds.is_ok(),
            why: one.holds.err(),
        })
        .collect();
    if signatures.is_empty() && context.output.format != Format::Json {
        return Err(CommandError::new(Exit::Problems, "the message carries no signature"));
    }
    context.output.list(&signatures, &["DOMAIN", "SELECTOR", "ALGORITHM", "HOLDS"], |one, _| {
        let holds = one.why.as_deref().map_or_else(|| "yes".to_owned(), |why| format!("no: {}", visible(why)));
        vec![one.domain.clone(), one.selector.clone(), one.algorithm.clone(), holds]
    });
    let good = !signatures.is_empty() && signatures.iter().all(|one| one.holds);
    Ok(if good { Exit::Success } else { Exit::Problems })
}

fn message(file: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = if file.as_os_str() == "-" {
        std::io::stdin().lock().take(MESSAGE_BYTES_MAX).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(file).and_then(|opened| opened.take(MESSAGE_BYTES_MAX).read_to_end(&mut bytes))
    };
    read.map_err(|error| CommandError::usage(format!("{}: {error}", file.display())))?;
    // A message has CR LF line ends on the wire, and seldom in a file.
    if !bytes.windows(2).any(|pair| pair == b"\r\n") {
        let text: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
        return Ok(text.join(&b"\r\n"[..]));
    }
    Ok(bytes)
}
