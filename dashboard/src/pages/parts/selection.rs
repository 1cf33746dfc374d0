//! Rows that are ticked, and what is done with them. The boxes stand in the table, and belong to the form beside it by its
//! id: that needs no script.

use std::fmt::Display;
use std::str::FromStr;

use maud::{Markup, html};

use crate::gate::{Change, Result};
use crate::pages::answer::local;
use crate::pages::form::Form;
use crate::pages::view::View;

/// The most rows that may be ticked: those of one page.
pub const TICKED_MAX: usize = 1_000;

/// What can be done with the rows that are ticked.
#[derive(Debug, Clone, Copy)]
pub struct Verb<'a> {
    /// What its button says.
    pub name: &'a str,
    /// Where the form is sent.
    pub to: &'a str,
    /// The word that must be typed before, where it destroys something.
    pub word: Option<&'a str>,
}

/// A box for a row.
pub fn tick(form: &str, field: &str, value: impl Display, label: impl Display) -> Markup {
    let value = value.to_string();
    html! {
        input type="checkbox" form=(form) name=(field) value=(value) id={ (form) "-" (value) } data-keep
            aria-label={ "Choose " (label) };
    }
}

/// What is done with the rows that are ticked. The way back leads to where the person is.
pub fn bar(form: &str, view: &View, what: &str, verbs: &[Verb<'_>]) -> Markup {
    let Some(first) = verbs.first() else { return Markup::default() };
    html! {
        form class="selection" id=(form) method="post" action=(first.to) {
            span class="selection-name" { "With the " (what) " that are ticked" }
            input type="hidden" name="next" value=(view.address());
            label class="unseen" for={ (form) "-reason" } { "Reason" }
            input id={ (form) "-reason" } name="reason" maxlength="1000" required placeholder="Reason" autocomplete="off";
            @for verb in verbs.iter().filter(|verb| verb.word.is_none()) {
                button formaction=(verb.to) { (verb.name) }
            }
            @for verb in verbs { @if let Some(word) = verb.word { (destroying(form, verb, word)) } }
        }
    }
}

fn destroying(form: &str, verb: &Verb<'_>, word: &str) -> Markup {
    html! {
        details class="act" id={ (form) "-destroy" } {
            summary class="button danger" { (verb.name) }
            div class="popup" {
                label for={ (form) "-confirm" } { "Type " code { (word) } " to confirm" }
                input id={ (form) "-confirm" } name="confirm" autocomplete="off" spellcheck="false";
                button class="primary danger" formaction=(verb.to) { (verb.name) }
            }
        }
    }
}

/// A form for a whole group of rows, which needs a reason. `hidden` says which group it is.
pub fn whole(id: &str, verb: Verb<'_>, about: &str, hidden: Markup) -> Markup {
    let class = if verb.word.is_some() { "danger" } else { "" };
    html! {
        details class="act" id=(id) {
            summary class={ "button " (class) } title=(about) { (verb.name) }
            form method="post" action=(verb.to) {
                p { (about) }
                (hidden)
                @if let Some(word) = verb.word {
                    label for={ (id) "-confirm" } { "Type " code { (word) } " to confirm" }
                    input id={ (id) "-confirm" } name="confirm" required autocomplete="off" spellcheck="false";
                }
                label for={ (id) "-reason" } { "Reason" }
                input id={ (id) "-reason" } name="reason" required maxlength="1000" autocomplete="off";
                button class={ "primary " (class) } { (verb.name) }
            }
        }
    }
}

/// Rows that were ticked, and how the change is asked for.
#[derive(Debug)]
pub struct Ticked<T> {
    /// What the boxes stand for.
    pub values: Vec<T>,
    /// How the change is asked for.
    pub change: Change,
    /// Where the person was.
    pub next: String,
}

/// What was ticked. A reason is needed, because the change is for many. `word` is what had to be typed, where something
/// had to be.
///
/// # Errors
///
/// 422 with everything that is wrong.
pub fn ticked<T: FromStr<Err: Display>>(form: &mut Form, field: &str, word: Option<&str>) -> Result<Ticked<T>> {
    let (texts, change) = (form.many(field), reasoned(form));
    if texts.is_empty() {
        form.fault(field, "is missing: tick at least one row");
    }
    if texts.len() > TICKED_MAX {
        form.fault(field, format!("names more than {TICKED_MAX}"));
    }
    match word {
        Some(word) => form.confirm(word),
        None => drop(form.text("confirm")),
    }
    let mut values = Vec::new();
    for text in texts.iter().take(TICKED_MAX) {
        match text.parse::<T>() {
            Ok(value) => values.push(value),
            Err(error) => form.fault(field, error.to_string()),
        }
    }
    let next = back(form);
    form.finish()?;
    Ok(Ticked { values, change, next })
}

/// How a change is asked for that needs a reason.
pub fn reasoned(form: &mut Form) -> Change {
    let change = form.change();
    if change.reason.is_none() {
        form.fault("reason", "is missing: say why, for those who look later");
    }
    change
}

/// Where the person was: the field `next`, if that is one of ours.
pub fn back(form: &mut Form) -> String {
    local(&form.text("next").unwrap_or_default()).to_owned()
}
