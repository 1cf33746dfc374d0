//! Durations as people write them: `90s`, `5m`, `2h`, `3d`, `250ms`, `1h30m`.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Why a text is not a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not a duration: {reason}; write a number and a unit, such as `250ms`, `90s`, `5m`, `2h`, `3d` or `1h30m`"
)]
pub struct BadDuration {
    /// The text that was found.
    pub text: String,
    /// What is wrong with it.
    pub reason: String,
}

const UNITS: [(&str, u64); 6] =
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000), ("w", 604_800_000)];

/// Reads a duration.
///
/// # Errors
///
/// When the text is empty, has no unit, an unknown unit, or is over 100 years.
pub fn parse(text: &str) -> Result<Duration, BadDuration> {
    let bad = |reason: String| BadDuration { text: text.to_owned(), reason };
    let trimmed = text.trim();
    if trimmed == "0" {
        return Ok(Duration::ZERO);
    }
    if trimmed.is_empty() {
        return Err(bad("it is empty".to_owned()));
    }
    let mut rest = trimmed;
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let number: u64 = match rest[..digits].parse() {
            Ok(number) => number,
            Err(_) if digits == 0 => return Err(bad(format!("a number is missing before `{rest}`"))),
            Err(_) => return Err(bad("the number is too large".to_owned())),
        };
        rest = &rest[digits..];
        let letters = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let unit = rest[..letters].trim();
        rest = &rest[letters..];
        if unit.is_empty() {
            return Err(bad("it has no unit".to_owned()));
        }
        let Some((_, factor)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(bad(format!("`{unit}` is not a unit")));
        };
        total = number
            .checked_mul(*factor)
            .and_then(|ms| total.checked_add(ms))
            .filter(|ms| *ms <= 100 * 366 * 86_400_000)
            .ok_or_else(|| bad("it is longer than 100 years".to_owned()))?;
    }
    Ok(Duration::from_millis(total))
}

/// Writes a duration in its largest whole units, so that [`parse`] reads it back.
pub fn format(duration: Duration) -> String {
    let mut left = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if left == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (name, factor) in UNITS.iter().rev().filter(|(name, _)| *name != "w") {
        if left >= *factor {
            text.push_str(&format!("{}{name}", left / factor));
            left %= factor;
        }
    }
    text
}

/// For `#[serde(with = "gristmill_core::duration::text")]`.
pub mod text {
    use super::{Deserialize, Deserializer, Duration, Serializer};

    /// Writes the text form.
    ///
    /// # Errors
    ///
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::format(*duration))
    }

    /// Reads the text form.
    ///
    /// # Errors
    ///
    /// When it is not a duration; see [`super::parse`].
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        super::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// A duration that reads and writes itself as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        text::serialize(&self.0, serializer)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::deserialize(deserializer).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_is_read() {
        for (text, ms) in
            [("250ms", 250), ("90s", 90_000), ("5m", 300_000), ("1h30m", 5_400_000), ("3d", 259_200_000), ("0", 0)]
        {
            assert_eq!(parse(text).expect(text), Duration::from_millis(ms), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, reason) in [
            ("", "empty"),
            ("10", "no unit"),
            ("10x", "`x` is not a unit"),
            ("h", "number is missing"),
            ("99999999999d", "100 years"),
        ] {
            let error = parse(text).expect_err(text).to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn a_written_duration_is_read_back_the_same() {
        for ms in [0, 1, 999, 1_000, 61_000, 5_400_000, 90_061_001] {
            let duration = Duration::from_millis(ms);
            assert_eq!(parse(&format(duration)).expect("readable"), duration);
        }
    }
}
