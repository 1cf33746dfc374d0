//! `gristmill batch try`: what each stage makes of the first items of a batch's input, side by side.

use std::io::stdin;

use clap::Args;
use gristmill_service::documents::{TrialDocument, TriedItemDocument};
use gristmill_service::start::params::params;
use gristmill_service::start::{BatchRequest, TRIAL_ITEMS_MAX, try_out};
use serde_json::Value;

use super::batch_run::{bad_param, check_definition, start_trouble};
use super::mail::stats::{message, preview_of};
use crate::cli::context::CommandContext;
use crate::cli::output::{Format, Output, one_line, result_fields};
use crate::config::definitions::Outputs;
use crate::exit_code::{Exit, Result};
use crate::runtime::schedules::run_context_now;

/// How many characters of a value are shown.
const CELL_CHARS: usize = 32;

/// Show what each stage makes of the first items, and what would be set aside and why
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  gristmill batch try retail
  gristmill batch try retail --limit 100 --json
  head -n 50 orders.csv | gristmill batch try retail --input -

No more of the input is read than is shown, nothing is created or written, and no store is needed. The step `process` is left out unless --process asks for it.")]
pub(super) struct Try {
    /// The definition: [batch.NAME] in the configuration
    name: String,
    /// How many items
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=TRIAL_ITEMS_MAX))]
    limit: u64,
    /// Files instead of those of the definition: a path, a glob, or - for standard input; may be repeated
    #[arg(long, value_name = "FILE")]
    input: Vec<String>,
    /// A parameter of this run; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    param: Vec<String>,
    /// Run the program, service or handler of `process` as well
    #[arg(long)]
    process: bool,
}

impl Try {
    pub(super) async fn run(self, context: &CommandContext) -> Result<Exit> {
        check_definition(context, &self.name, Outputs::Untouched)?;
        let request = BatchRequest {
            name: self.name.clone(),
            input: self.input.clone(),
            chunk: None,
            failure_budget: None,
            params: params(&self.param).map_err(|error| bad_param(&error))?,
            idempotency_key: None,
            trace: None,
            stdin: Some(Box::new(stdin())),
        };
        let start = run_context_now(context)?.batch(request).map_err(|error| start_trouble(context, error))?;
        let left_out = start.definition.process.is_some() && !self.process;
        let trial = try_out(start, self.limit, self.process).await.map_err(|error| start_trouble(context, error))?;
        let document = TrialDocument::new(&self.name, &trial);
        match context.output.format {
            Format::Json => context.output.document(&document),
            Format::Plain | Format::Table => show(&context.output, &document),
        }
        if left_out {
            context.output.note("`process` was left out: --process runs it");
        }
        Ok(Exit::Success)
    }
}

fn show(output: &Output, trial: &TrialDocument) {
    for item in &trial.items {
        output.line(&head(item));
        table(item).iter().for_each(|line| output.line(line));
        if let Some(preview) = preview_of(item) {
            output.line("");
            message(output, preview, false);
        }
        output.line("");
    }
    let count = |end: &str| trial.items.iter().filter(|item| item.end == end).count();
    let (ok, skipped, quarantined) = (count("ok"), count("skipped"), count("quarantined"));
    output.line(&format!("{} items: {ok} ok, {skipped} skipped, {quarantined} would be set aside", trial.items.len()));
    if let Value::Object(result) = &trial.result {
        output.fields(&Value::Null, &result_fields(result, output.format));
    }
}

fn head(item: &TriedItemDocument) -> String {
    let line = item.line.map(|line| format!(", line {line}")).unwrap_or_default();
    let place = format!("item {}{line}", item.position);
    match (&item.stage, &item.reason) {
        (Some(stage), Some(reason)) => format!("{place}: set aside at {stage}: {}", one_line(reason)),
        (Some(stage), None) => format!("{place}: skipped at {stage}"),
        _ => format!("{place}: ok"),
    }
}

/// A line for each field, a column for each stage. A value that a stage has left as it was is not shown again.
fn table(item: &TriedItemDocument) -> Vec<String> {
    let mut fields: Vec<&String> = Vec::new();
    // A message is no further form of the item: it is shown below.
    let steps: Vec<_> = item.steps.iter().filter(|step| step.stage != "mail").collect();
    for name in steps.iter().filter_map(|step| step.item.as_object()).flat_map(|object| object.keys()) {
        if !fields.contains(&name) {
            fields.push(name);
        }
    }
    if fields.is_empty() {
        return steps.iter().map(|step| format!("  {}  {}", step.stage, cell(&step.item))).collect();
    }
    let header = std::iter::once(String::new()).chain(steps.iter().map(|step| step.stage.clone())).collect();
    let rows = fields.into_iter().map(|field| {
        let cells = steps.iter().enumerate().map(|(place, step)| {
            let before = place.checked_sub(1).and_then(|before| steps[before].item.get(field));
            match step.item.get(field) {
                Some(now) if before == Some(now) => "\u{b7}".to_owned(),
                Some(now) => cell(now),
                None => String::new(),
            }
        });
        std::iter::once(one_line(field)).chain(cells).collect()
    });
    let lines: Vec<Vec<String>> = std::iter::once(header).chain(rows).collect();
    let width = |place: usize| lines.iter().map(|line| line[place].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..lines[0].len()).map(width).collect();
    let padded = |line: &Vec<String>| {
        let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        format!("  {}", cells.collect::<Vec<_>>().join("  ")).trim_end().to_owned()
    };
    lines.iter().map(padded).collect()
}

/// A value as JSON, so that a text and a number look different, or its beginning.
fn cell(value: &Value) -> String {
    let text = one_line(&value.to_string());
    match text.char_indices().nth(CELL_CHARS) {
        Some(_) => text.chars().take(CELL_CHARS - 1).chain(['\u{2026}']).collect(),
        None => text,
    }
}
