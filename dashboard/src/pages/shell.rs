//! What is around a page: header, navigation, message, and what the page cost.

use chrono::{DateTime, Utc};
use gristmill_core::access::{Permission, Principal, Subject};
use maud::{DOCTYPE, Markup, html};

use super::assets::{SCRIPT, STYLE};
use super::flash::{Flash, Tone};
use super::nav;
use super::parts::copies::path;
use super::parts::icon::{Icon, icon};
use super::parts::prose::prose;
use super::parts::time::instant;
use super::preferences::Theme;
use super::tenancy::switch;
use crate::gate::ServeSettings;
use crate::gate::text::encoded;
use crate::live::Topic;

/// The colour of an installation that names none.
const COLOR: &str = "#3457d5";

/// What is shown around a page.
#[derive(Debug)]
pub(super) struct Frame<'a> {
    pub(super) settings: &'a ServeSettings,
    pub(super) caller: Option<&'a Principal>,
    pub(super) theme: Theme,
    pub(super) title: &'a str,
    /// The path of the entry under which the page is.
    pub(super) nav: &'a str,
    /// Where the person is, for the way back.
    pub(super) address: &'a str,
    pub(super) topics: &'a [Topic],
    pub(super) poll: Option<u32>,
    /// The tag of the part that changes.
    pub(super) tag: String,
    pub(super) flash: Option<&'a Flash>,
    pub(super) readings: u32,
    pub(super) ms: u128,
    pub(super) at: DateTime<Utc>,
}

impl Frame<'_> {
    fn name(&self) -> &str {
        if self.settings.name.is_empty() { "Gristmill" } else { &self.settings.name }
    }

    fn color(&self) -> &str {
        if self.settings.color.is_empty() { COLOR } else { &self.settings.color }
    }

    /// What the script watches: topics, separated by commas.
    fn watched(&self) -> String {
        self.topics.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
    }

    /// A picture for the tab, in the colour of the installation.
    fn favicon(&self) -> String {
        let svg = format!(
            "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'><rect width='16' height='16' rx='4' \
             fill='{}'/><path d='M4 5h8M4 8h5M4 11h7' stroke='white' stroke-width='1.6' stroke-linecap='round'/></svg>",
            self.color()
        );
        format!("data:image/svg+xml,{}", encoded(&svg))
    }
}

/// The whole document of a page.
pub(super) fn document(frame: &Frame<'_>, main: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" data-theme=(frame.theme) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (frame.title) " · " (frame.name()) }
                link rel="icon" href=(frame.favicon());
                link rel="stylesheet" href=(STYLE.address());
                script src=(SCRIPT.address()) defer {}
            }
            body {
                a class="skip" href="#main" { "Skip to the content" }
                (header(frame))
                @if let Some(caller) = frame.caller { (navigation(frame, caller)) }
                div id="said" { @if let Some(flash) = frame.flash { (message(flash, frame.caller)) } }
                main id="main" tabindex="-1" data-live=(frame.watched()) data-poll=[frame.poll] data-tag=(frame.tag)
                    data-tenant=[frame.caller.map(|caller| &caller.tenant)] { (main) }
                (footer(frame))
                @if frame.caller.is_some() { (keys()) }
            }
        }
    }
}

fn header(frame: &Frame<'_>) -> Markup {
    html! {
        header class="top" {
            a class="brand" href="/" {
                svg class="mark" viewBox="0 0 16 16" aria-hidden="true" {
                    rect width="16" height="16" rx="4" fill=(frame.color()) {}
                    path d="M4 5h8M4 8h5M4 11h7" stroke="white" stroke-width="1.6" stroke-linecap="round" {}
                }
                span { (frame.name()) }
            }
            @if let Some(caller) = frame.caller {
                span id="live" class="pill" data-state="off" role="status" hidden {}
                span class="who" {
                    (switch(caller, frame.address))
                    span class="badge" title="Your role" { (caller.role) }
                    @if !matches!(caller.subject, Subject::Anyone) { span class="name" { (caller.name) } }
                }
            }
            (themes(frame))
            @if frame.caller.is_some_and(|caller| !matches!(caller.subject, Subject::Anyone)) {
                form method="post" action="/logout" { button class="quiet" { "Log out" } }
            }
        }
    }
}

/// The switch between light, dark and what the system says.
fn themes(frame: &Frame<'_>) -> Markup {
    let choice = |theme: Theme, name: &str, picture: Icon| {
        html! {
            button name="theme" value=(theme) title=(name) aria-label=(name) aria-pressed=(frame.theme == theme) {
                (icon(picture))
            }
        }
    };
    html! {
        form id="themes" class="themes" method="post" action="/theme" aria-label="Light or dark" {
            input type="hidden" name="next" value=(frame.address);
            (choice(Theme::Light, "Light", Icon::Sun))
            (choice(Theme::System, "As the system", Icon::Screen))
            (choice(Theme::Dark, "Dark", Icon::Moon))
        }
    }
}

fn navigation(frame: &Frame<'_>, caller: &Principal) -> Markup {
    html! {
        nav class="side" aria-label="Pages" {
            ul {
                @for entry in nav::of(caller) {
                    li {
                        a href=(entry.path) data-key=(entry.key) aria-current=[(entry.path == frame.nav).then_some("page")] {
                            (entry.name)
                        }
                    }
                }
            }
        }
    }
}

/// Where what a caller has done just now is written down, the newest first: for those who may see it.
fn written_down(caller: &Principal) -> Option<String> {
    let actor = (!matches!(caller.subject, Subject::Anyone)).then_some(caller.name.as_str());
    caller.may(Permission::AuditRead).then(|| path("/audit", &[("actor", actor)]))
}

/// What a form has done, with the way to its entry in the audit. Assistive technology says it at once.
fn message(flash: &Flash, caller: Option<&Principal>) -> Markup {
    let (role, picture) = match flash.tone {
        Tone::Done => ("status", Icon::Done),
        Tone::Careful => ("alert", Icon::Warning),
    };
    let audit = caller.filter(|_| flash.tone == Tone::Done).and_then(written_down);
    html! {
        p class={ "said " (flash.tone) } role=(role) {
            (icon(picture)) span { (prose(&flash.text)) }
            @if let Some(audit) = audit { a href=(audit) { "Audit" } }
        }
    }
}

/// The help about keys, which the script opens.
fn keys() -> Markup {
    let rows = [
        ("g", "then the first letter of a page: go there"),
        ("j, k", "next row, row before; Enter opens it, x ticks it"),
        ("/", "to the query or the first filter"),
        ("p", "hold the page as it is, or let it change again"),
        ("t", "light or dark"),
        ("Esc", "close what is open"),
        ("?", "this help"),
    ];
    html! {
        dialog id="help" aria-labelledby="help-heading" {
            h2 id="help-heading" { "Keys" }
            dl { @for (key, about) in rows { dt { kbd { (key) } } dd { (about) } } }
            p { label { input type="checkbox"; " Keys work" } }
            p class="muted" { "A button whose title names a key is worked by it." }
            form method="dialog" { button { "Close" } }
        }
    }
}

fn footer(frame: &Frame<'_>) -> Markup {
    html! {
        footer class="foot" {
            p id="cost" {
                "Readings: " span id="cost-readings" { (frame.readings) } " · "
                span id="cost-ms" { (frame.ms) } " ms · as of "
                span id="cost-at" { (instant(frame.at)) }
            }
            p { a href="/api/v1/openapi.json" { "API" } " · Gristmill " (env!("CARGO_PKG_VERSION")) }
        }
    }
}
