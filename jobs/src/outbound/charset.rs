//! The text of a body.

use std::borrow::Cow;

use encoding_rs::{Encoding, UTF_8};

/// Decodes a body in the charset that its `Content-Type` names. A byte order mark counts more (RFC 3629, WHATWG), and
/// so does JSON's being UTF-8 whatever is said beside it (RFC 8259, 8.1 and 11), as long as it is. Where nothing is
/// said, or an unknown charset, it is UTF-8.
pub(super) fn decode<'a>(body: &'a [u8], content_type: Option<&str>) -> Cow<'a, str> {
    let said = content_type.unwrap_or_default();
    if is_json(said)
        && let Ok(text) = std::str::from_utf8(body)
    {
        return Cow::Borrowed(text.strip_prefix('\u{feff}').unwrap_or(text));
    }
    let encoding = charset(said).and_then(|name| Encoding::for_label(name.as_bytes())).unwrap_or(UTF_8);
    encoding.decode(body).0
}

fn is_json(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind == "application/json" || kind.ends_with("+json")
}

/// The parameter `charset`, whose name is in any case and whose value may be quoted.
fn charset(content_type: &str) -> Option<&str> {
    content_type.split(';').skip(1).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("charset").then(|| value.trim().trim_matches('"').trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_in_the_charset_that_is_said() {
        for (body, said, expected) in [
            (&b"caf\xe9 \x80"[..], Some("text/plain; charset=iso-8859-1"), "café €"),
            (b"caf\xe9", Some("text/html;Charset=\"Windows-1252\""), "café"),
            (b"\x83\x65\x83\x58\x83\x67", Some("text/plain; format=flowed; charset=Shift_JIS"), "テスト"),
            (b"\x1b$B%F%9%H\x1b(B", Some("text/plain; charset=iso-2022-jp"), "テスト"),
            ("café".as_bytes(), None, "café"),
            ("café".as_bytes(), Some("text/plain; charset=klingon"), "café"),
            (b"\xef\xbb\xbfcaf\xc3\xa9", Some("text/plain; charset=iso-8859-1"), "café"),
            (b"\xff\xfeh\x00i\x00", Some("text/plain"), "hi"),
            ("{\"a\":\"é\"}".as_bytes(), Some("application/json; charset=iso-8859-1"), "{\"a\":\"é\"}"),
            (b"\xef\xbb\xbf{}", Some("application/problem+json"), "{}"),
            (b"{\"a\":\"\xe9\"}", Some("application/json; charset=iso-8859-1"), "{\"a\":\"é\"}"),
            (b"caf\xe9", None, "caf\u{fffd}"),
        ] {
            assert_eq!(decode(body, said), expected, "{said:?}");
        }
    }
}
