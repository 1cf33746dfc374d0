//! `gristmill tenant`: create tenants, list, suspend and resume them.

use clap::{Args, Subcommand};
use gristmill_core::email_address::EmailAddress;
use gristmill_service::documents::TenantDocument;
use gristmill_store::accounts::Quotas;

use super::account::accounts;
use super::list::Paging;
use crate::cli::context::CommandContext;
use crate::exit_code::{Exit, Result};

/// Create tenants, list, suspend and resume them
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
