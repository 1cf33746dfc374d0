//! Messages as they go over the wire.

use gristmill_core::Instant;
use gristmill_mail::Mailbox;
use gristmill_mail::compose::{Attachment, Composed, Draft, compose, mailbox, message_id};

fn boxes(texts: &[&str]) -> Vec<Mailbox> {
    texts.iter().map(|text| mailbox("a mailbox", text).expect(text)).collect()
}

fn draft<'a>(from: &'a Mailbox, to: &'a [Mailbox], subject: &'a str) -> Draft<'a> {
    Draft {
        from,
        reply_to: &[],
        to,
        cc: &[],
        bcc: &[],
        subject,
        text: Some("Hello.\n.\n"),
        html: None,
        headers: &[],
        attachments: &[],
        unsubscribe: None,
        message_id: "<a@b.example>",
        date: Instant::from_timestamp(1_700_000_000, 0).expect("valid"),
    }
}

fn text(composed: &Composed) -> String {
    String::from_utf8(composed.bytes.clone()).expect("UTF-8")
}

#[test]
fn a_message_of_every_part_is_as_it_ever_was() {
    let from = mailbox("from", "Die Mühle <mill@b.example>").expect("from");
    let (to, cc) = (boxes(&["\"Doe, Jo\" <jo@b.example>", "Ada <ada@bücher.example>"]), boxes(&["c@d.example"]));
    let (bcc, reply_to) = (boxes(&["hidden@d.example"]), boxes(&["answers@b.example"]));
    let headers =
        [("X-Campaign".to_owned(), "Frühling".to_owned()), ("List-Id".to_owned(), "<a.b.example>".to_owned())];
    let file = |name: &str, data: &[u8], id: Option<&str>| Attachment {
        name: name.to_owned(),
        content_type: None,
        data: data.to_vec(),
        content_id: id.map(str::to_owned),
    };
    let attachments = [
        file("logo.png", b"\x89PNG\r\n\x1a\n", Some("logo")),
        file("Prüfbericht für März und April.csv", b"a,b\n", None),
    ];
    let whole = Draft {
        reply_to: &reply_to,
        cc: &cc,
        bcc: &bcc,
        text: None,
        html: Some("<p>Hello <img src=\"cid:logo\" alt=\"a mill\"></p>"),
        headers: &headers,
        attachments: &attachments,
        unsubscribe: Some("https://mill.example/u/abc"),
        ..draft(&from, &to, "Grüße")
    };
    let composed = compose(&whole).expect("composed");
    assert_eq!(composed, compose(&whole).expect("composed"), "two attempts have the same bytes");
    let addresses: Vec<String> = composed.recipients.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["jo@b.example", "ada@xn--bcher-kva.example", "c@d.example", "hidden@d.example"]);
    let text = text(&composed);
    assert!(text.is_ascii() && !text.contains("hidden@"), "{text}");
    insta::assert_snapshot!("whole", text.replace("\r\n", "\n"));
}

#[test]
fn an_address_stands_in_the_envelope_once() {
    let from = mailbox("from", "a@b.example").expect("from");
    let (to, cc) = (boxes(&["c@d.example", "C@D.example"]), boxes(&["c@d.example", "e@d.example"]));
    let composed = compose(&Draft { cc: &cc, ..draft(&from, &to, "s") }).expect("composed");
    assert_eq!(composed.recipients.iter().map(ToString::to_string).collect::<Vec<_>>(), ["c@d.example", "e@d.example"]);
}

#[test]
fn what_makes_no_message_says_why() {
    let from = mailbox("from", "a@b.example").expect("from");
    let to = boxes(&["c@d.example"]);
    let many: Vec<Mailbox> = (0..101).map(|n| mailbox("to", &format!("c{n}@d.example")).expect("to")).collect();
    let header = |name: &str, value: &str| [(name.to_owned(), value.to_owned())];
    let (bcc, injected, long) = (
        header("Bcc", "x@y.example"),
        header("X-A", "b\r\nBcc: x@y.example"),
        vec![("X-A".to_owned(), String::new()); 51],
    );
    let picture = [Attachment { name: "a".into(), content_type: None, data: Vec::new(), content_id: Some("a".into()) }];
    let base = draft(&from, &to, "s");
    for (draft, word) in [
        (Draft { subject: "Hi\r\nBcc: x@y.example", ..base }, "U+000D"),
        (Draft { to: &[], ..base }, "1 to 100 recipients"),
        (Draft { to: &many, ..base }, "has 101"),
        (Draft { text: None, ..base }, "neither a text nor"),
        (Draft { headers: &bcc, ..base }, "leave it out"),
        (Draft { headers: &injected, ..base }, "U+000D"),
        (Draft { headers: &long, ..base }, "at most 50 headers"),
        (Draft { attachments: &picture, ..base }, "no HTML version"),
    ] {
        let error = compose(&draft).expect_err(word);
        assert!(error.contains(word) && !error.contains("@y.example"), "{error}");
    }
}

/// The message on the wire, its headers unfolded, and its body decoded from base64 if it is.
fn wire(from: &str, subject: &str, body: &str) -> (String, String, String) {
    let (from, to) = (mailbox("from", from).expect("from"), boxes(&["c@d.example"]));
    let raw = text(&compose(&Draft { text: Some(body), ..draft(&from, &to, subject) }).expect("composed"));
    let (head, body) = raw.split_once("\r\n\r\n").expect("a body");
    let (head, mut body) = (head.replace("\r\n ", " "), body.to_owned());
    if head.contains("Content-Transfer-Encoding: base64") {
        use base64::Engine;
        let bytes = base64::engine::general_purpose::STANDARD.decode(body.replace("\r\n", "")).expect("base64");
        body = String::from_utf8(bytes).expect("UTF-8");
    }
    (raw, head, body)
}

#[test]
fn no_line_is_over_998_and_no_control_character_is_on_the_wire() {
    let long = "y".repeat(1_500);
    let names = format!("{long} <a@b.example>");
    for (from, subject, text) in [
        ("a@b.example", "s", "hi\r.\r\nMAIL FROM:<a@evil.example>\r\nnul \0 here"),
        ("a@b.example", "s", "one\r\r\ntwo\r"),
        ("a@b.example", "s", "\n.\nQUIT\n"),
        ("a@b.example", "s", "\u{1b}[31m\u{7f}\u{b}"),
        ("a@b.example", "s", "Grüße\r.\r"),
        ("a@b.example", &long, "t"),
        ("a@b.example", &" ".repeat(1_500), "t"),
        ("a@b.example", "s", &long),
        (&names, "s", "t"),
    ] {
        let (raw, _, body) = wire(from, subject, text);
        assert!(raw.split("\r\n").all(|line| line.len() <= 998), "{raw}");
        let bare = raw.replace("\r\n", "");
        assert!(bare.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{raw:?}");
        if text.contains(|c: char| c.is_control() && c != '\n') {
            assert_eq!(body, text.replace("\r\n", "\n").replace('\n', "\r\n"), "it arrives as it was written");
        }
    }
    let (_, head, _) = wire(&names, "s", "t");
    assert!(head.contains(" <a@b.example>") && head.matches("From:").count() == 1, "{head}");
}

#[test]
fn a_word_that_looks_encoded_is_shown_as_it_was_written() {
    let (_, head, _) = wire("=?utf-8?q?Boss?= <a@b.example>", "=?utf-8?q?From_the_boss?=", "t");
    assert!(!head.contains("?q?"), "{head}");
    assert!(head.contains("Subject: =?utf-8?b?PT91dGYtOD9xP0Zyb21fdGhlX2Jvc3M/PQ==?="), "{head}");
    let (_, head, _) = wire("Mill <a@b.example>", "Plain words stay", "t");
    assert!(head.contains("Subject: Plain words stay") && head.contains("From: Mill <a@b.example>"), "{head}");
}

#[test]
fn the_date_the_id_and_the_mark_of_a_program_are_there() {
    let (_, head, _) = wire("A <a@b.example>", "s", "t");
    for line in ["Message-ID: <a@b.example>", "Date: Tue, 14 Nov 2023 22:13:20 +0000", "Auto-Submitted: auto-generated"]
    {
        assert!(head.contains(line), "{head}");
    }
}

#[test]
fn the_message_id_tells_tenants_and_keys_apart() {
    let from = mailbox("from", "a@b.example").expect("from");
    assert_eq!(message_id("one", "7", &from), message_id("one", "7", &from));
    assert_ne!(message_id("one", "7", &from), message_id("two", "7", &from));
    assert!(message_id("one", "7", &from).ends_with("@b.example>"));
}
