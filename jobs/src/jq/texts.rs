//! Functions over texts, and the `@formats`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use jaq_core::Error;

use super::meter;
use super::native::{Fun, function0, function1};
use super::operators::Valued;
use super::value::{Shown, Text, Val};

/// All functions of this kind.
pub(super) fn funs() -> Vec<Fun> {
    vec![
        function0!("utf8bytelength", |value| Ok(Val::count(string(&value, "utf8bytelength")?.len()))),
        function0!("explode", |value| Ok(explode(string(&value, "explode")?))),
        function0!("implode", |value| implode(&value)),
        function0!("ascii_downcase", |value| Ok(Val::text(string(&value, "ascii_downcase")?.to_ascii_lowercase()))),
        function0!("ascii_upcase", |value| Ok(Val::text(string(&value, "ascii_upcase")?.to_ascii_uppercase()))),
        function0!("trim", |value| Ok(Val::text(string(&value, "trim")?.trim()))),
        function0!("ltrim", |value| Ok(Val::text(string(&value, "ltrim")?.trim_start()))),
        function0!("rtrim", |value| Ok(Val::text(string(&value, "rtrim")?.trim_end()))),
        function1!("startswith", |value, part| {
            Ok(Val::Bool(string(&value, "startswith")?.starts_with(string(&part, "startswith")?)))
        }),
        function1!("endswith", |value, part| {
            Ok(Val::Bool(string(&value, "endswith")?.ends_with(string(&part, "endswith")?)))
        }),
        function1!("ltrimstr", |value, part| trimmed(value, &part, "ltrimstr", true, false)),
        function1!("rtrimstr", |value, part| trimmed(value, &part, "rtrimstr", false, true)),
        function1!("trimstr", |value, part| trimmed(value, &part, "trimstr", true, true)),
        function1!("split", |value, separator| split_value(&value, &separator)),
        function1!("join", |value, separator| join(value, &separator)),
        function1!("format", |value, name| format(&value, string(&name, "format")?)),
        function0!("tojson", |value| Ok(Val::text(super::json::written(&value)))),
        function0!("@json", |value| format(&value, "json")),
        function0!("@text", |value| format(&value, "text")),
        function0!("@csv", |value| format(&value, "csv")),
        function0!("@tsv", |value| format(&value, "tsv")),
        function0!("@html", |value| format(&value, "html")),
        function0!("@uri", |value| format(&value, "uri")),
        function0!("@urid", |value| format(&value, "urid")),
        function0!("@sh", |value| format(&value, "sh")),
        function0!("@base64", |value| format(&value, "base64")),
        function0!("@base64d", |value| format(&value, "base64d")),
    ]
}

/// The text of a value.
pub(super) fn string<'a>(value: &'a Val, name: &str) -> Result<&'a str, Error<Val>> {
    match value {
        Val::Str(text) => {
            meter::touch(text.len());
            Ok(text)
        }
        other => Err(Error::str(format_args!("{name}: {} is not a string", Shown(other)))),
    }
}

fn explode(text: &str) -> Val {
    meter::reserve(size_of::<Val>().saturating_mul(text.chars().count()));
    Val::list(text.chars().map(|letter| Val::int(u32::from(letter).into())).collect())
}

fn implode(value: &Val) -> Valued {
    let Val::Arr(list) = value else {
        return Err(Error::str(format_args!("implode: {} is not an array of code points", Shown(value))));
    };
    let letter = |code: &Val| match code {
        // What is no letter becomes the letter that stands for those.
        Val::Num(number) => {
            let code = Some(number.float()).filter(|code| *code >= 0.0).map(|code| code as u32);
            Ok(code.and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER))
        }
        other => Err(Error::str(format_args!("implode: {} is not a code point", Shown(other)))),
    };
    meter::work(list.len());
    list.iter().map(letter).collect::<Result<String, _>>().map(Val::text)
}

fn trimmed(value: Val, part: &Val, name: &str, left: bool, right: bool) -> Valued {
    let (text, part) = (string(&value, name)?, string(part, name)?);
    let text = if left { text.strip_prefix(part).unwrap_or(text) } else { text };
    let text = if right { text.strip_suffix(part).unwrap_or(text) } else { text };
    Ok(Val::text(text))
}

fn split_value(value: &Val, separator: &Val) -> Valued {
    Ok(split(string(value, "split")?, string(separator, "split")?))
}

/// The parts of a text between separators; each letter when the separator is empty.
pub(super) fn split(text: &str, separator: &str) -> Val {
    meter::touch(text.len());
    let part = |part: &str| Val::Str(Text::new(part));
    Val::list(match (text, separator) {
        ("", _) => Vec::new(),
        (text, "") => text.chars().map(|letter| Val::text(letter.to_string())).collect(),
        _ => text.split(separator).map(part).collect(),
    })
}

/// The parts with separators between them: null is an empty text, numbers and truth values are written out.
fn join(value: Val, separator: &Val) -> Valued {
    let parts = jaq_core::ValT::values(value).collect::<Result<Vec<_>, _>>()?;
    let mut joined = Val::Null;
    for part in parts {
        meter::work(1);
        let before = match joined {
            Val::Null => Val::text(""),
            joined => (joined + separator.clone())?,
        };
        let part = match part {
            Val::Bool(_) | Val::Num(_) => jaq_core::ValT::into_string(part),
            Val::Null => Val::text(""),
            other => other,
        };
        joined = (before + part)?;
    }
    Ok(match joined {
        Val::Null => Val::text(""),
        joined => joined,
    })
}

fn text_of(value: &Val) -> Text {
    match value {
        Val::Str(text) => text.clone(),
        other => Text::new(super::json::written(other)),
    }
}

fn format(value: &Val, name: &str) -> Valued {
    if matches!(name, "csv" | "tsv") {
        return row(value, name);
    }
    let text = if name == "json" { Text::new(super::json::written(value)) } else { text_of(value) };
    meter::touch(8 * text.len());
    Ok(Val::text(match name {
        "json" | "text" => return Ok(Val::Str(text)),
        "html" => escaped_html(&text),
        "uri" => text.bytes().map(escaped_uri).collect(),
        "urid" => unescaped_uri(&text)?,
        "sh" => return shell(value),
        "base64" => base64::engine::general_purpose::STANDARD.encode(text.as_bytes()),
        "base64d" => decoded_base64(&text)?,
        _ => return Err(Error::str(format_args!("{name} is not a valid format"))),
    }))
}

fn escaped_html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '\'' => out.push_str("&apos;"),
            '"' => out.push_str("&quot;"),
            other => out.push(other),
        }
    }
    out
}

fn escaped_uri(byte: u8) -> String {
    match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    }
}

fn unescaped_uri(text: &str) -> Result<String, Error<Val>> {
    let wrong = || Error::str(format_args!("{} is not valid URI-encoded text", super::quoted(text)));
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        if *first == b'%' {
            let digits = after.get(..2).and_then(|digits| hex::decode(digits).ok()).ok_or_else(wrong)?;
            bytes.extend(digits);
            rest = &after[2..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    String::from_utf8(bytes).map_err(|_| wrong())
}

fn decoded_base64(text: &str) -> Result<String, Error<Val>> {
    let wrong = || Error::str(format_args!("{} is not valid base64 data", super::quoted(text)));
    let bytes = STANDARD_NO_PAD.decode(text.trim_end_matches('=')).map_err(|_| wrong())?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn shell(value: &Val) -> Valued {
    let word = |value: &Val| match value {
        Val::Str(text) => Ok(format!("'{}'", text.replace('\'', "'\\''"))),
        Val::Arr(_) | Val::Obj(_) => Err(Error::str(format_args!("{} can not be escaped for shell", Shown(value)))),
        other => Ok(super::json::written(other)),
    };
    let words = match value {
        Val::Arr(list) => list.iter().map(word).collect::<Result<Vec<_>, _>>()?.join(" "),
        other => word(other)?,
    };
    Ok(Val::text(words))
}

/// One line of a table.
fn row(value: &Val, name: &str) -> Valued {
    let Val::Arr(list) = value else {
        return Err(Error::str(format_args!("{} cannot be {name}-formatted, only array", Shown(value))));
    };
    let cell = |value: &Val| match value {
        Val::Str(text) => {
            meter::touch(8 * text.len());
            Ok(if name == "csv" { format!("\"{}\"", text.replace('"', "\"\"")) } else { escaped_tsv(text) })
        }
        Val::Null => Ok(String::new()),
        Val::Bool(_) | Val::Num(_) => Ok(super::json::written(value)),
        Val::Arr(_) | Val::Obj(_) => Err(Error::str(format_args!("{} is not valid in a {name} row", Shown(value)))),
    };
    let cells = list.iter().map(cell).collect::<Result<Vec<_>, _>>()?;
    Ok(Val::text(cells.join(if name == "csv" { "," } else { "\t" })))
}

fn escaped_tsv(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\t', "\\t").replace('\n', "\\n").replace('\r', "\\r")
}
