//! The program that people run, as they run it: one process each time.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use gristmill_testkit::cargo;
use serde_json::Value;

use crate::place::Place;
use crate::root;

/// How long anything may take before a test gives up on it.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// How long to wait between two questions.
const BREATH: Duration = Duration::from_millis(100);

/// The program, built from what stands in the workspace, or the one that `GRISTMILL_TEST_PROGRAM` names.
fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        if let Some(given) = std::env::var_os("GRISTMILL_TEST_PROGRAM") {
            return PathBuf::from(given);
        }
        // With a test beside it, so that every dependency has the features that it has in `cargo test`
        // and nothing is compiled twice.
        let built = cargo()
            .args(["build", "--quiet", "--workspace", "--bin", "gristmill", "--test", "tidy"])
            .current_dir(root())
            .status()
            .expect("cargo runs");
        assert!(built.success(), "the program does not build");
        let tests = std::env::current_exe().expect("this test has a path");
        let folder = tests.ancestors().nth(2).expect("tests are built into a folder of the target folder");
        folder.join("gristmill")
    })
}

/// Runs the program in a place.
#[derive(Debug)]
pub struct Program<'a> {
    place: &'a Place,
    config: PathBuf,
    env: Vec<(String, String)>,
}

impl<'a> Program<'a> {
    /// With a copy of the example `retail` as its configuration, so that what it writes stays in the
    /// test's own folder, and a database that has its schema.
    pub fn retail(place: &'a Place) -> Self {
        let (example, copy) = (root().join("examples/retail"), place.file("retail"));
        fs::create_dir_all(copy.join("schemas")).expect("the test's folder is writable");
        for file in ["config.toml", "schemas/invoice.json"] {
            fs::copy(example.join(file), copy.join(file)).expect("the example is there");
        }
        Self::with_config(place, copy.join("config.toml"))
    }

    /// With this configuration, and a database that has its schema.
    pub fn with_config(place: &'a Place, config: PathBuf) -> Self {
        let program = Self { place, config, env: Vec::new() };
        program.ok(&["db", "migrate"]);
        program
    }

    /// The same with one more variable in its environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The command that would be run.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command
            .arg("--config")
            .arg(&self.config)
            .args(["--store", &self.place.store(), "--broker", &self.place.broker()])
            .args(arguments)
            .current_dir(self.place.folder())
            .env("GRISTMILL_BROKER_NAMESPACE", self.place.namespace())
            .env("GRISTMILL_EXEC_PROGRAMS", "/bin/cat,/bin/sh")
            .env("GRISTMILL_WORKER_LEASE", "3s")
            .env("GRISTMILL_WORKER_BEAT", "500ms")
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
        command
    }

    /// Runs it to its end.
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("the program starts")
    }

    /// Runs it to its end, which must be a good one, and gives what it printed.
    pub fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{arguments:?} ended with {}\n{out}\n{err}", output.status);
        out.into_owned()
    }

    /// Runs it with `--json` to a good end and reads what it printed.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let arguments: Vec<&str> = arguments.iter().copied().chain(["--json"]).collect();
        let out = self.ok(&arguments);
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{arguments:?} printed no JSON ({error}):\n{out}"))
    }

    /// Starts it and lets it run.
    pub fn start(&self, arguments: &[&str]) -> Running {
        let mut child =
            self.command(arguments).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the program starts");
        let errors = child.stderr.take().expect("its errors are piped");
        let log = std::thread::spawn(move || {
            let mut log = String::new();
            for line in BufReader::new(errors).lines().map_while(Result::ok) {
                log.push_str(&line);
                log.push('\n');
            }
            log
        });
        Running { child, log: Some(log) }
    }

    /// Asks until the answer is as wanted.
    pub fn until(&self, arguments: &[&str], wanted: impl Fn(&Value) -> bool) -> Value {
        let start = Instant::now();
        loop {
            let answer = self.json(arguments);
            if wanted(&answer) {
                return answer;
            }
            assert!(start.elapsed() < PATIENCE, "{arguments:?} is still\n{answer:#}");
            // Each question is a process: asking without a breath would slow down what is waited for.
            std::thread::park_timeout(BREATH);
        }
    }
}

/// A process that runs until it is told otherwise, or the test ends.
#[derive(Debug)]
pub struct Running {
    child: Child,
    log: Option<std::thread::JoinHandle<String>>,
}

impl Running {
    /// SIGKILL: at once, with no chance to clean up.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// SIGTERM, and waits for its end. Gives what it wrote to standard error, and how it ended.
    pub fn stop(mut self) -> (std::process::ExitStatus, String) {
        let _ = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        let status = self.child.wait().expect("it is our child");
        let log = self.log.take().and_then(|log| log.join().ok()).unwrap_or_default();
        (status, log)
    }

    /// Whether it still runs.
    pub fn alive(&self) -> bool {
        // A process that has ended stays in the table until it is asked for; `stat` says so.
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default();
        stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().next()).is_some_and(|state| state != "Z")
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}
