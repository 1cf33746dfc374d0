//! Forms that change something. The more a change weighs, the more it asks for: nothing, a look and a reason, or a word to
//! be typed, which the server checks ([`Form::confirm`](crate::pages::form::Form::confirm)).

use maud::{Markup, html};

/// What a change asks for before it is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Weight {
    /// Nothing: it does no harm, or can be undone at once.
    Light,
    /// A second look; a reason may be given.
    Confirmed,
    /// This word must be typed; a reason may be given.
    Typed(String),
}

/// A form that changes something.
#[derive(Debug, Clone)]
pub struct Action<'a> {
    /// Its id on the page.
    pub id: String,
    /// Where it is sent.
    pub to: String,
    /// What its button says: a verb.
    pub verb: &'a str,
    /// What it does, in a sentence; where it asks for nothing, the title of the button.
    pub about: &'a str,
    /// What it asks for.
    pub weight: Weight,
    /// Whether it destroys something.
    pub destroys: bool,
    /// The key that works the button on its page, if one does.
    pub key: Option<char>,
    /// Further fields.
    pub fields: Markup,
}

impl<'a> Action<'a> {
    /// A change that asks for nothing.
    pub fn light(id: impl Into<String>, to: impl Into<String>, verb: &'a str, about: &'a str) -> Self {
        let (weight, fields) = (Weight::Light, Markup::default());
        Self { id: id.into(), to: to.into(), verb, about, weight, destroys: false, key: None, fields }
    }

    /// A change that asks for a second look.
    pub fn confirmed(id: impl Into<String>, to: impl Into<String>, verb: &'a str, about: &'a str) -> Self {
        Self { weight: Weight::Confirmed, ..Self::light(id, to, verb, about) }
    }

    /// A change that asks for a word to be typed.
    pub fn typed(
        id: impl Into<String>,
        to: impl Into<String>,
        verb: &'a str,
        about: &'a str,
        word: impl Into<String>,
    ) -> Self {
        Self { weight: Weight::Typed(word.into()), destroys: true, ..Self::light(id, to, verb, about) }
    }

    /// The same, with a button that warns.
    #[must_use]
    pub fn destroying(self) -> Self {
        Self { destroys: true, ..self }
    }

    /// The same, worked by a key.
    #[must_use]
    pub fn key(self, key: char) -> Self {
        Self { key: Some(key), ..self }
    }

    /// The same with further fields, such as hidden ones.
    #[must_use]
    pub fn with(self, fields: Markup) -> Self {
        Self { fields, ..self }
    }

    fn title(&self) -> String {
        let key = self.key.map(|key| format!(" (key {key})")).unwrap_or_default();
        format!("{}{key}", self.about)
    }

    /// The form: a button, or one behind which the rest unfolds.
    pub fn form(&self) -> Markup {
        let class = if self.destroys { "danger" } else { "" };
        if self.weight == Weight::Light {
            return html! {
                form class="act" method="post" action=(self.to) id=(self.id) {
                    (self.fields)
                    button class=(class) title=(self.title()) aria-keyshortcuts=[self.key] { (self.verb) }
                }
            };
        }
        html! {
            details class="act" id=(self.id) {
                summary class={ "button " (class) } title=(self.title()) aria-keyshortcuts=[self.key] { (self.verb) }
                form method="post" action=(self.to) {
                    p { (self.about) }
                    (self.fields)
                    @if let Weight::Typed(word) = &self.weight {
                        label for={ (self.id) "-confirm" } { "Type " code { (word) } " to confirm" }
                        input id={ (self.id) "-confirm" } name="confirm" required autocomplete="off" spellcheck="false";
                    }
                    label for={ (self.id) "-reason" } { "Reason " span class="muted" { "(for those who look later)" } }
                    input id={ (self.id) "-reason" } name="reason" maxlength="1000" autocomplete="off";
                    button class={ "primary " (class) } { (self.verb) }
                }
            }
        }
    }
}
