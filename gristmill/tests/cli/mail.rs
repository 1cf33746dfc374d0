//! The real binary and its emails: sent into a folder, looked at, sent once more; addresses, templates, keys, reports.

use std::io::Write;
use std::process::{Output, Stdio};

use serde_json::{Value, json};

use crate::place::Place;

const CONFIG: &str = "
[mail]
url = \"folder://mail\"
from = \"Mill <mill@example.com>\"
return_address = \"bounce@example.com\"
unsubscribe_url = \"https://mill.example.com\"
secret_file = \"mail.key\"
templates = \"templates\"
";

fn place() -> Place {
    let place = Place::new();
    place.write("config.toml", CONFIG);
    place.write("mail.key", "a secret of many characters\n");
    place
}

/// Runs a command with something on its standard input.
fn fed(place: &Place, args: &[&str], input: &[u8]) -> Output {
    let mut command = place.command(args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("started");
    child.stdin.take().expect("an input").write_all(input).expect("written");
    child.wait_with_output().expect("ended")
}

/// Sends one to Ada, and returns its id.
fn sent(place: &Place, more: &[&str]) -> String {
    let to = ["mail", "send", "--to", "Ada <ada@example.org>", "--subject", "Hello", "--text", "It works."];
    let job = place.json(0, &[&to[..], &["--wait", "--json"], more].concat());
    job["job"]["id"].as_str().expect("an id").to_owned()
}

#[test]
fn an_email_is_sent_looked_at_and_sent_once_more() {
    let place = place();
    place.write("figures.csv", "a,b\n1,2\n");
    let id = sent(&place, &["--attach", "figures.csv", "--stream", "news"]);
    let list = place.json(0, &["mail", "list", "--json"]);
    assert_eq!(
        (&list[0]["key"], &list[0]["state"], &list[0]["subject"]),
        (&json!(id), &json!("sent"), &json!("Hello"))
    );
    assert_eq!(place.json(0, &["mail", "list", "--state", "failed", "--json"]), json!([]));
    assert_eq!(place.json(0, &["mail", "list", "--address", "ADA@example.org", "--json"])[0]["key"], json!(id));
    let shown = place.json(0, &["mail", "show", &id, "--json"]);
    assert_eq!((&shown["recipients"][0]["state"], &shown["stream"]), (&json!("sent"), &json!("news")));
    let text = place.expect(0, &["mail", "show", &id]);
    assert!(text.contains("ada@example.org  sent") && text.contains("not yet delivered"), "{text}");
    let raw = place.expect(0, &["mail", "raw", &id]);
    for said in ["Subject: Hello\r\n", "List-Unsubscribe: <https://mill.example.com/unsubscribe/", "figures.csv"] {
        assert!(raw.contains(said), "{said}: {raw}");
    }
    place.expect(0, &["mail", "resend", &id, "--dry-run"]);
    let again = place.json(0, &["mail", "resend", &id, "--json"]);
    assert_ne!(again["job"]["id"], json!(id));
    let job = place.json(0, &["job", "show", again["job"]["id"].as_str().expect("an id"), "--json"]);
    assert_eq!((&job["kind"], &job["payload"]["stream"]), (&json!("email"), &json!("news")));
    let nobody = "0198f9c1-7d2e-7cc3-98c4-dc0c0c07398f";
    for verb in ["show", "raw", "trace", "resend"] {
        assert_eq!(place.json(3, &["mail", verb, nobody, "--json"])["error"]["code"], "not_found", "{verb}");
    }
    assert_eq!(place.json(2, &["mail", "list", "--state", "snet", "--json"])["error"]["code"], "usage");
    place.write("large.bin", &"x".repeat(2 << 20));
    let large = ["mail", "send", "--to", "ada@example.org", "--subject", "x", "--text", "x", "--attach", "large.bin"];
    let refused = place.json(2, &[&large[..], &["--json"]].concat());
    assert!(refused["error"]["hint"].as_str().expect("a hint").contains("[mail] attachments"), "{refused}");
    place.expect(2, &["mail", "send", "--to", "ada@example.org", "--subject", "x", "--text", "-", "--html", "-"]);
}

#[test]
fn an_address_on_the_list_gets_nothing() {
    let place = place();
    let add = ["mail", "suppress", "add", "Ada@Example.org", "--note", "asked by phone", "--for", "90d"];
    place.expect(0, &[&add[..], &["--dry-run"]].concat());
    place.expect(3, &["mail", "suppress", "check", "ada@example.org"]);
    place.expect(0, &add);
    place.expect(0, &["mail", "suppress", "check", "ada@example.org"]);
    let id = sent(&place, &[]);
    let shown = place.json(0, &["mail", "show", &id, "--json"]);
    assert_eq!(shown["recipients"][0]["state"], "suppressed");
    let export = place.expect(0, &["mail", "suppress", "export"]);
    assert!(!export.contains("ada"), "it names no person: {export}");
    place.write("bad.txt", "eve@example.org\nnobody\n");
    let refused = place.json(2, &["mail", "suppress", "import", "bad.txt", "--json"]);
    assert!(refused["error"]["message"].as_str().expect("a text").contains("line 2"), "{refused}");
    let imported = fed(&place, &["mail", "suppress", "import", "-", "--stream", "news"], b"eve@example.org\n");
    assert!(imported.status.success(), "{imported:?}");
    assert_eq!(place.json(0, &["mail", "suppress", "list", "--json"]).as_array().map(Vec::len), Some(2));
    place.expect(0, &["mail", "suppress", "remove", "ada@example.org"]);
    place.expect(3, &["mail", "suppress", "remove", "ada@example.org"]);
    place.expect(0, &["mail", "suppress", "remove", "eve@example.org", "--stream", "news"]);
}

#[test]
fn what_comes_back_moves_the_recipient_that_it_is_about() {
    let place = place();
    let id = sent(&place, &[]);
    let sender = place.json(0, &["mail", "show", &id, "--json"])["sender"].as_str().expect("one").to_owned();
    assert!(sender.starts_with("bounce+") && sender.ends_with("@example.com"), "{sender}");
    let report = b"From: MAILER-DAEMON@mx.example.org\r\nContent-Type: multipart/report; report-type=delivery-status; boundary=x\r\n\r\n\
        --x\r\n\r\nIt did not go.\r\n--x\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.example.org\r\n\r\n\
        Final-Recipient: rfc822; ada@example.org\r\nAction: failed\r\nStatus: 5.1.1\r\nDiagnostic-Code: smtp; 550 no such user\r\n--x--\r\n";
    let taken = |to: &str| -> Value {
        let output = fed(&place, &["mail", "bounce", "receive", "--to", to, "--json"], report);
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).expect("JSON")
    };
    assert_eq!(taken("bounce@example.com")[0]["recipients"][0]["outcome"], "unknown", "it names no email");
    assert_eq!(
        taken(&sender.replace("bounce+", "bounce+0"))[0]["recipients"][0]["outcome"],
        "unknown",
        "not signed by us"
    );
    assert_eq!(taken(&sender)[0]["recipients"][0]["outcome"], "moved");
    assert_eq!(taken(&sender)[0]["recipients"][0]["outcome"], "known", "twice");
    let shown = place.json(0, &["mail", "show", &id, "--json"]);
    assert_eq!((&shown["state"], &shown["recipients"][0]["status"]), (&json!("failed"), &json!("5.1.1")));
    place.expect(0, &["mail", "suppress", "check", "ada@example.org"]);

    let other = sent(&place, &["--cc", "bob@example.org"]);
    let sender = place.json(0, &["mail", "show", &other, "--json"])["sender"].as_str().expect("one").to_owned();
    for folder in ["box/new", "box/cur"] {
        std::fs::create_dir_all(place.path().join(folder)).expect("a folder");
    }
    let about_bob = String::from_utf8_lossy(report).replace("ada@", "bob@");
    place.write("box/new/1.mx", &format!("Delivered-To: {sender}\r\n{about_bob}"));
    let taken = place.json(0, &["mail", "bounce", "maildir", "box", "--json"]);
    assert_eq!((&taken[0]["email"], &taken[0]["recipients"][0]["outcome"]), (&json!(other), &json!("moved")));
    assert!(place.path().join("box/cur/1.mx:2,S").exists(), "it is done with");
    // What is no message, or cannot be moved, holds no other back.
    std::os::unix::fs::symlink("/dev/zero", place.path().join("box/new/0.link")).expect("a link");
    std::fs::create_dir(place.path().join("box/new/0.folder")).expect("a folder");
    std::fs::create_dir_all(place.path().join("box/cur/2.mx:2,S/in")).expect("in its place");
    place.write("box/new/2.mx", "no report");
    place.write("box/new/3.mx", "no report");
    assert_eq!(place.json(6, &["mail", "bounce", "maildir", "box", "--json"]).as_array().map(Vec::len), Some(2));
    assert!(place.path().join("box/cur/3.mx:2,S").exists() && place.path().join("box/new/2.mx").exists());
    std::fs::remove_file(place.path().join("box/new/2.mx")).expect("removed");
    assert_eq!(place.json(0, &["mail", "bounce", "maildir", "box", "--json"]), json!([]));
}

#[test]
fn templates_are_listed_and_filled_without_sending() {
    let place = place();
    std::fs::create_dir_all(place.path().join("templates/welcome")).expect("a folder");
    place.write("templates/welcome/subject.txt", "Welcome, {{ name }}");
    place.write("templates/welcome/text.txt", "Hello, {{ name }}.\n");
    let list = place.json(0, &["mail", "template", "list", "--json"]);
    let welcome = list.as_array().expect("a list").iter().find(|one| one["name"] == "welcome").expect("ours").clone();
    assert_eq!(welcome["takes"], json!(["name"]));
    let filled = ["mail", "template", "render", "welcome", "--data", r#"{"name": "Ada"}"#];
    assert_eq!(place.json(0, &[&filled[..], &["--json"]].concat())["subject"], "Welcome, Ada");
    assert_eq!(place.expect(0, &[&filled[..], &["--text"]].concat()), "Hello, Ada.\n\n");
    let missing = place.json(9, &["mail", "template", "render", "welcome", "--data", "{}", "--json"]);
    assert!(missing["error"]["message"].as_str().expect("a text").contains("welcome/subject.txt"), "{missing}");
    place.expect(3, &[&filled[..], &["--html"]].concat());
}

#[test]
fn a_key_is_made_once_and_its_signature_holds() {
    let place = place();
    let made = place.json(0, &["mail", "dkim", "keygen", "dkim.pem", "--json"]);
    assert!(made[0]["record"].as_str().expect("a record").starts_with("v=DKIM1; k=ed25519; p="), "{made}");
    place.expect(1, &["mail", "dkim", "keygen", "dkim.pem"]);
    place.expect(1, &["mail", "dkim", "keygen", "no/such/folder.pem"]);
    place.expect(3, &["mail", "dkim", "record"]);
    let dkim = "[[mail.dkim]]\ndomain = \"example.com\"\nselector = \"2026a\"\nkey_file = \"dkim.pem\"\n";
    place.write("config.toml", &format!("{CONFIG}{dkim}"));
    assert_eq!(place.json(0, &["mail", "dkim", "record", "--json"])[0]["name"], "2026a._domainkey.example.com");
    let id = sent(&place, &[]);
    let raw = place.expect(0, &["mail", "raw", &id]);
    place.write("message.eml", &raw);
    let held = place.json(0, &["mail", "dkim", "verify", "message.eml", "--json"]);
    assert_eq!((&held[0]["domain"], &held[0]["holds"]), (&json!("example.com"), &json!(true)));
    place.write("bent.eml", &raw.replace("It works.", "It fails."));
    let bent = place.json(9, &["mail", "dkim", "verify", "bent.eml", "--json"]);
    assert_eq!(bent[0]["holds"], false);
}

#[test]
fn a_domain_is_suspended_and_resumed_and_a_relay_is_known_from_its_first_message_on() {
    let place = place();
    assert_eq!(place.json(0, &["mail", "relay", "list", "--json"]), json!([]));
    place.expect(3, &["mail", "relay", "suspend", "main"]);
    let suspend = ["mail", "domain", "suspend", "Example.org", "--for", "2h", "--reason", "they have an outage"];
    place.expect(0, &[&suspend[..], &["--dry-run"]].concat());
    assert_eq!(place.json(0, &["mail", "domain", "list", "--json"]), json!([]));
    place.expect(0, &suspend);
    let listed = place.json(0, &["mail", "domain", "list", "--json"]);
    assert_eq!((&listed[0]["name"], &listed[0]["waiting"]), (&json!("example.org"), &json!(0)));
    assert_eq!(listed[0]["suspension"]["why"], "they have an outage");
    let text = place.expect(0, &["mail", "domain", "list"]);
    assert!(text.contains("example.org") && text.contains("they have an outage"), "{text}");
    place.expect(0, &["mail", "domain", "resume", "example.org"]);
    assert_eq!(place.json(0, &["mail", "domain", "list", "--json"]), json!([]));
    place.expect(2, &["mail", "domain", "suspend", "no domain"]);
    let relays = "[mail.relays.main]\nurl = \"smtp://127.0.0.1:1\"\nstarttls = \"never\"\nweight = 0\n";
    place.write("config.toml", &format!("{CONFIG}{relays}"));
    let refused = place.json(9, &["check", "--json"]);
    assert!(refused.to_string().contains("mail.relays.main"), "{refused}");
}
