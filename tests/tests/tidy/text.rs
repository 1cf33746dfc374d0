//! Rust source as text: what of it is code, and what is comment. Texts in quotes are neither.

/// A source file taken apart. Lines keep their numbers in both parts.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Parts {
    /// Without comments, and without what stands between quotes.
    pub(crate) code: String,
    /// What comments say.
    pub(crate) comments: String,
}

/// Takes a source file apart.
pub(crate) fn parts(text: &str) -> Parts {
    let mut parts = Parts::default();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (length, comment, code) = piece(rest, first);
        let newlines = "\n".repeat(rest[..length].matches('\n').count());
        parts.code.push_str(if code { &rest[..length] } else { &newlines });
        parts.comments.push_str(if comment { &rest[..length] } else { &newlines });
        rest = &rest[length..];
    }
    parts
}

/// The length of what comes next, and whether that is comment or code.
fn piece(rest: &str, first: char) -> (usize, bool, bool) {
    let until = |end: &str, from: usize| rest[from..].find(end).map_or(rest.len(), |at| from + at + end.len());
    if rest.starts_with("//") {
        return (rest.find('\n').unwrap_or(rest.len()), true, false);
    }
    if rest.starts_with("/*") {
        return (until("*/", 2), true, false);
    }
    if let Some(hashes) = raw_string(rest) {
        let end = format!("\"{}", "#".repeat(hashes));
        let from = rest.find('"').unwrap_or(0) + 1;
        return (until(&end, from), false, false);
    }
    match first {
        '"' => (quoted(rest, '"'), false, false),
        '\'' if is_character(rest) => (quoted(rest, '\''), false, false),
        _ if first.is_alphanumeric() || first == '_' => {
            (rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len()), false, true)
        }
        _ => (first.len_utf8(), false, true),
    }
}

/// The number of `#` before a raw string that begins here.
fn raw_string(rest: &str) -> Option<usize> {
    let after = rest.strip_prefix("br").or_else(|| rest.strip_prefix('r'))?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    after[hashes..].starts_with('"').then_some(hashes)
}

/// A lifetime has no second quote after its first character.
fn is_character(rest: &str) -> bool {
    let mut chars = rest.chars().skip(1);
    chars.next() == Some('\\') || chars.next() == Some('\'')
}

/// The length of a text or character that begins with its quote.
fn quoted(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    rest.len()
}

#[test]
fn texts_in_quotes_are_neither_code_nor_comment() {
    let text =
        "let a = \"road // \\\" x\"; // told\nlet b = r#\"dice \" /* \"#; /* door\n */ fn c<'a>(d: char) { d == '\"' }";
    let found = parts(text);
    assert_eq!(found.code, "let a = ; \nlet b = ; \n fn c<'a>(d: char) { d ==  }");
    assert_eq!(found.comments, "// told\n/* door\n */");
}
