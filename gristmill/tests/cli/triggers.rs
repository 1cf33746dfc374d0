//! Runs that something other than the clock starts, from outside: after another batch, by a hook, by a file in a
//! folder.

use std::io::BufRead;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::place::Place;

/// How long anything may take before the test gives up on it.
const PATIENCE: Duration = Duration::from_secs(180);

/// A working process, ended with the test.
pub(crate) struct Dev(Child);

impl Dev {
    pub(crate) fn begin(place: &Place, args: &[&str]) -> Self {
        Self(place.command(args).stderr(Stdio::null()).spawn().expect("started"))
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Polls until something holds.
pub(crate) fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = ask() {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "{what} did not come true");
        // Polling without a pause would slow down what the test waits for.
        std::thread::park_timeout(Duration::from_millis(200));
    }
}

/// The rows of a schedule's ledger, the newest first.
fn ledger(place: &Place, name: &str) -> Vec<Value> {
    let output = place.run(&["schedule", "show", name, "--json"]);
    let shown: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    shown["last"].as_array().cloned().unwrap_or_default()
}

#[test]
fn a_batch_starts_when_another_has_ended_and_knows_which() {
    let place = Place::with_batch();
    let config = std::fs::read_to_string(place.path().join("config.toml")).expect("readable");
    let more = r#"
[batch.totals]
source = { csv = "sales.csv" }
tolerate = "100%"
output = { jsonl = "totals-{{ event.generation }}" }
on.late = [{ email = { to = "ops@example.com" } }]

[schedule.totals]
after = "sales"
batch = "totals"
late_after = "1h"
"#;
    place.write("config.toml", &format!("{config}{more}"));
    let next = place.json(0, &["schedule", "next", "totals", "--json"]);
    assert_eq!((&next["description"], &next["next"]), (&"after sales".into(), &Value::Array(Vec::new())));
    let _dev = Dev::begin(&place, &["dev"]);
    let seen = || {
        let list = place.json(0, &["schedule", "list", "--json"]);
        (list[0]["state"] == "enabled").then_some(())
    };
    until("the scheduler has seen it", seen);
    let first = place.json(0, &["batch", "run", "sales", "--json"]);
    let first = first["batch"]["id"].as_str().or(first["id"].as_str()).expect("an id").to_owned();
    let row = until("the second batch has run", || {
        ledger(&place, "totals").into_iter().find(|row| row["result"] == "complete")
    });
    assert_eq!((&row["about"]["batch"], &row["about"]["state"]), (&first.as_str().into(), &"complete".into()), "{row}");
    assert!(place.path().join("totals-0").is_dir(), "its output knows what it followed");
    assert_eq!(ledger(&place, "totals").len(), 1, "once");
    let shown = place.expect(0, &["schedule", "show", "totals"]);
    assert!(shown.contains("after sales"), "{shown}");
    let slot = row["tick"].as_str().expect("a tick");
    place.expect(5, &["schedule", "run", "totals", "--slot", slot]);
    place.expect(2, &["schedule", "create", "round", "--after", "sales", "--batch", "sales"]);
    place.expect(3, &["schedule", "create", "none", "--after", "sale", "--batch", "sales"]);
    let made =
        ["schedule", "create", "more", "--after", "totals", "--ending", "settled", "--batch", "sales", "--dry-run"];
    place.expect(0, &made);
}

/// A process that serves hooks, and its address.
fn serving(place: &Place, args: &[&str], secret: &str) -> (Dev, String) {
    let mut child = place.command(args).env("ORDERS_SECRET", secret).stderr(Stdio::piped()).spawn().expect("started");
    let mut lines = std::io::BufReader::new(child.stderr.take().expect("piped")).lines();
    let said = lines.by_ref().map_while(Result::ok).find_map(|line| {
        let (_, address) = line.split_once("hooks on http://")?;
        address.split('/').next().map(str::to_owned)
    });
    // Its later output is read, so that it is never held up.
    std::thread::spawn(move || lines.for_each(drop));
    (Dev(child), said.expect("it says where"))
}

#[test]
fn the_example_of_the_documentation_enqueues_its_job_once() {
    let docs = include_str!("../../../docs/hooks.md");
    let block = |kind: &str| {
        docs.split(&format!("```{kind}\n")).nth(1).and_then(|rest| rest.split("```").next()).expect("a block")
    };
    let place = Place::new();
    place.write("config.toml", &block("toml").replace("127.0.0.1:9603", "127.0.0.1:0"));
    let (_dev, address) = serving(&place, &["dev"], "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    let deliver = |script: &str| -> Value {
        let script = script.replace("127.0.0.1:9603", &address);
        let output = std::process::Command::new("sh").args(["-ec", &script]).output().expect("sh is there");
        let text = String::from_utf8_lossy(&output.stdout);
        serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("{error}: {text}{}", String::from_utf8_lossy(&output.stderr)))
    };
    let first = deliver(block("sh"));
    assert_eq!((&first["event"], &first["known"]), (&"msg_1".into(), &false.into()), "{first}");
    let again = deliver(block("sh"));
    assert_eq!((&again["job"], &again["known"]), (&first["job"], &true.into()));
    let forged =
        deliver(&block("sh").replace("\"order\": 17}'", "\"order\": 18}'").replace("$timestamp.$body", "$timestamp.x"));
    assert_eq!(forged["status"], 401, "{forged}");
    let id = first["job"].as_str().expect("an id");
    let job = place.json(0, &["job", "show", id, "--json"]);
    let payload = if job["payload"].is_null() { &job["job"]["payload"] } else { &job["payload"] };
    assert_eq!(payload["url"], "https://example.com/order/17", "{job}");
}

#[test]
fn a_file_in_a_watched_folder_is_run_once_and_put_away() {
    let place = Place::with_batch();
    let config = std::fs::read_to_string(place.path().join("config.toml")).expect("readable");
    let more = "\n[watch.inbox]\nfolder = \"inbox\"\npattern = \"*.csv\"\nsettle = \"100ms\"\nbatch = \"sales\"\n";
    place.write("config.toml", &format!("{config}{more}"));
    let inbox = place.path().join("inbox");
    std::fs::create_dir(&inbox).expect("made");
    let sales = std::fs::read(place.path().join("sales.csv")).expect("readable");
    std::fs::write(inbox.join("monday.csv"), &sales).expect("written");
    std::fs::write(inbox.join("late.csv.part"), &sales).expect("written");
    let _dev = Dev::begin(&place, &["dev"]);
    until("the file is put away", || inbox.join("done/monday.csv").is_file().then_some(()));
    std::fs::rename(inbox.join("late.csv.part"), inbox.join("late.csv")).expect("renamed into place");
    until("the same content is put aside", || inbox.join("done/late.csv.note").is_file().then_some(()));
    let listed = place.json(0, &["trigger", "list", "--json"]);
    let expected = [&"watch/inbox".into(), &"batch sales".into(), &Value::from(1), &Value::from(0)];
    assert_eq!([&listed[0]["name"], &listed[0]["starts"], &listed[0]["events"], &listed[0]["failed"]], expected);
    let shown = place.json(0, &["trigger", "show", "watch/inbox", "--json"]);
    assert_eq!((&shown[0]["about"]["name"], &shown[0]["result"]), (&"monday.csv".into(), &"complete".into()));
    let table = place.expect(0, &["trigger", "show", "watch/inbox"]);
    assert!(table.contains("monday.csv"), "{table}");
    assert_eq!(std::fs::read(inbox.join("done/monday.csv")).expect("readable"), sales);
    place.expect(3, &["trigger", "show", "watch/inbx"]);
    place.expect(2, &["trigger", "retry", "watch/inbox", "x"]);
}

#[test]
fn an_event_whose_batch_could_not_start_is_started_anew_when_it_is_asked_for() {
    let place = Place::with_batch();
    let config = std::fs::read_to_string(place.path().join("config.toml")).expect("readable");
    let missing = config.replace("sales.csv", "{{ event.body.file }}");
    let hook =
        "\n[scheduler]\nhooks = \"127.0.0.1:0\"\n[hook.orders]\nsecret_env = \"ORDERS_SECRET\"\nbatch = \"sales\"\n";
    place.write("config.toml", &format!("{missing}{hook}"));
    let (_dev, address) = serving(&place, &["dev"], "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    let docs = include_str!("../../../docs/hooks.md");
    let script = docs.split("```sh\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a block");
    let script = script.replace("127.0.0.1:9603", &address).replace("\"order\": 17", "\"file\": \"later.csv\"");
    let output = std::process::Command::new("sh").args(["-ec", &script]).output().expect("sh is there");
    let heard: Value = serde_json::from_slice(&output.stdout).expect("an answer");
    assert_eq!(heard["outcome"], "waiting", "{heard}");
    let row = |wanted: &'static str, key: &'static str| {
        until(wanted, || {
            let shown = place.json(0, &["trigger", "show", "hook/orders", "--json"]);
            (shown[0][key] == wanted).then_some(shown)
        })
    };
    let failed = row("failed", "outcome");
    assert!(failed[0]["reason"].as_str().is_some_and(|reason| reason.contains("later.csv")), "{failed}");
    place.expect(3, &["trigger", "retry", "hook/orders", "msg_2"]);
    std::fs::copy(place.path().join("sales.csv"), place.path().join("later.csv")).expect("it is there now");
    assert_eq!(place.json(0, &["trigger", "retry", "hook/orders", "msg_1", "--json"])["affected"], 1);
    row("complete", "result");
    place.expect(5, &["trigger", "retry", "hook/orders", "msg_1"]);
}

#[test]
fn a_run_by_hand_that_is_killed_in_mid_plan_is_begun_anew_by_a_scheduler() {
    let place = Place::new();
    place.write("many.csv", &format!("id\n{}", "1\n".repeat(200_000)));
    let config = "[batch.many]\nsource = { csv = \"many.csv\" }\nchunk = 1\n[schedule.many]\ncron = \"0 0 1 1 *\"\nbatch = \"many\"\n";
    place.write("config.toml", config);
    let planner = Dev::begin(&place, &["schedule", "run", "many", "--slot", "2026-01-01T00:00"]);
    let first = until("the plan has begun", || ledger(&place, "many").first().map(|row| row["batch"].clone()));
    drop(planner);
    let id = first.as_str().expect("an id");
    assert_eq!(
        place.json(0, &["batch", "show", id, "--json"])["batch"]["state"],
        "open",
        "it was cut off in its middle"
    );
    let _dev = Dev::begin(&place, &["dev"]);
    let again = until("the tick is begun anew", || {
        ledger(&place, "many").into_iter().find(|row| row["tries"] == 2 && row["outcome"] == "ran")
    });
    assert_ne!(again["batch"], first);
    // Gone, or cancelled when a worker had begun with it.
    let shown = place.run(&["batch", "show", id, "--json"]);
    let shown: Value = serde_json::from_slice(&shown.stdout).expect("an answer");
    assert!(shown["error"]["exit"] == 3 || shown["batch"]["state"] == "cancelled", "{shown}");
}
