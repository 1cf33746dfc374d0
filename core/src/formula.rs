//! Texts that a spreadsheet would take for formulas, and how they are written so that it does not.
//!
//! A cell that begins with `=`, `+`, `-`, `@`, a tab or a carriage return is computed when a CSV file is opened, and may
//! call programs or send the sheet away. A quote before it keeps it a text. Plain numbers such as `-5.00` stay numbers.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// What becomes of texts that a spreadsheet would take for formulas.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Formulas {
    /// They are written as they are, for programs.
    #[default]
    Keep,
    /// They get a quote before them, for people with spreadsheets.
    Escape,
}

impl Formulas {
    /// A cell as it is written.
    pub fn cell(self, text: &str) -> Cow<'_, str> {
        match self {
            Self::Keep => Cow::Borrowed(text),
            Self::Escape => escape(text),
        }
    }
}

/// A cell that no spreadsheet computes. [`unescape`] gives back what it was.
pub fn escape(text: &str) -> Cow<'_, str> {
    // Quotes before a formula are escaped too, or two texts would be written alike.
    if is_formula(text.trim_start_matches('\'')) { Cow::Owned(format!("'{text}")) } else { Cow::Borrowed(text) }
}

/// What was escaped; any other text as it is.
pub fn unescape(text: &str) -> &str {
    match text.strip_prefix('\'') {
        Some(rest) if is_formula(rest.trim_start_matches('\'')) => rest,
        _ => text,
    }
}

fn is_formula(text: &str) -> bool {
    // The wide forms count where input methods for Chinese, Japanese and Korean are usual.
    text.starts_with(['=', '+', '-', '@', '\t', '\r', '＝', '＋', '－', '＠']) && !is_number(text)
}

/// Digits with one point or comma, after one sign: nothing that could be computed.
fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix(['+', '-']).unwrap_or_default();
    let marks = digits.bytes().filter(|byte| matches!(byte, b'.' | b',')).count();
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b','));
    plain && marks <= 1 && digits.starts_with(|c: char| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_spreadsheet_would_compute_has_a_quote_before_it() {
        for text in [
            "=1+1",
            "=cmd|' /C calc'!A0",
            "+1+1",
            "-1+1",
            "-2+3+cmd|' /C calc'!A0",
            "@SUM(A1)",
            "\t=1",
            "\r=1",
            "＝1",
            "-",
            "+49 170",
            "-1.2.3",
            "--1",
            "-1e5",
        ] {
            assert_eq!(escape(text), format!("'{text}"), "{text:?}");
        }
        for text in ["", "a", "1=1", "-5", "+5", "-5.00", "-1234,56", "a@example.com", "'quoted'", " =1", "2024-01-01"]
        {
            assert_eq!(escape(text), text, "{text:?}");
        }
    }

    #[test]
    fn what_was_escaped_comes_back_and_nothing_else_changes() {
        for text in ["=1", "'=1", "''=1", "'", "''", "-5", "'-5", "'a", "'-", "", "＠x"] {
            assert_eq!(unescape(&escape(text)), text, "{text:?}");
        }
        assert_eq!(["'a", "'-5", "-5", "=1"].map(unescape), ["'a", "'-5", "-5", "=1"]);
    }
}
