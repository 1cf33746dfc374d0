//! Where a test runs the real binary: a folder of its own, and no setting from outside.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// The payload of a job of kind `email` that a worker can run.
pub(crate) const MAIL: &str = r#"{"to":"a@example.com","subject":"Hello","text":"You"}"#;

/// The payload of a job of kind `exec` that succeeds at once.
pub(crate) const TRUE: &str = r#"{"command":["true"]}"#;

/// The payload of a job of kind `exec` that fails for good.
pub(crate) const BAD: &str = r#"{"command":["sh","-c","echo no such mailbox >&2; exit 65"]}"#;

/// A folder of its own for each test, in which the program is started.
pub(crate) struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder") }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().expect("in a folder")).expect("made");
        std::fs::write(&path, text).expect("written");
        path
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gristmill"));
        command.current_dir(self.path()).args(args).stdin(Stdio::null());
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("GRISTMILL_") || name == "TRACEPARENT") {
            command.env_remove(name);
        }
        // Nor a server that the user of this machine has named.
        command.env("XDG_CONFIG_HOME", self.path().join("home"));
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("started")
    }

    /// Runs a command that must end with this code, and returns what it prints.
    pub(crate) fn expect(&self, code: i32, args: &[&str]) -> String {
        let output = self.run(args);
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{args:?}\n{out}\n{err}");
        out.into_owned()
    }

    pub(crate) fn json(&self, code: i32, args: &[&str]) -> Value {
        let text = self.expect(code, args);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{args:?}: {error}\n{text}"))
    }

    /// What `doctor` finds. How full the disks of this machine are is left out: it is not for a test to say.
    ///
    /// With 0 nothing else may be wrong, with 9 something has to be.
    pub(crate) fn doctor(&self, code: i32, before: &[&str]) -> Value {
        doctor(&mut self.command(&[before, &["doctor", "--json"]].concat()), code)
    }

    /// A batch over a few sales, of which two are bad.
    pub(crate) fn with_batch() -> Self {
        let place = Self::new();
        place.write("sales.csv", SALES);
        place.write("config.toml", CONFIG);
        place
    }
}

/// Runs a `doctor --json`; see [`Place::doctor`].
pub(crate) fn doctor(command: &mut Command, code: i32) -> Value {
    let output = command.output().expect("started");
    let said = String::from_utf8_lossy(&output.stdout);
    let mut report: Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}\n{said}"));
    let ended = if report["ok"] == true { 0 } else { 9 };
    assert_eq!(output.status.code(), Some(ended), "it ends as it found\n{said}");
    let findings = report["findings"].as_array_mut().expect("findings");
    findings.retain(|finding| finding["what"] != "disk");
    let ok = findings.iter().all(|finding| finding["ok"] == true);
    assert_eq!(ok, code == 0, "{said}");
    report["ok"] = ok.into();
    report
}

const SALES: &str = "\u{feff}id,country,quantity,price\n1,UK,2,0.10\n2,UK,1,0.20\n3,FR,3,\n4,FR,1,1.05\n5,FR,x,1\n";

const CONFIG: &str = r#"
[batch.sales]
source = { csv = "sales.csv" }
chunk = 2
tolerate = 2
parse = { quantity = "integer", price = { type = "decimal", above = "0" } }
transform = ".amount = decimal_mul(.quantity; .price)"
aggregate = { rows = "count", revenue = { sum = "amount" }, by_country = { group = "country", sum = "amount" } }
output = { jsonl = "out" }
on.settled = [{ email = { to = "ops@example.com" } }]
"#;
