//! Verifying signatures: what a receiver does (RFC 6376, 6), so that a sender sees what it would say.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA256, digest};
use ring::signature::{ED25519, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};

use super::{canonical, key, signed_data};

/// One signature that a message carries, and whether it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The domain that signed, `d=`.
    pub domain: String,
    /// Which of its keys, `s=`.
    pub selector: String,
    /// The algorithm, `a=`.
    pub algorithm: String,
    /// Whether it holds; if not, why.
    pub holds: Result<(), String>,
}

/// Verifies every signature of a message. `record` returns the text of a DNS record by its name.
pub fn verify(message: &[u8], record: impl Fn(&str) -> Option<String>) -> Vec<Verified> {
    let Some(parts) = canonical::parts(message) else { return Vec::new() };
    let signatures = parts.headers.iter().filter(|(name, _)| name.trim().eq_ignore_ascii_case("dkim-signature"));
    let one = |(_, value): &(&str, &str)| {
        let tags = tags(value);
        let tag = |name: &str| tags.get(name).cloned().unwrap_or_default();
        Verified {
            domain: tag("d"),
            selector: tag("s"),
            algorithm: tag("a"),
            holds: check(&parts, value, &tags, &record),
        }
    };
    signatures.map(one).collect()
}

/// The tags of a signature or a record. White space inside of values is left out where it never means anything.
fn tags(value: &str) -> BTreeMap<String, String> {
    let pairs = value.split(';').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (name.trim().to_owned(), value.split_whitespace().collect())).collect()
}

fn check(
    parts: &canonical::Parts<'_>,
    value: &str,
    tags: &BTreeMap<String, String>,
    record: &impl Fn(&str) -> Option<String>,
) -> Result<(), String> {
    let tag = |name: &str| tags.get(name).map(String::as_str).ok_or_else(|| format!("it has no tag `{name}=`"));
    if tag("v")? != "1" || tag("c")? != "relaxed/relaxed" {
        return Err("it is of another version or form than `v=1; c=relaxed/relaxed`".to_owned());
    }
    let hash = STANDARD.encode(digest(&SHA256, &canonical::body(parts.body)));
    if hash != tag("bh")? {
        return Err("the body is not the one that was signed".to_owned());
    }
    let names: Vec<String> = tag("h")?.split(':').map(|name| name.trim().to_owned()).collect();
    if !names.iter().any(|name| name.eq_ignore_ascii_case("from")) {
        return Err("it does not cover `From`".to_owned());
    }
    let name = format!("{}._domainkey.{}", tag("s")?, tag("d")?);
    let text = record(&name).ok_or_else(|| format!("there is no record {name}"))?;
    let signature = STANDARD.decode(tag("b")?).map_err(|_| "its `b=` is no base64".to_owned())?;
    let data = signed_data(parts, &names, &without_signature(value));
    holds(tag("a")?, &text, data.as_bytes(), &signature)
}

fn holds(algorithm: &str, record: &str, data: &[u8], signature: &[u8]) -> Result<(), String> {
    let record = tags(record);
    let public = record.get("p").filter(|text| !text.is_empty()).ok_or("the key has been revoked")?;
    let public = STANDARD.decode(public).map_err(|_| "the record's `p=` is no base64".to_owned())?;
    let verified = match (algorithm, record.get("k").map_or("rsa", String::as_str)) {
        ("rsa-sha256", "rsa") => {
            let public = key::pkcs1(&public).ok_or("the record's key is no RSA key")?;
            UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, public).verify(data, signature)
        }
        ("ed25519-sha256", "ed25519") => {
            UnparsedPublicKey::new(&ED25519, public).verify(digest(&SHA256, data).as_ref(), signature)
        }
        (algorithm, kind) => return Err(format!("`{algorithm}` does not go with a key of kind `{kind}`")),
    };
    verified.map_err(|_| "the headers are not those that were signed, or the key is another".to_owned())
}

/// The signature's own value without the content of `b=`.
fn without_signature(value: &str) -> String {
    let mut pairs = Vec::new();
    for pair in value.split(';') {
        match pair.split_once('=') {
            Some((name, _)) if name.trim() == "b" => pairs.push(format!("{name}=")),
            _ => pairs.push(pair.to_owned()),
        }
    }
    pairs.join(";")
}
