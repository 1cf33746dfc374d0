//! What the attempts of a job have said.

use gristmill_core::access::Permission;
use gristmill_core::attempt_log::{LogLine, missing_between};
use gristmill_core::job::JobState;
use gristmill_store::{JobView, LogView};
use maud::{Markup, html};

use crate::gate::Caller;
use crate::pages::View;
use crate::pages::parts::number::{counted, grouped};
use crate::pages::parts::panel::{late_panel, panel};
use crate::pages::parts::time::instant;

/// How often the page of a job that runs is read again.
pub(super) const EVERY_SECONDS: u32 = 2;

/// Of how many attempts.
const SHOWN: u32 = 5;

/// The panel of what its attempts have said, the last one first.
pub(super) async fn said(caller: &Caller, view: &View, job: &JobView) -> Markup {
    if !caller.may(Permission::ContentsRead) {
        return panel("logs", "Log", html! { p class="muted" { "Your role does not show what jobs say." } });
    }
    let logs = view.panel(caller.store().logs(caller.tenant(), job.id, None, SHOWN)).await;
    late_panel("logs", "Log", logs, |logs| {
        let runs = job.state == JobState::Running;
        html! {
            @if logs.is_empty() { p class="muted" { (nothing(runs)) } }
            @for (at, log) in logs.iter().enumerate() { (one(log, at == 0)) }
            @if job.attempt > SHOWN { p class="muted" { "Of the attempts before: " code { "gristmill job logs " (job.id) } } }
        }
    })
}

fn nothing(runs: bool) -> &'static str {
    if runs { "It has said nothing yet." } else { "Its attempts have said nothing, or it was removed after its time." }
}

fn one(log: &LogView, open: bool) -> Markup {
    let first = log.lines.first().map_or(0, |line| line.number - 1);
    let cuts = std::iter::once(first).chain(log.lines.windows(2).map(|pair| missing_between(&pair[0], &pair[1])));
    html! {
        details id={ "log-" (log.attempt) } open[open] {
            summary { "Attempt " (log.attempt) ", " (counted(log.said, "line", "lines")) }
            ol class="log" tabindex="0" aria-label={ "What attempt " (log.attempt) " has said" } {
                @for (line, cut) in log.lines.iter().zip(cuts) {
                    @if cut > 0 { li class="cut" { (grouped(cut)) " lines were cut out here" } }
                    (shown(log.attempt, line))
                }
            }
            p class="muted" { "As of " (instant(log.written_at)) }
        }
    }
}

/// A line with its time and with where it came from.
fn shown(attempt: u32, line: &LogLine) -> Markup {
    let (word, class) = match line.level {
        Some(level) => (level.as_str(), Some(level.as_str())),
        None => (line.source.as_str(), None),
    };
    let time = line.at.format("%H:%M:%S%.3f");
    html! {
        li id={ "log-" (attempt) "-" (line.number) } class=[class] {
            span class="when" title=(line.at.to_rfc3339()) { (time) } " " b { (word) } " " span { (line.text) }
        }
    }
}
