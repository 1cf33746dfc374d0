//! Secrets: 256 random bits, shown once, and kept as their SHA-256 only.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gristmill_store::accounts::SecretHash;
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};

use super::error::{AccountError, Result};

/// How many characters of a token's secret are shown later.
const SHOWN_CHARS: usize = 11;

/// A text that nothing shows: neither logs nor messages of errors.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// What a secret is for, which its beginning says, so that people and scanners recognize one that lies about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// An API token: `gm_…`.
    Token,
    /// A session: `gms_…`.
    Session,
    /// A link: `gml_…`.
    Link,
    /// A refresh token: `gmr_…`.
    Refresh,
}

impl Purpose {
    /// How its secrets begin.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Token => "gm_",
            Self::Session => "gms_",
            Self::Link => "gml_",
            Self::Refresh => "gmr_",
        }
    }
}

impl Secret {
    /// Keeps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Draws a new one.
    ///
    /// # Errors
    ///
    /// When the system gives no random numbers.
    pub fn draw(purpose: Purpose) -> Result<Self> {
        let mut bits = [0; 32];
        let failed = |_| AccountError::Internal("the system gives no random numbers".into());
        SystemRandom::new().fill(&mut bits).map_err(failed)?;
        Ok(Self(format!("{}{}", purpose.prefix(), URL_SAFE_NO_PAD.encode(bits))))
    }

    /// The text itself.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether it begins as secrets for that purpose do.
    pub fn is_for(&self, purpose: Purpose) -> bool {
        self.0.starts_with(purpose.prefix())
    }

    /// What the store knows it by.
    pub fn hash(&self) -> SecretHash {
        let mut hash = SecretHash::default();
        hash.copy_from_slice(digest(&SHA256, self.0.as_bytes()).as_ref());
        hash
    }

    /// Its beginning, by which people know it.
    pub(super) fn shown(&self) -> String {
        self.0.chars().take(SHOWN_CHARS).collect()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_has_256_bits_of_its_own_and_is_never_shown() {
        let (one, other) = (Secret::draw(Purpose::Token).expect("drawn"), Secret::draw(Purpose::Token).expect("drawn"));
        assert!(one.expose().len() == 3 + 43 && one.is_for(Purpose::Token) && !one.is_for(Purpose::Session));
        assert!(one != other && one.hash() != other.hash());
        assert_eq!(one.shown().len(), SHOWN_CHARS);
        assert_eq!(format!("{one:?}"), "Secret(***)");
    }

    #[test]
    fn the_hash_is_the_sha_256_of_the_whole_text() {
        let hex: String = Secret::new("abc").hash().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
