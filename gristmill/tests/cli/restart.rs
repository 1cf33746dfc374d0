//! A server that is stopped, killed and started again under load: what it has accepted is there.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::place::{MAIL, Place};

/// How many clients send at once, each over a connection that it keeps as long as it can.
const CLIENTS: usize = 6;

/// How many jobs are accepted between two ends of the server, unless `GRISTMILL_TEST_RESTART_JOBS` says so.
const BETWEEN: usize = 60;

/// How long anything may take before the test gives up on it.
const PATIENCE: Duration = Duration::from_secs(120);

/// How many jobs are accepted between two ends of the server.
fn between() -> usize {
    let said = std::env::var("GRISTMILL_TEST_RESTART_JOBS").ok();
    said.map_or(BETWEEN, |jobs| jobs.parse().expect("GRISTMILL_TEST_RESTART_JOBS is a number"))
}

/// What clients and test tell each other.
#[derive(Default)]
struct Accepted {
    shared: Mutex<Shared>,
    changed: Condvar,
}

#[derive(Default)]
struct Shared {
    /// The ids of the jobs that were accepted.
    ids: BTreeSet<String>,
    /// Whether there is a server.
    served: bool,
    /// Whether there have been enough.
    over: bool,
}

impl Accepted {
    fn tell(&self, what: impl FnOnce(&mut Shared)) {
        what(&mut self.shared.lock().expect("shared"));
        self.changed.notify_all();
    }

    fn until(&self, enough: impl Fn(&Shared) -> bool) -> MutexGuard<'_, Shared> {
        let shared = self.shared.lock().expect("shared");
        self.changed.wait_timeout_while(shared, PATIENCE, |shared| !enough(shared)).expect("shared").0
    }

    /// Waits until so many more were accepted.
    fn more(&self, jobs: usize) {
        let before = self.shared.lock().expect("shared").ids.len();
        drop(self.until(|shared| shared.ids.len() >= before + jobs));
    }

    fn is_over(&self) -> bool {
        self.shared.lock().expect("shared").over
    }
}

fn server(place: &Place, listen: &str) -> (Child, String) {
    let mut child = place.command(&["serve", "--listen", listen]).stderr(Stdio::piped()).spawn().expect("started");
    let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
    let address = loop {
        let line = lines.next().expect("it says where it is").expect("a line");
        if let Some((_, rest)) = line.split_once("API on http://") {
            break rest.trim_end_matches("/api/v1").to_owned();
        }
    };
    // What it says afterwards must not fill the pipe.
    thread::spawn(move || lines.for_each(drop));
    (child, address)
}

/// Sends jobs over one connection until it ends.
fn send(address: &str, accepted: &Accepted) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut answers = BufReader::new(stream.try_clone()?);
    let body = format!("{{\"kind\": \"email\", \"in\": \"1h\", \"payload\": {MAIL}}}");
    let request = format!(
        "POST /api/v1/jobs HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    while !accepted.is_over() {
        stream.write_all(request.as_bytes())?;
        let (status, text) = answer(&mut answers)?;
        match status {
            201 => {
                let answer: Value = serde_json::from_str(&text).expect("JSON");
                let id = answer["data"]["job"]["id"].as_str().expect("an id").to_owned();
                accepted.tell(|shared| assert!(shared.ids.insert(id), "no id is given twice"));
            }
            // It is about to end, or has just begun.
            503 | 408 => {}
            other => panic!("{other}: {text}"),
        }
    }
    Ok(())
}

fn answer(from: &mut BufReader<TcpStream>) -> std::io::Result<(u16, String)> {
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let before = head.len();
        if from.read_line(&mut head)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let line = head[before..].trim_end().to_ascii_lowercase();
        if let Some(said) = line.strip_prefix("content-length: ") {
            length = said.parse().expect("a length");
        }
        if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    Ok((status, String::from_utf8(body).expect("UTF-8")))
}

fn signal(name: &str, child: &Child) {
    assert!(Command::new("kill").args([name, &child.id().to_string()]).status().expect("kill runs").success());
}

/// Every job of the store, by its id.
fn stored(place: &Place) -> BTreeSet<String> {
    let (mut found, mut after) = (BTreeSet::new(), None);
    loop {
        let mut args = vec!["job", "list", "--limit", "1000", "--json"];
        args.extend(after.as_deref().into_iter().flat_map(|after| ["--after", after]));
        let page = place.json(0, &args);
        let ids: Vec<String> =
            page.as_array().expect("a list").iter().map(|job| job["id"].as_str().expect("an id").to_owned()).collect();
        let full = ids.len() == 1_000;
        after = ids.last().cloned();
        found.extend(ids);
        if !full {
            return found;
        }
    }
}

#[test]
fn a_server_that_is_restarted_under_load_loses_nothing_that_it_has_accepted() {
    let place = Place::new();
    place.write("config.toml", "[serve]\nrate_per_address = \"\"\nrate_per_token = \"\"\n");
    place.json(0, &["job", "list", "--json"]);
    let (mut child, address) = server(&place, "127.0.0.1:0");
    let accepted = Accepted::default();
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                while !accepted.until(|shared| shared.served || shared.over).over {
                    // A connection that breaks off, or cannot be made, leaves it open whether the last job was accepted.
                    let _ = send(&address, &accepted);
                }
            });
        }
        for end in ["-TERM", "-KILL", "-TERM"] {
            accepted.tell(|shared| shared.served = true);
            accepted.more(between());
            accepted.tell(|shared| shared.served = false);
            signal(end, &child);
            child.wait().expect("ended");
            (child, _) = server(&place, &address);
        }
        accepted.tell(|shared| shared.served = true);
        accepted.more(between());
        accepted.tell(|shared| shared.over = true);
    });
    signal("-TERM", &child);
    child.wait().expect("ended");
    let (found, ids) = (stored(&place), accepted.shared.into_inner().expect("shared").ids);
    assert!(ids.len() >= 4 * between(), "{}", ids.len());
    let lost: Vec<&String> = ids.difference(&found).collect();
    assert!(lost.is_empty(), "{} of {} were accepted and are not there: {lost:?}", lost.len(), ids.len());
    // At most one for each client and each end was made without an answer.
    assert!(found.len() <= ids.len() + CLIENTS * 4, "{} of {}", found.len(), ids.len());
}
