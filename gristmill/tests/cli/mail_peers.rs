//! The real binary against real mail servers: Postfix's sink with its faults, and a Postfix that delivers and reports.

use std::process::Command;

use gristmill_testkit::postfix::{Programs, provided};
use serde_json::{Value, json};

use crate::place::Place;

fn relay(name: &str, port: u16, more: &str) -> String {
    format!("[mail.relays.{name}]\nurl = \"smtp://127.0.0.1:{port}\"\nstarttls = \"never\"\n{more}\n")
}

fn place(relays: &[String]) -> Place {
    let place = Place::new();
    let mail = "[mail]\nfrom = \"Mill <mill@here.example>\"\nreturn_address = \"bounce@here.example\"\nsecret_file = \"mail.key\"\n";
    place.write("mail.key", "a secret of many characters\n");
    place.write("config.toml", &format!("{mail}{}", relays.concat()));
    place
}

/// Sends one and waits until its job has ended; returns it as `mail show` has it.
fn sent(place: &Place, exit: i32, to: &[&str]) -> Value {
    let to: Vec<&str> = to.iter().flat_map(|to| ["--to", *to]).collect();
    let what = ["--subject", "Hello", "--text", "It works.\n.\nStill.", "--wait", "--json"];
    let job = place.json(exit, &[&["mail", "send"], to.as_slice(), what.as_slice()].concat());
    let id = job["job"]["id"].as_str().unwrap_or_else(|| panic!("an id: {job}")).to_owned();
    place.json(0, &["mail", "show", &id, "--json"])
}

#[test]
fn every_way_of_speaking_that_the_sink_knows_ends_with_the_message_taken() {
    let Some(programs) = Programs::find() else { return };
    for flags in [&[][..], &["-p"], &["-8"], &["-p", "-8"]] {
        let sink = programs.sink(flags);
        let place = place(&[relay("sink", sink.port, "")]);
        let shown = sent(&place, 0, &["ada@here.example", "bob@here.example"]);
        assert_eq!(shown["state"], "sent", "{flags:?}: {shown}");
        let transcript = shown["attempts"][0]["transcript"].as_str().expect("a text");
        assert!(transcript.contains("C: RCPT TO:<bob@here.example>"), "{transcript}");
    }
}

#[test]
fn what_a_sink_fails_with_before_the_end_the_next_relay_takes() {
    let Some(programs) = Programs::find() else { return };
    let good = programs.sink(&[]);
    for flags in [["-q", "connect"], ["-q", "mail"], ["-q", "rcpt"], ["-q", "data"], ["-Q", "connect"], ["-Q", "mail"]]
    {
        let bad = programs.sink(&flags);
        let place = place(&[relay("bad", bad.port, ""), relay("good", good.port, "order = 2")]);
        let shown = sent(&place, 0, &["ada@here.example"]);
        assert_eq!(shown["state"], "sent", "{flags:?}: {shown}");
        let server = shown["attempts"][0]["server"].as_str().expect("a text");
        assert!(server.starts_with("good ("), "{flags:?}: {server}");
        let relays = place.json(0, &["mail", "relay", "list", "--json"]);
        assert_eq!((&relays[0]["name"], &relays[0]["failed"]), (&json!("bad"), &json!(1)), "{flags:?}: {relays}");
    }
}

#[test]
fn a_refusal_for_good_of_the_sink_bounces_and_no_other_relay_is_asked() {
    let Some(programs) = Programs::find() else { return };
    let good = programs.sink(&[]);
    for command in ["mail", "rcpt", "data", "."] {
        let bad = programs.sink(&["-f", command]);
        let place = place(&[relay("bad", bad.port, ""), relay("good", good.port, "order = 2")]);
        let to =
            ["mail", "send", "--to", "ada@here.example", "--subject", "Hello", "--text", "You.", "--wait", "--json"];
        let output = place.command(&to).output().expect("ran");
        assert!(!output.status.success(), "{command}: {output:?}");
        let shown = place.json(0, &["mail", "list", "--json"]);
        assert_eq!(shown[0]["state"], "failed", "{command}: {shown}");
    }
}

#[test]
fn postfix_delivers_a_message_and_its_report_of_another_moves_that_ones_recipient() {
    let Some(programs) = Programs::find() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let Some(server) = programs.server(folder.path()) else { return };
    let place = place(&[relay("peer", server.port, "")]);
    let good = sent(&place, 0, &["ada@here.example"]);
    assert_eq!(good["state"], "sent", "{good}");
    let text = String::from_utf8(server.delivered("ada", 1).remove(0)).expect("text");
    assert!(text.contains("Subject: Hello\n") && text.contains("It works.\n.\nStill."), "{text}");

    let bad = sent(&place, 0, &["nobody@here.example"]);
    assert_eq!(bad["state"], "sent", "Postfix has taken it: {bad}");
    server.delivered("bounce", 1);
    let maildir = server.maildir("bounce").display().to_string();
    let taken = place.json(0, &["mail", "bounce", "maildir", &maildir, "--json"]);
    let expected = (&bad["key"], &json!("delivery"), &json!("failed"), &json!("moved"));
    let said = &taken[0]["recipients"][0];
    assert_eq!((&taken[0]["email"], &taken[0]["kind"], &said["said"], &said["outcome"]), expected, "{taken}");
    let shown = place.json(0, &["mail", "show", bad["key"].as_str().expect("a key"), "--json"]);
    assert_eq!(
        (&shown["recipients"][0]["state"], &shown["recipients"][0]["status"]),
        (&json!("bounced"), &json!("5.1.1"))
    );
    place.expect(0, &["mail", "suppress", "check", "nobody@here.example"]);
    let refused = sent(&place, 0, &["nobody@here.example"]);
    assert_eq!(refused["recipients"][0]["state"], "suppressed");
}

/// Verifies the signatures of the message on its input with the keys of its arguments: selector, record, …
const VERIFY: &str = r#"
import sys, dkim
keys = dict(zip(sys.argv[1::2], sys.argv[2::2]))
message = sys.stdin.buffer.read()
verifier = dkim.DKIM(message)
found = sum(1 for line in message.split(b"\n") if line.lower().startswith(b"dkim-signature:"))
lookup = lambda name, timeout=5: keys[name.decode().rstrip(".")].encode()
for index in range(found):
    assert verifier.verify(idx=index, dnsfunc=lookup), index
print(found)
"#;

#[test]
fn what_postfix_has_delivered_is_still_signed_in_the_eyes_of_dkimpy() {
    let Some(programs) = Programs::find() else { return };
    let Some(python) = provided("GRISTMILL_TEST_DKIMPY") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let Some(server) = programs.server(folder.path()) else { return };
    let dkim = "[[mail.dkim]]\ndomain = \"here.example\"\nselector = \"2026a\"\nkey_file = \"dkim.pem\"\n";
    let place = place(&[relay("peer", server.port, ""), dkim.to_owned()]);
    place.json(0, &["mail", "dkim", "keygen", "dkim.pem", "--json"]);
    assert_eq!(sent(&place, 0, &["ada@here.example"])["state"], "sent");
    let message = server.delivered("ada", 1).remove(0);
    std::fs::write(place.path().join("delivered.eml"), message).expect("written");
    let record = place.json(0, &["mail", "dkim", "record", "--json"]);
    let (name, value) = (record[0]["name"].as_str().expect("a name"), record[0]["record"].as_str().expect("a record"));
    let input = std::fs::File::open(place.path().join("delivered.eml")).expect("there");
    let verified = Command::new(python).args(["-c", VERIFY, name, value]).stdin(input).output().expect("ran");
    assert_eq!(String::from_utf8_lossy(&verified.stdout).trim(), "1", "{}", String::from_utf8_lossy(&verified.stderr));
}
