//! The same commands against a server as against its database, and the names of servers.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Output, Stdio};

use axum::Router;
use axum::http::{StatusCode, header};
use axum::routing::any;
use serde_json::{Value, json};

use crate::place::{BAD, MAIL, Place};

/// A server of a place's database, ended with the test.
pub(crate) struct Server {
    child: Child,
    pub(crate) url: String,
}

impl Server {
    pub(crate) fn begin(place: &Place) -> Self {
        Self::of(place.command(&["serve", "--listen", "127.0.0.1:0"]))
    }

    /// Of a command that says where the API is.
    pub(crate) fn of(mut command: Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().expect("started");
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let mut said = String::new();
        let url = loop {
            let line = lines.next().unwrap_or_else(|| panic!("the server ended: {said}")).expect("a line");
            if let Some((_, rest)) = line.split_once("API on ") {
                break rest.trim_end_matches("/api/v1").to_owned();
            }
            said.push_str(&line);
        };
        // What it says afterwards must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, url }
    }

    /// Runs a command against it.
    fn run(&self, place: &Place, args: &[&str]) -> Output {
        place.command(args).env("GRISTMILL_URL", &self.url).output().expect("started")
    }

    fn json(&self, place: &Place, code: i32, args: &[&str]) -> Value {
        read(code, args, &self.run(place, args))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn read(code: i32, args: &[&str], output: &Output) -> Value {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{args:?}\n{out}\n{err}");
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{args:?}: {error}\n{out}\n{err}"))
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The document without what differs each time: ids and instants.
fn plain(document: Value) -> Value {
    let differs =
        |text: &str| uuid::Uuid::parse_str(text).is_ok() || chrono::DateTime::parse_from_rfc3339(text).is_ok();
    match document {
        Value::String(text) => {
            json!(text.split(' ').map(|word| if differs(word) { "*" } else { word }).collect::<Vec<_>>().join(" "))
        }
        Value::Array(values) => values.into_iter().map(plain).collect(),
        Value::Object(fields) => fields.into_iter().map(|(name, value)| (name, plain(value))).collect(),
        other => other,
    }
}

/// A place with a batch that has set items aside, a dead letter, a job that waits, a limit and a schedule.
pub(crate) fn busy() -> Place {
    let place = Place::with_batch();
    let config = std::fs::read_to_string(place.path().join("config.toml")).expect("readable");
    place.write("config.toml", &format!("{config}\n[schedule.nightly]\ncron = \"0 2 * * *\"\nbatch = \"sales\"\n"));
    place.json(0, &["batch", "run", "sales", "--wait", "--json"]);
    place.json(1, &["enqueue", "exec", "--payload", BAD, "--wait", "--json"]);
    place.json(0, &["enqueue", "email", "--payload", MAIL, "--in", "1h", "--key", "acme", "--json"]);
    place.json(0, &["limit", "set", "mails", "--kind", "email", "--concurrency", "3", "--json"]);
    place.json(0, &["schedule", "create", "hourly", "--every", "1h", "--batch", "sales", "--json"]);
    place
}

fn id(document: &Value) -> String {
    document["id"].as_str().expect("an id").to_owned()
}

/// Until when history goes is now, which differs from one to the other.
#[test]
fn a_server_shows_the_history_that_its_database_shows() {
    let place = busy();
    let server = Server::begin(&place);
    let args = ["queue", "stats", "--by", "kind", "--for", "24h", "--json"];
    let (there, here) = (server.json(&place, 0, &args), place.json(0, &args));
    assert_eq!(there["series"], here["series"]);
    let kinds: Vec<&str> =
        here["series"].as_array().expect("series").iter().filter_map(|series| series["name"].as_str()).collect();
    assert!(kinds.contains(&"chunk") && kinds.contains(&"exec"), "{kinds:?}");
}

#[test]
fn what_a_server_shows_is_what_its_database_shows() {
    let place = busy();
    let server = Server::begin(&place);
    let batch = id(&place.json(0, &["batch", "list", "--json"])[0]);
    let dead = id(&place.json(0, &["dead", "list", "--json"])[0]);
    let waiting = id(&place.json(0, &["job", "list", "--state", "scheduled", "--json"])[0]);
    let item = place.json(0, &["quarantine", "list", "--json"])[0]["id"].to_string();
    for words in [
        "job list",
        "job list --state scheduled --state dead",
        "job list --kind email --key acme --limit 1",
        "batch list",
        "batch list --name sales --state complete",
        "dead list",
        "dead list --kind exec --since 1d",
        "dead list --query kind:ex*",
        "job list --query state:scheduled,dead",
        "job list --query -kind:exec",
        "batch list --query state:halted,complete",
        "quarantine list --query stage:*",
        "operation list",
        "queue list",
        "queue show default",
        "audit list",
        "audit list --action limit.set --limit 1",
        "audit show 1",
        "audit verify",
        "limit list",
        "limit show mails",
        "schedule list",
        "schedule show hourly",
        "schedule show nightly",
        "trigger list",
        "quarantine list",
        "quarantine list --open",
        "poison list",
    ] {
        let args: Vec<&str> = words.split(' ').chain(["--json"]).collect();
        assert_eq!(server.json(&place, 0, &args), place.json(0, &args), "{words}");
        let args: Vec<&str> = words.split(' ').chain(["--plain"]).collect();
        let there = server.run(&place, &args);
        assert_eq!(String::from_utf8_lossy(&there.stdout), place.expect(0, &args), "{words}");
    }
    for args in [
        ["job", "show", &waiting, "--json"],
        ["job", "show", &dead, "--json"],
        ["dead", "show", &dead, "--json"],
        ["batch", "show", &batch, "--json"],
        ["batch", "watch", &batch, "--json"],
        ["batch", "results", &batch, "--json"],
        ["quarantine", "show", &item, "--json"],
    ] {
        assert_eq!(server.json(&place, 0, &args), place.json(0, &args), "{args:?}");
    }
    let next = ["schedule", "next", "hourly", "-n", "3", "--json"];
    assert_eq!(plain(server.json(&place, 0, &next)), plain(place.json(0, &next)));
    let export = ["quarantine", "export", &batch];
    let there = server.run(&place, &export);
    assert_eq!(String::from_utf8_lossy(&there.stdout), place.expect(0, &export));
    assert!(server.json(&place, 0, &["worker", "list", "--json"]).is_array());
}

#[test]
fn what_is_not_there_ends_with_the_same_code() {
    let place = busy();
    let server = Server::begin(&place);
    let nobody = "0198f9c1-0000-7000-8000-000000000000";
    for (code, words) in [
        (3, format!("job show {nobody}")),
        (3, format!("job cancel {nobody}")),
        (3, format!("batch pause {nobody}")),
        (3, format!("batch results {nobody}")),
        (3, format!("batch outputs {nobody}")),
        (3, format!("dead redrive {nobody}")),
        (3, "queue pause nowhere".to_owned()),
        (3, "limit drop nothing".to_owned()),
        (3, "schedule disable never".to_owned()),
        (3, "poison drop 17".to_owned()),
        (5, "schedule create hourly --every 2h --batch sales".to_owned()),
        (5, "schedule delete nightly".to_owned()),
        (2, "enqueue emial --payload {}".to_owned()),
        (2, "enqueue email --payload {}".to_owned()),
        (2, "job list --after x".to_owned()),
    ] {
        let args: Vec<&str> = words.split(' ').collect();
        let (there, here) = (server.run(&place, &args), place.run(&args));
        assert_eq!((there.status.code(), here.status.code()), (Some(code), Some(code)), "{words}: {}", stderr(&there));
    }
}

/// Carries a command out through the server, then another one here, and compares what they print.
fn both(place: &Place, server: &Server, here: &[&str], there: &[&str]) -> Value {
    let there = plain(server.json(place, 0, there));
    assert_eq!(there, plain(place.json(0, here)), "{here:?}");
    there
}

#[test]
fn what_a_server_changes_is_what_its_database_changes() {
    let place = busy();
    let server = Server::begin(&place);
    let same = |args: &[&str]| both(&place, &server, args, args);
    let mail = ["enqueue", "email", "--payload", MAIL, "--in", "2h", "--json"];
    assert_eq!(same(&mail)["job"]["created"], true);
    same(&[&mail[..], &["--dry-run"]].concat());
    let jobs = place.json(0, &["job", "list", "--state", "scheduled", "--json"]);
    let (one, other, third) = (id(&jobs[0]), id(&jobs[1]), id(&jobs[2]));
    same(&["job", "cancel", &one, "--dry-run", "--json"]);
    let (here, there) = (["job", "cancel", &one, "--json"], ["job", "cancel", &other, "--json"]);
    assert_eq!(both(&place, &server, &here, &there)["affected"], 1);
    assert_eq!(place.json(0, &["job", "show", &other, "--json"])["error"], "cancelled from the command line");
    let edit = ["job", "edit", &third, "--queue", "slow", "--priority", "low", "--in", "3h", "--json"];
    same(&[&edit[..], &["--dry-run"]].concat());
    assert_eq!(server.json(&place, 0, &edit)["affected"], 1);
    let edited = place.json(0, &["job", "show", &third, "--json"]);
    assert_eq!((&edited["queue"], &edited["priority"]), (&json!("slow"), &json!("low")));
    let payload = ["job", "edit", &third, "--payload", "{}"];
    assert_eq!((server.run(&place, &payload).status.code(), place.run(&payload).status.code()), (Some(2), Some(2)));
    assert_eq!(server.run(&place, &["job", "edit", &other, "--queue", "slow"]).status.code(), Some(5));
    place.expect(5, &["job", "edit", &other, "--queue", "slow"]);
    place.expect(2, &["job", "edit", &third]);
    server.json(&place, 0, &["job", "cancel", "--state", "scheduled", "--json"]);
    assert_eq!(place.json(0, &["job", "show", &third, "--json"])["state"], "cancelled");
    let input = ["batch", "run", "sales", "--input", "sales.csv", "--json"];
    same(&[&input[..], &["--dry-run"]].concat());
    assert_eq!(same(&input)["batch"]["counts"]["input"], 5);
    assert_eq!(server.run(&place, &["batch", "run", "sales", "--input", "gone.csv"]).status.code(), Some(3));
    server.json(&place, 0, &["dead", "redrive", "--kind", "exec", "--json"]);
    assert_eq!(place.json(0, &["dead", "list", "--kind", "exec", "--json"]), json!([]));
}

#[test]
fn items_are_mended_and_imported_through_a_server() {
    let place = busy();
    let server = Server::begin(&place);
    let batch = id(&place.json(0, &["batch", "list", "--json"])[0]);
    let export = ["quarantine", "export", &batch, "--format", "csv"];
    let there = server.run(&place, &export);
    assert_eq!(String::from_utf8_lossy(&there.stdout), place.expect(0, &export));
    let table = String::from_utf8(server.run(&place, &["quarantine", "export", &batch, "--format", "csv"]).stdout);
    place.write("mend.csv", &table.expect("UTF-8").replace("5,FR,x,1", "5,FR,1,1"));
    let import = ["quarantine", "import", &batch, "--file", "mend.csv", "--json"];
    let dry = [&import[..], &["--dry-run"]].concat();
    assert_eq!(server.json(&place, 0, &dry), place.json(0, &dry));
    place.write("odd.csv", "quarantine_id,id\n1,2\n");
    let odd = ["quarantine", "import", &batch, "--file", "odd.csv"];
    for output in [server.run(&place, &odd), place.run(&odd)] {
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        assert!(stderr(&output).contains("line 1: the column"), "{}", stderr(&output));
    }
    let done = server.json(&place, 0, &import);
    assert_eq!((&done["affected"], &done["unchanged"]), (&json!(1), &json!(1)), "{done}");
    let lines = String::from_utf8(server.run(&place, &["quarantine", "export", &batch]).stdout).expect("UTF-8");
    assert_eq!(lines.lines().count(), 1, "{lines}");
    place.write("mend.jsonl", &lines.replace("\"price\":\"\"", "\"price\":\"2\""));
    let import = ["quarantine", "import", &batch, "--file", "mend.jsonl", "--format", "jsonl", "--json"];
    let dry = [&import[..], &["--dry-run"]].concat();
    assert_eq!(server.json(&place, 0, &dry), place.json(0, &dry));
    assert_eq!(server.json(&place, 0, &import)["affected"], 1);
}

#[test]
fn what_a_batch_has_written_is_fetched_whole_and_gone_on_with() {
    let place = busy();
    let server = Server::begin(&place);
    let batch = id(&place.json(0, &["batch", "list", "--json"])[0]);
    let listed = place.json(0, &["batch", "outputs", &batch, "--json"]);
    assert_eq!(server.json(&place, 0, &["batch", "outputs", &batch, "--json"]), listed);
    let names: Vec<&str> =
        listed.as_array().expect("a list").iter().map(|one| one["name"].as_str().expect("a name")).collect();
    assert!(names.len() > 1, "{listed}");
    let written = |name: &str| std::fs::read(place.path().join("out").join(&batch).join(name)).expect("written");
    let fetch = |folder: &str, here: bool| {
        let args = ["batch", "outputs", &batch, "--to", folder];
        if here { place.run(&args) } else { server.run(&place, &args) }
    };
    for (folder, here) in [("here", true), ("there", false)] {
        let into = place.path().join(folder);
        std::fs::create_dir(&into).expect("made");
        // Of one the first bytes are there; of another, bytes that it never had.
        let beside = |name: &str| into.join(format!(".{name}.partial"));
        std::fs::write(beside(names[0]), &written(names[0])[..7]).expect("written");
        std::fs::write(beside(names[1]), "nonsense").expect("written");
        let torn = fetch(folder, here);
        assert_eq!(torn.status.code(), Some(1), "{}", stderr(&torn));
        assert!(stderr(&torn).contains("another hash") && !beside(names[1]).exists(), "{}", stderr(&torn));
        assert_eq!(std::fs::read(into.join(names[0])).expect("whole"), written(names[0]));
        let done = fetch(folder, here);
        assert_eq!(done.status.code(), Some(0), "{}", stderr(&done));
        assert!(stderr(&done).contains("1 were there already"), "{}", stderr(&done));
        for name in &names {
            assert_eq!(std::fs::read(into.join(name)).expect("whole"), written(name), "{name}");
        }
        std::fs::write(into.join(names[0]), "mine").expect("written");
        assert_eq!(fetch(folder, here).status.code(), Some(5), "another file is not replaced");
        assert_eq!(std::fs::read(into.join(names[0])).expect("kept"), b"mine");
    }
    place.expect(3, &["batch", "outputs", &batch, "--to", "here", "--name", "part-000009-a1-000000000000.jsonl"]);
}

#[test]
fn queues_limits_and_schedules_are_changed_through_a_server() {
    let place = busy();
    let server = Server::begin(&place);
    for words in [
        "queue pause default --dry-run",
        "queue resume default --dry-run",
        "limit set mails --kind email --rate 5 --dry-run",
        "limit set mails --kind email --rate 5",
        "schedule edit hourly --every 2h --dry-run",
        "schedule run hourly --dry-run",
        "batch run sales --dry-run",
        "dead redrive --all --dry-run",
        "dead discard --kind exec --dry-run",
    ] {
        let args: Vec<&str> = words.split(' ').chain(["--json"]).collect();
        both(&place, &server, &args, &args);
    }
    let done = |words: &str| {
        let args: Vec<&str> = words.split(' ').chain(["--json"]).collect();
        server.json(&place, 0, &args)
    };
    done("queue pause default --reason moving");
    assert_eq!(place.json(0, &["queue", "show", "default", "--json"])["pause"]["reason"], "moving");
    done("queue resume default");
    assert_eq!(place.json(0, &["queue", "show", "default", "--json"])["paused"], false);
    assert_eq!(done("schedule disable hourly")["enabled"], false);
    assert_eq!(place.json(0, &["schedule", "show", "hourly", "--json"])["enabled"], false);
    assert_eq!(done("schedule enable hourly")["enabled"], true);
    let made = done("schedule create daily --every 1d --batch sales");
    assert_eq!((&made["version"], &made["origin"]), (&json!(1), &json!("command")));
    assert_eq!(done("schedule edit daily --owner ops")["spec"]["owner"], "ops");
    done("schedule delete daily");
    place.expect(3, &["schedule", "show", "daily"]);
    assert_eq!(done("limit drop mails")["affected"], 1);
    assert_eq!(place.json(0, &["limit", "list", "--json"]), json!([]));
}

#[test]
fn many_jobs_go_up_as_lines_and_a_wrong_one_is_named() {
    let place = Place::new();
    place.json(0, &["job", "list", "--json"]);
    let server = Server::begin(&place);
    let line = format!("{{\"payload\": {MAIL}}}\n\n");
    place.write("mails.jsonl", &line.repeat(1_200));
    let args = ["enqueue", "email", "--jsonl", "mails.jsonl", "--queue", "mail", "--in", "1h", "--json"];
    let dry = [&args[..], &["--dry-run"]].concat();
    assert_eq!(server.json(&place, 0, &dry), place.json(0, &dry));
    let done = server.json(&place, 0, &args);
    assert_eq!((&done["enqueued"], done["ids"].as_array().map(Vec::len)), (&json!(1_200), Some(1_200)));
    assert_eq!(place.json(0, &["queue", "show", "mail", "--json"])["scheduled"], 1_200);
    // A line that cannot be read is found here, one that makes no sense there; nothing of such a file is enqueued.
    place.write("torn.jsonl", &format!("{line}{{\"payload\": \n"));
    place.write("odd.jsonl", &format!("{line}{{\"payload\": {{}}}}\n"));
    for (file, place_of) in [("torn.jsonl", "torn.jsonl:3"), ("odd.jsonl", "line 3")] {
        let refused = server.run(&place, &["enqueue", "email", "--jsonl", file]);
        assert_eq!(refused.status.code(), Some(2), "{}", stderr(&refused));
        assert!(stderr(&refused).contains(place_of), "{}", stderr(&refused));
    }
    assert_eq!(place.json(0, &["queue", "show", "mail", "--json"])["scheduled"], 1_200);
}

#[test]
fn a_protected_context_is_changed_only_by_who_types_its_name() {
    let place = Place::new();
    place.json(0, &["job", "list", "--json"]);
    let server = Server::begin(&place);
    let added = place.json(0, &["context", "add", "prod", "--url", &server.url, "--protected", "--json"]);
    assert_eq!((&added["protected"], &added["used"]), (&json!(true), &json!(false)));
    place.expect(5, &["context", "add", "prod", "--url", &server.url]);
    place.expect(3, &["context", "use", "prd"]);
    place.expect(0, &["context", "use", "prod"]);
    assert_eq!(place.json(0, &["context", "list", "--json"])[0]["used"], true);
    let mail = ["enqueue", "email", "--payload", MAIL, "--in", "1h"];
    for more in [&[][..], &["--confirm", "prd"], &["--confirm", ""]] {
        let refused = place.run(&[&mail[..], more].concat());
        assert_eq!(refused.status.code(), Some(2), "{}", stderr(&refused));
        assert!(stderr(&refused).contains("--confirm=prod"), "{}", stderr(&refused));
    }
    assert_eq!(place.json(0, &["job", "list", "--json"]), json!([]), "nothing was enqueued, and looking needs no name");
    place.expect(0, &[&mail[..], &["--dry-run"]].concat());
    let done = place.run(&[&mail[..], &["--confirm", "prod"]].concat());
    assert!(done.status.success() && stderr(&done).contains("on prod"), "{}", stderr(&done));
    assert_eq!(place.json(0, &["--context", "local", "job", "list", "--json"]).as_array().map(Vec::len), Some(1));
    for args in [&["db", "migrate"][..], &["worker", "run"], &["dev"], &["doctor"]] {
        let refused = place.run(args);
        assert_eq!(refused.status.code(), Some(2), "{args:?}: {}", stderr(&refused));
        assert!(stderr(&refused).contains("--context local"), "{}", stderr(&refused));
    }
    place.expect(2, &["--context", "prod", "--store", "sqlite://a.db", "job", "list"]);
    place.expect(0, &["context", "remove", "prod"]);
    place.expect(0, &["db", "migrate"]);
}

/// A server that answers everything with this, and the address of it.
fn answering(status: StatusCode, headers: [(header::HeaderName, &'static str); 2], body: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    listener.set_nonblocking(true).expect("it can wait");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            let routes = Router::new().fallback(any(move || async move { (status, headers, body) }));
            axum::serve(listener, routes).await.expect("served");
        });
    });
    url
}

#[test]
fn each_refusal_of_a_server_ends_with_its_code_and_says_why() {
    let place = Place::new();
    let envelope = |code: &str| {
        json!({ "success": false, "data": null, "error": { "code": code, "message": "because", "details": {} },
            "timestamp": "2026-01-01T00:00:00.000Z", "requestId": "r-1" })
        .to_string()
    };
    let html = "<html>Bad gateway</html>".to_owned();
    let json_type = (header::CONTENT_TYPE, "application/json");
    let none = (header::SERVER, "test");
    let late = (header::RETRY_AFTER, "3600");
    let elsewhere = (header::LOCATION, "https://elsewhere.example/");
    for (status, headers, body, code, said) in [
        (StatusCode::UNAUTHORIZED, [json_type.clone(), none.clone()], envelope("unauthenticated"), 4, "because"),
        (StatusCode::FORBIDDEN, [json_type.clone(), none.clone()], envelope("forbidden"), 4, "because"),
        (StatusCode::TOO_MANY_REQUESTS, [json_type.clone(), late.clone()], envelope("rate_limited"), 8, "3600 seconds"),
        (StatusCode::SERVICE_UNAVAILABLE, [json_type, late.clone()], envelope("unavailable"), 8, "r-1"),
        (StatusCode::BAD_GATEWAY, [none.clone(), late], html.clone(), 8, "gristmill serve"),
        (StatusCode::OK, [none.clone(), (header::VIA, "1.1 a")], html, 1, "none of its API"),
        (StatusCode::TEMPORARY_REDIRECT, [none, elsewhere], String::new(), 1, "elsewhere.example"),
    ] {
        let url = answering(status, headers, body);
        let output = place.command(&["job", "list"]).env("GRISTMILL_URL", url).output().expect("started");
        assert_eq!(output.status.code(), Some(code), "{status}: {}", stderr(&output));
        assert!(stderr(&output).contains(said), "{status}: {}", stderr(&output));
    }
}

#[test]
fn a_server_that_is_away_and_an_address_that_is_none_are_two_things() {
    let place = Place::new();
    place.write("token", "secret-token\n");
    for (url, code) in [("http://127.0.0.1:1", 8), ("http://192.0.2.1:7700", 2), ("jobs.example.com", 2)] {
        let mut command = place.command(&["job", "list"]);
        let output = command.env("GRISTMILL_URL", url).env("GRISTMILL_TOKEN_FILE", "token").output().expect("started");
        assert_eq!(output.status.code(), Some(code), "{url}: {}", stderr(&output));
        assert!(!stderr(&output).contains("secret-token"), "{}", stderr(&output));
    }
    let mut command = place.command(&["job", "list"]);
    let output = command
        .env("GRISTMILL_URL", "http://127.0.0.1:1")
        .env("GRISTMILL_TOKEN_FILE", "gone")
        .output()
        .expect("started");
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
}

#[test]
fn the_demo_goes_on_and_is_served() {
    let place = Place::new();
    let mut demo = place.command(&["demo", "--items", "1000", "--serve"]);
    demo.env("GRISTMILL_SERVE_LISTEN", "127.0.0.1:0").stdout(Stdio::null());
    let server = Server::of(demo);
    let names =
        |list: Value| list.as_array().expect("a list").iter().map(|one| one["name"].clone()).collect::<Vec<_>>();
    let batches = server.json(&place, 0, &["batch", "list", "--json"]);
    let stock = batches.as_array().and_then(|list| list.iter().find(|batch| batch["name"] == "stock")).cloned();
    let stock = stock.unwrap_or_else(|| panic!("{batches}"));
    assert_eq!(stock["counts"]["input"], 4_000, "{stock}");
    assert!(names(batches).contains(&json!("orders")));
    let schedules = names(server.json(&place, 0, &["schedule", "list", "--json"]));
    for name in ["reminder", "shop-status", "stock"] {
        assert!(schedules.contains(&json!(name)), "{schedules:?}");
    }
}

#[test]
fn the_audit_is_exported_and_verified_through_a_server() {
    let place = Place::with_batch();
    for queue in ["a", "b", "c"] {
        place.expect(0, &["queue", "pause", queue, "--new"]);
    }
    let server = Server::begin(&place);
    let export = server.run(&place, &["audit", "export"]);
    assert_eq!(String::from_utf8_lossy(&export.stdout), place.expect(0, &["audit", "export"]));
    let rest = server.run(&place, &["audit", "export", "--behind", "2"]);
    assert_eq!(String::from_utf8_lossy(&rest.stdout).lines().count(), 1);
    assert_eq!(server.run(&place, &["audit", "show", "9"]).status.code(), Some(3));
    assert_eq!(server.json(&place, 0, &["audit", "list", "--installation", "--json"]), json!([]));
    for args in [&["audit", "verify", "--all"][..], &["audit", "verify", "--archive", "."]] {
        let refused = server.run(&place, args);
        assert_eq!(refused.status.code(), Some(2), "{}", stderr(&refused));
        assert!(stderr(&refused).contains("the chain of one tenant"), "{}", stderr(&refused));
    }
    let head = json!({ "tenant": "main", "seq": 2, "hash": "0".repeat(64), "at": "2030-01-31T00:00:00Z",
                       "key": "1".repeat(64), "signature": "2".repeat(128) });
    place.write("heads", &format!("{head}\n"));
    let broken = server.json(&place, 9, &["audit", "verify", "--heads", "heads", "--json"]);
    assert_eq!(broken["chains"][0]["broken"]["fault"], "signature");
}
