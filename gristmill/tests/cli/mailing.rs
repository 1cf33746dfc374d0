//! The real binary and a mailing: looked at before it starts, tested, sent, held, tried again, counted.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::place::Place;

const CONFIG: &str = "
[mail]
url = \"sandbox://\"
from = \"Mill <mill@example.com>\"
templates = \"letters\"
uncertain = \"hold\"

[batch.news]
source = { csv = \"people.csv\" }
failure_budget = \"50%\"

[batch.news.mail]
to = \"email\"
name = \"name\"
variants = [{ template = \"plain\", share = 1 }, { template = \"loud\", share = 1 }]
settle_within = \"1s\"

[batch.held]
source = { csv = \"bad.csv\" }

[batch.held.mail]
to = \"email\"
subject = \"Hello\"
text = \"It works.\"
bounce_budget = \"5 %\"
bounce_minimum = 2
";

fn place() -> Place {
    let place = Place::new();
    place.write("config.toml", CONFIG);
    for (name, word) in [("plain", "Hello"), ("loud", "HELLO")] {
        std::fs::create_dir_all(place.path().join("letters").join(name)).expect("a folder");
        place.write(&format!("letters/{name}/subject.txt"), &format!("{word} {{{{ name }}}}"));
        place.write(&format!("letters/{name}/text.txt"), "Dear {{ name }},\nit works.\n");
    }
    let people = "email,name\nada@example.org,Ada\nbounce.bob@example.org,Bob\nunknown.eve@example.org,Eve\n\
                  defer.dan@example.org,Dan\nnobody,Nobody\nlisted@example.org,Listed\nfay@example.com,Fay\n";
    place.write("people.csv", people);
    place.write("bad.csv", "email\nbounce1@example.org\nbounce2@example.org\nbounce3@example.org\nlast@example.org\n");
    place
}

fn id(document: &Value) -> String {
    document["batch"]["id"].as_str().unwrap_or_else(|| panic!("{document:#}")).to_owned()
}

#[test]
fn a_mailing_is_looked_at_and_tested_before_it_starts() {
    let place = place();
    place.expect(0, &["check"]);
    let text = place.expect(0, &["mail", "preview", "news", "--limit", "5"]);
    assert!(text.contains("To:      Ada <ada@example.org>") && text.contains("| Dear Ada,"), "{text}");
    assert!(text.contains("line 6: no message: `email` is not one address"), "{text}");
    let tried = place.json(0, &["batch", "try", "news", "--limit", "1", "--json"]);
    let steps = tried["items"][0]["steps"].as_array().expect("steps");
    let mail = steps.iter().find(|step| step["stage"] == "mail").expect("the message");
    assert!(
        mail["item"]["subject"].as_str().is_some_and(|subject| subject.eq_ignore_ascii_case("hello ada")),
        "{mail}"
    );
    assert!(place.expect(0, &["batch", "try", "news", "--limit", "1"]).contains("Subject: "));
    let test = ["batch", "run", "news", "--test-to", "me@example.com,you@example.com", "--test-items", "2", "--json"];
    let would = place.json(0, &[&test[..], &["--dry-run"]].concat());
    assert_eq!((&would["messages"], &would["jobs"]), (&json!(4), &json!([])));
    let sent = place.json(0, &test);
    assert_eq!(sent["jobs"].as_array().map(Vec::len), Some(4), "{sent}");
    let job = place.json(0, &["job", "show", sent["jobs"][0].as_str().expect("an id"), "--json"]);
    assert_eq!(
        (&job["payload"]["to"], &job["payload"]["subject_prefix"]),
        (&json!("me@example.com"), &json!("[Test]"))
    );
    assert_eq!(job["batch"], Value::Null, "it is counted nowhere");
    assert_eq!(place.json(0, &["batch", "list", "--json"]), json!([]));
    place.expect(2, &["batch", "run", "news", "--test-to", "nobody"]);
    place.expect(2, &["batch", "run", "news", "--test-items", "2"]);
}

#[test]
fn what_a_template_lacks_is_said_before_anything_is_sent() {
    let place = place();
    place.write("letters/loud/text.txt", "Dear {{ nmae }}.\n");
    let text = place.expect(9, &["check"]);
    assert!(text.contains("batch.news.mail") && text.contains("the data lacks a name"), "{text}");
    place.write("letters/loud/text.txt", "Dear {{ name }}.\n");
    place.write("letters/loud/sample.json", "{\"nam\": \"Ada\"}");
    let text = place.expect(9, &["check"]);
    assert!(text.contains("sample data"), "{text}");
    place.write("letters/loud/sample.json", "{\"name\": \"Ada\"}");
    place.expect(0, &["check"]);
}

#[test]
fn a_mailing_ends_with_its_funnel_and_what_is_open_can_be_tried_again() {
    let place = place();
    place.expect(0, &["mail", "suppress", "add", "listed@example.org", "--stream", "broadcast"]);
    let done = place.json(0, &["batch", "run", "news", "--wait=2m", "--json"]);
    let batch = id(&done);
    let funnel = &done["result"]["mail"];
    let expected = [
        ("made", 6),
        ("suppressed", 1),
        ("bounced", 1),
        ("unknown", 1),
        ("deferred", 1),
        ("accepted", 2),
        ("queued", 0),
    ];
    for (name, count) in expected {
        assert_eq!(funnel[name], count, "{name}: {funnel:#}");
    }
    let variants = done["result"]["mail_variants"].as_object().expect("a table");
    assert_eq!(variants.values().map(|one| one["made"].as_u64().expect("a count")).sum::<u64>(), 6);
    assert_eq!(done["batch"]["counts"]["quarantined"], 1);
    let quarantine = place.json(0, &["quarantine", "list", "--json"]);
    assert_eq!((&quarantine[0]["stage"], &quarantine[0]["line"]), (&json!("mail"), &json!(6)));
    let stats = place.json(0, &["mail", "stats", "--batch", &batch, "--json"]);
    assert_eq!((&stats["all"]["made"], &stats["all"]["unknown"]), (&json!(6), &json!(1)));
    let stats = place.json(0, &["mail", "stats", "--by", "domain", "--json"]);
    assert_eq!((&stats[0]["name"], &stats[0]["funnel"]["made"]), (&json!("example.org"), &json!(5)));
    assert_eq!(place.json(2, &["mail", "stats", "--by", "domian", "--json"])["error"]["code"], "usage");
    assert!(place.expect(0, &["mail", "stats", "--batch", &batch]).contains("suppressed"));
    assert_eq!(place.json(0, &["mail", "list", "--batch", &batch, "--json"]).as_array().map(Vec::len), Some(6));
    let would = place.json(0, &["mail", "resend", "--batch", &batch, "--dry-run", "--json"]);
    let again = place.json(0, &["mail", "resend", "--batch", &batch, "--json"]);
    assert_eq!((&would["affected"], &again["affected"]), (&json!(2), &json!(2)), "one put off, one unknown: {again}");
    place.expect(3, &["mail", "resend", "--batch", "0198f9c1-7d2e-7cc3-98c4-dc0c0c07398f"]);
}

/// A worker that runs until the test ends.
struct Worker(Child);

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn worker(place: &Place) -> Worker {
    let mut command = place.command(&["worker"]);
    Worker(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("started"))
}

/// Asks until it is so.
fn until(place: &Place, args: &[&str], so: impl Fn(&Value) -> bool) -> Value {
    let start = Instant::now();
    loop {
        let answer = place.json(0, args);
        if so(&answer) {
            return answer;
        }
        assert!(start.elapsed() < Duration::from_secs(120), "{args:?} is still {answer:#}");
    }
}

#[test]
fn a_mailing_that_bounces_too_much_pauses_and_says_why() {
    let place = place();
    let bad = |rows: std::ops::Range<u32>| rows.map(|n| format!("bounce{n}@example.org\n")).collect::<String>();
    place.write("bad.csv", &format!("email\n{}", bad(0..2_000)));
    let started = place.json(0, &["batch", "run", "held", "--json"]);
    let batch = id(&started);
    let running = worker(&place);
    let held = until(&place, &["batch", "show", &batch, "--json"], |shown| shown["batch"]["paused"] == true);
    let text = place.expect(0, &["batch", "show", &batch]);
    assert!(text.contains("more than the `bounce_budget` of 5%"), "{text}");
    assert!(held["batch"]["finished_at"].is_null(), "{held:#}");
    let stats = ["mail", "stats", "--batch", &batch, "--json"];
    let settled = until(&place, &stats, |stats| stats["all"]["sending"] == 0);
    let [queued, bounced] = ["queued", "bounced"].map(|name| settled["all"][name].as_u64().expect("a count"));
    assert!(queued > 0 && bounced > 1, "what is not yet sent is held: {settled:#}");
    place.expect(0, &["batch", "resume", &batch]);
    until(&place, &stats, |stats| stats["all"]["bounced"].as_u64() > Some(bounced));
    until(&place, &["batch", "show", &batch, "--json"], |shown| shown["batch"]["paused"] == true);
    drop(running);
    place.expect(0, &["batch", "cancel", &batch, "--reason", "a bad list"]);
    let jobs = place.json(0, &["job", "list", "--kind", "email", "--state", "queued", "--json"]);
    assert_eq!(jobs, json!([]), "none of its messages is left to be sent");
}
