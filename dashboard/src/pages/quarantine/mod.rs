//! Items that were set aside: by their reasons, or one by one; redrive those that are ticked.
//!
//! * [`act`]: redrive what is ticked.
//! * [`item`](mod@item): one item; edited and redriven.

mod act;
mod item;

use std::collections::BTreeMap;

use gristmill_core::access::Permission;
use gristmill_core::fingerprint::Fingerprint;
use gristmill_core::id::BatchId;
use gristmill_core::operation::OperationVerb;
use gristmill_core::query::{List, Query as Asked};
use gristmill_store::{Page, QuarantineFilter, QuarantineView};
use maud::{Markup, html};

use self::act::{Place, TICKED};
use super::answer::Paged;
use super::parts::copies::{copies, path, shell};
use super::parts::empty::empty;
use super::parts::filters::{self, Filter, Tab, typed};
use super::parts::number::{count, counted, none};
use super::parts::pager::pager;
use super::parts::panel::{head, panel};
use super::parts::selection::{self, Verb};
use super::parts::state::{Tone, state};
use super::parts::table::{Row, column, numbers, row, table, wide};
use super::parts::{icon::Icon, links, time};
use super::view::{Head, View};
use crate::api::jobs::as_of_now;
use crate::api::operations;
use crate::api::quarantine_export;
use crate::gate::{Allowed, Caller, Paging, Parameters, Params, Query, Result, Routes, asked, perm};
use crate::live::Topic;

/// How many items are put together by their reasons at most: the oldest.
const LOOKED_AT: u32 = 1_000;

pub(super) fn routes() -> Routes {
    Routes::default()
        .get("/quarantine", "Items that were set aside, by reason or one by one", list)
        .get("/quarantine/{item}", "One item with its reason, to be edited", item::show)
        .post(
            "/quarantine/{item}/redrive",
            "Run one item again, as it is or changed; or say what would run",
            item::redrive,
        )
        .post("/quarantine/redrive", "Run items again that are ticked, as they are", act::redrive)
        .get_slowly(
            "/quarantine/export/{batch}",
            "The items of a batch as JSON lines or a table",
            quarantine_export::export,
        )
}

gristmill_core::words! {
    /// How items are shown.
    #[derive(Default)]
    enum By {
        /// Put together by their reasons.
        #[default]
        Reason = "reason",
        /// One by one.
        Item = "item",
    }
}

/// Which items are shown.
#[derive(Debug, Default)]
struct Wanted {
    by: Option<By>,
    batch: Option<BatchId>,
    all: bool,
    fingerprint: Option<String>,
    asked: Asked,
}

impl Parameters for Wanted {
    fn read(query: &mut Query) -> Self {
        Self {
            by: filters::value(query, "by", "By `reason`, or by `item`"),
            batch: filters::value(query, "batch", "Only of this batch"),
            all: filters::value(query, "all", "Also those that were redriven: `true`").unwrap_or(false),
            fingerprint: filters::text(query, "same", "Only those with this reason: its short name"),
            asked: asked(query, List::Quarantine),
        }
    }
}

impl Wanted {
    /// What the store is asked for, as of now.
    async fn filter(&self, caller: &Caller) -> Result<QuarantineFilter> {
        let query = as_of_now(caller, self.asked.clone()).await?;
        Ok(QuarantineFilter { tenant: caller.tenant().to_owned(), batch: self.batch, open_only: !self.all, query })
    }

    /// The query as it is written.
    fn asked(&self) -> Option<String> {
        Some(self.asked.to_string()).filter(|text| !text.is_empty())
    }

    fn address(&self, by: Option<By>, same: Option<&str>) -> String {
        let (batch, asked) = (self.batch.map(|batch| batch.to_string()), self.asked());
        let pairs = [
            ("q", asked.as_deref()),
            ("by", by.map(By::as_str)),
            ("batch", batch.as_deref()),
            ("all", self.all.then_some("true")),
            ("same", same),
        ];
        path("/quarantine", &pairs)
    }

    fn copies(&self) -> Markup {
        let (batch, asked) = (self.batch.map(|batch| batch.to_string()), self.asked());
        let open = (!self.all).then_some("true");
        let command = format!(
            "gristmill quarantine list{}{}{}",
            asked.as_ref().map(|asked| format!(" --query {}", shell(asked))).unwrap_or_default(),
            batch.as_ref().map(|batch| format!(" --batch {batch}")).unwrap_or_default(),
            if self.all { "" } else { " --open" }
        );
        copies(
            &command,
            &path("/api/v1/quarantine", &[("q", asked.as_deref()), ("batch", batch.as_deref()), ("open", open)]),
        )
    }
}

/// What the reason of an item has in common with others.
fn fingerprint(item: &QuarantineView) -> Fingerprint {
    Fingerprint::of(&item.stage, &item.reason)
}

async fn list(
    caller: Allowed<perm::QuarantineRead>,
    view: View,
    Params((wanted, paging)): Params<(Wanted, Paging)>,
) -> Paged {
    let main = match (wanted.by.unwrap_or_default(), &wanted.fingerprint) {
        (By::Reason, None) => by_reason(&caller, &view, &wanted).await?,
        (By::Reason, Some(same)) => of_reason(&caller, &view, &wanted, same).await?,
        (By::Item, _) => by_item(&caller, &view, &wanted, &paging).await?,
    };
    let main = html! {
        (head("Quarantine", "Items that were set aside because a stage refused them. The rest of their batch went on.", Markup::default()))
        (tabs(&wanted))
        (main)
        (wanted.copies())
    };
    Ok(view.page(&caller, Head::new("Quarantine", "/quarantine").live([Topic::Batches]), main))
}

fn tabs(wanted: &Wanted) -> Markup {
    let current = wanted.by.unwrap_or_default();
    let tab = |name: &'static str, by: By| Tab {
        name,
        href: wanted.address(Some(by), None),
        count: None,
        current: current == by,
    };
    filters::tabs("How they are shown", &[tab("by reason", By::Reason), tab("one by one", By::Item)])
}

fn form(caller: &Caller, wanted: &Wanted) -> Markup {
    let (batch, asked) = (wanted.batch.map(|batch| batch.to_string()), wanted.asked());
    let which = Filter {
        name: "all",
        label: "Which",
        value: wanted.all.then_some("true"),
        choices: &[("", "open ones"), ("true", "redriven ones too")],
    };
    html! {
        (filters::form("/quarantine", &[("by", wanted.by.map(By::as_str))], &[typed("q", "Query", asked.as_deref()), typed("batch", "Batch", batch.as_deref()), which]))
        (all_of_them(caller, wanted))
        @if let Some(batch) = batch.filter(|_| caller.may(Permission::ContentsRead)) {
            p class="exports" {
                "Export: "
                a href={ "/quarantine/export/" (batch) "?as=csv" } download { "a table (CSV)" } ", "
                a href={ "/quarantine/export/" (batch) } download { "JSON lines" } ". "
                span class="muted" { "A table that was mended comes back by " code { "gristmill quarantine import" } "." }
            }
        }
    }
}

fn nothing(wanted: &Wanted) -> Markup {
    if wanted.asked().is_some() {
        return empty("No item is like that", "Other queries may show some.", &[]);
    }
    match (wanted.batch, wanted.all) {
        (None, true) => {
            empty("Nothing was ever set aside", "An item that a stage refuses comes here, with the reason.", &[])
        }
        (None, false) => {
            empty("The quarantine is empty", "An item that a stage refuses comes here, with the reason.", &[])
        }
        (Some(_), _) => empty("No item of this batch is here", "It has none, or they were redriven.", &[]),
    }
}

/// The oldest items, as far as they are put together.
async fn oldest(caller: &Caller, view: &View, wanted: &Wanted) -> Result<Vec<QuarantineView>> {
    let page = Page { after: None, limit: LOOKED_AT };
    view.read(caller.store().quarantine(&wanted.filter(caller).await?, &page)).await
}

fn limit(items: &[QuarantineView]) -> Markup {
    html! {
        @if items.len() >= LOOKED_AT as usize {
            p class="muted" {
                "The oldest " (count(u64::from(LOOKED_AT))) " were looked at; there may be more. A batch narrows it, and one by \
                 one all of them are there."
            }
        }
    }
}

async fn by_reason(caller: &Caller, view: &View, wanted: &Wanted) -> Result<Markup> {
    let items = oldest(caller, view, wanted).await?;
    let mut groups: BTreeMap<Fingerprint, Vec<&QuarantineView>> = BTreeMap::new();
    for item in &items {
        groups.entry(fingerprint(item)).or_default().push(item);
    }
    let mut groups: Vec<(Fingerprint, Vec<&QuarantineView>)> = groups.into_iter().collect();
    groups.sort_by_key(|(_, items)| std::cmp::Reverse(items.len()));
    let columns =
        [wide("Reason"), column("Stage"), numbers("Items"), numbers("Batches"), column("First"), column("Last")];
    let line = |(fingerprint, items): &(Fingerprint, Vec<&QuarantineView>)| of_group(wanted, fingerprint, items);
    Ok(panel(
        "list",
        "By reason, the most frequent first",
        html! {
            (form(caller, wanted))
            @if groups.is_empty() { (nothing(wanted)) } @else { (table("groups", "Items by reason", &columns, groups.iter().map(line))) }
            (limit(&items))
        },
    ))
}

fn of_group(wanted: &Wanted, fingerprint: &Fingerprint, items: &[&QuarantineView]) -> Row {
    let id = fingerprint.id();
    let mut batches: Vec<BatchId> = items.iter().map(|item| item.batch).collect();
    batches.sort_unstable();
    batches.dedup();
    let times = || items.iter().map(|item| item.created_at);
    let cells = [
        html! { a href=(wanted.address(wanted.by, Some(&id))) { (links::cut(&fingerprint.message, 160)) } },
        html! { (fingerprint.kind) },
        count(items.len() as u64),
        count(batches.len() as u64),
        time::maybe(times().min()),
        time::maybe(times().max()),
    ];
    row(id, cells)
}

async fn of_reason(caller: &Caller, view: &View, wanted: &Wanted, same: &str) -> Result<Markup> {
    let items = oldest(caller, view, wanted).await?;
    let own: Vec<QuarantineView> = items.iter().filter(|item| fingerprint(item).id() == same).cloned().collect();
    let heading = own.first().map_or("With one reason".to_owned(), |item| fingerprint(item).message);
    Ok(html! {
        (panel("list", &heading, html! {
            p { a href=(wanted.address(wanted.by, None)) { "All reasons" } " · " (counted(own.len() as u64, "item", "items")) }
            @if own.is_empty() { (empty("No item has this reason now", "They may have been redriven.", &[])) } @else { (rows(caller, &own)) }
            (limit(&items))
        }))
        @if !own.is_empty() { (acts(caller, view)) }
    })
}

async fn by_item(caller: &Caller, view: &View, wanted: &Wanted, paging: &Paging) -> Result<Markup> {
    let items = view.read(caller.store().quarantine(&wanted.filter(caller).await?, &paging.0)).await?;
    let next = paging.next(&items, |item| item.id.to_string());
    Ok(html! {
        (panel("list", "One by one, oldest first", html! {
            (form(caller, wanted))
            @if items.is_empty() { (nothing(wanted)) } @else {
                (rows(caller, &items))
                (pager(view, items.len(), next.as_deref()))
            }
        }))
        @if !items.is_empty() { (acts(caller, view)) }
    })
}

fn acts(caller: &Caller, view: &View) -> Markup {
    let redrive = Verb { name: "Redrive as they are", to: "/quarantine/redrive", word: None };
    match caller.may(Permission::QuarantineMend) {
        true => selection::bar(TICKED, view, "items", &[redrive]),
        false => Markup::default(),
    }
}

/// The ways to operations over all open items that the query and the batch select.
fn all_of_them(caller: &Caller, wanted: &Wanted) -> Markup {
    let batch = wanted.batch.map(|batch| format!("batch:{batch}"));
    let terms: Vec<String> = wanted.asked().into_iter().chain(batch).collect();
    let way = |verb: OperationVerb| {
        path("/operations/start", &[("verb", Some(verb.as_str())), ("q", Some(&terms.join(" ")))])
    };
    let may = caller.may(Permission::OperationsControl) && !terms.is_empty();
    html! {
        @if may && operations::may(caller, OperationVerb::RedriveItems).is_ok() {
            a class="button" href=(way(OperationVerb::RedriveItems)) { "Redrive all of them\u{2026}" }
        }
        @if may && operations::may(caller, OperationVerb::DiscardItems).is_ok() {
            a class="button" href=(way(OperationVerb::DiscardItems)) { "Discard all of them\u{2026}" }
        }
    }
}

fn rows(caller: &Caller, items: &[QuarantineView]) -> Markup {
    let (mends, reads) = (caller.may(Permission::QuarantineMend), caller.may(Permission::ContentsRead));
    let columns = [
        column("Choose"),
        column("Item"),
        column("State"),
        column("Batch"),
        numbers("Chunk"),
        numbers("Line"),
        column("Stage"),
        wide("Reason"),
        wide("As it came"),
    ];
    table(
        "items",
        "Quarantined items",
        &columns[usize::from(!mends)..],
        items.iter().map(|item| one(item, mends, reads)),
    )
}

fn one(item: &QuarantineView, mends: bool, reads: bool) -> Row {
    let place = Place { batch: item.batch, item: item.id };
    let tick = mends.then(|| match item.state == "open" {
        true => selection::tick(TICKED, "item", place, format_args!("item {}", item.id)),
        false => Markup::default(),
    });
    let content = if reads {
        links::cut(&item.item.to_string(), 120)
    } else {
        html! { span class="muted" { "not for your role" } }
    };
    let cells = [
        html! { a href={ "/quarantine/" (item.id) } { (item.id) } },
        shown(&item.state),
        links::batch(item.batch),
        html! { (item.seq) },
        html! { @if let Some(line) = item.line { (line) } @else { (none()) } },
        html! { (item.stage) },
        html! { (links::cut(&item.reason, 160)) },
        html! { code { (content) } },
    ];
    row(item.id.to_string(), tick.into_iter().chain(cells))
}

/// The state of an item.
fn shown(word: &str) -> Markup {
    match word {
        "open" => state(Icon::Aside, word, Tone::Careful),
        _ => state(Icon::Again, word, Tone::Good),
    }
}
