//! Addresses of mail by which people are known: one spelling for each.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How many characters an address may have at most (RFC 5321).
pub const ADDRESS_CHARS_MAX: usize = 254;

/// How many characters it may have before its `@` at most (RFC 5321).
const LOCAL_CHARS_MAX: usize = 64;

/// An address in its canonical form: in lower case and in ASCII, so that no person has two accounts, and none that only looks
/// like another's.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EmailAddress(String);

/// Why a text is not an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{found}` is not an address of mail: {wrong}; write one such as `ada@example.com`")]
pub struct BadAddress {
    /// What was found, cut at 80 characters, without control characters.
    pub found: String,
    /// What is wrong with it.
    pub wrong: &'static str,
}

impl EmailAddress {
    /// The address.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for EmailAddress {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, BadAddress> {
        let text = text.trim();
        match fault(text) {
            None => Ok(Self(text.to_ascii_lowercase())),
            Some(wrong) => {
                let found = text.chars().filter(|c| !c.is_control()).take(80).collect();
                Err(BadAddress { found, wrong })
            }
        }
    }
}

fn fault(text: &str) -> Option<&'static str> {
    let Some((local, domain)) = text.rsplit_once('@') else { return Some("it has no `@`") };
    let in_local = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~.".contains(&byte);
    if !text.is_ascii() {
        Some("it has letters that are not ASCII; a domain of other letters is written as `xn--…`")
    } else if text.len() > ADDRESS_CHARS_MAX || local.len() > LOCAL_CHARS_MAX {
        Some("it is too long")
    } else if local.is_empty() || !local.bytes().all(in_local) {
        Some("what stands before its `@` is empty or has other characters than letters, digits and `.+-_`")
    } else if local.starts_with('.') || local.ends_with('.') || local.contains("..") {
        Some("a point begins or ends what stands before its `@`, or two follow each other")
    } else if !is_domain(domain) {
        Some("what stands behind its `@` is no domain")
    } else {
        None
    }
}

fn is_domain(domain: &str) -> bool {
    let is_label = |label: &str| {
        let edges = !label.starts_with('-') && !label.ends_with('-');
        (1..=63).contains(&label.len())
            && edges
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    !domain.is_empty() && domain.split('.').all(is_label)
}

impl fmt::Display for EmailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for EmailAddress {
    type Error = BadAddress;

    fn try_from(text: String) -> Result<Self, BadAddress> {
        text.parse()
    }
}

impl From<EmailAddress> for String {
    fn from(address: EmailAddress) -> Self {
        address.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_one_spelling() {
        let read = |text: &str| text.parse::<EmailAddress>().map(String::from);
        assert_eq!(read("  Ada.Lovelace+Jobs@Example.COM "), Ok("ada.lovelace+jobs@example.com".to_owned()));
        assert_eq!(read("root@localhost"), Ok("root@localhost".to_owned()));
    }

    #[test]
    fn what_is_no_address_is_refused_with_its_fault() {
        let long = format!("{}@example.com", "a".repeat(65));
        for wrong in [
            "",
            "ada",
            "@example.com",
            "ada@",
            "a da@example.com",
            "ada@exa mple.com",
            "ada@-a.com",
            "ada@a..com",
            ".ada@a.com",
            "a..b@a.com",
            "ada@a.com\r\nBcc: eve@a.com",
            "Ada <ada@a.com>",
            "\u{430}da@example.com",
            "ada@ex\u{430}mple.com",
            &long,
        ] {
            let error = wrong.parse::<EmailAddress>().expect_err(wrong).to_string();
            assert!(error.contains("ada@example.com") && !error.contains(char::is_control), "{error}");
        }
    }
}
