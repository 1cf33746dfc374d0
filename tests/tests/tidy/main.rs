//! The rules that the source itself must keep. A rule that no machine checks is not a rule.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use gristmill_tests::root;

mod graph;
mod references;
mod text;
mod words;

/// Every crate of the workspace.
const ROOMS: [&str; 17] = [
    "core",
    "mail",
    "store",
    "broker",
    "dispatcher",
    "client",
    "jobs",
    "service",
    "telemetry",
    "scheduler",
    "worker",
    "dashboard",
    "gristmill",
    "testkit",
    "campaign",
    "bench",
    "tests",
];

/// Who may know whom. Whatever is not listed is forbidden.
fn may_know(room: &str) -> &'static [&'static str] {
    match room {
        // An optional one: behind the feature `testing`.
        "broker" => &["core", "testkit"],
        "store" | "mail" => &["core"],
        "jobs" => &["core", "mail", "store"],
        "dispatcher" => &["core", "store", "broker"],
        // What a program needs that enqueues, and no more.
        "client" => &["core", "store", "broker", "dispatcher"],
        "service" => &["core", "mail", "store", "broker", "dispatcher", "jobs"],
        "telemetry" => &["core", "store", "broker", "jobs", "service"],
        "scheduler" | "worker" => &["core", "store", "broker", "jobs", "service"],
        "dashboard" => &["core", "mail", "store", "broker", "jobs", "service", "telemetry"],
        "gristmill" => &[
            "core",
            "mail",
            "store",
            "broker",
            "dispatcher",
            "client",
            "jobs",
            "service",
            "telemetry",
            "scheduler",
            "worker",
            "dashboard",
        ],
        // The oracle shares no code with what it judges: `store` for the list of failpoints, `gristmill` for the
        // program that has them.
        "campaign" => &["testkit", "store", "gristmill"],
        // What is measured by itself, and the program and its client as users have them.
        "bench" => &["core", "store", "broker", "jobs", "client", "gristmill"],
        "tests" => &["testkit"],
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
        for other in known(&manifest) {
            assert!(may_know(room).contains(&other), "{room} must not depend on {other}");
        }
    }
}

/// The rooms that a manifest's ordinary dependencies name.
fn known(manifest: &str) -> Vec<&'static str> {
    let normal = manifest.split("[dev-dependencies]").next().unwrap_or_default();
    let named = |room: &str| {
        let package = if room == "gristmill" { room.to_owned() } else { format!("gristmill-{room}") };
        normal.lines().any(|text| {
            let rest = text.strip_prefix(&package);
            rest.is_some_and(|rest| rest.starts_with('.') || rest.trim_start().starts_with('='))
        })
    };
    ROOMS.into_iter().filter(|room| named(room)).collect()
}

#[test]
fn a_dependency_is_seen_however_it_is_written() {
    let manifest = "gristmill-store.workspace = true\ngristmill = { workspace = true, optional = true }\n\
                    [dev-dependencies]\ngristmill-core.workspace = true\n";
    assert_eq!(known(manifest), ["store", "gristmill"]);
}

#[test]
fn what_tests_share_is_in_no_program_and_every_crate_is_a_room() {
    let workspace = fs::read_to_string(root().join("Cargo.toml")).expect("the workspace has a manifest");
    let members = workspace.lines().find(|line| line.starts_with("members = ")).expect("it lists its members");
    let members: Vec<&str> = members.split('"').skip(1).step_by(2).collect();
    assert_eq!(BTreeSet::from_iter(members), BTreeSet::from(ROOMS));
    for room in ROOMS.into_iter().filter(|room| !["campaign", "tests"].contains(room)) {
        let manifest = fs::read_to_string(root().join(room).join("Cargo.toml")).expect("each room has a manifest");
        if known(&manifest).contains(&"testkit") {
            let optional = "gristmill-testkit = { workspace = true, optional = true }";
            let behind = "\ntesting = [\"dep:gristmill-testkit\"]\n";
            assert!(manifest.contains(optional) && manifest.contains(behind), "{room} has the testkit in its program");
        }
    }
}

/// Whether a file takes all names of its crate, or of a module of it.
fn takes_everything(code: &str) -> bool {
    code.split(';').any(|statement| {
        let statement: String = statement.split_whitespace().collect();
        statement.rsplit_once("usecrate::").is_some_and(|(_, taken)| taken.contains('*') && !taken.contains('('))
    })
}

#[test]
fn every_name_says_where_it_comes_from() {
    let all = sources().into_iter();
    let files = all.filter(|(_, text)| takes_everything(&text::parts(without_inline_tests(text)).code));
    let names: Vec<String> = files.map(|(name, _)| name).collect();
    assert!(names.is_empty(), "take all names of their crate: {}", names.join(", "));
}

#[test]
fn taking_everything_is_seen_however_it_is_written() {
    for text in ["pub use crate::*;", "use crate::job::*;", "use a::B;\nuse crate::{\n    job::{self, *},\n};"] {
        assert!(takes_everything(text), "{text}");
    }
    for text in ["use crate::job::Job;", "use super::*;", "use crate::A;\nfn f() { *x = 1; }"] {
        assert!(!takes_everything(text), "{text}");
    }
}

#[test]
fn the_core_has_no_input_or_output_no_clock_and_no_randomness() {
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
    if let Some(visible) = rest.strip_prefix("pub") {
        let within = visible.strip_prefix('(').and_then(|inner| inner.split_once(')')).map(|(_, rest)| rest);
        rest = within.unwrap_or(visible).trim_start();
    }
    while let Some(after) =
        ["default ", "const ", "async ", "unsafe ", "safe ", "extern "].iter().find_map(|word| rest.strip_prefix(word))
    {
        rest = after.trim_start();
        if let Some(abi) = rest.strip_prefix('"') {
            rest = abi.split_once('"').map_or(rest, |(_, after)| after.trim_start());
        }
    }
    let name = rest.strip_prefix("fn ")?;
    Some((indent, name.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()))
}

/// The functions of a file that have more lines than that: where each begins, its name, and its lines.
fn longer_than(most: usize, text: &str) -> Vec<(usize, String, usize)> {
    let mut long = Vec::new();
    let mut open: Option<(usize, usize, String)> = None;
    let mut has_body = false;
    for (number, line) in text.lines().enumerate() {
        if let Some((start, indent, function)) = &open {
            if line == format!("{}}}", " ".repeat(*indent)) {
                if number - start > most {
                    long.push((start + 1, function.clone(), number - start));
                }
                open = None;
            } else if !has_body && line.trim_end().ends_with(';') {
                // A trait only declares it, over several lines.
                open = None;
            }
        } else if let Some((indent, function)) = function_start(line) {
            open = (!line.trim_end().ends_with(['}', ';'])).then_some((number, indent, function));
            has_body = false;
        }
        has_body |= line.trim_end().ends_with('{');
    }
    long
}

#[test]
fn functions_fit_on_a_screen() {
    let mut long = Vec::new();
    for (name, text) in sources() {
        let found = longer_than(60, &text).into_iter();
        long.extend(found.map(|(line, function, lines)| format!("{name}:{line} {function} ({lines} lines)")));
    }
    assert!(long.is_empty(), "longer than 60 lines:\n{}", long.join("\n"));
}

#[test]
fn a_long_function_is_found_whatever_it_is_called_with() {
    for start in
        ["fn f() {", "pub(in crate::a) async unsafe fn f() {", "unsafe extern \"C\" fn f() {", "pub extern fn f() {"]
    {
        let text = format!("{start}\n{}}}\n\nfn short() {{\n}}\n", "    x();\n".repeat(4));
        assert_eq!(longer_than(4, &text), [(1, "f".to_owned(), 5)], "{start}");
        assert_eq!(longer_than(5, &text), [], "{start}");
    }
    let declared = format!("trait T {{\n    fn f(\n        x: u8,\n    ) -> u8;\n{}}}\n", "    fn g();\n".repeat(9));
    assert_eq!(longer_than(4, &declared), [], "a declaration ends with its semicolon");
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
    for (name, text) in sources()
        .iter()
        .filter(|(name, _)| !["store/", "tests/", "campaign/"].iter().any(|room| name.starts_with(room)))
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

#[test]
fn only_one_file_knows_the_crate_backoff() {
    for (name, text) in sources() {
        let mentions = text.contains("use backoff::") || text.contains("backoff::ExponentialBackoff");
        assert!(
            !mentions || name == "core/src/backoff.rs" || name.starts_with("tests/tests/tidy/"),
            "{name} uses the crate backoff"
        );
    }
}

/// A folder whose name is not synced is lost in the machine's crash, with the synced files in it.
#[test]
fn only_one_file_makes_folders_that_must_last() {
    let elsewhere = ["tests/", "testkit/", "bench/", "campaign/", "gristmill/src/cli/demo/", "jobs/src/folder.rs"];
    for (name, text) in sources().iter().filter(|(name, _)| name.contains("/src/")) {
        let makes = without_inline_tests(text).contains("create_dir");
        assert!(
            !makes || elsewhere.iter().any(|place| name.starts_with(place)),
            "{name} makes a folder by itself; ask `gristmill_jobs::folder::make`"
        );
    }
}

/// Who publishes by itself, and why neither a verb nor `Dispatcher::after` would do.
const PUBLISHES_BY_ITSELF: [(&str, &str); 2] = [
    ("scheduler/src/duties/relay.rs", "its rows were committed long ago, by a process that did not publish them"),
    ("scheduler/src/duties/returned.rs", "messages that the broker gave back have no row in the outbox"),
];

#[test]
fn only_the_service_hands_to_the_dispatcher_what_a_commit_left_behind() {
    let elsewhere =
        |name: &str| !["service/", "dispatcher/", "broker/", "tests/"].iter().any(|room| name.starts_with(room));
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
