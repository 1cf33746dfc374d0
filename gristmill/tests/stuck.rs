//! Threads for items that do not come back, with the real program: they are counted, shown and replaced, and at the bound
//! the process says that it is not ready, and ends.
//!
//! It has no harness, because it starts itself as that program: the command line with one item handler more, which waits
//! until the test writes into the named pipe that its item names.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use gristmill::{App, ItemOut};
use serde_json::{Value, json};

/// Set for the program, not for its test.
const PROGRAM: &str = "GRISTMILL_TEST_STUCK_PROGRAM";

/// How long anything may take before the test gives up on it.
const PATIENCE: Duration = Duration::from_secs(120);

const CONFIG: &str = r#"
[worker]
item_threads = 2
drain = "10m"
metrics = "127.0.0.1:0"

[exec]
programs = ["/bin/cat"]

[batch.held]
source = { jsonl = "held.jsonl" }
process = { rust = "hold" }
chunk = 1
timeout = "1s"
max_attempts = 1
"#;

fn main() -> ExitCode {
    if std::env::var_os(PROGRAM).is_some() {
        return App::new().item_handler("hold", |item, _| hold(item)).main();
    }
    if std::env::args().any(|arg| arg == "--list") {
        return ExitCode::SUCCESS;
    }
    stuck_threads_are_counted_shown_and_replaced_and_at_the_bound_the_process_ends();
    ExitCode::SUCCESS
}

/// Keeps its thread until the test writes into the pipe.
fn hold(item: &Value) -> ItemOut {
    match item["pipe"].as_str().map(std::fs::read) {
        None | Some(Ok(_)) => ItemOut::Ok(item.clone()),
        Some(Err(error)) => ItemOut::Failed { reason: error.to_string(), retry: false },
    }
}

fn stuck_threads_are_counted_shown_and_replaced_and_at_the_bound_the_process_ends() {
    let place = Place::new();
    place.ok(&["db", "migrate"]);
    let mut running = Running::start(&place);
    assert!(!running.get("/readyz").1.contains("threads for items"), "nothing is to be said of them");

    running.hold(2);
    let (status, said) = running.get("/readyz");
    assert!(status == 200 && said.contains("2 of at most 4 did not come back"), "{status} {said}");
    place.write("free.jsonl", "{\"n\": 1}\n{\"n\": 2}\n");
    let run = place.ok(&["batch", "run", "held", "--input", "free.jsonl", "--wait", "--json"]);
    let run: Value = serde_json::from_str(&run).expect("JSON");
    assert_eq!(run["batch"]["counts"]["ok"], 2, "both threads were held, and others are in their place: {run}");

    // Something that is still under way keeps the process for a while, so that it can be asked.
    let last = place.pipe("last");
    let cat = json!({ "command": ["/bin/cat", last] }).to_string();
    let id = place.ok(&["enqueue", "exec", "--payload", &cat, "--plain"]);
    let id = id.split_whitespace().next().expect("an id");
    until("the program runs", || place.ok(&["job", "show", id, "--json"]).contains("\"running\""));
    running.hold(4);
    let (status, said) = running.get("/readyz");
    assert!(status == 503 && said.contains("4 of at most 4 did not come back from their item"), "{status} {said}");
    assert!(said.contains("\"ready\":false") && said.contains("\"remedy\""), "{said}");
    assert!(running.child.try_wait().expect("ours").is_none(), "what it runs is finished first");

    // The reader may be gone already if the job was given back: then this does not wait.
    File::options().read(true).write(true).open(&last).and_then(|mut pipe| pipe.write_all(b"go\n")).expect("written");
    let status = running.ended();
    let log = place.log();
    assert_eq!(status.code(), Some(70), "{log}");
    assert!(log.contains("4 threads for items did not come back although their attempts are over"), "{log}");
    assert!(log.contains("correct what their items run, then start this process again"), "{log}");
    let lines = log.lines().filter(|line| line.contains("a thread for items has not come back"));
    assert_eq!(lines.count(), 4, "{log}");
    let job = place.ok(&["job", "show", id, "--json"]);
    assert!(job.contains("\"done\""), "it was allowed to finish: {job}");
}

/// A folder of its own, with the configuration.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().expect("a folder"));
        place.write("config.toml", CONFIG);
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).expect("written");
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// A named pipe: its reader waits for a writer.
    fn pipe(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        assert!(Command::new("mkfifo").arg(&path).status().expect("mkfifo").success());
        path
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("GRISTMILL_")) {
            command.env_remove(name);
        }
        command.args(args).current_dir(self.0.path()).env(PROGRAM, "1").stdin(Stdio::null());
        command
    }

    fn ok(&self, args: &[&str]) -> String {
        let Output { status, stdout, stderr } = self.command(args).output().expect("started");
        let (out, err) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
        assert!(status.success(), "{args:?}: {status}\n{out}\n{err}");
        out.into_owned()
    }
}

/// A worker and scheduler, ended with the test.
struct Running<'a> {
    place: &'a Place,
    child: Child,
    address: String,
    held: usize,
}

impl<'a> Running<'a> {
    fn start(place: &'a Place) -> Self {
        let log = File::create(place.path("log")).expect("a log");
        let mut command = place.command(&["dev"]);
        let child = command.stdout(Stdio::null()).stderr(log).spawn().expect("started");
        let mut running = Self { place, child, address: String::new(), held: 0 };
        until("it says where its metrics are", || match address(&place.log()) {
            Some(address) => {
                running.address = address;
                true
            }
            None => false,
        });
        running
    }

    /// Holds threads until so many are stuck.
    fn hold(&mut self, all: usize) {
        let pipes = (self.held..all).map(|number| self.place.pipe(&format!("pipe{number}")));
        let lines: Vec<String> = pipes.map(|pipe| json!({ "pipe": pipe }).to_string() + "\n").collect();
        self.place.write("held.jsonl", &lines.concat());
        self.place.ok(&["batch", "run", "held"]);
        self.held = all;
        let line = format!("gristmill_item_threads_stuck {all}");
        until(&line, || self.get("/metrics").1.lines().any(|said| said == line));
    }

    fn get(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).expect("it listens");
        write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").expect("asked");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answered");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        (head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status"), body.to_owned())
    }

    fn ended(&mut self) -> ExitStatus {
        let mut status = None;
        until("it ends", || {
            status = self.child.try_wait().expect("ours");
            status.is_some()
        });
        status.expect("it has ended")
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn address(log: &str) -> Option<String> {
    let (_, rest) = log.split_once("metrics on http://")?;
    rest.split_once("/metrics").map(|(address, _)| address.to_owned())
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "{what} did not come true");
        // Polling without a pause would slow down what the test waits for.
        std::thread::park_timeout(Duration::from_millis(100));
    }
}
