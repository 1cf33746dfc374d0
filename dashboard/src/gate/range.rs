//! `Range`: the part of a file that is wanted (RFC 9110, section 14). One range of bytes is heeded; of several the whole is
//! sent, as the standard allows.

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::header::{self, HeaderName};
use axum::http::request::Parts;

use super::describe::{Argument, Endpoint};
use super::error::ApiError;
use super::respond::tags;

/// What a request says of the part that it wants, and of what it has already.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    range: Option<String>,
    if_range: Option<String>,
    known: Vec<String>,
}

/// What is sent of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Whole,
    /// The bytes from the first to the last, both included.
    Bytes(u64, u64),
    /// Nothing: the caller has it.
    Unchanged,
    /// Nothing: it has no such bytes.
    Outside,
}

impl Wanted {
    fn of(headers: &HeaderMap) -> Self {
        let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let known = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
        Self { range: text(header::RANGE), if_range: text(header::IF_RANGE), known: known.flat_map(tags).collect() }
    }

    /// What is sent of a file of so many bytes with this strong tag, given without its quotes.
    pub fn part(&self, bytes: u64, tag: &str) -> Part {
        if self.known.iter().any(|known| known == tag || known == "*") {
            return Part::Unchanged;
        }
        // A date, a weak tag or another one: the rest of something else.
        let same = self.if_range.as_ref().is_none_or(|said| said.trim() == format!("\"{tag}\""));
        match self.range.as_deref().filter(|_| same).and_then(|range| read(range, bytes)) {
            None => Part::Whole,
            Some(part) => part,
        }
    }
}

/// Reads a range of bytes of a file of so many. `None` when it is none that is heeded.
fn read(range: &str, bytes: u64) -> Option<Part> {
    let (first, last) = range.trim().strip_prefix("bytes=")?.trim().split_once('-')?;
    let number = |text: &str| match text.is_empty() || !text.bytes().all(|digit| digit.is_ascii_digit()) {
        true => None,
        // A number beyond all files.
        false => Some(text.parse().unwrap_or(u64::MAX)),
    };
    let part = |first: u64, last: u64| match first < bytes {
        true => Part::Bytes(first, last.min(bytes - 1)),
        false => Part::Outside,
    };
    match (first, last) {
        ("", last) => match number(last)? {
            0 => Some(Part::Outside),
            last => Some(part(bytes.saturating_sub(last), u64::MAX)),
        },
        (first, "") => Some(part(number(first)?, u64::MAX)),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then(|| part(first, last))
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Wanted {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        Ok(Self::of(&parts.headers))
    }
}

impl Argument for Wanted {
    fn describe(endpoint: &mut Endpoint) {
        endpoint.ranged = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(range: &str, if_range: Option<&str>, known: &str) -> Wanted {
        let known = tags(known).filter(|tag| !tag.is_empty()).collect();
        Wanted { range: Some(range.to_owned()), if_range: if_range.map(str::to_owned), known }
    }

    #[test]
    fn one_range_is_cut_to_the_file() {
        for (range, part) in [
            ("bytes=0-", Part::Bytes(0, 9)),
            ("bytes=3-5", Part::Bytes(3, 5)),
            ("bytes=3-999", Part::Bytes(3, 9)),
            ("bytes=-4", Part::Bytes(6, 9)),
            ("bytes=-99", Part::Bytes(0, 9)),
            ("bytes=9-9", Part::Bytes(9, 9)),
            ("bytes=10-", Part::Outside),
            ("bytes=-0", Part::Outside),
            ("bytes=99999999999999999999999-", Part::Outside),
            ("bytes=5-3", Part::Whole),
            ("bytes=0-1,3-4", Part::Whole),
            ("bytes=+1-2", Part::Whole),
            ("bytes=-", Part::Whole),
            ("lines=0-1", Part::Whole),
            ("", Part::Whole),
        ] {
            assert_eq!(wanted(range, None, "").part(10, "a"), part, "{range}");
        }
        assert_eq!(wanted("bytes=0-", None, "").part(0, "a"), Part::Outside, "an empty file has no byte");
    }

    #[test]
    fn the_rest_of_something_else_is_not_sent() {
        assert_eq!(wanted("bytes=3-", Some("\"a\""), "").part(10, "a"), Part::Bytes(3, 9));
        for other in ["\"b\"", "W/\"a\"", "Sun, 29 Nov 2026 00:00:00 GMT", "a"] {
            assert_eq!(wanted("bytes=3-", Some(other), "").part(10, "a"), Part::Whole, "{other}");
        }
        assert_eq!(wanted("bytes=3-", None, "\"x\", \"a\"").part(10, "a"), Part::Unchanged);
    }
}
