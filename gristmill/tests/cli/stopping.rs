//! Signals to a working process: the first drains, the second gives everything back at once.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::place::Place;

/// How long anything may take before the test gives up on it.
const PATIENCE: Duration = Duration::from_secs(180);

const CONFIG: &str = "[exec]\nprograms = [\"/bin/sh\"]\n[worker]\ndrain = \"200s\"\npoll = \"50ms\"\n";

/// A process that works on one job: a program that reports that it runs, and waits for a file.
pub(crate) struct Slow {
    pub(crate) place: Place,
    pub(crate) job: String,
    child: Child,
    stderr: BufReader<ChildStderr>,
}

impl Drop for Slow {
    fn drop(&mut self) {
        let _ = std::fs::write(self.place.path().join("go"), "");
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Slow {
    pub(crate) fn start() -> Self {
        let place = Place::new();
        place.write("config.toml", CONFIG);
        let script = "echo $$ > pid; mv pid runs; n=0; \
                      while [ ! -e go ] && [ $n -lt 3000 ]; do sleep 0.1; n=$((n+1)); done; touch through";
        let payload = serde_json::json!({ "command": ["sh", "-c", script] }).to_string();
        let enqueued = place.json(0, &["enqueue", "exec", "--payload", &payload, "--timeout", "10m", "--json"]);
        let job = enqueued["job"]["id"].as_str().expect("an id").to_owned();
        let mut child = place.command(&["dev"]).stderr(Stdio::piped()).spawn().expect("started");
        let stderr = BufReader::new(child.stderr.take().expect("piped"));
        let slow = Self { place, job, child, stderr };
        until("the program runs", || slow.place.path().join("runs").exists());
        slow
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.child.id().to_string()]).status().expect("kill runs");
        assert!(sent.success());
    }

    /// Reads its output until a line contains this.
    fn hears(&mut self, what: &str) {
        let mut all = String::new();
        loop {
            let before = all.len();
            assert!(self.stderr.read_line(&mut all).expect("a line") > 0, "it never said `{what}`:\n{all}");
            if all[before..].contains(what) {
                return;
            }
        }
    }

    fn ends(&mut self) -> ExitStatus {
        let mut status = None;
        let child = &mut self.child;
        until("it ends", || {
            status = child.try_wait().expect("it is our child");
            status.is_some()
        });
        status.expect("it has ended")
    }

    pub(crate) fn job(&self) -> (String, u64) {
        let job = self.place.json(0, &["job", "show", &self.job, "--json"]);
        (job["state"].as_str().expect("a state").to_owned(), job["attempt"].as_u64().expect("a number"))
    }
}

pub(crate) fn until(what: &str, mut is: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is() {
        assert!(began.elapsed() < PATIENCE, "waited too long until {what}");
        // Polling without a pause would slow down what the test waits for.
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

pub(crate) fn finished(folder: &Path) -> bool {
    folder.join("through").exists()
}

#[test]
fn the_first_signal_lets_what_runs_finish() {
    for name in ["-TERM", "-INT"] {
        let mut slow = Slow::start();
        slow.signal(name);
        slow.hears("stopping");
        assert!(slow.child.try_wait().expect("it is our child").is_none(), "it waits for the job");
        slow.place.write("go", "");
        assert_eq!(slow.ends().code(), Some(0), "a stop that was asked for and went well is a success");
        assert!(finished(slow.place.path()));
        assert_eq!(slow.job(), ("done".to_owned(), 1));
    }
}

#[test]
fn the_second_signal_gives_back_at_once_and_spends_no_attempt() {
    for (name, code) in [("-TERM", 143), ("-INT", 130)] {
        let mut slow = Slow::start();
        slow.signal(name);
        slow.hears("stopping");
        let second = Instant::now();
        slow.signal(name);
        assert_eq!(slow.ends().code(), Some(code));
        assert!(second.elapsed() < Duration::from_secs(100), "the drain time of 200 s is not waited for");
        assert!(!finished(slow.place.path()));
        assert_eq!(slow.job(), ("queued".to_owned(), 0));
        let alive = slow.place.json(0, &["worker", "list", "--json"]);
        let states: Vec<&str> = alive.as_array().expect("a list").iter().filter_map(|w| w["state"].as_str()).collect();
        assert!(!states.contains(&"alive"), "{states:?}");
    }
}
