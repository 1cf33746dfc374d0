//! `gristmill init`: the files of a first project, each ready to run.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use gristmill_service::documents::InitDocument;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};

use crate::cli::context::CommandContext;
use crate::cli::output::Format;
use crate::exit_code::{CommandError, Exit, Result};

/// A file of a template: its name in the folder, and what stands in it.
type TemplateFile = (&'static str, &'static str);

/// Begin a project: a configuration that runs, and what it needs
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  gristmill init --template csv
  gristmill init --template rust my-jobs

Nothing that is there is overwritten.")]
pub(crate) struct Init {
    /// Where the files are put
    #[arg(default_value = ".")]
    folder: PathBuf,
    /// What the project is about
    #[arg(long, value_enum)]
    template: Template,
}

/// What a project is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Template {
    /// A batch over a CSV file
    Csv,
    /// A batch over a query, with a small database
    Sql,
    /// A letter to many people
    Mailing,
    /// A program with a kind of job of its own
    Rust,
}

impl Template {
    fn files(self) -> &'static [TemplateFile] {
        match self {
            Self::Csv => &[
                ("config.toml", include_str!("../../templates/csv/config.toml")),
                ("sales.csv", include_str!("../../templates/csv/sales.csv")),
            ],
            Self::Sql => &[
                ("config.toml", include_str!("../../templates/sql/config.toml")),
                ("shop.sql", include_str!("../../templates/sql/shop.sql")),
            ],
            Self::Mailing => &[
                ("config.toml", include_str!("../../templates/mailing/config.toml")),
                ("people.csv", include_str!("../../templates/mailing/people.csv")),
                ("letters/welcome/subject.txt", include_str!("../../templates/mailing/letters/welcome/subject.txt")),
                ("letters/welcome/text.txt", include_str!("../../templates/mailing/letters/welcome/text.txt")),
                ("letters/welcome/html.html", include_str!("../../templates/mailing/letters/welcome/html.html")),
                ("letters/welcome/sample.json", include_str!("../../templates/mailing/letters/welcome/sample.json")),
            ],
            Self::Rust => &[
                ("Cargo.toml", include_str!("../../templates/rust/Cargo.toml.txt")),
                ("src/main.rs", include_str!("../../templates/rust/src/main.rs")),
                ("config.toml", include_str!("../../templates/rust/config.toml")),
            ],
        }
    }

    /// A database that a file of the template makes.
    fn database(self) -> Option<(&'static str, &'static str)> {
        (self == Self::Sql).then_some(("shop.db", include_str!("../../templates/sql/shop.sql")))
    }

    /// What to type next.
    fn next(self) -> &'static str {
        match self {
            Self::Csv => "gristmill batch run sales --wait",
            Self::Sql => "gristmill batch run orders --wait",
            Self::Mailing => "gristmill batch run welcome --idempotency-key spring --wait",
            Self::Rust => "cargo run -- enqueue greet --payload '{\"name\":\"Ada\"}' --wait",
        }
    }
}

impl Init {
    pub(super) async fn run(self, context: &CommandContext) -> Result<Exit> {
        let names = self.template.files().iter().map(|(name, _)| *name);
        let all: Vec<&str> = names.chain(self.template.database().map(|(name, _)| name)).collect();
        if let Some(taken) = all.iter().find_map(|name| taken(&self.folder, name)) {
            let taken = format!("{taken}; nothing was written");
            return Err(CommandError::new(Exit::Conflict, taken).hint("name another folder, or move it out of the way"));
        }
        for (name, text) in self.template.files() {
            write(&self.folder.join(name), text)?;
        }
        if let Some((name, statements)) = self.template.database() {
            let path = self.folder.join(name);
            database(&path, statements).await.map_err(|error| broken(&path, &error.to_string()))?;
        }
        let document = InitDocument {
            folder: self.folder.display().to_string(),
            files: all.into_iter().map(str::to_owned).collect(),
            next: self.template.next().to_owned(),
        };
        match context.output.format {
            Format::Json => context.output.document(&document),
            Format::Plain | Format::Table => {
                document
                    .files
                    .iter()
                    .for_each(|name| context.output.line(&self.folder.join(name).display().to_string()));
                context.output.note(&format!("next, in `{}`: {}", document.folder, document.next));
            }
        }
        Ok(Exit::Success)
    }
}

/// What is in the way of a file. A link is, too, wherever it leads: through it something would be written elsewhere.
fn taken(folder: &Path, name: &str) -> Option<String> {
    let path = folder.join(name);
    if path.symlink_metadata().is_ok() {
        return Some(format!("`{}` is there already", path.display()));
    }
    let between = path.ancestors().skip(1).take_while(|above| *above != folder);
    let link = between.into_iter().find(|above| above.is_symlink())?;
    Some(format!("`{}` is a link, which leads elsewhere", link.display()))
}

fn write(path: &Path, text: &str) -> Result<()> {
    let made = path.parent().map_or(Ok(()), gristmill_jobs::folder::make);
    let file = made.and_then(|()| OpenOptions::new().write(true).create_new(true).open(path));
    file.and_then(|mut file| file.write_all(text.as_bytes())).map_err(|error| broken(path, &error.to_string()))
}

/// Makes a database of statements that come with this program.
async fn database(path: &Path, statements: &'static str) -> std::result::Result<(), sqlx::Error> {
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
    let mut connection: SqliteConnection = options.connect().await?;
    sqlx::raw_sql(AssertSqlSafe(statements)).execute(&mut connection).await?;
    connection.close().await
}

fn broken(path: &Path, why: &str) -> CommandError {
    CommandError::new(Exit::Failed, format!("`{}` cannot be written: {why}", path.display()))
}
