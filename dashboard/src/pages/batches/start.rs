//! A form that starts a batch of a definition, or says what it would be. What is wrong stands at its field.

use std::collections::BTreeSet;

use gristmill_core::batch::FailureBudget;
use gristmill_core::definition::CHUNK_ITEMS_MAX;
use gristmill_service::start::params::{BadParam, params};
use gristmill_service::start::{BatchRequest, StartedBatch};
use maud::{Markup, html};
use serde_json::Value;
use uuid::Uuid;

use super::list::definitions;
use crate::api::batches::start::{Started, start_or_rehearse};
use crate::gate::{Allowed, Caller, Parameters, Params, Query, Result, perm};
use crate::pages::answer::Sent;
use crate::pages::flash::Flash;
use crate::pages::parts::empty::empty;
use crate::pages::parts::field::{other_faults, required, text};
use crate::pages::parts::icon::Icon;
use crate::pages::parts::number::counted;
use crate::pages::parts::panel::{head, note};
use crate::pages::parts::state::Tone;
use crate::pages::{Form, Head, Page, Paged, Redirect, View};

/// The definition that the form begins with.
pub(super) struct Wanted(Option<String>);

impl Parameters for Wanted {
    fn read(query: &mut Query) -> Self {
        Self(query.one("definition", "The definition that the form begins with"))
    }
}

pub(super) async fn ask(
    caller: Allowed<perm::BatchesStart>,
    view: View,
    Params(Wanted(name)): Params<Wanted>,
) -> Paged {
    let form = Form::filled(&[("definition", &name.unwrap_or_default()), ("key", &Uuid::new_v4().to_string())]);
    Ok(page(&caller, &view, &form, None))
}

fn page(caller: &Caller, view: &View, form: &Form, would: Option<Markup>) -> Page {
    let names = definitions(caller);
    let known = caller.api().program().definitions();
    let own = known.get(form.given("definition")).map(parameters).unwrap_or_default();
    let inner = match names.is_empty() {
        true => empty(
            "No definition can be started here",
            NO_DEFINITION,
            &["[batch.NAME]\nsource = { csv = \"input.csv\" }"],
        ),
        false => fields(form, &names, &own, would),
    };
    let about = "A run of a definition of the configuration, over its input or one of your own.";
    let main = html! { (head("Start a batch", about, html! {})) section class="panel" { (inner) } };
    view.page(caller, Head::new("Start a batch", "/batches"), main)
}

const NO_DEFINITION: &str = "Definitions are in the configuration of the server, and belong to its tenant.";

/// What the templates of a definition name: its parameters.
fn parameters(definition: &Value) -> BTreeSet<String> {
    const NAMED: &str = "params.";
    let text = definition.to_string();
    let name = |rest: &str| rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect::<String>();
    let found =
        text.match_indices(NAMED).filter(|(at, _)| !text[..*at].ends_with(|c: char| c.is_alphanumeric() || c == '_'));
    found.map(|(at, _)| name(&text[at + NAMED.len()..])).filter(|name| !name.is_empty()).collect()
}

fn fields(form: &Form, names: &[String], own: &BTreeSet<String>, would: Option<Markup>) -> Markup {
    let choices: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), name.as_str())).collect();
    let budget = "How many items may be quarantined before it halts: a count, or a percentage such as 2.5%";
    html! {
        form method="post" action="/batches/new" class="stack" {
            (other_faults(form))
            @if let Some(would) = would { (would) }
            input type="hidden" name="key" value=(form.given("key"));
            (required("definition", "Definition", "What is done with each item").show_choice(form, &choices))
            @for name in own {
                (required(&format!("{OWN}{name}"), &format!("Parameter {name}"), "The definition uses it; JSON is read as JSON").show(form))
            }
            @if own.is_empty() { button name="do" value="fields" formnovalidate { "Show its parameters" } }
            (text("params", "Further parameters", "One a line, KEY=VALUE; a value that is JSON is read as JSON").show_lines(form, 3))
            (text("chunk", "Items in a chunk", "As the definition says, unless given").show(form))
            (text("failure_budget", "Failure budget", budget).show(form))
            (text("input", "Input", INPUT).show_lines(form, 6))
            (text("reason", "Reason", "For those who look later").show(form))
            div class="acts" {
                button class="primary" name="do" value="start" { "Start" }
                button name="do" value="check" { "Say what it would be" }
            }
        }
    }
}

/// What the name of a parameter's own field begins with.
const OWN: &str = "param-";

const INPUT: &str = "Paste one in the form that the definition reads. Empty: where the definition says";

/// What the form asks for.
struct Asked {
    request: BatchRequest,
    from: Started,
    rehearsal: bool,
    /// The person wants to see the fields of the definition that they have chosen.
    only_fields: bool,
}

fn read(form: &mut Form) -> Option<Asked> {
    let name = form.required::<String>("definition");
    let chunk = form.optional::<u64>("chunk");
    if chunk.is_some_and(|chunk| !(1..=CHUNK_ITEMS_MAX).contains(&chunk)) {
        form.fault("chunk", format!("must be 1 to {CHUNK_ITEMS_MAX}"));
    }
    let failure_budget = form.optional::<FailureBudget>("failure_budget");
    let lines: Vec<String> =
        form.text("params").unwrap_or_default().lines().map(str::trim).map(str::to_owned).collect();
    let mut lines: Vec<String> = lines.into_iter().filter(|line| !line.is_empty()).collect();
    let own: Vec<String> = form.names_after(OWN).map(str::to_owned).collect();
    for name in own {
        if let Some(value) = form.required::<String>(&format!("{OWN}{name}")) {
            lines.push(format!("{name}={value}"));
        }
    }
    let params = params(&lines).unwrap_or_else(|BadParam(line)| {
        form.fault("params", format!("has `{line}`, which is not KEY=VALUE"));
        Value::Null
    });
    let input = form.text("input");
    let idempotency_key = form.text("key").map(|key| format!("page/{key}"));
    let wish = form.text("do");
    let (rehearsal, only_fields) = (wish.as_deref() == Some("check"), wish.as_deref() == Some("fields"));
    let from = if input.is_some() { Started::FromBody } else { Started::AsDefined };
    let files = if input.is_some() { vec!["-".to_owned()] } else { Vec::new() };
    let stdin = input.map(|mut text| {
        // A text box has no last line break, and `\r\n` for all others: readers take both.
        text.push('\n');
        Box::new(std::io::Cursor::new(text.into_bytes())) as _
    });
    let name = name?;
    let request =
        BatchRequest { name, input: files, chunk, failure_budget, params, idempotency_key, stdin, trace: None };
    Some(Asked { request, from, rehearsal, only_fields })
}

pub(super) async fn start(caller: Allowed<perm::BatchesStart>, view: View, mut form: Form) -> Result<Sent> {
    let (change, asked) = (form.change(), read(&mut form));
    let _ = form.finish();
    let again = |form: &Form| Ok(Sent::Again(Box::new(page(&caller, &view, form, None).refused())));
    let Some(Asked { request, from, rehearsal, only_fields }) = asked.filter(|_| !form.is_faulty()) else {
        return again(&form);
    };
    if only_fields {
        return Ok(Sent::Again(Box::new(page(&caller, &view, &form, None))));
    }
    let change = crate::gate::Change { dry_run: rehearsal, ..change };
    match start_or_rehearse(&caller, &change, request, from).await {
        Ok(StartedBatch::Planned(id)) => {
            Ok(Sent::Done(Redirect::to(format!("/batches/{id}")).saying(Flash::done("The batch has started."))))
        }
        Ok(StartedBatch::Rehearsed(would)) => {
            let (chunks, items) = (counted(would.chunks, "chunk", "chunks"), counted(would.items, "item", "items"));
            let text = html! { "It would have " (items) " in " (chunks) ". Nothing was started." };
            let note = note(Tone::Good, Icon::Done, text);
            Ok(Sent::Again(Box::new(page(&caller, &view, &form, Some(note)))))
        }
        Err(error) => {
            form.refuse(error)?;
            again(&form)
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_parameters_of_a_definition_are_those_that_its_templates_name() {
        let definition = json!({
            "source": { "csv": "in/{{ params.shop }}-{{ params.day | date('%F') }}.csv" },
            "output": { "jsonl": "out/{{ params.shop }}" },
            "note": "myparams.x params. params",
        });
        assert_eq!(parameters(&definition).into_iter().collect::<Vec<_>>(), ["day", "shop"]);
        assert!(parameters(&json!({ "chunk": 2 })).is_empty());
    }
}
