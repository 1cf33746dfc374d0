//! What a list is limited to: tabs and a form whose fields stand in the address, so that a filtered list can be kept.

use std::fmt::Display;
use std::str::FromStr;

use maud::{Markup, html};

use super::number::grouped;
use crate::gate::Query;

/// A text of the query; a field of a form that was left empty limits nothing.
pub fn text(query: &mut Query, name: &'static str, about: &'static str) -> Option<String> {
    query.one::<String>(name, about).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
}

/// A value of the query; a field of a form that was left empty limits nothing.
pub fn value<T: FromStr<Err: Display>>(query: &mut Query, name: &'static str, about: &'static str) -> Option<T> {
    let given = text(query, name, about)?;
    given.parse().map_err(|error: T::Err| query.fault(name, error.to_string())).ok()
}

/// A field of a filter.
#[derive(Debug, Clone, Copy)]
pub struct Filter<'a> {
    /// The parameter.
    pub name: &'a str,
    /// What it is called.
    pub label: &'a str,
    /// What is chosen.
    pub value: Option<&'a str>,
    /// What there is to choose, each with what it is called; empty where anything may be typed.
    pub choices: &'a [(&'a str, &'a str)],
}

/// A field into which anything may be typed.
pub const fn typed<'a>(name: &'a str, label: &'a str, value: Option<&'a str>) -> Filter<'a> {
    Filter { name, label, value, choices: &[] }
}

/// A form of filters. `hidden` are parameters that stay as they are.
pub fn form(path: &str, hidden: &[(&str, Option<&str>)], filters: &[Filter<'_>]) -> Markup {
    let filtered = filters.iter().any(|filter| filter.value.is_some());
    html! {
        form class="filters" method="get" action=(path) id="filters" {
            @for (name, value) in hidden {
                @if let Some(value) = value { input type="hidden" name=(name) value=(value); }
            }
            @for filter in filters { (filter.show()) }
            button { "Filter" }
            @if filtered { a class="button quiet" href=(path) { "Show all" } }
        }
    }
}

impl Filter<'_> {
    fn show(&self) -> Markup {
        let id = format!("filter-{}", self.name);
        html! {
            div class="field" {
                label for=(id) { (self.label) }
                @if self.choices.is_empty() {
                    input id=(id) name=(self.name) value=[self.value] autocomplete="off" spellcheck="false";
                } @else {
                    select id=(id) name=(self.name) {
                        @for (value, name) in self.choices {
                            option value=(value) selected[self.value.unwrap_or_default() == *value] { (name) }
                        }
                    }
                }
            }
        }
    }
}

/// A tab over a list.
#[derive(Debug, Clone)]
pub struct Tab<'a> {
    /// What it is called.
    pub name: &'a str,
    /// Where it leads.
    pub href: String,
    /// How many rows it has, where that is known without counting.
    pub count: Option<u64>,
    /// Whether it is shown.
    pub current: bool,
}

/// Tabs over a list.
pub fn tabs(label: &str, tabs: &[Tab<'_>]) -> Markup {
    html! {
        nav class="tabs" aria-label=(label) {
            @for tab in tabs {
                a href=(tab.href) aria-current=[tab.current.then_some("page")] {
                    (tab.name)
                    @if let Some(count) = tab.count { " " span class="muted n" { (grouped(count)) } }
                }
            }
        }
    }
}
