//! How an operation begins: a form, a look at what it would do, and then the same once more, as of that look.

use gristmill_core::operation::{OperationVerb, RATE_MAX, Subjects};
use gristmill_core::query::parse;
use gristmill_service::control::operation::{OperationRequest, StartedOperation};
use gristmill_service::documents::WouldOperateDocument;
use maud::{Markup, html};

use super::capital;
use crate::api::operations::may;
use crate::gate::{Allowed, Caller, Change, Moment, Parameters, Params, Query, Result, perm};
use crate::pages::answer::{Page, Paged, Redirect, Sent};
use crate::pages::flash::Flash;
use crate::pages::form::Form;
use crate::pages::parts::copies::{copies, shell};
use crate::pages::parts::field::{Field, other_faults, required, text};
use crate::pages::parts::filters;
use crate::pages::parts::links;
use crate::pages::parts::number::{counted, grouped};
use crate::pages::parts::panel::{head, panel};
use crate::pages::view::{Head, View};

/// More than so many are confirmed by typing how many.
const TYPED_FROM: u64 = 1_000;

/// Each verb in words, and the command that does the same.
fn words(verb: OperationVerb) -> (&'static str, &'static str) {
    match verb {
        OperationVerb::Cancel => ("cancel jobs that wait", "job cancel"),
        OperationVerb::Redrive => ("redrive dead letters", "dead redrive"),
        OperationVerb::Discard => ("discard dead letters", "dead discard"),
        OperationVerb::RedriveItems => ("redrive quarantined items", "quarantine redrive"),
        OperationVerb::DiscardItems => ("discard quarantined items", "quarantine discard"),
        OperationVerb::CancelBatches => ("cancel batches that go on", "batch cancel"),
        OperationVerb::PauseBatches => ("pause batches that go on", "batch pause"),
        OperationVerb::ResumeBatches => ("resume batches that are paused", "batch resume"),
        OperationVerb::RestartBatches => ("restart batches that halted or were cancelled", "batch restart"),
        OperationVerb::DeleteBatches => ("delete batches that have ended", "batch delete"),
    }
}

/// What the form begins with.
#[derive(Debug, Default)]
pub(super) struct Begin {
    verb: Option<String>,
    query: Option<String>,
}

impl Parameters for Begin {
    fn read(query: &mut Query) -> Self {
        Self {
            verb: filters::text(query, "verb", "What is to be done"),
            query: filters::text(query, "q", "To which: a query"),
        }
    }
}

pub(super) async fn blank(caller: Allowed<perm::OperationsControl>, view: View, Params(begin): Params<Begin>) -> Paged {
    let (verb, query) = (begin.verb.unwrap_or_default(), begin.query.unwrap_or_default());
    Ok(page(&caller, &view, &Form::filled(&[("verb", &verb), ("query", &query)]), None))
}

fn page(caller: &Caller, view: &View, form: &Form, would: Option<&WouldOperateDocument>) -> Page {
    let query = form.given("query");
    let (_, command) = words(form.given("verb").parse().unwrap_or(OperationVerb::Cancel));
    let shown = shell(if query.is_empty() { "state:queued kind:import.*" } else { query });
    let main = html! {
        (head("New operation", "Does the same to every job, item or batch that a query selects, in steps. What is created afterwards is not selected.", Markup::default()))
        @if let Some(would) = would { (previewed(form, would)) }
        (panel("what", "What is to be done", fields(form)))
        (copies(&format!("gristmill {command} --query {shown} --dry-run"), "/api/v1/operations"))
    };
    view.page(caller, Head::new("New operation", "/operations"), main)
}

fn fields(form: &Form) -> Markup {
    let rate = Field { kind: "number", ..text("rate", "How many a second", "At most; empty is as fast as it goes") };
    let verbs = OperationVerb::ALL.map(|verb| (verb.as_str(), words(verb).0));
    html! {
        form method="post" action="/operations/start" class="stack" {
            (other_faults(form))
            (required("verb", "What", "").show_choice(form, &verbs))
            (required("query", "To which", "Jobs such as kind:import.* error:timeout age>1h, items such as stage:parse, batches such as name:retail").show(form))
            (rate.show(form))
            (required("reason", "Reason", "For those who look later").show(form))
            button class="primary" name="step" value="preview" { "Preview" }
        }
    }
}

/// What would be done, with the form that does it. Its snapshot goes along: what was created since is not selected.
fn previewed(form: &Form, would: &WouldOperateDocument) -> Markup {
    let (one, several) = would.verb.subjects().names();
    let many = counted(would.matches, one, several);
    panel(
        "preview",
        "Preview: nothing was done yet",
        html! {
            @if let Some(fault) = form.fault_of("confirm") { p class="fault" role="alert" { "The number " (fault) } }
            p {
                strong { (many) @if would.more { " or more" } } " would be changed"
                @if let Some(seconds) = would.seconds { ", within about " (grouped(seconds)) " s" }
                "."
            }
            @if !would.samples.is_empty() {
                p { "The first: " @for (index, sample) in would.samples.iter().enumerate() { @if index > 0 { ", " } (linked(would.verb, sample)) } "." }
                form method="post" action="/operations/start" class="stack" {
                    @for field in ["verb", "query", "rate", "reason"] {
                        input type="hidden" name=(field) value=(form.given(field));
                    }
                    input type="hidden" name="snapshot" value=(would.snapshot.to_rfc3339());
                    input type="hidden" name="matched" value=(would.matches);
                    @if weighs(would) {
                        label for="confirm" { "Type " code { (would.matches) } " to confirm" }
                        input id="confirm" name="confirm" required autocomplete="off" inputmode="numeric";
                    }
                    button class="primary danger" name="step" value="start" { (capital(would.verb.word())) " " (many) }
                }
            }
        },
    )
}

/// A sample with the way to it.
fn linked(verb: OperationVerb, sample: &str) -> Markup {
    match verb.subjects() {
        Subjects::Jobs => links::to(&format!("/jobs/{sample}"), sample),
        Subjects::Items => links::to(&format!("/quarantine/{sample}"), sample),
        Subjects::Batches => links::to(&format!("/batches/{sample}"), sample),
    }
}

/// What a form asks for; `None` when something is wrong with it.
fn read(form: &mut Form) -> Option<OperationRequest> {
    let verb: Option<OperationVerb> = form.required("verb");
    let query: Option<String> = form.required("query");
    let rate: Option<u32> = form.optional("rate");
    if rate.is_some_and(|rate| !(1..=RATE_MAX).contains(&rate)) {
        form.fault("rate", format!("must be 1 to {RATE_MAX}"));
    }
    let snapshot = form.optional::<Moment>("snapshot").map(|moment| moment.0);
    let (verb, query) = (verb?, query?);
    let asked = parse(verb.list(), &query).map_err(|fault| fault.to_string());
    match asked.and_then(|query| verb.check(&query).map(|()| query)) {
        Ok(query) => Some(OperationRequest { verb, query, rate, snapshot, id: None }),
        Err(wrong) => {
            form.fault("query", wrong);
            None
        }
    }
}

pub(super) async fn start(caller: Allowed<perm::OperationsControl>, view: View, mut form: Form) -> Result<Sent> {
    let (request, change) = (read(&mut form), form.change());
    let begins = form.text("step").as_deref() == Some("start");
    let (matched, _) = (form.text("matched").unwrap_or_default(), form.text("confirm"));
    if change.reason.is_none() {
        form.fault("reason", "is missing: an operation needs one");
    }
    let again = |form: &Form| Ok(Sent::Again(Box::new(page(&caller, &view, form, None).refused())));
    let (Some(request), Ok(())) = (request, form.finish()) else { return again(&form) };
    may(&caller, request.verb)?;
    let would = match operate(&caller, &request, &Change { dry_run: true, ..change.clone() }).await {
        Ok(started) => WouldOperateDocument::new(&request, &started.preview),
        Err(error) => {
            form.refuse(error)?;
            return again(&form);
        }
    };
    if begins && weighs(&would) {
        form.confirm(&matched);
    }
    if !begins || form.is_faulty() {
        return Ok(Sent::Again(Box::new(page(&caller, &view, &form, Some(&would)))));
    }
    let started = operate(&caller, &request, &change).await?;
    let place = started.operation.map_or("/operations".to_owned(), |operation| format!("/operations/{}", operation.id));
    Ok(Sent::Done(Redirect::to(place).saying(Flash::done("It has begun. A scheduler makes its steps."))))
}

async fn operate(caller: &Caller, request: &OperationRequest, change: &Change) -> Result<StartedOperation> {
    let settings = caller.api().program().pruner_options().settings;
    Ok(caller.service().start_operation(&caller.order(change), request, &settings).await?)
}

/// Whether so much is done that how much must be typed.
fn weighs(would: &WouldOperateDocument) -> bool {
    would.matches > TYPED_FROM || would.more
}
