//! The system: what the doctor finds, how large the database is, what is deleted after its time, the settings in force,
//! migrations and versions. For owners of the installation.

use std::collections::BTreeSet;
use std::time::Duration;

use gristmill_core::access::Permission;
use gristmill_core::schedule::tzdb;
use gristmill_service::doctor::{Examined, examine};
use gristmill_service::documents::{FindingDocument, SettingDocument};
use gristmill_store::{DatabaseSize, MigrationStatus, PrunedView, TableSize, WorkerView};
use maud::{Markup, html};
use serde_json::Value;

use super::answer::{Paged, Redirect};
use super::flash::Flash;
use super::form::Form;
use super::parts::copies::copies;
use super::parts::filters::{self, typed};
use super::parts::icon::{Icon, icon};
use super::parts::number::{count, counted, duration};
use super::parts::panel::{head, late_panel, panel};
use super::parts::prose::prose;
use super::parts::state::{Tone, state};
use super::parts::table::{column, facts, numbers, row, table, wide};
use super::parts::time;
use super::view::{Head, View};
use crate::gate::costs::PageCost;
use crate::gate::{Caller, Change, Overseer, Parameters, Params, Query, Result, Routes, perm};

/// How many tables are shown at once.
const TABLES: usize = 8;

/// The most settings that are listed at once.
const SETTINGS_MAX: usize = 500;

pub(super) fn routes() -> Routes {
    Routes::default()
        .get("/system", "What the doctor finds, sizes, retention, settings, migrations, versions", show)
        .post_slowly("/system/reconcile", "Compare every counter with what it counts, and repair it", reconcile)
}

/// Which settings are shown.
#[derive(Debug, Default)]
struct Wanted(Option<String>);

impl Parameters for Wanted {
    fn read(query: &mut Query) -> Self {
        Self(filters::text(query, "setting", "Only settings with this text in their key"))
    }
}

async fn show(caller: Overseer<perm::SystemRead>, view: View, Params(wanted): Params<Wanted>) -> Paged {
    let store = caller.store();
    let examined = view.panel(async { Ok(examine(store, caller.tenant(), "gristmill", view.now()).await) }).await;
    let size = view.panel(store.size()).await;
    let (findings, pruned, migrations, versions) = match examined {
        None => (None, None, None, None),
        Some(Examined { findings, workers, migrations, pruned }) => {
            let alive = |all: Vec<WorkerView>| all.into_iter().filter(|one| one.state == "alive");
            let versions = workers.ok().map(|all| alive(all).map(|one| one.version).collect());
            (Some(findings), pruned.ok(), migrations.ok(), versions)
        }
    };
    let acts = if caller.may(Permission::SystemControl) { reconcile_form() } else { Markup::default() };
    let main = html! {
        (head("System", html! { code { (store.describe()) } }, acts))
        (late_panel("doctor", "What the doctor finds in the store", findings, |findings| finding_rows(&findings)))
        div class="columns" {
            (late_panel("size", "The database", size, |size| size_rows(&size)))
            (late_panel("retention", "Deleted after its time", pruned, |pruned| pruned_rows(&pruned)))
        }
        (late_panel("versions", "Versions", migrations, |migrations| version_rows(&migrations, versions)))
        (panel("costs", "What the pages have cost the database", cost_rows(&caller)))
        (panel("settings", "Settings in force", settings(&caller, &wanted)))
        (copies("gristmill doctor", "/api/v1/system/settings"))
    };
    Ok(view.page(&caller, Head::new("System", "/system"), main))
}

fn finding_rows(findings: &[FindingDocument]) -> Markup {
    let wrong = findings.iter().filter(|finding| !finding.ok).count() as u64;
    let columns = [column("What"), column("Is"), wide("Found"), wide("To mend it")];
    let line = |finding: &FindingDocument| {
        let is = match finding.ok {
            true => state(Icon::Done, "well", Tone::Good),
            false => state(Icon::Warning, "wrong", Tone::Bad),
        };
        let remedy = prose(finding.remedy.as_deref().unwrap_or_default());
        row(finding.what.replace(' ', "-"), [html! { (finding.what) }, is, prose(&finding.found), remedy])
    };
    html! {
        @if wrong == 0 { p class="note good" { (icon(Icon::Done)) span { "Nothing is wrong." } } }
        @else { p class="note bad" { (icon(Icon::Warning)) span { (counted(wrong, "thing is", "things are")) " wrong." } } }
        (table("findings", "What the doctor finds", &columns, findings.iter().map(line)))
        p class="muted" { "The command " code { "gristmill doctor" } " also looks at the broker, the disks, the mail service and the encryption of its machine." }
    }
}

/// A number of bytes as people read it.
fn bytes(number: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut value, mut unit) = (number as f64, 0);
    while value >= 1_024.0 && unit + 1 < UNITS.len() {
        value /= 1_024.0;
        unit += 1;
    }
    let digits = usize::from(unit > 0 && value < 100.0);
    format!("{value:.digits$}\u{a0}{}", UNITS[unit])
}

fn size_rows(size: &DatabaseSize) -> Markup {
    let columns = [column("Table"), numbers("Rows, about"), numbers("Size"), numbers("Of its indexes")];
    let line = |one: &TableSize| {
        let cells = [
            html! { code { (one.name) } },
            count(one.rows),
            html! { (bytes(one.bytes)) },
            html! { (bytes(one.index_bytes)) },
        ];
        row(one.name.clone(), cells)
    };
    html! {
        p {
            strong { (bytes(size.bytes)) } " in all"
            @if let Some(free) = size.free_bytes { ", " (bytes(free)) " of it free" }
            @if let Some(log) = size.log_bytes { "; the write-ahead log has " (bytes(log)) }
        }
        (table("tables", "The largest tables", &columns, size.tables.iter().take(TABLES).map(line)))
        @if size.tables.len() > TABLES {
            details id="more-tables" {
                summary { (counted((size.tables.len() - TABLES) as u64, "smaller table", "smaller tables")) }
                (table("smaller", "The other tables", &columns, size.tables.iter().skip(TABLES).map(line)))
            }
        }
    }
}

fn pruned_rows(pruned: &[PrunedView]) -> Markup {
    let columns = [column("What"), numbers("Deleted"), column("First"), column("Last")];
    let line = |one: &PrunedView| {
        let cells = [html! { (one.noun) }, count(one.deleted), time::instant(one.since), time::instant(one.last_at)];
        row(one.noun.as_str(), cells)
    };
    html! {
        @if pruned.is_empty() { p class="muted" { "Nothing yet." } }
        @else { (table("pruned", "What was deleted after its time", &columns, pruned.iter().map(line))) }
        p class="muted" { "How long what is kept stands under " code { "retention" } " among the settings." }
    }
}

fn version_rows(migrations: &MigrationStatus, versions: Option<BTreeSet<String>>) -> Markup {
    let (edition, place) = tzdb();
    let alive = versions.map(|versions| versions.into_iter().collect::<Vec<_>>().join(", "));
    facts([
        ("This server", html! { (env!("CARGO_PKG_VERSION")) }),
        (
            "Processes that are alive",
            html! { (alive.filter(|alive| !alive.is_empty()).unwrap_or_else(|| "–".to_owned())) },
        ),
        (
            "Migrations",
            html! {
                (migrations.applied) " of " (migrations.known)
                @if migrations.applied != migrations.known { " " (state(Icon::Warning, "not the same", Tone::Careful)) }
            },
        ),
        ("Time zones", html! { (edition) @if let Some(place) = place { " of " (place) } @else { ", built in" } }),
    ])
}

/// What the pages have cost since this server began. What other servers have cost is not among it.
fn cost_rows(caller: &Caller) -> Markup {
    let (since, pages) = caller.api().costs().seen();
    let took: Duration = pages.iter().map(|(_, cost)| cost.took).sum();
    let share = took.as_secs_f64() / since.as_secs_f64().max(0.001) * 100.0;
    let columns = [
        column("Page"),
        numbers("Times"),
        numbers("Readings a time"),
        numbers("Store's time"),
        numbers("A time"),
        numbers("Longest"),
    ];
    let line = |(page, cost): &(String, PageCost)| {
        let times = cost.times.max(1);
        let cells = [
            html! { code { (page) } },
            count(cost.times),
            html! { (format!("{:.1}", cost.readings as f64 / times as f64)) },
            html! { (duration(cost.took)) },
            html! { (duration(cost.took / u32::try_from(times).unwrap_or(u32::MAX))) },
            html! { (duration(cost.longest)) },
        ];
        row(page.replace(['/', '{', '}'], "-"), cells)
    };
    html! {
        p {
            "This server has waited for the store for " strong { (duration(took)) } " in the " (duration(since))
            " since it began, to make pages: " (format!("{share:.2}")) " % of one connection's time."
        }
        @if pages.is_empty() { p class="muted" { "No page was made yet." } }
        @else { (table("page-cost", "What the pages have cost, the dearest first", &columns, pages.iter().map(line))) }
    }
}

fn settings(caller: &Caller, wanted: &Wanted) -> Markup {
    let all = caller.api().program().settings();
    let own = |one: &&SettingDocument| wanted.0.as_ref().is_none_or(|text| one.key.contains(text.as_str()));
    let shown: Vec<&SettingDocument> = all.iter().filter(own).collect();
    let columns = [column("Key"), wide("Value"), column("From")];
    let line = |one: &&SettingDocument| {
        let changed = one.origin != "default";
        let key = html! { @if changed { strong { code { (one.key) } } } @else { code { (one.key) } } };
        row(one.key.clone(), [key, html! { code { (plain(&one.value)) } }, html! { (one.origin) }])
    };
    html! {
        (filters::form("/system", &[], &[typed("setting", "Key", wanted.0.as_deref())]))
        p class="muted" { (counted(shown.len() as u64, "setting", "settings")) "; those that are not the default are bold. Secrets are " code { "***" } "." }
        (table("setting", "Settings in force", &columns, shown.iter().take(SETTINGS_MAX).map(line)))
        @if shown.len() > SETTINGS_MAX { p class="muted" { "The first " (SETTINGS_MAX) " are listed." } }
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn reconcile_form() -> Markup {
    html! {
        details class="act" id="reconcile" {
            summary class="button" title="Compare every counter with what it counts" { "Reconcile" }
            form method="post" action="/system/reconcile" {
                p { "Compares every batch under way and every counter with what it counts. The scheduler does so every minute." }
                label for="reconcile-reason" { "Reason " span class="muted" { "(for those who look later)" } }
                input id="reconcile-reason" name="reason" maxlength="1000" autocomplete="off";
                button name="verb" value="look" { "Only look" }
                button class="primary" name="verb" value="repair" { "Repair" }
            }
        }
    }
}

async fn reconcile(caller: Overseer<perm::SystemControl>, mut form: Form) -> Result<Redirect> {
    let (verb, change) = (form.text("verb"), form.change());
    form.finish()?;
    let looks = verb.as_deref() != Some("repair");
    let order = caller.order(&Change { dry_run: looks, ..change });
    let report = caller.service().reconcile(&order).await?;
    let batches = counted(report.batches, "batch", "batches");
    let flash = match report.findings.first() {
        None => Flash::done(format!("All counters are what they count; {batches} under way were looked at.")),
        Some(first) => {
            let wrong = counted(report.findings.len() as u64, "counter was", "counters were");
            let done = if looks { "Nothing was changed." } else { "All of it is repaired." };
            Flash::careful(format!("{wrong} wrong: {first}. {done}"))
        }
    };
    Ok(Redirect::to("/system").saying(flash))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_shown_in_the_unit_that_fits() {
        for (number, shown) in
            [(0, "0 B"), (1_023, "1023 B"), (1_536, "1.5 KiB"), (157_286_400, "150 MiB"), (u64::MAX, "16777216 TiB")]
        {
            assert_eq!(bytes(number).replace('\u{a0}', " "), shown);
        }
    }
}
