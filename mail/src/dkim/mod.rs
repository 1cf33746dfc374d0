//! Signatures of a domain over a message (RFC 6376; RSA as RFC 8301 wants it, Ed25519 as RFC 8463 has it).
//!
//! A message is signed by every key of its domain: Ed25519 for receivers that know it, RSA for all others. What a reader
//! sees is signed once more than it stands there (oversigned), so that no second `From` or `Subject` can be put on top
//! without breaking the signature.

mod canonical;
mod key;
mod verify;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gristmill_core::Instant;
use ring::digest::{SHA256, digest};

pub use key::{Algorithm, Key};
pub use verify::{Verified, verify};

/// Headers that are signed where they are there, in this order, and that may not be added afterwards.
const OVERSIGNED: [&str; 9] =
    ["from", "to", "cc", "subject", "date", "message-id", "reply-to", "mime-version", "content-type"];

/// Headers that are signed where they are there.
const SIGNED: [&str; 8] = [
    "content-transfer-encoding",
    "in-reply-to",
    "references",
    "list-id",
    "list-unsubscribe",
    "list-unsubscribe-post",
    "auto-submitted",
    "feedback-id",
];

/// How long a line of a signature is before it is folded.
const LINE: usize = 72;

/// A domain, a selector and a key.
#[derive(Debug)]
pub struct Signer {
    /// The domain that signs, the tag `d=`.
    pub domain: String,
    /// Which of its keys, the tag `s=`.
    pub selector: String,
    /// The key.
    pub key: Key,
}

impl Signer {
    /// Where the key's DNS record stands.
    pub fn record_name(&self) -> String {
        format!("{}._domainkey.{}", self.selector, self.domain)
    }

    /// The header `DKIM-Signature` over a message, with its line end.
    fn header(&self, parts: &canonical::Parts<'_>, at: Instant) -> Result<String, String> {
        let names = signed_names(parts);
        let body_hash = STANDARD.encode(digest(&SHA256, &canonical::body(parts.body)));
        let tags = format!(
            " v=1; a={}; c=relaxed/relaxed; d={}; s={};\r\n\tt={};\r\n\th={};\r\n\tbh={body_hash};\r\n\tb=",
            self.key.algorithm().as_str(),
            self.domain,
            self.selector,
            at.timestamp().max(0),
            folded(&names.join(":"), ':'),
        );
        let data = signed_data(parts, &names, &tags);
        let signature = STANDARD.encode(self.key.sign(data.as_bytes())?);
        Ok(format!("DKIM-Signature:{tags}{}\r\n", folded(&signature, '\0')))
    }
}

/// Puts a signature by each of the signers on top of a message.
///
/// # Errors
///
/// When it is no message, or a key cannot sign: a text that says which.
pub fn sign(message: &[u8], signers: &[&Signer], at: Instant) -> Result<Vec<u8>, String> {
    let parts = canonical::parts(message).ok_or("the message has a line among its headers that is none")?;
    let mut signed = Vec::with_capacity(message.len() + signers.len() * 1_000);
    for signer in signers {
        signed.extend_from_slice(signer.header(&parts, at)?.as_bytes());
    }
    signed.extend_from_slice(message);
    Ok(signed)
}

/// The names of the tag `h=`.
fn signed_names(parts: &canonical::Parts<'_>) -> Vec<String> {
    let times = |name: &str| parts.headers.iter().filter(|(known, _)| known.trim().eq_ignore_ascii_case(name)).count();
    let over = OVERSIGNED.iter().flat_map(|name| vec![(*name).to_owned(); times(name) + 1]);
    let once = SIGNED.iter().flat_map(|name| vec![(*name).to_owned(); times(name)]);
    over.chain(once).collect()
}

/// The headers that names refer to, from the bottom upwards for each name, then the signature itself without its value
/// (RFC 6376, 3.5 and 3.7). A name without a header left stands for nothing.
fn signed_data(parts: &canonical::Parts<'_>, names: &[String], tags: &str) -> String {
    let mut used: Vec<bool> = vec![false; parts.headers.len()];
    let mut data = String::new();
    for name in names {
        let last = parts.headers.iter().enumerate().rev();
        let mut found = last.filter(|(_, (known, _))| known.trim().eq_ignore_ascii_case(name));
        if let Some((index, (known, value))) = found.find(|(index, _)| !used[*index]) {
            used[index] = true;
            data.push_str(&canonical::header(known, value));
        }
    }
    let own = canonical::header("dkim-signature", tags);
    data + own.trim_end_matches("\r\n")
}

/// A long value in lines, each cut behind `after`, or anywhere when that is NUL.
fn folded(value: &str, after: char) -> String {
    let mut lines: Vec<String> = vec![String::new()];
    let pieces: Vec<&str> = match after {
        '\0' => value.as_bytes().chunks(LINE).filter_map(|line| std::str::from_utf8(line).ok()).collect(),
        _ => value.split_inclusive(after).collect(),
    };
    for piece in pieces {
        let last = lines.last_mut().filter(|line| line.len() + piece.len() <= LINE);
        match last {
            Some(line) => line.push_str(piece),
            None => lines.push(piece.to_owned()),
        }
    }
    lines.join("\r\n\t")
}
