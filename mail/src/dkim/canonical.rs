//! The form of a message that is signed: `relaxed/relaxed` (RFC 6376, 3.4), which survives what servers on the way do to
//! spaces and to the folding of lines.

/// A message taken apart: its headers as they stand, folded lines included, and its body.
#[derive(Debug)]
pub(super) struct Parts<'a> {
    /// Name and value of each header, from the top.
    pub(super) headers: Vec<(&'a str, &'a str)>,
    /// What is behind the empty line.
    pub(super) body: &'a [u8],
}

/// Takes a message apart. `None` when its head is no UTF-8 or has lines that are no headers.
pub(super) fn parts(message: &[u8]) -> Option<Parts<'_>> {
    let end = message.windows(4).position(|window| window == b"\r\n\r\n");
    let (head, body) = match end {
        Some(end) => (&message[..end], &message[end + 4..]),
        None => (message.strip_suffix(b"\r\n").unwrap_or(message), &[][..]),
    };
    let head = std::str::from_utf8(head).ok()?;
    let (mut headers, mut from, mut at) = (Vec::new(), 0, 0);
    while let Some(found) = head[at..].find("\r\n") {
        let line_end = at + found;
        at = line_end + 2;
        if !head[at..].starts_with([' ', '\t']) {
            headers.push(&head[from..line_end]);
            from = at;
        }
    }
    headers.push(&head[from..]);
    let headers: Option<Vec<(&str, &str)>> = headers.into_iter().map(|header| header.split_once(':')).collect();
    Some(Parts { headers: headers?, body })
}

/// A header in relaxed form, with its line end: name in lower case, unfolded, runs of spaces as one.
pub(super) fn header(name: &str, value: &str) -> String {
    format!("{}:{}\r\n", name.trim().to_ascii_lowercase(), value_of(value))
}

/// The value of a header in relaxed form.
pub(super) fn value_of(value: &str) -> String {
    let space = |c: char| matches!(c, ' ' | '\t' | '\r' | '\n');
    value.split(space).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// A body in relaxed form: runs of spaces as one, none at the end of a line, no empty lines at the end.
pub(super) fn body(body: &[u8]) -> Vec<u8> {
    let mut relaxed = Vec::with_capacity(body.len());
    for line in lines(body) {
        let mut space = false;
        for byte in line {
            if matches!(byte, b' ' | b'\t') {
                space = true;
                continue;
            }
            if space {
                relaxed.push(b' ');
                space = false;
            }
            relaxed.push(*byte);
        }
        relaxed.extend_from_slice(b"\r\n");
    }
    while relaxed.ends_with(b"\r\n\r\n") {
        relaxed.truncate(relaxed.len() - 2);
    }
    if relaxed == b"\r\n" { Vec::new() } else { relaxed }
}

/// The lines of a body without their ends. A last line without an end counts as one with it.
fn lines(body: &[u8]) -> Vec<&[u8]> {
    let (mut lines, mut from, mut at) = (Vec::new(), 0, 0);
    while at + 1 < body.len() {
        if body[at] == b'\r' && body[at + 1] == b'\n' {
            lines.push(&body[from..at]);
            at += 2;
            from = at;
        } else {
            at += 1;
        }
    }
    if from < body.len() {
        lines.push(&body[from..]);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 6376, 3.4.5.
    #[test]
    fn the_example_of_the_standard_comes_out_as_it_says() {
        let message = b"A: X\r\nB : Y\t\r\n\tZ  \r\n\r\n C \r\nD \t E\r\n\r\n\r\n";
        let parts = parts(message).expect("a message");
        let headers: String = parts.headers.iter().map(|(name, value)| header(name, value)).collect();
        assert_eq!(headers, "a:X\r\nb:Y Z\r\n");
        assert_eq!(body(parts.body), b" C\r\nD E\r\n");
    }

    #[test]
    fn empty_bodies_are_empty_whatever_their_line_ends() {
        for text in [&b""[..], b"\r\n", b"\r\n\r\n\r\n", b" \r\n\t\r\n"] {
            assert_eq!(body(text), b"", "{text:?}");
        }
        assert_eq!(body(b"a"), b"a\r\n");
        assert_eq!(body(b"a\r\n\r\nb \r\n"), b"a\r\n\r\nb\r\n");
    }
}
