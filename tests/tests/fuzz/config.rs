//! The configuration file.

use gristmill::config::{ConfigError, Layers, load};

use crate::Target;
use crate::mutator::{by_lines, hostile};

const ALL: &str = include_str!("../../../config.toml");
const EXEC: &str = include_str!("../../../examples/exec/config.toml");
const RETAIL: &str = include_str!("../../../examples/retail/config.toml");
const DEMO: &str = include_str!("../../../gristmill/src/cli/demo/config.toml");

const PIECES: [&[u8]; 20] = [
    b"[[",
    b"]]",
    b"[batch.x]\n",
    b"[kind.\"\"]\n",
    b"'''",
    b"\"\"\"",
    b"= ",
    b"\n",
    b"{ a = 1 }",
    b"a.b.c = 1\n",
    b"\x00",
    b"\xff",
    b"\xef\xbb\xbf",
    b"\\u0000",
    b"\\UFFFFFFFF",
    b"# ",
    b"\r",
    b"nan",
    b"-",
    b"1979-05-27T07:32:00Z",
];

const VALUES: [&str; 24] = [
    "-1",
    "0",
    "99999999999999999999",
    "9223372036854775807",
    "1e308",
    "nan",
    "-inf",
    "true",
    "\"\"",
    "\" \"",
    "\"\\u0000\"",
    "\"-5s\"",
    "\"99999999999h\"",
    "\"101%\"",
    "\"../../../../etc/passwd\"",
    "\"postgres://\"",
    "\"http://[::1\"",
    "[]",
    "[[]]",
    "[1, \"a\", { b = 2 }]",
    "{}",
    "{ csv = 1, jsonl = [] }",
    "1979-05-27",
    "\"* * * * * * * * *\"",
];

/// Every error has words, and says where it is.
fn tells(errors: &[ConfigError]) -> Result<bool, String> {
    if errors.is_empty() {
        return Err("it is refused without an error".to_owned());
    }
    for error in errors {
        let placed =
            error.origin.is_some() || !error.key.is_empty() || error.message.starts_with("the configuration `");
        if error.message.trim().is_empty() || !placed {
            return Err(format!("an error that does not say what or where: {error:?}"));
        }
    }
    Ok(false)
}

#[test]
fn whatever_stands_in_the_configuration_it_is_read_or_refused_with_its_place() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("config.toml");
    // What the big one shows in comments is read too.
    let shown: String = ALL.lines().map(|line| line.strip_prefix("# ").unwrap_or(line).to_owned() + "\n").collect();
    let texts = [ALL, &shown, EXEC, RETAIL, DEMO];
    Target { name: "configurations", ordinary: 400, share: 100 }.feed(|random| {
        let text = *random.pick(&texts);
        let bytes = if random.one_in(2) {
            by_lines(random, text, &VALUES).into_bytes()
        } else {
            hostile(random, text.as_bytes(), &PIECES)
        };
        std::fs::write(&file, &bytes).map_err(|error| error.to_string())?;
        match load(&Layers { file: Some(file.clone()), ..Layers::default() }) {
            Ok(_) => Ok(true),
            Err(errors) => tells(&errors),
        }
    });
}
