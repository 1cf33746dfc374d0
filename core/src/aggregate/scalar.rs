//! What `min` and `max` compare and keep: a number, or a text as it was written.

use std::borrow::Cow;
use std::cmp::Ordering;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::exact::decimal_text;

/// A value that has an order: numbers, also those written as text, by their value, before other texts by their code
/// points. Of equal numbers the one in canonical form comes first, then the others by their texts: so the order is
/// total, and what is kept does not depend on the order in which the items come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Kept", into = "Kept")]
pub(super) enum Scalar<'a> {
    /// A number, or a text that is its canonical form.
    Number(Decimal),
    /// A number in another form: `00501`, `1.50`, `1e3`.
    Written(Decimal, Cow<'a, str>),
    /// A text that is no number.
    Text(Cow<'a, str>),
}

/// How it is stored. A number in another form is stored as a text: older versions read it.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kept {
    Number(Decimal),
    Text(String),
}

impl<'a> Scalar<'a> {
    pub(super) fn of_text(text: impl Into<Cow<'a, str>>) -> Self {
        let text = text.into();
        match decimal_text(&text) {
            Some(number) if is_canonical(&text) => Self::Number(number),
            Some(number) => Self::Written(number, text),
            None => Self::Text(text),
        }
    }

    pub(super) fn into_owned(self) -> Scalar<'static> {
        match self {
            Self::Number(number) => Scalar::Number(number),
            Self::Written(number, text) => Scalar::Written(number, Cow::Owned(text.into_owned())),
            Self::Text(text) => Scalar::Text(Cow::Owned(text.into_owned())),
        }
    }

    /// The text that people see.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Written(_, text) | Self::Text(text) => text.to_string(),
        }
    }

    pub(super) fn number(&self) -> Option<Decimal> {
        match self {
            Self::Number(number) | Self::Written(number, _) => Some(*number),
            Self::Text(_) => None,
        }
    }

    fn text(&self) -> Option<&str> {
        match self {
            Self::Number(_) => None,
            Self::Written(_, text) | Self::Text(text) => Some(text),
        }
    }
}

impl Ord for Scalar<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self.number(), other.number()) {
            (Some(one), Some(two)) => one.cmp(&two).then_with(|| self.text().cmp(&other.text())),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => self.text().cmp(&other.text()),
        }
    }
}

impl PartialOrd for Scalar<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl From<Kept> for Scalar<'_> {
    fn from(kept: Kept) -> Self {
        match kept {
            Kept::Number(number) => Self::Number(number),
            Kept::Text(text) => Self::of_text(text),
        }
    }
}

impl From<Scalar<'_>> for Kept {
    fn from(scalar: Scalar<'_>) -> Self {
        match scalar {
            Scalar::Number(number) => Self::Number(number),
            Scalar::Written(_, text) | Scalar::Text(text) => Self::Text(text.into_owned()),
        }
    }
}

/// Whether a text that is a number is what [`Decimal`] would write: no plus, exponent or redundant zero.
fn is_canonical(text: &str) -> bool {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = match unsigned.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (unsigned, None),
    };
    let plain = !text.contains(['e', 'E', '+']);
    let whole_fits = !whole.starts_with('0') || whole == "0";
    let fraction_fits = fraction.is_none_or(|fraction| !fraction.is_empty() && !fraction.ends_with('0'));
    plain && whole_fits && fraction_fits && text != "-0"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_canonical_exactly_if_its_number_is_written_like_it() {
        for text in
            ["0", "-0", "00", "1", "-1", "+1", "01", "1.5", "1.50", "1.", "0.5", "00.5", "-0.5", "-0.0", "1e3", "10"]
        {
            let number = decimal_text(text).expect(text);
            assert_eq!(is_canonical(text), number.to_string() == text, "{text}");
        }
    }

    #[test]
    fn what_an_older_version_kept_is_read() {
        let read = |text: &str| serde_json::from_str::<Scalar<'_>>(text).expect(text);
        assert_eq!(read(r#"{"number":"501"}"#), Scalar::of_text("501"));
        assert_eq!(read(r#"{"text":"x"}"#), Scalar::of_text("x"));
        assert_eq!(serde_json::to_string(&Scalar::of_text("00501")).expect("JSON"), r#"{"text":"00501"}"#);
        assert_eq!(read(r#"{"text":"00501"}"#), Scalar::of_text("00501"));
    }
}
