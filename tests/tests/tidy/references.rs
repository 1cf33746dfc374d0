//! What documents name exists: files and folders by their paths, tests by their names.

use std::collections::BTreeSet;
use std::fs;

use gristmill_tests::root;

use crate::sources;

/// The documents that are maps: each path and each test in them must be there.
const MAPS: [&str; 5] = [
    "ARCHITECTURE.md",
    "docs/guarantees.md",
    "docs/evidence/tests.md",
    "docs/evidence/fault-campaign.md",
    "CONTRIBUTING.md",
];

/// What stands between backticks within a line; blocks of code are left out.
fn quoted(text: &str) -> Vec<&str> {
    let outside = text.split("```").step_by(2);
    outside.flat_map(str::lines).flat_map(|line| line.split('`').skip(1).step_by(2)).collect()
}

/// Whether a text is a path within the repository: names with a slash between them or after them.
fn is_path(text: &str) -> bool {
    let mut names = text.trim_end_matches('/').split('/');
    text.contains('/')
        && names.all(|name| !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || "._-".contains(c)))
}

/// Whether a text is the name of a test: a sentence of four words or more, and no metric.
fn is_test(text: &str) -> bool {
    let words = text.split('_');
    let plain = |word: &str| !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    words.clone().count() >= 4 && words.clone().all(plain) && !text.starts_with("gristmill_")
}

/// The functions of the source, and the names that a macro makes tests of, one a line.
fn functions() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (_, text) in sources() {
        for line in text.lines().map(str::trim) {
            if let Some((_, name)) = line.split_once("fn ") {
                names.insert(name.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
            }
            names.extend(line.strip_suffix(',').filter(|name| is_test(name)).map(str::to_owned));
        }
    }
    names
}

#[test]
fn every_path_and_every_test_that_a_map_names_is_there() {
    let (functions, mut missing) = (functions(), Vec::new());
    for map in MAPS {
        let text = fs::read_to_string(root().join(map)).unwrap_or_else(|error| panic!("{map}: {error}"));
        let quoted = quoted(&text);
        let paths = quoted.iter().filter(|text| is_path(text) && !root().join(text).exists());
        missing.extend(paths.map(|path| format!("{map}: there is no file {path}")));
        let tests = quoted.iter().filter(|text| is_test(text) && !functions.contains(**text));
        missing.extend(tests.map(|test| format!("{map}: there is no test {test}")));
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

#[test]
fn paths_and_tests_are_told_from_what_else_stands_in_backticks() {
    let text =
        "`core/src/job.rs`, `docs/`, `/readyz`, `{a/b}`\n```\n`not/this`\n```\n`it_is_a_test`, `GRISTMILL_TEST_A_B`";
    let quoted = quoted(text);
    let paths: Vec<_> = quoted.iter().copied().filter(|text| is_path(text)).collect();
    assert_eq!(paths, ["core/src/job.rs", "docs/"]);
    let tests: Vec<_> = quoted.iter().copied().filter(|text| is_test(text)).collect();
    assert_eq!(tests, ["it_is_a_test"]);
    assert!(!is_test("gristmill_jobs_settled_total") && !is_test("failure_budget"));
}
