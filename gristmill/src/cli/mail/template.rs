//! Templates: list, check, and what one makes of its data.

use clap::{ArgGroup, Args, Subcommand};
use gristmill_jobs::mail::{Rendered, Templates};
use serde::Serialize;
use serde_json::Value;

use crate::cli::context::CommandContext;
use crate::cli::enqueue::read_payload;
use crate::cli::output::Format;
use crate::exit_code::{CommandError, Exit, Result};

/// The templates that messages are made from
#[derive(Debug, Subcommand)]
pub(super) enum Template {
    /// The templates that there are, with what each takes from its data
    List,
    /// What a template makes of its data; nothing is sent
    #[command(before_help = "Examples:
  gristmill mail template render batch-report --data @batch.json
  gristmill mail template render welcome --data '{\"name\": \"Ada\"}' --html > preview.html")]
    Render(Render),
}

/// What a template makes of its data.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("part").args(["html", "text", "subject"]))]
pub(super) struct Render {
    /// Its name
    name: String,
    /// What fills it: JSON, @FILE, or - for standard input
    #[arg(long, value_name = "JSON|@FILE|-")]
    data: Option<String>,
    /// The HTML version alone
    #[arg(long)]
    html: bool,
    /// The text alone
    #[arg(long)]
    text: bool,
    /// The subject alone
    #[arg(long)]
    subject: bool,
}

/// A template of the list.
#[derive(Debug, Serialize)]
struct Listed {
    name: String,
    takes: Vec<String>,
    fault: Option<String>,
}

/// A filled template.
#[derive(Debug, Serialize)]
struct Filled<'a> {
    subject: &'a str,
    text: &'a str,
    html: Option<&'a str>,
}

impl Template {
    pub(super) fn run(self, context: &CommandContext) -> Result<Exit> {
        let templates = Templates::new(context.loaded.config.mail.templates.as_deref());
        match self {
            Self::List => Ok(list(context, &templates)),
            Self::Render(render) => {
                let data = render.data.as_deref().map_or(Ok(Value::Null), read_payload)?;
                let rendered = templates.render(&render.name, &data);
                let rendered = rendered.map_err(|why| CommandError::new(Exit::Problems, why))?;
                show(context, &render, &rendered)
            }
        }
    }
}

fn list(context: &CommandContext, templates: &Templates) -> Exit {
    let of = |name: String| match templates.names_in(&name) {
        Ok(takes) => Listed { name, takes: takes.into_iter().collect(), fault: None },
        Err(fault) => Listed { name, takes: Vec::new(), fault: Some(fault) },
    };
    let listed: Vec<Listed> = templates.names().into_iter().map(of).collect();
    context.output.list(&listed, &["TEMPLATE", "TAKES"], |one, _| {
        vec![one.name.clone(), one.fault.clone().unwrap_or_else(|| one.takes.join(", "))]
    });
    if listed.iter().any(|one| one.fault.is_some()) { Exit::Problems } else { Exit::Success }
}

fn show(context: &CommandContext, render: &Render, rendered: &Rendered) -> Result<Exit> {
    let Rendered { subject, text, html } = rendered;
    if render.html {
        let none = || CommandError::not_found(format!("the template `{}` has no HTML version", render.name));
        context.output.line(html.as_deref().ok_or_else(none)?);
    } else if render.text {
        context.output.line(text);
    } else if render.subject {
        context.output.line(subject);
    } else if context.output.format == Format::Json {
        context.output.document(&Filled { subject, text, html: html.as_deref() });
    } else {
        context.output.line(&format!("Subject: {subject}\n\n{text}"));
        if html.is_some() {
            context.output.note("it has an HTML version, too: --html");
        }
    }
    Ok(Exit::Success)
}
