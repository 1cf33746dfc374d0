//! Keys that sign: RSA from a file, Ed25519 from a file or made here, and the DNS record of each.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::rsa::KeyPair as RsaKeyPair;
use ring::signature::{Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256};

/// The smallest RSA key that signs, in bits: smaller ones are forged (RFC 8301 says 1024; no large receiver trusts it).
const RSA_BITS_MIN: usize = 2_048;

/// The DER prefix of a `SubjectPublicKeyInfo` for RSA, after its outer length: the algorithm `rsaEncryption`.
const RSA_ALGORITHM: [u8; 15] =
    [0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];

/// How a signature is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// `rsa-sha256` (RFC 6376).
    RsaSha256,
    /// `ed25519-sha256` (RFC 8463).
    Ed25519Sha256,
}

impl Algorithm {
    /// The word of the tag `a=`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RsaSha256 => "rsa-sha256",
            Self::Ed25519Sha256 => "ed25519-sha256",
        }
    }
}

/// A private key.
pub struct Key {
    pair: Pair,
}

enum Pair {
    Rsa(Box<RsaKeyPair>),
    Ed25519(Box<Ed25519KeyPair>),
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key").field("algorithm", &self.algorithm()).finish_non_exhaustive()
    }
}

impl Key {
    /// Reads a private key in PEM: `PRIVATE KEY` (PKCS#8, RSA or Ed25519) or `RSA PRIVATE KEY` (PKCS#1).
    ///
    /// # Errors
    ///
    /// When it is none of these, or an RSA key of less than 2048 bits: a text that says what would be right, and
    /// nothing of the key.
    pub fn from_pem(pem: &str) -> Result<Self, String> {
        let (label, der) = decode(pem)?;
        let no = |what: &str| {
            format!(
                "it is no private key for DKIM ({what}); make one with `openssl genrsa -traditional 2048` or `openssl genpkey -algorithm ed25519`"
            )
        };
        let pair = match label.as_str() {
            "RSA PRIVATE KEY" => {
                Pair::Rsa(Box::new(RsaKeyPair::from_der(&der).map_err(|error| no(&error.to_string()))?))
            }
            "PRIVATE KEY" => match Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der) {
                Ok(pair) => Pair::Ed25519(Box::new(pair)),
                Err(_) => Pair::Rsa(Box::new(RsaKeyPair::from_pkcs8(&der).map_err(|error| no(&error.to_string()))?)),
            },
            other => return Err(no(&format!("its PEM label is `{other}`"))),
        };
        match &pair {
            Pair::Rsa(rsa) if rsa.public().modulus_len() * 8 < RSA_BITS_MIN => {
                Err(no(&format!("RSA needs {RSA_BITS_MIN} bits")))
            }
            _ => Ok(Self { pair }),
        }
    }

    /// Makes a new Ed25519 key, and returns it as PEM. RSA keys are made with `openssl`: what this program uses for TLS
    /// makes none.
    ///
    /// # Errors
    ///
    /// When the system gives no random numbers.
    pub fn generate_ed25519() -> Result<String, String> {
        let made = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new())
            .map_err(|_| "the system gives no random numbers".to_owned())?;
        let text = STANDARD.encode(made.as_ref());
        let lines: Vec<String> =
            text.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line).into_owned()).collect();
        Ok(format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n")))
    }

    /// How it signs.
    pub fn algorithm(&self) -> Algorithm {
        match self.pair {
            Pair::Rsa(_) => Algorithm::RsaSha256,
            Pair::Ed25519(_) => Algorithm::Ed25519Sha256,
        }
    }

    /// The text of the DNS record `SELECTOR._domainkey.DOMAIN`.
    pub fn record(&self) -> String {
        match &self.pair {
            Pair::Rsa(rsa) => format!("v=DKIM1; k=rsa; p={}", STANDARD.encode(spki(rsa.public_key().as_ref()))),
            Pair::Ed25519(pair) => format!("v=DKIM1; k=ed25519; p={}", STANDARD.encode(pair.public_key().as_ref())),
        }
    }

    /// Signs the SHA-256 of `data` (RSA), or signs that hash as a message (Ed25519: RFC 8463, 3).
    pub(super) fn sign(&self, data: &[u8]) -> Result<Vec<u8>, String> {
        match &self.pair {
            Pair::Rsa(rsa) => {
                let mut signature = vec![0; rsa.public().modulus_len()];
                rsa.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), data, &mut signature)
                    .map_err(|_| "the RSA key cannot sign".to_owned())?;
                Ok(signature)
            }
            Pair::Ed25519(pair) => {
                let hash = ring::digest::digest(&ring::digest::SHA256, data);
                Ok(pair.sign(hash.as_ref()).as_ref().to_vec())
            }
        }
    }
}

/// The label and the content of the first block of a PEM text.
fn decode(pem: &str) -> Result<(String, Vec<u8>), String> {
    let no = || "it is no PEM file, which begins with `-----BEGIN PRIVATE KEY-----`".to_owned();
    let (_, rest) = pem.split_once("-----BEGIN ").ok_or_else(no)?;
    let (label, rest) = rest.split_once("-----").ok_or_else(no)?;
    let (content, _) = rest.split_once(&format!("-----END {label}-----")).ok_or_else(no)?;
    let content: String = content.chars().filter(|c| !c.is_whitespace()).collect();
    Ok((label.to_owned(), STANDARD.decode(content).map_err(|_| no())?))
}

/// Wraps a PKCS#1 public key as a `SubjectPublicKeyInfo`, which is what DNS has (RFC 6376, 3.6.1).
fn spki(pkcs1: &[u8]) -> Vec<u8> {
    let bits = [&der_head(0x03, pkcs1.len() + 1)[..], &[0], pkcs1].concat();
    [&der_head(0x30, RSA_ALGORITHM.len() + bits.len())[..], &RSA_ALGORITHM, &bits].concat()
}

/// The tag and the length of a DER value.
fn der_head(tag: u8, length: usize) -> Vec<u8> {
    let bytes = length.to_be_bytes();
    let significant = &bytes[bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len() - 1)..];
    match significant {
        [short] if *short < 0x80 => vec![tag, *short],
        long => [&[tag, 0x80 | u8::try_from(long.len()).unwrap_or(0)], long].concat(),
    }
}

/// The PKCS#1 public key inside a `SubjectPublicKeyInfo`. `None` when it is no RSA key.
pub(super) fn pkcs1(spki: &[u8]) -> Option<&[u8]> {
    let at = spki.windows(RSA_ALGORITHM.len()).position(|window| window == RSA_ALGORITHM)?;
    let bits = &spki[at + RSA_ALGORITHM.len()..];
    let (tag, rest) = bits.split_first()?;
    let (length, rest) = rest.split_first()?;
    let long = if *length >= 0x80 { usize::from(*length & 0x7f) } else { 0 };
    let (unused, key) = rest.get(long..)?.split_first()?;
    (*tag == 0x03 && *unused == 0).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_again_and_no_error_shows_anything_of_it() {
        let pem = Key::generate_ed25519().expect("made");
        let key = Key::from_pem(&pem).expect("read");
        assert_eq!(key.algorithm(), Algorithm::Ed25519Sha256);
        assert!(key.record().starts_with("v=DKIM1; k=ed25519; p="), "{}", key.record());
        assert_ne!(pem, Key::generate_ed25519().expect("made"), "no two are the same");
        let half = &pem[..60];
        for text in [
            "",
            "nonsense",
            half,
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----",
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----",
        ] {
            let error = Key::from_pem(text).expect_err("refused");
            assert!(error.starts_with("it is no") && !error.contains("AAAA"), "{error}");
        }
    }

    #[test]
    fn the_lengths_of_der_are_as_short_as_they_can_be() {
        assert_eq!(der_head(0x30, 5), [0x30, 5]);
        assert_eq!(der_head(0x30, 127), [0x30, 127]);
        assert_eq!(der_head(0x30, 128), [0x30, 0x81, 128]);
        assert_eq!(der_head(0x30, 300), [0x30, 0x82, 1, 44]);
        assert_eq!(der_head(0x03, 0), [0x03, 0]);
    }
}
