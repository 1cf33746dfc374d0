//! `gristmill token`: create, list and revoke API tokens.

use std::time::Duration;

use clap::{Args, Subcommand};
use gristmill_core::access::Permission;
use gristmill_core::duration;
use gristmill_core::email_address::EmailAddress;
use gristmill_core::id::TokenId;
use gristmill_service::accounts::TokenRequest;
use gristmill_service::documents::{CreatedTokenDocument, ReportDocument};
use gristmill_store::ControlReport;

use super::account::accounts;
use super::list::{Paging, id};
use crate::cli::context::CommandContext;
use crate::cli::output::Format;
use crate::exit_code::{CommandError, Exit, Result};

/// Create, list and revoke API tokens
#[derive(Debug, Args)]
pub(crate) struct Token {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Create a token of a user, for --tenant, and show its secret this once
    Create(Create),
    /// Tokens of --tenant that are not revoked, newest first
    #[command(before_help = "Examples:
  gristmill token list
  gristmill token list --user ada@example.com --json")]
    List {
        /// Those of this user alone
        #[arg(long, value_name = "EMAIL")]
        user: Option<EmailAddress>,
        #[command(flatten)]
        paging: Paging,
    },
    /// Revoke a token: servers refuse it within seconds
    Revoke {
        /// Its id
        id: String,
    },
}

/// Create a token of a user, for --tenant, and show its secret this once
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  gristmill token create nightly --user ada@example.com --scope jobs:enqueue --scope jobs:read --expires 90d
  gristmill token create ci --user ada@example.com --plain > token.txt

The secret is on standard output, and nowhere else: it is not kept.")]
struct Create {
    /// What it is called
    name: String,
    /// Whose it is: it may never do more than its user
    #[arg(long, value_name = "EMAIL")]
    user: EmailAddress,
    /// What it is limited to, such as jobs:read; may be repeated. All that its user may do unless said
    #[arg(long = "scope", value_name = "PERMISSION")]
    scopes: Vec<Permission>,
    /// For how long it lasts, such as 90d; until it is revoked unless said
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    expires: Option<Duration>,
}

impl Token {
    pub(super) async fn run(self, context: &CommandContext) -> Result<Exit> {
        match self.verb {
            Verb::Create(create) => create.run(context).await,
            Verb::List { user, paging } => list(context, user.as_ref(), &paging).await,
            Verb::Revoke { id: text } => revoke(context, id("token", &text)?).await,
        }
    }
}

impl Create {
    async fn run(self, context: &CommandContext) -> Result<Exit> {
        let accounts = accounts(context).await?;
        let user = accounts.user(&self.user).await?;
        let scopes = (!self.scopes.is_empty()).then_some(self.scopes);
        let request = TokenRequest { name: self.name, scopes, lifetime: self.expires };
        let created = accounts.create_token(&context.order(false), user.id, &request).await?;
        let document = CreatedTokenDocument::from(created);
        match context.output.format {
            Format::Json => context.output.document(&document),
            Format::Plain => context.output.line(&document.secret),
            Format::Table => {
                context.output.line(&document.secret);
                context.output.note(&format!("created {}; the secret is not shown again", document.token.id));
            }
        }
        Ok(Exit::Success)
    }
}

async fn list(context: &CommandContext, user: Option<&EmailAddress>, paging: &Paging) -> Result<Exit> {
    let store = context.store().await?;
    let user = match user {
        None => None,
        Some(email) => Some(accounts(context).await?.user(email).await?.id),
    };
    let tokens = store.tokens(&context.tenant, user, &paging.page()).await?;
    let columns = ["ID", "NAME", "SECRET", "USER", "SCOPES", "EXPIRES", "LAST USED"];
    context.output.list(&tokens, &columns, |token, output| {
        let scopes = token.scopes.as_ref().map_or("all".to_owned(), |scopes| {
            scopes.iter().map(|scope| scope.as_str()).collect::<Vec<_>>().join(", ")
        });
        vec![
            token.id.to_string(),
            token.name.clone(),
            format!("{}…", token.prefix),
            token.email.clone(),
            scopes,
            output.time_or_dash(token.expires_at),
            output.time_or_dash(token.last_used_at),
        ]
    });
    paging.next(context, tokens.len(), tokens.last().map(|token| token.id.to_string()));
    Ok(Exit::Success)
}

async fn revoke(context: &CommandContext, token: TokenId) -> Result<Exit> {
    let revoked = accounts(context).await?.revoke_token(&context.order(false), token, None).await?;
    if !revoked {
        let what = format!("`{}` has no token {token} that is not revoked", context.tenant);
        return Err(CommandError::not_found(what).hint("see `gristmill token list` for the ids"));
    }
    let report = ControlReport { affected: 1, samples: vec![token.to_string()], ..ControlReport::default() };
    match context.output.format {
        Format::Json => context.output.document(&ReportDocument::new(false, &report)),
        Format::Plain | Format::Table => context.output.line("revoked: 1"),
    }
    Ok(Exit::Success)
}
