//! Limits: listed with what runs under them; created, changed, dropped. They apply to the jobs of all tenants.

use std::collections::BTreeSet;

use gristmill_core::access::Permission;
use gristmill_core::duration::{self, Span};
use gristmill_core::id::is_name;
use gristmill_store::{LimitOrigin, LimitSpec, LimitView};
use maud::{Markup, html};

use crate::api::limits::shown;
use crate::gate::text::encoded;
use crate::gate::{Allowed, ApiError, Caller, Overseer, Path, Result, perm};
use crate::live::Topic;
use crate::pages::answer::{Page, Paged, Redirect, Sent};
use crate::pages::flash::Flash;
use crate::pages::form::Form;
use crate::pages::parts::action::Action;
use crate::pages::parts::copies::copies;
use crate::pages::parts::field::{Field, other_faults, required, text};
use crate::pages::parts::number::count_or_none;
use crate::pages::parts::panel::{head, panel};
use crate::pages::parts::table::{Row, column, facts, numbers, row, table, wide};
use crate::pages::parts::time;
use crate::pages::view::{Head, View};

/// Whether the caller may change limits: they concern all tenants.
fn may_change(caller: &Caller) -> bool {
    caller.principal.installation && caller.may(Permission::LimitsChange)
}

/// The limits that are given, and the way to a new one.
pub(super) fn rows(caller: &Caller, limits: &[LimitView]) -> Markup {
    let columns =
        [column("Limit"), wide("Applies to"), column("At once"), column("Begin"), numbers("Running"), column("Made")];
    html! {
        @if limits.is_empty() {
            p class="muted" { "None: jobs run as fast as workers have slots." }
        } @else { (table("limit", "Limits", &columns, limits.iter().map(one))) }
        @if may_change(caller) { p { a class="button" href="/limits/new" { "New limit" } } }
    }
}

fn one(limit: &LimitView) -> Row {
    let cells = [
        html! { a href={ "/limits/" (limit.name) } { (limit.name) } },
        html! { (applies(&limit.spec)) },
        html! { @if let Some(most) = limit.spec.concurrency { "at most " (most) } @else { "–" } },
        html! { (rate(&limit.spec).unwrap_or_else(|| "–".to_owned())) },
        count_or_none(limit.running),
        html! { (made(limit)) },
    ];
    row(limit.name.clone(), cells)
}

fn made(limit: &LimitView) -> &'static str {
    match limit.origin {
        LimitOrigin::File => "in the configuration",
        LimitOrigin::Command => "by command",
    }
}

/// What a limit applies to, in words.
fn applies(spec: &LimitSpec) -> String {
    let names = |set: &BTreeSet<String>| set.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    let what = match (spec.kinds.is_empty(), spec.queues.is_empty()) {
        (true, _) => format!("jobs on {}", names(&spec.queues)),
        (false, true) => format!("jobs of kind {}", names(&spec.kinds)),
        (false, false) => format!("jobs of kind {} on {}", names(&spec.kinds), names(&spec.queues)),
    };
    if spec.per_key { format!("{what}, for each key separately") } else { what }
}

/// How many may begin in a period, in words.
fn rate(spec: &LimitSpec) -> Option<String> {
    let per = spec.per.map_or("1s".to_owned(), |per| duration::format(per.0));
    let burst = spec.burst.filter(|burst| *burst > 1).map(|burst| format!(", {burst} at a moment")).unwrap_or_default();
    Some(format!("{} in {per}{burst}", spec.rate?))
}

async fn find(caller: &Caller, view: &View, name: &str) -> Result<LimitView> {
    let found = view.read(caller.whole_store().limits()).await?.into_iter().find(|limit| limit.name == name);
    let missing = || ApiError::not_found(format!("there is no limit `{name}`"));
    found.map(|limit| shown(caller, limit)).ok_or_else(missing)
}

pub(super) async fn show(caller: Allowed<perm::LimitsRead>, view: View, Path(name): Path<String>) -> Paged {
    let limit = find(&caller, &view, &name).await?;
    let form = given(&limit.name, &limit.spec);
    Ok(page(&caller, &view, &limit, &form))
}

fn page(caller: &Caller, view: &View, limit: &LimitView, form: &Form) -> Page {
    let name = &limit.name;
    let changes = may_change(caller) && limit.origin == LimitOrigin::Command;
    let about = "Drops the limit: what it holds back may run at once.";
    let acts = Action::typed("drop", format!("/limits/{name}/drop"), "Drop", about, name.clone());
    let main = html! {
        (head(html! { "Limit " (name) }, html! { "For " (applies(&limit.spec)) }, if changes { acts.form() } else { Markup::default() }))
        (panel("what", "What it allows", html! { (about_of(limit)) (uses(limit)) }))
        @if changes {
            (panel("change", "Change it", html! { (fields(&format!("/limits/{name}"), form, None, "Change")) }))
        } @else if limit.origin == LimitOrigin::File {
            p class="muted" { "It stands in the configuration under " code { "[limit." (name) "]" } ": change it there." }
        }
        (copies(&format!("gristmill limit list --json | jq '.[] | select(.name == \"{name}\")'"), &format!("/api/v1/limits/{name}")))
    };
    view.page(caller, Head::new(format!("Limit {name}"), "/queues").live([Topic::Queues]), main)
}

fn about_of(limit: &LimitView) -> Markup {
    facts([
        ("Applies to", html! { (applies(&limit.spec)) }),
        (
            "At once",
            html! { @if let Some(most) = limit.spec.concurrency { (most) } @else { "as many as there are slots" } },
        ),
        ("Begin", html! { (rate(&limit.spec).unwrap_or_else(|| "as fast as they come".to_owned())) }),
        ("Running now", html! { (limit.running) }),
        ("Made", html! { (made(limit)) }),
        ("Last changed", time::instant(limit.updated_at)),
    ])
}

fn uses(limit: &LimitView) -> Markup {
    let columns = [column("Tenant"), column("Key"), numbers("Running")];
    let line = |at: usize| {
        let used = &limit.uses[at];
        let key =
            html! { @if used.key.is_empty() { span class="muted" { "without a key" } } @else { code { (used.key) } } };
        row(at.to_string(), [html! { (used.tenant) }, key, html! { (used.running) }])
    };
    html! {
        @if !limit.uses.is_empty() { (table("uses", "What runs under it, by key", &columns, (0..limit.uses.len()).map(line))) }
    }
}

/// A form filled in with a limit as it is.
fn given(name: &str, spec: &LimitSpec) -> Form {
    let lines = |set: &BTreeSet<String>| set.iter().map(String::as_str).collect::<Vec<_>>().join(" ");
    let number = |number: Option<u32>| number.map(|number| number.to_string()).unwrap_or_default();
    let pairs = [
        ("name", name.to_owned()),
        ("queues", lines(&spec.queues)),
        ("kinds", lines(&spec.kinds)),
        ("per_key", if spec.per_key { "yes" } else { "" }.to_owned()),
        ("concurrency", number(spec.concurrency)),
        ("rate", number(spec.rate)),
        ("per", spec.per.map(|per| duration::format(per.0)).unwrap_or_default()),
        ("burst", number(spec.burst)),
    ];
    let pairs: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
    Form::of(&pairs.join("&"))
}

fn fields(to: &str, form: &Form, name: Option<Field<'_>>, verb: &str) -> Markup {
    let number = |name, label, hint| Field { kind: "number", ..text(name, label, hint) };
    html! {
        form method="post" action=(to) class="stack" {
            (other_faults(form))
            @if let Some(name) = name { (name.show(form)) }
            (text("queues", "Queues", "Jobs on these, all of them together; names with spaces between them").show(form))
            (text("kinds", "Kinds", "Jobs of these kinds, all of them together").show(form))
            (text("per_key", "For each key separately", "").show_choice(form, &[("", "no, for all together"), ("yes", "yes, for each key")]))
            (number("concurrency", "At once", "How many may run at the same time").show(form))
            (number("rate", "Begin", "How many may begin in each period").show(form))
            (text("per", "Period", "Such as 1s or 1m; a second unless said").show(form))
            (number("burst", "At a moment", "How many may begin at one moment after a quiet time; 1 unless said").show(form))
            (text("reason", "Reason", "For those who look later").show(form))
            button class="primary" { (verb) }
        }
    }
}

const NAME: Field<'_> = required("name", "Name", "1 to 100 letters, digits, - and _");

pub(super) async fn blank(caller: Overseer<perm::LimitsChange>, view: View) -> Paged {
    Ok(new_page(&caller, &view, &Form::default()))
}

fn new_page(caller: &Caller, view: &View, form: &Form) -> Page {
    let main = html! {
        (head("New limit", "It applies to the jobs of all tenants, from the next claim on.", Markup::default()))
        (panel("new", "What it allows", fields("/limits", form, Some(NAME), "Create")))
        (copies("gristmill limit set NAME --queue mail --concurrency 8", "/api/v1/limits"))
    };
    view.page(caller, Head::new("New limit", "/queues"), main)
}

/// Reads what a limit allows; everything that is wrong is at its field.
fn read(form: &mut Form) -> LimitSpec {
    let queues = names(form, "queues");
    let kinds = names(form, "kinds");
    let spec = LimitSpec {
        queues,
        kinds,
        per_key: form.flag("per_key"),
        concurrency: form.optional("concurrency"),
        rate: form.optional("rate"),
        per: form.text("per").and_then(|text| match duration::parse(&text) {
            Ok(per) => Some(Span(per)),
            Err(error) => {
                form.fault("per", error.to_string());
                None
            }
        }),
        burst: form.optional("burst"),
    };
    if !form.is_faulty()
        && let Err(wrong) = spec.check()
    {
        let field = match wrong.key {
            "" if spec.queues.is_empty() && spec.kinds.is_empty() => "queues",
            "" => "concurrency",
            key => key,
        };
        form.fault(field, wrong.message);
    }
    spec
}

fn names(form: &mut Form, field: &str) -> BTreeSet<String> {
    let text = form.text(field).unwrap_or_default();
    let names: BTreeSet<String> =
        text.split([' ', ',', '\n', '\r']).filter(|name| !name.is_empty()).map(str::to_owned).collect();
    if let Some(odd) = names.iter().find(|name| !is_name(name)) {
        form.fault(field, format!("`{odd}` cannot be a name: 1 to 100 letters, digits, `-` and `_`"));
    }
    names
}

pub(super) async fn create(caller: Overseer<perm::LimitsChange>, view: View, mut form: Form) -> Result<Sent> {
    let (name, spec, change) = (form.required::<String>("name"), read(&mut form), form.change());
    if name.as_deref().is_some_and(|name| !is_name(name)) {
        form.fault("name", "cannot be a name: 1 to 100 letters, digits, `-` and `_`");
    }
    let there = view.read(caller.whole_store().limits()).await?;
    if there.iter().any(|limit| Some(&limit.name) == name.as_ref()) {
        form.fault("name", "is that of a limit that there is already; change that one");
    }
    let again = |form: &Form| Ok(Sent::Again(Box::new(new_page(&caller, &view, form).refused())));
    let (Some(name), Ok(())) = (name, form.finish()) else { return again(&form) };
    caller.service().set_limit(&caller.order(&change), &name, spec).await?;
    Ok(Sent::Done(
        Redirect::to(format!("/limits/{name}")).saying(Flash::done(format!("The limit {name} applies from now on."))),
    ))
}

pub(super) async fn change(
    caller: Overseer<perm::LimitsChange>,
    view: View,
    Path(name): Path<String>,
    mut form: Form,
) -> Result<Sent> {
    let limit = find(&caller, &view, &name).await?;
    let (spec, change) = (read(&mut form), form.change());
    if form.finish().is_err() {
        return Ok(Sent::Again(Box::new(page(&caller, &view, &limit, &form).refused())));
    }
    caller.service().set_limit(&caller.order(&change), &name, spec).await?;
    Ok(Sent::Done(Redirect::to(format!("/limits/{name}")).saying(Flash::done(format!("The limit {name} is changed.")))))
}

pub(super) async fn remove(
    caller: Overseer<perm::LimitsChange>,
    Path(name): Path<String>,
    mut form: Form,
) -> Result<Redirect> {
    form.confirm(&name);
    let change = form.change();
    form.finish()?;
    let report = caller.service().drop_limit(&caller.order(&change), &name).await?;
    if report.affected == 0 {
        return Err(ApiError::not_found(format!("there is no limit `{name}` that was made by command")));
    }
    Ok(Redirect::to("/queues").saying(Flash::done(format!("The limit {name} is dropped."))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_read_back_from_its_own_form() {
        let spec = LimitSpec {
            queues: BTreeSet::from(["a".to_owned(), "b".to_owned()]),
            per_key: true,
            concurrency: Some(4),
            rate: Some(10),
            per: Some(Span(std::time::Duration::from_secs(60))),
            ..LimitSpec::default()
        };
        let mut form = given("x", &spec);
        assert_eq!(form.text("name").as_deref(), Some("x"));
        assert_eq!(read(&mut form), spec);
        form.finish().expect("nothing is wrong");
        assert_eq!(applies(&spec), "jobs on a, b, for each key separately");
        assert_eq!(rate(&spec).as_deref(), Some("10 in 1m"));
    }

    #[test]
    fn what_is_wrong_stands_at_its_field() {
        for (text, field) in [
            ("queues=a", "concurrency"),
            ("queues=a&concurrency=1&burst=3", "burst"),
            ("concurrency=1", "queues"),
            ("queues=a&concurrency=0", "concurrency"),
            ("queues=a+b%2Fc&rate=1", "queues"),
            ("queues=a&rate=1&per=soon", "per"),
        ] {
            let mut form = Form::of(text);
            read(&mut form);
            assert!(form.fault_of(field).is_some(), "{text}: {form:?}");
        }
    }
}
