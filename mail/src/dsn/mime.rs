//! A message taken apart as far as a report needs it: headers, and the parts of a multipart body.
//!
//! What comes here was written by any server in the world, or by an enemy. Nothing is an error: what cannot be read is
//! left out, and nothing is read deeper, longer or more often than a report would need.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// How deep parts may be in parts.
const DEPTH_MAX: usize = 4;

/// How many parts are looked at.
const PARTS_MAX: usize = 50;

/// How many headers of one part are kept.
const HEADERS_MAX: usize = 500;

/// One part that holds no others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    /// The media type in lower case, such as `message/delivery-status`.
    pub(super) kind: String,
    /// Its text, decoded; bytes that are no UTF-8 are replaced.
    pub(super) text: String,
}

/// Names and values in the order of a block of headers; folded lines are one.
pub(super) type Fields = Vec<(String, String)>;

/// Reads a block of headers, and returns it with what is behind its empty line.
pub(super) fn fields(text: &str) -> (Fields, &str) {
    let (mut fields, mut rest): (Fields, &str) = (Vec::new(), text);
    while !rest.is_empty() {
        let (line, after) = rest.split_once('\n').unwrap_or((rest, ""));
        rest = after;
        let line = line.trim_end_matches('\r');
        if line.is_empty() {
            break;
        }
        if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = fields.last_mut() {
                value.push(' ');
                value.push_str(line.trim());
            }
        } else if let Some((name, value)) = line.split_once(':').filter(|_| fields.len() < HEADERS_MAX) {
            fields.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    (fields, rest)
}

/// The value of a field, the first of its name.
pub(super) fn value<'a>(fields: &'a [(String, String)], name: &str) -> Option<&'a str> {
    fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

/// A parameter of a value such as `multipart/report; boundary="x"`.
pub(super) fn parameter(value: &str, name: &str) -> Option<String> {
    let mut rest = value.split_once(';')?.1;
    loop {
        let (key, after) = rest.split_once('=')?;
        let after = after.trim_start();
        let (found, next) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => after.split_at(after.find(';').unwrap_or(after.len())),
        };
        if key.trim_start_matches([';', ' ', '\t']).trim().eq_ignore_ascii_case(name) {
            return Some(found.trim().to_owned());
        }
        rest = next.split_once(';')?.1;
    }
}

/// The media type of headers, in lower case; `text/plain` when they have none (RFC 2045, 5.2).
pub(super) fn kind(fields: &[(String, String)]) -> String {
    let value = value(fields, "content-type").unwrap_or("text/plain");
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// All parts of a message that hold no others, with its own headers before them.
pub(super) fn message(text: &str) -> (Fields, Vec<Part>) {
    let (head, body) = fields(text);
    let mut parts = Vec::new();
    collect(&head, body, DEPTH_MAX, &mut parts);
    (head, parts)
}

fn collect(head: &[(String, String)], body: &str, depth: usize, parts: &mut Vec<Part>) {
    if parts.len() >= PARTS_MAX {
        return;
    }
    let kind = kind(head);
    let boundary = value(head, "content-type").and_then(|value| parameter(value, "boundary"));
    match boundary.filter(|boundary| kind.starts_with("multipart/") && depth > 0 && !boundary.is_empty()) {
        None => parts.push(Part { text: decoded(head, body), kind }),
        Some(boundary) => {
            for part in between(body, &boundary) {
                let (head, body) = fields(part);
                collect(&head, body, depth - 1, parts);
            }
        }
    }
}

/// What stands between the lines of a boundary.
fn between<'a>(body: &'a str, boundary: &str) -> Vec<&'a str> {
    let (mut parts, mut from, mut at) = (Vec::new(), None, 0);
    for line in body.split_inclusive('\n') {
        let start = at;
        at += line.len();
        let Some(rest) = line.strip_prefix("--").and_then(|line| line.strip_prefix(boundary)) else { continue };
        let rest = rest.trim();
        if !rest.is_empty() && rest != "--" {
            continue;
        }
        if let Some(from) = from {
            parts.push(&body[from..start]);
        }
        from = (rest != "--").then_some(at);
        if from.is_none() || parts.len() >= PARTS_MAX {
            return parts;
        }
    }
    // A report that was cut off on its way is better read than not.
    parts.extend(from.map(|from| &body[from..]));
    parts
}

fn decoded(head: &[(String, String)], body: &str) -> String {
    match value(head, "content-transfer-encoding").unwrap_or_default().to_ascii_lowercase().as_str() {
        "base64" => {
            let text: String = body.chars().filter(|c| c.is_ascii_alphanumeric() || "+/=".contains(*c)).collect();
            STANDARD.decode(text).map_or_else(|_| body.to_owned(), |bytes| String::from_utf8_lossy(&bytes).into_owned())
        }
        "quoted-printable" => String::from_utf8_lossy(&unquoted(body)).into_owned(),
        _ => body.to_owned(),
    }
}

/// Quoted-printable (RFC 2045, 6.7), and what is none of it as it stands.
fn unquoted(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'=' {
            bytes.push(*first);
            continue;
        }
        let line_end = after.strip_prefix(b"\r\n").or_else(|| after.strip_prefix(b"\n"));
        if let Some(after) = line_end {
            rest = after;
            continue;
        }
        let byte = after.get(..2).and_then(|digits| hex::decode(digits).ok());
        match byte {
            Some(byte) => {
                bytes.extend(byte);
                rest = &after[2..];
            }
            None => bytes.push(b'='),
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_found_whatever_their_line_ends_and_their_nesting() {
        let text = "Content-Type: multipart/mixed;\r\n boundary=\"a b\"\r\n\r\nnot this\r\n--a b\r\n\r\none\r\n--a b\nContent-Type: multipart/alternative; boundary=c\n\n--c\nContent-Type: Text/HTML\n\ntwo\n--c--\n--a b\r\nContent-Transfer-Encoding: BASE64\r\n\r\nw7w=\r\n--a b--\r\nnot that";
        let (_, parts) = message(text);
        let found: Vec<(&str, &str)> = parts.iter().map(|part| (part.kind.as_str(), part.text.trim())).collect();
        assert_eq!(found, [("text/plain", "one"), ("text/html", "two"), ("text/plain", "ü")]);
    }

    #[test]
    fn what_is_cut_off_is_read_as_far_as_it_goes() {
        let (_, parts) = message("Content-Type: multipart/report; boundary=x\n\n--x\n\none\n--x\n\ntw");
        assert_eq!(parts.len(), 2);
        let deep = "Content-Type: multipart/a; boundary=x\n\n--x\n".repeat(50);
        assert_eq!(message(&deep).1.len(), 1);
        assert_eq!(unquoted("a=20b=\r\nc=C3=BC=zz="), "a bcü=zz=".as_bytes());
    }

    #[test]
    fn a_parameter_is_found_behind_others() {
        let value = "multipart/report; report-type=delivery-status;\tBoundary=\"x;=y\"; z=1";
        assert_eq!(parameter(value, "boundary").as_deref(), Some("x;=y"));
        assert_eq!(parameter(value, "z").as_deref(), Some("1"));
        assert_eq!(parameter(value, "nothing"), None);
        assert_eq!(parameter("a; boundary", "boundary"), None);
    }
}
