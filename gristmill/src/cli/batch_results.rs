//! `gristmill batch results`: what was merged of a batch's chunks, as JSON or as tables.

use clap::{Args, ValueEnum};
use gristmill_core::result_table::{ResultTable, markdown_text, tables};

use super::list::id;
use crate::cli::context::CommandContext;
use crate::exit_code::{CommandError, Exit, Result};

/// Which result, and as what.
#[derive(Debug, Args)]
pub(super) struct Results {
    /// Its id
    id: String,
    /// As what: one JSON document, or tables
    #[arg(long, value_enum, default_value_t)]
    format: ResultFormat,
    /// Only the table of this measure, or `figures`: those that have just one value
    #[arg(long, value_name = "MEASURE")]
    of: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum ResultFormat {
    #[default]
    Json,
    Csv,
    Markdown,
}

impl Results {
    pub(super) async fn run(self, context: &CommandContext) -> Result<Exit> {
        let result = context.backend().await?.results(id("batch", &self.id)?).await?;
        match (self.format, &self.of) {
            (ResultFormat::Json, None) => context.output.document(&result),
            (ResultFormat::Json, Some(name)) => match result.get(name) {
                Some(measure) => context.output.document(measure),
                None => return Err(unknown(name, &tables(&result))),
            },
            (ResultFormat::Csv, of) => lines(context, &only(tables(&result), of.as_deref())?.csv()),
            (ResultFormat::Markdown, Some(name)) => {
                lines(context, &only(tables(&result), Some(name))?.markdown());
            }
            (ResultFormat::Markdown, None) => {
                let all: Vec<String> = tables(&result)
                    .iter()
                    .map(|table| format!("## {}\n\n{}", markdown_text(&table.name), table.markdown()))
                    .collect();
                lines(context, &all.join("\n"));
            }
        }
        Ok(Exit::Success)
    }
}

/// The table of this name, or the only one.
fn only(mut all: Vec<ResultTable>, name: Option<&str>) -> Result<ResultTable> {
    match name {
        Some(name) => match all.iter().position(|table| table.name == name) {
            Some(place) => Ok(all.swap_remove(place)),
            None => Err(unknown(name, &all)),
        },
        None if all.len() == 1 => Ok(all.remove(0)),
        None => {
            let hint = format!("name one with --of: {}", names(&all));
            Err(CommandError::usage(format!("the result has {} tables", all.len())).hint(hint))
        }
    }
}

fn unknown(name: &str, all: &[ResultTable]) -> CommandError {
    CommandError::not_found(format!("the result has no `{name}`")).hint(format!("it has {}", names(all)))
}

fn names(all: &[ResultTable]) -> String {
    let names: Vec<&str> = all.iter().map(|table| table.name.as_str()).collect();
    names.join(", ")
}

/// Prints a text that has line ends of its own. As all data it moves no cursor and changes no colour, whatever is in it.
fn lines(context: &CommandContext, text: &str) {
    context.output.line(text.strip_suffix('\n').unwrap_or(text));
}
