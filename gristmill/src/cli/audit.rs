//! `gristmill audit`: look at what was ordered, verify it, export it.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use gristmill_core::Instant;
use gristmill_core::id::INSTALLATION_TENANT;
use gristmill_service::audit::{VerifyOptions, archived_tenants, heads_of};
use gristmill_service::documents::AuditVerifiedDocument;
use gristmill_store::{AuditFilter, StoreHandle};

use crate::cli::backend::Backend;
use crate::cli::context::{CommandContext, internal};
use crate::cli::output::{Format, grouped, visible, wrote};
use crate::exit_code::{CommandError, Exit, Result};

/// See who changed what and why, and verify that it was not altered
#[derive(Debug, Args)]
pub(crate) struct Audit {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// What was ordered, newest first
    #[command(before_help = "Examples:
  gristmill audit list
  gristmill audit list --action queue.pause --since 2030-01-31T00:00:00Z
  gristmill audit list --actor ada@laptop --json | jq '.[].target'")]
    List(List),
    /// One entry, with what it did
    #[command(before_help = "Examples:
  gristmill audit show 17
  gristmill audit show 17 --json")]
    Show {
        /// Its number
        seq: u64,
        #[command(flatten)]
        chain: Chain,
    },
    /// Follow the chain of the tenant and say what does not fit: then the exit code is 9
    #[command(before_help = "Examples:
  gristmill audit verify
  gristmill audit verify --all --archive /var/lib/gristmill/archive
  gristmill audit verify --heads /mnt/other/heads --key 5f8a…")]
    Verify(Verify),
    /// Print all entries as JSON lines, oldest first, with their hashes
    #[command(before_help = "Examples:
  gristmill audit export > audit.jsonl
  gristmill audit export --behind 1000")]
    Export {
        /// Begin behind this number
        #[arg(long, value_name = "SEQ", default_value_t = 0)]
        behind: u64,
        #[command(flatten)]
        chain: Chain,
    },
}

/// Whose chain.
#[derive(Debug, Args)]
struct Chain {
    /// The chain of the installation itself: users without a tenant, refused logins of networks
    #[arg(long)]
    installation: bool,
}

impl Chain {
    fn tenant(&self, context: &CommandContext) -> String {
        if self.installation { INSTALLATION_TENANT.to_owned() } else { context.tenant.clone() }
    }
}

#[derive(Debug, Args)]
struct List {
    /// Only by this actor
    #[arg(long, value_name = "NAME")]
    actor: Option<String>,
    /// Only with this action, such as queue.pause
    #[arg(long, value_name = "ACTION")]
    action: Option<String>,
    /// Only about this: a name or an id
    #[arg(long, value_name = "WHAT")]
    target: Option<String>,
    /// Not before this instant
    #[arg(long, value_name = "INSTANT", value_parser = instant)]
    since: Option<Instant>,
    /// Before this instant
    #[arg(long, value_name = "INSTANT", value_parser = instant)]
    until: Option<Instant>,
    /// Begin after this number: the last one of the page before
    #[arg(long, value_name = "SEQ")]
    after: Option<u64>,
    /// How many rows, 1 to 1000
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    #[command(flatten)]
    chain: Chain,
}

#[derive(Debug, Args)]
struct Verify {
    /// The chains of all tenants
    #[arg(long, conflicts_with = "installation")]
    all: bool,
    #[command(flatten)]
    chain: Chain,
    /// The folder with what was removed after its time: then each chain is followed from its first entry
    #[arg(long, value_name = "DIR")]
    archive: Option<PathBuf>,
    /// A file with signed heads that was kept outside the database; audit.heads_file if not given
    #[arg(long, value_name = "FILE")]
    heads: Option<PathBuf>,
    /// A public key whose signatures are trusted, besides audit.trusted_keys; may be repeated
    #[arg(long = "key", value_name = "HEX")]
    keys: Vec<String>,
}

fn instant(text: &str) -> std::result::Result<Instant, String> {
    let read = chrono::DateTime::parse_from_rfc3339(text);
    read.map(Into::into).map_err(|_| "write an instant such as 2030-01-31T02:00:00Z".to_owned())
}

impl Audit {
    pub(super) async fn run(self, context: &CommandContext) -> Result<Exit> {
        match self.verb {
            Verb::List(list) => list.run(context).await,
            Verb::Show { seq, chain } => show(context, &chain.tenant(context), seq).await,
            Verb::Verify(verify) => verify.run(context).await,
            Verb::Export { behind, chain } => export(context, &chain.tenant(context), behind).await,
        }
    }
}

impl List {
    async fn run(self, context: &CommandContext) -> Result<Exit> {
        let filter = AuditFilter {
            tenant: self.chain.tenant(context),
            actor: self.actor,
            action: self.action,
            target: self.target,
            since: self.since,
            until: self.until,
            before: self.after,
            limit: self.limit,
        };
        let rows = context.backend().await?.audit(&filter).await?;
        context.output.list(&rows, &["SEQ", "AT", "ACTOR", "ACTION", "TARGET", "REASON"], |row, output| {
            let reason = row.reason.clone().unwrap_or_default();
            vec![
                row.seq.to_string(),
                output.time(row.at),
                row.actor.clone(),
                row.action.clone(),
                row.target.clone(),
                reason,
            ]
        });
        let full = u32::try_from(rows.len()).is_ok_and(|shown| shown >= self.limit);
        if let Some(last) = rows.last().filter(|_| full) {
            context.output.note(&format!("more: {}", context.again(&["--after", &last.seq.to_string()])));
        }
        Ok(Exit::Success)
    }
}

async fn show(context: &CommandContext, tenant: &str, seq: u64) -> Result<Exit> {
    let found = context.backend().await?.audit_entry(tenant, seq).await?;
    let document = found.ok_or_else(|| {
        CommandError::not_found(format!("the audit has no entry {seq}"))
            .hint("see `gristmill audit list` for the numbers; old entries are in the archive of [retention]")
    })?;
    let dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let fields = [
        ("seq", document.seq.to_string()),
        ("at", context.output.time(document.at)),
        ("actor", format!("{} ({})", document.actor, document.actor_kind)),
        ("role", dash(&document.role)),
        ("address", dash(&document.address)),
        ("request", dash(&document.request)),
        ("action", document.action.clone()),
        ("target", document.target.clone()),
        ("reason", dash(&document.reason)),
        ("details", document.details.to_string()),
        ("order", document.order.to_string()),
        ("hash", document.hash.to_string()),
    ];
    let fields = fields.map(|(name, text)| (name, visible(&text).into_owned()));
    context.output.fields(&document, &fields);
    Ok(Exit::Success)
}

impl Verify {
    async fn run(self, context: &CommandContext) -> Result<Exit> {
        let backend = context.backend().await?;
        let tenant = self.chain.tenant(context);
        let document = match &backend {
            Backend::Store(local) => {
                let options = self.options(context)?;
                let tenants = match self.all {
                    true => tenants(local.store(), &options).await?,
                    false => BTreeSet::from([tenant]),
                };
                let mut chains = Vec::with_capacity(tenants.len());
                for tenant in tenants {
                    chains.push(backend.verify_audit(&tenant, &options).await?);
                }
                AuditVerifiedDocument::new(chains)
            }
            Backend::Server(_) => {
                AuditVerifiedDocument::new(vec![backend.verify_audit(&tenant, &self.brought()?).await?])
            }
        };
        print(context, &document);
        Ok(if document.ok { Exit::Success } else { Exit::Problems })
    }

    fn options(&self, context: &CommandContext) -> Result<VerifyOptions> {
        let mut options = VerifyOptions::of(&context.loaded.config.audit)?;
        options.trusted_keys.extend(self.keys.iter().cloned());
        options.archive.clone_from(&self.archive);
        if let Some(file) = &self.heads {
            options.heads = heads_of(file)?;
        }
        Ok(options)
    }

    /// What a server is asked to compare the chain with besides what it has itself.
    fn brought(&self) -> Result<VerifyOptions> {
        let flag = if self.all { Some("--all") } else { self.archive.as_ref().map(|_| "--archive") };
        if let Some(flag) = flag {
            return Err(CommandError::usage(format!(
                "{flag}: a server follows the chain of one tenant as its store has it"
            ))
            .hint("say it on the database itself, or leave it out"));
        }
        let heads = self.heads.as_deref().map(heads_of).transpose()?.unwrap_or_default();
        Ok(VerifyOptions { archive: None, trusted_keys: self.keys.iter().cloned().collect(), heads })
    }
}

/// All tenants that have a chain, or had one: in the store, among the heads, in the archive.
async fn tenants(store: &StoreHandle, options: &VerifyOptions) -> Result<BTreeSet<String>> {
    let mut tenants: BTreeSet<String> = options.heads.iter().map(|head| head.tenant.clone()).collect();
    tenants.extend(store.audit_heads(None).await?.into_iter().map(|head| head.tenant));
    if let Some(folder) = options.archive.clone() {
        let archived = tokio::task::spawn_blocking(move || archived_tenants(&folder)).await;
        tenants.extend(archived.map_err(internal)??);
    }
    Ok(tenants)
}

fn print(context: &CommandContext, document: &AuditVerifiedDocument) {
    if context.output.format == Format::Json {
        context.output.document(document);
        return;
    }
    let columns = ["TENANT", "ENTRIES", "ARCHIVED", "SIGNED", "LAST", "RESULT"];
    context.output.list(&document.chains, &columns, |chain, _| {
        let result = match &chain.broken {
            Some(broken) => format!("{}: {}", broken.fault, broken.about),
            None => "whole".to_owned(),
        };
        vec![
            chain.tenant.clone(),
            grouped(chain.entries),
            grouped(chain.archived),
            grouped(chain.signed),
            chain.last.to_string(),
            result,
        ]
    });
}

async fn export(context: &CommandContext, tenant: &str, behind: u64) -> Result<Exit> {
    let write = |piece: &[u8]| {
        wrote(std::io::stdout().lock().write_all(piece));
        Ok(())
    };
    context.backend().await?.export_audit(tenant, behind, write).await?;
    wrote(std::io::stdout().lock().flush());
    Ok(Exit::Success)
}
