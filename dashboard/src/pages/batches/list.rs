//! The list of batches.

use gristmill_core::access::Permission;
use gristmill_core::batch::BatchState;
use gristmill_core::operation::OperationVerb;
use gristmill_core::query::{List, Query as Asked};
use gristmill_store::{BatchFilter, BatchView};
use maud::{Markup, html};

use super::steer::actions;
use crate::api::jobs::as_of_now;
use crate::api::operations;
use crate::gate::{Allowed, Caller, Paging, Parameters, Params, Query, asked, perm};
use crate::live::Topic;
use crate::pages::parts::batch::{name, progress};
use crate::pages::parts::copies::{copies, path, shell};
use crate::pages::parts::empty::empty;
use crate::pages::parts::number::{count, count_or_none, duration, percent};
use crate::pages::parts::pager::pager;
use crate::pages::parts::panel::head;
use crate::pages::parts::state;
use crate::pages::parts::table::{self, Row, column, numbers, row, table, wide};
use crate::pages::parts::time::instant;
use crate::pages::{Head, Paged, View};

/// Which batches are wanted. A form sends fields that are empty: they filter nothing.
pub(super) struct Wanted {
    name: Option<String>,
    state: Option<BatchState>,
    asked: Asked,
}

impl Parameters for Wanted {
    fn read(query: &mut Query) -> Self {
        let name = query.one::<String>("name", "Only runs of this definition").filter(|name| !name.is_empty());
        let state = query.one::<String>("state", "Only in this state").filter(|state| !state.is_empty());
        let state = state.and_then(|word| match word.parse() {
            Ok(state) => Some(state),
            Err(error) => {
                query.fault("state", format!("{error}"));
                None
            }
        });
        Self { name, state, asked: asked(query, List::Batches) }
    }
}

pub(super) async fn list(
    caller: Allowed<perm::BatchesRead>,
    view: View,
    Params((wanted, paging)): Params<(Wanted, Paging)>,
) -> Paged {
    let Wanted { name, state, asked } = wanted;
    let query = as_of_now(&caller, asked.clone()).await?;
    let filter = BatchFilter { tenant: caller.tenant().to_owned(), name, state, query };
    let asked = Some(asked.to_string()).filter(|text| !text.is_empty());
    let batches = view.read(caller.store().batches(&filter, &paging.0)).await?;
    let next = paging.next(&batches, |batch| batch.id.to_string());
    let start = html! {
        @if caller.may(Permission::BatchesStart) { a class="button primary" href="/batches/new" { "Start a batch" } }
    };
    let main = html! {
        (head("Batches", "Runs of the batch definitions, the newest first.", start))
        (filters(&caller, &filter, asked.as_deref()))
        (all_of_them(&caller, &filter, asked.as_deref()))
        section class="panel" {
            @if batches.is_empty() { (nothing(&filter, asked.as_deref())) } @else { (rows(&caller, &view, &batches)) }
            (pager(&view, batches.len(), next.as_deref()))
        }
        (as_command(&filter, asked.as_deref()))
    };
    Ok(view.page(&caller, Head::new("Batches", "/batches").live([Topic::Batches]), main))
}

/// The names of the definitions that a caller may see.
pub(super) fn definitions(caller: &Caller) -> Vec<String> {
    let own = caller.tenant() == caller.api().run_context().tenant;
    let allowed = own && caller.may(Permission::DefinitionsRead);
    if allowed { caller.api().program().definitions().into_keys().collect() } else { Vec::new() }
}

fn filters(caller: &Caller, filter: &BatchFilter, asked: Option<&str>) -> Markup {
    let mut names = definitions(caller);
    // A definition that is there no longer can still have runs.
    names.extend(filter.name.clone().filter(|name| !names.contains(name)));
    html! {
        form class="filters" id="filters" method="get" action="/batches" {
            div class="field" {
                label for="filter-q" { "Query" }
                input id="filter-q" name="q" value=[asked] autocomplete="off" spellcheck="false";
            }
            div class="field" {
                label for="name" { "Definition" }
                select id="name" name="name" {
                    option value="" { "all" }
                    @for name in &names { option value=(name) selected[filter.name.as_ref() == Some(name)] { (name) } }
                }
            }
            div class="field" {
                label for="state" { "State" }
                select id="state" name="state" {
                    option value="" { "all" }
                    @for state in BatchState::ALL { option value=(state) selected[filter.state == Some(state)] { (state) } }
                }
            }
            button { "Filter" }
            @if asked.is_some() || filter.name.is_some() || filter.state.is_some() {
                a class="button quiet" href="/batches" { "Show all" }
            }
        }
    }
}

fn rows(caller: &Caller, view: &View, batches: &[BatchView]) -> Markup {
    let columns =
        [wide("Batch"), column("State"), wide("Items"), numbers("Quarantined"), column("Started"), table::actions()];
    let columns = if caller.may(Permission::BatchesControl) { &columns[..] } else { &columns[..5] };
    table("batches", "Batches", columns, batches.iter().map(|batch| one(caller, view, batch)))
}

fn one(caller: &Caller, view: &View, batch: &BatchView) -> Row {
    let ended = batch.counts.input - batch.counts.pending();
    let took = batch.finished_at.map(|end| duration((end - batch.created_at).to_std().unwrap_or_default()));
    row(
        batch.id.to_string(),
        [
            name(batch),
            state::batch(batch.state, batch.paused),
            html! {
                (progress(batch))
                span class="muted small" { (percent(ended, batch.counts.input)) " of " (count(batch.counts.input)) }
            },
            count_or_none(batch.counts.quarantined),
            html! {
                (instant(batch.created_at))
                @if let Some(took) = took { " " span class="muted small" { "took " (took) } }
            },
            html! { @for action in actions(caller, batch, view.address(), true) { (action.form()) } },
        ],
    )
}

/// The ways to operations over all batches that the filter selects.
fn all_of_them(caller: &Caller, filter: &BatchFilter, asked: Option<&str>) -> Markup {
    let name = filter.name.as_ref().map(|name| format!("name:{name}"));
    let state = filter.state.map(|state| format!("state:{state}"));
    let terms: Vec<String> = asked.map(str::to_owned).into_iter().chain(name).chain(state).collect();
    let query = terms.join(" ");
    let may = caller.may(Permission::OperationsControl) && !terms.is_empty();
    let verbs = OperationVerb::ALL.into_iter().filter(|verb| {
        let states = verb.batch_states();
        let right = filter.state.map_or(!states.is_empty(), |state| states.contains(&state));
        may && right && operations::may(caller, *verb).is_ok()
    });
    let way = |verb: OperationVerb| path("/operations/start", &[("verb", Some(verb.as_str())), ("q", Some(&query))]);
    let ways: Vec<OperationVerb> = verbs.collect();
    html! {
        @if !ways.is_empty() {
            p class="exports" {
                "All that are selected: "
                @for (index, verb) in ways.iter().enumerate() {
                    @if index > 0 { ", " }
                    a href=(way(*verb)) { (verb.word()) "\u{2026}" }
                }
            }
        }
    }
}

fn nothing(filter: &BatchFilter, asked: Option<&str>) -> Markup {
    if filter.name.is_some() || filter.state.is_some() || asked.is_some() {
        return empty(
            "No batch is like that",
            html! { "There may be others: " a href="/batches" { "show all" } "." },
            &[],
        );
    }
    let text = "A batch runs a definition of the configuration over an input, in chunks.";
    empty("No batch has run yet", text, &["gristmill batch run NAME", "gristmill demo"])
}

fn as_command(filter: &BatchFilter, asked: Option<&str>) -> Markup {
    let (name, state) = (filter.name.as_deref(), filter.state.map(BatchState::as_str));
    let mut command = "gristmill batch list".to_owned();
    for (flag, value) in [("--query", asked), ("--name", name), ("--state", state)] {
        command.extend(value.map(|value| format!(" {flag} {}", shell(value))));
    }
    copies(&command, &path("/api/v1/batches", &[("q", asked), ("name", name), ("state", state)]))
}
