//! The audit: who changed what, from where and why; an entry with what was before and after. Nothing is changed here.

use std::collections::BTreeSet;

use gristmill_core::Instant;
use gristmill_core::audit::Action;
use gristmill_service::documents::AuditEntryDocument;
use gristmill_store::AuditFilter;
use maud::{Markup, html};
use serde_json::{Map, Value};

use super::answer::Paged;
use super::parts::copies::{copies, path, shell};
use super::parts::empty::empty;
use super::parts::filters::{self, Filter, typed};
use super::parts::number::{counted, none};
use super::parts::pager::pager;
use super::parts::panel::{head, panel};
use super::parts::table::{Row, column, facts, numbers, row, table, wide};
use super::parts::{links, time};
use super::view::{Head, View};
use crate::gate::{Allowed, ApiError, Moment, Parameters, Params, Path, Query, Routes, perm};

/// How many entries a page has.
const ROWS: u32 = 50;

pub(super) fn routes() -> Routes {
    Routes::default().get("/audit", "What was ordered, newest first", list).get(
        "/audit/{entry}",
        "One entry, with what was before and after",
        show,
    )
}

/// Which entries are shown.
#[derive(Debug, Default)]
struct Wanted {
    actor: Option<String>,
    action: Option<Action>,
    target: Option<String>,
    since: Option<Instant>,
    until: Option<Instant>,
    after: Option<u64>,
}

impl Parameters for Wanted {
    fn read(query: &mut Query) -> Self {
        Self {
            actor: filters::text(query, "actor", "Only by this actor"),
            action: filters::value(query, "action", "Only with this action, such as `queue.pause`"),
            target: filters::text(query, "target", "Only about this: a name or an id"),
            since: filters::value::<Moment>(query, "since", "Not before this instant").map(|at| at.0),
            until: filters::value::<Moment>(query, "until", "Before this instant").map(|at| at.0),
            after: filters::value(query, "after", "Below this number: the last one of the page before"),
        }
    }
}

impl Wanted {
    fn filter(&self, tenant: &str) -> AuditFilter {
        AuditFilter {
            tenant: tenant.to_owned(),
            actor: self.actor.clone(),
            action: self.action.map(|action| action.to_string()),
            target: self.target.clone(),
            since: self.since,
            until: self.until,
            before: self.after,
            limit: ROWS,
        }
    }

    fn limits(&self) -> [(&'static str, Option<String>); 5] {
        [
            ("actor", self.actor.clone()),
            ("action", self.action.map(|action| action.to_string())),
            ("target", self.target.clone()),
            ("since", self.since.map(|at| at.to_rfc3339())),
            ("until", self.until.map(|at| at.to_rfc3339())),
        ]
    }

    fn command(&self) -> String {
        let limits = self.limits();
        let flags = limits.iter().filter_map(|(name, value)| Some(format!(" --{name} {}", shell(value.as_deref()?))));
        format!("gristmill audit list{}", flags.collect::<String>())
    }

    fn api(&self) -> String {
        let limits = self.limits();
        path("/api/v1/audit", &limits.each_ref().map(|(name, value)| (*name, value.as_deref())))
    }
}

async fn list(caller: Allowed<perm::AuditRead>, view: View, Params(wanted): Params<Wanted>) -> Paged {
    let entries = view.read(caller.store().audit(&wanted.filter(caller.tenant()))).await?;
    let entries: Vec<AuditEntryDocument> = entries.into_iter().map(AuditEntryDocument::from).collect();
    let heads = view.panel(caller.store().audit_heads(Some(caller.tenant()))).await;
    let whole = heads.and_then(|heads| heads.into_iter().next()).map(|head| head.end.seq);
    let next = entries.last().filter(|_| entries.len() == ROWS as usize).map(|entry| entry.seq.to_string());
    let about = html! { span {
        @if let Some(whole) = whole { (counted(whole, "entry", "entries")) " in the chain of " } @else { "The chain of " }
        (caller.tenant()) ". They are not changed here; " code { "gristmill audit verify" } " shows whether they were elsewhere."
    } };
    let main = html! {
        (head("Audit", about, Markup::default()))
        (panel("audit", "What was ordered, newest first", html! {
            (form(&wanted))
            @if entries.is_empty() { (nothing(&wanted)) } @else {
                (rows(&entries))
                (pager(&view, entries.len(), next.as_deref()))
            }
        }))
        (copies(&wanted.command(), &wanted.api()))
    };
    Ok(view.page(&caller, Head::new("Audit", "/audit").poll(15), main))
}

fn form(wanted: &Wanted) -> Markup {
    let [actor, action, target, since, until] = wanted.limits().map(|(_, value)| value);
    let choices: Vec<(&str, &str)> = std::iter::once(("", "any"))
        .chain(Action::ALL.iter().map(|action| (action.as_str(), action.as_str())))
        .collect();
    let action = Filter { name: "action", label: "Action", value: action.as_deref(), choices: &choices };
    let fields = [
        typed("actor", "Actor", actor.as_deref()),
        action,
        typed("target", "About", target.as_deref()),
        typed("since", "Since", since.as_deref()),
        typed("until", "Until", until.as_deref()),
    ];
    filters::form("/audit", &[], &fields)
}

fn nothing(wanted: &Wanted) -> Markup {
    match wanted.limits().iter().all(|(_, value)| value.is_none()) {
        true => empty(
            "Nothing was ordered yet",
            "Whoever changes something leaves an entry here, such as by:",
            &["gristmill queue pause default --reason 'the first entry'"],
        ),
        false => empty("No entry is like that", "Other filters may show some.", &[]),
    }
}

fn rows(entries: &[AuditEntryDocument]) -> Markup {
    let columns = [
        numbers("Entry"),
        column("When"),
        column("Actor"),
        column("Role"),
        column("Action"),
        wide("About"),
        wide("Reason"),
        column("From"),
    ];
    table("entries", "Entries of the audit", &columns, entries.iter().map(one))
}

fn one(entry: &AuditEntryDocument) -> Row {
    let cells = [
        html! { a href={ "/audit/" (entry.seq) } { (entry.seq) } },
        time::instant(entry.at),
        html! { (entry.actor) " " span class="muted" { (entry.actor_kind) } },
        html! { (entry.role.as_deref().unwrap_or("–")) },
        html! { span class="mono fixed" { (entry.action) } },
        html! { (links::cut(&entry.target, 80)) },
        html! { (links::cut(entry.reason.as_deref().unwrap_or_default(), 120)) },
        html! { (entry.address.as_deref().unwrap_or("–")) },
    ];
    row(entry.seq.to_string(), cells)
}

async fn show(caller: Allowed<perm::AuditRead>, view: View, Path(seq): Path<u64>) -> Paged {
    let behind = view.read(caller.store().audit_behind(caller.tenant(), seq.saturating_sub(1), 1)).await?;
    let found = behind.into_iter().map(AuditEntryDocument::from).find(|entry| entry.seq == seq);
    let entry = found.ok_or_else(|| {
        ApiError::not_found(format!("there is no entry {seq} in the audit of `{}`", caller.tenant()))
            .hint("it may have been removed after its time, and be in the archive")
    })?;
    let main = html! {
        (head(html! { "Entry " (seq) }, html! { span { code { (entry.action) } " of " (links::cut(&entry.target, 120)) } }, neighbours(seq)))
        (panel("entry", "Who, what, why", about(&entry)))
        (panel("difference", "Before and after", difference(&entry.details)))
        (panel("chain", "In the chain", facts([
            ("Hash of the entry before", html! { code { (entry.previous) } }),
            ("Its own hash", html! { code { (entry.hash) } }),
        ])))
        (copies(&format!("gristmill audit show {seq}"), &format!("/api/v1/audit/{seq}")))
    };
    Ok(view.page(&caller, Head::new(format!("Entry {seq}"), "/audit"), main))
}

fn neighbours(seq: u64) -> Markup {
    html! {
        @if seq > 1 { a class="button" href={ "/audit/" (seq - 1) } rel="prev" { "The one before" } }
        a class="button" href="/audit" { "All" }
    }
}

fn about(entry: &AuditEntryDocument) -> Markup {
    let text = |text: &Option<String>| html! { @if let Some(text) = text { (text) } @else { (none()) } };
    html! {
        (facts([
            ("When", time::instant(entry.at)),
            ("Actor", html! { a href=(path("/audit", &[("actor", Some(&entry.actor))])) { (entry.actor) } }),
            ("Kind of actor", html! { (entry.actor_kind) }),
            ("Role", text(&entry.role)),
            ("From", text(&entry.address)),
            ("Action", html! { a href=(path("/audit", &[("action", Some(&entry.action))])) { (entry.action) } }),
            ("About", html! { a href=(path("/audit", &[("target", Some(&entry.target))])) { (links::cut(&entry.target, 80)) } }),
            ("Request", text(&entry.request)),
            ("Order", html! { code { (entry.order) } }),
            ("Step", html! { code { (entry.step) } }),
        ]))
        @match &entry.reason {
            Some(reason) => p { strong { "Reason: " } (reason) },
            None => p class="muted" { "No reason was given." },
        }
    }
}

/// What was before and is after, key by key; anything else that the entry says.
fn difference(details: &Value) -> Markup {
    let Value::Object(fields) = details else { return html! { pre { code { (details) } } } };
    let sides = (fields.get("before"), fields.get("after"));
    let rest: Map<String, Value> = fields
        .iter()
        .filter(|(key, _)| !["before", "after"].contains(&key.as_str()))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    html! {
        @if let (Some(before), Some(after)) = sides { (compared(before, after)) }
        @if !rest.is_empty() { pre { code { (serde_json::to_string_pretty(&rest).unwrap_or_default()) } } }
        @if fields.is_empty() { p class="muted" { "The entry says no more." } }
    }
}

fn compared(before: &Value, after: &Value) -> Markup {
    let columns = [column("Field"), wide("Before"), wide("After")];
    let line = |(at, change): (usize, Change)| {
        let value = |value: Option<&Value>| html! { @if let Some(value) = value { code { (plain(value)) } } @else { (none()) } };
        let name = html! {
            @if change.is_change() { strong { (change.field) } " " span class="badge" { "changed" } }
            @else { (change.field) }
        };
        row(at.to_string(), [name, value(change.before), value(change.after)])
    };
    table("change", "Before and after", &columns, changes(before, after).into_iter().enumerate().map(line))
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A field on both sides.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Change<'a> {
    field: &'a str,
    before: Option<&'a Value>,
    after: Option<&'a Value>,
}

impl Change<'_> {
    fn is_change(&self) -> bool {
        self.before != self.after
    }
}

/// The fields of both sides, those first that differ. What is no object is one field without a name.
fn changes<'a>(before: &'a Value, after: &'a Value) -> Vec<Change<'a>> {
    let object = |value: &'a Value| value.as_object();
    if object(before).is_none() && object(after).is_none() {
        return vec![Change { field: "value", before: Some(before), after: Some(after) }];
    }
    let sides = [object(before), object(after)];
    let fields: BTreeSet<&str> = sides.into_iter().flatten().flat_map(Map::keys).map(String::as_str).collect();
    let of = |side: Option<&'a Map<String, Value>>, field: &str| side.and_then(|side| side.get(field));
    let change = |field| Change { field, before: of(sides[0], field), after: of(sides[1], field) };
    let mut changes: Vec<Change<'a>> = fields.into_iter().map(change).collect();
    changes.sort_by_key(|change| !change.is_change());
    changes
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_differs_stands_first() {
        let (before, after) = (json!({ "a": 1, "b": 2, "gone": true }), json!({ "a": 1, "b": 3, "new": "x" }));
        let found = changes(&before, &after);
        let fields: Vec<(&str, bool)> = found.iter().map(|change| (change.field, change.is_change())).collect();
        assert_eq!(fields, [("b", true), ("gone", true), ("new", true), ("a", false)]);
        assert_eq!(changes(&Value::Null, &json!({ "a": 1 }))[0].before, None, "it did not exist");
        assert_eq!(changes(&json!(1), &json!(2)).len(), 1);
    }

    #[test]
    fn hostile_details_are_text() {
        let shown = difference(&json!({ "before": { "<b>": "<script>" }, "after": null, "x": "</pre>" })).into_string();
        assert!(!shown.contains("<script>") && !shown.contains("<b>") && shown.contains("&lt;script&gt;"), "{shown}");
    }
}
