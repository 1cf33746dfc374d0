//! `gristmill user`: add users, give them roles, passwords and links, disable them.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use gristmill_core::access::Role;
use gristmill_core::email_address::EmailAddress;
use gristmill_service::accounts::NewMember;
use gristmill_service::documents::{LinkDocument, ReportDocument, UserDocument};
use gristmill_store::ControlReport;
use gristmill_store::accounts::Appointer;

use super::account::{accounts, password};
use super::list::Paging;
use crate::cli::context::CommandContext;
use crate::cli::output::{Format, Output};
use crate::exit_code::{Exit, Result};

/// Add users, give them roles, passwords and links, disable them
#[derive(Debug, Args)]
pub(crate) struct User {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Add a user, as a member of --tenant
    Add(Add),
    /// Every user, with their roles
    #[command(before_help = "Examples:
  gristmill user list
  gristmill user list --json")]
    List {
        #[command(flatten)]
        paging: Paging,
    },
    /// Give a user a role in --tenant, or take it away
    #[command(before_help = "Examples:
  gristmill user role ada@example.com operator
  gristmill user role ada@example.com --remove --tenant north")]
    Role {
        /// Whose
        email: EmailAddress,
        /// owner, admin, operator, viewer or auditor
        #[arg(required_unless_present = "remove", conflicts_with = "remove")]
        role: Option<Role>,
        /// Let them be no member any more; their tokens for the tenant go with it
        #[arg(long)]
        remove: bool,
    },
    /// Let a user log in no more: sessions end at once, tokens are not recognized
    Disable {
        /// Whom
        email: EmailAddress,
    },
    /// Let a user log in again
    Enable {
        /// Whom
        email: EmailAddress,
    },
    /// Set a user's password; all of their sessions end
    #[command(before_help = "Examples:
  gristmill user passwd ada@example.com --password-file password.txt
  pass show gristmill/ada | gristmill user passwd ada@example.com --password-file -")]
    Passwd {
        /// Whose
        email: EmailAddress,
        /// The file with the password; - for standard input
        #[arg(long, value_name = "FILE")]
        password_file: PathBuf,
    },
    /// Make a link, to be used once, by which a user chooses a password; or the first owner is made
    #[command(before_help = "Examples:
  gristmill user link ada@example.com
  gristmill user link --first-owner

Whoever has the link has the account: hand it over by a way that nobody else reads.")]
    Link {
        /// For whom
        #[arg(required_unless_present = "first_owner", conflicts_with = "first_owner")]
        email: Option<EmailAddress>,
        /// For the one who is to be the first user, and to own the installation
        #[arg(long)]
        first_owner: bool,
    },
    /// Take away a user's second factor, who has lost it; all of their sessions end
    FactorReset {
        /// Whose
        email: EmailAddress,
    },
    /// Remove a user with all roles, tokens and sessions
    Remove {
        /// Whom
        email: EmailAddress,
    },
}

/// Add a user, as a member of --tenant
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  gristmill user add ada@example.com --name 'Ada Lovelace' --role owner --installation
  gristmill user add bob@example.com --role viewer --password-file password.txt
  gristmill user add eve@example.com --role viewer --hash-file bcrypt.txt

Without a password they choose one by a link: gristmill user link EMAIL")]
struct Add {
    /// Their address, by which they log in
    email: EmailAddress,
    /// What they are called; their address unless said
    #[arg(long)]
    name: Option<String>,
    /// owner, admin, operator, viewer or auditor
    #[arg(long, default_value = "viewer")]
    role: Role,
    /// They may also create, suspend and resume tenants
    #[arg(long)]
    installation: bool,
    /// The file with their password; - for standard input
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// The file with the hash of their password, from another program: bcrypt, or argon2; - for standard input
    #[arg(long, value_name = "FILE", conflicts_with = "password_file")]
    hash_file: Option<PathBuf>,
}

impl User {
    pub(super) async fn run(self, context: &CommandContext) -> Result<Exit> {
        match self.verb {
            Verb::Add(add) => add.run(context).await,
            Verb::List { paging } => list(context, &paging).await,
            Verb::Role { email, role, .. } => set_role(context, &email, role).await,
            Verb::Disable { email } => switch(context, &email, false).await,
            Verb::Enable { email } => switch(context, &email, true).await,
            Verb::Passwd { email, password_file } => {
                let password = password(&password_file)?;
                let accounts = accounts(context).await?;
                let user = accounts.user(&email).await?;
                show(context, &accounts.set_password(&context.order(false), &user, &password).await?);
                Ok(Exit::Success)
            }
            Verb::Link { email, .. } => link(context, email.as_ref()).await,
            Verb::FactorReset { email } => reset_factor(context, &email).await,
            Verb::Remove { email } => remove(context, &email).await,
        }
    }
}

impl Add {
    async fn run(self, context: &CommandContext) -> Result<Exit> {
        let said = self.password_file.as_deref().map(password).transpose()?;
        let hash = self.hash_file.as_deref().map(password).transpose()?;
        let accounts = accounts(context).await?;
        let name = self.name.unwrap_or_else(|| self.email.to_string());
        let member = NewMember { email: self.email, name, role: Some(self.role) };
        let (order, installation) = (context.order(false), self.installation);
        let user = match hash {
            Some(hash) => accounts.import_user(&order, &member, &hash, installation).await?,
            None => accounts.add_user(&order, &member, said.as_ref(), installation).await?,
        };
        show(context, &user);
        if !user.has_password {
            let program = context.program_here();
            context.output.note(&format!("they choose a password by a link: {program} user link {}", user.email));
        }
        Ok(Exit::Success)
    }
}

async fn list(context: &CommandContext, paging: &Paging) -> Result<Exit> {
    let users = context.store().await?.users(&paging.page()).await?;
    let columns = ["EMAIL", "NAME", "STATE", "ROLES", "LAST LOGIN"];
    context.output.list(&users, &columns, |user, output| {
        vec![
            user.email.clone(),
            user.name.clone(),
            user.state.to_string(),
            roles(user),
            output.time_or_dash(user.last_login_at),
        ]
    });
    paging.next(context, users.len(), users.last().map(|user| user.email.clone()));
    Ok(Exit::Success)
}

/// `main owner, north viewer`.
fn roles(user: &UserDocument) -> String {
    let mut roles: Vec<String> =
        user.memberships.iter().map(|member| format!("{} {}", member.tenant, member.role)).collect();
    if user.installation {
        roles.push("installation".to_owned());
    }
    if roles.is_empty() { "-".to_owned() } else { roles.join(", ") }
}

fn show(context: &CommandContext, user: &UserDocument) {
    let output: &Output = &context.output;
    let fields = [
        ("email", user.email.clone()),
        ("name", user.name.clone()),
        ("state", user.state.to_string()),
        ("roles", roles(user)),
        ("password", if user.has_password { "set" } else { "none yet" }.to_owned()),
        ("created", output.time(user.created_at)),
        ("last login", output.time_or_dash(user.last_login_at)),
    ];
    output.fields(user, &fields);
}

async fn set_role(context: &CommandContext, email: &EmailAddress, role: Option<Role>) -> Result<Exit> {
    let accounts = accounts(context).await?;
    let user = accounts.user(email).await?;
    let (order, by) = (context.order(false), Appointer::Installation);
    match role {
        Some(role) => accounts.set_role(&order, by, user.id, role).await?,
        None => accounts.remove_member(&order, by, user.id).await?,
    };
    show(context, &accounts.user(email).await?);
    Ok(Exit::Success)
}

async fn switch(context: &CommandContext, email: &EmailAddress, active: bool) -> Result<Exit> {
    let accounts = accounts(context).await?;
    let user = accounts.user(email).await?;
    show(context, &accounts.switch_user(&context.order(false), user.id, active).await?);
    Ok(Exit::Success)
}

async fn link(context: &CommandContext, email: Option<&EmailAddress>) -> Result<Exit> {
    let accounts = accounts(context).await?;
    let order = context.order(false);
    let secret = match email {
        Some(email) => accounts.reset_link_for(&order, email).await?,
        None => accounts.first_owner_link(&order).await?,
    };
    let url = accounts.address_of(&secret);
    let email = email.map(ToString::to_string);
    let document = LinkDocument { email, url: url.clone(), secret: secret.expose().to_owned() };
    match context.output.format {
        Format::Json => context.output.document(&document),
        Format::Plain | Format::Table => context.output.line(&url),
    }
    Ok(Exit::Success)
}

async fn reset_factor(context: &CommandContext, email: &EmailAddress) -> Result<Exit> {
    let accounts = accounts(context).await?;
    let user = accounts.user(email).await?;
    let removed = accounts.reset_factor(&context.order(false), user.id).await?;
    report(context, removed, user.email);
    Ok(Exit::Success)
}

async fn remove(context: &CommandContext, email: &EmailAddress) -> Result<Exit> {
    let accounts = accounts(context).await?;
    let user = accounts.user(email).await?;
    let removed = accounts.remove_user(&context.order(false), user.id).await?;
    report(context, removed, user.email);
    Ok(Exit::Success)
}

fn report(context: &CommandContext, removed: bool, email: String) {
    let samples = if removed { vec![email] } else { Vec::new() };
    let report = ControlReport { affected: u64::from(removed), samples, ..ControlReport::default() };
    match context.output.format {
        Format::Json => context.output.document(&ReportDocument::new(false, &report)),
        Format::Plain | Format::Table => context.output.line(&format!("removed: {}", report.affected)),
    }
}
