//! A command whose arguments name values: each value is a part of one argument, and of none that is a program.

use serde_json::Value;

use super::RenderError;
use super::template::{MARK, Part, Scope, parts, printed};

/// Programs that read a program from one of their arguments. What comes after it is data.
const INTERPRETERS: [&str; 26] = [
    "sh", "bash", "dash", "zsh", "ksh", "ash", "fish", "csh", "tcsh", "python", "perl", "ruby", "node", "nodejs",
    "php", "lua", "deno", "bun", "awk", "gawk", "mawk", "sed", "tclsh", "expect", "pwsh", "Rscript",
];

/// Programs that start others, or read statements, with their arguments: there is no safe place.
const WRAPPERS: [&str; 30] = [
    "env",
    "sudo",
    "su",
    "doas",
    "nice",
    "nohup",
    "timeout",
    "xargs",
    "ssh",
    "docker",
    "podman",
    "kubectl",
    "chroot",
    "setsid",
    "script",
    "eval",
    "find",
    "parallel",
    "watch",
    "strace",
    "systemd-run",
    "busybox",
    "psql",
    "mysql",
    "mariadb",
    "sqlite3",
    "ionice",
    "stdbuf",
    "time",
    "runuser",
];

/// The command with its expressions replaced.
///
/// # Errors
///
/// When an expression stands where a value would be a program, or a value where it would be taken for an option.
pub(super) fn command(words: &[Value], scope: &Scope) -> Result<Vec<Value>, RenderError> {
    let name = words.first().and_then(Value::as_str).unwrap_or_default();
    let first_free = first_free(name, words);
    let mut after_dashes = false;
    let mut filled = Vec::with_capacity(words.len());
    for (at, word) in words.iter().enumerate() {
        let Some(text) = word.as_str() else {
            filled.push(word.clone());
            continue;
        };
        if !text.contains(MARK) {
            after_dashes |= text == "--";
            filled.push(word.clone());
            continue;
        }
        if at == 0 {
            return Err(RenderError::Wrong("the program cannot come from `{{ … }}`".to_owned()));
        }
        if first_free.is_none_or(|free| at < free) {
            return Err(RenderError::Wrong(format!(
                "`{text}` is where `{name}` reads what to do; give the value after its program, as an argument of its \
                 own, or in `input`"
            )));
        }
        let argument = argument(text, scope)?;
        let begins_with_value = matches!(parts(text)?.first(), Some(Part::Expression(_)));
        if begins_with_value && argument.starts_with('-') && !after_dashes {
            return Err(RenderError::Unfit(
                "a value begins with `-`, and would be taken for an option; where that is meant, the command has `--` \
                 before it"
                    .to_owned(),
            ));
        }
        filled.push(Value::String(argument));
    }
    Ok(filled)
}

fn argument(text: &str, scope: &Scope) -> Result<String, RenderError> {
    scope.fill(text, |value, expression| {
        let shown = printed(value);
        if shown.contains('\0') {
            return Err(RenderError::Unfit(format!("`{expression}` has a NUL, which no argument can have")));
        }
        Ok(shown)
    })
}

/// The first word that a program takes as data and nothing else; `None` when there is none.
fn first_free(name: &str, words: &[Value]) -> Option<usize> {
    let name = name.rsplit('/').next().unwrap_or(name);
    let bare = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    if [name, bare].iter().any(|name| WRAPPERS.contains(name)) {
        return None;
    }
    if ![name, bare].iter().any(|name| INTERPRETERS.contains(name)) {
        return Some(1);
    }
    let (mut at, mut given) = (1, false);
    while let Some(word) = words.get(at).and_then(Value::as_str) {
        if word == "--" {
            return Some(if given { at + 1 } else { at + 2 });
        }
        match option(bare, word) {
            // The program is a file, or for awk and sed the text itself, unless an option has given it.
            Word::Free => return Some(if given { at } else { at + 1 }),
            Word::Program => (at, given) = (at + 2, true),
            Word::WithValue => at += 2,
            Word::Alone => at += 1,
        }
    }
    None
}

/// What a word before the program is.
enum Word {
    /// No option.
    Free,
    /// An option whose value is the program: `-c`, `-lc`, `-ne`, `--eval`.
    Program,
    /// An option whose value is the next word: `-o pipefail`.
    WithValue,
    /// An option without a value, or with it in the same word.
    Alone,
}

fn option(interpreter: &str, word: &str) -> Word {
    let (program, value) = match interpreter {
        "python" => ("cm", "WX"),
        "perl" => ("eE", "I"),
        "ruby" => ("e", "IrC"),
        "node" | "nodejs" | "deno" | "bun" => ("ep", "rC"),
        "php" => ("rBREF", "dzcS"),
        "lua" | "Rscript" => ("e", "l"),
        "awk" | "gawk" | "mawk" => ("fe", "vF"),
        "sed" => ("ef", "l"),
        // Shells, and what behaves like them.
        _ => ("cC", "oO"),
    };
    let Some(rest) = word.strip_prefix(['-', '+']) else { return Word::Free };
    let Some(long) = rest.strip_prefix('-') else {
        // The last letter of a group takes the value: `-euo pipefail`.
        return match (rest.contains(|c: char| program.contains(c)), rest.ends_with(|c: char| value.contains(c))) {
            (true, _) => Word::Program,
            (false, true) => Word::WithValue,
            (false, false) => Word::Alone,
        };
    };
    match long {
        "eval" | "print" | "execute" | "command" | "expression" | "source" | "file" => Word::Program,
        "rcfile" | "init-file" | "require" | "import" | "assign" | "field-separator" => Word::WithValue,
        _ => Word::Alone,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn run(words: Value, value: Value) -> Result<Vec<Value>, RenderError> {
        let params = json!({ "event": { "body": { "x": value } } });
        command(words.as_array().expect("words"), &Scope::of(&params, gristmill_core::schedule::Zone::UTC))
    }

    #[test]
    fn a_value_is_one_argument_whatever_is_in_it() {
        let hostile = "a; rm -rf / $(x) `y` \"z\" 'q' \n";
        let found = run(json!(["/opt/import", "--order={{ event.body.x }}", "{{ event.body.x }}"]), json!(hostile));
        let expected = vec![json!("/opt/import"), json!(format!("--order={hostile}")), json!(hostile)];
        assert_eq!(found, Ok(expected));
        let found = run(json!(["sh", "-c", "echo \"$1\"", "_", "{{ event.body.x }}"]), json!(hostile));
        assert_eq!(found.expect("after the script")[4], json!(hostile));
        assert_eq!(run(json!(["echo", "{{ event.body.x }}"]), json!([1])).expect("printed")[1], json!("[1]"));
    }

    #[test]
    fn a_value_is_never_the_program_or_a_part_of_one() {
        for words in [
            json!(["{{ event.body.x }}"]),
            json!(["/opt/{{ event.body.x }}"]),
            json!(["sh", "-c", "echo {{ event.body.x }}"]),
            json!(["/bin/bash", "-lc", "{{ event.body.x }}"]),
            json!(["bash", "-e", "-c", "{{ event.body.x }}"]),
            json!(["bash", "-euo", "pipefail", "-c", "{{ event.body.x }}"]),
            json!(["sh", "-o", "pipefail", "{{ event.body.x }}"]),
            json!(["perl", "-e", "1", "-e", "{{ event.body.x }}"]),
            json!(["sh", "{{ event.body.x }}"]),
            json!(["python3.12", "-c", "{{ event.body.x }}"]),
            json!(["perl", "-ne", "{{ event.body.x }}"]),
            json!(["node", "--eval", "{{ event.body.x }}"]),
            json!(["awk", "{{ event.body.x }}"]),
            json!(["env", "sh", "-c", "echo", "{{ event.body.x }}"]),
            json!(["ssh", "host", "ls {{ event.body.x }}"]),
            json!(["psql", "-v", "x={{ event.body.x }}"]),
        ] {
            assert!(matches!(run(words.clone(), json!("x")), Err(RenderError::Wrong(_))), "{words}");
        }
    }

    #[test]
    fn a_value_is_not_taken_for_an_option() {
        let words = json!(["grep", "{{ event.body.x }}", "file"]);
        assert!(matches!(run(words.clone(), json!("-f/etc/passwd")), Err(RenderError::Unfit(_))));
        assert!(run(words, json!("word")).is_ok());
        assert!(run(json!(["grep", "--", "{{ event.body.x }}"]), json!("-f")).is_ok());
        assert!(matches!(run(json!(["echo", "{{ event.body.x }}"]), json!("a\0b")), Err(RenderError::Unfit(_))));
    }
}
