//! The address of a database, as its standard reads it: for PostgreSQL as libpq does, for a file as SQLite does.

mod postgres;
mod sqlite;

pub use postgres::{Encryption, encryption, postgres_options};
pub use sqlite::{SqliteAddress, sqlite_file, sqlite_url};

use url::Host;

/// Whether a URL begins as one of PostgreSQL does.
pub fn is_postgres(url: &str) -> bool {
    url.starts_with("postgres://") || url.starts_with("postgresql://")
}

/// Checks whether a URL can be the address of a store.
///
/// # Errors
///
/// What is wrong, in words that never quote the URL, which may hold a password.
pub fn check(url: &str) -> Result<(), String> {
    if is_postgres(url) {
        return postgres_options(url).map(drop);
    }
    match SqliteAddress::of(url) {
        Some(address) => address.and_then(|address| address.for_store()).map(drop),
        None => Err("is neither `sqlite://FILE` nor `postgres://USER:PASSWORD@HOST/DATABASE`".to_owned()),
    }
}

/// Whether a host is this machine: what is sent to it does not leave it.
pub fn is_here(host: &str) -> bool {
    let name = host.trim_end_matches('.').to_ascii_lowercase();
    if name.is_empty() || name.starts_with(['/', '@']) || name == "localhost" || name.ends_with(".localhost") {
        return true;
    }
    match Host::parse(&name).or_else(|_| Host::parse(&format!("[{name}]"))) {
        Ok(Host::Ipv4(address)) => address.is_loopback(),
        Ok(Host::Ipv6(address)) => address.to_canonical().is_loopback(),
        Ok(Host::Domain(_)) | Err(_) => false,
    }
}

/// A text with its `%XX` replaced by what they stand for. A `%` that begins no such pair is itself.
fn decoded(text: &str) -> String {
    let (bytes, mut found) = (text.as_bytes(), Vec::with_capacity(text.len()));
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let pair = bytes.get(at + 1..at + 3).and_then(|pair| std::str::from_utf8(pair).ok());
        let value = pair.filter(|pair| pair.bytes().all(|digit| digit.is_ascii_hexdigit()));
        match value.and_then(|pair| u8::from_str_radix(pair, 16).ok()) {
            Some(value) if *byte == b'%' => {
                found.push(value);
                at += 3;
            }
            _ => {
                found.push(*byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&found).into_owned()
}

/// A text with everything that could mean something in a URL as `%XX`.
fn encoded(text: &str, plain: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        let c = char::from(byte);
        if c.is_ascii_alphanumeric() || plain.contains(c) {
            encoded.push(c);
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_here() {
        for host in [
            "localhost",
            "LOCALHOST.",
            "db.localhost",
            "127.0.0.1",
            "127.9.9.9",
            "::1",
            "[::1]",
            "::ffff:127.0.0.1",
            "/run/x",
            "",
        ] {
            assert!(is_here(host), "{host}");
        }
        for host in
            ["db", "example.com", "10.0.0.1", "localhost.example.com", "::2", "127.0.0.1.example.com", "notlocalhost"]
        {
            assert!(!is_here(host), "{host}");
        }
    }

    #[test]
    fn what_is_encoded_is_decoded_again() {
        for text in ["a b", "100%", "ä?#/", "%41"] {
            assert_eq!(decoded(&encoded(text, "")), text);
        }
        assert_eq!(decoded("100%.db%"), "100%.db%");
    }
}
