//! What is shown below the chunks of a batch, one tab at a time, each with an address of its own.

use std::collections::BTreeMap;

use gristmill_core::access::Permission;
use gristmill_core::job::JobState;
use gristmill_core::result_table::{ResultTable, cell, tables};
use gristmill_jobs::kind::chunk::CHUNK;
use gristmill_service::documents::OutputDocument;
use gristmill_store::{BatchView, JobFilter, JobView, Page as Rows, QuarantineFilter, QuarantineView};
use maud::{Markup, html};
use serde_json::json;

use crate::gate::{Caller, Paging, Result};
use crate::pages::View;
use crate::pages::nav;
use crate::pages::parts::brief::brief;
use crate::pages::parts::empty::empty;
use crate::pages::parts::json::json as shown_json;
use crate::pages::parts::number::{count, duration};
use crate::pages::parts::pager::pager;
use crate::pages::parts::state;
use crate::pages::parts::table::{Row, column, numbers, row, table, wide};
use crate::pages::parts::time::{instant, maybe};

/// How many rows of a table are shown.
const RESULT_ROWS: usize = 50;

gristmill_core::words! {
    /// A tab.
    pub(super) enum Tab {
        /// Its chunks, the newest first.
        Chunks = "chunks",
        /// Its quarantined items.
        Quarantine = "quarantine",
        /// Why items and chunks failed, each reason once.
        Errors = "errors",
        /// What was merged.
        Result = "result",
        /// The files that it has written.
        Outputs = "outputs",
        /// What it was asked to do.
        Configuration = "configuration",
    }
}

impl Tab {
    fn name(self) -> &'static str {
        match self {
            Self::Chunks => "Chunks",
            Self::Quarantine => "Quarantine",
            Self::Errors => "Errors",
            Self::Result => "Result",
            Self::Outputs => "Outputs",
            Self::Configuration => "Configuration",
        }
    }

    /// What a caller needs to see it, besides the batch.
    fn permission(self) -> Permission {
        match self {
            Self::Chunks | Self::Result | Self::Outputs => Permission::BatchesRead,
            Self::Quarantine | Self::Errors => Permission::QuarantineRead,
            Self::Configuration => Permission::DefinitionsRead,
        }
    }
}

/// Whether the caller may see what items and results contain.
fn sees_contents(caller: &Caller) -> bool {
    caller.may(Permission::ContentsRead)
}

/// The tabs that the caller may see, and what is in the one that is wanted.
pub(super) async fn shown(
    caller: &Caller,
    view: &View,
    batch: &BatchView,
    tab: Tab,
    states: &[JobState],
    paging: &Paging,
) -> Result<Markup> {
    let inner = match tab {
        tab if !caller.may(tab.permission()) => html! { p class="muted" { "Your role does not show this." } },
        Tab::Chunks => chunks(caller, view, batch, states, paging).await?,
        Tab::Quarantine => quarantine(caller, view, batch, paging).await?,
        Tab::Errors => errors(caller, view, batch).await?,
        Tab::Result => result(caller, batch),
        Tab::Outputs => outputs(caller, view, batch, paging).await?,
        Tab::Configuration => configuration(caller, view, batch).await?,
    };
    let seen = Tab::ALL.into_iter().filter(|tab| caller.may(tab.permission()));
    let address = |tab: Tab| format!("/batches/{}?tab={tab}#tabs", batch.id);
    Ok(html! {
        section class="panel" id="tabs" {
            nav class="tabs" aria-label="About the batch" {
                @for one in seen {
                    a href=(address(one)) aria-current=[(one == tab).then_some("page")] { (one.name()) }
                }
                @if caller.may(Permission::AuditRead) && nav::exists("/audit") {
                    a href={ "/audit?target=" (batch.id) } { "Audit" }
                }
            }
            h2 class="unseen" { (tab.name()) }
            (inner)
        }
    })
}

async fn chunks(
    caller: &Caller,
    view: &View,
    batch: &BatchView,
    states: &[JobState],
    paging: &Paging,
) -> Result<Markup> {
    let filter = JobFilter {
        tenant: batch.tenant.clone(),
        states: states.to_vec(),
        kind: Some(CHUNK.to_owned()),
        batch: Some(batch.id),
        ..JobFilter::default()
    };
    let jobs = view.read(caller.store().jobs(&filter, &paging.0)).await?;
    let next = paging.next(&jobs, |job| job.id.to_string());
    let columns = [
        column("Chunk"),
        column("State"),
        numbers("Items"),
        numbers("Attempts"),
        column("Began"),
        column("Took"),
        wide("Error"),
    ];
    Ok(html! {
        nav class="acts" aria-label="Only in a state" {
            a class="button" href={ "/batches/" (batch.id) "?tab=chunks#tabs" }
                aria-current=[states.is_empty().then_some("true")] { "all" }
            @for state in JobState::ALL.into_iter().filter(|state| *state != JobState::Scheduled) {
                a class="button" href={ "/batches/" (batch.id) "?tab=chunks&state=" (state) "#tabs" }
                    aria-current=[(states == [state]).then_some("true")] { (state) }
            }
        }
        @if jobs.is_empty() { (empty("No chunk is like that", "Chunks are made while the input is read.", &[])) }
        @else { (table("chunks", "Chunks, the newest first", &columns, jobs.iter().map(chunk))) }
        (pager(view, jobs.len(), next.as_deref()))
    })
}

fn chunk(job: &JobView) -> Row {
    let took = job.started_at.zip(job.finished_at).and_then(|(from, to)| (to - from).to_std().ok());
    row(
        job.id.to_string(),
        [
            html! { a href={ "/jobs/" (job.id) } { (job.seq.unwrap_or_default()) } },
            state::job(job.state),
            count(job.items),
            html! { (job.attempt) span class="muted" { " of " (job.max_attempts) } },
            maybe(job.started_at),
            html! { @if let Some(took) = took { (duration(took)) } },
            html! { @if let Some(error) = &job.error { (brief(error)) } },
        ],
    )
}

/// The items of a batch that were set aside.
pub(super) fn filter(batch: &BatchView) -> QuarantineFilter {
    QuarantineFilter {
        tenant: batch.tenant.clone(),
        batch: Some(batch.id),
        open_only: false,
        ..QuarantineFilter::default()
    }
}

const NOTHING_ASIDE: &str = "Items that fail are set aside here with their reason, and the rest goes on.";

async fn quarantine(caller: &Caller, view: &View, batch: &BatchView, paging: &Paging) -> Result<Markup> {
    let items = view.read(caller.store().quarantine(&filter(batch), &paging.0)).await?;
    let next = paging.next(&items, |item| item.id.to_string());
    let columns = [
        numbers("Position"),
        numbers("Line"),
        column("Stage"),
        wide("Reason"),
        column("State"),
        column("Set aside"),
        wide("Item"),
    ];
    let columns = if sees_contents(caller) { &columns[..] } else { &columns[..6] };
    let shown = |item: &QuarantineView| {
        row(
            item.id.to_string(),
            [
                html! { (item.position) },
                html! { @if let Some(line) = item.line { (line) } },
                html! { (item.stage) },
                html! { (brief(&item.reason)) },
                html! { (item.state) },
                instant(item.created_at),
                html! { code { (brief(&item.item.to_string())) } },
            ],
        )
    };
    let name = batch.name.as_str();
    Ok(html! {
        @if items.is_empty() { (empty("Nothing is set aside", NOTHING_ASIDE, &[])) }
        @else {
            (table("quarantine", &format!("Quarantined items of {name}"), columns, items.iter().map(shown)))
            (pager(view, items.len(), next.as_deref()))
            p class="muted" { "Mend them in a table: " code { "gristmill quarantine export " (batch.id) } }
        }
    })
}

/// How many items and chunks are looked at for their reasons.
pub(super) const LOOKED_AT: u32 = 1_000;

/// The dead jobs of a batch.
pub(super) fn dead(batch: &BatchView) -> JobFilter {
    JobFilter {
        tenant: batch.tenant.clone(),
        states: vec![JobState::Dead],
        batch: Some(batch.id),
        ..JobFilter::default()
    }
}

/// Why items and chunks failed, each reason once.
pub(super) fn reasons(items: &[QuarantineView], dead: &[JobView]) -> Vec<Group> {
    let reasons = items.iter().map(|item| (item.stage.clone(), item.reason.as_str()));
    let errors = dead.iter().map(|job| (job.kind.clone(), job.error.as_deref().unwrap_or("it left no error")));
    grouped_by_reason(reasons.chain(errors))
}

/// The same as a table.
pub(super) fn reasons_table(groups: &[Group]) -> Markup {
    let columns = [numbers("How often"), column("Where"), wide("Reason, with numbers left out"), wide("For example")];
    let shown = groups.iter().enumerate().map(|(at, group)| {
        row(
            at.to_string(),
            [
                count(group.count),
                html! { (group.place) },
                html! { (brief(&group.reason)) },
                html! { (brief(&group.example)) },
            ],
        )
    });
    table("errors", "Reasons of failures", &columns, shown)
}

async fn errors(caller: &Caller, view: &View, batch: &BatchView) -> Result<Markup> {
    let rows = Rows { after: None, limit: LOOKED_AT };
    let items = view.read(caller.store().quarantine(&filter(batch), &rows)).await?;
    let dead = view.read(caller.store().jobs(&dead(batch), &rows)).await?;
    let groups = reasons(&items, &dead);
    Ok(html! {
        @if groups.is_empty() { (empty("No errors", "Every item that has been looked at went through.", &[])) }
        @else {
            (reasons_table(&groups))
            @if items.len().max(dead.len()) >= LOOKED_AT as usize { p class="muted" { "Of the first 1 000 of each." } }
        }
    })
}

/// A reason, with how often it was given.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Group {
    count: u64,
    place: String,
    reason: String,
    example: String,
}

/// Groups reasons that differ by numbers and quoted values alone, the most frequent first.
fn grouped_by_reason<'a>(reasons: impl Iterator<Item = (String, &'a str)>) -> Vec<Group> {
    let mut groups: BTreeMap<(String, String), (u64, &str)> = BTreeMap::new();
    for (place, reason) in reasons {
        groups.entry((place, shape(reason))).or_insert((0, reason)).0 += 1;
    }
    let group = |((place, reason), (count, example)): ((String, String), (u64, &str))| Group {
        count,
        place,
        reason,
        example: example.to_owned(),
    };
    let mut groups: Vec<Group> = groups.into_iter().map(group).collect();
    groups.sort_by_key(|group| std::cmp::Reverse(group.count));
    groups
}

/// A reason without its numbers and quoted values. What it begins with is the name of a field, and stays.
fn shape(reason: &str) -> String {
    let name = reason.strip_prefix('`').and_then(|rest| rest.split_once('`'));
    let (mut shape, rest) = match name {
        Some((name, rest)) => (format!("`{name}`"), rest),
        None => (String::new(), reason),
    };
    let (mut quote, mut in_number, mut chars) = (None, false, rest.chars().peekable());
    while let Some(c) = chars.next() {
        let is_point = in_number && c == '.' && chars.peek().is_some_and(char::is_ascii_digit);
        match quote {
            Some(end) if c == end => {
                shape.push('…');
                shape.push(c);
                quote = None;
            }
            Some(_) => {}
            None if matches!(c, '"' | '`') => {
                shape.push(c);
                quote = Some(c);
            }
            None if c.is_ascii_digit() => {
                if !in_number {
                    shape.push('#');
                }
            }
            None if is_point => {}
            None => shape.push(c),
        }
        in_number = c.is_ascii_digit() || is_point;
    }
    shape
}

fn result(caller: &Caller, batch: &BatchView) -> Markup {
    match &batch.result {
        None => empty("No result yet", "It is merged from the chunks' results once all of them are final.", &[]),
        Some(_) if !sees_contents(caller) => html! { p class="muted" { "Your role does not show results." } },
        Some(result) => html! {
            p class="acts" {
                a class="button" href={ "/api/v1/batches/" (batch.id) "/results" } download={ (batch.id) ".json" } { "Download" }
                a class="button" href={ "/api/v1/batches/" (batch.id) "/report" } download={ (batch.id) ".html" } { "Report" }
            }
            @for table in tables(result) { (result_table(batch, &table)) }
            (shown_json("result", result))
        },
    }
}

/// A name as one step of an address.
fn encoded(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    name.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// The first rows of a table of the result, and where all of them are.
fn result_table(batch: &BatchView, table: &ResultTable) -> Markup {
    let place = format!("/api/v1/batches/{}/results/{}", batch.id, encoded(&table.name));
    let class = |place: usize| table.is_numeric(place).then_some("num");
    html! {
        h3 { (table.name) }
        div class="scroll" {
            table class="cards" id={ "table-" (table.name) } {
                caption class="unseen" { "The rows of " (table.name) }
                thead { tr { @for (place, name) in table.columns.iter().enumerate() { th scope="col" class=[class(place)] { (name) } } } }
                tbody {
                    @for row in table.rows.iter().take(RESULT_ROWS) {
                        tr { @for (place, value) in row.iter().enumerate() { td data-label=(table.columns[place]) class=[class(place)] { (cell(value)) } } }
                    }
                }
            }
        }
        p {
            @if table.rows.len() > RESULT_ROWS { "The first " (RESULT_ROWS) " of " (table.rows.len()) " rows. " }
            a href={ (place) "?as=csv" } download { "CSV" } " "
            a href={ (place) "?as=markdown" } download { "Markdown" }
        }
    }
}

async fn outputs(caller: &Caller, view: &View, batch: &BatchView, paging: &Paging) -> Result<Markup> {
    if !batch.state.is_final() {
        return Ok(empty("Not yet", "What a batch writes is complete, and can be downloaded, once it has ended.", &[]));
    }
    let after = paging.0.after.as_deref().and_then(|after| after.parse().ok()).unwrap_or(-1);
    let found = view.read(caller.service().outputs(&batch.tenant, batch.id, after, paging.0.limit)).await?;
    let next = paging.next(&found, |output| output.chunk.to_string());
    let link = |name: &str| format!("/api/v1/batches/{}/outputs/{name}", batch.id);
    let shown = |output: &OutputDocument| {
        row(
            output.name.clone(),
            [
                html! { (output.chunk) },
                html! {
                    @if sees_contents(caller) { a href=(link(&output.name)) download { (output.name) } }
                    @else { (output.name) }
                },
                count(output.items),
                count(output.bytes),
                html! { code { (brief(&output.sha256)) } },
            ],
        )
    };
    let columns = [numbers("Chunk"), column("File"), numbers("Items"), numbers("Bytes"), wide("SHA-256")];
    Ok(html! {
        @if found.is_empty() { (empty("No files", "It writes none: its items go nowhere, or into a table.", &[])) }
        @else {
            (table("outputs", "Files that the batch has written", &columns, found.iter().map(shown)))
            (pager(view, found.len(), next.as_deref()))
            p class="muted" { "All of them, checked: " code { "gristmill batch outputs " (batch.id) " --to FOLDER" } }
        }
    })
}

async fn configuration(caller: &Caller, view: &View, batch: &BatchView) -> Result<Markup> {
    let Some(plan) = view.read(caller.store().batch_plan(batch.id)).await? else {
        return Ok(empty("It is gone", "The batch was deleted meanwhile.", &[]));
    };
    let params = if sees_contents(caller) { plan.params } else { json!(null) };
    Ok(html! {
        p class="muted" { "As it was when the batch was created: editing the configuration changes the next run." }
        (shown_json("definition", &json!(plan.definition)))
        @if !params.is_null() { h3 { "Parameters" } (shown_json("params", &params)) }
        h3 { "The input then" }
        (shown_json("fingerprint", &json!(plan.fingerprint)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_that_differ_by_their_values_are_one() {
        let reasons = [
            ("validate", "\"a\" is not of type \"integer\""),
            ("validate", "\"bc\" is not of type \"integer\""),
            ("parse", "quantity: -12.5 is below 0"),
            ("parse", "quantity: -7 is below 0"),
            ("parse", "quantity: -3 is below 0"),
            ("process", "`quantity` is `2.5`; a decimal such as 1234.50 is wanted."),
        ];
        let groups = grouped_by_reason(reasons.into_iter().map(|(place, reason)| (place.to_owned(), reason)));
        let said: Vec<(u64, &str, &str)> =
            groups.iter().map(|group| (group.count, group.place.as_str(), group.reason.as_str())).collect();
        assert_eq!(
            said,
            [
                (3, "parse", "quantity: -# is below #"),
                (2, "validate", "\"…\" is not of type \"…\""),
                (1, "process", "`quantity` is `…`; a decimal such as # is wanted."),
            ]
        );
    }
}
