//! `gristmill context`: give servers names, and say which of them commands ask.

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use gristmill_service::documents::ContextDocument;

use crate::cli::context::CommandContext;
use crate::cli::output::Format;
use crate::config::verify::is_name;
use crate::exit_code::{CommandError, Exit, Result};
use crate::remote::Remote;
use crate::remote::choose::Chosen;
use crate::remote::contexts::{Contexts, Entry, LOCAL, Place};

/// The longest token that is read from standard input.
const TOKEN_BYTES_MAX: u64 = 64 * 1024;

/// Name servers that are asked over HTTP
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  gristmill context add prod --url https://jobs.example.com --token-file ~/.secrets/jobs --protected
  gristmill context use prod
  gristmill --context prod job list --state dead
  gristmill context use local                        back to the database of the configuration")]
pub(crate) struct Context {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Give a server a name
    Add(Add),
    /// Ask this server from now on; local is the database of the configuration
    Use {
        /// The context
        name: String,
    },
    /// Every context, and which of them is in use
    #[command(before_help = "Examples:
  gristmill context list --json")]
    List,
    /// One context; a token is never shown
    Show {
        /// The context; the one in use unless said
        name: Option<String>,
    },
    /// Forget a context, and a token that was kept for it
    Remove {
        /// The context
        name: String,
    },
}

/// Give a server a name
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  gristmill context add prod --url https://jobs.example.com --token-file ~/.secrets/jobs --protected
  pass show jobs | gristmill context add prod --url https://jobs.example.com --token-file -
  gristmill context add near --url http://127.0.0.1:7700

The path of the token's file is kept and the file is read at each command, so that a token may be replaced there. One
from standard input is kept in a file of its own that only you can read.")]
struct Add {
    /// Its name: 1 to 100 letters, digits, `-` and `_`
    name: String,
    /// The server's address
    #[arg(long, value_name = "URL")]
    url: String,
    /// The file that holds the token, or - for standard input; none where callers need not say who they are
    #[arg(long, value_name = "FILE|-")]
    token_file: Option<PathBuf>,
    /// A file with further authorities whose certificates are trusted, in PEM
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Ask for its name to be typed before something is changed there
    #[arg(long)]
    protected: bool,
    /// Speak plain http:// to another machine, where everybody on the way can read the token
    #[arg(long)]
    in_the_clear: bool,
    /// Take the place of one with the same name
    #[arg(long)]
    replace: bool,
}

impl Context {
    pub(super) fn run(self, context: &CommandContext) -> Result<Exit> {
        let place = Place::of_user()?;
        let mut contexts = place.read()?;
        match self.verb {
            Verb::Add(add) => add.run(context, &place, contexts),
            Verb::Use { name } => {
                if name == LOCAL {
                    contexts.used = None;
                } else {
                    contexts.find(&name)?;
                    contexts.used = Some(name.clone());
                }
                place.write(&contexts)?;
                context.output.note(&format!("in use: {name}"));
                Ok(Exit::Success)
            }
            Verb::List => {
                let rows: Vec<ContextDocument> =
                    contexts.known.iter().map(|(name, entry)| document(&contexts, name, entry)).collect();
                context.output.list(&rows, &["CONTEXT", "URL", "TENANT", "PROTECTED", "IN USE"], |row, _| {
                    let tenant = row.tenant.clone().unwrap_or_else(|| "-".to_owned());
                    vec![row.name.clone(), row.url.clone(), tenant, yes(row.protected), yes(row.used)]
                });
                Ok(Exit::Success)
            }
            Verb::Show { name } => {
                let named = name.or_else(|| contexts.used.clone());
                let name = named.ok_or_else(|| {
                    CommandError::not_found("no context is in use: commands work on the database of the configuration")
                        .hint("name one, or see `gristmill context list`")
                })?;
                show(context, &document(&contexts, &name, contexts.find(&name)?));
                Ok(Exit::Success)
            }
            Verb::Remove { name } => remove(context, &place, contexts, &name),
        }
    }
}

impl Add {
    fn run(self, context: &CommandContext, place: &Place, mut contexts: Contexts) -> Result<Exit> {
        let name = self.name;
        if !is_name(&name) || name == LOCAL {
            return Err(CommandError::usage(format!("`{name}` cannot be the name of a context"))
                .hint("a name has 1 to 100 letters, digits, `-` and `_`; local is the database of the configuration"));
        }
        if contexts.known.contains_key(&name) && !self.replace {
            return Err(CommandError::new(Exit::Conflict, format!("there is a context `{name}` already"))
                .hint("add --replace to put this one in its place"));
        }
        let token_file = match self.token_file {
            Some(path) if path == Path::new("-") => Some(place.keep_token(&name, &token_of_stdin()?)?),
            path => path.as_deref().map(absolute).transpose()?,
        };
        let entry = Entry {
            url: self.url,
            token_file,
            ca_file: self.ca_file.as_deref().map(absolute).transpose()?,
            tenant: context.said_tenant(),
            protected: self.protected,
            in_the_clear: self.in_the_clear,
        };
        // What makes no sense is refused now, not at the first command.
        Remote::prepare(Chosen { name: name.clone(), entry: entry.clone() }, None, None, context.output)?;
        let row = document(&contexts, &name, &entry);
        contexts.known.insert(name.clone(), entry);
        place.write(&contexts)?;
        show(context, &row);
        context.output.note(&format!("use it: {0} context use {name}, or --context {name}", context.program()));
        Ok(Exit::Success)
    }
}

fn remove(context: &CommandContext, place: &Place, mut contexts: Contexts, name: &str) -> Result<Exit> {
    contexts.find(name)?;
    contexts.known.remove(name);
    contexts.used = contexts.used.filter(|used| used != name);
    place.write(&contexts)?;
    match std::fs::remove_file(place.token(name)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            context.output.warning(&format!("its token is still in `{}`: {error}", place.token(name).display()));
        }
        _ => {}
    }
    context.output.note(&format!("forgotten: {name}"));
    Ok(Exit::Success)
}

fn document(contexts: &Contexts, name: &str, entry: &Entry) -> ContextDocument {
    let shown = |path: &PathBuf| path.display().to_string();
    ContextDocument {
        name: name.to_owned(),
        url: entry.url.clone(),
        token_file: entry.token_file.as_ref().map(shown),
        ca_file: entry.ca_file.as_ref().map(shown),
        tenant: entry.tenant.clone(),
        protected: entry.protected,
        in_the_clear: entry.in_the_clear,
        used: contexts.used.as_deref() == Some(name),
    }
}

fn show(context: &CommandContext, row: &ContextDocument) {
    let dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let fields = [
        ("context", row.name.clone()),
        ("url", row.url.clone()),
        ("token file", dash(&row.token_file)),
        ("ca file", dash(&row.ca_file)),
        ("tenant", dash(&row.tenant)),
        ("protected", yes(row.protected)),
        ("in the clear", yes(row.in_the_clear)),
        ("in use", yes(row.used)),
    ];
    match context.output.format {
        Format::Json => context.output.document(row),
        Format::Plain | Format::Table => context.output.fields(row, &fields),
    }
}

fn yes(flag: bool) -> String {
    if flag { "yes" } else { "no" }.to_owned()
}

/// A path that means the same in every folder.
fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path)
        .map_err(|error| CommandError::usage(format!("`{}` is not the path of a file: {error}", path.display())))
}

fn token_of_stdin() -> Result<String> {
    let mut token = String::new();
    std::io::stdin()
        .take(TOKEN_BYTES_MAX)
        .read_to_string(&mut token)
        .map_err(|error| CommandError::usage(format!("the token cannot be read from standard input: {error}")))?;
    Ok(token)
}
