//! The rules that the source itself must keep. A rule that no machine checks is not a rule.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use gristmill_tests::root;

const ROOMS: [&str; 9] =
    ["core", "store", "broker", "jobs", "service", "scheduler", "worker", "dashboard", "gristmill"];

/// Who may know whom. Whatever is not listed is forbidden.
fn may_know(room: &str) -> &'static [&'static str] {
    match room {
        "store" | "broker" => &["core"],
        "jobs" => &["core", "store"],
        "service" => &["core", "store", "broker", "jobs"],
        "scheduler" | "worker" | "dashboard" => &["core", "store", "broker", "jobs", "service"],
        "gristmill" => &["core", "store", "broker", "jobs", "service", "scheduler", "worker", "dashboard"],
        _ => &[],
    }
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn sources() -> Vec<(String, String)> {
    let root = root();
    ROOMS
        .iter()
        .chain(&["tests"])
        .flat_map(|room| rust_files(&root.join(room)))
        .map(|path| {
            let name = path.strip_prefix(&root).unwrap_or(&path).display().to_string();
            (name, fs::read_to_string(&path).expect("a source file is readable"))
        })
        .collect()
}

/// The part of a file before its inline tests.
fn without_inline_tests(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod ").next().unwrap_or(text)
}

#[test]
fn dependencies_point_one_way() {
    for room in ROOMS {
        let manifest = fs::read_to_string(root().join(room).join("Cargo.toml")).expect("each room has a manifest");
        let normal = manifest.split("[dev-dependencies]").next().unwrap_or_default();
        for other in ROOMS {
            let line = format!("gristmill-{other}");
            let known = normal.lines().any(|text| {
                text.strip_prefix(&line).is_some_and(|rest| rest.starts_with('.') || rest.trim_start().starts_with('='))
            });
            assert!(!known || may_know(room).contains(&other), "{room} must not depend on {other}");
        }
    }
}

#[test]
fn the_core_has_no_input_or_output_no_clock_and_no_dice() {
    let manifest = fs::read_to_string(root().join("core/Cargo.toml")).expect("readable");
    let normal = manifest.split("[dev-dependencies]").next().unwrap_or_default();
    for forbidden in ["tokio", "sqlx", "lapin", "reqwest", "tracing", "rand"] {
        let found = normal
            .lines()
            .any(|line| line.starts_with(&format!("{forbidden}.")) || line.starts_with(&format!("{forbidden} ")));
        assert!(!found, "core depends on {forbidden}");
    }
    for (name, text) in sources().iter().filter(|(name, _)| name.starts_with("core/src")) {
        for forbidden in
            ["Utc::now", "SystemTime::now", "Instant::now", "std::fs", "std::net", "std::process", "now_v7", "new_v4"]
        {
            assert!(!without_inline_tests(text).contains(forbidden), "{name} uses {forbidden}");
        }
    }
}

#[test]
fn every_file_opens_by_saying_what_it_is_for() {
    for (name, text) in sources() {
        assert!(text.starts_with("//! "), "{name} must open with a line `//! …`");
    }
}

/// Where a function begins: its indentation and its name.
fn function_start(line: &str) -> Option<(usize, String)> {
    let indent = line.len() - line.trim_start().len();
    let mut rest = line.trim_start();
    for word in ["pub(crate) ", "pub(super) ", "pub ", "const ", "async ", "extern \"C\" "] {
        rest = rest.strip_prefix(word).unwrap_or(rest);
    }
    let name = rest.strip_prefix("fn ")?;
    Some((indent, name.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()))
}

#[test]
fn functions_fit_on_a_screen() {
    let mut long = Vec::new();
    for (name, text) in sources() {
        let mut open: Option<(usize, usize, String)> = None;
        for (number, line) in text.lines().enumerate() {
            if let Some((start, indent, function)) = &open {
                if line == format!("{}}}", " ".repeat(*indent)) {
                    if number - start > 60 {
                        long.push(format!("{name}:{} {function} ({} lines)", start + 1, number - start));
                    }
                    open = None;
                }
            } else if let Some((indent, function)) = function_start(line) {
                open = (!line.trim_end().ends_with(['}', ';'])).then_some((number, indent, function));
            }
        }
    }
    assert!(long.is_empty(), "longer than 60 lines:\n{}", long.join("\n"));
}

#[test]
fn files_are_split_before_they_get_long() {
    for (name, text) in sources() {
        let lines = without_inline_tests(&text).lines().count();
        assert!(lines <= 600, "{name} has {lines} lines; split it at 600");
    }
}

#[test]
fn nothing_is_left_unfinished() {
    let marks =
        ["TO".to_owned() + "DO", "FIX".to_owned() + "ME", "to".to_owned() + "do!(", "unimple".to_owned() + "mented!("];
    for (name, text) in sources() {
        for mark in &marks {
            assert!(!text.contains(mark.as_str()), "{name} contains {mark}");
        }
    }
}

#[test]
fn names_say_what_a_file_holds() {
    for (name, _) in sources() {
        let stem = Path::new(&name).file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        assert!(
            !["utils", "util", "common", "manager", "helper", "helpers", "misc"].contains(&stem),
            "{name} says nothing"
        );
    }
}

#[test]
fn the_two_databases_have_the_same_migrations() {
    let names = |database: &str| -> BTreeSet<String> {
        fs::read_dir(root().join("migrations").join(database))
            .expect("each database has its migrations")
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect()
    };
    assert_eq!(names("postgres"), names("sqlite"));
}

#[test]
fn only_the_store_changes_a_state() {
    for (name, text) in sources().iter().filter(|(name, _)| !name.starts_with("store/") && !name.starts_with("tests/"))
    {
        if name.contains("/tests/") {
            continue;
        }
        let upper = without_inline_tests(text).to_uppercase();
        for table in ["JOB", "BATCH", "OUTBOX", "QUARANTINE", "RESULT"] {
            for verb in ["UPDATE ", "INSERT INTO ", "DELETE FROM "] {
                assert!(!upper.contains(&format!("{verb}{table} ")), "{name} writes to the table {table} by itself");
            }
        }
    }
}

/// Who publishes by itself, and why neither a verb nor `Dispatcher::after` would do.
const PUBLISHES_BY_ITSELF: [(&str, &str); 2] = [
    ("scheduler/src/outbox_relay.rs", "its rows were committed long ago, by a process that did not publish them"),
    ("scheduler/src/returned.rs", "messages that the broker gave back have no row in the outbox"),
];

#[test]
fn only_the_service_hands_to_the_dispatcher_what_a_commit_left_behind() {
    let elsewhere = |name: &str| !["service/", "broker/", "tests/"].iter().any(|room| name.starts_with(room));
    let product = |(name, _): &&(String, String)| elsewhere(name) && name.contains("/src/");
    for (name, text) in sources().iter().filter(product) {
        let text = without_inline_tests(text);
        let publishes = text.contains(".publish(") || text.contains(".publish_rows(");
        match PUBLISHES_BY_ITSELF.iter().find(|(file, _)| file == name) {
            None => assert!(!publishes, "{name} publishes by itself; ask for a verb, or write `dispatcher.after(…)`"),
            Some((_, reason)) => assert!(publishes, "{name} publishes nothing any more, although {reason}"),
        }
    }
}

#[test]
fn only_one_file_knows_the_crate_backoff() {
    for (name, text) in sources() {
        let mentions = text.contains("use backoff::") || text.contains("backoff::ExponentialBackoff");
        assert!(
            !mentions || name == "core/src/retry.rs" || name == "tests/tests/tidy.rs",
            "{name} uses the crate backoff"
        );
    }
}
