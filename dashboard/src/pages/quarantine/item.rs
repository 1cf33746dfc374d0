//! One item: what it is, why it was set aside; edited or patched, looked at before, and run again.

use std::collections::BTreeMap;

use gristmill_core::access::Permission;
use gristmill_core::item_patch::{ItemPatch, Patch};
use gristmill_core::json;
use gristmill_store::{Page, PatchRedrive, PatchReport, QuarantineFilter, QuarantineView, QuarantineWhich};
use maud::{Markup, html};
use serde_json::Value;

use super::act::CHUNK;
use super::{fingerprint, shown};
use crate::gate::text::encoded;
use crate::gate::{Allowed, ApiError, Caller, Change, Path, Result, perm};
use crate::pages::answer::{Page as Shown, Paged, Redirect, Sent};
use crate::pages::flash::Flash;
use crate::pages::form::Form;
use crate::pages::parts::copies::copies;
use crate::pages::parts::field::{other_faults, text};
use crate::pages::parts::number::none;
use crate::pages::parts::panel::{head, panel};
use crate::pages::parts::table::facts;
use crate::pages::parts::{links, time};
use crate::pages::view::{Head, View};

pub(super) async fn show(caller: Allowed<perm::QuarantineRead>, view: View, Path(id): Path<i64>) -> Paged {
    let item = find(&caller, &view, id).await?;
    Ok(page(&caller, &view, &item, &Form::default(), None))
}

async fn find(caller: &Caller, view: &View, id: i64) -> Result<QuarantineView> {
    let filter = QuarantineFilter {
        tenant: caller.tenant().to_owned(),
        batch: None,
        open_only: false,
        ..QuarantineFilter::default()
    };
    let before = Page { after: id.checked_sub(1).map(|before| before.to_string()), limit: 1 };
    let found = view.read(caller.store().quarantine(&filter, &before)).await?;
    let missing = || ApiError::not_found(format!("there is no item {id} in the quarantine of `{}`", caller.tenant()));
    found.into_iter().find(|item| item.id == id).ok_or_else(missing)
}

/// `preview` is what a redrive would do.
fn page(caller: &Caller, view: &View, item: &QuarantineView, form: &Form, preview: Option<&PatchReport>) -> Shown {
    let reads = caller.may(Permission::ContentsRead);
    let main = html! {
        (head(format!("Item {}", item.id), html! { "Set aside by the stage " (item.stage) ": " (links::cut(&item.reason, 300)) }, Markup::default()))
        @if let Some(report) = preview { (previewed(report, reads)) }
        (panel("about", "The item", about(item, reads)))
        @if item.state != "open" {
            p class="note good" { span { "It was redriven already: what becomes of it now, its batch says." } }
        } @else if caller.may(Permission::QuarantineMend) {
            (panel("mend", "Run it again", mend(item, form, reads)))
        }
        (copies(&format!("gristmill quarantine show {}", item.id), &format!("/api/v1/quarantine/{}", item.id)))
    };
    view.page(caller, Head::new(format!("Item {}", item.id), "/quarantine"), main)
}

fn about(item: &QuarantineView, reads: bool) -> Markup {
    html! {
        (facts([
            ("State", shown(&item.state)),
            ("Batch", links::batch(item.batch)),
            ("Chunk", html! { (item.seq) }),
            ("Generation", html! { (item.generation) }),
            ("Position in the input", html! { (item.position) }),
            ("Line", html! { @if let Some(line) = item.line { (line) } @else { (none()) } }),
            ("Set aside", time::instant(item.created_at)),
            ("Same reason", html! { a href={ "/quarantine?same=" (fingerprint(item).id()) } { "all items with it" } }),
        ]))
        p { strong { "Reason: " } (item.reason) }
        @if reads { pre { code id="as-it-came" { (pretty(&item.item)) } } }
        @else { p class="muted" { "What it contains is not for your role (" code { "contents:read" } ")." } }
    }
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}

/// The form: an edited item, or a patch, or neither.
fn mend(item: &QuarantineView, form: &Form, reads: bool) -> Markup {
    let to = format!("/quarantine/{}/redrive", item.id);
    let edited = text("item", "The item, edited", "A JSON object. It runs as it stands here");
    let patch = text(
        "patch",
        "Or a JSON Patch",
        "RFC 6902, such as [{\"op\": \"replace\", \"path\": \"/price\", \"value\": \"1.00\"}]; instead of the item above",
    );
    let untouched = Form::of(&format!("item={}", encoded(&pretty(&item.item))));
    let shown = if form.given("item").is_empty() { &untouched } else { form };
    html! {
        form method="post" action=(to) class="stack" {
            (other_faults(form))
            @if reads { (edited.show_lines(shown, 12)) }
            @else { p class="muted" { "It runs as it is, or by a patch: to edit it you would have to read it." } }
            (patch.show_lines(form, 3))
            (text("reason", "Reason", "For those who look later").show(form))
            div class="acts" {
                button name="verb" value="preview" { "Preview" }
                button class="primary" name="verb" value="redrive" { "Redrive" }
            }
        }
    }
}

/// What a redrive would do to the item.
fn previewed(report: &PatchReport, reads: bool) -> Markup {
    let sample = report.samples.first();
    html! {
        section class="panel" id="preview" aria-labelledby="preview-heading" {
            h2 id="preview-heading" { "Preview: nothing was changed yet" }
            @for (_, why) in &report.refused { p class="note bad" { span { "It would stay: " (why) } } }
            @if let Some(sample) = sample.filter(|_| reads) {
                div class="columns" {
                    div { h3 { "As it came" } pre { code { (pretty(&sample.before)) } } }
                    div { h3 { "As it would run" } pre { code { (pretty(&sample.after)) } } }
                }
            } @else if report.redriven > 0 { p { "It would run again." } }
            @if let Some(generation) = report.generation {
                p class="muted" { "Its batch has ended: this would open its generation " (generation) "." }
            }
        }
    }
}

/// How the item is to be changed: as it was edited, or by a patch, or not at all.
fn wanted(item: &QuarantineView, form: &mut Form) -> ItemPatch {
    let (edited, patch) = (form.text("item"), form.text("patch"));
    let edited = edited.map(|text| json::read(text.as_bytes())).filter(|read| read.as_ref().ok() != Some(&item.item));
    match (edited, patch) {
        (Some(_), Some(_)) => form.fault("patch", "stands beside an edited item; give only one of them"),
        (None, Some(patch)) => match Patch::parse(&patch) {
            Ok(patch) => return ItemPatch::Patch(patch),
            Err(error) => form.fault("patch", error),
        },
        (Some(Ok(value @ Value::Object(_))), None) => return ItemPatch::Replace(BTreeMap::from([(item.id, value)])),
        (Some(Ok(other)), None) => form.fault("item", format!("is {}, not an object", json::kind_of(&other))),
        (Some(Err(error)), None) => form.fault("item", format!("is not JSON that can be kept: {error}")),
        (None, None) => {}
    }
    ItemPatch::AsIs
}

pub(super) async fn redrive(
    caller: Allowed<perm::QuarantineMend>,
    view: View,
    Path(id): Path<i64>,
    mut form: Form,
) -> Result<Sent> {
    let item = find(&caller, &view, id).await?;
    let mend = wanted(&item, &mut form);
    let rehearsed = form.text("verb").as_deref() == Some("preview");
    let change = Change { dry_run: rehearsed, ..form.change() };
    if form.is_faulty() || form.finish().is_err() {
        return Ok(Sent::Again(Box::new(page(&caller, &view, &item, &form, None).refused())));
    }
    let which = QuarantineWhich { items: vec![id], ..QuarantineWhich::default() };
    let patching = PatchRedrive { batch: item.batch, which, mend, chunk: CHUNK };
    let report = caller.service().patch_quarantine(&caller.order(&change), &patching).await?;
    if rehearsed {
        return Ok(Sent::Again(Box::new(page(&caller, &view, &item, &form, Some(&report)))));
    }
    if let Some((_, why)) = report.refused.first() {
        form.fault("patch", format!("does not fit the item: {why}"));
        return Ok(Sent::Again(Box::new(page(&caller, &view, &item, &form, None).refused())));
    }
    let flash = match report.redriven {
        0 => Flash::careful(format!("Item {id} was redriven already.")),
        _ => Flash::done(format!("Item {id} runs again.")),
    };
    Ok(Sent::Done(Redirect::to(format!("/quarantine/{id}")).saying(flash)))
}
