//! What a form has done, said once on the next page: in a cookie, because nothing is kept for a browser here.

use axum::http::{HeaderMap, HeaderValue};

use crate::gate::text::{decoded, encoded};
use crate::gate::zone;

/// The name of the cookie.
const COOKIE: &str = "gristmill-said";

/// The most characters of a message.
const CHARS_MAX: usize = 600;

gristmill_core::words! {
    /// How a message is meant.
    pub enum Tone {
        /// It was done.
        Done = "done",
        /// Nothing was done, or not what was asked for.
        Careful = "careful",
    }
}

/// A message for the next page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flash {
    /// How it is meant.
    pub tone: Tone,
    /// What it says.
    pub text: String,
}

impl Flash {
    /// It was done.
    pub fn done(text: impl Into<String>) -> Self {
        Self { tone: Tone::Done, text: text.into() }
    }

    /// Nothing was done, or not what was asked for.
    pub fn careful(text: impl Into<String>) -> Self {
        Self { tone: Tone::Careful, text: text.into() }
    }
}

/// The cookie with a message, for a minute.
pub fn cookie(flash: &Flash) -> HeaderValue {
    let text: String = flash.text.chars().take(CHARS_MAX).collect();
    let value = format!("{}.{}", flash.tone, encoded(&text));
    written(&value, 60)
}

/// The cookie that removes a message.
pub fn gone() -> HeaderValue {
    written("", 0)
}

fn written(value: &str, seconds: u32) -> HeaderValue {
    let text = format!("{COOKIE}={value}; Path=/; HttpOnly; SameSite=Strict; Max-Age={seconds}");
    // What is encoded is plain ASCII.
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// The message of a request. What is not ours says nothing.
pub fn of(headers: &HeaderMap) -> Option<Flash> {
    let (tone, text) = value_of(headers, COOKIE)?.split_once('.')?;
    let text = decoded(&format!("x={text}")).pop().map(|(_, text)| text)?;
    let text: String = text.chars().filter(|c| !c.is_control()).take(CHARS_MAX).collect();
    Some(Flash { tone: tone.parse().ok()?, text }).filter(|flash| !flash.text.is_empty())
}

/// The value of a cookie.
pub fn value_of<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    zone::cookie(headers, name)
}

#[cfg(test)]
mod tests {
    use axum::http::header;

    use super::*;

    fn carried(cookie: &str) -> Option<Flash> {
        let pair = cookie.split(';').next().expect("a pair").to_owned();
        of(&HeaderMap::from_iter([(header::COOKIE, pair.parse().expect("a value"))]))
    }

    #[test]
    fn a_message_arrives_as_it_was_said() {
        for flash in [Flash::done("batch `a` is paused: 3 chunks; <b>"), Flash::careful("Größe, 100 %; x=y")] {
            assert_eq!(carried(cookie(&flash).to_str().expect("plain")), Some(flash));
        }
        let long = Flash::done("x".repeat(5_000));
        assert_eq!(carried(cookie(&long).to_str().expect("plain")).expect("cut").text.len(), CHARS_MAX);
    }

    #[test]
    fn what_is_not_ours_says_nothing() {
        for odd in ["gristmill-said=", "gristmill-said=done.", "gristmill-said=shout.x", "other=done.x"] {
            assert_eq!(carried(odd), None, "{odd}");
        }
        assert_eq!(carried(gone().to_str().expect("plain")), None);
    }
}
