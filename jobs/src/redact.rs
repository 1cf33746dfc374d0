//! Texts without their secrets: addresses by their form, and values by the name that stands before them. What cannot be
//! read is hidden rather than shown.

use std::borrow::Cow;

use url::Url;

/// What stands for a secret.
pub const HIDDEN: &str = "***";

/// Parts of names, in lower case and without `-` and `_`, of values that are secret.
const SECRET_NAMES: [&str; 17] = [
    "secret",
    "password",
    "passwd",
    "passphrase",
    "token",
    "authorization",
    "apikey",
    "accesskey",
    "privatekey",
    "signingkey",
    "encryptionkey",
    "credential",
    "cookie",
    "bearer",
    "sessionid",
    "webhookkey",
    "licensekey",
];

/// Further ones where any name may occur: headers, variables, parameters of a URL.
const SUSPECT_NAMES: [&str; 6] = ["key", "auth", "sig", "pass", "pwd", "session"];

/// Names of headers that are never secret although a part of their name is suspect.
const HARMLESS: [&str; 3] = ["idempotencykey", "idempotency", "cachekey"];

fn bare(name: &str) -> String {
    name.chars().filter(|c| !"-_ ".contains(*c)).collect::<String>().to_ascii_lowercase()
}

/// Whether what has this name is secret.
pub fn looks_secret(name: &str) -> bool {
    let bare = bare(name);
    SECRET_NAMES.iter().any(|word| bare.contains(word))
}

/// The same where any name may occur: headers, variables, parameters of a URL.
pub fn is_suspect(name: &str) -> bool {
    let bare = bare(name);
    !HARMLESS.contains(&bare.as_str()) && (looks_secret(name) || SUSPECT_NAMES.iter().any(|word| bare.contains(word)))
}

/// A text in which every address is without its secrets; any other text as it is.
pub fn redact_url(text: &str) -> String {
    if !text.contains("://") {
        return text.to_owned();
    }
    let word = |word: &str| {
        let Some(at) = word.find("://") else { return word.to_owned() };
        let scheme = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
        let begin = word[..at].trim_end_matches(scheme).len();
        let end = word.trim_end().len();
        format!("{}{}{}", &word[..begin], redact_address(&word[begin..end]), &word[end..])
    };
    text.split_inclusive(char::is_whitespace).map(word).collect()
}

/// What should be an address, without its password, secret parameters and secret parts of its path. Of one that cannot be
/// read only the scheme is shown, and what follows the last `@` up to its parameters.
pub fn redact_address(text: &str) -> String {
    if text.starts_with("sqlite:") {
        return text.to_owned();
    }
    let Some((scheme, rest)) = text.split_once("://") else { return unreadable("", text) };
    let name = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
    if scheme.is_empty() || !scheme.chars().all(name) {
        return unreadable("", text);
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, after) = rest.split_at(end);
    let web = matches!(scheme, "http" | "https");
    // Only libpq knows a URL without a host and with a user: it is read without the user here.
    let place = authority.rsplit_once('@').map_or(authority, |(_, place)| place);
    let readable = Url::parse(&format!("{scheme}://{place}{after}")).is_ok();
    let path_end = after.find(['?', '#']).unwrap_or(after.len());
    if !readable || (!web && after[..path_end].contains('@')) {
        return unreadable(scheme, rest);
    }
    let user = match authority.rsplit_once('@') {
        None => String::new(),
        Some((_, _)) if web => format!("{HIDDEN}@"),
        Some((user, _)) => match user.split_once(':') {
            Some((user, _)) => format!("{user}:{HIDDEN}@"),
            None => format!("{user}@"),
        },
    };
    let path = if web { secret_segments(&after[..path_end]) } else { after[..path_end].to_owned() };
    format!("{scheme}://{user}{place}{path}{}", redact_query(&after[path_end..]))
}

/// What may be shown of something that should be an address, and is none.
fn unreadable(scheme: &str, rest: &str) -> String {
    let place = rest.rsplit_once('@').map(|(_, place)| place);
    let shown = place.unwrap_or(if rest.contains([':', '=']) { "" } else { rest });
    let shown = shown.split(['?', '#']).next().unwrap_or_default();
    let hidden = if place.is_some() {
        format!("{HIDDEN}@")
    } else if shown.len() < rest.len() {
        HIDDEN.to_owned()
    } else {
        String::new()
    };
    if scheme.is_empty() { format!("{hidden}{shown}") } else { format!("{scheme}://{hidden}{shown}") }
}

/// `?a=b&token=c#d` with what is secret in it hidden.
fn redact_query(text: &str) -> String {
    let pair = |pair: &str| match pair.split_once('=') {
        Some((name, _)) if is_suspect(name) => format!("{name}={HIDDEN}"),
        _ => pair.to_owned(),
    };
    let part = |part: &str| part.split('&').map(pair).collect::<Vec<_>>().join("&");
    let Some(text) = text.strip_prefix('?') else {
        return text.strip_prefix('#').map_or_else(String::new, |fragment| format!("#{}", part(fragment)));
    };
    match text.split_once('#') {
        Some((query, fragment)) => format!("?{}#{}", part(query), part(fragment)),
        None => format!("?{}", part(text)),
    }
}

/// A path whose segments that no person would choose are hidden: the addresses of chat services are secrets themselves.
fn secret_segments(path: &str) -> String {
    let random = |segment: &str| {
        let has = |wanted: fn(&u8) -> bool| segment.as_bytes().iter().any(wanted);
        let plain = segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        let mixed = has(u8::is_ascii_digit) && has(u8::is_ascii_lowercase) && has(u8::is_ascii_uppercase);
        plain && mixed && segment.len() >= 16
    };
    let segments = path.split('/').map(|segment| if random(segment) { HIDDEN } else { segment });
    segments.collect::<Vec<_>>().join("/")
}

/// A line of free text without its secrets: those in addresses, and what follows a name such as `password=` or
/// `"token":`.
pub fn redact_line(text: &str) -> String {
    let text = if text.contains("://") { Cow::Owned(redact_url(text)) } else { Cow::Borrowed(text) };
    let (mut shown, mut rest) = (String::with_capacity(text.len()), text.as_ref());
    while let Some(at) = rest.find([':', '=']) {
        let (before, after) = rest.split_at(at + 1);
        shown.push_str(before);
        rest = after;
        let name = before[..at].trim_end_matches(['"', '\'', ' ']);
        let name = name.rsplit(|c: char| !c.is_alphanumeric() && !"-_".contains(c)).next().unwrap_or_default();
        if !looks_secret(name) || name.ends_with("_env") || name.ends_with("_file") {
            continue;
        }
        let value = after.trim_start_matches([' ', '"', '\'']);
        let lead = &after[..after.len() - value.len()];
        let end = value_end(value, lead.chars().last().filter(|c| "\"'".contains(*c)));
        shown.push_str(lead);
        if end > 0 {
            shown.push_str(HIDDEN);
        }
        rest = &value[end..];
    }
    shown.push_str(rest);
    shown
}

/// Where a value ends: at its quote, or with its word. The word after `Bearer` and the like belongs to it.
fn value_end(value: &str, quote: Option<char>) -> usize {
    if let Some(quote) = quote {
        return value.find(quote).unwrap_or(value.len());
    }
    let word_end = |text: &str| text.find(|c: char| c.is_whitespace() || ",;&}])".contains(c)).unwrap_or(text.len());
    let end = word_end(value);
    let is_scheme = ["bearer", "basic", "digest"].contains(&value[..end].to_ascii_lowercase().as_str());
    if !is_scheme {
        return end;
    }
    let next = value[end..].trim_start_matches(' ');
    value.len() - next.len() + word_end(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_never_show_in_an_address() {
        for (text, shown) in [
            ("postgres://u:hunter2@h/d", "postgres://u:***@h/d"),
            ("postgres://u:hunter2@[::1]:5432/d", "postgres://u:***@[::1]:5432/d"),
            ("postgres://u@h/d", "postgres://u@h/d"),
            ("postgres://u:hunter2@/d?host=/run/x", "postgres://u:***@/d?host=/run/x"),
            ("postgres://h/d?user=u&password=hunter2", "postgres://h/d?user=u&password=***"),
            (
                "postgres://h/d?sslmode=require&sslpassword=hunter2#x",
                "postgres://h/d?sslmode=require&sslpassword=***#x",
            ),
            ("https://hunter2@api.example.com/v1", "https://***@api.example.com/v1"),
            ("https://h/x?api_key=hunter2&page=2", "https://h/x?api_key=***&page=2"),
            ("https://h/x#access_token=hunter2", "https://h/x#access_token=***"),
            (
                "https://hooks.example.com/services/T01/B02/hUnter2hUnter2hUnter2",
                "https://hooks.example.com/services/T01/B02/***",
            ),
            ("https://example.com/@ada/orders", "https://example.com/@ada/orders"),
            ("sqlite://gristmill.db", "sqlite://gristmill.db"),
            ("in-process", "in-process"),
        ] {
            assert_eq!(redact_url(text), shown, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_hidden() {
        for text in [
            "postgres://u:hunter2@h:port/d",
            "postgres://u:hunter2@[::1/d",
            "postgres://u:hun/hunter2@h/d",
            "postgres://u:1/hunter2@h/d",
            "postgres://u:a?hunter2@h/d",
            "postgres://u:a#hunter2@h:x/d",
            "postgres:/u:hunter2@h/d",
            "u:hunter2@h/d",
            "host=h password=hunter2",
            "po stgres://u:hunter2@h/d",
            "://u:hunter2@h",
        ] {
            assert!(!redact_address(text).contains("hunter2"), "{text}: {}", redact_address(text));
        }
        assert_eq!(redact_address("mysql://me:hunter2@h:x/db"), "mysql://***@h:x/db");
        let text = "see https://u:hunter2@h.example/?token=hunter2 or a=b, c:d";
        assert_eq!(redact_url(text), "see https://***@h.example/?token=*** or a=b, c:d");
    }

    #[test]
    fn a_line_keeps_everything_but_its_secrets() {
        for (line, shown) in [
            ("all is well: a=1, b: 2", "all is well: a=1, b: 2"),
            ("login password=hunter2 user=ada", "login password=*** user=ada"),
            ("{\"token\":\"hunter2\",\"page\":2}", "{\"token\":\"***\",\"page\":2}"),
            ("Authorization: Bearer hunter2, Accept: */*", "Authorization: ***, Accept: */*"),
            ("API_KEY = 'hunter2 with blanks' set", "API_KEY = '***' set"),
            ("get https://u:hunter2@h.example/?token=hunter2 now", "get https://***@h.example/?token=*** now"),
            ("password_file=/run/secret", "password_file=/run/secret"),
            ("password=", "password="),
            ("größe=3 geheimnis=x secret=ä", "größe=3 geheimnis=x secret=***"),
        ] {
            assert_eq!(redact_line(line), shown, "{line}");
        }
    }
}
