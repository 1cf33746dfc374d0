//! `gristmill tenant`: create tenants, list, suspend and resume them, give them quotas.

use std::str::FromStr;

use clap::{Args, Subcommand};
use gristmill_core::email_address::EmailAddress;
use gristmill_service::documents::{TenantDocument, TenantInUseDocument};
use gristmill_store::accounts::Quotas;

use super::account::accounts;
use super::list::Paging;
use crate::cli::context::CommandContext;
use crate::cli::output::grouped;
use crate::exit_code::{Exit, Result};

/// Create tenants, list, suspend and resume them, give them quotas
#[derive(Debug, Args)]
pub(crate) struct Tenant {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Create a tenant
    #[command(before_help = "Examples:
  gristmill tenant create north --owner ada@example.com
  gristmill tenant create north --json")]
    Create {
        /// Its name
        name: String,
        /// Its first owner, who has an account
        #[arg(long, value_name = "EMAIL")]
        owner: Option<EmailAddress>,
    },
    /// Every tenant
    List {
        #[command(flatten)]
        paging: Paging,
    },
    /// A tenant, with its quotas and what it uses of them
    #[command(before_help = "Examples:
  gristmill tenant show north
  gristmill tenant show north --json | jq .usage")]
    Show {
        /// Its name
        name: String,
    },
    /// Say what a tenant may have at most; what is not named stays as it is
    Quota(Quota),
    /// Refuse the members and the tokens of a tenant; its work goes on
    #[command(before_help = "Examples:
  gristmill tenant suspend north --reason 'contract ended'")]
    Suspend {
        /// Its name
        name: String,
        /// Why: the members who look later are shown it
        #[arg(long)]
        reason: Option<String>,
    },
    /// Let a tenant be used again
    Resume {
        /// Its name
        name: String,
    },
}

/// Say what a tenant may have at most; what is not named stays as it is
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  gristmill tenant quota north --jobs-waiting 100000 --batches-active 20
  gristmill tenant quota north --requests-per-minute none

What it has already stays, even where that is more.")]
struct Quota {
    /// Its name
    name: String,
    /// Jobs that have not ended, or none for no limit
    #[arg(long, value_name = "N")]
    jobs_waiting: Option<Most<u64>>,
    /// Batches that have not ended, or none for no limit
    #[arg(long, value_name = "N")]
    batches_active: Option<Most<u64>>,
    /// Requests to the API in a minute, to each server process, or none for no limit
    #[arg(long, value_name = "N")]
    requests_per_minute: Option<Most<u32>>,
    /// Bytes of copies of inputs and of uploads, or none for no limit
    #[arg(long, value_name = "BYTES")]
    storage_bytes: Option<Most<u64>>,
}

/// A number, or `none`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Most<T>(Option<T>);

impl<T: FromStr> FromStr for Most<T> {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "none" => Ok(Self(None)),
            number => number.parse().map(|most| Self(Some(most))).map_err(|_| "write a number, or none".to_owned()),
        }
    }
}

impl Quota {
    async fn run(self, context: &CommandContext) -> Result<()> {
        let accounts = accounts(context).await?;
        let seen = accounts.tenant_in_use(&self.name).await?.tenant.quotas;
        let mut quotas = seen.clone();
        if let Some(Most(most)) = self.jobs_waiting {
            quotas.jobs_waiting = most;
        }
        if let Some(Most(most)) = self.batches_active {
            quotas.batches_active = most;
        }
        if let Some(Most(most)) = self.requests_per_minute {
            quotas.requests_per_minute = most;
        }
        if let Some(Most(most)) = self.storage_bytes {
            quotas.storage_bytes = most;
        }
        accounts.set_quotas(&context.order(false), &self.name, quotas, Some(seen)).await?;
        show_in_use(context, &self.name).await
    }
}

async fn show_in_use(context: &CommandContext, name: &str) -> Result<()> {
    let TenantInUseDocument { tenant, usage } = accounts(context).await?.tenant_in_use(name).await?;
    let of = |used: u64, most: Option<u64>| match most {
        Some(most) => format!("{} of {}", grouped(used), grouped(most)),
        None => format!("{}, not limited", grouped(used)),
    };
    let Quotas { jobs_waiting, batches_active, requests_per_minute, storage_bytes } = tenant.quotas;
    let requests = requests_per_minute.map_or("not limited".to_owned(), |most| grouped(u64::from(most)));
    let fields = [
        ("tenant", tenant.name.clone()),
        ("state", tenant.state.to_string()),
        ("reason", tenant.reason.clone().unwrap_or_else(|| "-".to_owned())),
        ("members", tenant.members.to_string()),
        ("created", context.output.time(tenant.created_at)),
        ("jobs waiting", of(usage.jobs_waiting, jobs_waiting)),
        ("batches active", of(usage.batches_active, batches_active)),
        ("requests a minute", requests),
        ("bytes of inputs", of(usage.storage_bytes, storage_bytes)),
    ];
    context.output.fields(&TenantInUseDocument { tenant, usage }, &fields);
    Ok(())
}

impl Tenant {
    pub(super) async fn run(self, context: &CommandContext) -> Result<Exit> {
        match self.verb {
            Verb::Create { name, owner } => {
                let accounts = accounts(context).await?;
                let owner = match owner {
                    None => None,
                    Some(email) => Some(accounts.user(&email).await?.id),
                };
                let order = context.order(false);
                show(context, &accounts.create_tenant(&order, &name, Quotas::default(), owner).await?);
            }
            Verb::List { paging } => list(context, &paging).await?,
            Verb::Show { name } => show_in_use(context, &name).await?,
            Verb::Quota(quota) => quota.run(context).await?,
            Verb::Suspend { name, reason } => {
                let order = gristmill_service::Order { reason, ..context.order(false) };
                show(context, &accounts(context).await?.suspend_tenant(&order, &name).await?);
            }
            Verb::Resume { name } => {
                show(context, &accounts(context).await?.resume_tenant(&context.order(false), &name).await?);
            }
        }
        Ok(Exit::Success)
    }
}

async fn list(context: &CommandContext, paging: &Paging) -> Result<()> {
    let tenants = context.store().await?.tenant_list(&paging.page()).await?;
    let columns = ["TENANT", "STATE", "MEMBERS", "CREATED", "REASON"];
    context.output.list(&tenants, &columns, |tenant, output| {
        vec![
            tenant.name.clone(),
            tenant.state.to_string(),
            tenant.members.to_string(),
            output.time(tenant.created_at),
            tenant.reason.clone().unwrap_or_else(|| "-".to_owned()),
        ]
    });
    paging.next(context, tenants.len(), tenants.last().map(|tenant| tenant.name.clone()));
    Ok(())
}

fn show(context: &CommandContext, tenant: &TenantDocument) {
    let output = &context.output;
    let fields = [
        ("tenant", tenant.name.clone()),
        ("state", tenant.state.to_string()),
        ("reason", tenant.reason.clone().unwrap_or_else(|| "-".to_owned())),
        ("members", tenant.members.to_string()),
        ("created", output.time(tenant.created_at)),
    ];
    output.fields(tenant, &fields);
}
