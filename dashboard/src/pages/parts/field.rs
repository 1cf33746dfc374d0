//! The fields of a form: a label, what may stand there, what was typed, and what is wrong with it.

use maud::{Markup, html};

use super::prose::prose;
use crate::pages::form::Form;

/// A field of a form.
#[derive(Debug, Clone, Copy)]
pub struct Field<'a> {
    /// Its name; also its id.
    pub name: &'a str,
    /// What it is called.
    pub label: &'a str,
    /// What may stand there.
    pub hint: &'a str,
    /// The type of the input: `text`, `password`, `email`, `number`.
    pub kind: &'static str,
    /// Whether it must be filled in.
    pub required: bool,
    /// What a browser may fill in: a token of HTML's `autocomplete`.
    pub autocomplete: &'static str,
}

/// A field of text that may be empty.
pub const fn text<'a>(name: &'a str, label: &'a str, hint: &'a str) -> Field<'a> {
    Field { name, label, hint, kind: "text", required: false, autocomplete: "off" }
}

/// A field of text that must be filled in.
pub const fn required<'a>(name: &'a str, label: &'a str, hint: &'a str) -> Field<'a> {
    Field { required: true, ..text(name, label, hint) }
}

impl Field<'_> {
    /// The field with what was typed. A password is not shown again.
    pub fn show(&self, form: &Form) -> Markup {
        let given = if self.kind == "password" { "" } else { form.given(self.name) };
        self.around(
            form,
            html! {
                input id=(self.name) name=(self.name) type=(self.kind) value=(given) required[self.required]
                    autocomplete=(self.autocomplete) aria-describedby={ (self.name) "-hint" }
                    aria-invalid=[form.fault_of(self.name).map(|_| "true")];
            },
        )
    }

    /// The field as a box of several lines.
    pub fn show_lines(&self, form: &Form, lines: u32) -> Markup {
        self.around(
            form,
            html! {
                textarea id=(self.name) name=(self.name) rows=(lines) spellcheck="false" required[self.required]
                    aria-describedby={ (self.name) "-hint" } aria-invalid=[form.fault_of(self.name).map(|_| "true")] {
                    (form.given(self.name))
                }
            },
        )
    }

    /// The field as a choice: values with what they are called.
    pub fn show_choice(&self, form: &Form, choices: &[(&str, &str)]) -> Markup {
        let given = form.given(self.name);
        self.around(
            form,
            html! {
                select id=(self.name) name=(self.name) aria-describedby={ (self.name) "-hint" } {
                    @for (value, name) in choices { option value=(value) selected[*value == given] { (name) } }
                }
            },
        )
    }

    fn around(&self, form: &Form, input: Markup) -> Markup {
        html! {
            div class="field" {
                label for=(self.name) { (self.label) @if !self.required { span class="muted" { " (may be empty)" } } }
                (input)
                p class="hint" id={ (self.name) "-hint" } { (self.hint) }
                @if let Some(fault) = form.fault_of(self.name) { p class="fault" role="alert" { (self.label) " " (prose(fault)) } }
            }
        }
    }
}

/// What is wrong with a form, but with none of its fields.
pub fn other_faults(form: &Form) -> Markup {
    html! {
        @for fault in form.other_faults() {
            p class="fault" role="alert" { @if !fault.path.is_empty() { code { (fault.path) } " " } (prose(&fault.message)) }
        }
    }
}
