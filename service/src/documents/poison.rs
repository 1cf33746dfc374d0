//! A message that no worker can act upon, whole.

use gristmill_store::{PoisonMessage, PoisonView};
use serde::{Deserialize, Serialize};
use serde_json::Value;

gristmill_core::words! {
    /// How the bytes of a message are written.
    pub enum BodyEncoding {
        /// As they are: they are UTF-8 and have no control characters but line breaks and tabs.
        Text = "text",
        /// In hexadecimal.
        Hex = "hex",
    }
}

/// A message that was kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PoisonMessageDocument {
    /// What lists show of it; its fields are those of the document.
    #[serde(flatten)]
    pub message: PoisonView,
    /// How many of its first bytes were kept.
    pub kept: usize,
    /// Its properties and headers, as of the last time that it came.
    #[serde(deserialize_with = "gristmill_core::json::value")]
    pub headers: Value,
    /// How `body` is written.
    pub encoding: BodyEncoding,
    /// Its first bytes.
    pub body: String,
}

impl PoisonMessageDocument {
    /// The message; with `hex` its bytes are in hexadecimal in any case.
    pub fn new(message: PoisonMessage, hex: bool) -> Self {
        let PoisonMessage { view, headers, bytes } = message;
        let text = std::str::from_utf8(&bytes).ok().filter(|text| !hex && is_printable(text));
        let (encoding, body) = match text {
            Some(text) => (BodyEncoding::Text, text.to_owned()),
            None => (BodyEncoding::Hex, bytes.iter().map(|byte| format!("{byte:02x}")).collect()),
        };
        Self { message: view, kept: bytes.len(), headers, encoding, body }
    }
}

/// Whether a terminal shows it and does not obey it: any sender may have written what is kept here.
fn is_printable(text: &str) -> bool {
    text.chars().all(|c| !c.is_control() || c == '\n' || c == '\t')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_never_given_orders_by_a_message() {
        assert!(is_printable("{\"v\": 2}\n"));
        assert!(!is_printable("\u{1b}[2J") && !is_printable("\u{9b}2J"));
    }
}
