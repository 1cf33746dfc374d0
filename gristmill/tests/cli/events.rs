//! Events by the command line: published, shown, delivered, replayed, held by a schema, by the same lines on a real process.

use std::io::Write;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::place::Place;
use crate::triggers::{Dev, until};

/// A place in which each order that is paid runs a program.
fn place() -> Place {
    let place = Place::new();
    place.write(
        "config.toml",
        r#"
[exec]
programs = ["/bin/echo"]

[events.subscriptions.receipts]
types = "order.*"
where = ".data.total > 10"
job = { kind = "exec", payload = { command = ["/bin/echo", "{{ event.subject }}"] } }
"#,
    );
    place
}

fn publish(place: &Place, id: &str, total: u64) -> Value {
    let data = json!({ "total": total }).to_string();
    place.json(0, &["event", "publish", "order.paid", "--id", id, "--subject", "order/1", "--data", &data, "--json"])
}

#[test]
fn an_event_starts_what_its_subscription_says_and_can_be_replayed() {
    let place = place();
    let _dev = Dev::begin(&place, &["dev"]);
    until("the subscription", || {
        let output = place.run(&["event", "subscription", "list", "--json"]);
        let found: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        (found[0]["name"] == "receipts").then_some(())
    });
    assert_eq!(publish(&place, "1", 20)[0]["fresh"], true);
    assert_eq!(publish(&place, "1", 20)[0]["fresh"], false, "the same event once more");
    publish(&place, "2", 5);
    let trace = until("the delivery", || {
        let trace = place.json(0, &["event", "show", "1", "--json"]);
        trace["deliveries"][0]["job"].as_str().map(str::to_owned).map(|job| (trace, job))
    });
    assert_eq!((&trace.0["event"]["source"], &trace.0["event"]["data"]["total"]), (&json!("cli"), &json!(20)));
    let shown = until("the job's end", || {
        let job = place.json(0, &["job", "show", &trace.1, "--json"]);
        (job["state"] == "done").then_some(job)
    });
    assert_eq!(shown["payload"]["command"][1], "order/1");
    until("the second event", || {
        let view = place.json(0, &["event", "subscription", "show", "receipts", "--json"]);
        (view["lag"] == 0 && view["skipped"].as_u64() > Some(0)).then_some(())
    });
    let would = place.json(0, &["event", "replay", "--to", "receipts", "--dry-run", "--json"]);
    assert_eq!((&would["matches"], &would["replay"]), (&json!(1), &Value::Null));
    place.json(0, &["event", "replay", "--to", "receipts", "--rate", "100", "--json"]);
    until("the replay", || {
        let replays = place.json(0, &["event", "replay", "--json"]);
        (replays[0]["state"] == "finished" && replays[0]["delivered"] == 1).then_some(())
    });
    let tail = place.expect(0, &["event", "tail", "--after", "0", "--type", "order.*", "--count", "2"]);
    assert_eq!(tail.lines().filter(|line| line.contains("order.paid order/1")).count(), 2, "{tail}");
    let listed = place.json(0, &["event", "list", "--type", "order.*", "--json"]);
    assert_eq!(listed.as_array().map(Vec::len), Some(2));
}

#[test]
fn a_subscription_made_by_a_command_is_paused_resumed_and_removed() {
    let place = Place::new();
    place.write("s.json", r#"{ "types": "order.**", "job": { "kind": "receipt" } }"#);
    assert_eq!(place.json(0, &["event", "subscription", "set", "s", "s.json", "--dry-run", "--json"])["affected"], 1);
    assert_eq!(place.json(0, &["event", "subscription", "set", "s", "s.json", "--json"])["affected"], 1);
    place.json(0, &["event", "subscription", "pause", "s", "--reason", "later", "--json"]);
    let view = place.json(0, &["event", "subscription", "show", "s", "--json"]);
    assert_eq!((&view["paused_for"], view["paused_at"].is_string()), (&json!("later"), true));
    assert_eq!(place.json(0, &["event", "subscription", "resume", "s", "--json"])["affected"], 1);
    assert_eq!(place.json(0, &["event", "subscription", "refused", "s", "--json"]), json!([]));
    assert_eq!(place.json(0, &["event", "subscription", "remove", "s", "--json"])["affected"], 1);
    place.write("bad.json", r#"{ "types": "a b", "where": ".data >" }"#);
    let error = place.json(2, &["event", "subscription", "set", "s", "bad.json", "--json"]);
    let message = error["error"]["message"].as_str().expect("a message");
    for named in ["`types`", "`where`", "starts nothing"] {
        assert!(message.contains(named), "{named} is missing in {message}");
    }
}

#[test]
fn a_schema_refuses_what_does_not_fit_and_lines_are_published_whole() {
    let place = Place::new();
    place.write(
        "v1.json",
        r#"{ "type": "object", "required": ["total"], "properties": { "total": { "type": "integer" } } }"#,
    );
    place.write("v2.json", r#"{ "type": "object", "required": ["total", "mail"] }"#);
    place.json(0, &["event", "schema", "add", "order.paid", "v1.json", "--json"]);
    let refused = place.json(2, &["event", "schema", "add", "order.paid", "v2.json", "--json"]);
    assert!(refused["error"]["message"].as_str().is_some_and(|text| text.contains("`mail`")), "{refused}");
    assert_eq!(place.json(0, &["event", "schema", "list", "--json"])[0]["version"], 1);
    assert_eq!(place.json(0, &["event", "schema", "show", "order.paid", "--json"])["required"][0], "total");
    let bad = place.json(2, &["event", "publish", "order.paid", "--data", r#"{"total": "x"}"#, "--json"]);
    assert!(bad["error"]["message"].as_str().is_some_and(|text| text.contains("`total`")), "{bad}");
    let lines = |text: &str| {
        let mut command = place.command(&["event", "publish", "--lines", "--json"]);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("started");
        child.stdin.take().expect("its input").write_all(text.as_bytes()).expect("written");
        child.wait_with_output().expect("ended")
    };
    let wrong = lines("{\"type\": \"a\"}\n{\"type\": \"\", \"position\": 3}\nno json\n");
    assert_eq!(wrong.status.code(), Some(2));
    let good = lines("{\"type\": \"a\", \"id\": \"1\"}\n\n{\"type\": \"b\", \"id\": \"2\"}\n");
    let published: Value = serde_json::from_slice(&good.stdout).expect("JSON");
    assert_eq!(published.as_array().map(Vec::len), Some(2));
}
